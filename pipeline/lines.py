"""Open connections to a vendor, kept warm: nobody waits for a handshake in the middle of a talk.

A *line* is one connection that messages go over. `Lines` opens them ahead of need, lends each to one user at
a time, and hangs up those that nobody has wanted for a while (vendors charge for, or close, idle ones).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from pipeline import vendor
from pipeline.contracts import ProviderError

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 2.0
"""A peer that takes nothing for this long is gone, whatever TCP believes."""
HANG_UP_S = 1.0
"""How long a goodbye may take."""
MOST_BYTES = 16 << 20
"""The largest message: half a minute of base64 audio is 3 MB."""

Message = str | bytes
P = TypeVar("P", bound=ProviderError)


class LineLost(Exception):
    """The other side hung up, or does not take what it is sent. `code` is the WebSocket close code, or 0."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".strip() if code else reason or "the connection was lost")
        self.code, self.reason = code, reason


class Line(Protocol):
    """One open connection."""

    async def send(self, message: Message) -> None:
        """Raises `LineLost`, also when the other side takes nothing for `SEND_TIMEOUT_S`."""

    async def receive(self) -> Message:
        """The next message. Raises `LineLost`."""

    async def close(self) -> None:
        """Hang up. Never raises, never takes longer than `HANG_UP_S`."""

    @property
    def is_open(self) -> bool: ...


class SocketLine:
    """A WebSocket as a line."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @property
    def is_open(self) -> bool:
        return self._socket.state.name == "OPEN"

    async def send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send(message)
        except ConnectionClosed as error:
            raise _lost(error) from error
        except TimeoutError as error:
            raise LineLost(0, "it takes no more data") from error

    async def receive(self) -> Message:
        try:
            return await self._socket.recv()
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def close(self) -> None:
        try:
            async with asyncio.timeout(HANG_UP_S):
                await self._socket.close()
        except TimeoutError:
            self._socket.transport.abort()  # it does not say goodbye: then without


def _lost(error: ConnectionClosed) -> LineLost:
    return LineLost(error.rcvd.code, error.rcvd.reason) if error.rcvd else LineLost(0, str(error))


async def dial(cls: type[P], who: str, url: str, headers: Mapping[str, str] | None = None) -> SocketLine:
    """Open a WebSocket. Raises the stage's error, typed by what the server said."""
    try:
        socket = await connect(
            url,
            additional_headers=dict(headers or {}),
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=HANG_UP_S,
            ping_interval=20,
            compression=None,
            max_size=MOST_BYTES,
            user_agent_header="parley",
        )
    except InvalidStatus as error:
        body = (error.response.body or b"").decode("utf-8", "replace")
        raise vendor.refused(cls, who, error.response.status_code, body, error.response.headers) from error
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
        raise vendor.unreachable(cls, who, error) from error
    return SocketLine(socket)


async def greeting(cls: type[P], who: str, line: Line) -> Message:
    """What a vendor says first on a new line, where it says something: that all is well, or what is not.

    Raises `LineLost`, and the stage's error when nothing comes; the line is hung up then.
    """
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            return await line.receive()
    except TimeoutError as error:
        await line.close()
        raise vendor.unreachable(cls, who, TimeoutError("no greeting came")) from error
    except BaseException:
        await line.close()
        raise


@dataclass(slots=True, eq=False)
class _Idle:
    line: Line
    since: float


class Lines:
    """Warm lines by key (a key is all that two users must have in common: URL, model, language).

    `connect(key)` opens one and raises a `ProviderError`. `beat` is a message that keeps an idle line open,
    sent every `beat_s`; an idle line is hung up after `idle_s`. `keep` are opened ahead of need, `most` are
    kept of those that are given back.
    """

    def __init__(
        self,
        connect: Callable[[str], Awaitable[Line]],
        *,
        keep: int = 1,
        most: int = 1,
        idle_s: float = 60.0,
        beat: Message | None = None,
        beat_s: float = 5.0,
    ) -> None:
        self._connect, self._keep, self._idle_s = connect, keep, idle_s
        self._most = max(1, keep, most)
        self._beat, self._beat_s = beat, beat_s
        self._idle: dict[str, deque[_Idle]] = {}
        self._opening: dict[str, list[asyncio.Task[Line]]] = {}
        """Asked for ahead of need, and nobody waits for them yet."""
        self._at_work: set[asyncio.Task[Any]] = set()
        """Cancelled at the end: opening a line, using one."""
        self._hanging_up: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def prepare(self, key: str) -> None:
        """Somebody will want a line soon: have `keep` of them. Never blocks; a failure shows at `take`."""
        if self._closed:
            return
        opening = self._opening.setdefault(key, [])
        ready = len(self._alive(key)) + len(opening)
        for _ in range(self._keep - ready):
            task = asyncio.get_running_loop().create_task(self._open(key))
            opening.append(task)
            self.adopt(task)
            task.add_done_callback(partial(self._opened, key))

    async def take(self, key: str, *, fresh: bool = False) -> Line:
        """A line of one's own until `give_back` or `drop`; a warm one unless `fresh`. Raises the
        `ProviderError` of `connect`."""
        if not fresh and (waiting := self._alive(key)):
            return waiting.pop().line
        opening = self._opening.get(key)
        if not opening:
            return await self._connect(key)
        task = opening.pop(0)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                opening.append(task)  # it goes on, for the next one
            else:
                self._opened(key, task, unclaimed=True)
            raise

    def give_back(self, key: str, line: Line) -> None:
        """The line can be used by the next one: nothing is on its way on it."""
        if self._closed or not line.is_open or len(self._alive(key)) >= self._most:
            self.drop(line)
        else:
            self._lay_down(key, _Idle(line, _now()))

    def drop(self, line: Line) -> None:
        """Hang up, in the background."""
        task = asyncio.get_running_loop().create_task(line.close())
        self._hanging_up.add(task)
        task.add_done_callback(self._hanging_up.discard)

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """A task that needs lines: `aclose` cancels it and waits for it."""
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def aclose(self) -> None:
        """End what is at work, hang up everything, and wait until all of that has happened."""
        self._closed = True
        if self._watch is not None:
            self.adopt(self._watch)
        while self._at_work:
            for task in self._at_work:
                task.cancel()
            await asyncio.gather(*self._at_work, return_exceptions=True)
        for key in list(self._idle):
            for idle in self._idle.pop(key):
                self.drop(idle.line)
        while self._hanging_up:
            await asyncio.gather(*self._hanging_up, return_exceptions=True)

    def _alive(self, key: str) -> deque[_Idle]:
        """Who lies idle and is still there. The dead must not take up their place."""
        waiting = self._idle.setdefault(key, deque())
        for idle in [idle for idle in waiting if not idle.line.is_open]:
            waiting.remove(idle)
            self.drop(idle.line)
        return waiting

    async def _open(self, key: str) -> Line:
        return await self._connect(key)

    def _opened(self, key: str, task: "asyncio.Task[Line]", *, unclaimed: bool = False) -> None:
        """A line that was asked for ahead of need is there, or is not."""
        opening = self._opening[key]
        if task in opening:
            opening.remove(task)
        elif not unclaimed:
            return  # whoever waits for it is told
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.give_back(key, task.result())
        elif isinstance(error, ProviderError | LineLost):
            log.info("no line ahead of need: %s", error)
        else:
            what = {"message": "a line could not be opened for a bug", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(what)

    def _lay_down(self, key: str, idle: _Idle) -> None:
        self._idle.setdefault(key, deque()).append(idle)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._keep_watch())

    async def _keep_watch(self) -> None:
        """Hang up what nobody wants, keep the rest from being hung up by the other side."""
        while any(self._idle.values()):
            await asyncio.sleep(self._beat_s if self._beat is not None else min(5.0, self._idle_s / 2))
            for key in list(self._idle):
                await self._look_at(key)
                if not self._idle[key]:
                    del self._idle[key]

    async def _look_at(self, key: str) -> None:
        for idle in list(self._alive(key)):
            if idle not in self._idle[key]:
                continue  # somebody took it while another one was sent a beat
            if not idle.line.is_open or _now() - idle.since >= self._idle_s:
                self._idle[key].remove(idle)
                self.drop(idle.line)
            elif self._beat is not None:
                self._idle[key].remove(idle)  # nobody may take it in the middle of this
                try:
                    await idle.line.send(self._beat)
                except LineLost:
                    self.drop(idle.line)
                except BaseException:
                    self.drop(idle.line)  # cancelled: nobody else knows of it any more
                    raise
                else:
                    self._idle[key].append(idle)


def _now() -> float:
    return asyncio.get_running_loop().time()
