"""Sound files from outside as speech: WAV, MP3, FLAC and OGG through libsndfile; WebM and MP4, which browsers
record, through PyAV where it is installed (it comes with faster-whisper).

Files are read a second at a time, in threads: the event loop never waits and a file never lies in memory
whole. What comes out is what recognizers take: s16le mono at 16 kHz.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pipeline.contracts import INPUT_RATE_HZ

BLOCK_BYTES = 2 * INPUT_RATE_HZ
"""One second."""
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 4_000, 384_000
MOST_CHANNELS = 8
_EBML = b"\x1a\x45\xdf\xa3"
READABLE = "WAV, MP3, FLAC, OGG, WebM or MP4"

T = TypeVar("T")
Blocks = Generator[bytes, None, None]


class BadSound(ValueError):
    """A file that cannot be used. The text is a sentence for whoever sent it."""


class TooLong(BadSound):
    """More speech than is taken at once."""


async def decoded(file: BinaryIO, most_s: float) -> AsyncGenerator[bytes, None]:
    """The file's sound, about a second at a time. Close it before the file. Raises `BadSound`."""
    blocks = _blocks(file)
    left = round(most_s * INPUT_RATE_HZ) * 2
    try:
        while pcm := await in_thread(lambda: next(blocks, b"")):
            left -= len(pcm)
            if left < 0:
                raise TooLong(f"The recording is too long: at most {most_s:g} seconds.")
            yield pcm
    finally:
        await in_thread(blocks.close)


async def in_thread(work: Callable[[], T]) -> T:
    """Run a short piece of blocking work. Who is cancelled meanwhile still waits for its end: what it works
    on is about to be closed."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        with suppress(Exception):  # it is the cancellation that counts now
            await working
        raise


def _blocks(file: BinaryIO) -> Blocks:
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    if not head:
        raise BadSound("The sound file is empty.")
    # Only these two by name: letting FFmpeg guess would let it read playlists, and so other files.
    if head[:4] == _EBML:
        pieces = _through_av(file, "matroska", "WebM")
    elif head[4:8] == b"ftyp":
        pieces = _through_av(file, "mov", "MP4")
    else:
        pieces = _through_libsndfile(file)
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= BLOCK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _through_libsndfile(file: BinaryIO) -> Blocks:
    try:
        with soundfile.SoundFile(file) as sound:
            rate_hz, channels = sound.samplerate, sound.channels
            if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ or channels > MOST_CHANNELS:
                raise BadSound(f"A sound file of {rate_hz} Hz and {channels} channels cannot be used.")
            resampler = soxr.ResampleStream(rate_hz, INPUT_RATE_HZ, 1, dtype="float32", quality="HQ")
            while len(block := sound.read(rate_hz, dtype="float32", always_2d=True)):
                mono = np.nan_to_num(block.mean(axis=1, dtype=np.float32))
                yield _s16(resampler.resample_chunk(mono) if rate_hz != INPUT_RATE_HZ else mono)
            if rate_hz != INPUT_RATE_HZ:
                yield _s16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    except soundfile.LibsndfileError as error:
        raise BadSound(f"This is not a sound file that can be read: send {READABLE}.") from error


def _s16(samples: NDArray[np.float32]) -> bytes:
    whole = np.clip(np.rint(samples * 32768.0), -32768, 32767)
    return bytes(whole.astype("<i2").tobytes())


def _through_av(file: BinaryIO, kind: str, name: str) -> Blocks:
    try:
        av: Any = importlib.import_module("av")
    except ModuleNotFoundError as error:
        raise BadSound(
            f"This server cannot read {name}: send WAV, MP3, FLAC or OGG, "
            "or have it install parley[faster-whisper]."
        ) from error
    try:
        with av.open(_Readable(file), format=kind, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise BadSound(f"There is no sound in this {name} file.")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=INPUT_RATE_HZ)
            for frame in container.decode(container.streams.audio[0]):
                yield from map(_samples, resampler.resample(frame))
            yield from map(_samples, resampler.resample(None))
    except av.error.FFmpegError as error:
        raise BadSound(f"This {name} file cannot be read: it is broken, or cut short.") from error


class _Readable:
    """A file as PyAV wants it: `seek` says where it is then, which an upload's own file does not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()


def _samples(frame: Any) -> bytes:
    return bytes(frame.planes[0])[: 2 * frame.samples]
