"""The loudspeaker of a program: plays replies at the speed of the clock and knows how far it has come.

Pure arithmetic: `now` comes in with every call, in seconds.
"""


class Playing:
    """One reply on its way through the loudspeaker."""

    def __init__(self, response_id: str, rate_hz: int) -> None:
        self.response_id = response_id
        self.rate_hz = rate_hz
        self.pcm = bytearray()
        self.played_samples = 0.0
        self.complete = False
        """Everything has arrived: `audio.end`, or an interruption."""
        self.first_at_s: float | None = None
        self.reported_ms = -1.0

    @property
    def played_ms(self) -> float:
        """To the sample: rounded down, the last report would say that the end was never played."""
        return round(int(self.played_samples) * 1000 / self.rate_hz, 3)

    @property
    def waiting_samples(self) -> float:
        return len(self.pcm) // 2 - self.played_samples

    @property
    def is_over(self) -> bool:
        return self.complete and self.waiting_samples <= 0


class Player:
    """What a loudspeaker does with replies: one after the other, in real time. No clock of its own."""

    def __init__(self) -> None:
        self.replies: dict[str, Playing] = {}
        """Every reply, in the order in which they began; `pcm` keeps only what was or will be played."""
        self.ducked = False
        self.underruns = 0
        self._queue: list[Playing] = []
        self._now = 0.0
        self._running_dry = False

    def begin(self, response_id: str, rate_hz: int, now: float) -> None:
        self.advance(now)
        reply = Playing(response_id, rate_hz)
        self.replies[response_id] = reply
        self._queue.append(reply)

    def feed(self, response_id: str, pcm: bytes, now: float) -> None:
        """More of a reply. After its interruption it is dropped."""
        self.advance(now)
        reply = self.replies.get(response_id)
        if reply is None or reply.complete:
            return
        if reply.first_at_s is None:
            reply.first_at_s = now
        reply.pcm += pcm

    def finish(self, response_id: str, now: float) -> None:
        self.advance(now)
        if reply := self.replies.get(response_id):
            reply.complete = True
            self._drop_finished()

    def duck(self, now: float) -> None:
        self.advance(now)
        self.ducked = True

    def unduck(self, now: float) -> None:
        self.advance(now)
        self.ducked = False

    def interrupt(self, response_id: str, now: float) -> None:
        """Drop what has not been played of a reply."""
        self.advance(now)
        self.ducked = False
        if reply := self.replies.get(response_id):
            del reply.pcm[int(reply.played_samples) * 2 :]
            reply.played_samples = len(reply.pcm) // 2
            reply.complete = True
            self._drop_finished()

    def advance(self, now: float) -> None:
        """Play until `now`."""
        left_s, self._now = now - self._now, now
        if self.ducked:
            return
        while self._queue and left_s > 0:
            reply = self._queue[0]
            samples = min(reply.waiting_samples, left_s * reply.rate_hz)
            reply.played_samples += samples
            left_s -= samples / reply.rate_hz
            if reply.waiting_samples <= 1e-6:
                reply.played_samples = len(reply.pcm) // 2  # no rounding may keep a reply from ending
                if not reply.complete:
                    # Counted once a gap, and not before the first sound.
                    self.underruns += bool(reply.pcm) and not self._running_dry
                    self._running_dry = True
                    return
                self._queue.pop(0)
            else:
                self._running_dry = False

    def reports(self, now: float) -> list[tuple[str, float]]:
        """(response_id, played_ms) of every reply that moved since it was last asked."""
        self.advance(now)
        moved = []
        for reply in self.replies.values():
            if reply.first_at_s is not None and reply.played_ms != reply.reported_ms:
                reply.reported_ms = reply.played_ms
                moved.append((reply.response_id, reply.played_ms))
        return moved

    @property
    def is_idle(self) -> bool:
        """Nothing is playing and nothing waits to be played."""
        return not self._queue

    def _drop_finished(self) -> None:
        self._queue = [reply for reply in self._queue if not reply.is_over]
