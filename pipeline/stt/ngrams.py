"""A small language model out of example sentences: which words follow which, as an ARPA file's text. Pure.

Trigrams with absolute discounting and back-off (Ney, Essen and Kneser, 1994): enough for a few hundred words,
and every word may still follow every other one.
"""

import math
from collections import Counter
from collections.abc import Iterable

Gram = tuple[str, ...]

ORDER = 3
DISCOUNT = 0.7
"""Taken from every count and given to what was never seen; between 0.5 and 0.9 nothing changes."""
NEVER = -99.0  # ARPA's logarithm of nothing


def arpa(sentences: Iterable[str]) -> str:
    """The model of those sentences. Words are separated by spaces."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(ORDER)]
    for sentence in sentences:
        words = ("<s>", *sentence.split(), "</s>")
        for size in range(1, ORDER + 1):
            for at in range(len(words) - size + 1):
                counts[size - 1][words[at : at + size]] += 1
    del counts[0][("<s>",)]  # nothing leads to the beginning
    model = _Model(counts)
    sections = [model.section(size) for size in range(1, ORDER + 1)]
    heads = [f"ngram {size}={len(lines)}" for size, lines in enumerate(sections, 1)]
    bodies = [f"\\{size}-grams:\n" + "\n".join(lines) for size, lines in enumerate(sections, 1)]
    return "\\data\\\n" + "\n".join(heads) + "\n\n" + "\n\n".join(bodies) + "\n\n\\end\\\n"


class _Model:
    def __init__(self, counts: list[Counter[Gram]]) -> None:
        self._counts = counts
        self._words = sum(counts[0].values())
        self._totals: Counter[Gram] = Counter()
        """How often a context was followed by anything."""
        self._kinds: Counter[Gram] = Counter()
        """By how many different words."""
        for grams in counts[1:]:
            for gram, count in grams.items():
                self._totals[gram[:-1]] += count
                self._kinds[gram[:-1]] += 1

    def section(self, size: int) -> list[str]:
        """The lines of all grams of a size: logarithm, words, and what is left for what was not seen."""
        grams = list(self._counts[size - 1])
        if size == 1:
            grams.append(("<s>",))
        lines = []
        for gram in sorted(grams):
            known = math.log10(self._probability(gram)) if gram != ("<s>",) else NEVER
            line = f"{known:.4f}\t{' '.join(gram)}"
            if size < ORDER and self._totals[gram]:
                line += f"\t{math.log10(self._left(gram)):.4f}"
            lines.append(line)
        return lines

    def _probability(self, gram: Gram) -> float:
        if len(gram) == 1:
            return self._counts[0][gram] / self._words
        context = gram[:-1]
        seen = max(0.0, self._counts[len(gram) - 1][gram] - DISCOUNT)
        return seen / self._totals[context] + self._left(context) * self._probability(gram[1:])

    def _left(self, context: Gram) -> float:
        return DISCOUNT * self._kinds[context] / self._totals[context]
