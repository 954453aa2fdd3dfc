"""Several server processes on one port: `parley serve --workers N`.

    client --> :8000 (the kernel picks a worker) --> worker 2 --unix socket--> worker 0, whose session it is

A session lives in one process. Who comes back for it may land in another one, which then passes the socket
through. A resume token names the worker it was made by; after a restart, or with a session id alone, the
others are asked in turn. A worker that dies is started again and takes up its sessions from their journals.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from server.config import Config

log = logging.getLogger(__name__)

FORWARDED = b"x-parley-forwarded"
SHOWN = (b"cookie", b"authorization")
"""The headers by which the other worker sees who is asking."""
CONNECT_S = 2.0
STOP_S = 12.0
RESTART_S = 1.0

Work = Callable[[Config, "Place", Connection], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the workers this process is, and how to reach the others."""

    index: int = 0
    count: int = 1
    folder: str = ""

    def path(self, index: int) -> str:
        return str(Path(self.folder) / f"worker{index}.sock")

    def others(self, first: int) -> Iterator[int]:
        """The other workers, the likeliest first."""
        if first != self.index and first < self.count:
            yield first
        yield from (i for i in range(self.count) if i not in (self.index, first))


# -- passing a socket through -----------------------------------------------------------------------------


async def forward(place: Place, first: int, scope: Any, receive: Any, send: Any) -> bool:
    """Find the worker whose session is asked for and connect the client with it. False when nobody has it."""
    for index in place.others(first):
        upstream = await _dial(place.path(index), scope)
        if upstream is None:
            continue
        try:
            hello = await upstream.recv()
        except ConnectionClosed:
            continue  # not its session
        try:
            await _pass_through(upstream, hello, receive, send)
        finally:
            await upstream.close()
        return True
    return False


async def _dial(path: str, scope: Any) -> ClientConnection | None:
    query = scope["query_string"].decode("latin-1")
    shown = [(k.decode(), v.decode("latin-1")) for k, v in scope["headers"] if k in SHOWN]
    try:
        return await unix_connect(
            path,
            f"ws://worker{scope['path']}?{query}",
            additional_headers=[*shown, (FORWARDED.decode(), "1")],
            compression=None,
            max_size=None,
            open_timeout=CONNECT_S,
            ping_interval=None,
        )
    except (OSError, TimeoutError, websockets.InvalidHandshake) as error:
        log.warning("worker at %s cannot be reached: %s", Path(path).name, error)
        return None


async def _pass_through(upstream: ClientConnection, hello: str | bytes, receive: Any, send: Any) -> None:
    if (await receive())["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    await send(_message(hello))

    async def up() -> None:
        while (message := await receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await upstream.send(data if data is not None else message["text"])

    async def down() -> None:
        async for data in upstream:
            await send(_message(data))

    tasks = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    client_left = tasks[0].done() and not tasks[0].cancelled() and tasks[0].exception() is None
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if not client_left:
        code, reason = upstream.close_code or 1001, upstream.close_reason or ""
        code = 1001 if code == 1006 else code  # the worker died: come back, its journal is taken up
        with suppress(OSError, RuntimeError):
            await send({"type": "websocket.close", "code": code, "reason": reason})


def _message(data: str | bytes) -> dict[str, Any]:
    return {"type": "websocket.send", ("text" if isinstance(data, str) else "bytes"): data}


def is_forwarded(scope: Any) -> bool:
    """Whether a handshake came from another worker. Only those come in by a unix socket."""
    return scope.get("client") is None and any(k == FORWARDED for k, _ in scope["headers"])


# -- the processes ------------------------------------------------------------------------------------------


def listen(config: Config) -> socket.socket:
    """A socket on the configured address that other processes may share. Raises OSError."""
    family = socket.AF_INET6 if ":" in config.server.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((config.server.host, config.server.port))
    except OSError:
        sock.close()
        raise
    return sock


def supervise(config: Config, workers: int, work: Work) -> int:
    """Run the workers until SIGTERM or Ctrl-C; start again those that die. Returns the exit code.

    `work` is a worker's whole life, in a process of its own; it sends True once it listens.
    """
    try:
        bound = listen(config)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", config.server.host, config.server.port, error.strerror)
        return 1
    port = bound.getsockname()[1]
    share = -(-config.server.max_sessions // workers)
    config = replace(config, server=replace(config.server, port=port, max_sessions=share))
    with bound, tempfile.TemporaryDirectory(prefix="parley-") as folder:
        return _Supervisor(config, [Place(i, workers, folder) for i in range(workers)], work).run()


class _Supervisor:
    """Keeps one process per place."""

    def __init__(self, config: Config, places: list[Place], work: Work) -> None:
        self._config, self._places, self._work = config, places, work
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, SpawnProcess] = {}
        self._ready: dict[int, Connection] = {}
        self._stopping = False
        # Signals wake the waiting below through this pipe.
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for place in self._places:
            self._start(place)
        if not all(self._is_ready(place.index) for place in self._places):
            self._stop_all()
            return 1
        server = self._config.server
        if not self._stopping:
            count = len(self._places)
            print(f"Parley is ready: open http://{server.host}:{server.port}  ({count} workers)", flush=True)
        while not self._stopping:
            wait([self._wake_read, *(p.sentinel for p in self._processes.values())])
            for place in self._places:
                process = self._processes[place.index]
                if not self._stopping and not process.is_alive():
                    log.error("worker %d died with code %s; starting it again", place.index, process.exitcode)
                    wait([self._wake_read], RESTART_S)
                    self._start(place)
        return self._stop_all()

    def _start(self, place: Place) -> None:
        ready, told = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=self._work, args=(self._config, place, told), name="parley-worker"
        )
        process.start()
        told.close()
        self._processes[place.index], self._ready[place.index] = process, ready

    def _is_ready(self, index: int) -> bool:
        """Wait until a worker listens, or has died."""
        ready = self._ready[index]
        while not self._stopping:
            if ready in wait([ready, self._wake_read]):
                try:
                    return bool(ready.recv())
                except EOFError:
                    return False
        return True

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True
        os.write(self._wake_write, b"x")

    def _stop_all(self) -> int:
        for process in self._processes.values():
            process.terminate()
        code = 0
        for process in self._processes.values():
            process.join(STOP_S)
            if process.is_alive():
                process.kill()
                process.join()
            code = code or (process.exitcode or 0)
        return 1 if code else 0
