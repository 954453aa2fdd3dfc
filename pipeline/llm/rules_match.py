"""Finds phrases in what was heard, forgiving what a recognizer gets wrong. Pure functions.

A pattern is a line of words that must come in this order, with at most two others between any two:

    what|which time      either of two words, then "time"
    ^spell ...           at the beginning only; what follows is captured
    ^yes$                nothing else at all
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

GAP = 2
LONG = 12  # in a long sentence two stray words prove nothing
LONG_SCORE = 2.9
_WORD = re.compile(r"\d+(?:[.,]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)*|[+*/×÷=%-]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One parsed line."""

    steps: tuple[tuple[str, ...], ...]
    at_start: bool
    at_end: bool
    captures: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Where a pattern matched and how well: more and more exact words score higher."""

    score: float
    rest: tuple[str, ...]
    """The words after the match."""


def words_of(text: str) -> tuple[str, ...]:
    """Lower-case words, numbers and signs of arithmetic."""
    return tuple(_WORD.findall(text.replace("’", "'").lower()))


@lru_cache(maxsize=1024)
def parse(line: str) -> Pattern:
    """Read a pattern's line."""
    captures = line.endswith("...")
    body = line.removesuffix("...").strip()
    steps = body.removeprefix("^").removesuffix("$").split()
    return Pattern(tuple(tuple(s.split("|")) for s in steps), body[0] == "^", body[-1] == "$", captures)


class Heard:
    """An utterance, indexed: where each wanted word was heard, and how surely."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._initials: dict[str, list[int]] = {}
        for at, word in enumerate(self.words):
            self._initials.setdefault(word[0], []).append(at)
        self._known: dict[tuple[str, ...], dict[int, float]] = {}

    def places(self, step: tuple[str, ...]) -> dict[int, float]:
        """Position and likeness of every word that may be one of the step's."""
        places = self._known.get(step)
        if places is None:
            places = self._known[step] = {}
            for wanted in step:
                for at in self._initials.get(wanted[0], ()):
                    likeness = _alike(self.words[at], wanted)
                    if likeness > places.get(at, 0.0):
                        places[at] = likeness
        return places


def find(pattern: Pattern, heard: Heard) -> Found | None:
    """The best place of the pattern in what was heard."""
    best: Found | None = None
    for start in heard.places(pattern.steps[0]):
        if pattern.at_start and start > 0:
            continue
        found = _match(pattern, heard, start)
        if found and (best is None or found.score > best.score):
            best = found
    if best and len(heard.words) > LONG and best.score < LONG_SCORE and not pattern.at_start:
        return None
    return best


def _match(pattern: Pattern, heard: Heard, start: int) -> Found | None:
    score, at = heard.places(pattern.steps[0])[start], start + 1
    for step in pattern.steps[1:]:
        places = heard.places(step)
        next_at = next((i for i in range(at, at + 1 + GAP) if i in places), None)
        if next_at is None:
            return None
        score, at = score + places[next_at], next_at + 1
    rest = heard.words[at:]
    if (pattern.at_end and rest) or (pattern.captures and not rest):
        return None
    # Anchors make a pattern more telling than the same words anywhere.
    return Found(score + 0.5 * pattern.at_start + 0.5 * pattern.at_end, rest)


def _alike(heard: str, wanted: str) -> float:
    if heard == wanted:
        return 1.0
    if len(wanted) >= 5 and abs(len(heard) - len(wanted)) <= 1:
        return 0.8 if _one_edit(heard, wanted) else 0.0
    return 0.0


def _one_edit(a: str, b: str) -> bool:
    """Whether one letter changed, added or left out makes them equal."""
    if len(a) > len(b):
        a, b = b, a
    i = 0
    while i < len(a) and a[i] == b[i]:
        i += 1
    return a[i + 1 :] == b[i + 1 :] if len(a) == len(b) else a[i:] == b[i + 1 :]
