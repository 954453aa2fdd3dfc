"""Voices in a row. The next one says the rest of the segment, from the last word that was said."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np
import soxr

from pipeline.chain.member import Chain, Report, ignore, now
from pipeline.chain.patience import share, timed
from pipeline.contracts import Failure, SpeechRequest, SpokenWord, Synthesizer, TtsError, Usage, VoiceInfo
from pipeline.request import Outcome, Request

GUESSED_CHARS_PER_S = 15.0
"""Speech of a voice that tells no word times: about 180 English words a minute."""


class TtsChain:
    """Speaks a segment through the first synthesizer that manages it, at one output rate."""

    def __init__(self, chain: Chain[Synthesizer], first_timeout_s: float, stall_s: float) -> None:
        self.chain = chain
        self._first_s, self._stall_s = first_timeout_s, stall_s

    def preferring(self, name: str) -> "TtsChain":
        """The same, that member first."""
        return TtsChain(self.chain.preferring(name), self._first_s, self._stall_s)

    def voices(self) -> list[VoiceInfo]:
        member = next(iter(self.chain.in_order()), None)
        return list(member.engine.voices()) if member is not None else []

    async def speak(
        self,
        request: SpeechRequest,
        rate_hz: int,
        report: Report = ignore,
        bill: list[Request] | None = None,
        *,
        thrifty: bool = False,
    ) -> AsyncGenerator[tuple[str, bytes | SpokenWord | Usage], None]:
        """Yield (plug-in, piece): audio at `rate_hz`, words, usage. Each request is appended to `bill`.
        Raises `TtsError` when nobody could."""
        if not _speakable(request.text):
            return
        last = TtsError("no synthesizer is configured")
        rest, offset, base_ms = request, 0, 0.0
        until = now() + self._first_s
        behind = list(self.chain.in_order(thrifty=thrifty))
        while behind:
            member = behind.pop(0)
            spoken = _Spoken(rest.text)
            asked = Request("tts", member.name, member.model, now(), characters=len(rest.text))
            if bill is not None:
                bill.append(asked)
            # Once something was heard the caller is waiting for the next word, not for the first.
            patience = self._stall_s if base_ms else share(max(0.0, until - now()), not behind)
            resample = Resampler(member.engine.rate_hz, rate_hz)
            try:
                stream = timed(member.name, member.engine.speak(rest), patience, self._stall_s, TtsError)
                async with aclosing(stream):
                    async for piece in stream:
                        if isinstance(piece, bytes):
                            asked.answered(now())
                            spoken.samples += len(piece) // 2
                            yield member.name, resample.push(piece)
                        elif isinstance(piece, SpokenWord):
                            spoken.words.append(piece)
                            yield member.name, _moved(piece, offset, base_ms)
                        else:
                            asked.count(piece)
                            yield member.name, piece
                if not spoken.samples:
                    raise TtsError(f"{member.name} said nothing", Failure.EMPTY)
                yield member.name, resample.push(b"", last=True)
                member.worked()
                asked.end(Outcome.OK)
                return
            except TtsError as error:
                last = error
                self.chain.failed(member, error)
                asked.end(Outcome.FAILED, error.kind)
                report(error, member.name)
                tail = resample.push(b"", last=True)
                if tail:
                    yield member.name, tail
                cut = spoken.cut(member.engine.rate_hz)
                offset, base_ms = offset + cut, base_ms + spoken.samples * 1000 / member.engine.rate_hz
                rest = replace(rest, text=rest.text[cut:])
                if not _speakable(rest.text):
                    return
            finally:
                asked.end(Outcome.CANCELLED)
        raise last


def _speakable(text: str) -> bool:
    return any(c.isalnum() for c in text)


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
