"""Deepgram's Aura voices over its WebSocket: a segment is one `Speak` and one `Flush`, `Flushed` ends it.

A line is opened for one voice and one speed. It is hung up after a barge-in (what of the old segment can
still follow is not documented; a fresh line is opened at once), and when it has been flushed as often as
Deepgram allows in a minute.

Wire: https://developers.deepgram.com/docs/streaming-text-to-speech and the pages beside it
"""

import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import urlencode

from pipeline import lines, vendor
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
from pipeline.lines import Line, LineLost, Lines, Message, SocketLine
from pipeline.tts.contexts import Contexts
from pipeline.tts.spoken import Samples, sendable
from pipeline.tts.text import is_speakable, pieces

log = logging.getLogger(__name__)

URL = "wss://api.deepgram.com"
WHO = "Deepgram"
LONGEST_SPEAK = 2000
"""Characters of one `Speak`: the limit of Deepgram's REST requests, which is the only one we know."""
FLUSHES = 20
"""A line may be flushed this often in a minute: https://developers.deepgram.com/docs/tts-ws-flush#limits"""
SLOWEST, FASTEST = 0.7, 1.5
"""https://developers.deepgram.com/docs/tts-voice-controls"""
PACED = ("en", "es")
"""The languages whose voices know a speed (same page); the others would refuse the connection."""
IDLE_S = 55.0

SPEAKERS = {
    "en": "thalia amalthea andromeda apollo arcas aries asteria athena atlas aurora callista cora cordelia "
    "delia draco electra harmonia helena hera hermes hyperion iris janus juno jupiter luna mars minerva "
    "neptune odysseus ophelia orion orpheus pandora phoebe pluto saturn selene theia vesta zeus",
    "es": "celeste agustina alvaro antonia aquila carina diana estrella gloria javier luciano nestor olivia "
    "selena silvia sirio valerio",
    "de": "viktoria aurelia elara fabian julius kara lara",
    "nl": "rhea beatrix cornelia daphne hestia lars leda roman sander",
    "fr": "agathe hector",
    "it": "livia cesare cinzia demetra dionisio elio flavio maia melia",
    "ja": "izanami ama ebisu fujin uzume",
}
"""Aura-2's, the language's default first: https://developers.deepgram.com/docs/tts-models"""

_NAMES = frozenset(name for names in SPEAKERS.values() for name in names.split())

SPEAK_END = json.dumps({"type": "Flush"})
CLEAR = json.dumps({"type": "Clear"})
CLOSE = json.dumps({"type": "Close"})


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.deepgram]"""

    voice: str = ""
    """Such as "aura-2-thalia-en"; "" = one that speaks the language."""
    base_url: str = ""
    """Of a server of one's own, such as "ws://127.0.0.1:8080"; "" = Deepgram's."""


def create(options: Options, env: Env) -> "Deepgram":
    """Raises `MissingKey`, `Unavailable`."""
    base_url = (options.base_url or URL).rstrip("/").replace("http", "ws", 1)
    if not base_url.startswith(("ws://", "wss://")):
        raise Unavailable(f"[tts.deepgram] base_url = {options.base_url!r} must begin with wss:// or ws://")
    if options.base_url:
        key = env.keys.get("DEEPGRAM_API_KEY", "").strip()
    else:
        key = vendor.key(env, "[tts] deepgram", "DEEPGRAM_API_KEY")
    return Deepgram(options.voice, key, base_url, env.language)


class Deepgram:
    """The `Synthesizer`."""

    rate_hz = 24_000

    def __init__(self, voice: str, key: str, base_url: str, language: str) -> None:
        self._key, self._base_url = key, base_url
        self._voice = ""
        self._voice = self._voice_for(voice, "") if voice in _NAMES else voice
        self.model = "aura" if _is_first_aura(voice) else "aura-2"
        """What is charged for: all voices of one generation cost the same."""
        self._lines = Lines(self._dial, idle_s=IDLE_S)
        self._contexts = Contexts(WHO, self._lines)
        self._last = self._usual = self._url(SpeechRequest("", language=language))

    async def warm(self) -> None:
        """Nothing to load: the wire needs no package."""

    async def aclose(self) -> None:
        await self._contexts.aclose()
        await self._lines.aclose()

    def prepare(self) -> None:
        """Open a line for the voice that spoke last."""
        self._lines.prepare(self._last)

    async def probe(self) -> None:
        """Open a line: free while nothing is said, and it needs the key and knows the voice."""
        self._lines.give_back(self._usual, await self._dial(self._usual))

    def voices(self) -> Sequence[VoiceInfo]:
        return tuple(
            VoiceInfo(f"aura-2-{name}-{language}", name.capitalize(), language)
            for language, names in SPEAKERS.items()
            for name in names.split()
        )

    async def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        text = sendable(request.text)
        if not is_speakable(text):
            return
        self._last = url = self._url(request)
        ended = False
        try:
            async with aclosing(self._contexts.speak(url, lambda: _Segment(text))) as spoken:
                async for piece in spoken:
                    yield piece
            ended = True
        finally:
            if not ended:
                self._lines.prepare(url)  # that line is gone, and the answer to the barge-in comes soon
        yield Usage(characters=len(text))

    def _url(self, request: SpeechRequest) -> str:
        voice = self._voice_for(request.voice, request.language)
        query = {"model": voice, "encoding": "linear16", "sample_rate": str(self.rate_hz)}
        if request.speed != 1.0 and voice.startswith("aura-2-") and voice.endswith(PACED):
            query["speed"] = f"{min(FASTEST, max(SLOWEST, request.speed)):.2f}"
        return f"{self._base_url}/v1/speak?{urlencode(query)}"

    def _voice_for(self, voice: str, language: str) -> str:
        base = language.replace("_", "-").partition("-")[0].lower()
        name = voice.removeprefix("aura-2-").rpartition("-")[0] or voice
        for tag, names in SPEAKERS.items():
            if name in names.split() and voice in (name, f"aura-2-{name}-{tag}"):
                return f"aura-2-{name}-{tag}"
        if self._voice and (base == _language_of(self._voice) or base not in SPEAKERS):
            return self._voice
        tag = base if base in SPEAKERS else "en"
        return f"aura-2-{SPEAKERS[tag].split()[0]}-{tag}"

    async def _dial(self, url: str) -> Line:
        headers = {"Authorization": f"Token {self._key}"} if self._key else {}
        try:
            line = await lines.dial(TtsError, WHO, url, headers)
        except TtsError as error:
            raise self._advised(error) from error
        return _CountedLine(line)

    def _advised(self, error: TtsError) -> TtsError:
        look = {Failure.AUTH: "DEEPGRAM_API_KEY", Failure.BAD_REQUEST: "[tts.deepgram] voice"}.get(error.kind)
        if look is None:
            return error
        return TtsError(f"{error} (look at {look})", error.kind, retry_after_s=error.retry_after_s)


class _CountedLine:
    """A line that counts as closed once it may not be flushed any more. Satisfies `Line`."""

    def __init__(self, line: SocketLine) -> None:
        self._line, self._flushes = line, 0

    @property
    def is_open(self) -> bool:
        return self._line.is_open and self._flushes < FLUSHES

    async def send(self, message: Message) -> None:
        if message is CLEAR:
            self._flushes = (
                FLUSHES  # what comes after a `Cleared` is not documented: not for the next segment
            )
        self._flushes += message is SPEAK_END
        await self._line.send(message)

    async def receive(self) -> Message:
        return await self._line.receive()

    async def close(self) -> None:
        await self._line.close()


class _Segment:
    """One segment in Deepgram's messages. Satisfies `contexts.Wire`."""

    def __init__(self, text: str) -> None:
        self.ended = False
        self._text = text
        self._samples = Samples(Deepgram.rate_hz)
        self._warning = ""

    def begin(self) -> Sequence[Message]:
        parts = [part for _, part in pieces(self._text, LONGEST_SPEAK)]
        return [*(json.dumps({"type": "Speak", "text": part}) for part in parts), SPEAK_END]

    def heard(self, message: Message) -> Sequence[bytes]:
        if isinstance(message, bytes):
            pcm = self._samples.push(message)
            return [pcm] if pcm else []
        told = _read(message)
        match told.get("type"):
            case "Flushed":
                self.ended = True
                if not self._samples.ms and self._warning:
                    raise TtsError(f"{WHO} said nothing: {self._warning}", Failure.EMPTY)
            case "Warning":
                self._warn(str(told.get("description", "")), str(told.get("code", "")))
            case "Error":
                raise TtsError(f"{WHO} failed: {vendor.short(message)}", Failure.TRANSIENT)
            case _:
                pass  # Metadata, when the line was opened
        return []

    def _warn(self, description: str, code: str) -> None:
        self._warning = vendor.short(f"{description} ({code})")
        log.warning("%s warns: %s", WHO, self._warning)
        if "flush" in self._warning.lower():
            # No sound and no `Flushed` will come before the minute is over.
            raise TtsError(f"{WHO} does not speak now: {self._warning}", Failure.QUOTA)

    def cancel(self) -> Sequence[Message]:
        return [CLEAR, CLOSE]

    def lost(self, lost: LineLost) -> TtsError | None:
        """https://developers.deepgram.com/docs/tts-troubleshooting-websocket-net-and-data-errors"""
        if lost.code in (1003, 1007, 1008, 1009):
            return TtsError(
                f"{WHO} did not accept the text: {vendor.short(lost.reason)}", Failure.BAD_REQUEST
            )
        return None


def _read(message: str) -> dict[str, object]:
    try:
        told = json.loads(message)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise TtsError(f"{WHO} sent what it should not: {vendor.short(message)}", Failure.TRANSIENT)
    return told


def _is_first_aura(voice: str) -> bool:
    return voice.startswith("aura-") and not voice.startswith("aura-2-")


def _language_of(voice: str) -> str:
    return voice.rpartition("-")[2]
