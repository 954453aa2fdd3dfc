"""The recorded speech that tests listen to, and how well it was understood."""

from functools import cache
from pathlib import Path

from pipeline.core.audio import read_wav

DATA = Path(__file__).resolve().parents[1] / "data"


@cache
def clip(name: str) -> bytes:
    """The 16 kHz PCM of a clip in tests/data."""
    pcm, rate_hz = read_wav((DATA / name).read_bytes())
    assert rate_hz == 16_000
    return pcm


def word_errors(reference: str, heard: str) -> int:
    """How many words were added, dropped or exchanged (Levenshtein distance on words)."""
    said, got = reference.split(), heard.split()
    row = list(range(len(got) + 1))
    for i, word in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]
