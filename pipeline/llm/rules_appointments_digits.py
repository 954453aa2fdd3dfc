"""Hears phone numbers, corrections of them, and confirmation codes. Pure functions over what was said."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.llm.rules_appointments_words import Digits, Wording

PHONE_DIGITS = 10
SURELY_PHONE = 7  # digits in a row that are a phone number though nobody asked for one
CODE_CHARS = 8
CODE_MISHEARD = 2  # characters of a code that may be wrong: the caller is asked before anything is done
_TOKEN = re.compile(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*")
_TOKEN_OR_COMMA = re.compile(_TOKEN.pattern + "|,")
_DATED = re.compile(r"\b(?:\d{4}-\d{1,2}-\d{1,2}(?:t\d|\b)|\d{1,2}/\d{1,2}(?:/\d{2,4})?\b|\d{1,2}:\d{2}\b)")
_X_RAY = re.compile(r"\bx[ -]?ray\b")
_CHUNK = re.compile(r"[a-z0-9]+|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Run:
    """Digits in a row: the tokens from `start` to `end`."""

    digits: str
    start: int
    end: int


def tokens_of(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text.lower().replace("’", "'")))


def read_digits(text: str, speech: Digits, *, expected: bool) -> str:
    """The phone number, or the part of one, in what was said; "" if there is none. Where none is expected,
    only what can hardly be anything else."""
    tokens = tokens_of(_DATED.sub(" ; ", text.lower()))
    runs = _runs(tokens, speech, expected=expected)
    said = "".join(run.digits for run in runs)
    if not expected:
        longest = max((run.digits for run in runs), key=len, default="")
        return _national(longest) if len(longest) >= SURELY_PHONE else ""
    used = {at for run in runs for at in range(run.start, run.end)}
    others = [
        t for at, t in enumerate(tokens) if at not in used and t not in speech.lead_ins | speech.fillers
    ]
    if len(said) < 3 and others:  # "the one at two": no part of a number
        return ""
    return _national(said)


def corrected(digits: str, text: str, speech: Digits) -> str:
    """The number as the caller corrects it; "" when that cannot be told."""
    tokens = tuple(_TOKEN_OR_COMMA.findall(text.lower().replace("’", "'")))
    runs = _runs(tokens, speech, expected=True)
    wrong = [r for r in runs if r.start > 0 and tokens[r.start - 1] in speech.negated and len(runs) > 1]
    right = [r for r in runs if r not in wrong]
    whole = _national("".join(run.digits for run in right))
    if len(whole) >= PHONE_DIGITS:
        return whole
    if wrong and right and wrong[0].digits in digits:
        return digits.replace(wrong[0].digits, right[-1].digits, 1)
    half = runs[0].digits[: len(runs[0].digits) // 2] if len(runs) == 1 else ""
    if half and half in digits and runs[0].start > 0 and tokens[runs[0].start - 1] in speech.negated:
        return digits.replace(half, runs[0].digits[len(half) :], 1)  # "not five five five five five six"
    new, where = _placed(tokens, right, speech)
    count = len(new)
    if not 0 < count < len(digits):
        return ""
    if where in speech.last:
        return digits[:-count] + new
    if where in speech.first:
        return new + digits[count:]
    if where in speech.middle or not where:
        return _nearest_group(digits, new, {3, 6} if where else {0, 3, 6})
    return ""


def _placed(tokens: Sequence[str], runs: Sequence[Run], speech: Digits) -> tuple[str, str]:
    """(digits, the word that says where they belong) of "the last four are 9 9 9 9"."""
    where = next((t for t in tokens if t in speech.last | speech.first | speech.middle), "")
    if not runs:
        return "", where
    longest = max(runs, key=lambda run: len(run.digits)).digits
    if where and len(longest) > 1 and int(longest[0]) == len(longest) - 1 and len(runs) == 1:
        longest = longest[1:]  # "last four nine nine nine nine"
    if where and len(runs) == 2 and len(runs[0].digits) == len(runs[1].digits) == 1:
        longest = runs[1].digits  # "the last one is five"
    return longest, where


def _nearest_group(digits: str, new: str, starts: set[int]) -> str:
    """With the group of three, three and four replaced that is most like what was said."""
    fits = [at for at in sorted(starts) if at + len(new) in (3, 6, len(digits))]
    changed = [(_distance(digits[at : at + len(new)], new), at) for at in fits]
    changed = [(far, at) for far, at in changed if far]
    if not changed:
        return ""
    at = min(changed)[1]
    return digits[:at] + new + digits[at + len(new) :]


def join_digits(before: str, new: str) -> str:
    """What was collected, with what came now."""
    return new if len(new) >= PHONE_DIGITS else _national(before + new)


def spell_phone(digits: str) -> str:
    """ "5 5 5, 1 2 3, 4 5 6 7"."""
    groups = (digits[:3], digits[3:6], digits[6:])
    return ", ".join(" ".join(group) for group in groups if group)


def _national(digits: str) -> str:
    """Without the 1 before the area code."""
    return digits[1:] if len(digits) == PHONE_DIGITS + 1 and digits[0] == "1" else digits


def _runs(tokens: Sequence[str], speech: Digits, *, expected: bool) -> list[Run]:
    """All stretches of digits, with words that only sound like digits where they must be some."""
    runs, at = list[Run](), 0
    only_digits = expected and all(
        t.isdecimal() or t in speech.one or t in speech.tens or t in speech.alike or t in speech.fillers
        or t in speech.lead_ins or t in speech.times or t in speech.zeros
        for t in tokens
    )  # fmt: skip
    while at < len(tokens):
        run = _run(tokens, at, speech, lenient=only_digits)
        if run:
            runs.append(run)
            at = run.end
        else:
            at += 1
    return runs


def _run(tokens: Sequence[str], start: int, speech: Digits, *, lenient: bool) -> Run | None:
    digits, at, sure = "", start, 0
    end, firm_end, firm_digits, first_sure = start, start, "", -1
    while at < len(tokens):
        found = _digit(tokens, at, digits, speech)
        if found is None:
            if digits and tokens[at] in speech.fillers and at + 1 < len(tokens):
                at += 1
                continue
            break
        value, at, is_sure = found
        digits, end = digits + value, at
        if is_sure:
            sure += 1
            if first_sure < 0:
                first_sure = len(digits) - len(value)
            firm_end, firm_digits = at, digits
    if not digits or not (sure or lenient):
        return None
    if lenient or sure >= 2 and _all_alike_inside(tokens, start, end, speech):  # noqa: RUF021
        return Run(digits, start, end)
    return Run(firm_digits[first_sure:], start, firm_end) if sure else None


def _all_alike_inside(tokens: Sequence[str], start: int, end: int, speech: Digits) -> bool:
    """Whether what only sounds like a digit stands between digits: "five for five"."""
    return tokens[start] not in speech.alike and tokens[end - 1] not in speech.alike


def _digit(tokens: Sequence[str], at: int, before: str, speech: Digits) -> tuple[str, int, bool] | None:
    """(digits, next place, whether it is surely a number) of what stands at one place."""
    token = tokens[at]
    if token.isdecimal():
        return token, at + 1, True
    if token in speech.times and at + 1 < len(tokens):
        single = tokens[at + 1] if tokens[at + 1].isdecimal() else speech.one.get(tokens[at + 1], "")
        return (single * speech.times[token], at + 2, True) if len(single) == 1 else None
    if token in speech.tens:
        unit = at + 2 if at + 1 < len(tokens) and tokens[at + 1] in speech.joined else at + 1
        units = speech.one.get(tokens[unit], "") if unit < len(tokens) else ""
        if len(units) == 1 and units != "0":
            return speech.tens[token] + units, unit + 1, True
        return speech.tens[token] + "0", at + 1, True
    if token in speech.one:
        return speech.one[token], at + 1, True
    if token in speech.zeros and before:
        return speech.zeros[token], at + 1, True
    if token in speech.alike:
        return speech.alike[token], at + 1, False
    return None


# -- codes ----------------------------------------------------------------------------------------------


def is_code(text: str) -> bool:
    """Whether it looks like a confirmation code."""
    return (
        len(text) == CODE_CHARS
        and text.isascii()
        and text.isalnum()
        and not text.isdecimal()
        and any(c.isdecimal() for c in text)
    )


def read_code(text: str, wording: Wording, *, expected: bool) -> str:
    """The confirmation code in what was said, typed or letter by letter; "" if there is none."""
    chunks = _CHUNK.findall(_X_RAY.sub("x", text.lower()))
    typed = next((chunk for chunk in chunks if is_code(chunk)), "")
    if typed:
        return typed
    best = max(_spelled(chunks, wording), key=len, default="")
    if len(best) > CODE_CHARS:  # "the code is k …": what leads in may sound like letters
        best = next((part for part in (best[-CODE_CHARS:], best[:CODE_CHARS]) if is_code(part)), "")
    least = CODE_CHARS - CODE_MISHEARD if expected else CODE_CHARS
    has_digit, has_letter = any(c.isdecimal() for c in best), any(c.isalpha() for c in best)
    return best if len(best) >= least and has_digit and has_letter else ""


def _spelled(chunks: Sequence[str], wording: Wording) -> list[str]:
    """Every stretch of letters and digits."""
    stretches, current, at = list[str](), "", 0
    while at < len(chunks):
        if tuple(chunks[at : at + 2]) in wording.double_u:
            current, at = current + "w", at + 2
            continue
        character = _character(chunks[at], wording)
        if not character and current:
            stretches.append(current)
            current = ""
        current, at = current + character, at + 1
    return [*stretches, current]


def _character(chunk: str, wording: Wording) -> str:
    if len(chunk) == 1 or (any(c.isdecimal() for c in chunk) and chunk.isascii()):
        return chunk
    digits = wording.digits
    tens = digits.tens[chunk] + "0" if chunk in digits.tens else ""
    return wording.letters.get(chunk) or digits.one.get(chunk) or digits.alike.get(chunk) or tens


def nearest_code(heard: str, known: Sequence[str]) -> str:
    """The known code that was most probably meant; "" if none is near."""
    if heard in known:
        return heard
    near = sorted((_distance(heard, code), code) for code in known)
    if not near or near[0][0] > CODE_MISHEARD or (len(near) > 1 and near[1][0] == near[0][0]):
        return ""
    return near[0][1]


def _distance(a: str, b: str) -> int:
    """How many characters must be changed, added or left out to make them equal."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
    return row[-1]
