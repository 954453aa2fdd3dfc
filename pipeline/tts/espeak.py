"""A voice in the box: eSpeak NG in a process of its own. Robotic, instant, 140 languages; no key, no network.

A text is spoken in pieces of a few sentences. A piece takes milliseconds to make, so requests simply queue,
and what one request can have lying about unplayed is one piece.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pipeline.child import Child, ChildFailed
from pipeline.contracts import (
    Env,
    Failure,
    SpeechRequest,
    SpokenWord,
    TtsError,
    Unavailable,
    Usage,
    VoiceInfo,
)
from pipeline.tts.espeak_messages import AUDIO, CANCEL, DONE, FAILED, SPEAK, WORD
from pipeline.tts.text import is_speakable, pieces, plain, words_of
from pipeline.worker import Note

PIECE_CHARS = 240  # some 15 s of speech, 700 kB
ANSWER_S = 5.0  # a piece takes about 10 ms; a worker silent for this long is not coming back
OFFERED_VARIANTS = ("f2", "f3", "f4", "f5", "m2", "m3", "m4", "m7")  # the human ones among the hundred
OFFERED_WITH = ("en-us", "en-gb")


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.espeak]"""

    voice: str = ""
    """Such as "en-us", "es-419" or "en-us+f3"; "" = the language's own, with `variant`."""
    variant: str = "f3"
    """How the language's own voice is coloured: "f1" to "f5", "m1" to "m8", or a name such as "Annie";
    "" = eSpeak's plain male voice."""
    rate_wpm: int = 165
    """Words a minute at speed 1.0. eSpeak's own 175 is a little fast to follow in a conversation."""
    pitch: int = 50
    """0 to 99, at the request's pitch 1.0."""


def create(options: Options, env: Env) -> "Espeak":
    """Check that eSpeak is there, without loading it. Raises `Unavailable`."""
    if find_spec("espeakng_loader") is None:
        raise Unavailable("[tts] espeak is not installed; run `pip install espeakng-loader`")
    if not 80 <= options.rate_wpm <= 450:
        raise Unavailable(f"[tts.espeak] rate_wpm = {options.rate_wpm} must be between 80 and 450")
    if not 0 <= options.pitch <= 99:
        raise Unavailable(f"[tts.espeak] pitch = {options.pitch} must be between 0 and 99")
    return Espeak(options, env.language)


class Espeak:
    """The `Synthesizer`."""

    rate_hz = 22_050  # eSpeak's own; whoever sends the audio resamples it once, to the client's rate

    def __init__(self, options: Options, language: str) -> None:
        self._options, self._language = options, language
        self._child = Child("pipeline.tts.espeak_worker", {}, self._take, self._lost)
        self._streams: dict[int, _Stream] = {}
        self._next_id = 0
        self._tags: dict[str, str] = {}  # language tag in lower case -> eSpeak's voice file
        self._variants: dict[str, str] = {}  # variant in lower case -> its file
        self._voices: tuple[VoiceInfo, ...] = ()

    async def warm(self) -> None:
        """Start the worker and learn its voices."""
        try:
            await self._child.start()
        except ChildFailed as error:
            await self._child.aclose()
            raise Unavailable(f"[tts] espeak: {error}") from error
        facts = self._child.facts
        self.rate_hz = int(facts["rate_hz"])
        self._tags = {tag.lower(): file for tag, _, file, _ in facts["voices"]}
        variants = {file.removeprefix("!v/"): gender for _, _, file, gender in facts["variants"]}
        self._variants = {variant.lower(): variant for variant in variants}
        # Two voices of one language tag are listed once: the tag is what we call them by.
        named = {tag.lower(): VoiceInfo(tag, name, tag, gender) for tag, name, _, gender in facts["voices"]}
        plain_ones = list(named.values())
        coloured = [
            VoiceInfo(f"{v.id}+{variant}", f"{v.name}, {variant}", v.language, variants[variant])
            for v in plain_ones
            if v.id in OFFERED_WITH
            for variant in OFFERED_VARIANTS
            if variant in variants
        ]
        self._voices = (*coloured, *plain_ones)

    async def aclose(self) -> None:
        """End the worker, and whatever it was saying."""
        self._lost("it was closed")
        await self._child.aclose()

    def voices(self) -> Sequence[VoiceInfo]:
        """One voice a language, and the pleasanter variants for English; any "voice+variant" is taken."""
        return self._voices

    @property
    def pids(self) -> list[int]:
        """The worker process that exists now; for /health and tests."""
        return [self._child.pid] if self._child.pid is not None else []

    async def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        """Speak piece after piece, each asked for when the one before has been taken."""
        text = plain(request.text)
        if not is_speakable(text):
            return
        settings = {
            "voice": self.voice_for(request.voice, request.language),
            "rate_wpm": min(450, max(80, round(self._options.rate_wpm * request.speed))),
            "pitch": min(99, max(0, round(self._options.pitch * request.pitch))),
        }
        spoken_bytes = 0
        for offset, piece in pieces(text, PIECE_CHARS):
            if not is_speakable(piece):
                continue
            clock = _WordClock(piece, offset, spoken_bytes * 1000 // (2 * self.rate_hz))
            async with _Listening(self, {**settings, "text": piece}) as stream:
                async for item in stream.read():
                    if isinstance(item, bytes):
                        spoken_bytes += len(item)
                        yield item
                    elif word := clock.began(item.at, item.ms):
                        yield word
            if word := clock.ended(spoken_bytes * 1000 // (2 * self.rate_hz)):
                yield word
        yield Usage(characters=len(request.text))

    def voice_for(self, voice: str, language: str) -> str:
        """eSpeak's own name of the voice that a request means."""
        wanted = voice or self._options.voice
        tag, _, variant = wanted.partition("+")
        variant = variant or (self._options.variant if not wanted else "")
        file = self._tags.get(tag.lower())
        if file is None:
            file = self._language_voice(language) or self._language_voice(self._language) or "gmw/en-US"
            variant = self._options.variant
        known = self._variants.get(variant.lower(), "")
        return f"{file}+{known}" if known else file

    def _language_voice(self, language: str) -> str:
        language = language.lower().replace("_", "-")
        language = {"en": "en-us", "zh": "cmn", "no": "nb"}.get(language, language)
        while language:
            for tag in (language, f"{language}-{language}"):  # "fr" is called "fr-fr"
                if file := self._tags.get(tag):
                    return file
            family = next((file for tag, file in self._tags.items() if tag.startswith(f"{language}-")), "")
            if family:
                return family
            language = language.rpartition("-")[0]
        return ""

    def _take(self, note: Note) -> None:
        if stream := self._streams.get(note.ident):  # else: cancelled in the meantime
            stream.heard(note)

    def _lost(self, reason: str) -> None:
        for stream in list(self._streams.values()):
            stream.fail(TtsError(f"the espeak worker died ({reason})", Failure.TRANSIENT))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the piece's text eSpeak is at a time in the piece's speech."""

    at: int
    ms: int


class _Stream:
    """What the worker has sent for one piece and nobody has taken yet: never more than the piece."""

    def __init__(self) -> None:
        self._items: deque[bytes | _Place] = deque()
        self._error: TtsError | None = None
        self.is_done = False
        self._wake: asyncio.Future[None] | None = None

    def heard(self, note: Note) -> None:
        if note.kind == AUDIO:
            self._items.append(note.payload)
        elif note.kind == WORD:
            self._items.append(_Place(**json.loads(note.payload)))
        elif note.kind == DONE:
            self.is_done = True
        elif note.kind == FAILED:
            self.fail(TtsError(json.loads(note.payload)["message"], Failure.BAD_REQUEST))
        self._ring()

    def fail(self, error: TtsError) -> None:
        self._error, self.is_done = error, True
        self._ring()

    async def read(self) -> AsyncIterator[bytes | _Place]:
        """Until the piece is spoken. Raises `TtsError`."""
        while True:
            while self._items:
                yield self._items.popleft()
            if self._error is not None:
                raise self._error
            if self.is_done:
                return
            self._wake = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._wake
            except TimeoutError as error:
                raise TtsError("the espeak worker does not answer", Failure.TIMEOUT) from error

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class _Listening:
    """Asks the worker for a piece, and tells it when nobody listens any more."""

    def __init__(self, engine: Espeak, request: dict[str, Any]) -> None:
        self._engine, self._request = engine, request
        self._stream = _Stream()
        engine._next_id = self._id = engine._next_id % 0xFFFF_FFFF + 1

    async def __aenter__(self) -> _Stream:
        self._engine._streams[self._id] = self._stream
        if not self._engine._child.send(SPEAK, self._id, json.dumps(self._request).encode()):
            self._stream.fail(TtsError("no espeak worker is running", Failure.TRANSIENT))
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        del self._engine._streams[self._id]
        if not self._stream.is_done:
            self._engine._child.send(CANCEL, self._id)


class _WordClock:
    """Makes word times of eSpeak's places: it splits numbers and joins words as it likes, we do not.

    A word of ours starts with the first place inside it, and ends where the next one starts.
    """

    def __init__(self, piece: str, offset: int, start_ms: int) -> None:
        self._words = words_of(piece)
        self._offset, self._start_ms = offset, start_ms
        self._current: tuple[int, int, int] | None = None  # start, end, start_ms

    def began(self, at: int, ms: int) -> SpokenWord | None:
        """eSpeak is at character `at`; the word before this one, if that is over now."""
        # The next word, when the place is just before it: after several spaces eSpeak is off by one.
        word = next((w for w in self._words if at < w[1]), None)
        ms += self._start_ms
        current = self._current
        if word is None or (current is not None and (word[0] <= current[0] or ms < current[2])):
            return None  # still inside the word, or a step back
        self._current = (*word, ms)
        return self._spoken(current, ms)

    def ended(self, ms: int) -> SpokenWord | None:
        """The piece is over: its last word."""
        return self._spoken(self._current, ms)

    def _spoken(self, word: tuple[int, int, int] | None, end_ms: int) -> SpokenWord | None:
        if word is None:
            return None
        start, end, start_ms = word
        return SpokenWord(self._offset + start, self._offset + end, start_ms, max(start_ms, end_ms))
