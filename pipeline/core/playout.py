"""How much of a reply has been sent, played and heard. Pure arithmetic; `now` in seconds.

A client that reports its play-out position is believed. For one that doesn't, play-out is assumed to go in
real time from the first byte on, to stop while ducked and to wait when it has nothing (an underrun).

    sent    |===========================|
    played  |============|  <- lead ->  |
    heard = last report, or played if there never was one
"""

from dataclasses import dataclass

ROUNDING_MS = 2
"""A report that close to the end means the end: clients round to whole milliseconds, also downwards."""


@dataclass(slots=True)
class Run:
    """A stretch of the reply that was played without a gap: samples from `offset`, starting at `at`."""

    offset: int
    count: int
    at: float


class Playout:
    """One reply at one client. Samples are at `rate_hz`."""

    __slots__ = ("_at", "_paused", "_played", "first_sent_at", "rate_hz", "reported", "runs", "sent")

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.sent = 0
        self.reported: int | None = None
        self.first_sent_at: float | None = None
        self.runs: list[Run] = []
        self._played = 0.0
        self._at = 0.0
        self._paused = False

    def on_sent(self, samples: int, now: float) -> None:
        """That many more samples were handed to the client."""
        if self.first_sent_at is None:
            self.first_sent_at = now
        self._advance(now)
        self.sent += samples

    def pause(self, now: float) -> None:
        self._advance(now)
        self._paused = True

    def resume(self, now: float) -> None:
        self._advance(now)
        self._paused = False

    def report(self, played_ms: float, now: float) -> None:
        """The client says how much it has played. Never more than was sent, never backwards."""
        self._advance(now)
        played = min(max(0, round(played_ms * self.rate_hz / 1000)), self.sent)
        if self.sent - played <= self.rate_hz * ROUNDING_MS // 1000:
            played = self.sent
        if self.reported is not None and played < self.reported:
            return
        self.reported = played
        self._correct(played, now)

    def rewind(self, samples: int) -> None:
        """The client was lost and has only what it heard: the rest will be sent again from there."""
        self.sent = min(self.sent, samples)
        self._played = min(self._played, float(self.sent))

    def heard(self, now: float) -> int:
        """Samples that reached the user's ear, as far as is known."""
        self._advance(now)
        return self.reported if self.reported is not None else round(self._played)

    @property
    def estimated(self) -> bool:
        return self.reported is None

    def lead_s(self, now: float) -> float:
        """Audio sent and not yet played, in seconds."""
        self._advance(now)
        return (self.sent - self._played) / self.rate_hz

    def all_reported(self) -> bool:
        return self.reported is not None and self.reported >= self.sent

    def heard_runs(self, now: float) -> list[Run]:
        """What was heard and when: `runs` cut to `heard`."""
        left = self.heard(now)
        kept = []
        for run in self.runs:
            count = min(run.count, left - run.offset)
            if count > 0:
                kept.append(Run(run.offset, count, run.at))
        return kept

    def _advance(self, now: float) -> None:
        """Let the assumed player play up to `now`."""
        elapsed = now - self._at
        if elapsed <= 0:
            return
        start, self._at = self._at, now
        if self._paused or self._played >= self.sent:
            return
        before = int(self._played)
        self._played = min(float(self.sent), self._played + elapsed * self.rate_hz)
        count = int(self._played) - before
        if count <= 0:
            return
        last = self.runs[-1] if self.runs else None
        if last is not None and last.offset + last.count == before:
            gap = start - (last.at + last.count / self.rate_hz)
            if gap < 0.002:  # the same run: only rounding lies between
                last.count += count
                return
        self.runs.append(Run(before, count, start))

    def _correct(self, played: int, now: float) -> None:
        """Make the assumed player agree with a report, and move its current run to fit."""
        self._played = float(played)
        while self.runs and self.runs[-1].offset >= played:
            self.runs.pop()
        first = self.first_sent_at or 0.0  # nothing plays before it came, whatever is claimed
        if not self.runs:
            if played:
                self.runs.append(Run(0, played, max(first, now - played / self.rate_hz)))
            return
        last = self.runs[-1]
        last.count = played - last.offset
        floor = self.runs[-2].at + self.runs[-2].count / self.rate_hz if len(self.runs) > 1 else first
        if not self._paused:
            last.at = max(floor, now - last.count / self.rate_hz)
