"""One blocking HTTP exchange in a thread of its own, whose pieces come out on the event loop.

A thread cannot be cancelled, and closing a response that another thread reads from waits for that read to
end. So a `Call` remembers the connection it is served by and hangs it up: the read then fails at once.
Connections are urllib3's, pooled by the requests adapter that `adapter` makes. It knows no vendor.
"""

import asyncio
import importlib
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

MOST_AHEAD = 64
"""Pieces that may wait for the consumer; then the thread waits too."""
CONNECT_S = 5.0
READ_S = 60.0
"""Of the last resort: the chain's own deadlines are shorter."""
CONNECTIONS = 32

T = TypeVar("T")
_END = object()
_serving = threading.local()
"""`.call`: the `Call` that this thread works for."""


class Call(Generic[T]):
    """Runs `work` in a thread; `pieces()` yields what it yields and raises what it raises."""

    def __init__(self, work: Callable[[], Iterator[T]], name: str) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()  # never longer than `_room` allows
        self._room = threading.Semaphore(MOST_AHEAD)
        self._line: Any = None
        self.cancelled = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def pieces(self) -> AsyncGenerator[T, None]:
        """Starts the thread. However the reading ends, the thread ends soon after."""
        self.thread.start()
        try:
            while (item := await self._queue.get()) is not _END:
                self._room.release()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Nobody wants the rest. Never blocks."""
        self.cancelled = True
        self._queue.put_nowait(ConnectionAbortedError("it was closed"))  # for a reader that is still there
        self._room.release()
        if self._line is not None:
            self._line.hang_up(self)

    def served_by(self, line: Any) -> None:
        """In the thread: this connection carries the exchange now. Raises when nobody wants it any more."""
        self._line = line
        if self.cancelled:
            raise ConnectionAbortedError("nobody waits for the answer")

    def _run(self) -> None:
        _serving.call = self
        work = self._work()
        try:
            for piece in work:
                if not self._put(piece):
                    return
            self._let_go()
            self._put(_END)
        except Exception as error:  # noqa: BLE001 - raised again by `pieces`, on the loop
            self._let_go()
            self._put(error)
        finally:
            work.close()  # type: ignore[attr-defined]  # a generator's: its own `finally` closes the response

    def _let_go(self) -> None:
        """The exchange is over: its connection may wait in the pool for the next one."""
        if self._line is not None:
            self._line.let_go(self)

    def _put(self, item: Any) -> bool:
        """Hand it over, once there is room. False: nobody wants it."""
        self._room.acquire()
        if self.cancelled:
            return False
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
            return True
        return False


def adapter() -> Any:
    """For requests sessions: exchanges can be hung up while a thread waits for them. Imports requests."""
    requests, urllib3 = (importlib.import_module(name) for name in ("requests", "urllib3"))
    pools = {
        "http": _pool_class(urllib3.HTTPConnectionPool),
        "https": _pool_class(urllib3.HTTPSConnectionPool),
    }

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[name-defined,misc]
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = pools
            return manager

        def close(self) -> None:
            """urllib3 leaves its pools to the garbage collector, and their sockets open till then."""
            for manager in (self.poolmanager, *self.proxy_manager.values()):
                for key in manager.pools.keys():  # noqa: SIM118 - a locked container that cannot be iterated
                    manager.pools[key].close()
            super().close()

        def send(self, request: Any, **kwargs: Any) -> Any:
            return super().send(request, **{**kwargs, "timeout": (CONNECT_S, READ_S)})

    return Adapter(pool_connections=4, pool_maxsize=CONNECTIONS)


def _pool_class(base: Any) -> Any:
    """urllib3's pool, of connections that can be hung up."""
    return type(f"Pool{base.__name__}", (base,), {"ConnectionCls": _line_class(base.ConnectionCls)})


def _line_class(base: Any) -> Any:
    """urllib3's connection that knows which `Call` it serves, and can be hung up for it from outside."""

    class Line(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._owner: Any = None
            self._owning = threading.Lock()

        def connect(self) -> None:
            super().connect()
            self._own()  # opening may have taken seconds

        def request(self, *args: Any, **kwargs: Any) -> None:
            self._own()
            super().request(*args, **kwargs)

        def let_go(self, call: Any) -> None:
            with self._owning:
                if self._owner is call:
                    self._owner = None

        def hang_up(self, call: Any) -> None:
            """Unless it serves somebody else by now."""
            with self._owning:
                if self._owner is call and self.sock is not None:
                    with suppress(OSError):  # it is gone already
                        # Not the method of an SSL socket: that pulls the rug from under the reading thread.
                        socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

        def _own(self) -> None:
            call = getattr(_serving, "call", None)
            with self._owning:
                self._owner = call
            if call is not None:
                call.served_by(self)

    return Line
