"""Speech as sound files for whoever asked for them, made while it is being spoken.

Knows formats, not voices. WAV tells its length in its first bytes: who does not know it yet writes the
largest there is, which players take for "until the end".
"""

import io
import struct
from typing import Any, Literal, Protocol

import numpy as np
import soundfile

RATE_HZ = 24_000
Format = Literal["wav", "mp3", "pcm", "opus", "flac"]
MEDIA: dict[Format, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
    "opus": "audio/ogg",
    "flac": "audio/flac",
}
_UNKNOWN = 0xFFFFFFFF


class Encoder(Protocol):
    """Turns s16le mono at `RATE_HZ` into a file, piece by piece. It blocks: use it in threads."""

    def push(self, pcm: bytes) -> bytes: ...

    def finish(self) -> bytes:
        """The rest. Nothing may come after it."""


def encoder(format: Format) -> Encoder:
    """For a format other than WAV, whose first bytes depend on what is known of its length."""
    if format == "mp3":
        # Constant bit rate, so that a player knows where it is in a file whose end it has not seen.
        return _Compressed("MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.7)
    if format == "opus":
        return _Compressed("OGG", "OPUS")
    if format == "flac":
        return _Flac()
    return _Plain()


def wav_header(pcm_bytes: int | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """The 44 bytes before s16le mono; without a length the end of the file is where it ends."""
    data = _UNKNOWN if pcm_bytes is None else pcm_bytes
    riff = _UNKNOWN if pcm_bytes is None else pcm_bytes + 36
    shape = struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + shape + b"data" + struct.pack("<I", data)


class _Plain:
    def push(self, pcm: bytes) -> bytes:
        return pcm

    def finish(self) -> bytes:
        return b""


class _Compressed:
    """Through libsndfile, into memory that is emptied as it fills."""

    def __init__(self, kind: str, subtype: str, **options: Any) -> None:
        self._sink = _Sink()
        self._file = soundfile.SoundFile(self._sink, "w", RATE_HZ, 1, format=kind, subtype=subtype, **options)

    def push(self, pcm: bytes) -> bytes:
        self._file.write(np.frombuffer(pcm, "<i2"))
        return self._sink.take()

    def finish(self) -> bytes:
        self._file.close()
        return self._sink.take()


class _Flac:
    """All at the end: libsndfile, for one, does not read a FLAC whose header doesn't tell its length."""

    def __init__(self) -> None:
        self._pcm = bytearray()

    def push(self, pcm: bytes) -> bytes:
        self._pcm += pcm
        return b""

    def finish(self) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.frombuffer(self._pcm, "<i2"), RATE_HZ, format="FLAC", subtype="PCM_16")
        return file.getvalue()


class _Sink:
    """What libsndfile takes for a file. It keeps what is appended until it is taken; what is written over
    what was taken already (an MP3's header, at its end) is too late, and dropped."""

    def __init__(self) -> None:
        self._new = bytearray()
        self._taken = self._at = 0

    def take(self) -> bytes:
        new = bytes(self._new)
        self._taken += len(new)
        self._new.clear()
        return new

    def write(self, data: bytes) -> int:
        size, at = len(data), self._at - self._taken
        if at >= 0:
            self._new[at : at + size] = bytes(data)
        self._at += size
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._taken + len(self._new))[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, _size: int = -1) -> bytes:
        """libsndfile asks whether it can; it does not while writing."""
        return b""
