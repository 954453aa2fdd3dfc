"""Recognizers in a row. Everything fed so far is kept, and fed again to the next one."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from pipeline.chain.member import Chain, Member, Report, ignore, now
from pipeline.contracts import (
    INPUT_RATE_HZ,
    Expected,
    Failure,
    Listening,
    SttError,
    Transcriber,
    TranscriberEngine,
    Transcript,
)
from pipeline.core.endpoint import CATCH_UP
from pipeline.questions import likely_words
from pipeline.request import Outcome, Request

HEAD_START_S = 1.0
"""How far sound may be ahead of the clock in a talk: what was kept from before the onset, and jitter."""
BYTES_PER_S = 2 * INPUT_RATE_HZ


class SttChain:
    """A `TranscriberEngine` made of several."""

    def __init__(self, chain: Chain[TranscriberEngine], final_timeout_s: float) -> None:
        self.chain = chain
        self.final_timeout_s = final_timeout_s

    def preferring(self, name: str) -> "SttChain":
        """The same, that member first."""
        return SttChain(self.chain.preferring(name), self.final_timeout_s)

    def open(
        self,
        language: str = "",
        hints: Sequence[str] = (),
        report: Report = ignore,
        *,
        thrifty: bool = False,
        expected: Expected | None = None,
    ) -> "SttUtterance":
        members = who_speaks(language, self.chain.in_order(thrifty=thrifty))
        return SttUtterance(self, members, language, hints, report, expected)

    def expect(self, phrases: Sequence[str]) -> None:
        """A client came whose tools are asked for in these words."""
        for member in self.chain.members:
            if isinstance(member.engine, Listening):
                member.engine.expect(phrases)


def who_speaks(
    language: str, members: Iterator[Member[TranscriberEngine]]
) -> list[Member[TranscriberEngine]]:
    """Those that know the language first; the others are better than nobody."""
    base = language.partition("-")[0].lower()

    def is_stranger(member: Member[TranscriberEngine]) -> bool:
        known = getattr(member.engine, "languages", ())
        return bool(base and known and base not in known)

    return sorted(members, key=is_stranger)


class SttUtterance:
    """One utterance, at the first recognizer that manages it. Satisfies `Transcriber`."""

    def __init__(
        self,
        engine: SttChain,
        members: list[Member[TranscriberEngine]],
        language: str,
        hints: Sequence[str],
        report: Report,
        expected: Expected | None = None,
    ) -> None:
        self._expected = expected
        self._engine, self._language, self._hints, self._report = engine, language, hints, report
        self._behind = members
        """Who has not been asked yet."""
        self._heard = bytearray()
        """Everything fed so far, for the next one. An utterance is at most two minutes: 3.8 MB."""
        self._silence_ms: int | None = None
        self._finished_at: float | None = None
        self._opened_at, self._ahead_s = now(), 0.0
        self._patience: asyncio.Timeout | None = None
        self.requests: list[Request] = []
        """What was asked of whom, for the bill."""
        self._member, self._inner = self._open_next()

    @property
    def plugin(self) -> str:
        return self._member.name

    def feed(self, pcm: bytes) -> None:
        self._heard += pcm
        self._inner.feed(pcm)

    def settle(self, silence_ms: int) -> None:
        self._inner.settle(silence_ms)

    def finish(self, silence_ms: int) -> None:
        self._finished_at, self._silence_ms = now(), silence_ms
        took_s = self._finished_at - self._opened_at + HEAD_START_S
        self._ahead_s = CATCH_UP * max(0.0, len(self._heard) / BYTES_PER_S - took_s)
        self._inner.finish(silence_ms)
        if self._patience is not None:
            self._patience.reschedule(self._finished_at + self._patience_s())

    async def transcripts(self) -> AsyncGenerator[Transcript, None]:
        while True:
            try:
                async with aclosing(self._read()) as stream:
                    async for transcript in stream:
                        if transcript.final:
                            self._member.worked()
                            self._close_request(Outcome.OK)
                        yield transcript
                        if transcript.final:
                            return
                raise SttError(f"{self._member.name} stopped without a final transcript", Failure.EMPTY)
            except SttError as error:
                self._engine.chain.failed(self._member, error)
                self._close_request(Outcome.FAILED, error.kind)
                self._report(error, self._member.name)
                await self._inner.aclose()
                self._next(error)

    async def _read(self) -> AsyncGenerator[Transcript, None]:
        asked_at = now()
        stream = aiter(self._inner.transcripts())
        while True:
            try:
                async with asyncio.timeout_at(self._deadline(asked_at)) as self._patience:
                    transcript = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                waited = self._patience_s()
                raise SttError(
                    f"{self._member.name} gave no final transcript within {waited:g} s", Failure.TIMEOUT
                ) from error
            finally:
                self._patience = None
            self.requests[-1].answered(now())
            yield transcript

    def _patience_s(self) -> float:
        """The last one gets the whole time: it may have a long utterance to catch up with."""
        return self._engine.final_timeout_s / (2 if self._behind else 1) + self._ahead_s

    def _deadline(self, asked_at: float) -> float | None:
        if self._finished_at is None:
            return None
        return max(asked_at, self._finished_at) + self._patience_s()

    def _open_next(self) -> "tuple[Member[TranscriberEngine], Transcriber]":
        member = self._behind.pop(0)
        self.requests.append(Request("stt", member.name, member.model, now()))
        engine, expected, hints = member.engine, self._expected, self._hints
        if expected is None:
            return member, engine.open(self._language, hints)
        if isinstance(engine, Listening):
            return member, engine.listen(expected, self._language, hints)
        if not getattr(engine, "hints_reconnect", False):
            hints = (*hints, *likely_words(expected.kind, self._language))
        return member, engine.open(self._language, hints)

    def _next(self, error: SttError) -> None:
        """Go on with the next recognizer, from the utterance's beginning."""
        if not self._behind:
            raise error
        self._member, self._inner = self._open_next()
        self._inner.feed(bytes(self._heard))
        if self._finished_at is not None:
            self._inner.finish(self._silence_ms or 0)

    def _close_request(self, outcome: Outcome, error: str = "") -> None:
        request = self.requests[-1]
        # Some send the same sound more than once, and are charged for it.
        request.audio_ms = int(getattr(self._inner, "billed_ms", 0)) or len(self._heard) // 32
        request.end(outcome, error)

    def close_bill(self, *, kept: bool = True) -> list[Request]:
        """What was asked, now that nothing more is wanted. `kept`: its text became part of a turn, be it
        that a settled one was good enough and the final was not waited for."""
        request = self.requests[-1]
        if kept and request.outcome is Outcome.RUNNING and request.first_ms is not None:
            self._member.worked()
            self._close_request(Outcome.OK)
        self._close_request(Outcome.CANCELLED)
        return self.requests

    async def aclose(self) -> None:
        await self._inner.aclose()
