"""What a plug-in must be: one protocol per stage, and the few values that cross them.

This file owns the shapes; it knows no engine, no session and no socket. A plug-in is one file with

* `Options`, a frozen dataclass: the keys of its `[stt.NAME]` (`[llm.NAME]`, …) section and their defaults;
* `create(options, env)`, called once per process. It returns the stage's engine, or raises `Unavailable`
  with one sentence that says what to do. It must be quick: heavy imports, model loading and child
  processes belong to `warm()`.

Audio is s16le mono everywhere: 16 kHz towards detectors and transcribers, `Synthesizer.rate_hz` from
synthesizers. Every engine lives on one event loop and blocks it never longer than 2 ms.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

from pipeline.core.messages import Message as Message
from pipeline.core.messages import ToolCall as ToolCall

INPUT_RATE_HZ = 16_000
FRAME_MS = 20
FRAME_SAMPLES = INPUT_RATE_HZ * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * 2


# -- errors ---------------------------------------------------------------------------------------------


class Failure(StrEnum):
    """Why a provider failed, as far as it decides what to do next."""

    AUTH = "auth"  # a wrong or missing key: never retried
    QUOTA = "quota"  # rate limit or spent budget: retried after `retry_after_s`
    BAD_REQUEST = "bad_request"  # our input: never retried as it is
    TRANSIENT = "transient"  # network, 5xx, a dead child: worth another try
    TIMEOUT = "timeout"  # a deadline passed without the first or the next piece
    EMPTY = "empty"  # it said it succeeded and gave nothing


class ParleyError(Exception):
    """Root of the errors that are somebody's circumstances, not our bugs."""


class Unavailable(ParleyError):
    """This plug-in cannot run here: a package, a key or a model is missing. The text says what to do."""


class MissingKey(ParleyError):
    """An API key is missing. Unlike `Unavailable` it stops the start, whoever else could do the work: who
    names a vendor means it. The text says what to do."""


class ProviderError(ParleyError):
    """A provider failed in a session. The chain decides who takes over.

    `str(error)` is one sentence for the operator's log; `user_message` one for whoever is talking.
    """

    stage = "provider"
    default_user_message = "Something went wrong on my side."

    def __init__(
        self,
        message: str,
        kind: Failure = Failure.TRANSIENT,
        *,
        user_message: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.user_message = user_message or self.default_user_message
        self.retry_after_s = retry_after_s


class SttError(ProviderError):
    """A transcriber failed."""

    stage = "stt"
    default_user_message = "I could not hear that properly. Could you say it again?"


class LlmError(ProviderError):
    """A responder failed."""

    stage = "llm"
    default_user_message = "I could not think of an answer just now. Could you try again?"


class TtsError(ProviderError):
    """A synthesizer failed."""

    stage = "tts"
    default_user_message = "I have lost my voice for a moment; here is my answer in writing."


class TalkError(ProviderError):
    """A speech-to-speech model failed. The three stages take over; nobody need be told."""

    stage = "talk"


# -- set-up ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Env:
    """What a plug-in may know of its surroundings when it is created."""

    keys: Mapping[str, str] = field(default_factory=dict)
    """Environment variables (with `.env` laid under them): where API keys come from."""
    language: str = "en"
    """BCP 47 tag of the installation's default language."""


class Engine(Protocol):
    """What every stage's engine has in common."""

    async def warm(self) -> None:
        """Do the slow part of starting (import, load, connect, spawn) before the first turn needs it.

        Called once, before any other method. Raises `Unavailable` when it turns out that it cannot run.
        """

    async def aclose(self) -> None:
        """Give back every process, socket, thread and file. Called once; nothing is called after it."""


@runtime_checkable
class Probing(Protocol):
    """An engine that can be asked whether its provider would answer. Optional."""

    async def probe(self) -> None:
        """Ask the provider for something that costs nothing, needs the key and knows the model. Raises
        `ProviderError` (AUTH: the key; BAD_REQUEST: the model; …), its text naming the key to change.

        `parley check` calls it, and the chain, to find out whether who failed is well again.
        """


@runtime_checkable
class Preparing(Protocol):
    """An engine whose connections can be opened ahead of need. Optional."""

    def prepare(self) -> None:
        """A turn will probably need you within a second or so: have a connection open.

        Called when a client connects and when the user begins to speak. Never blocks, never raises; a
        connection that cannot be opened shows when it is needed.
        """


# -- VAD ------------------------------------------------------------------------------------------------


class Detector(Protocol):
    """Says of each frame whether someone is speaking. One per session; keeps its own state."""

    def is_speech(self, frame: bytes) -> bool:
        """Judge one frame of exactly `FRAME_BYTES` bytes (20 ms at 16 kHz). Called 50 times a second."""


class DetectorEngine(Engine, Protocol):
    """Opens one `Detector` per session."""

    def open(self) -> Detector: ...


# -- speech-to-text -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """When a word was said. Times in ms of the audio fed (STT) or of the speech made (TTS)."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What has been understood of one utterance so far: always the whole utterance, never a delta."""

    text: str
    final: bool = False
    """Nothing will change any more; the last one of its utterance."""
    settled: bool = False
    """Covers all audio fed before the last `settle()`: good enough to think ahead with."""
    complete: float | None = None
    """The recognizer's own probability that the speaker is done, if it has an opinion."""
    words: tuple[Word, ...] = ()
    language: str | None = None
    plugin: str = ""
    """Which plug-in of the chain said it."""


class Transcriber(Protocol):
    """Turns one utterance into text while it is being spoken.

    One that sends sound more than once may have `billed_ms`, what its provider charges for; else that is what
    it was fed.
    """

    def feed(self, pcm: bytes) -> None:
        """Take s16le mono 16 kHz audio of any length. Never blocks, never raises for a provider's fault."""

    def settle(self, silence_ms: int) -> None:
        """The speaker paused `silence_ms` ago (that much silence has been fed already).

        Answer with a transcript marked `settled` as soon as it covers everything fed so far; more audio
        may follow, and then more partials.
        """

    def finish(self, silence_ms: int) -> None:
        """No more audio is coming; the speech ended `silence_ms` ago. Settle the final transcript now."""

    def transcripts(self) -> AsyncIterator[Transcript]:
        """Yield partials, then exactly one final (its text may be empty), then stop.

        Raises `SttError`. Read by one reader, from before the first `feed`.
        """

    async def aclose(self) -> None:
        """Forget the utterance. May come at any time, also before `finish`; then no final is owed."""


class TranscriberEngine(Engine, Protocol):
    """Opens one `Transcriber` per utterance, over whatever it keeps warm between utterances."""

    def open(self, language: str = "", hints: Sequence[str] = ()) -> Transcriber:
        """Start an utterance. `language` is a BCP 47 tag ("" = the engine's default); `hints` are words
        or phrases likely to be said. Never blocks.

        An engine that needs another connection for other hints says `hints_reconnect = True`: it is not told
        the words of each question, which would make every answer wait."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the user was asked, as far as that tells what will be said."""

    kind: str = ""
    """One of `pipeline.questions.Kind`; "" = anything."""
    phrases: tuple[str, ...] = ()
    """What people say who want something of the tools there are, as their plug-ins give it (`phrases`)."""


@runtime_checkable
class Listening(Protocol):
    """A transcriber engine that hears better when it knows what was asked. Optional."""

    def expect(self, phrases: Sequence[str]) -> None:
        """A client came; that is what its tools are asked for with. Never blocks."""

    def listen(self, expected: Expected, language: str = "", hints: Sequence[str] = ()) -> Transcriber:
        """Like `open`, for an utterance that probably answers a question. What is said otherwise must still
        be understood."""


# -- turn detection -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """A turn detector's opinion about a pause."""

    complete: float
    """Probability that the speaker is done: 0 = surely unfinished, 1 = surely finished, 0.5 = no opinion."""
    reason: str
    """A few words for "why did it do that?", such as "ends in 'and'"."""


class TurnDetector(Protocol):
    """Judges, from what was said, whether a pause is the end of a turn. Pure and quick (< 0.2 ms)."""

    def judge(self, text: str, language: str) -> Verdict: ...


class TurnEngine(Engine, Protocol):
    """Opens one `TurnDetector` per session."""

    def open(self) -> TurnDetector: ...


# -- language model -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    timezone: str = ""
    """Where its days and times are, such as "Europe/Madrid"; "" = where the server is."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request consumed, as the provider counted it. The last thing a stream may yield."""

    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    audio_ms: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    """Of a speech-to-speech model, beside the text tokens."""
    cached_tokens: int = 0
    cached_audio_tokens: int = 0
    """Input that it knew already, where that is charged less: not among the others."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a responder is told for one reply."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    language: str = "en"
    session_id: str = ""


class Responder(Engine, Protocol):
    """Answers a prompt as a stream of text."""

    def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        """Yield pieces of text (with their own spaces: joined, they are the answer), tool calls, and at
        most one `Usage` at the end. Raises `LlmError`. Cancelling the consumer ends the request."""


# -- text-to-speech -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A voice someone can choose."""

    id: str
    name: str
    language: str
    gender: str = ""


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """One segment of a reply to be spoken."""

    text: str
    voice: str = ""
    """A `VoiceInfo.id`; "" = the engine's default for the language. An unknown one is not an error: the
    engine speaks with its default."""
    language: str = "en"
    speed: float = 1.0
    """1.0 = as the voice is; 0.5 to 2.0."""
    pitch: float = 1.0
    reply_id: str = ""
    """Segments with one `reply_id` belong to one reply, in order of `index`: for prosody across them."""
    index: int = 0


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """Where a word of the request's text sits in the speech made of it.

    `start` and `end` are character offsets into `SpeechRequest.text`; times in ms from the segment's start.
    """

    start: int
    end: int
    start_ms: int
    end_ms: int


class Synthesizer(Engine, Protocol):
    """Speaks a segment of text."""

    rate_hz: int

    def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        """Yield s16le mono audio at `rate_hz` in whole samples, as soon as it is there, any length.

        Word times may be mixed in, in any order relative to their audio; at most one `Usage` at the end.
        Raises `TtsError`. Text without anything speakable yields nothing and is no error. Cancelling the
        consumer aborts the synthesis at once.
        """

    def voices(self) -> Sequence[VoiceInfo]:
        """The voices that can be chosen; may be empty before `warm()`."""


# -- speech to speech -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TalkSetup:
    """What a talk begins with."""

    instructions: str = ""
    history: tuple[Message, ...] = ()
    """What was said before, without the instructions: the model is to remember it."""
    tools: tuple[ToolSpec, ...] = ()
    language: str = "en"
    voice: str = ""
    """"" or one that the model does not have = the engine's default."""
    spoken: bool = True
    """False: answers in writing are enough."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What the model's own ear made of an utterance: all of it so far. May come after the answer."""

    utterance: int
    text: str
    final: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """The next piece of a reply's text."""

    reply: int
    text: str


@dataclass(frozen=True, slots=True)
class Sounded:
    """The next piece of a reply's sound: s16le mono at the engine's `rate_hz`, whole samples."""

    reply: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """The reply wants tools to be run, and waits for `Talk.answer`."""

    reply: int
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Used:
    """What a request of the reply consumed. May come after `Ended`, also for a reply that was cut."""

    reply: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes of the reply. `error` when it is not all that the model meant to say."""

    reply: int
    error: TalkError | None = None


TalkEvent = Understood | Said | Sounded | Asked | Used | Ended


class Talk(Protocol):
    """One conversation with a speech-to-speech model, which keeps its memory. It decides nothing about turns:
    who speaks when is told by its caller, who also gives the numbers of utterances and replies.

    No method but `events` and `aclose` waits or raises; what goes wrong comes out of `events`.
    """

    def begin(self, utterance: int) -> None:
        """The user speaks. One utterance at a time."""

    def feed(self, pcm: bytes) -> None:
        """Audio of the utterance, s16le mono 16 kHz, any length."""

    def finish(self, utterance: int, reply: int) -> None:
        """The utterance is over: answer it, as `reply`, at once."""

    def drop(self, utterance: int) -> None:
        """The utterance was nothing, finished or not: forget it."""

    def say(self, text: str, reply: int) -> None:
        """The user typed this: answer it, as `reply`."""

    def answer(self, reply: int, results: Sequence[tuple[ToolCall, str]], *, go_on: bool) -> None:
        """What the tools that the reply asked for said (JSON). Without `go_on` the reply is not wanted any
        more, and the results are for the memory only."""

    def cut(self, reply: int, heard_ms: float, heard_text: str) -> None:
        """The reply is not wanted any more. The memory is to keep only what was heard of it."""

    def remember(self, text: str) -> None:
        """The agent said this by other means."""

    def instruct(self, instructions: str) -> bool:
        """New instructions from now on. False when the model cannot change them in the middle of a talk."""

    def events(self) -> AsyncIterator[TalkEvent]:
        """What the model understands, says and wants. For one reader. Raises `TalkError` when the talk is
        over, for whatever reason."""

    @property
    def is_old(self) -> bool:
        """It will end soon by the provider's rules: go on with another one when nobody is speaking."""

    async def aclose(self) -> None:
        """Hang up."""


class TalkEngine(Engine, Protocol):
    """Opens one `Talk` per session."""

    rate_hz: int
    model: str
    ear_model: str
    """Which model writes down what the user says, when that is charged by itself; "" = the same."""
    tells_final: bool
    """It says of an utterance's text when that is final; else a text grows until the next utterance."""
    input_tokens_per_s: int
    output_tokens_per_s: int
    """Of sound, as the provider publishes it: for the bill of a request that was not counted."""

    async def open(self, setup: TalkSetup) -> Talk:
        """Raises `TalkError`."""


# -- avatar ---------------------------------------------------------------------------------------------


class AvatarError(ProviderError):
    """An avatar from elsewhere failed. The page draws and speaks by itself; nobody need be told."""

    stage = "avatar"


@dataclass(frozen=True, slots=True)
class AvatarSetup:
    """The talk that an avatar is for."""

    language: str = "en"


@dataclass(frozen=True, slots=True)
class AvatarView:
    """What a client needs to show an avatar. It is sent to whoever talks: never a key, only what lets them
    watch this one."""

    kind: Literal["drawn", "embed", "livekit"]
    """"drawn": by the page itself, nothing more is needed; "embed": a page for a frame; "livekit": a room."""
    url: str = ""
    room: str = ""
    token: str = ""


class Avatar(Protocol):
    """One talk's avatar elsewhere. It gets the agent's sound as a client gets it: faster than it is played,
    in order, from `begin` to `finish` or `interrupt`. No method but `gone` and `aclose` waits or raises."""

    view: AvatarView

    def begin(self, reply_id: str, rate_hz: int, offset_ms: int) -> None:
        """A reply's sound follows, from `offset_ms` of it on (not 0: a part is repeated after a lost
        connection)."""

    def feed(self, pcm: bytes) -> None:
        """s16le mono at the rate of `begin`, at most 100 ms."""

    def mark(self, text: str, start_ms: int) -> None:
        """These words of the reply sound from `start_ms` of its sound on. Only if the client wants marks."""

    def finish(self) -> None:
        """All of the reply's sound was fed."""

    def duck(self, paused: bool) -> None:
        """Somebody may be barging in: pause, or go on. Who cannot pause plays on."""

    def interrupt(self) -> None:
        """Stop speaking now, drop what is left of the reply."""

    async def gone(self) -> None:
        """Until it cannot be seen or heard any more. Raises `AvatarError`."""

    async def aclose(self) -> None:
        """The talk is over."""


class AvatarEngine(Engine, Protocol):
    """Opens one `Avatar` per talk, unless the page draws it."""

    drawn: bool
    """By the page itself: nothing is opened, and no sound is fed."""
    frames: Sequence[str]
    """The origins of the pages that may be shown in a frame, such as "https://avatar.example.org"."""

    async def open(self, setup: AvatarSetup) -> Avatar:
        """Returns once it can be seen and will speak. Raises `AvatarError`."""


# -- tools ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Caller:
    """Who is talking, as far as the tools know. One per session; a tool may change it."""

    phone: str = ""
    """Digits only; "" = not known yet."""
    name: str = ""
    user_id: str | None = None
    """The account, when somebody is logged in. Never changed by a tool."""


def _no_progress(message: str, aloud: bool = False) -> None:
    """Nobody listens."""


def _no_hand_over(told: Mapping[str, Any]) -> None:  # noqa: ARG001
    raise RuntimeError("nobody can be handed over to here")


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a running tool may use."""

    session_id: str
    now: Callable[[], datetime]
    """The current local time, aware."""
    language: str = "en"
    key: str = ""
    """Of this very call, unique in the session and the same when the call is made again after a crash: with
    the session's id, what keeps an effect from happening twice."""
    caller: Caller = field(default_factory=Caller)
    storage: Any = None
    """The server's repositories (`server.app` says which): None where there is no database."""
    progress: Callable[..., None] = _no_progress
    """`progress(message, aloud=False)`: how far it is. Shown to the client, said if `aloud`; the reply is not
    given up meanwhile."""
    hand_over: Callable[[Mapping[str, Any]], None] = _no_hand_over
    """`hand_over(told)`: from the next reply on somebody else talks; `told` as `Setup.take` has it."""


@runtime_checkable
class Tool(Protocol):
    """Something the agent can do. Beside these it may have the marks of `Manners`."""

    spec: ToolSpec

    def run(self, arguments: Mapping[str, Any], context: ToolContext) -> Awaitable[Mapping[str, Any]]:
        """Do it and answer JSON. A refusal is `{"ok": false, "message": "a sentence the agent can say"}`;
        an exception means that the tool failed."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a tool behaves in a conversation: its attribute `manners`, if it has one."""

    timeout_s: float | None = None
    """None = `[tools] timeout_ms`."""
    speaks_while_running: Mapping[str, str] = field(default_factory=dict)
    """By language ("en", "es"): what is said when it takes longer than a moment."""
    confirm: bool = False
    """Run only after the caller has agreed to exactly these arguments."""
    terminal: bool = False
    """When it has succeeded, the talk ends with this reply, unless the caller speaks up."""
    idempotent: bool = False
    """Honours `ToolContext.key`: may be run again when a crash left open whether it was done."""
    phrases: tuple[str, ...] = ()
    """What people say who want it, for recognizers that can use that: see `Expected`."""


# -- archive --------------------------------------------------------------------------------------------


class Recorder(Protocol):
    """Keeps one session: its journal, its sound, and the files and rows projected from them.

    Methods never raise; those that are not awaited only append to memory. A background thread writes at least
    once a second and after `sync`. Positions are sample indexes on the session's one 16 kHz
    time line (sample 0 = the first audio of the session, either side).
    """

    def record(self, kind: str, at_ms: int, data: Mapping[str, Any]) -> None:
        """Append one journal entry. `at_ms` is session time. Kinds: see `storage.journal`."""

    def user_audio(self, position: int, pcm: bytes) -> None:
        """Spool 16 kHz microphone audio that starts at `position`. Gaps between calls are silence."""

    def agent_audio(self, reply_id: str, rate_hz: int, offset: int, pcm: bytes, position: int) -> None:
        """Spool reply audio as it is sent: it is the reply's samples from `offset` (at `rate_hz`);
        `position` is where on the time line it will start to play as far as is known now. A later
        "placed" entry in the journal settles what was heard and where."""

    def sync(self) -> None:
        """A turn is done: bring journal, JSON and rows up to date on disk soon."""

    async def flush(self) -> None:
        """Do that now, and wait until journal, JSON and rows are there (where a disk hangs, only a while)."""

    async def close(self) -> None:
        """The session has ended (its journal has an "end" entry): write everything that is to be kept."""

    async def suspend(self) -> None:
        """The server goes down in mid-session: write everything as `close` does, but keep what is needed
        to go on (no "end" entry is there; the next start finds the session and may resume it)."""


class Archive(Protocol):
    """Opens a `Recorder` per session."""

    def open(self, session_id: str, header: Mapping[str, Any], on_trouble: Callable[[str], None]) -> Recorder:
        """Start (or, for a session known from before a crash, go on with) a session's journal.

        `on_trouble(sentence)` is called on the event loop, once, when recording had to stop (a full disk);
        the session itself goes on."""
