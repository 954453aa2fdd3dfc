"""Google's Gemini Live as a talk: https://ai.google.dev/api/live (BidiGenerateContent over a WebSocket).

The raw socket, not google-genai's `client.aio.live`: that one is a thin shell around the same JSON, makes a
pydantic object of every 20 ms of sound, costs half a second and 47 MB to import, and pins `websockets`.
"""

from dataclasses import dataclass

from pipeline import vendor
from pipeline.contracts import Env, TalkSetup
from pipeline.lines import Line
from pipeline.talk.gemini_wire import RATE_HZ, GeminiWire
from pipeline.talk.live import LiveTalk, dial_with_key, open_live, probe_live

WHO = "Gemini Live"
WHERE = "[talk] gemini-live"
SERVICE = "ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
LIVES_S = 9 * 60.0
"""A connection lasts about 10 minutes (https://ai.google.dev/gemini-api/docs/live-session); `goAway` may
come earlier. It is replaced by another one in a quiet moment before that."""


@dataclass(frozen=True, slots=True)
class Options:
    """[talk.gemini-live]"""

    model: str = "gemini-3.1-flash-live-preview"
    voice: str = "Puck"
    base_url: str = "wss://generativelanguage.googleapis.com"
    """Another server that speaks the same protocol; it may do without a key."""


def create(options: Options, env: Env) -> "GeminiLive":
    """Raises `MissingKey`."""
    own = options.base_url != Options().base_url
    if own and not any(env.keys.get(v, "").strip() for v in ("GEMINI_API_KEY", "GOOGLE_API_KEY")):
        return GeminiLive(options, "")
    return GeminiLive(options, vendor.key(env, WHERE, "GEMINI_API_KEY", "GOOGLE_API_KEY"))


class GeminiLive:
    """The `TalkEngine`."""

    rate_hz = RATE_HZ
    tells_final = False
    input_tokens_per_s = 25
    output_tokens_per_s = 25
    ear_model = ""

    def __init__(self, options: Options, key: str) -> None:
        self._options, self._key = options, key
        self.model = options.model

    async def warm(self) -> None:
        """Nothing: the wire needs no package of Google's."""

    async def aclose(self) -> None:
        """Nothing is kept between talks."""

    async def open(self, setup: TalkSetup) -> LiveTalk:
        return await open_live(WHO, self._dial, self._wire(), setup, LIVES_S)

    async def probe(self) -> None:
        await probe_live(self._dial, self._wire(), WHO)

    def _wire(self) -> GeminiWire:
        return GeminiWire(self._options.model, self._options.voice)

    async def _dial(self) -> Line:
        base = self._options.base_url.rstrip("/")
        base = "ws" + base.removeprefix("http") if base.startswith("http") else base
        headers = {"x-goog-api-key": self._key} if self._key else {}
        return await dial_with_key(WHO, "GEMINI_API_KEY", f"{base}/{SERVICE}", headers)
