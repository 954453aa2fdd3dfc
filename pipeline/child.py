"""Owns a child process that does work the event loop must not do: start, talk, restart, end.

One `Child` is one place for a process: when the process dies, another is started in its place. Messages are
(kind, id, payload), framed by `pipeline.worker`, which is the other end. No thread and no child watcher is
involved: a child's death is the end of its stdout, so it works alike under asyncio and uvloop.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.contracts import ParleyError
from pipeline.worker import READY, REFUSED, Note, Unpacker, pack

RESTART_S = (0.0, 0.5, 1.0, 2.0, 5.0, 15.0)  # a single death costs nothing, a crash loop little
STEADY_S = 10.0  # a child that lived this long had no starting trouble: its death counts as the first
KILL_S = 5.0  # a killed process is gone in milliseconds, unless the kernel itself is stuck
_ROOT = str(Path(__file__).resolve().parent.parent)


class ChildFailed(ParleyError):
    """The child could not be started. The text is one sentence."""


class Child:
    """Keeps one worker process running and passes messages to and from it.

    `on_note` gets every message of the worker, `on_lost` is called once per death, with the reason in words;
    both on the event loop. Work sent before a death is lost: the owner fails it in `on_lost`.
    """

    def __init__(
        self,
        module: str,
        settings: Mapping[str, Any],
        on_note: Callable[[Note], None],
        on_lost: Callable[[str], None],
        *,
        max_unsent_bytes: int = 1 << 20,
    ) -> None:
        self.module = module
        self.facts: dict[str, Any] = {}
        """What the worker said of itself when it was ready."""
        self._settings = dict(settings)
        self._on_note, self._on_lost = on_note, on_lost
        self._max_unsent_bytes = max_unsent_bytes
        self._life: _Life | None = None
        self._dead: _Life | None = None  # the one before, until it is reaped
        self._keeper: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process now in this place, if any."""
        return self._life.process.pid if self._life else None

    @property
    def is_running(self) -> bool:
        """Whether `send` has somebody to send to (it may still be loading)."""
        return self._life is not None and not self._life.lost.done()

    def configure(self, **settings: Any) -> None:
        """Add to what the worker is told when it starts."""
        self._settings |= settings

    async def start(self, timeout_s: float = 20.0) -> None:
        """Start the process and wait until it is ready for work. Raises `ChildFailed`."""
        self._started = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.module}")
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._started)
        except TimeoutError as error:
            raise ChildFailed(f"{self.module} was not ready after {timeout_s:.0f} s") from error

    def send(self, kind: int, ident: int = 0, payload: bytes = b"") -> bool:
        """Pass a message without ever waiting; False when nobody is there to take it.

        A worker that leaves more than `max_unsent_bytes` unread is stuck: it is killed, and replaced.
        """
        life = self._life
        if life is None or life.lost.done():
            return False
        if life.write(pack(kind, ident, payload)) > self._max_unsent_bytes:
            life.end("it stopped reading")
            return False
        return True

    async def aclose(self, deadline_s: float = 1.0) -> None:
        """End the process: close its stdin, and kill it when it has not gone by the deadline."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        for life in (self._dead, self._life):
            if life is not None:
                await life.aclose(deadline_s)
        self._dead = self._life = None
        if self._started is not None and self._started.done() and not self._started.cancelled():
            self._started.exception()  # `start` was cancelled: nobody else looks at it

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        life = self._spawn()
        while True:
            since = loop.time()
            await life.connect()
            reason = await asyncio.shield(life.lost)
            if self._started is not None and not self._started.done():
                sentence = life.refused or f"{self.module} could not start: {reason}"
                self._started.set_exception(ChildFailed(sentence))
                return
            deaths = 1 if loop.time() - since > STEADY_S else deaths + 1
            delay_s = RESTART_S[min(deaths, len(RESTART_S)) - 1]
            self._dead = life
            if delay_s == 0:
                self._spawn()  # before anybody hears of the death: what is sent next already goes to it
            self._on_lost(life.refused or reason)
            await life.aclose(0.2)
            self._dead = None
            if delay_s > 0:
                await asyncio.sleep(delay_s)
                self._spawn()
            assert self._life is not None
            life = self._life

    def _spawn(self) -> "_Life":
        self._life = _Life(self.module, json.dumps(self._settings), self._take)
        return self._life

    def _take(self, note: Note) -> None:
        if note.kind == READY:
            self.facts = json.loads(note.payload)
            if self._started is not None and not self._started.done():
                self._started.set_result(None)
        else:
            self._on_note(note)


class _Life:
    """One process, from its start until it is reaped."""

    def __init__(self, module: str, settings: str, take: Callable[[Note], None]) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.refused = ""
        self._take = take
        self._unpacker = Unpacker()
        self._early: bytearray | None = bytearray()  # written before the pipe was connected
        self._to: asyncio.WriteTransport | None = None
        self._from: asyncio.ReadTransport | None = None
        path = os.pathsep.join(p for p in (_ROOT, os.environ.get("PYTHONPATH", "")) if p)
        self.process = subprocess.Popen(
            # -P: a folder called "pipeline" in the working directory must not shadow ours.
            [sys.executable, "-P", "-m", module, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            # Its own group: Ctrl-C at the terminal is the server's to act on.
            process_group=0 if os.name == "posix" else None,
        )

    async def connect(self) -> None:
        """Hang the pipes into the event loop."""
        loop = asyncio.get_running_loop()
        self._from, _ = await loop.connect_read_pipe(lambda: _Reader(self), self.process.stdout)
        self._to, _ = await loop.connect_write_pipe(lambda: _Writer(self), self.process.stdin)
        early, self._early = self._early, None
        if early and not self._to.is_closing():
            self._to.write(bytes(early))

    def write(self, data: bytes) -> int:
        """Queue bytes; how many are waiting to be read by the child."""
        if self._early is not None:
            self._early += data
            return len(self._early)
        assert self._to is not None
        if self._to.is_closing():
            return 0
        self._to.write(data)
        return self._to.get_write_buffer_size()

    def received(self, data: bytes) -> None:
        for note in self._unpacker.push(data):
            if note.kind == REFUSED:
                self.refused = note.payload.decode(errors="replace")
            else:
                self._take(note)

    def end(self, reason: str) -> None:
        """Kill it; `lost` tells why."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self.process.poll() is None:
            self.process.kill()

    def gone(self) -> None:
        """A pipe has closed: whatever the process is doing, it is of no use any more."""
        if not self.lost.done():
            self.lost.set_result("its pipe closed")

    async def aclose(self, deadline_s: float) -> None:
        """Close its stdin, wait for it to go, kill it if it does not, and reap it."""
        if not self.lost.done():
            self.lost.set_result("it was closed")
        for transport, pipe in ((self._to, self.process.stdin), (self._from, self.process.stdout)):
            if transport is None:
                if pipe is not None:
                    pipe.close()
            elif not transport.is_closing():  # asyncio's pipe fails when aborted twice
                transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        waited_s, step_s, killed = 0.0, 0.002, False
        while True:
            await asyncio.sleep(step_s)  # also lets the transports close their pipes
            waited_s, step_s = waited_s + step_s, min(step_s * 2, 0.05)
            if self.process.poll() is not None or waited_s > deadline_s + KILL_S:
                return
            if waited_s >= deadline_s and not killed:
                killed = True
                self.process.kill()


class _Reader(asyncio.Protocol):
    """The worker's stdout."""

    def __init__(self, life: _Life) -> None:
        self._life = life

    def data_received(self, data: bytes) -> None:
        self._life.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # however it closed, it is closed
        self._life.gone()


class _Writer(asyncio.Protocol):
    """The worker's stdin: how full it is, is asked for at each write; it is never waited for."""

    def __init__(self, life: _Life) -> None:
        self._life = life

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # however it closed, it is closed
        self._life.gone()

    def pause_writing(self) -> None:
        """Seen in `write`'s answer."""

    def resume_writing(self) -> None:
        """Seen in `write`'s answer."""
