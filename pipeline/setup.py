"""What a talk is to be like, and what all talks share: the values a session is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.budget import Budget, Limits
from pipeline.chain import Chain, LlmChain, SttChain, TtsChain
from pipeline.contracts import Caller, DetectorEngine, TalkEngine, Tool, TurnEngine
from pipeline.core.endpoint import Timing
from pipeline.duplex import Patience
from pipeline.tariff import Tariff
from pipeline.tool import manners_of

STARTED = {
    "mode": "mode",
    "language": "language",
    "voice": "voice",
    "system_prompt": "system_prompt",
    "response": "response",
    "input_rate": "input_rate_hz",
    "output_rate": "output_rate_hz",
    "base64": "base64",
    "marks": "marks",
}
"""The fields of `start`, and what they set in `Setup`."""

OF_AGENT = {
    name: name
    for name in (
        *("agent_id", "agent_name", "avatar", "greeting", "persona", "context", "channels", "speed", "pitch"),
        *("tools", "turn", "providers"),
    )
}
"""What an agent, a user's preferences or a stored session set beside; no client says these itself."""
KEPT = {**STARTED, **OF_AGENT}
"""All that the journal keeps, so that a session that is taken up again is as it was."""

Mode = Literal["open-mic", "hold-to-talk"]
Channels = Literal["voice", "text", "both"]


@dataclass(slots=True)
class Setup:
    """What this talk is to be like. May change until the client's `start` or first audio."""

    mode: Mode = "open-mic"
    greeting: str = ""
    system_prompt: str = ""
    language: str = "en"
    voice: str = ""
    response: Literal["voice", "text", "both"] = "both"
    input_rate_hz: int = 16_000
    output_rate_hz: int = 24_000
    base64: bool = False
    """Audio travels in JSON both ways."""
    marks: bool = False
    """The client wants `audio.mark`."""
    by_items: bool = False
    """The client keeps the conversation itself, plays as fast as it is sent, and says what was heard: as on
    OpenAI's realtime wire. Nothing is said to it unasked, and it cannot pause."""
    channels: Channels = "both"
    """How they may talk: by "voice" nothing is typed, by "text" nothing sounds, either way."""
    speed: float = 1.0
    pitch: float = 1.0
    agent_id: str | None = None
    agent_name: str = "Parley"
    avatar: str = ""
    """A picture's address; "" = none."""
    persona: str = ""
    """What an agent is told before `system_prompt`. It stays when that one is replaced."""
    context: str = ""
    """What the model is told after `system_prompt`; it stays too."""
    tools: Sequence[str] | None = None
    """The names of the tools that may be used; None = all there are."""
    turn: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `core.endpoint.Timing` that are other than the server's."""
    providers: Mapping[str, str] = field(default_factory=dict)
    """Stage -> the member of its chain to be asked first."""
    caller: Caller = field(default_factory=Caller)
    """Who talks, for the tools: known from the account, or told in the talk."""

    @property
    def prompt(self) -> str:
        """All that the model is told about itself."""
        return "\n\n".join(part for part in (self.persona, self.system_prompt, self.context) if part)

    @property
    def is_spoken(self) -> bool:
        """Replies have a voice."""
        return self.response != "text" and self.channels != "text"

    def told(self) -> dict[str, Any]:
        """What was chosen, as the journal's header keeps it and `start` names it."""
        return {key: getattr(self, attribute) for key, attribute in KEPT.items()}

    def become(self, told: Mapping[str, Any]) -> None:
        """Be another agent: what it says is not, is not (`take` keeps what it had)."""
        for key, attribute in KEPT.items():
            if key in told:
                setattr(self, attribute, told[key])

    def take(self, told: Mapping[str, Any]) -> None:
        """Take up what was chosen: by an agent, by a client, or as an earlier server's journal says."""
        for key, attribute in KEPT.items():
            if told.get(key) is not None:
                setattr(self, attribute, told[key])


@dataclass(frozen=True, slots=True)
class Engines:
    """What all sessions share."""

    vad: DetectorEngine
    stt: SttChain
    llm: LlmChain
    tts: TtsChain
    turn: TurnEngine
    tools: Mapping[str, Tool] = field(default_factory=dict)
    tool_timeout_s: float = 10.0
    tool_storage: Any = None
    """What `ToolContext.storage` gives tools."""
    talk: Chain[TalkEngine] | None = None
    """One model for speech to speech; the three stages stand behind it."""
    talk_patience: Patience = field(default_factory=Patience)

    def suited(self, setup: Setup) -> "Engines":
        """The same, as one session is to have them: its tools, its favourites first in every chain."""
        asked, tools = setup.providers, self.tools
        talk = None if setup.by_items else self.talk  # that model would keep a memory of its own
        if setup.tools is not None:
            tools = {name: tool for name, tool in tools.items() if name in setup.tools}
        return replace(
            self,
            tools=tools,
            talk=talk,
            stt=self.stt.preferring(asked.get("stt", "")),
            llm=self.llm.preferring(asked.get("llm", "")),
            tts=self.tts.preferring(asked.get("tts", "")),
        )

    @property
    def phrases(self) -> tuple[str, ...]:
        """What people say who want something of the tools."""
        return tuple(phrase for tool in self.tools.values() for phrase in manners_of(tool).phrases)

    def prepare(self) -> None:
        """Somebody is there, or has begun to speak: connections are opened before they are needed."""
        self.stt.chain.prepare()
        self.llm.chain.prepare()
        self.tts.chain.prepare()


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all sessions."""

    timing: Timing = field(default_factory=Timing)
    lead_ms: int = 6000
    idle_s: float = 300.0
    resume_s: float = 60.0
    tariff: Tariff = field(default_factory=Tariff)
    budget: Budget = field(default_factory=lambda: Budget(Limits(), can_downgrade=False))
    questions: bool = True
    """What the agent asked for last decides how the answer is listened to and waited for."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What is known of a session from before a crash."""

    conversation: Mapping[str, Any]
    files: int
    position: int
    at_s: float
    """Session time now."""
    gone_s: float
    """How long it has had no client."""
    begun: Sequence[Mapping[str, Any]] = ()
    """Tool calls whose outcome nobody wrote down: their entries in the journal."""
