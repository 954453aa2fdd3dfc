"""OpenAI's voices (gpt-4o-mini-tts, tts-1), and every server that has its `/audio/speech`.

One request a segment, its sound streamed as raw samples. The API takes text only as a whole, tells no word
times, and knows the language by itself.

Wire: https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

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
from pipeline.openai_http import OpenAiHttp, Place
from pipeline.tts.spoken import Samples, sendable
from pipeline.tts.text import is_speakable, pieces

LONGEST_INPUT = 1800
"""The API takes 4096 characters, and gpt-4o-mini-tts 2000 tokens, which Japanese reaches sooner."""
SLOWEST, FASTEST = 0.25, 4.0
VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage"),
    *("shimmer", "verse"),
)
NOT_IN_TTS_1 = ("ballad", "cedar", "marin", "verse")
"""https://platform.openai.com/docs/guides/text-to-speech#voice-options"""
RIFF_BYTES = 4096
"""A WAV header is looked for in this much."""


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.openai]"""

    model: str = "gpt-4o-mini-tts"
    voice: str = ""
    """"" = "coral", or the first of `voices`."""
    instructions: str = ""
    """How to speak, in words, such as "calm and friendly". Not for tts-1."""
    base_url: str = ""
    """A server that speaks this API, such as "http://127.0.0.1:8880/v1"; "" = OpenAI."""
    voices: tuple[str, ...] = ()
    """What that server's voices are called; () = OpenAI's."""
    rate_hz: int = 24_000
    """Of the samples that server sends."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""

    def __post_init__(self) -> None:
        if not 8_000 <= self.rate_hz <= 48_000:
            raise ValueError(f"rate_hz = {self.rate_hz} must be between 8000 and 48000")


def create(options: Options, env: Env) -> "OpenAi":
    """Raises `MissingKey`, `Unavailable`."""
    engine = OpenAi(options, Place.of(env, "tts", options.key_variable, options.base_url))
    if options.voice and not options.base_url and options.voice not in engine.names:
        raise Unavailable(
            f"[tts.openai] voice = {options.voice!r}: {options.model} has {', '.join(engine.names)}"
        )
    return engine


class OpenAi:
    """The `Synthesizer`."""

    def __init__(self, options: Options, place: Place) -> None:
        self.model, self.rate_hz = options.model, options.rate_hz
        self._options, self._place = options, place
        self._http = OpenAiHttp(TtsError, place, options.model)
        own = [v for v in VOICES if not (options.model.startswith("tts-1") and v in NOT_IN_TTS_1)]
        self.names: tuple[str, ...] = tuple(dict.fromkeys(options.voices or own))
        self._voice = options.voice or ("coral" if "coral" in self.names else self.names[0])

    async def warm(self) -> None:
        await self._http.open()

    async def aclose(self) -> None:
        await self._http.aclose()

    def prepare(self) -> None:
        self._http.prepare()

    async def probe(self) -> None:
        await self._http.probe()

    def voices(self) -> Sequence[VoiceInfo]:
        """Each speaks every language; "en" is where they are at home."""
        return tuple(VoiceInfo(name, name.capitalize(), "en") for name in self.names)

    async def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        text, sent = sendable(request.text), 0
        for _, piece in pieces(text, LONGEST_INPUT):
            if not is_speakable(piece):
                continue
            async with aclosing(self._sound(self._body(piece, request))) as sound:
                async for pcm in sound:
                    yield pcm
            sent += len(piece)
        if sent:
            yield Usage(characters=sent)

    def _body(self, text: str, request: SpeechRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "input": text.strip(),
            "voice": request.voice if request.voice in self.names else self._voice,
            "response_format": "pcm",
        }
        if request.speed != 1.0:
            body["speed"] = min(FASTEST, max(SLOWEST, request.speed))
        if self._options.instructions and not self.model.startswith("tts-1"):
            body["instructions"] = self._options.instructions
        return body

    async def _sound(self, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The answer to one request. Leaving it closes the connection: that ends the synthesis."""
        samples, first = Samples(self.rate_hz), True
        try:
            speech = self._http.client.audio.speech.with_streaming_response
            async with speech.create(**body) as response:
                kind = response.headers.get("content-type", "")
                if kind.startswith(("application/json", "text/")):
                    raise TtsError(f"{self._place.who} answered {kind}, not sound", Failure.TRANSIENT)
                async for data in response.iter_bytes():
                    if pcm := samples.push(_without_header(data) if first else data):
                        yield pcm
                    first = False
        except self._http.failures as error:
            raise self._http.failed(error) from error
        self._http.used()


def _without_header(data: bytes) -> bytes:
    """Some servers send WAV whatever they were asked for: its header would be heard as a click."""
    if not data.startswith(b"RIFF"):
        return data
    at = data.find(b"data", 12, RIFF_BYTES)
    return data[at + 8 :] if at >= 0 else data
