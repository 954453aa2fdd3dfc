"""An event loop whose clock jumps: waiting costs nothing, times come out exact, order is always the same.

The selector never waits. When nothing is ready, `time()` jumps to the next deadline; equal deadlines run in
the order in which they were asked for. When nothing is ready and there is no deadline either, nobody could
ever wake up again: that raises `Deadlock`. Threads and real sockets have no place under it.

A test is run on it by `@pytest.mark.virtual_clock` (fixtures of the test too), or calls `run(coroutine)`.
"""

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Every task waits and no timer is set: nothing can ever happen again."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Starts at 0.0 seconds."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self) -> None:
        """Go to the next deadline. Raises `Deadlock`."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        if not timers:
            raise Deadlock(f"deadlock: nothing scheduled{_who_waits(self)}")
        self._now = max(self._now, timers[0].when())

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        # asyncio's own heap leaves the order of equal deadlines open, so the timer brings its number along.
        timer = _OrderedTimer(when, callback, args, self, context)
        timer.order = next(self._order)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True
        return timer

    def run_in_executor(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        raise RuntimeError("a thread cannot run under the virtual clock: its time is real")

    async def create_connection(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a socket cannot be opened under the virtual clock: its time is real")

    async def create_server(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a socket cannot be opened under the virtual clock: its time is real")


class _OrderedTimer(asyncio.TimerHandle):
    order = 0
    _scheduled: bool

    def __lt__(self, other: object) -> bool:
        if isinstance(other, _OrderedTimer):
            return (self.when(), self.order) < (other.when(), other.order)
        return NotImplemented


class _JumpingSelector(selectors.SelectSelector):
    """Asks what is ready and never waits: where asyncio would wait, the clock jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            self._loop.jump()
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new virtual loop. Raises what it raises, or `Deadlock`."""
    runner = asyncio.Runner(loop_factory=VirtualLoop)
    try:
        result = runner.run(main)
    except Deadlock as error:
        # Ending the tasks may be just as stuck as they are; the first report is the one that helps.
        try:
            runner.close()
        except Deadlock:
            pass  # the runner has closed the loop all the same
        raise Deadlock(str(error)) from None
    except BaseException:
        runner.close()
        raise
    runner.close()
    return result


def _who_waits(loop: asyncio.AbstractEventLoop) -> str:
    lines = []
    for task in asyncio.all_tasks(loop):
        frames = task.get_stack(limit=1)
        place = f" at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""
        lines.append(f"\n  {task.get_name()} waits in {task.get_coro()!r}{place}")
    return "".join(sorted(lines))
