"""What one utterance says that matters for appointments, whatever was asked. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from pipeline.llm.rules_appointments_digits import read_code, read_digits
from pipeline.llm.rules_appointments_state import Setting, Task
from pipeline.llm.rules_appointments_words import KINDS, Ask, Wording
from pipeline.llm.rules_english import ENGLISH
from pipeline.llm.rules_match import Heard, find, parse, words_of
from pipeline.llm.rules_spanish import SPANISH
from pipeline.llm.rules_talk import name_led_in
from pipeline.when import read_date, read_time

LONGEST = 400  # characters of an utterance that are looked at
MOST_WORDS = 40
BRIEF = 6  # words: "say that again" is no part of a longer sentence
NAME_WORDS = 3
_THE_ONE = re.compile(r"\b(the|that|this|which|any|each|first|last) ones?\b(?! o'?clock)", re.IGNORECASE)
_NAME_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing that was said."""

    text: str
    words: tuple[str, ...]
    yes: bool | None
    task: Task
    digits: str
    code: str
    name: str
    """A name that was introduced as one."""
    bare_name: str
    """What may be a name where one was asked for."""
    led_in: bool
    """With the words that introduce a name: "it's …"."""
    date: str
    time: str
    of_date: str
    """Before "to": where the appointment is that is to be moved."""
    of_time: str
    nth: int | None
    anyone: bool
    drop: bool
    again: bool
    enough: bool
    bye: bool


def listen(text: str, ask: Ask, setting: Setting) -> Utterance:
    """Understand an utterance, given what was asked."""
    return _listen(text[:LONGEST], KINDS[ask], setting.today, setting.language)


@lru_cache(maxsize=512)
def _listen(text: str, kind: str, today: date, language: str) -> Utterance:
    setting = Setting(language, today)
    wording = setting.wording
    words = words_of(text)[:MOST_WORDS]
    heard = Heard(words)
    task = _task(heard, wording)
    digits = read_digits(text, wording.digits, expected=kind == "digits")
    code = read_code(text, wording, expected=kind == "code")
    # The digits of a number are no times, nor is "the one on Tuesday" at one.
    timely = _THE_ONE.sub(r"\1", text) if not (code or len(digits) > 4) else ""
    day, hour = _when(timely, kind, today, setting)
    of_day = of_hour = ""
    if task is Task.MODIFY:
        before, after = _parted(timely, setting)
        of_day, of_hour = _when(before, kind, today, setting)
        day, hour = _when(after, kind, today, setting)
    brief = len(words) <= BRIEF
    return Utterance(
        text=text,
        words=words,
        yes=_yes(heard, wording),
        task=task,
        digits=digits,
        code=code,
        name=read_name(name_led_in(text), wording),
        bare_name=read_name(text, wording) if task is Task.NONE and not digits else "",
        led_in=re.match(wording.name, text.strip(), re.IGNORECASE) is not None,
        date=day,
        time=hour,
        of_date=of_day,
        of_time=of_hour,
        nth=0 if wording.digits.first & set(words) else -1 if wording.digits.last & set(words) else None,
        anyone=_any(wording.anyone, heard),
        drop=brief and _any(wording.drop, heard),
        again=brief and _any(wording.again, heard),
        enough=brief and _any(wording.enough, heard),
        bye=_any((SPANISH if setting.spanish else ENGLISH).heard["bye"], heard),
    )


def _task(heard: Heard, wording: Wording) -> Task:
    best, task = 0.0, Task.NONE
    for name, lines in wording.tasks.items():  # of equals the earlier one
        score = max((found.score for line in lines if (found := find(parse(line), heard))), default=0.0)
        if score > best:
            best, task = score, Task(name)
    return task


def _yes(heard: Heard, wording: Wording) -> bool | None:
    # In a longer sentence only its beginning tells: consent is nothing to be guessed.
    def is_said(lines: Sequence[str]) -> bool:
        return _any([line for line in lines if line[0] == "^" or len(heard.words) <= BRIEF], heard)

    if not is_said(wording.no_problem) and is_said(wording.no):
        return False
    return True if is_said((*wording.no_problem, *wording.yes)) else None


def _any(lines: Sequence[str], heard: Heard) -> bool:
    return any(find(parse(line), heard) for line in lines)


def _when(text: str, kind: str, today: date, setting: Setting) -> tuple[str, str]:
    """(day, time) in what was said."""
    day, hour = read_date(text, today, setting.language), read_time(text, setting.language)
    if hour is None and kind == "time":
        alike = setting.wording.digits.alike
        tokens = words_of(text)
        if 0 < len(tokens) <= BRIEF:  # "to" where a time is wanted is two
            hour = read_time(" ".join(alike.get(t, t) for t in tokens), setting.language)
    return day.isoformat() if day else "", hour.strftime("%H:%M") if hour else ""


def _parted(text: str, setting: Setting) -> tuple[str, str]:
    """ "my Tuesday appointment", "Friday at three": around the last word that says where to."""
    parts = [(text[: p.start()], text[p.end() :]) for p in re.finditer(setting.wording.toward, text.lower())]
    parts.reverse()
    dated = next((part for part in parts if read_date(part[1], setting.today, setting.language)), None)
    timed = (part for part in parts if read_time(part[1], setting.language))
    return dated or next(timed, (text, ""))


def read_name(text: str, wording: Wording) -> str:
    """The name at the beginning of a text, "" if there is none."""
    rest = re.sub(wording.name, "", text.strip(), count=1, flags=re.IGNORECASE)
    words: list[str] = []
    for match in _NAME_WORD.finditer(rest.partition(",")[0].partition(".")[0]):
        if match[0].lower() in wording.not_names or len(words) == NAME_WORDS:
            break
        words.append(match[0].capitalize() if match[0].islower() else match[0])
    return " ".join(words)
