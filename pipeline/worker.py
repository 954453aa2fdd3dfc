"""The child's end of the pipe to `pipeline.child`: messages on stdin, messages on stdout, one thread.

This file is imported by worker programs only, so it stays light: no asyncio, no numpy. It owns the framing
and what every worker owes its parent: ignore Ctrl-C (the parent ends us), exit when stdin closes (the parent
is gone, however it died), keep stray prints of libraries out of the pipe.
"""

import json
import os
import select
import signal
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

HEADER = struct.Struct("<IBI")  # payload length, kind, id
READY, REFUSED = 0, 1  # kinds that every worker has: "send me work", "I cannot run here" (a sentence)
_READ_BYTES = 1 << 16


class Note(NamedTuple):
    """One message. `ident` says which utterance or request it belongs to."""

    kind: int
    ident: int
    payload: bytes


def pack(kind: int, ident: int, payload: bytes = b"") -> bytes:
    """A message as it travels."""
    return HEADER.pack(len(payload), kind, ident) + payload


class Unpacker:
    """Cuts the byte stream of a pipe into messages. Any split of the same bytes gives the same messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, data: bytes) -> list[Note]:
        """The messages that are now whole."""
        self._bytes += data
        notes: list[Note] = []
        at, size = 0, len(self._bytes)
        while size - at >= HEADER.size:
            length, kind, ident = HEADER.unpack_from(self._bytes, at)
            end = at + HEADER.size + length
            if end > size:
                break
            notes.append(Note(kind, ident, bytes(self._bytes[at + HEADER.size : end])))
            at = end
        del self._bytes[:at]
        return notes


class Link:
    """A worker's connection to its parent."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._in = sys.stdin.fileno()
        self._out = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not break the framing
        self._unpacker = Unpacker()
        self._notes: deque[Note] = deque()

    def send(self, kind: int, ident: int = 0, payload: bytes = b"") -> None:
        """Write one message; waits while the parent is not reading, exits when it is gone."""
        data = memoryview(pack(kind, ident, payload))
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            _leave()

    def ready(self, facts: dict[str, Any] | None = None) -> None:
        """Say that work can come, with what the parent needs to know."""
        self.send(READY, 0, json.dumps(facts or {}).encode())

    def next(self) -> Note:
        """The next message; waits for it."""
        while not self._notes:
            self._read()
        return self._notes.popleft()

    def wait(self, timeout_s: float) -> None:
        """Sleep until a message is there or the time is over."""
        if not self._notes:
            select.select([self._in], [], [], timeout_s)

    def poll(self) -> deque[Note]:
        """Everything that has arrived and was not taken by `next`, without waiting. The caller may look
        ahead (a cancel) and remove what it deals with."""
        while select.select([self._in], [], [], 0)[0]:
            self._read()
        return self._notes

    def _read(self) -> None:
        data = os.read(self._in, _READ_BYTES)
        if not data:
            _leave()
        self._notes += self._unpacker.push(data)


def run(work: Callable[[Link, dict[str, Any]], None]) -> None:
    """A worker program's `main`: `work(link, settings)` loops over `link.next()` for ever.

    Settings come as JSON in the first argument. `ImportError` and `OSError` while starting, and `Refused` at
    any time, are told to the parent as the reason why this worker cannot run.
    """
    settings: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    link = Link()
    if nice := int(settings.get("nice", 0)):
        os.nice(nice)
    try:
        work(link, settings)
    except (ImportError, OSError, Refused) as error:
        link.send(REFUSED, 0, (str(error) or type(error).__name__).encode())
        sys.exit(1)


class Refused(Exception):
    """The worker cannot run here. The text is a sentence that says what to do."""


def _leave() -> NoReturn:
    # Not sys.exit: nothing is to be saved, and engines' destructors may take their time.
    os._exit(0)
