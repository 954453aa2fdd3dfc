"""The one time line of a session: where each sample of either side belongs. Positions count at 16 kHz.

Sample 0 is the first audio of the session. Microphone audio that arrives steadily is contiguous, whatever
the network's jitter; only a real gap (the microphone stopped sending) moves it forward, and the gap is
silence. Nothing is ever inserted by the clock into audio that flows, so nothing can drift.
"""

from collections import deque

RATE_HZ = 16_000
FRAME_SAMPLES = 320
GAP_SAMPLES = RATE_HZ // 4
"""How far the microphone may fall behind the clock before that is a gap: 250 ms, an ordinary Wi-Fi stall."""


class TimeLine:
    """Places user audio by arrival and agent audio by play-out time. `now` in seconds."""

    __slots__ = ("_anchors", "_cursor", "_zero", "fed")

    def __init__(self, position: int = 0, now: float | None = None) -> None:
        self._zero: float | None = None if now is None else now - position / RATE_HZ
        self._cursor = position
        """Where the next microphone sample goes if it follows on."""
        self.fed = 0
        """Microphone samples so far, gaps not counted."""
        self._anchors: deque[tuple[int, int]] = deque([(0, position)], maxlen=64)
        """(microphone sample, its position) wherever audio did not follow on."""

    @property
    def started(self) -> bool:
        return self._zero is not None

    def place(self, samples: int, now: float) -> int:
        """The position of microphone audio that has just arrived."""
        if self._zero is None:
            self._zero = now - samples / RATE_HZ
        arrived = round((now - self._zero) * RATE_HZ) - samples
        if arrived - self._cursor > GAP_SAMPLES:
            self._cursor = arrived
            self._anchors.append((self.fed, arrived))
        position = self._cursor
        self._cursor += samples
        self.fed += samples
        return position

    def at(self, now: float) -> int:
        """The position of a moment. The first moment ever asked for is 0."""
        if self._zero is None:
            self._zero = now
        return max(0, round((now - self._zero) * RATE_HZ))

    def skip(self, seconds: float) -> None:
        """As if so much time had passed: a recording came, or was taken, faster than it plays."""
        if self._zero is not None and seconds > 0:
            self._zero -= seconds

    def of_input_ms(self, ms: int) -> int:
        """The position of a moment given in ms of microphone audio."""
        sample = ms * RATE_HZ // 1000
        for first, position in reversed(self._anchors):
            if sample >= first:
                return position + sample - first
        first, position = self._anchors[0]
        return max(0, position + sample - first)
