"""A recognizer for the media clock: PocketSphinx as the server configures it, at a speed that is a setting.

On a virtual clock decoding takes no time, so a busy machine changes nothing; what an idle one takes is added
back as `text_ms`. What was recognized once is remembered by the sound it was recognized from: trying another
setting costs no second decoding.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from pocketsphinx import Decoder

from pipeline.contracts import Transcript
from pipeline.stt.pocketsphinx_worker import words_of

LOOK_BYTES = 120 * 32  # the worker looks for a partial that often


class Memory:
    """Texts by the digest of the sound; kept in a file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.texts: dict[str, str] = json.loads(path.read_text()) if path and path.exists() else {}

    def save(self) -> None:
        if self._path:
            self._path.write_text(json.dumps(self.texts))


class Ear:
    """A `TranscriberEngine` in this process."""

    languages: tuple[str, ...] = ()

    def __init__(self, memory: Memory, text_ms: int) -> None:
        self.memory, self.text_ms = memory, text_ms
        self._free: list[Decoder] = []

    def take(self) -> Decoder:
        """A decoder at the beginning of an utterance. Loading one takes 0.3 s."""
        decoder = self._free.pop() if self._free else Decoder(loglevel="FATAL", fwdflat=False, bestpath=False)
        decoder.start_utt()
        return decoder

    def give_back(self, decoder: Decoder) -> None:
        decoder.end_utt()
        self._free.append(decoder)

    async def warm(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        self._free.clear()

    def open(self, language: str = "", hints: Sequence[str] = ()) -> "Listening":  # noqa: ARG002  (English)
        return Listening(self)


class Listening:
    """One utterance."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._sound = bytearray()
        self._digest = hashlib.blake2b(digest_size=12)
        self._looked = self._decoded = 0
        self._decoder: Decoder | None = None
        self._answers: asyncio.Queue[Transcript] = asyncio.Queue()

    def feed(self, pcm: bytes) -> None:
        self._sound += pcm
        self._digest.update(pcm)
        if len(self._sound) - self._looked >= LOOK_BYTES:
            self._looked = len(self._sound)
            self._answer(Transcript(self._text()))

    def settle(self, silence_ms: int) -> None:  # noqa: ARG002
        self._answer(Transcript(self._text(), settled=True))

    def finish(self, silence_ms: int) -> None:  # noqa: ARG002
        self._answer(Transcript(self._text(), final=True))

    async def transcripts(self) -> AsyncIterator[Transcript]:
        while True:
            transcript = await self._answers.get()
            yield transcript
            if transcript.final:
                return

    async def aclose(self) -> None:
        if self._decoder is not None:
            self._ear.give_back(self._decoder)
            self._decoder = None

    def _answer(self, transcript: Transcript) -> None:
        asyncio.get_running_loop().call_later(self._ear.text_ms / 1000, self._answers.put_nowait, transcript)

    def _text(self) -> str:
        texts, digest = self._ear.memory.texts, self._digest.hexdigest()
        if digest not in texts:
            decoder = self._decoder = self._decoder or self._ear.take()
            decoder.process_raw(bytes(self._sound[self._decoded :]), False, False)
            self._decoded = len(self._sound)
            hypothesis = decoder.hyp()
            texts[digest] = words_of(hypothesis.hypstr) if hypothesis else ""
        return texts[digest]
