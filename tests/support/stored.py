"""What a server has kept of a talk: its JSON, its sound, its rows. Read as anybody could read them."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """The files of one session in a server's folder."""

    folder: Path
    session_id: str

    @property
    def conversation(self) -> dict[str, Any]:
        text = (self.folder / "conversations" / f"{self.session_id}.json").read_text("utf-8")
        content: dict[str, Any] = json.loads(text)
        return content

    def messages(self, role: str) -> list[dict[str, Any]]:
        return [m for m in self.conversation["messages"] if m["role"] == role]

    def sound(self, name: str) -> tuple[Sound, int]:
        """An MP3 as samples in -1..1, one column per channel, and its rate."""
        path = self.folder / "audio_files" / self.session_id / name
        samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
        return samples, rate_hz

    def decisions(self) -> Iterator[dict[str, Any]]:
        """Why the server did what it did, from the journal."""
        path = self.folder / "conversations" / f"{self.session_id}.journal"
        for line in path.read_text("utf-8").splitlines():
            _, kind, entry = json.loads(line)
            if kind == "decision":
                yield entry

    def rows(self, table: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.folder / "parley.db")) as database:
            database.row_factory = sqlite3.Row
            found = database.execute(f"SELECT * FROM {table} WHERE session_id = ?", (self.session_id,))
            return [dict(row) for row in found]


def alike(part: Sound, whole: Sound) -> tuple[float, int]:
    """How much `part` looks like the stretch of `whole` where it fits best (1 = the same but for its
    loudness), and where that stretch begins."""
    room = len(whole) - len(part)
    if room < 0:
        whole, room = np.append(whole, np.zeros(-room)), 0
    size = 1 << (len(whole) + len(part)).bit_length()
    spectrum = np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size))
    products = np.fft.irfft(spectrum, size)[: room + 1]
    energy = np.concatenate(([0.0], np.cumsum(whole**2)))
    windows = energy[len(part) :] - energy[: len(energy) - len(part)]
    # A quiet stretch would look alike by rounding alone.
    norms = np.sqrt(np.maximum(windows, 1e-4 * np.max(windows)) * np.sum(part**2))
    likeness = products / norms
    best = int(np.argmax(likeness))
    return float(likeness[best]), best
