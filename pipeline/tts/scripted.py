"""A synthesizer that hums a tone for as long as the text is, after fixed delays: for tests and benchmarks.

All waiting goes through the event loop's timers, so under a virtual clock every time is exact. With t = 0
when the first piece is asked for, the piece of audio that starts at `a` ms arrives at
`first_byte_ms + a / speed` ms (later if the consumer asks for it later). Pieces are 100 ms long, the last
one what is left. The whole lasts exactly `ms_per_char` times the characters of the text, and the word that
starts at character c starts at `c * ms_per_char`. The request's own speed and pitch change nothing.
"""

import array
import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.contracts import Env, Failure, SpeechRequest, SpokenWord, TtsError, Usage, VoiceInfo
from pipeline.tts.text import is_speakable, words_of

RATE_HZ = 24_000
PIECE_MS = 100
BYTES_PER_MS = RATE_HZ * 2 // 1000


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.scripted]"""

    first_byte_ms: int = 100
    """From the request to the first audio."""
    speed: float = 4.0
    """How much faster than real time the rest comes."""
    ms_per_char: int = 40
    """How long a character takes to say."""
    fail: Literal["", "error", "hang", "empty", "late"] = ""
    """How requests fail: "error" in place of the audio, "hang" (nothing ever), "empty" (success without
    audio), "late" (one more piece of audio after being cancelled)."""
    fail_after: int = 0
    """How many requests go well before they fail."""

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"speed = {self.speed:g} must be more than 0")


def create(options: Options, env: Env) -> "Scripted":
    """Always possible."""
    del env
    return Scripted(options)


class Scripted:
    """The `Synthesizer`."""

    rate_hz = RATE_HZ

    def __init__(self, options: Options) -> None:
        self._options = options
        self._requests = 0

    async def warm(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    def voices(self) -> Sequence[VoiceInfo]:
        """The one tone."""
        return (VoiceInfo("tone", "Test tone", "en"),)

    def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        """Hum. Which request this is, for `fail_after`, is counted here."""
        failing = self._requests >= self._options.fail_after
        self._requests += 1
        return self._speak(request.text, self._options.fail if failing else "")

    async def _speak(self, text: str, fail: str) -> AsyncIterator[bytes | SpokenWord | Usage]:
        if not is_speakable(text):
            return
        options = self._options
        start = asyncio.get_running_loop().time()
        await _until(math.inf if fail == "hang" else start + options.first_byte_ms / 1000)
        if fail == "error":
            raise TtsError("the scripted synthesizer was told to fail", Failure.TRANSIENT)
        if fail == "empty":
            return
        for first, end in words_of(text):
            yield SpokenWord(first, end, first * options.ms_per_char, end * options.ms_per_char)
        total_ms = len(text) * options.ms_per_char
        for at_ms in range(0, total_ms, PIECE_MS):
            due = start + (options.first_byte_ms + at_ms / options.speed) / 1000
            try:
                await _until(due)
            except asyncio.CancelledError:
                if fail == "late":
                    yield _TONE  # rude on purpose: who cancelled must be able to bear it
                raise
            yield _TONE[: min(PIECE_MS, total_ms - at_ms) * BYTES_PER_MS]
        yield Usage(characters=len(text))


async def _until(when: float) -> None:
    """Wait for the loop's clock to be exactly there; infinity is never."""
    loop = asyncio.get_running_loop()
    if when <= loop.time():
        return
    reached: asyncio.Future[None] = loop.create_future()
    timer = loop.call_at(when, _arrive, reached) if when < math.inf else None
    try:
        await reached
    finally:
        if timer is not None:
            timer.cancel()


def _arrive(reached: "asyncio.Future[None]") -> None:
    if not reached.done():  # a cancelled wait's timer may be on its way already
        reached.set_result(None)


def _tone() -> bytes:
    # 400 Hz: whole periods fit a piece, so that pieces join without a click.
    samples = (
        round(6000 * math.sin(2 * math.pi * 400 * i / RATE_HZ)) for i in range(PIECE_MS * RATE_HZ // 1000)
    )
    return array.array("h", samples).tobytes()


_TONE = _tone()
