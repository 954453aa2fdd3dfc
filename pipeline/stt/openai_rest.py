"""A recognizer that takes an utterance as a whole: what was heard is sent when there is a pause.

    feed ... pause: settle ──POST──> text (settled)     only silence until finish: it is the final
                    finish ──POST──> text (final)       someone went on: ask again, with all of it

A request in a pause costs something only when the pause was not the end; then it is called off.

Wire: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from pipeline.contracts import Failure, SttError, Transcript
from pipeline.core.audio import write_wav
from pipeline.openai_http import OpenAiHttp, Place
from pipeline.stt.messages import BYTES_PER_MS
from pipeline.stt.openai_request import LANGUAGES, Asked
from pipeline.stt.outlet import Outlet

log = logging.getLogger(__name__)

SLACK_BYTES = 60 * BYTES_PER_MS
""""Nothing but silence" may be off by a few frames."""
LONG_BYTES = 30_000 * BYTES_PER_MS
"""More sound than this is put into its envelope in a thread."""

Ask = Callable[[bytes], AsyncIterator[tuple[str, bool]]]
"""Sound to text: what is understood so far and whether that is all of it."""


class OpenAiRest:
    """The `TranscriberEngine`."""

    languages = LANGUAGES

    def __init__(
        self, place: Place, model: str, language: str, prompt: str, settles: bool, partial_every_ms: int
    ) -> None:
        self.model = model
        self._place, self._language, self._prompt = place, language, prompt
        self._settles, self._partial_every_ms = settles, partial_every_ms
        self._http = OpenAiHttp(SttError, place, model)
        self._open: set[RestUtterance] = set()

    async def warm(self) -> None:
        await self._http.open()

    async def aclose(self) -> None:
        for utterance in list(self._open):
            await utterance.aclose()
        await self._http.aclose()

    def prepare(self) -> None:
        self._http.prepare()

    async def probe(self) -> None:
        await self._http.probe()

    def open(self, language: str = "", hints: Sequence[str] = ()) -> "RestUtterance":
        asked = Asked.of(self.model, language or self._language, self._prompt, hints)

        def ask(pcm: bytes) -> AsyncIterator[tuple[str, bool]]:
            return self._transcribe(pcm, asked)

        return RestUtterance(ask, self._settles, self._partial_every_ms, self._open)

    async def _transcribe(self, pcm: bytes, asked: Asked) -> AsyncIterator[tuple[str, bool]]:
        if len(pcm) > LONG_BYTES:
            wav = await asyncio.to_thread(write_wav, pcm, 16_000)
        else:
            wav = write_wav(pcm, 16_000)
        fields = asked.fields()
        keywords = fields.pop("keywords", None)
        if keywords is not None:
            fields["extra_body"] = {"keywords": keywords}  # so that older packages take it too
        create = self._http.client.audio.transcriptions.create
        file = ("speech.wav", wav, "audio/wav")
        try:
            if asked.model.startswith("gpt-"):
                stream = await create(file=file, response_format="json", stream=True, **fields)
                async with stream:
                    async for piece in _streamed(stream):
                        yield piece
            else:
                answer = await create(file=file, response_format="json", **fields)
                yield str(getattr(answer, "text", answer)).strip(), True
        except self._http.failures as error:
            raise self._http.failed(error) from error
        except ValueError as error:  # an answer that is no JSON
            raise SttError(
                f"{self._place.who} sent what it should not: {error}", Failure.TRANSIENT
            ) from error
        self._http.used()


async def _streamed(stream: Any) -> AsyncIterator[tuple[str, bool]]:
    """`transcript.text.delta` and `transcript.text.done`."""
    text = ""
    async for event in stream:
        if event.type == "transcript.text.delta":
            text += event.delta
            yield text.strip(), False
        elif event.type == "transcript.text.done":
            yield str(event.text).strip(), True


class RestUtterance:
    """One `Transcriber`."""

    def __init__(
        self, ask: Ask, settles: bool, partial_every_ms: int, open_ones: "set[RestUtterance]"
    ) -> None:
        self._ask, self._settles, self._open_ones = ask, settles, open_ones
        self._every = partial_every_ms * BYTES_PER_MS
        self._outlet = Outlet()
        self._audio = bytearray()
        self._covered = 0
        """Bytes that the newest request covers."""
        self._text: str | None = None
        """Its answer."""
        self._wanted = self._finishing = False
        """Whether its answer is waited for, and as the final."""
        self._shown = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[None] | None = None
        self.billed_ms = 0
        """Sound that was sent to be recognized, in all requests."""
        open_ones.add(self)

    def feed(self, pcm: bytes) -> None:
        self._audio += pcm
        is_idle = self._asking is None or self._asking.done()
        if self._every and is_idle and len(self._audio) - self._covered >= self._every:
            self._start()

    def settle(self, silence_ms: int) -> None:
        if not self._finishing and self._settles:
            self._want(silence_ms)

    def finish(self, silence_ms: int) -> None:
        if not self._finishing:
            self._finishing = True
            self._want(silence_ms)

    def transcripts(self) -> AsyncIterator[Transcript]:
        return self._outlet.read()

    async def aclose(self) -> None:
        self._open_ones.discard(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._outlet.close()

    def _want(self, silence_ms: int) -> None:
        self._wanted = True
        if len(self._audio) - self._covered > silence_ms * BYTES_PER_MS + SLACK_BYTES:
            self._start()
        elif not self._covered:
            self._text = ""  # nothing was said at all
            self._answer()
        elif self._text is not None:
            self._answer()
        # else: the request that is under way will be the answer

    def _start(self) -> None:
        """Ask about all that was heard; what is under way is not needed any more."""
        if self._asking is not None:
            self._asking.cancel()
        self._covered, self._text = len(self._audio), None
        self.billed_ms += len(self._audio) // BYTES_PER_MS
        self._asking = asyncio.get_running_loop().create_task(self._run(bytes(self._audio)))
        self._tasks.add(self._asking)
        self._asking.add_done_callback(self._tasks.discard)

    async def _run(self, pcm: bytes) -> None:
        try:
            async with aclosing(self._ask(pcm)) as answers:  # type: ignore[type-var]
                async for text, is_all in answers:
                    if is_all:
                        self._text = text
                    elif len(text) > self._shown:
                        self._show(Transcript(text, plugin="openai"))
            if self._text is None:
                raise SttError("the answer had no text in it", Failure.EMPTY)
            self._answer()
        except SttError as error:
            self._failed(error)

    def _answer(self) -> None:
        assert self._text is not None
        final = self._finishing
        self._show(Transcript(self._text, final=final, settled=self._wanted, plugin="openai"))
        self._wanted = False
        if final:
            self._open_ones.discard(self)

    def _show(self, transcript: Transcript) -> None:
        self._shown = len(transcript.text)
        self._outlet.put(transcript)

    def _failed(self, error: SttError) -> None:
        """What nobody waits for may fail; nobody tries it again in this utterance."""
        if self._wanted:
            self._outlet.fail(error)
            return
        log.info("no partial text: %s", error)
        self._every = self._covered = 0
