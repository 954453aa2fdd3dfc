"""What is known in a talk about appointments, and what has been asked: values only."""

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from pipeline.llm.rules_appointments_english import ENGLISH
from pipeline.llm.rules_appointments_spanish import SPANISH
from pipeline.llm.rules_appointments_words import Ask, Wording
from pipeline.slots import say_day, say_time


class Task(StrEnum):
    """What the caller wants."""

    NONE = "none"
    BOOK = "book"
    VIEW = "view"
    MODIFY = "modify"
    CANCEL = "cancel"
    SLOTS = "slots"
    IDENTIFY = "identify"
    """Only to say who they are."""
    OTHER = "other"
    """Something, they have not said what."""
    BYE = "bye"


@dataclass(frozen=True, slots=True)
class Appointment:
    """One of the caller's."""

    code: str
    date: str
    time: str


@dataclass(frozen=True, slots=True)
class News:
    """Something the caller has to be told."""

    text: str
    mark: str = ""
    """What of it must have been heard; until then it is told again. "" = once is enough."""


@dataclass(frozen=True, slots=True)
class State:
    """All that the next reply depends on. Dates are YYYY-MM-DD, times HH:MM, "" what is not known."""

    task: Task = Task.NONE
    ask: Ask = Ask.OPEN
    """What was asked last."""
    heard: bool = False
    """What a yes would agree to was heard whole."""
    agreed: bool = False
    """The caller has just agreed. It holds for this turn only."""
    digits: str = ""
    """Of the phone number, as far as it was said."""
    phone: str = ""
    """The caller is identified by it."""
    name: str = ""
    registered: str = ""
    """The name by which the calendar knows the caller."""
    nameless: bool = False
    """The name was asked for in vain."""
    date: str = ""
    time: str = ""
    of_date: str = ""
    """Where the appointment is that is to be moved or cancelled."""
    of_time: str = ""
    code: str = ""
    nth: int | None = None
    """ "The first one": of those that were read out."""
    refused_date: bool = False
    """The day that was named cannot be had."""
    slots_of: str = ""
    slots: tuple[str, ...] = ()
    told: str = ""
    """The date whose free times the caller has heard."""
    appointments: tuple[Appointment, ...] | None = None
    """None = not looked up yet."""
    news: tuple[News, ...] = ()
    last: tuple[str, ...] = ()
    """What was said last before "anything else?": for who asks again."""
    sure: str = ""
    """A tool wants to be told once more: its question."""
    aside: bool = False
    """What the caller said last has nothing to do with all this."""
    again: bool = False
    """The caller did not get it."""
    misses: int = 0
    """How often in a row the open question got no answer."""
    failed: bool = False
    """A tool did not work."""
    working: bool = False
    """A tool is not ready yet."""
    ended: str = ""
    """The words with which the talk ended."""


@dataclass(frozen=True, slots=True)
class Setting:
    """In which language and on what day the talk is."""

    language: str
    today: date
    wording: Wording = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wording", SPANISH if self.spanish else ENGLISH)

    @property
    def spanish(self) -> bool:
        return self.language.lower().startswith("es")

    def say(self, key: str, **values: object) -> str:
        return self.wording.said[key].format(**values)

    def day(self, day: str) -> str:
        """ "Tuesday, November 24"."""
        when = date.fromisoformat(day)
        year = (
            (f" de {when.year}" if self.spanish else f", {when.year}") if when.year != self.today.year else ""
        )
        return say_day(when, self.language) + year

    def clock(self, hour: str) -> str:
        """ "2 PM"."""
        return say_time(hour, self.language)

    def slot(self, day: str, hour: str) -> str:
        """ "Tuesday, November 24 at 2 PM"."""
        return self.say("slot", date=self.day(day), time=self.clock(hour))

    def listed(self, items: list[str]) -> str:
        between, last = self.wording.listed
        return last.join(part for part in (between.join(items[:-1]), items[-1]) if part) if items else ""
