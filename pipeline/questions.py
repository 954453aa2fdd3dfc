"""What kind of answer a question waits for: digits, a date, a yes. Pure: words in, a kind out.

It reads what the agent was heard to say last, whoever worded it, and knows English and Spanish. Who knows
what is waited for hears better (`Listening`) and waits better: nobody says a telephone number in one breath.
`judge` and `paced` are that second half. A wrong kind does little harm: recognizers go on listening for
everything, and no turn is held longer than `max_silence_ms`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.contracts import Verdict
from pipeline.core.endpoint import Timing
from pipeline.question_words import ASKING, Asking

Kind = Literal["", "digits", "date", "time", "yes_no", "code", "name"]

PHONE_DIGITS = 10
CODE_SIGNS = 8
DICTATION_MS = 800
"""The silence that may end a turn of digits: between two groups people take half a second, hence more."""
SURELY, UNFINISHED = 0.95, 0.0

_SENTENCE = re.compile(r"[^.!?¿¡…]+[.!?…]*")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for."""

    kind: Kind = ""
    count: int = 0
    """How many digits or signs the whole answer has, or the number that a yes or no is about; 0 = nobody
    knows."""


NOTHING = Question()


def asked_for(reply: str, language: str) -> Kind:
    """The kind of answer that the end of a reply waits for; "" = anything."""
    return question(reply, language).kind


def question(reply: str, language: str) -> Question:
    """The same, with how long the answer is. Languages that are not known ask for nothing."""
    asking = ASKING.get(language.replace("_", "-").split("-")[0].lower())
    text = _last_question(reply.lower().replace("’", "'"), asking) if asking else ""
    if not asking or not text:
        return NOTHING
    kind = _kind(text, asking)
    if kind == "yes_no" and sum(c.isdecimal() for c in reply) >= PHONE_DIGITS:
        return Question(kind, PHONE_DIGITS)  # a number is read back: it may be said again
    if kind == "digits":
        return Question(kind, _count(text, asking) or (PHONE_DIGITS if asking.phone.search(text) else 0))
    return Question(kind, CODE_SIGNS if kind == "code" and asking.confirmation.search(text) else 0)


def _last_question(reply: str, asking: Asking) -> str:
    """The last question and what explains it: "Shall I book it? Please say yes or no."; or, where there is no
    question mark, a last sentence that asks for something all the same."""
    sentences = [s.strip() for s in _SENTENCE.findall(reply.replace("a.m.", "am").replace("p.m.", "pm"))]
    sentences = [s for s in sentences if _WORD.search(s)]
    for at in range(len(sentences) - 1, max(-1, len(sentences) - 3), -1):
        if sentences[at].endswith("?"):
            return " ".join(sentences[at:])
    last = sentences[-1] if sentences else ""
    return last if asking.request.search(last) else ""


def _kind(text: str, asking: Asking) -> Kind:
    first = text.split("?")[0]
    if asking.open.search(first):
        return ""
    wants = asking.request.search(text) or asking.which.search(first)
    if asking.confirms.search(first) or (asking.inverted.search(first) and not wants):
        # "Would you like nine or ten?" is answered with a time
        chosen = _named(first, asking.choices) if asking.either.search(first) else ""
        return chosen or "yes_no"
    found = _named(text if asking.request.search(text) else first, asking.named)
    if found or "?" not in text or asking.which.search(first):
        return found
    return "yes_no" if asking.tag.search(first) else ""


def _named(text: str, kinds: Mapping[Kind, re.Pattern[str]]) -> Kind:
    """The kind that is named first."""
    places = {kind: match.start() for kind, pattern in kinds.items() if (match := pattern.search(text))}
    return min(places, key=places.__getitem__, default="")


def _count(text: str, asking: Asking) -> int:
    match = asking.digits.search(text)
    if match is None:
        return 0
    said = match[1]
    return int(said) if said.isdecimal() else asking.numbers.get(said, 0)


# -- the answer -----------------------------------------------------------------------------------------


def paced(timing: Timing, kind: str) -> Timing:
    """When a turn that answers such a question ends. Never later than `max_silence_ms`."""
    if kind not in ("digits", "code"):
        return timing
    longer = min(max(timing.stop_ms, DICTATION_MS), max(timing.stop_ms, timing.max_silence_ms))
    return replace(timing, stop_ms=longer)


def judge(asked: Question, text: str, language: str) -> Verdict | None:
    """Whether that answers the question; None = the words alone must tell."""
    asking = ASKING.get(language.replace("_", "-").split("-")[0].lower())
    words = [w.lower() for w in _WORD.findall(text.replace("’", "'"))]
    if asking is None or not words:
        return None
    if asked.kind in ("digits", "code") and asked.count:
        return _judge_run(asked, words, asking)
    if asked.kind == "yes_no" and asked.count and digits_in(words, asking) > 2:
        return _judge_run(asked, words, asking)
    if asked.kind == "yes_no" and " ".join(w for w in words if w not in asking.fillers) in asking.answers:
        return Verdict(SURELY, "a yes or no, as was asked")
    return None


def _judge_run(asked: Question, words: Sequence[str], asking: Asking) -> Verdict | None:
    """A number is finished when it is whole: neither sooner, nor is more waited for."""
    signs = digits_in(words, asking)
    if asked.kind == "code":
        signs += sum(len(w) == 1 and w.isalpha() for w in words)
    what = "digits" if asked.kind == "digits" else "signs"
    if not signs or words[-1] in asking.enders or (signs == 1 and len(words) > 1):
        return None  # "i don't have one" is no digit
    if words[-1] in asking.doublers:
        return Verdict(UNFINISHED, f"'{words[-1]}' wants a digit")
    if signs < asked.count:
        return Verdict(UNFINISHED, f"{signs} of {asked.count} {what}")
    # A country's 1 in front makes one more; what is longer still will be asked for again.
    if signs == asked.count and not (asked.count == PHONE_DIGITS and _first(words, asking) == "1"):
        return Verdict(SURELY, f"all {signs} {what}")
    return Verdict(SURELY, f"{signs} {what}") if signs > asked.count else None


def digits_in(words: Sequence[str], asking: Asking) -> int:
    """How many digits those words are: "double five" is two, "twenty three" is two, "5551" is four."""
    return len("".join(_digits(words, asking)))


def _first(words: Sequence[str], asking: Asking) -> str:
    return "".join(_digits(words, asking))[:1]


def _digits(words: Sequence[str], asking: Asking) -> list[str]:
    found: list[str] = []
    times, tens = 1, False
    for word in words:
        if word in asking.doublers:
            times, tens = asking.doublers[word], False
            continue
        digit = word if word.isdecimal() else asking.values.get(word, "")
        if tens and len(digit) == 1 and digit != "0":
            found[-1] = found[-1][0] + digit  # "twenty" "three"
        elif digit:
            found.append(digit * times)
        tens = len(digit) == 2 and digit[1] == "0" and not word.isdecimal() and digit != "10"
        times = 1
    return found


# -- words that recognizers may be told -----------------------------------------------------------------


def likely_words(kind: str, language: str) -> tuple[str, ...]:
    """Words that such an answer is made of, for recognizers that take hints."""
    asking = ASKING.get(language.replace("_", "-").split("-")[0].lower())
    return asking.likely.get(kind, ()) if asking else ()
