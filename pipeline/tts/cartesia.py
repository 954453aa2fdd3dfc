"""Cartesia's Sonic voices over its WebSocket, with word times.

One context per segment on a warm line (`pipeline.tts.contexts`). Why not one per reply with `continue`: a
context expires one second after its last audio, and a reply's next segment often comes later than that; when
a reply is over is told to nobody, so its last context would hang until it expires, and count against the
plan's few; and whether the word times of a later input begin at 0 again is not documented.

Wire: https://docs.cartesia.ai/api-reference/tts/websocket and .../use-the-api/api-errors.
"""

import asyncio
import base64
import itertools
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline import vendor
from pipeline.contracts import Env, Failure, SpeechRequest, TtsError, Usage, VoiceInfo
from pipeline.lines import LineLost, Lines, Message, SocketLine, dial
from pipeline.tts.contexts import Contexts, Piece
from pipeline.tts.spoken import Samples, WordTimes, sendable
from pipeline.tts.text import is_speakable

log = logging.getLogger(__name__)

WHO = "Cartesia"
WHERE = "[tts] cartesia"
VARIABLE = "CARTESIA_API_KEY"
BASE_URL = "https://api.cartesia.ai"
VERSION = "2026-03-01"
"""The API version this file was written for (header `Cartesia-Version`)."""
RATE_HZ = 24_000
SLOWEST, FASTEST = 0.6, 1.5  # /build-with-cartesia/capability-guides/volume-speed-emotion
MOST_LINES = 8
MOST_PAGES = 10
_LANGUAGES = (
    "en de es fr ja pt zh hi ko it nl pl ru sv tr tl bg ro ar cs el fi hr ms sk da ta uk hu no vi bn th he "
    "ka id te gu kn ml mr pa"
)
LANGUAGES = frozenset(_LANGUAGES.split())
"""What sonic-3 speaks: https://docs.cartesia.ai/build-with-cartesia/tts-models/older-models."""
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.cartesia]"""

    model: str = "sonic-3"
    voice: str = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
    """Katie, one of the two that Cartesia recommends for voice agents."""
    speed: float = 1.0
    """0.6 to 1.5; multiplied by the request's."""
    base_url: str = BASE_URL

    def __post_init__(self) -> None:
        if not SLOWEST <= self.speed <= FASTEST:
            raise ValueError(f"speed = {self.speed:g} must be between {SLOWEST:g} and {FASTEST:g}")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url = {self.base_url!r} must begin with http:// or https://")


def create(options: Options, env: Env) -> "Cartesia":
    """Raises `MissingKey`, unless `base_url` is another server than Cartesia's."""
    if options.base_url == BASE_URL:
        return Cartesia(options, vendor.key(env, WHERE, VARIABLE))
    return Cartesia(options, env.keys.get(VARIABLE, "").strip())


class Cartesia:
    """The `Synthesizer`."""

    rate_hz = RATE_HZ

    def __init__(self, options: Options, key: str) -> None:
        self.model = options.model
        self._options = options
        self._base_url = options.base_url.rstrip("/")
        self._headers = {"Cartesia-Version": VERSION, **({"Authorization": f"Bearer {key}"} if key else {})}
        self._url = self._base_url.replace("http", "ws", 1) + "/tts/websocket"
        self._lines = Lines(self._connect, keep=1, most=MOST_LINES)
        self._contexts = Contexts(WHO, self._lines)
        self._ids = itertools.count(1)
        self._voices: tuple[VoiceInfo, ...] = ()
        self._unknown: set[str] = set()
        """Voices that Cartesia said it does not have."""
        self._listing: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """Ask for the list of voices, in the background: a vendor that is down must not stop the start."""
        self._listing = asyncio.get_running_loop().create_task(self._list_voices())

    async def aclose(self) -> None:
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.gather(self._listing, return_exceptions=True)
        await self._contexts.aclose()
        await self._lines.aclose()

    def prepare(self) -> None:
        self._lines.prepare(self._url)

    async def probe(self) -> None:
        """Ask for the default voice, which needs the key. No free request knows the model."""
        try:
            await self._ask(f"/voices/{quote(self._options.voice, safe='')}")
        except TtsError as error:
            if error.kind is Failure.BAD_REQUEST:
                raise _UnknownVoice(f"{error} voice", error.kind) from error
            raise

    def voices(self) -> Sequence[VoiceInfo]:
        """Cartesia's voices and the account's own, once they are known; until then, the default one."""
        return self._voices or (VoiceInfo(self._options.voice, "default", "en"),)

    async def speak(self, request: SpeechRequest) -> AsyncIterator[Piece]:
        text = sendable(request.text)
        if not is_speakable(text):
            return
        voice = self._voice(request.voice)
        try:
            async with aclosing(self._speak(request, text, voice)) as speech:
                async for piece in speech:
                    yield piece
            return
        except _UnknownVoice:
            if voice == self._options.voice:
                raise
            self._unknown.add(voice)
        async with aclosing(self._speak(request, text, self._options.voice)) as speech:
            async for piece in speech:
                yield piece

    # -- inside --------------------------------------------------------------------------------------------

    def _speak(self, request: SpeechRequest, text: str, voice: str) -> AsyncGenerator[Piece, None]:
        body: dict[str, Any] = {
            "model_id": self.model,
            "transcript": text,
            "voice": {"mode": "id", "id": voice},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE_HZ},
            "add_timestamps": True,
            "continue": False,
        }
        language = request.language.partition("-")[0].lower()
        if language in LANGUAGES:
            body["language"] = language
        speed = min(FASTEST, max(SLOWEST, self._options.speed * request.speed))
        if speed != 1.0:  # models before sonic-3 know no such field
            body["generation_config"] = {"speed": speed}
        return self._contexts.speak(
            self._url, lambda: _Context(f"parley-{next(self._ids)}", body, WordTimes(request.text))
        )

    def _voice(self, wished: str) -> str:
        """The wished voice if it can be one: others belong to other plug-ins of the chain."""
        known = wished in self._unknown
        can_be = bool(_ID.fullmatch(wished)) or any(v.id == wished for v in self._voices)
        return wished if can_be and not known else self._options.voice

    async def _connect(self, url: str) -> SocketLine:
        try:
            return await dial(TtsError, WHO, url, self._headers)
        except TtsError as error:
            raise _named(error) from error

    async def _ask(self, path: str) -> Any:
        try:
            return await vendor.get_json(TtsError, WHO, self._base_url + path, self._headers)
        except TtsError as error:
            raise _named(error) from error

    async def _list_voices(self) -> None:
        """https://docs.cartesia.ai/api-reference/voices/list"""
        found: list[VoiceInfo] = []
        path = "/voices?limit=100"
        try:
            for _ in range(MOST_PAGES):
                page = await self._ask(path)
                found += [
                    VoiceInfo(
                        str(v["id"]),
                        str(v.get("name") or v["id"]),
                        str(v.get("language") or "en"),
                        _GENDERS.get(str(v.get("gender") or ""), ""),
                    )
                    for v in page["data"]
                ]
                if not page.get("has_more") or not page["data"]:
                    break
                path = f"/voices?limit=100&starting_after={quote(found[-1].id, safe='')}"
        except TtsError as error:
            log.info("the voices of Cartesia are not known: %s", error)
        except (KeyError, TypeError, AttributeError) as error:
            log.info("the list of Cartesia's voices has another shape than expected: %r", error)
        self._voices = tuple(found)


_GENDERS = {"feminine": "female", "masculine": "male"}


class _UnknownVoice(TtsError):
    """The vendor does not have this voice."""


def _named(error: TtsError) -> TtsError:
    """The error with the setting to change in its text."""
    hint = {Failure.AUTH: f"check {VARIABLE}", Failure.BAD_REQUEST: "check [tts.cartesia]"}.get(error.kind)
    text = f"{error}; {hint}" if hint else str(error)
    return TtsError(text, error.kind, retry_after_s=error.retry_after_s)


class _Context:
    """One segment in Cartesia's messages."""

    def __init__(self, name: str, body: dict[str, Any], words: WordTimes) -> None:
        self._name, self._body, self._words = name, body, words
        self._samples = Samples(RATE_HZ)
        self.ended = False

    def begin(self) -> Sequence[Message]:
        return (json.dumps({**self._body, "context_id": self._name}),)

    def cancel(self) -> Sequence[Message]:
        return (json.dumps({"context_id": self._name, "cancel": True}),)

    def heard(self, message: Message) -> Sequence[Piece]:
        said = _read(message)
        if said.get("context_id") not in (self._name, None):
            return ()
        kind = said.get("type")
        if kind == "error":
            self.ended = True
            raise self._error(said)
        out: list[Piece] = []
        if kind == "chunk" and said.get("data"):
            pcm = self._samples.push(base64.b64decode(said["data"]))
            out += [pcm] if pcm else []
        elif kind == "timestamps":
            times = said.get("word_timestamps") or {}
            for word, start_s, end_s in zip(
                times.get("words", ()), times.get("start", ()), times.get("end", ()), strict=False
            ):
                self._words.say(str(word), start_s * 1000, end_s * 1000)
        if kind == "done":
            self.ended = True
            out += self._words.finish(self._samples.ms)
            out.append(Usage(characters=len(self._body["transcript"])))
        else:
            out += self._words.take(self._samples.ms)
        return out

    def lost(self, lost: LineLost) -> TtsError | None:
        del lost  # Cartesia says what is wrong in a message; a closed line is just that
        return None

    def _error(self, said: dict[str, Any]) -> TtsError:
        code = str(said.get("error_code") or "")
        detail = ": ".join(str(said[k]) for k in ("title", "message", "error") if said.get(k))
        status = said.get("status_code")
        error = vendor.refused(TtsError, WHO, status if isinstance(status, int) else 500, detail or code)
        if "voice" in code and error.kind is Failure.BAD_REQUEST:
            return _UnknownVoice(f"{error}; check [tts.cartesia] voice", error.kind)
        if "model" in code:
            return TtsError(f"{error}; check [tts.cartesia] model", Failure.BAD_REQUEST)
        return _named(error)


def _read(message: Message) -> dict[str, Any]:
    said = json.loads(message)
    return said if isinstance(said, dict) else {}
