"""Recordings to text and text to recordings, outside of any talk: through the same chains, with the same
deadlines, and on a bill of their own."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from pipeline.bill import Bill
from pipeline.contracts import FRAME_BYTES, INPUT_RATE_HZ, Detector, SpeechRequest, Word
from pipeline.core.cuts import MARGIN_MS, Cutter, Piece
from pipeline.core.segment import Segmenter, speakable
from pipeline.core.spelling import spell
from pipeline.request import Request
from pipeline.setup import Engines, Rules
from server.sound_in import in_thread
from storage.usage import Usage

log = logging.getLogger(__name__)

MOST_AT_ONCE = 16
"""Errands of one process. Live talks come first: they cannot wait, and these can."""


class Busy(Exception):
    """Too much is being done already, or the budget is spent. The text says which."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was said from one pause to another. Times are those of the recording."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    """Where the recognizer tells their times."""


@dataclass(frozen=True, slots=True)
class Dictated:
    """What was said in a recording."""

    stretches: tuple[Stretch, ...]
    language: str
    duration_s: float

    @property
    def text(self) -> str:
        return " ".join(stretch.text for stretch in self.stretches)


@dataclass(slots=True)
class Errand:
    """One piece of work, and what was asked of whom for it."""

    thrifty: bool
    requests: list[Request] = field(default_factory=list)


class Errands:
    """Does work that belongs to no talk, and writes down what it cost."""

    def __init__(
        self, engines: Engines, rules: Rules, usage: Usage, count: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """`count` is told each line of the bills."""
        self._engines, self._rules, self._usage, self._count = engines, rules, usage, count
        self._running = 0

    def begin(self) -> Errand:
        """Take a place. Raises `Busy`. Give it back with `settle`."""
        budget = self._rules.budget
        spent = budget.why_spent(0.0, datetime.now(UTC))
        if spent and budget.ends_talks:
            raise Busy("The budget of this server is spent for today.")
        if self._running >= MOST_AT_ONCE:
            raise Busy("All lines are busy: try again in a moment.")
        self._running += 1
        return Errand(bool(spent))

    async def settle(self, errand: Errand, user_id: str | None) -> None:
        """It is over, whatever came of it: put it on the bill."""
        self._running -= 1
        lines: list[Mapping[str, Any]] = []
        rules = self._rules
        bill = Bill(rules.tariff, rules.budget, _wall, lambda line, _now: lines.append(line))
        bill.charge(errand.requests, 0, 0.0)
        for line in lines:
            self._count(line)
        try:
            await self._usage.add_errands(lines, user_id)
        except SQLAlchemyError as error:
            log.error("what a one-shot request cost could not be written down: %s", error)

    # -- to text ----------------------------------------------------------------------------------------

    async def listen(self, errand: Errand, blocks: AsyncIterator[bytes], language: str) -> Dictated:
        """What is said in a recording. Where the detector hears nobody, nothing is recognized, as in a talk.
        Raises `SttError`, and what the blocks raise."""
        detector, cutter = self._engines.vad.open(), Cutter()
        found: list[Stretch] = []
        size, rest, heard_language = 0, b"", ""
        async for pcm in blocks:
            size += len(pcm)
            whole = rest + pcm
            end = len(whole) - len(whole) % FRAME_BYTES
            rest = whole[end:]
            for piece in await in_thread(lambda data=whole[:end]: _cut(cutter, detector, data)):  # type: ignore[misc]
                stretch, heard_language = await self._recognize(errand, piece, language)
                found.append(stretch)
        if (last := cutter.finish()) is not None:
            stretch, heard_language = await self._recognize(errand, last, language)
            found.append(stretch)
        seconds = round(size / 2 / INPUT_RATE_HZ, 3)
        said = tuple(stretch for stretch in found if stretch.text)
        return Dictated(said, heard_language or language, seconds)

    async def _recognize(self, errand: Errand, piece: Piece, language: str) -> tuple[Stretch, str]:
        utterance, pcm = self._engines.stt.open(language, thrifty=errand.thrifty), piece.pcm
        text = heard = ""
        words: tuple[Word, ...] = ()
        try:
            for at in range(
                0, len(pcm), INPUT_RATE_HZ
            ):  # half a second: connections take no megabytes at once
                utterance.feed(pcm[at : at + INPUT_RATE_HZ])
                await asyncio.sleep(0)
            utterance.finish(MARGIN_MS)
            async with aclosing(utterance.transcripts()) as transcripts:
                async for transcript in transcripts:
                    text, heard = transcript.text.strip(), transcript.language or heard
                    words = transcript.words
        finally:
            errand.requests += utterance.close_bill()
            await utterance.aclose()
        start = piece.start_ms
        end = start + len(pcm) * 1000 // (2 * INPUT_RATE_HZ)
        placed = tuple(Word(word.text, start + word.start_ms, start + word.end_ms) for word in words)
        return Stretch(start, end, text, placed), heard

    # -- to speech --------------------------------------------------------------------------------------

    async def speak(
        self, errand: Errand, text: str, voice: str, language: str, rate_hz: int, speed: float = 1.0
    ) -> AsyncGenerator[bytes, None]:
        """The text spoken, s16le mono, a sentence or so at a time. Raises `TtsError`."""
        segmenter = Segmenter()
        segments = [*segmenter.push(text), *segmenter.flush()]
        for index, segment in enumerate(segments):
            spoken = spell(speakable(segment.text)).text
            reply_id = f"errand-{id(errand)}"
            request = SpeechRequest(spoken, voice, language, speed, reply_id=reply_id, index=index)
            speech = self._engines.tts.speak(request, rate_hz, bill=errand.requests, thrifty=errand.thrifty)
            async with aclosing(speech) as pieces:
                async for _, piece in pieces:
                    if isinstance(piece, bytes) and piece:
                        yield piece


def _cut(cutter: Cutter, detector: Detector, pcm: bytes) -> list[Piece]:
    """The pieces that whole frames complete. A second of speech is judged in about 7 ms."""
    found = []
    for at in range(0, len(pcm), FRAME_BYTES):
        frame = pcm[at : at + FRAME_BYTES]
        piece = cutter.push(frame, detector.is_speech(frame))
        if piece is not None:
            found.append(piece)
    return found


def _wall() -> datetime:
    return datetime.now(UTC)
