"""Cuts a long recording into pieces that a recognizer can take, at pauses. Judged frames in, pieces out.

frames   ....SSSSSS..SSSSSSSSSSSS....SSSS...............SSSSSS
pieces     [                     ][    ]              [      ]
           <- at most PIECE_MS ->
"""

from typing import NamedTuple

from pipeline.core.endpoint import FRAME_MS

PIECE_MS = 28_000
"""The longest piece: Whisper's window is 30 s, and other recognizers do no better with more."""
MARGIN_MS = 300
"""Silence that stays at both ends of a piece: words begin and end softer than a detector hears."""
LEAST_VOICE_MS = 120
"""Less voice than this is no word, as in a talk (`vad.start_ms`)."""

PIECE = PIECE_MS // FRAME_MS
MARGIN = MARGIN_MS // FRAME_MS


class Piece(NamedTuple):
    """A stretch of the recording."""

    start_ms: int
    pcm: bytes


class Cutter:
    """Collects the frames of one recording."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._speech: list[bool] = []
        self._gone = 0
        """Frames that are in earlier pieces, or between them."""

    def push(self, frame: bytes, speech: bool) -> Piece | None:
        """One frame, judged. Returns a piece when one is complete."""
        self._frames.append(frame)
        self._speech.append(speech)
        if len(self._frames) < PIECE:
            return None
        return self._take(_longest_pause(self._speech, PIECE // 2))

    def finish(self) -> Piece | None:
        """The last piece, if there is speech in it."""
        return self._take(len(self._frames))

    def _take(self, end: int) -> Piece | None:
        frames, speech, gone = self._frames[:end], self._speech[:end], self._gone
        self._frames, self._speech, self._gone = self._frames[end:], self._speech[end:], gone + end
        if sum(speech) * FRAME_MS < LEAST_VOICE_MS:
            return None
        first = max(0, speech.index(True) - MARGIN)
        last = len(speech) - speech[::-1].index(True)
        return Piece((gone + first) * FRAME_MS, b"".join(frames[first : last + MARGIN]))


def _longest_pause(speech: list[bool], start: int) -> int:
    """The middle of the longest stretch without speech from `start` on; the end if there is none."""
    best, best_length, began = len(speech), 0, -1
    for i in range(start, len(speech) + 1):
        if i < len(speech) and not speech[i]:
            began = i if began < 0 else began
        elif began >= 0:
            if i - began > best_length:
                best, best_length = (began + i) // 2, i - began
            began = -1
    return best
