"""An utterance that a speech-to-speech model hears: what `Hearing` needs of it, and what if the model fails.

feed ──> kept ──> Talk.feed        (held back while a reply has the floor: it may be a backchannel)
finish ──> the model answers at once, long before it has written down what it heard
transcripts: partials, then one final: the model's own; or, when its answer sounds before that is
             written, the best there is, to be corrected later
the model fails ──> everything kept goes to the recognizers, which go on from there
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from pipeline.chain import Report, SttUtterance
from pipeline.contracts import Expected, Talk, Transcript
from pipeline.request import Request

UNWRITTEN = "[not transcribed]"
"""Stands for words that the model understood and has not (yet) written down."""


class Ears(Protocol):
    """What hears for a session: recognizers in a row, or a model that hears by itself."""

    def open(
        self,
        language: str = "",
        hints: Sequence[str] = (),
        report: Report = ...,
        *,
        thrifty: bool = False,
        expected: Expected | None = None,
    ) -> "Heard": ...


class Heard(Protocol):
    """One utterance, as `Hearing` knows it; `SttUtterance` has the words."""

    @property
    def plugin(self) -> str: ...
    def feed(self, pcm: bytes) -> None: ...
    def settle(self, silence_ms: int) -> None: ...
    def finish(self, silence_ms: int) -> None: ...
    def transcripts(self) -> AsyncGenerator[Transcript, None]: ...
    def close_bill(self, *, kept: bool = True) -> list[Request]: ...
    async def aclose(self) -> None: ...


class Listener(Protocol):
    """What an utterance asks of its `Duplex`."""

    name: str

    def on_finished(self, utterance: "Utterance") -> None:
        """The user is done: the answer is to be asked for."""

    def on_unanswered(self, utterance: "Utterance") -> None:
        """The model gave no sign of life in time."""


class Utterance:
    """One utterance at the model, or, after that has failed, at the recognizers. Satisfies `Heard`."""

    def __init__(
        self,
        number: int,
        listener: Listener,
        recognizers: Callable[[], SttUtterance],
        patience_s: float,
        *,
        held: bool,
    ) -> None:
        self.number = number
        self._listener, self._recognizers, self._patience_s = listener, recognizers, patience_s
        self._held = held
        self._talk: Talk | None = None
        self._kept = bytearray()
        """Everything fed, for the recognizers. An utterance is at most two minutes: 3.8 MB."""
        self._fallback: SttUtterance | None = None
        self._silence_ms = 0
        self._deadline: float | None = None
        self._changed = asyncio.Event()
        self.request: Request | None = None
        """What writing it down costs, where that is charged by itself."""
        self.text = ""
        self.written = False
        """The model has written it down for good."""
        self.settled = False
        """Its text was given away as final."""
        self.finished = False
        self.extra_bill: list[Request] = []
        """Of recognizers that were asked only after the model had answered."""
        self.reply = 0
        """The number of the reply that answers it."""

    @property
    def plugin(self) -> str:
        return self._fallback.plugin if self._fallback is not None else self._listener.name

    @property
    def is_at_model(self) -> bool:
        return self._fallback is None

    @property
    def is_attached(self) -> bool:
        """The model has heard something of it."""
        return self._talk is not None

    @property
    def is_held(self) -> bool:
        return self._held

    @property
    def best_text(self) -> str:
        return self.text or ("" if self.written else UNWRITTEN)

    @property
    def audio_ms(self) -> int:
        return len(self._kept) // 32

    # -- what Hearing does ---------------------------------------------------------------------------------

    def feed(self, pcm: bytes) -> None:
        self._kept += pcm
        if self._fallback is not None:
            self._fallback.feed(pcm)
        elif self._talk is not None:
            self._talk.feed(pcm)

    def settle(self, silence_ms: int) -> None:
        """The model writes only what is finished; a recognizer may know sooner."""
        if self._fallback is not None:
            self._fallback.settle(silence_ms)

    def finish(self, silence_ms: int) -> None:
        self.finished, self._silence_ms = True, silence_ms
        if self._fallback is not None:
            self._fallback.finish(silence_ms)
            return
        self._deadline = asyncio.get_running_loop().time() + self._patience_s
        self._changed.set()
        self._listener.on_finished(self)

    async def transcripts(self) -> AsyncGenerator[Transcript, None]:
        told = ""
        while self._fallback is None:
            if self.settled:
                yield Transcript(self.best_text, final=True, settled=True, plugin=self.plugin)
                return
            if self.text != told:
                told = self.text
                yield Transcript(told, plugin=self.plugin)
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._changed.wait()
            except TimeoutError:
                self._listener.on_unanswered(self)
        async with aclosing(self._fallback.transcripts()) as stream:
            async for transcript in stream:
                yield transcript

    def close_bill(self, *, kept: bool = True) -> list[Request]:
        """The recognizers' part; the model's own is charged when it has counted."""
        return self._fallback.close_bill(kept=kept) if self._fallback is not None else []

    async def aclose(self) -> None:
        if self._fallback is not None:
            await self._fallback.aclose()

    # -- what Duplex does ----------------------------------------------------------------------------------

    def release(self) -> None:
        """It is no backchannel: the model may hear it."""
        self._held = False

    def attach(self, talk: Talk) -> None:
        """Let the model hear all of it, from its beginning."""
        if self._fallback is None and self._talk is not talk:
            self._talk = talk
            talk.begin(self.number)
            talk.feed(bytes(self._kept))

    def detach(self) -> None:
        self._talk = None

    def understand(self, text: str, *, final: bool) -> None:
        """What the model has written down so far, or for good."""
        if self.written:
            return
        self.text, self.written = text.strip(), final
        if final:
            self.settled = True
        self._changed.set()

    def settle_now(self) -> None:
        """The answer sounds: whatever is written by now has to do."""
        self.settled = True
        self._changed.set()

    async def recognize(self) -> str:
        """Have the recognizers write it down, after all. Raises `SttError`."""
        recognizer = self._recognizers()
        try:
            recognizer.feed(bytes(self._kept))
            recognizer.finish(self._silence_ms)
            async with aclosing(recognizer.transcripts()) as stream:
                async for transcript in stream:
                    if transcript.final:
                        return transcript.text
        finally:
            self.extra_bill = recognizer.close_bill()
            await recognizer.aclose()
        return ""

    def fall_back(self) -> None:
        """The model has failed: the recognizers hear it from its beginning."""
        if self._fallback is not None or self.settled:
            return
        self._talk = None
        self._fallback = self._recognizers()
        self._fallback.feed(bytes(self._kept))
        if self.finished:
            self._fallback.finish(self._silence_ms)
        self._changed.set()
