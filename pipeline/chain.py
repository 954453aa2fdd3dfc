"""Ordered chains of engines: the first that can run is used, the next ones take over when it fails.

A chain is what the session talks to, so a session cannot tell one engine from five. It owns the deadlines
(first piece, next piece, empty output) and the health of its members; adapters only raise. What the user has
already heard is never repeated:

* recognizer: everything fed so far is kept, and fed again to the next one;
* model: the next one is asked only while nothing was said; after that the reply ends with an honest sentence;
* voice: the next one speaks the rest of the segment, from the last word that was said.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import soxr

from pipeline import plugins
from pipeline.contracts import (
    Engine,
    Env,
    Failure,
    LlmError,
    Prompt,
    ProviderError,
    Responder,
    SpeechRequest,
    SpokenWord,
    SttError,
    Synthesizer,
    ToolCall,
    Transcriber,
    TranscriberEngine,
    Transcript,
    TtsError,
    Unavailable,
    Usage,
    VoiceInfo,
)

log = logging.getLogger(__name__)

FIRST_REST_S = 5.0
"""How long a member that failed is left alone; doubles with each failure in a row, up to `LONGEST_REST_S`."""
LONGEST_REST_S = 120.0
GUESSED_CHARS_PER_S = 15.0
"""Speech of a voice that tells no word times: about 180 English words a minute."""
LOST_THREAD = " I am sorry, I have lost my thread there."

E = TypeVar("E", bound=Engine)
Report = Callable[[ProviderError, str], None]
"""Called with the error and the plug-in's name each time a member fails in a session."""


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ignore(_error: ProviderError, _plugin: str) -> None:
    pass


@dataclass(slots=True)
class Member(Generic[E]):
    """One engine of a chain and how it has been doing."""

    name: str
    engine: E
    failures: int = 0
    rests_until: float = 0.0
    last_error: str = ""

    def failed(self, error: ProviderError) -> None:
        self.failures += 1
        rest = min(LONGEST_REST_S, FIRST_REST_S * 2 ** (self.failures - 1))
        if error.kind in (Failure.AUTH, Failure.BAD_REQUEST):
            rest = LONGEST_REST_S
        self.rests_until = _now() + max(rest, error.retry_after_s or 0.0)
        self.last_error = str(error)
        log.warning("%s %s failed (%s): %s", error.stage, self.name, error.kind, error)

    def worked(self) -> None:
        if self.failures:
            log.info("%s works again", self.name)
        self.failures, self.rests_until, self.last_error = 0, 0.0, ""


@dataclass(slots=True)
class Chain(Generic[E]):
    """The members of one stage in order, and those that cannot run here with the reason."""

    stage: str
    members: list[Member[E]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def in_order(self) -> Iterator[Member[E]]:
        """Whom to ask, in turn: the rested ones first; when all are resting, all of them anyway."""
        now = _now()
        rested = [m for m in self.members if m.rests_until <= now]
        yield from rested
        yield from (m for m in self.members if m not in rested)

    def state(self) -> dict[str, Any]:
        """For `/health`: who would be asked now, and how each one is."""
        active = next(iter(self.in_order()), None)
        now = _now()
        return {
            "plugin": active.name if active else None,
            "state": "failed" if active is None else "ok" if not active.failures else "degraded",
            "members": [
                {
                    "plugin": m.name,
                    "state": "resting" if m.rests_until > now else "ok",
                    **({"error": m.last_error} if m.last_error else {}),
                }
                for m in self.members
            ]
            + [{"plugin": n, "state": "unavailable", "error": why} for n, why in self.missing.items()],
        }

    async def aclose(self) -> None:
        for member in self.members:
            await member.engine.aclose()


async def build(stage: str, names: Sequence[str], options: Mapping[str, Mapping[str, Any]], env: Env) -> Any:
    """Build and warm the members of a chain. One that cannot run is left out, with its reason kept.

    Raises `Unavailable` when none can, `PluginError` for a wrong name or option.
    """
    chain: Chain[Any] = Chain(stage)
    for name in names:
        try:
            engine = plugins.build(stage, name, options.get(name, {}), env)
            await engine.warm()
        except Unavailable as error:
            chain.missing[name] = str(error)
            log.info("%s %s cannot run here: %s", stage, name, error)
            continue
        chain.members.append(Member(name, engine))
    if not chain.members:
        reasons = "; ".join(f"{name}: {why}" for name, why in chain.missing.items())
        raise Unavailable(f"[{stage}] plugin: none of {', '.join(names)} can run here ({reasons})")
    return chain


# -- recognizers ------------------------------------------------------------------------------------------


class SttChain:
    """A `TranscriberEngine` made of several."""

    def __init__(self, chain: Chain[TranscriberEngine], final_timeout_s: float) -> None:
        self.chain = chain
        self.final_timeout_s = final_timeout_s

    def open(self, language: str = "", hints: Sequence[str] = (), report: Report = _ignore) -> "SttUtterance":
        return SttUtterance(self, language, hints, report)


def _who_speaks(
    language: str, members: Iterator[Member[TranscriberEngine]]
) -> Iterator[Member[TranscriberEngine]]:
    """Those that know the language first; the others are better than nobody."""
    base = language.partition("-")[0].lower()
    strangers = []
    for member in members:
        known = getattr(member.engine, "languages", ())
        if base and known and base not in known:
            strangers.append(member)
        else:
            yield member
    yield from strangers


class SttUtterance:
    """One utterance, at the first recognizer that manages it. Satisfies `Transcriber`."""

    def __init__(self, engine: SttChain, language: str, hints: Sequence[str], report: Report) -> None:
        self._engine = engine
        self._members = _who_speaks(language, engine.chain.in_order())
        self._language, self._hints, self._report = language, hints, report
        self._heard = bytearray()
        """Everything fed so far, for the next one. An utterance is at most two minutes: 3.8 MB."""
        self._silence_ms: int | None = None
        self._finished = False
        self._patience: asyncio.Timeout | None = None
        self._member = next(self._members)
        self._inner: Transcriber = self._member.engine.open(language, hints)

    @property
    def plugin(self) -> str:
        return self._member.name

    @property
    def audio_ms(self) -> int:
        return len(self._heard) // 32

    def feed(self, pcm: bytes) -> None:
        self._heard += pcm
        self._inner.feed(pcm)

    def settle(self, silence_ms: int) -> None:
        self._inner.settle(silence_ms)

    def finish(self, silence_ms: int) -> None:
        self._finished, self._silence_ms = True, silence_ms
        self._inner.finish(silence_ms)
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._engine.final_timeout_s)

    async def transcripts(self) -> AsyncGenerator[Transcript, None]:
        while True:
            try:
                async with aclosing(self._read()) as stream:
                    async for transcript in stream:
                        yield transcript
                        if transcript.final:
                            self._member.worked()
                            return
                raise SttError(f"{self._member.name} stopped without a final transcript", Failure.EMPTY)
            except SttError as error:
                self._member.failed(error)
                self._report(error, self._member.name)
                await self._inner.aclose()
                self._next(error)

    async def _read(self) -> AsyncGenerator[Transcript, None]:
        stream = aiter(self._inner.transcripts())
        while True:
            when = asyncio.get_running_loop().time() + self._engine.final_timeout_s
            try:
                async with asyncio.timeout_at(when if self._finished else None) as self._patience:
                    transcript = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                waited = self._engine.final_timeout_s
                raise SttError(
                    f"{self._member.name} gave no final transcript within {waited:g} s", Failure.TIMEOUT
                ) from error
            finally:
                self._patience = None
            yield transcript

    def _next(self, error: SttError) -> None:
        """Go on with the next recognizer, from the utterance's beginning."""
        member = next(self._members, None)
        if member is None:
            raise error
        self._member = member
        self._inner = member.engine.open(self._language, self._hints)
        self._inner.feed(bytes(self._heard))
        if self._finished:
            self._inner.finish(self._silence_ms or 0)

    async def aclose(self) -> None:
        await self._inner.aclose()


# -- models -----------------------------------------------------------------------------------------------


class LlmChain:
    """Answers a prompt through the first responder that manages it."""

    def __init__(self, chain: Chain[Responder], first_timeout_s: float, stall_s: float) -> None:
        self.chain = chain
        self._first_s, self._stall_s = first_timeout_s, stall_s

    async def tokens(
        self, prompt: Prompt, report: Report = _ignore
    ) -> AsyncGenerator[tuple[str, str | ToolCall | Usage], None]:
        """Yield (plug-in, piece). Raises `LlmError` when nobody could say anything."""
        last = LlmError("no responder is configured")
        for member in self.chain.in_order():
            said = False
            try:
                timed = _timed(member, member.engine.tokens(prompt), self._first_s, self._stall_s, LlmError)
                async with aclosing(timed) as stream:
                    async for piece in stream:
                        said = said or not isinstance(piece, Usage)
                        yield member.name, piece
                if said:
                    member.worked()
                    return
                raise LlmError(f"{member.name} answered nothing", Failure.EMPTY)
            except LlmError as error:
                last = error
                member.failed(error)
                report(error, member.name)
                if said:
                    yield member.name, LOST_THREAD
                    return
        raise last


# -- voices -----------------------------------------------------------------------------------------------


class TtsChain:
    """Speaks a segment through the first synthesizer that manages it, at one output rate."""

    def __init__(self, chain: Chain[Synthesizer], first_timeout_s: float, stall_s: float) -> None:
        self.chain = chain
        self._first_s, self._stall_s = first_timeout_s, stall_s

    def voices(self) -> list[VoiceInfo]:
        member = next(iter(self.chain.in_order()), None)
        return list(member.engine.voices()) if member is not None else []

    async def speak(
        self, request: SpeechRequest, rate_hz: int, report: Report = _ignore
    ) -> AsyncGenerator[tuple[str, bytes | SpokenWord | Usage], None]:
        """Yield (plug-in, piece): audio at `rate_hz`, words, usage. Raises `TtsError` when nobody could."""
        if not any(c.isalnum() for c in request.text):
            return
        last = TtsError("no synthesizer is configured")
        rest, offset, base_ms = request, 0, 0.0
        for member in self.chain.in_order():
            spoken = _Spoken(rest.text)
            try:
                stream = _timed(member, member.engine.speak(rest), self._first_s, self._stall_s, TtsError)
                resample = Resampler(member.engine.rate_hz, rate_hz)
                async with aclosing(stream):
                    async for piece in stream:
                        if isinstance(piece, bytes):
                            spoken.samples += len(piece) // 2
                            yield member.name, resample.push(piece)
                        elif isinstance(piece, SpokenWord):
                            spoken.words.append(piece)
                            yield member.name, _moved(piece, offset, base_ms)
                        else:
                            yield member.name, piece
                if not spoken.samples:
                    raise TtsError(f"{member.name} said nothing", Failure.EMPTY)
                yield member.name, resample.push(b"", last=True)
                member.worked()
                return
            except TtsError as error:
                last = error
                member.failed(error)
                report(error, member.name)
                tail = resample.push(b"", last=True)
                if tail:
                    yield member.name, tail
                cut = spoken.cut(member.engine.rate_hz)
                offset, base_ms = offset + cut, base_ms + spoken.samples * 1000 / member.engine.rate_hz
                rest = SpeechRequest(
                    rest.text[cut:],
                    rest.voice,
                    rest.language,
                    rest.speed,
                    rest.pitch,
                    rest.reply_id,
                    rest.index,
                )
                if not any(c.isalnum() for c in rest.text):
                    return
        raise last


def _moved(word: SpokenWord, offset: int, base_ms: float) -> SpokenWord:
    if not offset and not base_ms:
        return word
    base = round(base_ms)
    return SpokenWord(word.start + offset, word.end + offset, word.start_ms + base, word.end_ms + base)


@dataclass(slots=True)
class _Spoken:
    """How far a member came with a text before it failed."""

    text: str
    samples: int = 0
    words: list[SpokenWord] = field(default_factory=list)

    def cut(self, rate_hz: int) -> int:
        """The character to go on from: after the last word whose sound is out."""
        if not self.samples:
            return 0
        ms = self.samples * 1000 / rate_hz
        if self.words:
            return max((w.end for w in self.words if w.end_ms <= ms), default=0)
        reached = min(len(self.text), int(ms / 1000 * GUESSED_CHARS_PER_S))
        space = self.text.rfind(" ", 0, reached + 1)
        return len(self.text) if reached >= len(self.text) else max(0, space)


class Resampler:
    """A synthesizer's rate to the client's. soxr at low quality delays 6 ms; high quality 30 ms."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, "int16", "LQ") if from_hz != to_hz else None

    def push(self, pcm: bytes, *, last: bool = False) -> bytes:
        if self._stream is None:
            return pcm
        out = self._stream.resample_chunk(np.frombuffer(pcm, "<i2"), last=last)
        return bytes(out.tobytes())


P = TypeVar("P")


async def _timed(
    member: Member[Any],
    stream: AsyncIterator[P],
    first_s: float,
    stall_s: float,
    error_type: type[ProviderError],
) -> AsyncGenerator[P, None]:
    """The stream, with a deadline for its first piece and for each one after it."""
    patience, what = first_s, "the first piece"
    iterator = aiter(stream)
    try:
        while True:
            try:
                async with asyncio.timeout(patience):
                    piece = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise error_type(
                    f"{member.name} did not send {what} within {patience:g} s", Failure.TIMEOUT
                ) from error
            patience, what = stall_s, "more"
            yield piece
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
