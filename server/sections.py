"""Every key of the configuration: its type, default and range. Only shapes: `server.config` fills them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from server.environment import ConfigError

SYSTEM_PROMPT = (
    "You are a friendly assistant on a voice call. Answer in one to three short sentences of plain speech: "
    "no lists, no markup, no emoji. Write numbers and dates the way they are said. Ask one question at a "
    "time, and when you did not understand something, say so."
)

Options = Mapping[str, Mapping[str, Any]]
"""Settings of plug-ins by plug-in name: the sections `[stt.NAME]` and so on, checked."""


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the most that a number may be."""

    least: float
    most: float = float("inf")

    def check(self, where: str, value: Any) -> None:
        if value is None or self.least <= value <= self.most:
            return
        span = f"{self.least} or more" if self.most == float("inf") else f"from {self.least} to {self.most}"
        raise ConfigError(f"{where} = {value!r} must be {span}")


Millis = Annotated[int, Range(0, 600_000)]
Timeout = Annotated[int, Range(1, 600_000)]


# -- sections -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server listens and whom it lets in."""

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8000
    public_url: str = ""
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_sessions: Annotated[int, Range(1)] = 200
    idle_timeout_s: Annotated[float, Range(1)] = 300


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How a session talks unless the client or the agent says otherwise."""

    engine: str = "stages"
    mode: Literal["open-mic", "hold-to-talk"] = "open-mic"
    greeting: str = "Hello! How can I help?"
    system_prompt: str = SYSTEM_PROMPT
    language: str = "en"
    voice: str = ""
    resume_window_s: Annotated[float, Range(0, 86_400)] = 60
    lead_ms: Annotated[int, Range(100, 600_000)] = 6000


@dataclass(frozen=True, slots=True)
class Vad:
    """When sound counts as speech."""

    plugin: str = "webrtc"
    mode: Annotated[int, Range(0, 3)] = 2
    start_ms: Annotated[int, Range(20, 2000)] = 120
    stop_ms: Annotated[int, Range(20, 60_000)] = 500
    prefix_ms: Annotated[int, Range(0, 5000)] = 300
    options: Options = field(default_factory=dict)

    def options_of(self, name: str) -> Mapping[str, Any]:
        """The settings of one plug-in; `mode` is webrtc's own."""
        own = self.options.get(name, {})
        return {"mode": self.mode, **own} if name == "webrtc" else own


@dataclass(frozen=True, slots=True)
class Turn:
    """What may end a turn sooner than `vad.stop_ms` or hold it open, and what counts as barge-in."""

    plugin: str = "words"
    min_silence_ms: Annotated[int, Range(20, 60_000)] = 300
    max_silence_ms: Annotated[int, Range(20, 60_000)] = 1500
    speculate: bool = True
    questions: bool = True
    barge_in_ms: Millis = 300
    barge_in_words: Annotated[int, Range(1, 100)] = 2
    options: Options = field(default_factory=dict)

    def options_of(self, name: str) -> Mapping[str, Any]:
        """The settings of one plug-in."""
        return self.options.get(name, {})


@dataclass(frozen=True, slots=True)
class Stage:
    """An ordered chain of plug-ins: the first that can run is used, the next ones take over."""

    plugin: tuple[str, ...]
    timeout_ms: Timeout
    options: Options = field(default_factory=dict)

    def options_of(self, name: str) -> Mapping[str, Any]:
        """The settings of one plug-in."""
        return self.options.get(name, {})


@dataclass(frozen=True, slots=True)
class StreamingStage(Stage):
    """A stage whose answer comes in pieces: `timeout_ms` for the first, `stall_ms` between the others."""

    stall_ms: Timeout = 5000


@dataclass(frozen=True, slots=True)
class Talk:
    """One model for speech to speech, when `pipeline.engine` names one: how long it is waited for."""

    timeout_ms: Timeout = 5000
    stall_ms: Timeout = 5000
    options: Options = field(default_factory=dict)

    def options_of(self, name: str) -> Mapping[str, Any]:
        """The settings of one plug-in."""
        return self.options.get(name, {})


@dataclass(frozen=True, slots=True)
class Avatar:
    """How the agent looks, unless it or the user says otherwise."""

    plugin: str = "orb"
    timeout_ms: Timeout = 15_000
    options: Options = field(default_factory=dict)

    def options_of(self, name: str) -> Mapping[str, Any]:
        """The settings of one plug-in."""
        return self.options.get(name, {})


@dataclass(frozen=True, slots=True)
class Tools:
    """What the agent can do besides talking."""

    enabled: tuple[str, ...] = ("appointments", "clock")
    timeout_ms: Timeout = 10_000
    folder: str = "tools"
    options: Options = field(default_factory=dict)

    def options_of(self, name: str) -> Mapping[str, Any]:
        """The settings of one tool."""
        return self.options.get(name, {})

    @property
    def servers(self) -> Mapping[str, Mapping[str, Any]]:
        """The MCP servers whose tools are used too, by name, each with its settings. Unless they say
        otherwise, their tools are called after them."""
        servers = self.options.get("mcp", {})
        return {name: {"prefix": f"{name}_", **values} for name, values in servers.items()}


@dataclass(frozen=True, slots=True)
class Storage:
    """Where talks are kept, and how long."""

    url: str = "sqlite+aiosqlite:///parley.db"
    conversations_dir: str = "conversations"
    audio_dir: str = "audio_files"
    retention_days: Annotated[int, Range(0)] = 0


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who may talk."""

    guests: bool = True
    guest_retention_h: Annotated[float, Range(0)] = 24
    session_days: Annotated[float, Range(0.001)] = 14
    registration: bool = True
    admins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """How mails leave; the password is SMTP_PASSWORD in the environment."""

    smtp_url: str = ""
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Receiver:
    """One of those who are told, `[webhooks.NAME]`; what it leaves out is as `[webhooks]` says."""

    url: str = ""
    events: tuple[str, ...] | None = None
    secret_variable: str = ""
    timeout_ms: Timeout = 0
    tries: Annotated[int, Range(1, 100)] = 0


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Other servers that are told what happens, signed with a secret from the environment."""

    urls: tuple[str, ...] = ()
    events: tuple[str, ...] = ("session.ended", "tool.ran")
    secret_variable: str = "WEBHOOK_SECRET"
    timeout_ms: Timeout = 10_000
    tries: Annotated[int, Range(1, 100)] = 10
    receivers: Mapping[str, Receiver] = field(default_factory=dict)
    """By the names of their sections."""


@dataclass(frozen=True, slots=True)
class Oidc:
    """Logging in elsewhere, by OpenID Connect; our secret there is OIDC_CLIENT_SECRET in the environment."""

    issuer: str = ""
    client_id: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    button: str = "OpenID Connect"


@dataclass(frozen=True, slots=True)
class Journal:
    """Whether a session's journal stays after its end, for replay."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Price of a model per million tokens; all but the first two are a speech-to-speech model's."""

    input: Annotated[float, Range(0)] = 0.0
    output: Annotated[float, Range(0)] = 0.0
    audio_input: Annotated[float, Range(0)] = 0.0
    audio_output: Annotated[float, Range(0)] = 0.0
    cached_input: Annotated[float, Range(0)] = 0.0
    cached_audio_input: Annotated[float, Range(0)] = 0.0


@dataclass(frozen=True, slots=True)
class Prices:
    """What providers charge, by "plug-in/model" or "plug-in", over the shipped prices (`server/prices.toml`);
    what neither lists costs nothing."""

    stt: Mapping[str, float] = field(default_factory=dict)
    """Per minute of audio."""
    llm: Mapping[str, TokenPrice] = field(default_factory=dict)
    tts: Mapping[str, float] = field(default_factory=dict)
    """Per character."""
    talk: Mapping[str, TokenPrice] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budget:
    """What talks may cost, in the currency of the prices; 0 = as much as they will."""

    session: Annotated[float, Range(0)] = 0.0
    day: Annotated[float, Range(0)] = 0.0
    when_spent: Literal["downgrade", "end"] = "downgrade"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything an installation chose. Made by `load` (or, in tests, by hand: every part has defaults)."""

    server: Server = field(default_factory=Server)
    pipeline: Pipeline = field(default_factory=Pipeline)
    vad: Vad = field(default_factory=Vad)
    turn: Turn = field(default_factory=Turn)
    stt: Stage = Stage(("faster-whisper", "pocketsphinx"), 3000)
    llm: StreamingStage = StreamingStage(("rules",), 8000, stall_ms=5000)
    tts: StreamingStage = StreamingStage(("espeak",), 4000, stall_ms=3000)
    talk: Talk = field(default_factory=Talk)
    avatar: Avatar = field(default_factory=Avatar)
    tools: Tools = field(default_factory=Tools)
    storage: Storage = field(default_factory=Storage)
    accounts: Accounts = field(default_factory=Accounts)
    mail: Mail = field(default_factory=Mail)
    webhooks: Webhooks = field(default_factory=Webhooks)
    oidc: Oidc = field(default_factory=Oidc)
    journal: Journal = field(default_factory=Journal)
    budget: Budget = field(default_factory=Budget)
    prices: Prices = field(default_factory=Prices)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # holds secrets: never printed
    """The environment with `.env` under it: API keys and `PARLEY_SECRET_KEY`."""
    source: str = "the shipped defaults"
    """Which file was read, for messages."""
    cwd: Path = field(default_factory=Path)

    @property
    def talks_by_itself(self) -> bool:
        """One model hears and speaks; the three stages stand behind it."""
        return self.pipeline.engine != "stages"

    @property
    def stages(self) -> Mapping[str, Stage]:
        """The three chains by kind."""
        return {"stt": self.stt, "llm": self.llm, "tts": self.tts}

    def path(self, name: str) -> Path:
        """A configured file or folder, seen from the working folder."""
        return self.cwd / Path(name).expanduser()
