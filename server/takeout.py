"""Everything of a user's in one ZIP, made while it is being sent: at no time is more than a piece of one file
in memory. Reading and packing happen in a thread of its own.

    profile.json  agents.json  sessions.json  appointments.json  ledger.csv
    conversations/{session_id}.json
    audio_files/{session_id}/*.mp3
"""

import asyncio
import csv
import io
import json
import os
import sys
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.parts import Parts
from storage.accounts import User
from storage.schema import requests

PIECE_BYTES = 128 << 10
NICENESS = 10  # packing can wait, talking cannot
PAUSE_S = 0.002  # after each piece: a fast disk and a fast reader would keep the event loop busy
PAGE = 100
LEDGER = [column.name for column in requests.columns]

Rows = list[dict[str, Any]]


class _Sink(io.RawIOBase):
    """What the ZIP is written to: a file that only goes forward, and is taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class _Packer:
    """Puts members into a ZIP. Every method may block."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w")
        self._member: Any = None

    def begin(self, name: str, *, packed: bool = True) -> None:
        """Start a member; `packed`: not for what is compressed already."""
        self._finish()
        now = datetime.now(UTC)
        info = zipfile.ZipInfo(name, (now.year, now.month, now.day, now.hour, now.minute, now.second))
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        info.external_attr = 0o600 << 16
        self._member = self._zip.open(info, "w", force_zip64=True)

    def add(self, data: bytes) -> bytes:
        """More of the member. Returns what is to be sent."""
        self._member.write(data)
        return self._sink.take()

    def whole(self, name: str, data: bytes) -> bytes:
        """A member in one go. Returns what is to be sent."""
        self.begin(name)
        return self.add(data)

    def file(self, name: str, path: Path, *, packed: bool) -> Generator[bytes, None, None]:
        """A member from a file, in pieces that are to be sent. Nothing if the file is gone."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            self.begin(name, packed=packed)
            while data := file.read(PIECE_BYTES):
                yield self.add(data)

    def close(self) -> bytes:
        """The end of the ZIP. Returns the last that is to be sent."""
        self._finish()
        self._zip.close()
        return self._sink.take()

    def _finish(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None


async def takeout(parts: Parts, user: User, profile: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """The bytes of the ZIP. `profile` is the user's, as the user sees it."""
    packer, loop = _Packer(), asyncio.get_running_loop()
    # One thread: if the reader goes away in mid-file, the closing waits its turn behind that step.
    thread = ThreadPoolExecutor(1, "export", initializer=_step_back)
    try:
        async for name, content in _tables(parts, user, profile):
            yield await loop.run_in_executor(thread, packer.whole, name, content)
        ids = await parts.conversations.of_owner(user.owner)
        for session_id in ids:
            for name, path, packed in await _files(parts, session_id):
                pieces = packer.file(name, path, packed=packed)
                try:
                    while (piece := await loop.run_in_executor(thread, next, pieces, None)) is not None:
                        yield piece
                        await asyncio.sleep(PAUSE_S)
                finally:
                    thread.submit(pieces.close)
        yield await loop.run_in_executor(thread, packer.whole, "ledger.csv", _csv([LEDGER]))
        for session_id in ids:
            rows = await parts.usage.of_session(session_id)
            yield await loop.run_in_executor(thread, packer.add, _lines(rows))
        outside = await parts.usage.errands_of(user.id)
        yield await loop.run_in_executor(thread, packer.add, _lines(outside))
    finally:
        end = thread.submit(packer.close)
        thread.shutdown(wait=False)
    yield await asyncio.wrap_future(end)


async def _tables(parts: Parts, user: User, profile: Mapping[str, Any]) -> AsyncIterator[tuple[str, bytes]]:
    yield "profile.json", _json(profile)
    yield "agents.json", _json(await _all(lambda offset: parts.agents.list(user.id, PAGE, offset)))
    yield "sessions.json", _json(await _all(lambda offset: parts.talks.list(user.owner, PAGE, offset)))

    async def booked(offset: int) -> tuple[Rows, int]:
        found, total = await parts.appointments.list(
            PAGE, offset, phone=user.phone, user_id=user.id, status=None
        )
        return [asdict(one) for one in found], total

    yield "appointments.json", _json(await _all(booked))


async def _files(parts: Parts, session_id: str) -> list[tuple[str, Path, bool]]:
    """(name in the ZIP, file, whether packing makes it smaller) of a talk."""
    found = [(f"conversations/{session_id}.json", parts.archive.json_path(session_id), True)]
    for entry in await parts.archive.audio_files(session_id):
        name = entry["filename"]
        found.append((f"audio_files/{session_id}/{name}", parts.archive.audio_path(session_id, name), False))
    return found


async def _all(page: Callable[[int], Awaitable[tuple[Rows, int]]]) -> Rows:
    found: Rows = []
    while True:
        rows, total = await page(len(found))
        found += rows
        if not rows or len(found) >= total:
            return found


def _step_back() -> None:
    if sys.platform == "linux":  # where a thread has a niceness of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str).encode("utf-8", "replace")


def _lines(requests_made: Rows) -> bytes:
    return _csv([row[name] for name in LEDGER] for row in requests_made)


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")
