"""How often somebody may do something. Counted in this process, by the `limits` package.

With `--workers N` each worker counts for itself, so a limit is at most N times as wide.
"""

import math
import time
from dataclasses import dataclass
from itertools import islice

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.storage.memory import Entry
from limits.aio.strategies import MovingWindowRateLimiter


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule, such as "10 per 15 minutes"."""

    name: str
    rule: str

    @property
    def item(self) -> RateLimitItem:
        return parse(self.rule)


class TooOften(Exception):
    """Somebody is over a limit."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many requests: try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class _Memory(MemoryStorage):
    """What was counted. After each request the package's own looks through everybody who was counted, in a
    thread for each: 14 ms of the processor with a hundred of them. This one looks at two, in turn."""

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.time()
        for other in list(islice(self.events, 2)):
            entries = self.events.pop(other)
            if entries[0].expiry > now:  # the newest
                self.events[other] = entries
        entries = self.events.get(key, [])
        kept = limit - amount
        if kept < 0 or (len(entries) > kept and entries[kept].atime >= now - expiry):
            return False
        self.events[key] = [Entry(expiry)] * amount + entries[:kept]
        return True


class Limiter:
    """Counts, in windows that move."""

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(_Memory())

    async def hit(self, limit: Limit, who: str) -> None:
        """Count one. Raises `TooOften`, and then it is not counted."""
        if not await self._windows.hit(limit.item, limit.name, who):
            raise TooOften(await self._wait(limit, who))

    async def check(self, limit: Limit, who: str) -> None:
        """Raise `TooOften` if one more would be too many, without counting."""
        if not await self._windows.test(limit.item, limit.name, who):
            raise TooOften(await self._wait(limit, who))

    async def forget(self, limit: Limit, who: str) -> None:
        """Begin to count anew."""
        await self._windows.clear(limit.item, limit.name, who)

    async def _wait(self, limit: Limit, who: str) -> int:
        stats = await self._windows.get_window_stats(limit.item, limit.name, who)
        return max(1, math.ceil(stats.reset_time - time.time()))
