"""From spooled sound to MP3: one file per utterance and reply, and the whole talk in stereo on one time line.

Everything streams through in blocks of `BLOCK_S` seconds, so that an hour of talk needs no more memory than a
minute, and every renderer is a generator that yields after each block: one thread can keep several going and
do more urgent work in between.

    time line (16 kHz)   0 ........ position ......................
    user   16 kHz        |----soxr---->|  left,  24 kHz, one stream from sample 0
    agent  rate of reply |   [run][run]   right, each run resampled on its own and put at position * 3/2

Three measured facts about libsndfile 1.2.2 with LAME decide how it is called (docs/files.md has the numbers):
16-bit stereo comes out as noise, so samples go in as float32; a file whose frames are too small for LAME's
"Info" tag plays 1105 samples late in every decoder, so the bit rate is chosen to fit the tag; and a write
that meets a full disk may go unreported, so the size is checked afterwards.
"""

import errno
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from storage import files
from storage.journal import Placed, Run
from storage.spool import USER_RATE_HZ, Samples, Spool, Tape, Track

STEREO_RATE_HZ = 24_000
BLOCK_S = 2  # some 50 ms of work: the longest that a turn's end waits behind a long talk's rendering

_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_KBPS_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG-2, below 32 kHz
_KBPS_HIGH = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG-1
_INFO_TAG_BYTES = 192  # the smallest frame that was seen to carry the tag, of those MP3 has
_MIN_KBPS = 32
_NEAR = 8  # samples at 16 kHz (0.5 ms): reports of play-out that fit this well are one stretch

Floats = NDArray[np.float32]


class Mp3:
    """Writes one MP3 file, atomically. Give it blocks, then `commit` or `discard`."""

    def __init__(self, path: Path, rate_hz: int, channels: int) -> None:
        self._path, self._part = path, files.part_of(path)
        self._rate_hz, self._frames = rate_hz, 0
        self._kbps = bit_rate(rate_hz)
        try:
            self._file = soundfile.SoundFile(
                self._part,
                "w",
                rate_hz,
                channels,
                format="MP3",
                bitrate_mode="CONSTANT",
                compression_level=_compression(rate_hz, self._kbps),
            )
        except soundfile.LibsndfileError as error:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
            raise OSError(errno.EIO, f"cannot write MP3: {error}", str(self._part)) from error

    def write(self, block: Floats) -> None:
        """Add samples: one column per channel. Raises OSError."""
        try:
            self._file.write(block)
        except soundfile.LibsndfileError as error:
            raise OSError(errno.EIO, f"cannot write MP3: {error}", str(self._part)) from error
        self._frames += len(block)

    def commit(self) -> None:
        """Put the finished file in its place. Raises OSError, also for what could not be written before."""
        self._file.close()
        wanted = self._frames * self._kbps * 125 // self._rate_hz
        if files.size_of(self._part) < wanted:
            raise OSError(errno.ENOSPC, "the MP3 came out too short", str(self._part))
        files.settle(self._part, self._path)

    def discard(self) -> None:
        """Remove what is not finished. Harmless after `commit`."""
        self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


def bit_rate(rate_hz: int) -> int:
    """The lowest bit rate (kb/s) at which LAME's delay is written into the file and speech sounds well."""
    table, bytes_per_frame = (_KBPS_LOW, 72_000) if rate_hz < 32_000 else (_KBPS_HIGH, 144_000)
    return next(
        kbps
        for kbps in table
        if kbps >= _MIN_KBPS and kbps * bytes_per_frame >= _INFO_TAG_BYTES * rate_hz * 0.93
    )


def _compression(rate_hz: int, kbps: int) -> float:
    """libsndfile takes no bit rate but a level from 0 (the highest of the format) to 1 (the lowest)."""
    low, high = (8, 64) if rate_hz < 16_000 else (8, 160) if rate_hz < 32_000 else (32, 320)
    return (high - kbps) / (high - low)


def mp3_rate(rate_hz: int) -> int:
    """The rate itself where MP3 has it, else 24 kHz."""
    return rate_hz if rate_hz in _MP3_RATES else STEREO_RATE_HZ


@dataclass(frozen=True, slots=True)
class Stretch:
    """`count` samples of a track from `offset` on, to be played from time line `position` on."""

    track: Track
    rate_hz: int
    offset: int
    count: int
    position: int = 0


class Source:
    """Reads a stretch from its beginning to its end, resampled, a block at a time.

    soxr takes its filter's delay back itself: the first sample out is the first sample in.
    """

    def __init__(self, stretch: Stretch, rate_hz: int) -> None:
        self._stretch, self._next = stretch, 0
        self.samples = round(stretch.count * rate_hz / stretch.rate_hz)
        self._resampler: soxr.ResampleStream | None = None
        if rate_hz != stretch.rate_hz:
            self._resampler = soxr.ResampleStream(stretch.rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
        self._ready: Floats = np.zeros(0, np.float32)

    def read(self, count: int) -> Floats:
        """The next `count` samples, silence after the end."""
        while len(self._ready) < count and self._next < self._stretch.count:
            self._ready = np.concatenate((self._ready, self._more()))
        out, self._ready = self._ready[:count], self._ready[count:]
        if len(out) < count:
            out = np.concatenate((out, np.zeros(count - len(out), np.float32)))
        return out

    def _more(self) -> Floats:
        stretch = self._stretch
        count = min(BLOCK_S * stretch.rate_hz, stretch.count - self._next)
        block = as_floats(stretch.track.read(stretch.offset + self._next, count))
        self._next += count
        if self._resampler is None:
            return block
        resampled: Floats = self._resampler.resample_chunk(block, last=self._next == stretch.count)
        return resampled


def as_floats(samples: Samples) -> Floats:
    """-1 to 1."""
    return samples.astype(np.float32) / np.float32(32768)


def joined(runs: Iterable[Run], rate_hz: int) -> list[Run]:
    """The same runs, fewer: those that go on where the one before stopped become one.

    Positions are whole samples at another rate than counts, so each is off by up to a sample: they are
    compared with where the stretch began, so that the errors never add up.
    """
    out: list[Run] = []
    for run in runs:
        if out:
            last = out[-1]
            expected = last.position + last.count * USER_RATE_HZ / rate_hz
            if run.offset == last.offset + last.count and abs(run.position - expected) <= _NEAR:
                out[-1] = Run(last.offset, last.count + run.count, last.position)
                continue
        out.append(run)
    return out


def render_stretches(path: Path, stretches: Sequence[Stretch]) -> Generator[None, None, None]:
    """Write stretches of one rate one after the other, as a mono MP3. Yields after each block."""
    rate_hz = mp3_rate(stretches[0].rate_hz)
    mp3 = Mp3(path, rate_hz, 1)
    try:
        for stretch in stretches:
            source, left = Source(stretch, rate_hz), 0
            left = source.samples
            while left > 0:
                count = min(left, BLOCK_S * rate_hz)
                mp3.write(source.read(count))
                left -= count
                yield
        mp3.commit()
    finally:
        mp3.discard()


def render_utterance(path: Path, spool: Spool, start: int, end: int) -> Generator[None, None, None]:
    """Write a stretch of the user's track. Nothing at all if it was never spooled."""
    end = min(end, spool.user_end)
    if end <= start:
        return
    with closing(Tape(spool)) as tape:
        yield from render_stretches(path, [Stretch(tape.user(), USER_RATE_HZ, start, end - start)])


def render_reply(path: Path, spool: Spool, placed: Placed) -> Generator[None, None, None]:
    """Write what was heard of a reply. Nothing at all if it was never spooled."""
    stretches_of = joined(placed.runs, placed.rate_hz)
    with closing(Tape(spool)) as tape:
        stretches = _heard(tape, spool, placed, stretches_of)
        if stretches:
            yield from render_stretches(path, stretches)


def _heard(tape: Tape, spool: Spool, placed: Placed, runs: Iterable[Run]) -> list[Stretch]:
    """The runs of a reply, no longer than what was spooled of it."""
    reply = spool.replies.get(placed.reply_id)
    if reply is None:
        return []
    track = tape.reply(placed.reply_id)
    spooled = max(extent.start + extent.samples for extent in reply.extents)
    clipped = ((run, min(run.count, spooled - run.offset)) for run in runs)
    return [
        Stretch(track, placed.rate_hz, run.offset, count, run.position) for run, count in clipped if count > 0
    ]


class Mix:
    """The whole talk as stereo blocks at 24 kHz: user left, agent right, sample 0 = position 0.

    Where replies overlap, the one placed later is heard.
    """

    def __init__(self, tape: Tape, spool: Spool, placed: Iterable[Placed]) -> None:
        self._user = Source(Stretch(tape.user(), USER_RATE_HZ, 0, spool.user_end), STEREO_RATE_HZ)
        self._agent: list[tuple[int, int, Stretch]] = []
        for reply in placed:
            for stretch in _heard(tape, spool, reply, joined(reply.runs, reply.rate_hz)):
                start = round(stretch.position * STEREO_RATE_HZ / USER_RATE_HZ)
                end = start + round(stretch.count * STEREO_RATE_HZ / stretch.rate_hz)
                self._agent.append((start, end, stretch))
        self._sources: dict[int, Source] = {}
        self._at = 0
        self.samples = max([self._user.samples, *(end for _, end, _ in self._agent)])

    def blocks(self) -> Iterator[Floats]:
        """Yield (samples, 2) blocks until the end of the last sound."""
        while self._at < self.samples:
            count = min(BLOCK_S * STEREO_RATE_HZ, self.samples - self._at)
            block = np.zeros((count, 2), np.float32)
            block[:, 0] = self._user.read(count)
            for number, (start, end, stretch) in enumerate(self._agent):
                if start < self._at + count and end > self._at:
                    self._overlay(block[:, 1], number, start, end, stretch)
            yield block
            self._at += count

    def _overlay(self, out: Floats, number: int, start: int, end: int, stretch: Stretch) -> None:
        source = self._sources.pop(number, None) or Source(stretch, STEREO_RATE_HZ)
        first, last = max(start - self._at, 0), min(end - self._at, len(out))
        out[first:last] = source.read(last - first)
        if end > self._at + len(out):
            self._sources[number] = source  # it goes on in the next block, from where it stands


def render_conversation(path: Path, spool: Spool, placed: Iterable[Placed]) -> Generator[None, None, None]:
    """Write the whole talk. Yields after each block."""
    with closing(Tape(spool)) as tape:
        mix = Mix(tape, spool, placed)
        if not mix.samples:
            return
        mp3 = Mp3(path, STEREO_RATE_HZ, 2)
        try:
            for block in mix.blocks():
                mp3.write(block)
                yield
            mp3.commit()
        finally:
            mp3.discard()
