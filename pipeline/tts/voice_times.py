"""When each word of a text is spoken, from the times of its phonemes. Pure functions; no language knowledge.

A phonemizer says numbers as several words and runs short words together, so its words are not always ours.
Where their numbers agree they are matched one by one; else the text's words share out the phonemes by how
many each has when it is said alone.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.tts.text import words_of

_SNAP = 2  # a word's start this many phonemes off a phonemizer's word start is meant to be there
_PAUSES = ".!?…,;:—"


@dataclass(frozen=True, slots=True)
class Phone:
    """A phoneme, a space between words, or a punctuation mark, and when it sounds."""

    symbol: str
    start_ms: float
    end_ms: float


def spread(symbols: Sequence[str], start_ms: float, end_ms: float) -> list[Phone]:
    """Times for phonemes of which only the whole duration is known: an estimate.

    Stress marks take no time, a length mark half a phoneme, a pause three.
    """
    weights = [_weight(symbol) for symbol in symbols]
    each_ms = (end_ms - start_ms) / (sum(weights) or 1)
    phones = []
    for symbol, weight in zip(symbols, weights, strict=True):
        phones.append(Phone(symbol, start_ms, start_ms + weight * each_ms))
        start_ms += weight * each_ms
    return phones


def is_sound(symbol: str) -> bool:
    """Whether it is a phoneme, not a space or a mark."""
    return any(c.isalnum() for c in symbol)


def word_times(
    text: str, phones: Sequence[Phone], size_of: Callable[[str], int]
) -> list[tuple[int, int, int, int]]:
    """(start, end, start_ms, end_ms) of each word; `size_of(word)` is how many phonemes it has alone."""
    words = words_of(text)
    groups = _groups(phones)
    if not words or not groups:
        return []
    if len(groups) != len(words):
        groups = _shared(groups, [max(1, size_of(text[start:end])) for start, end in words])
    times, before_ms = [], 0
    for (start, end), group in zip(words, groups, strict=True):
        start_ms = max(before_ms, round(group[0].start_ms))
        before_ms = max(start_ms, round(group[-1].end_ms))
        times.append((start, end, start_ms, before_ms))
    return times


def _weight(symbol: str) -> float:
    if symbol in ("ˈ", "ˌ"):
        return 0.0
    if symbol == "ː":
        return 0.5
    if symbol in _PAUSES:
        return 3.0
    return 1.0 if is_sound(symbol) else 0.3


def _groups(phones: Sequence[Phone]) -> list[list[Phone]]:
    groups: list[list[Phone]] = [[]]
    for phone in phones:
        if is_sound(phone.symbol):
            groups[-1].append(phone)
        elif phone.symbol.isspace():
            groups.append([])
    return [group for group in groups if group]


def _shared(groups: list[list[Phone]], sizes: list[int]) -> list[list[Phone]]:
    phones = [phone for group in groups for phone in group]
    starts, at = [], 0
    for group in groups:
        starts.append(at)
        at += len(group)
    cuts, said = [0], 0
    for size in sizes:
        said += size
        cut = round(said * len(phones) / sum(sizes))
        near = min(starts, key=lambda start: abs(start - cut))
        cuts.append(near if abs(near - cut) <= _SNAP and near > cuts[-1] else max(cut, cuts[-1]))
    cuts[-1] = len(phones)
    last = len(phones) - 1
    # More words than phonemes: some get none of their own, and stand where the next one starts.
    return [
        phones[begin:end] or [_instant(phones[min(begin, last)])] for begin, end in itertools.pairwise(cuts)
    ]


def _instant(phone: Phone) -> Phone:
    return Phone(phone.symbol, phone.start_ms, phone.start_ms)
