"""What a talk is to be like, and what all talks share: the values a session is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.budget import Budget, Limits
from pipeline.chain import Chain, LlmChain, SttChain, TtsChain
from pipeline.contracts import DetectorEngine, TalkEngine, Tool, TurnEngine
from pipeline.core.endpoint import Timing
from pipeline.duplex import Patience
from pipeline.tariff import Tariff

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

Mode = Literal["open-mic", "hold-to-talk"]


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

    def told(self) -> dict[str, Any]:
        """What a client chose, as the journal's header keeps it and `start` names it."""
        return {key: getattr(self, attribute) for key, attribute in STARTED.items()}

    def take(self, told: Mapping[str, Any]) -> None:
        """Take up what an earlier server's journal says was chosen."""
        for key, attribute in STARTED.items():
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
    talk: Chain[TalkEngine] | None = None
    """One model for speech to speech; the three stages stand behind it."""
    talk_patience: Patience = field(default_factory=Patience)

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
