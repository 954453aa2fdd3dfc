"""The sound of a session while it goes on: one append-only file of records, read back by position.

    record = magic "Ps" | track 1 byte | length of id 1 byte | rate 4 | start 8 | samples 4 | crc 4 | id | pcm

`start` is a time line position (16 kHz) on the user's track, and an offset into the reply, at its own rate,
on an agent's. The crc covers header and id, so that a scan stops at damage instead of running into it; of a
record torn by a crash the whole samples that arrived are kept. Where records overlap the later one wins;
where there is none it is silent. An agent record's id is the reply's, followed by the position on the time
line that it was expected to be played at: what recovery goes by when the journal does not say.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage import files

USER_RATE_HZ = 16_000
MAX_RECORD_SAMPLES = 1 << 22  # four minutes at 16 kHz; a length beyond it is damage

_HEAD = struct.Struct("<2sBBIQI")
_CRC = struct.Struct("<I")
_POSITION = struct.Struct("<Q")
_MAGIC = b"Ps"
_USER, _AGENT = 0, 1

Samples = NDArray[np.int16]


class Piece(NamedTuple):
    """Some samples of one track, as they were handed over. `reply_id` "" is the user's track."""

    reply_id: str
    rate_hz: int
    start: int
    position: int
    pcm: bytes | bytearray


class Extent(NamedTuple):
    """Where a record's samples are: so many of them from `start` on their track, at byte `at` of the file."""

    start: int
    samples: int
    at: int


@dataclass(slots=True)
class Reply:
    """One reply's part of the spool."""

    rate_hz: int
    position: int
    """Where on the time line its first record was expected to be played."""
    extents: list[Extent] = field(default_factory=list)


class Spool:
    """Appends sound, and knows where everything is. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.user: list[Extent] = []
        self.replies: dict[str, Reply] = {}
        self._end = 0

    def __bool__(self) -> bool:
        """Whether there is any sound."""
        return bool(self.user or self.replies)

    @property
    def user_end(self) -> int:
        """The time line position at which the user's track ends."""
        return max((extent.start + extent.samples for extent in self.user), default=0)

    def append(self, pieces: Iterable[Piece]) -> None:
        """Write records, in one go. Raises OSError; the file may then end in a torn record."""
        out = bytearray()
        found: list[tuple[Piece, Extent]] = []
        for piece in pieces:
            count = len(piece.pcm) // 2
            out += _head(piece, count)
            found.append((piece, Extent(piece.start, count, self._end + len(out))))
            out += piece.pcm[: 2 * count]
        if not out:
            return
        files.append(self.path, bytes(out))
        self._end += len(out)
        for piece, extent in found:
            self._index(piece.reply_id, piece.rate_hz, piece.position, extent)

    def load(self) -> None:
        """Index a file left by an earlier process and mend its torn end, so that it can be appended to."""
        try:
            with self.path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                while self._scan(file, size):
                    pass
                if self._end < size:
                    file.truncate(self._end)
        except FileNotFoundError:
            return

    def _scan(self, file: BinaryIO, size: int) -> bool:
        """Index the next record; False at the end or at damage. `_end` is after the last good one."""
        at = self._end
        raw = file.read(_HEAD.size)
        if len(raw) < _HEAD.size:
            return False
        magic, track, id_bytes, rate_hz, start, count = _HEAD.unpack(raw)
        name, crc = file.read(id_bytes), file.read(_CRC.size)
        if magic != _MAGIC or len(crc) < _CRC.size or _CRC.unpack(crc)[0] != zlib.crc32(raw + name):
            return False
        data = at + _HEAD.size + id_bytes + _CRC.size
        there = min(count, (size - data) // 2)
        if there < count:
            file.seek(at)  # torn: keep the whole samples that arrived, under a header that says so
            raw = _HEAD.pack(magic, track, id_bytes, rate_hz, start, there)
            file.write(raw + name + _CRC.pack(zlib.crc32(raw + name)))
        reply_id, position = "", start
        if track == _AGENT and id_bytes >= _POSITION.size:
            reply_id = name[: -_POSITION.size].decode("utf-8", "replace")
            position = _POSITION.unpack(name[-_POSITION.size :])[0]
        self._end = data + 2 * there
        self._index(reply_id, rate_hz, position, Extent(start, there, data))
        file.seek(self._end)
        return bool(there == count)

    def _index(self, reply_id: str, rate_hz: int, position: int, extent: Extent) -> None:
        if not extent.samples:
            return
        if not reply_id:
            self.user.append(extent)
            return
        reply = self.replies.setdefault(reply_id, Reply(rate_hz, position))
        reply.extents.append(extent)

    def remove(self) -> None:
        """Forget everything and delete the file. Raises OSError."""
        self.user, self.replies, self._end = [], {}, 0
        self.path.unlink(missing_ok=True)


def _head(piece: Piece, count: int) -> bytes:
    name = b""
    if piece.reply_id:
        # 200 bytes: room for the position in a length that one byte holds.
        name = piece.reply_id.encode("utf-8", "replace")[:200] + _POSITION.pack(max(0, piece.position))
    track = _AGENT if piece.reply_id else _USER
    raw = _HEAD.pack(_MAGIC, track, len(name), piece.rate_hz, max(0, piece.start), count)
    return raw + name + _CRC.pack(zlib.crc32(raw + name))


class Track:
    """Reads any stretch of one track, as often as wanted; silence where nothing was spooled."""

    def __init__(self, file: BinaryIO, extents: Iterable[Extent]) -> None:
        self._file = file
        self._extents = list(extents)
        self._starts = np.array([extent.start for extent in self._extents], np.int64)
        self._ends = self._starts + np.array([extent.samples for extent in self._extents], np.int64)

    def read(self, start: int, count: int) -> Samples:
        """The samples from `start` on. Raises OSError."""
        out = np.zeros(count, np.int16)
        touched = np.flatnonzero((self._starts < start + count) & (self._ends > start))
        for number in touched.tolist():
            extent = self._extents[number]
            first, last = max(start, extent.start), min(start + count, extent.start + extent.samples)
            self._file.seek(extent.at + 2 * (first - extent.start))
            samples = np.frombuffer(self._file.read(2 * (last - first)), "<i2")
            out[first - start : first - start + len(samples)] = samples
        return out


class Tape:
    """A spool opened for reading: as many tracks as wanted over one file. Close it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file: BinaryIO = spool.path.open("rb")

    def close(self) -> None:
        self._file.close()

    def user(self) -> Track:
        return Track(self._file, self._spool.user)

    def reply(self, reply_id: str) -> Track:
        reply = self._spool.replies.get(reply_id)
        return Track(self._file, reply.extents if reply else ())
