"""Understands dates and times of day as people say them: "tomorrow", "the twenty third", "half past ten".

English and Spanish, also in the middle of a sentence. Pure and quick (well below a millisecond), so that it
may run on the event loop; what it does not know, `pipeline.tools.when` asks a bigger parser. An hour without
"am" or "pm" is meant in business hours: "at two" is 14:00.

A text becomes a list of parts: words, and numbers however they are written. A reader looks at one place of it
and answers what stands there and how many parts that is.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from pipeline.when_words import Speech, speech_of

_MOST_CHARACTERS = 400  # nobody says when in more
_AFTERNOON_UNTIL = 6  # hours from 1 to this one are after noon, unless "am" is said
_SOME_DAY = date(2024, 1, 1)  # any will do where only the place of a date in the text is asked for
_PARTS = re.compile(
    r"(?P<iso>\d{4}-\d{1,2}-\d{1,2})|(?P<slashed>\d{1,2}/\d{1,2}(?:/\d{2,4})?)"
    r"|(?P<clock>\d{1,2}[:.]\d{2}(?!\d))|(?P<number>\d+)(?P<ordinal>st|nd|rd|th|º|ª)?|(?P<word>[a-z@][a-z']*)"
)
_HALVES = re.compile(r"\b([ap])\.? ?m\b\.?")  # "p. m.", "p.m."
_PHONE = re.compile(r"\+?\(?\d[\d() .-]{6,}\d{4}(?!\d)")  # digits of a phone number are no times
_WRITTEN = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")


@dataclass(frozen=True, slots=True)
class _Part:
    """A word (`number` is -1), a number, or a date or time written in digits."""

    text: str
    number: int = -1
    ordinal: bool = False
    kind: str = "word"


Parts = Sequence[_Part]
_FoundDate = tuple[date | None, int]
"""The day, None for one that the calendar does not have; and how many parts say it."""
_FoundTime = tuple[time | None, int]


def read_date(text: str, now: datetime | date, language: str = "en") -> date | None:
    """The first day that is spoken of; None if there is none. Days without a year are the next ones to come;
    today's own weekday is the one in a week."""
    today = now.date() if isinstance(now, datetime) else now
    speech = speech_of(language)
    found = _first_date(_parts(text, speech), today, speech)
    return found[0] if found else None


def read_time(text: str, language: str = "en") -> time | None:
    """The first time of day that is spoken of; None if there is none.

    A lone number counts where a time is to be expected: after "at", after a day, or as the whole answer.
    """
    speech = speech_of(language)
    parts = _parts(text, speech)
    dated = _first_date(parts, _SOME_DAY, speech)
    start, length = (dated[1], dated[2]) if dated else (-1, 0)
    later = _mentions(parts, speech.later)
    morning = _mentions(_without(parts, start, length), speech.morning)
    sure: time | None = None
    for at in range(len(parts)):
        if start <= at < start + length:
            continue
        found = _time_at(parts, at, speech)
        if found is None and (at == start + length > 0 or _expects_time(parts, at, speech)):
            found = _bare_hour(parts, at, speech)
        if found is not None and found[0] is not None:
            sure = _settled(parts, at + found[1], found[0], speech, later=later, morning=morning)
            break
    return sure


def _settled(parts: Parts, end: int, said: time, speech: Speech, *, later: bool, morning: bool) -> time:
    """The time in the half of the day that is meant: what follows it counts more than what is elsewhere."""
    if _phrase_at(parts, end, speech.later):
        later, morning = True, False
    elif _phrase_at(parts, end, speech.morning):
        later, morning = False, True
    elif later and morning:
        later = morning = False
    hour = said.hour
    if later and 1 <= hour < 12:
        hour += 12
    elif morning and hour == 12:
        hour = 0
    elif not morning and not later and 1 <= hour <= _AFTERNOON_UNTIL and not _is_24h(parts, end):
        hour += 12
    return said.replace(hour=hour)


def _is_24h(parts: Parts, end: int) -> bool:
    """ "03:00", with a zero in front."""
    return parts[end - 1].kind == "clock" and parts[end - 1].text.startswith("0")


# -- text -> parts --------------------------------------------------------------------------------------


def _parts(text: str, speech: Speech) -> list[_Part]:
    plain = unicodedata.normalize("NFKD", text[:_MOST_CHARACTERS].lower().replace("’", "'"))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("o'clock", "oclock")
    plain = _PHONE.sub(lambda m: m[0] if _WRITTEN.search(m[0]) else " ; ", plain)
    plain = _HALVES.sub(r"\1m", plain)
    return list(_joined([_part(m, speech) for m in _PARTS.finditer(plain)], speech))


def _part(match: re.Match[str], speech: Speech) -> _Part:
    text = match[0]
    if match["iso"] or match["slashed"] or match["clock"]:
        return _Part(text, kind=str(match.lastgroup))
    if match["number"]:
        return _Part(text, int(match["number"][:9]), bool(match["ordinal"]), "digits")
    if text in speech.ordinals:
        return _Part(text, speech.ordinals[text], ordinal=True)
    return _Part(text, speech.small.get(text, speech.tens.get(text, -1)))


def _joined(parts: Parts, speech: Speech) -> Iterator[_Part]:
    """ "twenty", "third" -> 23rd."""
    at = 0
    while at < len(parts):
        part = parts[at]
        following = at + 1 + (1 if speech.between and _word(parts, at + 1) == speech.between else 0)
        apart = speech.between and following == at + 1
        if part.text in speech.tens and not apart and following < len(parts):
            unit = parts[following]
            if unit.kind == "word" and 1 <= unit.number <= 9:
                yield _Part(f"{part.text} {unit.text}", part.number + unit.number, unit.ordinal)
                at = following + 1
                continue
        yield part
        at += 1


def _word(parts: Parts, at: int) -> str:
    return parts[at].text if 0 <= at < len(parts) else ""


def _number(parts: Parts, at: int, low: int, high: int) -> int:
    """The number that stands there, if it is one of these; else -1."""
    value = parts[at].number if 0 <= at < len(parts) else -1
    return value if low <= value <= high else -1


def _phrase_at(parts: Parts, at: int, phrases: Sequence[tuple[str, ...]]) -> int:
    """How many words the first phrase has that stands there; 0 if none does."""
    first = _word(parts, at)
    for phrase in phrases:
        if phrase[0] == first and all(_word(parts, at + i) == word for i, word in enumerate(phrase)):
            return len(phrase)
    return 0


def _mentions(parts: Parts, phrases: Sequence[tuple[str, ...]]) -> bool:
    """ "am" and "pm" do not count: they only mean something right after a number."""
    spoken = tuple(p for p in phrases if p not in (("am",), ("pm",)))
    return any(_phrase_at(parts, at, spoken) for at in range(len(parts)))


def _without(parts: Parts, start: int, length: int) -> Parts:
    return parts if start < 0 else [*parts[:start], *parts[start + length :]]


# -- dates ----------------------------------------------------------------------------------------------


def _first_date(parts: Parts, today: date, speech: Speech) -> tuple[date | None, int, int] | None:
    """(day, where, how many parts). What is told by its month counts more than what comes before it."""
    readers: tuple[Callable[[Parts, int, date, Speech], _FoundDate | None], ...]
    for readers in ((_written, _day_of_month), (_counted, _relative, _weekday, _day_alone)):
        for at in range(len(parts)):
            for reader in readers:
                found = reader(parts, at, today, speech)
                if found is not None:
                    return found[0], at, found[1]
    return None


def _written(parts: Parts, at: int, today: date, speech: Speech) -> _FoundDate | None:
    part = parts[at]
    if part.kind == "iso":
        year, month, day = map(int, part.text.split("-"))
        return _day(year, month, day), 1
    if part.kind != "slashed":
        return None
    first, second, *rest = map(int, part.text.split("/"))
    day_first = first > 12 or (speech.day_first and second <= 12)
    day, month = (first, second) if day_first else (second, first)
    if not rest:
        return _next_such(today, month, day), 1
    return _day(rest[0] if rest[0] > 99 else 2000 + rest[0], month, day), 1


def _day_of_month(parts: Parts, at: int, today: date, speech: Speech) -> _FoundDate | None:
    """ "November the 24th", "24 de noviembre de 2026"."""
    month = speech.months.get(_word(parts, at), 0)
    if month:
        end = at + 1 + (_word(parts, at + 1) in speech.the)
        if (day := _number(parts, end, 1, 31)) < 0:
            return None
    else:
        if (day := _number(parts, at, 1, 31)) < 0:
            return None
        end = at + 1
        while _word(parts, end) in speech.of:
            end += 1
        if not (month := speech.months.get(_word(parts, end), 0)):
            return None
    year, end = _year(parts, end + 1, speech)
    return _day(year, month, day) if year else _next_such(today, month, day), end - at


def _year(parts: Parts, at: int, speech: Speech) -> tuple[int, int]:
    """(the year or 0, where what follows begins): "2026", "of 2026", "twenty twenty six"."""
    start = at + (_word(parts, at) in speech.of)
    if (year := _number(parts, start, 1900, 2999)) > 0:
        return year, start + 1
    if _word(parts, start) == "twenty" and (short := _number(parts, start + 1, 20, 99)) > 0:
        return 2000 + short, start + 2
    return 0, at


def _counted(parts: Parts, at: int, today: date, speech: Speech) -> _FoundDate | None:
    """ "in two weeks", "three days from now", "a week from Monday"."""
    start = at + (_word(parts, at) in speech.within)
    count = 1 if _word(parts, start) in speech.one else _number(parts, start, 1, 60)
    days = speech.units.get(_word(parts, start + 1), 0)
    if count < 0 or not days:
        return None
    end = start + 2
    onward = _phrase_at(parts, end, speech.onward)
    if not onward:
        return (today + timedelta(days * count), end - at) if start > at else None
    since = _relative(parts, end + onward, today, speech) or _weekday(parts, end + onward, today, speech)
    day, more = since if since else (today, 0)
    return (day and day + timedelta(days * count), end + onward + more - at)


def _relative(parts: Parts, at: int, today: date, speech: Speech) -> _FoundDate | None:
    for phrase, days in speech.relative.items():
        if _phrase_at(parts, at, (phrase,)):
            if phrase == ("manana",) and _word(parts, at - 1) == "la":
                continue  # "por la mañana": in the morning
            return today + timedelta(days), len(phrase)
    return None


def _weekday(parts: Parts, at: int, today: date, speech: Speech) -> _FoundDate | None:
    """ "Friday", "next Friday", "Friday of next week", "Friday the 27th"."""
    week = _phrase_at(parts, at, speech.next_week)
    start = at + week
    is_next = _word(parts, start) in speech.next
    is_this = _word(parts, start) in speech.this
    start += is_next or is_this
    if week and not is_next:
        start += _word(parts, start) in ("on", "el")
    wanted = speech.weekdays.get(_word(parts, start))
    if wanted is None:
        return None
    end = start + 1
    skipped = end
    while _word(parts, skipped) in (*speech.of, "the", "la", "en", "in"):
        skipped += 1
    if not week and (week := _phrase_at(parts, skipped, speech.next_week)):
        end = skipped + week
    if _word(parts, end) == "que" and _word(parts, end + 1) == "viene":
        end += 2
    numbered = end + (_word(parts, end) in speech.the)
    if (day := _number(parts, numbered, 1, 31)) > 0 and (numbered > end or parts[numbered].ordinal):
        return _next_day(today, day), numbered + 1 - at
    ahead = (wanted - today.weekday()) % 7
    if week or (is_next and not speech.next_is_the_nearest):
        ahead = 7 - today.weekday() + wanted
    elif not ahead and not is_this:
        ahead = 7
    return today + timedelta(ahead), end - at


def _day_alone(parts: Parts, at: int, today: date, speech: Speech) -> _FoundDate | None:
    """ "the twenty third", "el 23"; without an article only an ordinal that is nearly all there is."""
    if (day := _number(parts, at, 1, 31)) < 0:
        return None
    part = parts[at]
    if _word(parts, at - 1) in speech.the:
        if not part.ordinal and _is_clock_like(parts, at + 1, speech):
            return None
        if part.ordinal and _word(parts, at + 1) in ("one", "slot", "time"):
            return None  # "the second one" is a choice
    elif not part.ordinal or len(parts) > 2:
        return None
    return _next_day(today, day), 1


def _is_clock_like(parts: Parts, at: int, speech: Speech) -> bool:
    return (
        _word(parts, at) in (*speech.oclock, "am", "pm")
        or bool(_phrase_at(parts, at, speech.later) or _phrase_at(parts, at, speech.morning))
        or (_word(parts, at) in speech.past and _word(parts, at + 1) in speech.half | speech.quarter)
    )


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _next_such(today: date, month: int, day: int) -> date | None:
    """That day of this year, or of the next one that has it."""
    days = (_day(today.year + more, month, day) for more in range(9))  # 29 February: at most 8 years
    return next((found for found in days if found and found >= today), None)


def _next_day(today: date, day: int) -> date | None:
    """That day of this month, or of the next one that has it."""
    months = (today.month - 1 + more for more in range(4))
    days = (_day(today.year + month // 12, month % 12 + 1, day) for month in months)
    return next((found for found in days if found and found >= today), None)


# -- times ----------------------------------------------------------------------------------------------


def _time_at(parts: Parts, at: int, speech: Speech) -> _FoundTime | None:
    """A time that can be nothing else."""
    part = parts[at]
    if part.kind == "clock":
        hour, minute = map(int, re.split(r"[:.]", part.text))
        return _time(hour, minute), 1
    if part.text in speech.noon:
        return time(12), 1
    if part.text in speech.midnight:
        return time(0), 1
    return _past(parts, at, speech) or _hour_marked(parts, at, speech)


def _past(parts: Parts, at: int, speech: Speech) -> _FoundTime | None:
    """ "half past ten", "a quarter to three", "ten past two"; the Spanish forms are with the hour."""
    if "past" not in speech.past:
        return None
    minutes = _minutes(parts, at, speech)
    if minutes < 0:
        return None
    middle = at + 1 + (_word(parts, at + 1) in ("minutes", "minute"))
    if (hour := _number(parts, middle + 1, 1, 23)) < 0:
        # "half ten" is said in Britain
        hour = _number(parts, at + 1, 1, 12) if _word(parts, at) in speech.half else -1
        return (_time(hour, 30), 2) if hour > 0 else None
    if _word(parts, middle) in speech.past:
        return _time(hour, minutes), middle + 2 - at
    if _word(parts, middle) in speech.to:
        return _time((hour - 1) or 12, 60 - minutes), middle + 2 - at
    return None


def _minutes(parts: Parts, at: int, speech: Speech) -> int:
    if _word(parts, at) in speech.half:
        return 30
    if _word(parts, at) in speech.quarter:
        return 15
    value = _number(parts, at, 1, 59)
    return value if value % 5 == 0 else -1


def _hour_marked(parts: Parts, at: int, speech: Speech) -> _FoundTime | None:
    """An hour, perhaps with minutes, that "am", "o'clock", "in the afternoon" or the like follows."""
    found = _bare_hour(parts, at, speech)
    if found is None or found[0] is None:
        return None
    end = at + found[1]
    marked = (
        _word(parts, end) in speech.oclock
        or _phrase_at(parts, end, speech.later)
        or _phrase_at(parts, end, speech.morning)
    )
    return (found[0], found[1]) if marked or (found[0].minute and parts[at].kind == "word") else None


def _bare_hour(parts: Parts, at: int, speech: Speech) -> _FoundTime | None:
    """ "ten", "ten thirty", "ten oh five"; "dos y media", "tres menos cuarto"; the Spanish "la una"."""
    one = _word(parts, at) == "una" and _word(parts, at - 1) == "la"
    hour = 1 if one else _number(parts, at, 0, 23)
    if hour < 0 or parts[at].ordinal or _word(parts, at + 1) in speech.units:
        return None
    link, after = _word(parts, at + 1), at + 2
    if "past" not in speech.past and link in speech.past | speech.to:
        minutes = _minutes(parts, after, speech)
        if minutes > 0 and link in speech.past:
            return _time(hour, minutes), 3
        if minutes > 0:
            return _time((hour - 1) or 12, 60 - minutes), 3
    if link == "oh" and (few := _number(parts, after, 1, 9)) > 0:
        return _time(hour, few), 3
    minutes = _number(parts, at + 1, 10, 59)
    if hour and minutes > 0 and minutes % 5 == 0 and not parts[at + 1].ordinal:
        return _time(hour, minutes), 2
    return _time(hour, 0), 1


def _expects_time(parts: Parts, at: int, speech: Speech) -> bool:
    """A lone number here is an hour: after "at", or because nothing else is said."""
    if _word(parts, at - 1) in speech.at:
        return True
    around = [*parts[:at], *parts[at + 1 :]]
    return (
        all(part.text in speech.filler or 0 <= part.number < 60 for part in around)
        and not any(part.number >= 0 and part.text not in speech.filler for part in parts[:at])
        and len([p for p in parts if p.number >= 0]) <= 2
    )


def _time(hour: int, minute: int) -> time | None:
    return time(hour, minute) if 0 <= hour < 24 and 0 <= minute < 60 else None
