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


def find(pattern: Pattern, words: Sequence[str]) -> Found | None:
    """The best place of the pattern in the words."""
    best: Found | None = None
    for start in range(1 if pattern.at_start else len(words)):
        found = _match(pattern, words, start)
        if found and (best is None or found.score > best.score):
            best = found
    if best and len(words) > LONG and best.score < LONG_SCORE and not pattern.at_start:
        return None
    return best


def _match(pattern: Pattern, words: Sequence[str], start: int) -> Found | None:
    score, at = 0.0, start
    for number, step in enumerate(pattern.steps):
        reach = 1 if number == 0 else 1 + GAP
        for i in range(at, min(at + reach, len(words))):
            likeness = max(_alike(words[i], wanted) for wanted in step)
            if likeness:
                score, at = score + likeness, i + 1
                break
        else:
            return None
    if pattern.at_end and at < len(words):
        return None
    if pattern.captures and at >= len(words):
        return None
    # Anchors make a pattern more telling than the same words anywhere.
    return Found(score + 0.5 * pattern.at_start + 0.5 * pattern.at_end, tuple(words[at:]))


def _alike(heard: str, wanted: str) -> float:
    if heard == wanted:
        return 1.0
    if len(wanted) >= 5 and abs(len(heard) - len(wanted)) <= 1 and heard[0] == wanted[0]:
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
