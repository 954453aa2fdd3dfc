"""OpenAI's Realtime API (GA) as a talk: https://platform.openai.com/docs/guides/realtime-conversations

Turn detection is off: Parley's floor commits the audio buffer and asks for each response. One response at a
time; one that is asked for while another one runs is sent when that one is done, because the server refuses
a second (`conversation_already_has_active_response`).
"""

from dataclasses import dataclass
from urllib.parse import quote

from pipeline import vendor
from pipeline.contracts import Env, TalkSetup
from pipeline.lines import Line
from pipeline.talk.live import LiveTalk, dial_with_key, open_live, probe_live
from pipeline.talk.openai_wire import RATE_HZ, OpenAiWire

WHO = "OpenAI Realtime"
WHERE = "[talk] openai-realtime"
LIVES_S = 55 * 60.0
"""A session may last 60 minutes: it is replaced by another one in a quiet moment before that."""


@dataclass(frozen=True, slots=True)
class Options:
    """[talk.openai-realtime]"""

    model: str = "gpt-realtime-2.1-mini"
    voice: str = "marin"
    transcription_model: str = "gpt-transcribe"
    """Which model writes down what the user says; it is charged by itself."""
    reasoning_effort: str = ""
    """"minimal" to "high" for a model that thinks before it speaks; "" leaves it to the model."""
    base_url: str = "wss://api.openai.com/v1"
    """Another server that speaks the same protocol; it may do without a key."""


def create(options: Options, env: Env) -> "OpenAiRealtime":
    """Raises `MissingKey`."""
    variable = "OPENAI_API_KEY"
    if options.base_url == Options().base_url or env.keys.get(variable, "").strip():
        return OpenAiRealtime(options, vendor.key(env, WHERE, variable))
    return OpenAiRealtime(options, "")


class OpenAiRealtime:
    """The `TalkEngine`."""

    rate_hz = RATE_HZ
    tells_final = True
    input_tokens_per_s = 10
    output_tokens_per_s = 20

    def __init__(self, options: Options, key: str) -> None:
        self._options, self._key = options, key
        self.model = options.model
        self.ear_model = options.transcription_model

    async def warm(self) -> None:
        """Nothing: the wire needs no package of OpenAI's."""

    async def aclose(self) -> None:
        """Nothing is kept between talks."""

    async def open(self, setup: TalkSetup) -> LiveTalk:
        return await open_live(WHO, self._dial, self._wire(), setup, LIVES_S)

    async def probe(self) -> None:
        await probe_live(self._dial, self._wire(), WHO)

    def _wire(self) -> OpenAiWire:
        options = self._options
        return OpenAiWire(options.voice, options.transcription_model, options.reasoning_effort)

    async def _dial(self) -> Line:
        base = self._options.base_url.rstrip("/")
        base = "ws" + base.removeprefix("http") if base.startswith("http") else base
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url = f"{base}/realtime?model={quote(self._options.model)}"
        return await dial_with_key(WHO, "OPENAI_API_KEY", url, headers)
