"""What the offline responder can do: a table of intents, and the choice among them.

An intent listens for patterns and answers with text or a tool call. A domain of its own (appointments, say)
adds rows: `choose` takes any table.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from pipeline.contracts import Message, ToolCall
from pipeline.llm import rules_numbers as numbers
from pipeline.llm.rules_english import ENGLISH
from pipeline.llm.rules_match import Heard, find, parse
from pipeline.llm.rules_phrases import Phrases
from pipeline.llm.rules_spanish import SPANISH
from pipeline.llm.rules_talk import LONGEST, Talk
from pipeline.llm.rules_time import CITIES, place_in, say_date, say_time

Answer = str | ToolCall
HINTS = 2  # how often in a conversation it says how to connect a real model
COUNT_AT_MOST = 30
QUOTED_WORDS = 30  # more than that nobody wants to hear repeated


@dataclass(frozen=True, slots=True)
class Intent:
    """Something that can be asked for."""

    name: str
    patterns: Mapping[str, tuple[str, ...]]
    """By language, "en" and "es"."""
    reply: Callable[[Talk, tuple[str, ...]], Answer | None]
    """Given the talk and the words after the match; None = it was not meant."""


def choose(talk: Talk, table: Sequence[Intent]) -> Answer | None:
    """The answer of the intent that fits best, or None. Of equals, the earlier row."""
    language = "es" if talk.spanish else "en"
    heard, hits = Heard(talk.words), []
    for row, intent in enumerate(table):
        for line in intent.patterns.get(language, ()):
            found = find(parse(line), heard)
            if found:
                hits.append((-found.score, row, found.rest, intent))
    for _, _, rest, intent in sorted(hits, key=lambda hit: hit[:2]):
        answer = intent.reply(talk, rest)
        if answer is not None:
            return answer
    return None


def say(talk: Talk, what: str, **values: Any) -> str:
    """One of the ways to say it, filled in."""
    return talk.pick(phrases_of(talk).said[what]).format(**values)


def phrases_of(talk: Talk) -> Phrases:
    return SPANISH if talk.spanish else ENGLISH


# -- replies --------------------------------------------------------------------------------------------


def calculate(talk: Talk) -> str | None:
    """The result of the sum in what was said, if there is one."""
    speech = numbers.SPANISH if talk.spanish else numbers.ENGLISH
    try:
        value = numbers.calculate(talk.words, speech)
    except numbers.DividedByZero:
        return say(talk, "by_zero")
    except numbers.TooLarge:
        return say(talk, "too_large")
    if value is None:
        return None
    text, exact = numbers.say_number(value, "," if talk.spanish else ".")
    return say(talk, "sum" if exact else "about", value=text)


def unclear(talk: Talk) -> str:
    """What was understood, that it has no answer, and now and then how to get a better one."""
    if not talk.words:
        return say(talk, "silent")
    last = _quote(talk.text)
    hints = [any(hint in reply for hint in phrases_of(talk).said["hint"]) for reply in talk.replies]
    more = "offer" if sum(hints) >= HINTS or any(hints[-2:]) else "hint"
    return say(talk, "unclear", last=last) + say(talk, more)


def from_tool(talk: Talk, result: Message) -> str:
    """Words a tool's result."""
    try:
        content = json.loads(result.content)
    except ValueError:
        content = {}
    if not isinstance(content, Mapping):
        content = {}
    if content.get("message"):
        return str(content["message"])
    if content.get("ok") is False or content.get("error"):
        return say(talk, "failed")
    if result.name == "clock":
        try:
            now = datetime.fromisoformat(f"{content.get('date')}T{content.get('time')}")
        except ValueError:
            return say(talk, "failed")
        return _day(talk, now) if choose(talk, _DATE_OR_TIME) == "date" else _time(talk, now)
    return say(talk, "done")


def _plain(what: str) -> Callable[[Talk, tuple[str, ...]], str]:
    return lambda talk, _rest: say(talk, what)


def _greeting(what: str) -> Callable[[Talk, tuple[str, ...]], str]:
    def reply(talk: Talk, _rest: tuple[str, ...]) -> str:
        return say(talk, what, name=f", {talk.name}" if talk.name else "")

    return reply


def _who(talk: Talk, _rest: tuple[str, ...]) -> str:
    return say(talk, "who", persona=talk.persona or "Parley")


def _named(talk: Talk, _rest: tuple[str, ...]) -> str | None:
    return say(talk, "named", name=talk.name) if talk.name else None


def _my_name(talk: Talk, _rest: tuple[str, ...]) -> str:
    return say(talk, "my_name", name=talk.name) if talk.name else say(talk, "no_name")


def _repeat_after(talk: Talk, rest: tuple[str, ...]) -> str:
    text = _tail_of(talk.text, len(rest))
    return _sentence(text)


def _spell_name(talk: Talk, _rest: tuple[str, ...]) -> str:
    return _spelled(talk, talk.name) if talk.name else say(talk, "no_name")


def _spell(talk: Talk, rest: tuple[str, ...]) -> str | None:
    skipped = {"the", "word", "la", "palabra", "please", "por", "favor", "me", "for"}
    kept = [w for w in rest if w not in skipped]
    if kept in (["my", "name"], ["mi", "nombre"]):
        return _spell_name(talk, rest)
    return _spelled(talk, " ".join(kept[:4])) if kept else None


def _spelled(talk: Talk, word: str) -> str:
    letters = ", ".join(c.upper() for c in word if c.isalnum())
    return say(talk, "spelled", word=word.capitalize() if word.islower() else word, letters=letters)


def _heard_what(talk: Talk, _rest: tuple[str, ...]) -> str:
    if len(talk.users) < 2:
        return say(talk, "heard_nothing")
    return say(talk, "heard_what", last=_quote(talk.users[-2]))


def _again(talk: Talk, _rest: tuple[str, ...]) -> str:
    return talk.replies[-1] if talk.replies else say(talk, "nothing_to_repeat")


def _clock(talk: Talk, _rest: tuple[str, ...]) -> Answer:
    zone = CITIES.get(place_in(talk.words), "")
    if talk.offers("clock"):
        return _ask_clock(talk, zone)
    now = talk.now()
    return _time(talk, now.astimezone(ZoneInfo(zone)) if zone else now)


def _date(talk: Talk, _rest: tuple[str, ...]) -> Answer:
    return _ask_clock(talk, "") if talk.offers("clock") else _day(talk, talk.now())


def _ask_clock(talk: Talk, zone: str) -> ToolCall:
    # Unique within the conversation, and the same whenever this prompt is answered again.
    return ToolCall(f"clock_{len(talk.prompt.messages)}", "clock", {"timezone": zone} if zone else {})


def _time(talk: Talk, now: datetime) -> str:
    time, place = say_time(now, spanish=talk.spanish), place_in(talk.words).title()
    if talk.spanish and now.hour == 1:  # one o'clock is singular
        return f"Es la {time}."
    return say(talk, "clock_in", place=place, time=time) if place else say(talk, "clock", time=time)


def _day(talk: Talk, now: datetime) -> str:
    words, phrases = set(talk.words), phrases_of(talk)
    if words & {"month", "mes", "year", "año"}:
        return say(talk, "month", month=phrases.months[now.month - 1], year=now.year)
    shift = 1 if words & {"tomorrow", "mañana"} else -1 if words & {"yesterday", "ayer"} else 0
    what = {1: "tomorrow", -1: "yesterday"}.get(shift, "date")
    return say(talk, what, date=say_date(now + timedelta(days=shift), phrases, spanish=talk.spanish))


def _count(talk: Talk, rest: tuple[str, ...]) -> str | None:
    speech = numbers.SPANISH if talk.spanish else numbers.ENGLISH
    ends, at = [], 0
    while at < len(rest):
        read = numbers.read_number(rest, at, speech)
        if read and read[0].denominator == 1:
            ends.append(int(read[0]))
        at = read[1] if read else at + 1
    if not ends:
        return None
    down = bool({"down", "backwards", "atrás"} & set(talk.words))
    first, last = ends[:2] if len(ends) > 1 else (ends[0], 1) if down else (1, ends[0])
    if abs(last - first) >= COUNT_AT_MOST:
        return say(talk, "count_far")
    step = 1 if last >= first else -1
    return say(talk, "count", numbers=", ".join(str(n) for n in range(first, last + step, step)))


def _chance(talk: Talk, sides: int) -> int:
    # A seed from the history: the next toss differs, the same prompt again does not.
    return crc32("\n".join((*talk.users, *talk.replies)).encode()) % sides


def _coin(talk: Talk, _rest: tuple[str, ...]) -> str:
    said = phrases_of(talk).said
    return say(talk, "coin", side=(said["heads"], said["tails"])[_chance(talk, 2)][0])


def _dice(talk: Talk, _rest: tuple[str, ...]) -> str:
    return say(talk, "dice", value=_chance(talk, 6) + 1)


def _yes(talk: Talk, _rest: tuple[str, ...]) -> str:
    return say(talk, "yes")


# -- text -----------------------------------------------------------------------------------------------


def _quote(text: str) -> str:
    """What was said, short enough to be said back, without the marks that end a sentence."""
    words = text[:LONGEST].split()
    short = " ".join(words[:QUOTED_WORDS]) + (" …" if len(words) > QUOTED_WORDS else "")
    return short.strip().rstrip(".").replace('"', "'")


def _tail_of(text: str, count: int) -> str:
    """The last `count` words as they were written."""
    return " ".join(text[:LONGEST].split()[-count:]) if count else ""


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in (".", "!", "?") else text + "."


def _row(name: str, reply: Callable[[Talk, tuple[str, ...]], Answer | None] | None = None) -> Intent:
    patterns = {"en": ENGLISH.heard[name], "es": SPANISH.heard[name]}
    return Intent(name, patterns, reply or _plain(name))


TABLE: tuple[Intent, ...] = (
    _row("stop"),
    _row("repeat_after", _repeat_after),
    _row("spell_name", _spell_name),
    _row("spell", _spell),
    _row("heard_what", _heard_what),
    _row("again", _again),
    _row("my_name", _my_name),
    _row("named", _named),
    _row("clock", _clock),
    _row("date", _date),
    _row("count", _count),
    _row("joke"),
    _row("fact"),
    _row("coin", _coin),
    _row("dice", _dice),
    _row("help"),
    _row("real"),
    _row("who", _who),
    _row("how_are_you"),
    _row("hear_me"),
    _row("glad"),
    _row("plug"),
    _row("thanks"),
    _row("bye", _greeting("bye")),
    _row("hello", _greeting("hello")),
    _row("yes", _yes),
    _row("no"),
)
_DATE_OR_TIME = (_row("clock", lambda _t, _r: "time"), _row("date", lambda _t, _r: "date"))
