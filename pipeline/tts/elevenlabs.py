"""ElevenLabs' voices: over the multi-context WebSocket with word times, or over HTTP.

The socket is spoken raw: the SDK's own client of it is synchronous and knows no other server. The SDK does
what it does well: the lists of voices and models, and `mode = "http"`.

One context per segment on a warm line (`pipeline.tts.contexts`), closed right behind its text: a flushed
context goes on until its text is spoken and then says `isFinal`. Only a closed context says so: with one
context per reply nobody would know where a segment's sound ends. Over HTTP, what the reply said before is
told as `previous_text`.

https://elevenlabs.io/docs/eleven-api/guides/how-to/websockets/multi-context-web-socket
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
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pipeline import vendor
from pipeline.contracts import Env, Failure, SpeechRequest, TtsError, Usage, VoiceInfo
from pipeline.lines import Lines, SocketLine, dial
from pipeline.tts.contexts import Contexts, Piece
from pipeline.tts.elevenlabs_wire import (
    RATE_HZ,
    VARIABLE,
    WHO,
    Context,
    Letters,
    UnknownVoice,
    named,
    refusal,
)
from pipeline.tts.spoken import Samples, WordTimes, sendable
from pipeline.tts.text import is_speakable

log = logging.getLogger(__name__)

BASE_URL = "https://api.elevenlabs.io"
SLOWEST, FASTEST = 0.7, 1.2  # RealtimeVoiceSettings.speed
INACTIVITY_S = 180
"""The longest that ElevenLabs lets a quiet socket live; ours hang up after a minute."""
MOST_LINES = 8
MOST_PAGES = 10
MOST_REPLIES = 64
KEEP_ALIVE_S = 60.0
NO_RETRIES = {"max_retries": 0}  # trying again is the chain's business
_LANGUAGES = (
    "en ja zh de hi fr ko pt it es id nl tr fil pl sv bg ro ar cs el fi hr ms sk da ta uk ru hu no vi"
)
LANGUAGES = frozenset(_LANGUAGES.split())
"""What `language_code` may be: https://elevenlabs.io/docs/overview/models. Only the v2.5 models take it."""
_ID = re.compile(r"[0-9A-Za-z]{20}")


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.elevenlabs]"""

    model: str = "eleven_flash_v2_5"
    voice: str = "EXAVITQu4vr4xnSDxMaL"
    """Sarah, one of ElevenLabs' default voices."""
    speed: float = 1.0
    """0.7 to 1.2; multiplied by the request's."""
    stability: float | None = None
    """0 to 1; unset = as the voice is."""
    similarity_boost: float | None = None
    """0 to 1; unset = as the voice is."""
    mode: Literal["websocket", "http"] = "websocket"
    """"http" for models that have no socket (eleven_v3), or where a proxy breaks sockets."""
    base_url: str = BASE_URL

    def __post_init__(self) -> None:
        if not SLOWEST <= self.speed <= FASTEST:
            raise ValueError(f"speed = {self.speed:g} must be between {SLOWEST:g} and {FASTEST:g}")
        for name in ("stability", "similarity_boost"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} = {value:g} must be between 0 and 1")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url = {self.base_url!r} must begin with http:// or https://")
        if self.mode == "websocket" and self.model.startswith("eleven_v3"):
            raise ValueError(f'model = "{self.model}" has no WebSocket at ElevenLabs: set mode = "http"')


def create(options: Options, env: Env) -> "ElevenLabs":
    """Raises `MissingKey`, unless `base_url` is another server than ElevenLabs'."""
    if options.base_url == BASE_URL:
        return ElevenLabs(options, vendor.key(env, "[tts] elevenlabs", VARIABLE), env.language)
    return ElevenLabs(options, env.keys.get(VARIABLE, "").strip(), env.language)


class ElevenLabs:
    """The `Synthesizer`."""

    rate_hz = RATE_HZ

    def __init__(self, options: Options, key: str, language: str) -> None:
        self.model = options.model
        self._options, self._key = options, key
        self._base_url = options.base_url.rstrip("/")
        self._lines = Lines(self._connect, most=MOST_LINES)
        self._contexts = Contexts(WHO, self._lines)
        self._ids = itertools.count(1)
        self._line_key = self._key_of(SpeechRequest("", language=language), options.voice)
        """What the last request's line was; the next one's will most likely be like it."""
        self._voices: tuple[VoiceInfo, ...] = ()
        self._unknown: set[str] = set()
        """Voices that ElevenLabs said it does not have."""
        self._said: dict[str, str] = {}
        """What each of the latest replies has said so far."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: Any = None
        self._http: Any = None
        self._errors: tuple[type[Exception], ...] = ()

    async def warm(self) -> None:
        """Import the SDK, and ask for the list of voices in the background."""
        sdk = await vendor.load("elevenlabs.client", "elevenlabs")
        core = await vendor.load("elevenlabs.core", "elevenlabs")
        httpx = await vendor.load("httpx", "elevenlabs")
        await asyncio.to_thread(self._make_client, sdk, core, httpx)
        self._spawn(self._list_voices())

    def _make_client(self, sdk: Any, core: Any, httpx: Any) -> None:
        limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)
        self._http = httpx.AsyncClient(limits=limits, timeout=30.0, verify=vendor.trust(httpx))
        self._client = sdk.AsyncElevenLabs(
            base_url=self._base_url, api_key=self._key or None, timeout=30.0, httpx_client=self._http
        )
        # The SDK imports each of these when it is first touched: now, not in the first talk.
        self._errors = (core.ApiError, core.ParsingError, httpx.HTTPError)
        for part in ("voices", "models", "text_to_speech"):
            getattr(self._client, part)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._contexts.aclose()
        await self._lines.aclose()
        if self._http is not None:
            await self._http.aclose()

    def prepare(self) -> None:
        if self._options.mode == "websocket":
            self._lines.prepare(self._line_key)
        elif self._client is not None and not self._tasks:
            self._spawn(self._open())

    async def probe(self) -> None:
        """Ask for the models: that needs the key and names them."""
        models = await self._ask(self._client.models.list(request_options=NO_RETRIES))
        speaking = sorted(m.model_id for m in models if m.can_do_text_to_speech)
        if self.model not in speaking:
            message = f'ElevenLabs has no model "{self.model}" that speaks: set [tts.elevenlabs] model'
            raise TtsError(f"{message} to one of {', '.join(speaking)}", Failure.BAD_REQUEST)

    def voices(self) -> Sequence[VoiceInfo]:
        """The account's voices, once they are known; until then, the default one."""
        return self._voices or (VoiceInfo(self._options.voice, "default", "en"),)

    async def speak(self, request: SpeechRequest) -> AsyncIterator[Piece]:
        text = sendable(request.text)
        if not is_speakable(text):
            return
        say = self._over_http if self._options.mode == "http" else self._over_socket
        voice = self._voice(request.voice)
        try:
            async with aclosing(say(request, text, voice)) as speech:
                async for piece in speech:
                    yield piece
            return
        except UnknownVoice:
            if voice == self._options.voice:
                raise
            self._unknown.add(voice)
        async with aclosing(say(request, text, self._options.voice)) as speech:
            async for piece in speech:
                yield piece

    # -- over the socket -----------------------------------------------------------------------------------

    def _over_socket(self, request: SpeechRequest, text: str, voice: str) -> AsyncGenerator[Piece, None]:
        self._line_key = key = self._key_of(request, voice)
        settings = self._settings(request.speed)
        return self._contexts.speak(
            key, lambda: Context(f"parley-{next(self._ids)}", text, settings, WordTimes(request.text))
        )

    def _key_of(self, request: SpeechRequest, voice: str) -> str:
        """The URL of a line, and in its fragment the voice settings: they must not change on a socket."""
        query = {
            "model_id": self.model,
            "output_format": f"pcm_{RATE_HZ}",
            "auto_mode": "true",  # whole sentences come at once: nothing to wait for
            "sync_alignment": "true",
            "inactivity_timeout": str(INACTIVITY_S),
            **self._language(request.language),
        }
        path = f"/v1/text-to-speech/{quote(voice, safe='')}/multi-stream-input"
        socket = self._base_url.replace("http", "ws", 1)
        return f"{socket}{path}?{urlencode(query)}#{json.dumps(self._settings(request.speed))}"

    async def _connect(self, key: str) -> SocketLine:
        headers = {"xi-api-key": self._key} if self._key else {}
        try:
            return await dial(TtsError, WHO, key.partition("#")[0], headers)
        except TtsError as error:
            raise named(error) from error

    # -- over HTTP -----------------------------------------------------------------------------------------

    async def _over_http(self, request: SpeechRequest, text: str, voice: str) -> AsyncGenerator[Piece, None]:
        """https://elevenlabs.io/docs/api-reference/text-to-speech/stream-with-timestamps"""
        words, samples = WordTimes(request.text), Samples(RATE_HZ)
        letters = Letters(words)
        more: dict[str, Any] = dict(self._language(request.language))
        if settings := self._settings(request.speed):
            more["voice_settings"] = settings
        if request.index and (before := self._said.get(request.reply_id)):
            more["previous_text"] = before
        stream = self._client.text_to_speech.stream_with_timestamps(
            voice,
            text=text,
            model_id=self.model,
            output_format=f"pcm_{RATE_HZ}",
            request_options=NO_RETRIES,
            **more,
        )
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    before_ms = samples.ms
                    if pcm := samples.push(base64.b64decode(chunk.audio_base_64 or "")):
                        yield pcm
                    if (a := chunk.alignment) is not None:
                        starts = [s * 1000 for s in a.character_start_times_seconds]
                        ends = [s * 1000 for s in a.character_end_times_seconds]
                        is_whole = bool(starts) and starts[0] >= letters.until - 1  # from the very beginning
                        letters.say(a.characters, starts, ends, 0.0 if is_whole else before_ms)
                    for word in words.take(samples.ms):
                        yield word
        except self._errors as error:
            raise self._failure(error) from error
        except (ValueError, TypeError, AttributeError) as error:  # a piece of another shape than documented
            raise TtsError(f"{WHO} sent what makes no sense: {error!r}") from error
        letters.finish()
        for word in words.finish(samples.ms):
            yield word
        self._remember(request.reply_id, text)
        yield Usage(characters=len(text))

    def _remember(self, reply_id: str, text: str) -> None:
        if reply_id:
            self._said[reply_id] = f"{self._said.pop(reply_id, '')} {text}".strip()
            if len(self._said) > MOST_REPLIES:
                del self._said[next(iter(self._said))]

    async def _open(self) -> None:
        """Have a connection open: any request does."""
        try:
            await self._ask(self._client.models.list(request_options=NO_RETRIES))
        except TtsError as error:
            log.info("no connection ahead of need: %s", error)

    async def _ask(self, asking: Any) -> Any:
        try:
            return await asking
        except self._errors as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> TtsError:
        """An SDK's error as ours."""
        status = getattr(error, "status_code", None)
        if status is None:
            return vendor.unreachable(TtsError, WHO, error)
        return refusal(status, getattr(error, "body", None), getattr(error, "headers", None))

    # -- inside --------------------------------------------------------------------------------------------

    def _voice(self, wished: str) -> str:
        """The wished voice if it can be one: others belong to other plug-ins of the chain."""
        can_be = bool(_ID.fullmatch(wished)) or any(v.id == wished for v in self._voices)
        return wished if can_be and wished not in self._unknown else self._options.voice

    def _settings(self, speed: float) -> dict[str, float]:
        options = self._options
        wishes = {"stability": options.stability, "similarity_boost": options.similarity_boost}
        settings = {name: value for name, value in wishes.items() if value is not None}
        if (speed := min(FASTEST, max(SLOWEST, options.speed * speed))) != 1.0:
            settings["speed"] = speed
        return settings

    def _language(self, tag: str) -> dict[str, str]:
        language = tag.partition("-")[0].lower()
        takes_it = self.model.endswith("_v2_5") and language in LANGUAGES
        return {"language_code": language} if takes_it else {}

    async def _list_voices(self) -> None:
        """https://elevenlabs.io/docs/api-reference/voices/search"""
        found: list[VoiceInfo] = []
        page: dict[str, Any] = {}
        try:
            for _ in range(MOST_PAGES):
                asking = self._client.voices.search(page_size=100, request_options=NO_RETRIES, **page)
                answer = await self._ask(asking)
                found += [_voice_info(v) for v in answer.voices or ()]
                if not answer.has_more or not answer.next_page_token:
                    break
                page = {"next_page_token": answer.next_page_token}
        except TtsError as error:
            log.info("the voices of ElevenLabs are not known: %s", error)
        self._voices = tuple(found)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _voice_info(voice: Any) -> VoiceInfo:
    labels = voice.labels or {}
    language = str(labels.get("language") or "en")
    return VoiceInfo(voice.voice_id, voice.name or voice.voice_id, language, str(labels.get("gender") or ""))
