"""Spoken numbers and the small arithmetic people ask for, in English and Spanish. Exact: fractions inside."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

LARGEST = Fraction(10**15)  # past that nobody listens to the digits
LONGEST = 18  # digits of one number; a card number read out is no operand

Words = Sequence[str]
Sign = tuple[tuple[str, ...], str]


class TooLarge(ValueError):
    """The result has more digits than anybody wants to hear."""


class DividedByZero(ValueError):
    """Somebody tried."""


@dataclass(frozen=True, slots=True)
class NumberWords:
    """How a language says numbers and sums."""

    small: Mapping[str, int]
    """Words that add up: units, teens, tens, Spanish hundreds."""
    large: Mapping[str, int]
    """Words that multiply what came before: hundred, thousand, million."""
    joiners: frozenset[str]
    point: frozenset[str]
    negative: str
    operators: tuple[Sign, ...]
    """Phrases for + - * / ^, longest first."""
    shares: Mapping[tuple[str, ...], Fraction]
    """"half of", "a third of", "double": factors said before a number."""
    percent: tuple[tuple[str, ...], ...]
    of: frozenset[str]
    squared: tuple[tuple[str, ...], ...]
    root: tuple[tuple[str, ...], ...]
    adding: frozenset[str]
    """Verbs after which a joiner means plus: "add two and three"."""
    taking: tuple[frozenset[str], frozenset[str]]
    """"subtract" and "from": the second number comes first."""
    thousands_comma: bool
    """1,000 is a thousand (English), or one (Spanish)."""


_EN_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
_EN_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ENGLISH = NumberWords(
    small={w: i for i, w in enumerate((_EN_UNITS + " seventeen eighteen nineteen").split())}
    | {w: 10 * (i + 2) for i, w in enumerate(_EN_TENS.split())}
    | {"oh": 0, "nought": 0, "a": 1, "an": 1, "won": 1, "ate": 8, "fourty": 40},
    large={"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9},
    joiners=frozenset({"and"}),
    point=frozenset({"point"}),
    negative="minus",
    operators=(
        (("multiplied", "by"), "*"),
        (("divided", "by"), "/"),
        (("to", "the", "power", "of"), "^"),
        (("take", "away"), "-"),
        (("times",), "*"),
        (("time",), "*"),  # what "times" is often heard as
        (("plus",), "+"),
        (("minus",), "-"),
        (("over",), "/"),
        (("by",), "*"),
        (("x",), "*"),
    ),
    shares={
        ("half", "of"): Fraction(1, 2),
        ("a", "third", "of"): Fraction(1, 3),
        ("one", "third", "of"): Fraction(1, 3),
        ("two", "thirds", "of"): Fraction(2, 3),
        ("a", "quarter", "of"): Fraction(1, 4),
        ("three", "quarters", "of"): Fraction(3, 4),
        ("a", "tenth", "of"): Fraction(1, 10),
        ("twice",): Fraction(2),
        ("double",): Fraction(2),
        ("triple",): Fraction(3),
    },
    percent=(("percent",), ("per", "cent"), ("%",)),
    of=frozenset({"of"}),
    squared=(("squared",),),
    root=(("square", "root", "of"), ("root", "of")),
    adding=frozenset({"add", "sum"}),
    taking=(frozenset({"subtract"}), frozenset({"from"})),
    thousands_comma=True,
)

_ES_UNITS = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
    "diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco "
    "veintiséis veintisiete veintiocho veintinueve"
)
_ES_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"
_ES_HUNDREDS = (
    "cien doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos"
)
SPANISH = NumberWords(
    small={w: i for i, w in enumerate(_ES_UNITS.split())}
    | {w: 10 * (i + 3) for i, w in enumerate(_ES_TENS.split())}
    | {w: 100 * (i + 1) for i, w in enumerate(_ES_HUNDREDS.split())}
    | {
        "un": 1,
        "una": 1,
        "ciento": 100,
        "dieciseis": 16,
        "veintidos": 22,
        "veintitres": 23,
        "veintiseis": 26,
    },
    large={"mil": 1000, "millón": 10**6, "millones": 10**6, "millon": 10**6},
    joiners=frozenset({"y"}),
    point=frozenset({"coma", "punto"}),
    negative="menos",
    operators=(
        (("multiplicado", "por"), "*"),
        (("dividido", "entre"), "/"),
        (("dividido", "por"), "/"),
        (("elevado", "a"), "^"),
        (("por",), "*"),
        (("más",), "+"),
        (("mas",), "+"),
        (("menos",), "-"),
        (("entre",), "/"),
        (("x",), "*"),
    ),
    shares={
        ("la", "mitad", "de"): Fraction(1, 2),
        ("mitad", "de"): Fraction(1, 2),
        ("un", "tercio", "de"): Fraction(1, 3),
        ("un", "cuarto", "de"): Fraction(1, 4),
        ("el", "doble", "de"): Fraction(2),
        ("el", "triple", "de"): Fraction(3),
    },
    percent=(("por", "ciento"), ("porciento",), ("%",)),
    of=frozenset({"de"}),
    squared=(("al", "cuadrado"),),
    root=(("raíz", "cuadrada", "de"), ("raiz", "cuadrada", "de"), ("raíz", "de")),
    adding=frozenset({"suma", "sumar", "súmale"}),
    taking=(frozenset({"resta", "restar"}), frozenset({"de", "a"})),
    thousands_comma=False,
)
_SIGNS: tuple[Sign, ...] = (
    (("+",), "+"),
    (("-",), "-"),
    (("*",), "*"),
    (("×",), "*"),
    (("/",), "/"),
    (("÷",), "/"),
)


def read_number(words: Words, at: int, speech: NumberWords) -> tuple[Fraction, int] | None:
    """(value, next index) of the number that begins at `at`, as far as it goes."""
    if at < len(words) and words[at] in (speech.negative, "-"):
        positive = read_number(words, at + 1, speech)
        return (-positive[0], positive[1]) if positive else None
    if at < len(words) and words[at][0].isdecimal():
        number = words[at].removesuffix("%")
        return (_digits(number, speech), at + 1) if len(number) <= LONGEST else None
    start, total, group = at, 0, 0
    last_small = 10**9
    while at < len(words):
        word = words[at]
        if word in speech.small:
            value = speech.small[word]
            # "twenty one" adds up; "one two" and "twenty thirty" do not
            if at > start and not (
                value < last_small and (last_small >= 100 or (last_small >= 20 > 9 >= value))
            ):
                break
            if word in ("a", "an") and (at + 1 >= len(words) or words[at + 1] not in speech.large):
                break
            group, last_small = group + value, max(value, 1)
        elif word in speech.large:
            scale = speech.large[word]
            if scale == 100:
                group = (group or 1) * 100
            else:
                total, group = total + (group or 1) * scale, 0
            last_small = scale
        elif word in speech.joiners and at > start and _joins(words, at, last_small, speech):
            pass
        else:
            break
        at += 1
    if at == start:
        return None
    return _decimals(words, at, Fraction(total + group), speech)


def _joins(words: Words, at: int, last: int, speech: NumberWords) -> bool:
    """Whether an "and" is inside a number ("one hundred and five", "treinta y uno") and not a plus."""
    following = speech.small.get(words[at + 1], -1) if at + 1 < len(words) else -1
    if following < 0 or words[at + 1] in ("a", "an"):
        return False
    return following < last and (last >= 100 if speech is ENGLISH else 30 <= last <= 90 and following <= 9)


def _decimals(words: Words, at: int, value: Fraction, speech: NumberWords) -> tuple[Fraction, int]:
    if at + 1 >= len(words) or words[at] not in speech.point:
        return value, at
    digits, i = "", at + 1
    while (
        i < len(words)
        and len(digits) < LONGEST
        and (words[i].isdecimal() or 0 <= speech.small.get(words[i], 99) <= 9)
    ):
        digits += words[i] if words[i].isdecimal() else str(speech.small[words[i]])
        i += 1
    digits = digits[:LONGEST]
    return (value + Fraction(int(digits), 10 ** len(digits)), i) if digits else (value, at)


def _digits(text: str, speech: NumberWords) -> Fraction:
    group, decimal = (",", ".") if speech.thousands_comma else (".", ",")
    if re.fullmatch(rf"\d{{1,3}}(\{group}\d{{3}})+(\{decimal}\d+)?", text):
        text = text.replace(group, "")
    parts = re.split(r"[.,]", text)
    return Fraction(f"{parts[0]}.{''.join(parts[1:])}" if len(parts) > 1 else parts[0])


def calculate(words: Words, speech: NumberWords) -> Fraction | None:
    """The value of the first sum in the words, or None if there is none.

    Raises `DividedByZero` or `TooLarge`. A lone number is not a sum.
    """
    signs = speech.operators + _SIGNS
    if speech.adding & set(words):
        signs += tuple(((word,), "+") for word in (*speech.joiners, "to"))
    for at in range(len(words)):
        found = _taken(words, at, speech) or _sum(words, at, speech, signs)
        if found is not None:
            if abs(found) > LARGEST:
                raise TooLarge
            return found
    return None


def _taken(words: Words, at: int, speech: NumberWords) -> Fraction | None:
    """ "subtract five from ten"."""
    verbs, prepositions = speech.taking
    if words[at] not in verbs:
        return None
    less = _operand(words, at + 1, speech)
    if less is None or less[1] >= len(words) or words[less[1]] not in prepositions:
        return None
    whole = _operand(words, less[1] + 1, speech)
    return whole[0] - less[0] if whole else None


def _sum(words: Words, at: int, speech: NumberWords, known: Sequence[Sign]) -> Fraction | None:
    first = _operand(words, at, speech)
    if first is None:
        return None
    value, at, worked = first
    values, signs = [value], list[str]()
    while True:
        sign = _phrase(words, at, known)
        following = _operand(words, at + len(sign[0]), speech) if sign else None
        if sign is None or following is None:
            break
        signs.append(sign[1])
        values.append(following[0])
        at = following[1]
    if not signs and not worked:
        return None
    return _evaluate(values, signs)


def _operand(words: Words, at: int, speech: NumberWords) -> tuple[Fraction, int, bool] | None:
    """(value, next index, whether it was calculated) of a number, a share, a percentage, a square, a root."""
    for phrase in speech.root:
        if tuple(words[at : at + len(phrase)]) == phrase:
            inner = _operand(words, at + len(phrase), speech)
            return (_root(inner[0]), inner[1], True) if inner and inner[0] >= 0 else None
    for phrase, factor in speech.shares.items():
        if tuple(words[at : at + len(phrase)]) == phrase:
            inner = _operand(words, at + len(phrase), speech)
            return (factor * inner[0], inner[1], True) if inner else None
    read = read_number(words, at, speech)
    if read is None:
        return None
    value, after = read
    is_percent = words[at].endswith("%") and len(words[at]) > 1
    for phrase in speech.percent:
        if tuple(words[after : after + len(phrase)]) == phrase:
            after, is_percent = after + len(phrase), True
    if is_percent and after < len(words) and words[after] in speech.of:
        inner = _operand(words, after + 1, speech)
        return (value / 100 * inner[0], inner[1], True) if inner else None
    for phrase in speech.squared:
        if tuple(words[after : after + len(phrase)]) == phrase:
            return value * value, after + len(phrase), True
    return value, after, False


def _root(value: Fraction) -> Fraction:
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if top * top == value.numerator and bottom * bottom == value.denominator:
        return Fraction(top, bottom)
    return Fraction(math.sqrt(value))


def _phrase(words: Words, at: int, phrases: Sequence[Sign]) -> Sign | None:
    for phrase, sign in phrases:
        if tuple(words[at : at + len(phrase)]) == phrase:
            return phrase, sign
    return None


def _evaluate(values: list[Fraction], signs: list[str]) -> Fraction:
    """Powers first, then times and divided by, then the rest, as at school."""
    levels: tuple[Mapping[str, Callable[[Fraction, Fraction], Fraction]], ...] = (
        {"^": _power},
        {"*": lambda a, b: a * b, "/": _divide},
        {"+": lambda a, b: a + b, "-": lambda a, b: a - b},
    )
    for level in levels:
        i = 0
        while i < len(signs):
            if signs[i] in level:
                values[i : i + 2] = [level[signs[i]](values[i], values[i + 1])]
                del signs[i]
            else:
                i += 1
    return values[0]


def _divide(a: Fraction, b: Fraction) -> Fraction:
    if b == 0:
        raise DividedByZero
    return a / b


def _power(a: Fraction, b: Fraction) -> Fraction:
    if b.denominator != 1 or abs(b) > 50 or abs(a) > 10**6:
        raise TooLarge
    if a == 0 and b < 0:
        raise DividedByZero
    return Fraction(a ** int(b))


def say_number(value: Fraction, decimal: str = ".") -> tuple[str, bool]:
    """(digits, whether they are exact): at most four decimals."""
    if value.denominator == 1:
        return str(value.numerator), True
    rounded = round(value, 4)
    text = f"{float(rounded):.4f}".rstrip("0").rstrip(".")
    return text.replace(".", decimal), rounded == value
