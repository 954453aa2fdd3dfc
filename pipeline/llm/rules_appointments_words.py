"""The shape of what the offline responder listens for and asks about appointments, and what kind of answer
each of its questions waits for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Ask(StrEnum):
    """The question that is open."""

    OPEN = "open"
    """None of these: the caller may want anything."""
    PHONE = "phone"
    REST = "rest"
    """The digits that are missing."""
    PHONE_OK = "phone_ok"
    NAME = "name"
    DATE = "date"
    OTHER_DATE = "other_date"
    TIME = "time"
    WHEN = "when"
    """Day and time."""
    OFFER = "offer"
    """Free times were named: one of them?"""
    OFFER_ONE = "offer_one"
    """The time that was asked about is free: book it?"""
    BOOK_OK = "book_ok"
    WHICH = "which"
    """Which of the caller's appointments."""
    CODE = "code"
    MOVE_OK = "move_ok"
    CANCEL_OK = "cancel_ok"
    RETRY = "retry"
    MORE = "more"


KINDS: Mapping[Ask, str] = {
    Ask.OPEN: "open",
    Ask.PHONE: "digits",
    Ask.REST: "digits",
    Ask.PHONE_OK: "yes_no",
    Ask.NAME: "name",
    Ask.DATE: "date",
    Ask.OTHER_DATE: "date",
    Ask.TIME: "time",
    Ask.WHEN: "date",
    Ask.OFFER: "yes_no",
    Ask.OFFER_ONE: "yes_no",
    Ask.BOOK_OK: "yes_no",
    Ask.WHICH: "date",
    Ask.CODE: "code",
    Ask.MOVE_OK: "yes_no",
    Ask.CANCEL_OK: "yes_no",
    Ask.RETRY: "yes_no",
    Ask.MORE: "yes_no",
}
"""What the answer will be, whatever the wording: for a recognizer's grammar and the patience with pauses."""

AGREEING = frozenset((Ask.PHONE_OK, Ask.BOOK_OK, Ask.MOVE_OK, Ask.CANCEL_OK))
"""A yes to these counts only if what it is about was heard."""


@dataclass(frozen=True, slots=True)
class Digits:
    """How a language says digits, one by one."""

    one: Mapping[str, str]
    """A word for one digit, or for several ("ten")."""
    tens: Mapping[str, str]
    """ "twenty" is "2" before a digit and "20" elsewhere."""
    alike: Mapping[str, str]
    """Other words that sound like digits: they count among digits only."""
    times: Mapping[str, int]
    """ "double five"."""
    zeros: Mapping[str, str]
    """ "eight hundred": what is added to the digits before."""
    fillers: frozenset[str]
    """What may stand between two digits."""
    lead_ins: frozenset[str]
    """What may stand around a number without meaning anything else."""
    last: frozenset[str]
    first: frozenset[str]
    middle: frozenset[str]
    negated: frozenset[str]
    """ "not five, six"."""
    joined: frozenset[str]
    """What joins tens and units: "treinta y uno"."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One language's half of the talk about appointments. Patterns are those of `rules_match`."""

    tasks: Mapping[str, tuple[str, ...]]
    """What may be asked for, by task."""
    yes: tuple[str, ...]
    no: tuple[str, ...]
    no_problem: tuple[str, ...]
    """What begins like a no and is none."""
    enough: tuple[str, ...]
    """ "That's all": the end, when asked whether there is anything else."""
    drop: tuple[str, ...]
    """ "Never mind": the task is given up."""
    again: tuple[str, ...]
    anyone: tuple[str, ...]
    """ "The first one", "any of them": of free times, the first."""
    asks: Mapping[Ask, tuple[str, ...]]
    """The questions: the first time, and when it has to be asked again."""
    said: Mapping[str, str]
    toward: str
    """A regular expression for what stands before where an appointment is moved to; the last one counts."""
    name: str
    """A regular expression: what leads in to a name."""
    not_names: frozenset[str]
    digits: Digits
    letters: Mapping[str, str]
    """Names of letters."""
    double_u: tuple[tuple[str, ...], ...]
    listed: tuple[str, str]
    """What joins a list: its pieces, and the last two."""


def in_order(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def pairs(text: str) -> dict[str, str]:
    """ "won=1 to=2"."""
    return dict(pair.split("=") for pair in text.split())
