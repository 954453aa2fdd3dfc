"""A voice at the other end of a line: the part that is the same for every vendor that streams over contexts.

A *context* is one stretch of speech on a line, named in every message about it. A vendor's file says what
its messages mean (`Wire`); this file leases a line to one context at a time, reads as fast as the vendor
speaks (a listener who takes his time must not stall the connection), and after a barge-in calls the context
off and waits, in the background, until nothing of it is on its way: only then is the line lent again.

    speak ──take──> line ──begin──> vendor
      │ <──inbox── _talk <──heard──┘
      └─ listener gone: _settle ──cancel──> vendor ... ended -> give_back | SETTLE_S -> drop
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

from pipeline import vendor
from pipeline.contracts import Failure, SpokenWord, TtsError, Usage
from pipeline.lines import Line, LineLost, Lines, Message

SETTLE_S = 1.0
"""How long a line may take to fall silent after a barge-in; a new line is open in a quarter of that."""
LINES_PER_SEGMENT = 2
"""One that was warm and turns out to be dead, and a fresh one."""

Piece = bytes | SpokenWord | Usage


class Wire(Protocol):
    """What one context looks like in a vendor's messages. Made anew for each try; no I/O in it."""

    ended: bool
    """Nothing more of this context will come: the line is free."""

    def begin(self) -> Sequence[Message]:
        """Everything that is sent to have the segment spoken."""

    def heard(self, message: Message) -> Sequence[Piece]:
        """What a message says; nothing if it is about another context. Raises `TtsError`."""

    def cancel(self) -> Sequence[Message]:
        """What calls the context off."""

    def lost(self, lost: LineLost) -> TtsError | None:
        """What it means that the vendor hung up like this, when its close code says more than that the line
        is gone; None to try again on a fresh line."""


class Contexts:
    """Speaks segments, each on a line of its own for as long as it lasts."""

    def __init__(self, who: str, lines: Lines) -> None:
        self._who, self._lines = who, lines
        self._tasks: set[asyncio.Task[None]] = set()
        self._lent: set[Line] = set()
        self._closed = False

    async def speak(self, key: str, new_wire: Callable[[], Wire]) -> AsyncGenerator[Piece, None]:
        """Yield what the vendor says. Closing or cancelling it calls the context off. Raises `TtsError`."""
        for attempt in range(LINES_PER_SEGMENT):
            line = await self._lines.take(key, fresh=attempt > 0)
            self._lent.add(line)
            wire = new_wire()
            inbox: asyncio.Queue[Piece | None] = asyncio.Queue()  # bounded by the segment's length
            talking = self._spawn(self._talk(line, wire, inbox))
            talking.add_done_callback(lambda _, inbox=inbox: inbox.put_nowait(None))  # type: ignore[misc]
            said = False
            try:
                while (piece := await inbox.get()) is not None:
                    said = True
                    yield piece
            finally:
                self._release(key, line, wire, talking)
            error = self._failure(wire, talking)
            if error is None:
                return
            if not isinstance(error, LineLost):
                raise error
            if said or self._closed or attempt + 1 == LINES_PER_SEGMENT:
                raise vendor.unreachable(TtsError, self._who, error) from error

    async def aclose(self) -> None:
        """End whatever is being said; its listeners get a `TtsError`. Idle lines are not touched."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in list(self._lent):
            self._drop(line)  # whoever was listening may never come back to do it

    # -- inside --------------------------------------------------------------------------------------------

    async def _talk(self, line: Line, wire: Wire, inbox: "asyncio.Queue[Piece | None]") -> None:
        for message in wire.begin():
            await line.send(message)
        while not wire.ended:
            for piece in self._understand(wire, await line.receive()):
                inbox.put_nowait(piece)

    def _understand(self, wire: Wire, message: Message) -> Sequence[Piece]:
        try:
            return wire.heard(message)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # A message of another shape than documented is the vendor's fault: the next voice takes over.
            raise TtsError(f"{self._who} sent what makes no sense: {error!r}") from error

    def _failure(self, wire: Wire, talking: "asyncio.Task[None]") -> Exception | None:
        if talking.cancelled():
            return TtsError(f"{self._who} was closed while it spoke", Failure.TRANSIENT)
        error = talking.exception()
        if isinstance(error, LineLost):
            return wire.lost(error) or error
        if error is not None and not isinstance(error, TtsError):
            raise error  # a bug
        return error

    def _release(self, key: str, line: Line, wire: Wire, talking: "asyncio.Task[None]") -> None:
        if not talking.done():
            talking.cancel()
            self._spawn(self._settle(key, line, wire, talking))
        elif talking.cancelled() or isinstance(talking.exception(), LineLost) or not wire.ended:
            self._drop(line)
        else:
            self._give_back(key, line)

    async def _settle(self, key: str, line: Line, wire: Wire, talking: "asyncio.Task[None]") -> None:
        """Call the context off and wait until the line is free of it."""
        try:
            await asyncio.gather(talking, return_exceptions=True)
            async with asyncio.timeout(SETTLE_S):
                for message in () if wire.ended else wire.cancel():
                    await line.send(message)
                while not wire.ended:
                    with suppress(TtsError):  # nobody is there to be told
                        self._understand(wire, await line.receive())
        except (LineLost, TimeoutError):
            self._drop(line)
        except BaseException:
            self._drop(line)  # closing: never keep a line in an unknown state
            raise
        else:
            self._give_back(key, line)

    def _give_back(self, key: str, line: Line) -> None:
        self._lent.discard(line)
        self._lines.give_back(key, line)

    def _drop(self, line: Line) -> None:
        self._lent.discard(line)
        self._lines.drop(line)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
