"""A session's ears: keeps the audio before an onset, opens a transcriber per utterance, reads its text."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from pipeline.chain import Report
from pipeline.contracts import FRAME_MS, Expected, SttError, Transcript
from pipeline.core.endpoint import Timing
from pipeline.duplex.ears import Ears, Heard

LONGEST_ONSET_MS = 600
"""How far an onset can lie back when it becomes an utterance: start_ms of voice with its allowed gaps."""

Said = Callable[[int, Transcript], None]
Failed = Callable[[int, SttError], None]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that its session owns: awaited at the end, and a bug in it ends the session."""


class Hearing:
    """The utterances of one session. Synchronous but for the reader tasks, of which it keeps account."""

    def __init__(
        self,
        engine: Ears,
        timing: Timing,
        said: Said,
        failed: Failed,
        report: Report,
        spawn: Spawn,
    ) -> None:
        self.engine, self._spawn = engine, spawn
        self._said, self._failed, self._report = said, failed, report
        keep = (timing.prefix_ms + 2 * timing.start_ms + LONGEST_ONSET_MS) // FRAME_MS
        self._recent: deque[bytes] = deque(maxlen=keep)
        self.language = ""
        self.frames = 0
        self._fed: Heard | None = None
        self._open: dict[int, tuple[Heard, asyncio.Task[None]]] = {}
        self.thrifty = False
        """A budget is spent: ask those that cost nothing first."""
        self.expected: Expected | None = None
        """What the user was asked last, as far as it is known."""
        self.heard_by = ""
        """Who gave the latest transcript."""

    def frame(self, frame: bytes) -> None:
        """The hot path: every frame of an open microphone."""
        self.frames += 1
        self._recent.append(frame)
        if self._fed is not None:
            self._fed.feed(frame)

    def forget(self) -> None:
        """The microphone was shut: what it heard before must not reach a transcriber."""
        self._recent.clear()

    def start(self, utterance: int, from_frame: int) -> None:
        """Open a transcriber and feed it everything since `from_frame` that is still there."""
        count = min(self.frames - from_frame, len(self._recent))
        transcriber = self.engine.open(
            self.language, (), self._report, thrifty=self.thrifty, expected=self.expected
        )
        task = self._spawn(self._read(utterance, transcriber))
        self._open[utterance] = (transcriber, task)
        self._fed = transcriber
        if count > 0:
            transcriber.feed(b"".join(list(self._recent)[-count:]))

    def settle(self, utterance: int, silence_ms: int) -> None:
        if utterance in self._open:
            self._open[utterance][0].settle(silence_ms)

    def finish(self, utterance: int, silence_ms: int) -> None:
        if utterance in self._open:
            transcriber = self._open[utterance][0]
            if self._fed is transcriber:
                self._fed = None
            transcriber.finish(silence_ms)

    def close(self, utterance: int) -> Heard | None:
        """Nothing more is wanted of it. Returns it, for the bill."""
        if utterance not in self._open:
            return None
        transcriber, task = self._open.pop(utterance)
        if self._fed is transcriber:
            self._fed = None
        self._spawn(_close(transcriber, task))
        return transcriber

    def close_all(self) -> None:
        for utterance in list(self._open):
            self.close(utterance)

    async def _read(self, utterance: int, transcriber: Heard) -> None:
        try:
            async with aclosing(transcriber.transcripts()) as stream:
                async for transcript in stream:
                    self.heard_by = transcriber.plugin
                    self._said(utterance, transcript)
        except SttError as error:
            self._failed(utterance, error)


async def _close(transcriber: Heard, reader: asyncio.Task[None]) -> None:
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await transcriber.aclose()
