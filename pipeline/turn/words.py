"""Judges from the words alone whether a pause is the end of a turn. No model, no sound, no state.

The rules look at how the text ends (and, for short texts, how it begins) and answer with the first that
applies. They are made for recognizers without punctuation; where there is some, it counts as mild evidence.
A wrong "unfinished" costs a second of waiting, a wrong "finished" cuts somebody off: hence no verdict above
0.8, and 0.5, no opinion, wherever nothing speaks for either.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.contracts import Env, TurnDetector, Verdict
from pipeline.turn.lexicon import LEXICONS, Lexicon, Phrase

OPEN, LIKELY_OPEN, NO_OPINION, LIKELY_DONE, DONE = 0.15, 0.3, 0.5, 0.7, 0.8
TAIL_CHARS = 400  # a long monologue is judged by its end: keeps the cost flat
PHONE_DIGITS = 7  # the shortest telephone number worth waiting for

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*'?")
_OPEN_MARK = re.compile(r"(\.\.\.|…|,|;|:|-|–|—)$")


@dataclass(frozen=True, slots=True)
class Options:
    """`[turn.words]`: no keys."""


@dataclass(frozen=True, slots=True)
class Said:
    """The text as the rules want it."""

    words: Sequence[str]
    mark: str
    """The punctuation it ends in, "" if none."""
    is_whole: bool
    """The words are all of the text, not its tail."""

    def ends_in(self, phrases: Sequence[Phrase]) -> Phrase | None:
        words = self.words
        for phrase in phrases:
            if len(phrase) <= len(words) and tuple(words[-len(phrase) :]) == phrase:
                return phrase
        return None

    def begins_with(self, phrases: Sequence[Phrase]) -> Phrase | None:
        for phrase in phrases:
            if self.is_whole and tuple(self.words[: len(phrase)]) == phrase:
                return phrase
        return None


Rule = Callable[[Said, Lexicon], Verdict | None]


def by_open_mark(said: Said, lexicon: Lexicon) -> Verdict | None:
    """Recognizers that punctuate write a comma, an ellipsis or a dash where the voice stayed up."""
    if _OPEN_MARK.match(said.mark):
        return Verdict(LIKELY_OPEN, f"ends in '{said.mark}'")
    if said.mark in ("?", "!") and said.words[-1] not in lexicon.fillers:
        return Verdict(DONE, f"ends in '{said.mark}'")
    return None


def by_filler(said: Said, lexicon: Lexicon) -> Verdict | None:
    last = said.words[-1]
    return Verdict(OPEN, f"ends in the filler '{last}'") if last in lexicon.fillers else None


def by_closer(said: Said, lexicon: Lexicon) -> Verdict | None:
    phrase = said.ends_in(lexicon.closers)
    return Verdict(LIKELY_DONE, f"ends in '{' '.join(phrase)}'") if phrase else None


def by_whole_answer(said: Said, lexicon: Lexicon) -> Verdict | None:
    text = " ".join(w for w in said.words if w not in lexicon.fillers)
    if said.is_whole and text in lexicon.whole:
        return Verdict(DONE, "a complete answer")
    return None


def by_opener(said: Said, lexicon: Lexicon) -> Verdict | None:
    phrase = said.ends_in(lexicon.openers)
    if phrase and not _asks(said, lexicon, len(phrase)):
        return Verdict(OPEN, f"'{' '.join(phrase)}' wants more")
    words = tuple(w for w in said.words if w not in lexicon.fillers)
    while len(words) > 1 and words[0] in lexicon.affirming | {
        "and",
        "so",
        "well",
        "but",
        "y",
        "pues",
        "und",
        "et",
    }:
        if words in lexicon.starters:
            break
        words = words[1:]
    if said.is_whole and words in lexicon.starters:
        return Verdict(OPEN, f"'{' '.join(words)}' is only a beginning")
    return None


def by_last_word(said: Said, lexicon: Lexicon) -> Verdict | None:
    last = said.words[-1]
    if last in lexicon.hanging:
        return Verdict(LIKELY_OPEN if said.mark == "." else OPEN, f"ends in '{last}'")
    if last in lexicon.stranding and not _asks(said, lexicon, 1):
        return Verdict(OPEN, f"ends in '{last}'")
    if last in lexicon.subjects and len(said.words) > 1 and said.words[-2] not in lexicon.inverted:
        return Verdict(OPEN, f"'{last}' has no verb yet")
    return None


def by_linking_verb(said: Said, lexicon: Lexicon) -> Verdict | None:
    """ "my name is" is open; "yes it is" and "what time it is" are not; "it is" may go on."""
    words = said.words
    if words[-1] not in lexicon.linking or _asks(said, lexicon, 1):
        return None
    if len(words) == 1 or (words[-2] in lexicon.pronouns):
        if words[0] in lexicon.affirming:
            return None
        return Verdict(0.4, f"'{' '.join(words[-2:])}' may go on")
    return Verdict(OPEN, f"ends in '{words[-1]}' after a noun")


def by_number(said: Said, lexicon: Lexicon) -> Verdict | None:
    words = said.words
    if words[-1] in lexicon.doublers and (len(words) == 1 or words[-2] in lexicon.digits):
        return Verdict(OPEN, f"'{words[-1]}' wants a digit")
    if len(words) > 1 and words[-1] == "point" and words[-2] in lexicon.digits:
        return Verdict(OPEN, "'point' wants decimals")
    run = 0
    while run < len(words) and words[-1 - run] in lexicon.digits | lexicon.doublers:
        run += 1
    if run and lexicon.number_nouns & set(words[-run - 3 : -run]):
        if run < PHONE_DIGITS:
            return Verdict(LIKELY_OPEN, f"only {run} digits of a telephone number")
        return Verdict(LIKELY_DONE, f"{run} digits of a telephone number")
    return None


def by_waiting_clause(said: Said, lexicon: Lexicon) -> Verdict | None:
    """ "if the reader will excuse me" has no main clause yet."""
    phrase = said.begins_with(lexicon.subordinators)
    rest = said.words[len(phrase) :] if phrase else ()
    if not phrase or not 2 <= len(rest) <= 12 or said.mark == ".":
        return None
    if any(word in lexicon.main_clause for word in rest[2:]):
        return None
    return Verdict(LIKELY_OPEN, f"a clause with '{' '.join(phrase)}' and no main clause yet")


def by_missing_verb(said: Said, lexicon: Lexicon) -> Verdict | None:
    """ "and so my fellow americans" has no verb yet."""
    words = said.words
    if not said.is_whole or not 3 <= len(words) <= 8 or words[0] not in ("and", "but"):
        return None
    if words[1] not in lexicon.links_open:
        return None
    if any(w in lexicon.verbs or (len(w) > 4 and w.endswith("ed")) for w in words[2:]):
        return None
    return Verdict(LIKELY_OPEN, f"opens with '{words[0]} {words[1]}' and has no verb yet")


def by_finished_look(said: Said, lexicon: Lexicon) -> Verdict | None:
    words = said.words
    if said.mark == "." and len(words) > 1:
        return Verdict(LIKELY_DONE, "ends in '.'")
    if len(words) > 1 and words[-1] in lexicon.enders:
        return Verdict(LIKELY_DONE, f"ends in '{words[-1]}'")
    if not said.is_whole or len(words) < 4:
        return None
    # "when you hear the bell" is a clause, "when do you open" a question
    asks = words[0] in lexicon.asking and words[1] not in lexicon.pronouns
    if asks or words[0] in lexicon.inverted:
        return Verdict(LIKELY_DONE, "a whole question")
    return None


RULES: tuple[Rule, ...] = (
    by_open_mark,
    by_filler,
    by_whole_answer,
    by_closer,
    by_opener,
    by_last_word,
    by_linking_verb,
    by_number,
    by_waiting_clause,
    by_missing_verb,
    by_finished_look,
)
_NO_WORDS = Lexicon(fillers=frozenset(), hanging=frozenset())


class WordsDetector:
    """Applies the rules of the language; of an unknown language, those about punctuation only."""

    def judge(self, text: str, language: str) -> Verdict:
        said = _said(text)
        if not said.words:
            return Verdict(NO_OPINION, "nothing said")
        lexicon = LEXICONS.get(language.replace("_", "-").split("-")[0].lower(), _NO_WORDS)
        for rule in RULES:
            verdict = rule(said, lexicon)
            if verdict is not None:
                return verdict
        return Verdict(NO_OPINION, "no opinion")


def _said(text: str) -> Said:
    text = text.strip().replace("’", "'")
    tail = text[-TAIL_CHARS:]
    is_whole = tail == text
    words = _WORD.findall(tail.lower())
    if not is_whole:
        words = words[1:]  # it may be half a word
    mark = re.search(r"(\.\.\.|[^\w\s'\"»)])[\s'\"»)]*$", tail)
    return Said(words, mark[1] if mark else "", is_whole)


def _asks(said: Said, lexicon: Lexicon, before: int) -> bool:
    """Whether a question word comes before the last words, so that they may stand at the end."""
    return any(w in lexicon.asking for w in said.words[:-before])


class WordsEngine:
    """The detector has no state: all sessions share one."""

    def __init__(self) -> None:
        self._detector = WordsDetector()

    async def warm(self) -> None:
        """Nothing to do."""

    def open(self) -> TurnDetector:
        return self._detector

    async def aclose(self) -> None:
        """Nothing to give back."""


def create(options: Options, env: Env) -> WordsEngine:  # noqa: ARG001  (needs neither)
    return WordsEngine()
