"""A session's one timer. It may ring too early, never too late, and never before what the sockets hold.

Setting it to a later moment than it is set to costs nothing: it rings at the earlier one and is set again.
"""

import asyncio
from collections.abc import Callable

STALL_S = 0.05
"""A timer that rings this late has overtaken what the sockets hold: it waits for them once."""


class Alarm:
    """Calls `ring` at a moment of the loop's clock."""

    __slots__ = ("_at", "_due", "_handle", "_loop", "_ring", "_stalled")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._at = self._due = 0.0
        self._stalled = False

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, wake: float | None) -> None:
        """Ring at `wake` at the latest; None: not at all."""
        if self._handle is not None:
            # Remembered here: for a moment that is past, uvloop gives a handle that cannot say `when()`.
            if wake is not None and self._at <= wake:
                return
            self._handle.cancel()
            self._handle = None
        if wake is not None:
            self._at, self._due = wake, max(wake, self._loop.time())
            self._handle = self._loop.call_at(wake, self._on_time)

    def _on_time(self) -> None:
        self._handle = None
        now = self._loop.time()
        if now - self._due > STALL_S and not self._stalled:
            self._stalled, self._at, self._due = True, now, now + STALL_S
            self._handle = self._loop.call_later(STALL_S, self._on_time)
            return
        self._stalled = False
        self._ring()
