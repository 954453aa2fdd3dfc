"""How English and Spanish say dates and times of day. Data only, without accents and in lower case."""

from collections.abc import Mapping
from dataclasses import dataclass

_EN_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_EN_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_EN_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_ES_SMALL = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis "
    "diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres veinticuatro veinticinco "
    "veintiseis veintisiete veintiocho veintinueve"
)
_EN_MONTHS = "january february march april may june july august september october november december"
_ES_MONTHS = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
_EN_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_ES_DAYS = "lunes martes miercoles jueves viernes sabado domingo"

_EN_FILLER = (
    "a an i the at on in and um uh er well yes yeah yep ok okay so then please thanks thank you let's "
    "make it how about say maybe around is fine good works would be great for me one slot time that's i'd "
    "like want take i'll we'll do oclock appointment"
)
_ES_FILLER = (
    "a al el la las los un una de en por para y eh pues bueno si vale claro entonces favor gracias mejor "
    "esta bien me viene quiero quisiera hora horas cita que tal digamos seria prefiero"
)


@dataclass(frozen=True, slots=True)
class Speech:
    """The words of one language."""

    small: Mapping[str, int]
    tens: Mapping[str, int]
    """Words that a smaller number may follow."""
    between: str
    """What stands between the two: "treinta y uno"."""
    ordinals: Mapping[str, int]
    months: Mapping[str, int]
    weekdays: Mapping[str, int]
    relative: Mapping[tuple[str, ...], int]
    """Phrases for a day so many days from today, longest first."""
    units: Mapping[str, int]
    """Days in "days", "weeks"."""
    within: frozenset[str]
    """ "in" two days."""
    onward: tuple[tuple[str, ...], ...]
    """two days "from now"."""
    one: frozenset[str]
    """ "a" week."""
    next_week: tuple[tuple[str, ...], ...]
    next: frozenset[str]
    next_is_the_nearest: bool
    """ "el próximo viernes" is the coming one; "next Friday" is the one of next week."""
    this: frozenset[str]
    the: frozenset[str]
    """Before the number of a day: "the 23", "el 23"."""
    of: frozenset[str]
    day_first: bool
    """4/11 is a day in November."""
    at: frozenset[str]
    """Before a time."""
    oclock: frozenset[str]
    morning: tuple[tuple[str, ...], ...]
    later: tuple[tuple[str, ...], ...]
    """What makes an hour one after noon."""
    noon: frozenset[str]
    midnight: frozenset[str]
    half: frozenset[str]
    quarter: frozenset[str]
    past: frozenset[str]
    to: frozenset[str]
    filler: frozenset[str]
    """What may stand around a time that is the whole answer."""


ENGLISH = Speech(
    small={word: n for n, word in enumerate(_EN_SMALL.split())},
    tens=_EN_TENS,
    between="",
    ordinals={word: n + 1 for n, word in enumerate(_EN_ORDINALS.split())}
    | {"twentieth": 20, "thirtieth": 30},
    months={word: n + 1 for n, word in enumerate(_EN_MONTHS.split())}
    | {word[:3]: n + 1 for n, word in enumerate(_EN_MONTHS.split())}
    | {"sept": 9},
    weekdays={word: n for n, word in enumerate(_EN_DAYS.split())}
    | {word[:3]: n for n, word in enumerate(_EN_DAYS.split()) if word[:3] not in ("sat", "sun")}
    | {f"{word}s": n for n, word in enumerate(_EN_DAYS.split())}
    | {"tues": 1, "thur": 3, "thurs": 3},
    relative={
        ("day", "after", "tomorrow"): 2,
        ("overmorrow",): 2,
        ("tomorrow",): 1,
        ("tomorrow's",): 1,
        ("yesterday",): -1,
        ("today",): 0,
        ("today's",): 0,
        ("tonight",): 0,
        ("this", "morning"): 0,
        ("this", "afternoon"): 0,
        ("this", "evening"): 0,
    },
    units={"day": 1, "days": 1, "week": 7, "weeks": 7},
    within=frozenset({"in"}),
    onward=(("from", "now"), ("from", "today"), ("from",)),
    one=frozenset({"a", "one"}),
    next_week=(("next", "week"), ("week", "after", "this")),
    next=frozenset({"next"}),
    next_is_the_nearest=False,
    this=frozenset({"this"}),
    the=frozenset({"the"}),
    of=frozenset({"of", "the"}),
    day_first=False,
    at=frozenset({"at", "around", "about", "by", "for", "@"}),
    oclock=frozenset({"oclock", "hours", "sharp"}),
    morning=(("am",), ("in", "the", "morning"), ("this", "morning"), ("morning",)),
    later=(
        ("pm",),
        ("in", "the", "afternoon"),
        ("in", "the", "evening"),
        ("at", "night"),
        ("this", "afternoon"),
        ("this", "evening"),
        ("afternoon",),
        ("evening",),
        ("tonight",),
    ),
    noon=frozenset({"noon", "midday", "noontime"}),
    midnight=frozenset({"midnight"}),
    half=frozenset({"half"}),
    quarter=frozenset({"quarter"}),
    past=frozenset({"past", "after"}),
    to=frozenset({"to", "before", "till"}),
    filler=frozenset(_EN_FILLER.split()),
)

SPANISH = Speech(
    small={word: n for n, word in enumerate(_ES_SMALL.split())},
    tens={"treinta": 30, "cuarenta": 40, "cincuenta": 50},
    between="y",
    ordinals={"primero": 1, "primer": 1},
    months={word: n + 1 for n, word in enumerate(_ES_MONTHS.split())}
    | {word[:3]: n + 1 for n, word in enumerate(_ES_MONTHS.split()) if word[:3] != "mar"}
    | {"setiembre": 9},
    weekdays={word: n for n, word in enumerate(_ES_DAYS.split())} | {"sabados": 5, "domingos": 6},
    relative={
        ("pasado", "manana"): 2,
        ("manana",): 1,
        ("ayer",): -1,
        ("hoy",): 0,
        ("esta", "noche"): 0,
        ("esta", "manana"): 0,
        ("esta", "tarde"): 0,
    },
    units={"dia": 1, "dias": 1, "semana": 7, "semanas": 7},
    within=frozenset({"en", "de"}),  # "dentro de dos días"
    onward=(("a", "partir", "de", "hoy"), ("despues", "de")),
    one=frozenset({"un", "una"}),
    next_week=(
        ("proxima", "semana"),
        ("semana", "que", "viene"),
        ("semana", "proxima"),
        ("semana", "siguiente"),
    ),
    next=frozenset({"proximo", "siguiente"}),
    next_is_the_nearest=True,
    this=frozenset({"este"}),
    the=frozenset({"el", "dia"}),
    of=frozenset({"de", "del"}),
    day_first=True,
    at=frozenset({"las", "la", "sobre", "@"}),
    oclock=frozenset({"horas", "hora", "punto"}),
    morning=(
        ("am",),
        ("de", "la", "manana"),
        ("por", "la", "manana"),
        ("en", "la", "manana"),
        ("esta", "manana"),
        ("de", "la", "madrugada"),
    ),
    later=(
        ("pm",),
        ("de", "la", "tarde"),
        ("por", "la", "tarde"),
        ("en", "la", "tarde"),
        ("esta", "tarde"),
        ("de", "la", "noche"),
        ("por", "la", "noche"),
        ("esta", "noche"),
        ("del", "mediodia"),
    ),
    noon=frozenset({"mediodia"}),
    midnight=frozenset({"medianoche"}),
    half=frozenset({"media"}),
    quarter=frozenset({"cuarto"}),
    past=frozenset({"y", "con"}),
    to=frozenset({"menos"}),
    filler=frozenset(_ES_FILLER.split()),
)


def speech_of(language: str) -> Speech:
    """Of a BCP 47 tag; English for what is neither."""
    return SPANISH if language.lower().partition("-")[0] == "es" else ENGLISH
