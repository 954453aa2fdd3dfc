"""The session object of OpenAI's Realtime API (GA): what a client may choose, and what that means here.

https://platform.openai.com/docs/api-reference/realtime-client-events/session/update. An update is merged into
what there is; if the whole is then not valid, nothing of it counts. Fields that are not known are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.contracts import Tool, ToolSpec
from pipeline.core.endpoint import Timing
from pipeline.tool import ClientTool
from server.plans import MOST_PROMPT_CHARS
from server.wire import g711
from server.wire.common import RATES

PCM_HZ = 24_000
TELEPHONE_HZ = 8_000
LAWS: Mapping[str, g711.Law] = {"audio/pcmu": "mu", "audio/pcma": "a"}
NEVER = 1_000_000_000
SPEEDS = 0.5, 2.0
"""What our voices can; OpenAI's go from 0.25 to 1.5."""
EAGERNESS: Mapping[str, Mapping[str, int]] = {
    "low": {"stop_ms": 800, "max_silence_ms": 4000},
    "medium": {},
    "high": {"stop_ms": 300, "min_silence_ms": 200, "max_silence_ms": 1000},
    "auto": {},
}
"""How soon a turn ends; the server's own pauses for "medium"."""
OURS = "default"
"""The name of the voice that the server chooses itself."""


class Refusal(Exception):
    """The client asked for something that cannot be. One sentence for it."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Format(_Part):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None

    @model_validator(mode="after")
    def _rate(self) -> "Format":
        own = PCM_HZ if self.type == "audio/pcm" else TELEPHONE_HZ
        self.rate = self.rate or own
        if self.rate not in RATES or (self.type != "audio/pcm" and self.rate != own):
            raise ValueError(f"{self.type} has {own} samples a second here")
        return self

    @property
    def rate_hz(self) -> int:
        assert self.rate is not None
        return self.rate


class _Detection(_Part):
    create_response: bool = True
    interrupt_response: bool = True


class ServerVad(_Detection):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=2000)
    silence_duration_ms: int = Field(default=500, ge=100, le=10_000)
    idle_timeout_ms: int | None = None


class SemanticVad(_Detection):
    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"


Detection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str | None = None
    language: str | None = Field(default=None, max_length=40)


class Input(_Part):
    format: Format = Format()
    transcription: Transcription | None = None
    noise_reduction: dict[str, Any] | None = None
    turn_detection: Detection | None = ServerVad()


class NamedVoice(_Part):
    id: str = Field(max_length=200)


class Output(_Part):
    format: Format = Format()
    voice: Annotated[str, Field(max_length=200)] | NamedVoice = OURS
    speed: float = Field(default=1.0, ge=0.25, le=4.0)


class Audio(_Part):
    input: Input = Input()
    output: Output = Output()


class Function(_Part):
    type: Literal["function"]
    name: str = Field(min_length=1, max_length=64)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, self.description, self.parameters)


class Choice(_Part):
    type: Literal["function"]
    name: str


Functions = Annotated[list[Function], Field(max_length=128)]
ToolChoice = Literal["auto", "none", "required"] | Choice
Modalities = Annotated[list[Literal["audio", "text"]], Field(min_length=1, max_length=1)]
Tokens = Annotated[int, Field(ge=1)] | Literal["inf"]
Instructions = Annotated[str, Field(max_length=MOST_PROMPT_CHARS)]


class Chosen(_Part):
    """A session, whole."""

    type: Literal["realtime", "transcription"] = "realtime"
    output_modalities: Modalities = ["audio"]
    instructions: Instructions = ""
    audio: Audio = Audio()
    tools: Functions = []
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    max_output_tokens: Tokens = "inf"
    truncation: Any = "auto"
    tracing: Any = None
    prompt: Any = None
    reasoning: Any = None
    include: list[str] | None = None

    @property
    def answers(self) -> bool:
        """The server answers by itself when the user is done."""
        detection = self.audio.input.turn_detection
        return self.type == "realtime" and detection is not None and detection.create_response

    @property
    def is_manual(self) -> bool:
        """The client says when the user is done."""
        return self.audio.input.turn_detection is None

    @property
    def is_spoken(self) -> bool:
        return self.output_modalities == ["audio"]


class WishedOutput(_Part):
    format: Format | None = None
    voice: Annotated[str, Field(max_length=200)] | NamedVoice | None = None


class WishedAudio(_Part):
    output: WishedOutput | None = None


class Wished(_Part):
    """What `response.create` may say; null is as if it were not said."""

    instructions: Instructions | None = None
    output_modalities: Modalities | None = None
    audio: WishedAudio | None = None
    tools: Functions | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: Tokens | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    conversation: str | None = None
    input: list[dict[str, Any]] | None = None

    @property
    def voice(self) -> str:
        output = self.audio.output if self.audio else None
        return voice_of(output.voice) if output and output.voice else ""


def wished(told: object) -> Wished:
    """`response` of a `response.create`. Raises `Refusal`."""
    try:
        return Wished.model_validate(told if told is not None else {})
    except ValidationError as error:
        raise _refusal(error, "response") from None


def voice_of(voice: str | NamedVoice) -> str:
    """Of the synthesizer; "" = it may choose."""
    name = voice if isinstance(voice, str) else voice.id
    return "" if name == OURS else name


def offered(functions: list[Function], choice: ToolChoice) -> tuple[ToolSpec, ...]:
    """What the model may call."""
    if choice == "none":
        return ()
    only = choice.name if isinstance(choice, Choice) else ""
    return tuple(f.spec for f in functions if not only or f.name == only)


@dataclass(slots=True)
class Terms:
    """One session's terms, and how they stand."""

    id: str
    model: str
    expires_at: int
    timing: Timing
    """The server's own, or the agent's."""
    chosen: Chosen = field(default_factory=Chosen)
    said: set[str] = field(default_factory=set)
    """What the client has chosen itself, of what the agent or the user had chosen otherwise."""

    def begin(self, *, transcribes: bool, voice: str, speed: float) -> None:
        """What holds before the client says anything."""
        chosen = self.chosen = Chosen()
        chosen.type = "transcription" if transcribes else "realtime"
        chosen.audio.input.turn_detection = ServerVad(
            prefix_padding_ms=self.timing.prefix_ms, silence_duration_ms=self.timing.stop_ms
        )
        chosen.audio.output.voice, chosen.audio.output.speed = voice or OURS, speed
        if transcribes:
            chosen.audio.input.transcription = Transcription()

    def update(self, patch: object) -> None:
        """Take up a `session.update`, whole or not at all. Raises `Refusal`."""
        if not isinstance(patch, dict):
            raise Refusal("session must be an object.", "missing_required_parameter", "session")
        tools = patch.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and tool.get("type") == "mcp":
                raise Refusal(
                    "MCP servers are named in this server's config.toml, not by clients.",
                    param="session.tools",
                )
        try:
            self.chosen = Chosen.model_validate(_merged(self.chosen.model_dump(), patch))
        except ValidationError as error:
            raise _refusal(error, "session") from None
        self.said |= {key for key in ("instructions", "tools") if patch.get(key) is not None}
        if isinstance(output := _deep(patch, "audio", "output"), dict):
            self.said |= {key for key in ("voice", "speed") if output.get(key) is not None}

    def told(self) -> dict[str, Any]:
        """The session object, as clients are told."""
        whole = self.chosen.model_dump()
        for way in whole["audio"].values():
            if way["format"]["type"] != "audio/pcm":
                del way["format"]["rate"]
        who = {"id": self.id, "expires_at": self.expires_at}
        if self.chosen.type == "transcription":
            hears = {"type": "transcription", "audio": {"input": whole["audio"]["input"]}}
            return {"object": "realtime.transcription_session", **who, **hears, "include": whole["include"]}
        return {"object": "realtime.session", **who, "model": self.model, **whole}

    # -- what it means for a session of ours ---------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        """Fields of `Setup`."""
        chosen = self.chosen
        told: dict[str, Any] = {
            "mode": "hold-to-talk" if chosen.is_manual else "open-mic",
            "response": "both" if chosen.is_spoken else "text",
            "output_rate": chosen.audio.output.format.rate_hz,
            "turn": self._turn(),
        }
        if "instructions" in self.said:
            told["system_prompt"] = chosen.instructions
        if "voice" in self.said:
            told["voice"] = voice_of(chosen.audio.output.voice)
        if "speed" in self.said:
            told["speed"] = min(SPEEDS[1], max(SPEEDS[0], chosen.audio.output.speed))
        ear = chosen.audio.input.transcription
        if ear is not None and ear.language:
            told["language"] = ear.language
        return told

    def tools(self) -> dict[str, Tool] | None:
        """The client's tools; None = the agent's own, which run here."""
        chosen = self.chosen
        if not chosen.tools and chosen.tool_choice != "none":
            return None
        return {spec.name: ClientTool(spec) for spec in offered(chosen.tools, chosen.tool_choice)}

    def _turn(self) -> dict[str, int]:
        timing, detection = self.timing, self.chosen.audio.input.turn_detection
        turn = {name: getattr(timing, name) for name in ("stop_ms", "min_silence_ms", "max_silence_ms")}
        turn |= {"prefix_ms": timing.prefix_ms}
        turn |= {"barge_in_ms": timing.barge_in_ms, "barge_in_words": timing.barge_in_words}
        if isinstance(detection, ServerVad):
            stop = detection.silence_duration_ms
            turn |= {"stop_ms": stop, "prefix_ms": detection.prefix_padding_ms}
            turn["min_silence_ms"] = min(turn["min_silence_ms"], stop)
            turn["max_silence_ms"] = max(turn["max_silence_ms"], stop)
        elif isinstance(detection, SemanticVad):
            turn |= EAGERNESS[detection.eagerness]
        if detection is not None and not detection.interrupt_response:
            turn |= {"barge_in_ms": NEVER, "barge_in_words": NEVER}
        return turn


def _merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Deep; what says its `type` anew begins anew where that is another one."""
    merged = dict(old)
    for key, value in patch.items():
        there = merged.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            is_other = "type" in value and value["type"] != there.get("type")
            merged[key] = dict(value) if is_other else _merged(there, value)
        elif value is not None or key in ("turn_detection", "transcription", "noise_reduction", "tracing"):
            merged[key] = value
        else:
            merged.pop(key, None)  # as it was at first
    return merged


def _deep(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


_KINDS = {"server_vad", "semantic_vad", "Choice", "NamedVoice", "constrained-str", "constrained-int", "int"}
"""What pydantic puts into a place's name for the members of a union."""


def _refusal(error: ValidationError, root: str) -> Refusal:
    problem = error.errors(include_url=False)[0]
    skip = {"server_vad", "semantic_vad", "Choice", "NamedVoice", "constrained-str", "str", "constrained-int"}
    where = [
        str(p) for p in problem["loc"] if p not in skip and not str(p).startswith(("literal[", "function"))
    ]
    param = ".".join([root, *where])
    code = "missing_required_parameter" if problem["type"] == "missing" else "invalid_value"
    return Refusal(f"Invalid value for '{param}': {problem['msg']}.", code, param)
