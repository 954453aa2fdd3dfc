"""Neural voices in worker processes: which worker a piece of text goes to, and what it has made of it so far.

Shared by the voices that run on this machine. What speaks in a worker is its plug-in's affair. A text is
spoken in pieces, the first one short, so that sound is there early; while a piece is listened to, the next
is made.
"""

import asyncio
import json
import os
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pipeline.child import Child, ChildFailed
from pipeline.contracts import Failure, SpeechRequest, SpokenWord, TtsError, Unavailable, Usage
from pipeline.tts.text import is_speakable, pieces, plain
from pipeline.tts.voice_messages import AUDIO, CANCEL, DONE, FAILED, SPEAK, WORDS
from pipeline.worker import Note

FIRST_CHARS = 80
"""A first piece ends at a sentence's end, or before this many characters: some 5 s of speech."""
PIECE_CHARS = 240  # some 15 s; of a request two pieces at most lie about unplayed
SHORTEST_CHARS = 12  # "No." alone would sound chopped off from what follows
ABBREVIATION_CHARS = 3  # "Dr." ends no sentence; nor, alas, does "day."
_SENTENCE = re.compile(rf"(?:[!?…。！？\n]|\w{{{ABBREVIATION_CHARS + 1},}}\.)\s")
ANSWER_S = 30.0  # the chain has its own, shorter deadlines; who is silent for this long is stuck
LOAD_S = 120.0  # a large model from a slow disk


def threads_of(wanted: int, workers: int) -> int:
    """How many threads `threads = 0` gives each worker: all cores but one, shared out."""
    return wanted if wanted > 0 else max(1, ((os.cpu_count() or 1) - 1) // workers)


def cut(text: str) -> list[tuple[int, str]]:
    """The (offset, piece)s in which a text is spoken; those without anything to say are left out."""
    first = pieces(text, FIRST_CHARS)[0][1] if text else ""
    for end in _SENTENCE.finditer(first):
        if end.end() > SHORTEST_CHARS:
            first = first[: end.end()]
            break
    rest = [(offset + len(first), piece) for offset, piece in pieces(text[len(first) :], PIECE_CHARS)]
    return [(offset, piece) for offset, piece in [(0, first), *rest] if is_speakable(piece)]


class VoicePool(ABC):
    """The worker processes of one engine; a `Synthesizer` in all but its voices."""

    def __init__(self, plugin: str, module: str, settings: Mapping[str, Any], workers: int) -> None:
        self.rate_hz = 22_050
        self._plugin = plugin
        self._slots = [_Slot(plugin, module, settings) for _ in range(workers)]
        self._next_id = 0

    @abstractmethod
    def job_of(self, request: SpeechRequest) -> dict[str, Any]:
        """What the worker is told besides the text: the voice that a request means."""

    async def warm(self) -> None:
        """Start every worker and wait until its model is loaded."""
        starts = (slot.child.start(timeout_s=LOAD_S) for slot in self._slots)
        for result in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(result, BaseException):
                await self.aclose()
                if isinstance(result, ChildFailed):
                    raise Unavailable(f"[tts] {self._plugin}: {result}") from result
                raise result
        self.rate_hz = int(self.facts["rate_hz"])

    async def aclose(self) -> None:
        """End every worker, and whatever they were saying."""
        for slot in self._slots:
            slot.lost("it was closed")
        await asyncio.gather(*(slot.child.aclose() for slot in self._slots))

    @property
    def facts(self) -> dict[str, Any]:
        """What a worker said of itself when it was ready."""
        return self._slots[0].child.facts

    @property
    def pids(self) -> list[int]:
        """The worker processes that exist now; for /health and tests."""
        return [slot.child.pid for slot in self._slots if slot.child.pid is not None]

    async def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        """Speak piece after piece; while one is listened to, the next is made."""
        # Piper reads [[...]] as phonemes. Text is only ever text.
        text = plain(request.text).replace("[[", "  ").replace("]]", "  ")
        waiting = deque(cut(text))
        if not waiting:
            return
        job = self.job_of(request)
        asked: deque[_Piece] = deque()
        spoken_bytes = 0
        try:
            while waiting or asked:
                while waiting and len(asked) < 2:
                    offset, piece_text = waiting.popleft()
                    is_first = not asked and spoken_bytes == 0
                    asked.append(self._ask(offset, {**job, "text": piece_text, "is_first": is_first}))
                piece, start_ms = asked[0], spoken_bytes * 500 // self.rate_hz
                async for item in piece.read():
                    if isinstance(item, bytes):
                        spoken_bytes += len(item)
                        yield item
                    else:
                        for start, end, from_ms, to_ms in item:
                            yield SpokenWord(
                                piece.offset + start, piece.offset + end, start_ms + from_ms, start_ms + to_ms
                            )
                asked.popleft().close()
        finally:
            for piece in asked:
                piece.close()
        yield Usage(characters=len(request.text))

    def _ask(self, offset: int, job: dict[str, Any]) -> "_Piece":
        running = [slot for slot in self._slots if slot.child.is_running] or self._slots
        slot = min(running, key=lambda s: len(s.asked))
        self._next_id = self._next_id % 0xFFFF_FFFF + 1
        return _Piece(slot, self._next_id, offset, job)


class _Slot:
    """One worker and the pieces it has in hand."""

    def __init__(self, plugin: str, module: str, settings: Mapping[str, Any]) -> None:
        self.plugin = plugin
        self.asked: dict[int, _Piece] = {}
        # A little behind the event loop, which must keep its 20 ms beat.
        self.child = Child(module, {"nice": 2, **settings}, self._take, self.lost)

    def lost(self, reason: str) -> None:
        """Whatever was in hand will not be spoken."""
        for piece in list(self.asked.values()):
            piece.fail(TtsError(f"the {self.plugin} worker died ({reason})", Failure.TRANSIENT))

    def _take(self, note: Note) -> None:
        if piece := self.asked.get(note.ident):  # else: cancelled in the meantime
            piece.heard(note)


class _Piece:
    """What a worker has made of a piece and nobody has taken yet: never more than the piece."""

    def __init__(self, slot: _Slot, ident: int, offset: int, job: dict[str, Any]) -> None:
        self.offset = offset
        self._slot, self._id = slot, ident
        self._items: deque[bytes | list[list[int]]] = deque()
        self._error: TtsError | None = None
        self._is_done = False
        self._wake: asyncio.Future[None] | None = None
        slot.asked[ident] = self
        if not slot.child.send(SPEAK, ident, json.dumps(job).encode()):
            self.fail(TtsError(f"no {slot.plugin} worker is running", Failure.TRANSIENT))

    def heard(self, note: Note) -> None:
        if note.kind == AUDIO:
            self._items.append(note.payload)
        elif note.kind == WORDS:
            self._items.append(json.loads(note.payload))
        elif note.kind == DONE:
            self._is_done = True
        elif note.kind == FAILED:
            message = f"{self._slot.plugin} could not speak: {json.loads(note.payload)['message']}"
            self.fail(TtsError(message, Failure.BAD_REQUEST))
        self._ring()

    def fail(self, error: TtsError) -> None:
        self._error, self._is_done = error, True
        self._ring()

    async def read(self) -> AsyncIterator[bytes | list[list[int]]]:
        """Until the piece is spoken. Raises `TtsError`."""
        while True:
            while self._items:
                yield self._items.popleft()
            if self._error is not None:
                raise self._error
            if self._is_done:
                return
            self._wake = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._wake
            except TimeoutError as error:
                message = f"the {self._slot.plugin} worker does not answer"
                raise TtsError(message, Failure.TIMEOUT) from error

    def close(self) -> None:
        """Nobody listens any more."""
        del self._slot.asked[self._id]
        if not self._is_done:
            self._slot.child.send(CANCEL, self._id)

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
