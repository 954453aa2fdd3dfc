"""What the floor asks to be done: one frozen value per action, imperative. No behaviour.

Inputs to the floor are method calls, not objects: fifty a second arrive per session.

Numbers: `turn` counts user turns from 1 (0 is the greeting); `utterance` counts stretches of user speech;
`reply` counts everything the agent started to say, also what was thrown away. Times are seconds of the
session's clock, `*_ms` are milliseconds of input audio.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartUtterance:
    """Open a transcriber and feed it the audio since `from_frame`."""

    utterance: int
    from_frame: int
    turn: int


@dataclass(frozen=True, slots=True)
class SettleUtterance:
    """The user paused: ask for a transcript that covers everything so far."""

    utterance: int
    silence_ms: int


@dataclass(frozen=True, slots=True)
class FinishUtterance:
    """The utterance is over: feed no more, ask for the final transcript."""

    utterance: int
    silence_ms: int


@dataclass(frozen=True, slots=True)
class CloseUtterance:
    """Nothing more is wanted from this utterance's transcriber."""

    utterance: int
    kept: bool
    """True when its text became part of a turn, False when it was noise or a backchannel."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """VAD edge. `at_ms` is the onset, in ms of input audio."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """VAD edge. `at_ms` is the end of the last speech frame, in ms of input audio."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class CommitTurn:
    """The user's turn is over and its text is settled: it enters the history."""

    turn: int
    text: str
    reason: str
    """What ended it, in words, with the number that decided."""
    speech_ended_at: float
    """When the last speech sample (or the typed message) came in."""
    ended_at: float
    """When it was decided that the turn is over."""
    settled_at: float
    """When the text was there; may lie before `ended_at`."""
    start_ms: int
    end_ms: int
    typed: bool = False


@dataclass(frozen=True, slots=True)
class StartReply:
    """Start answering `text`. A held reply may only fill its buffer until it is released."""

    reply: int
    turn: int
    text: str
    held: bool


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """The guess was right: the held reply is the turn's reply."""

    reply: int
    turn: int


@dataclass(frozen=True, slots=True)
class DiscardReply:
    """The guess was wrong: forget the held reply; nobody has heard or seen anything of it."""

    reply: int
    reason: str


@dataclass(frozen=True, slots=True)
class Duck:
    """The user may be barging in: pause play-out."""

    reply: int


@dataclass(frozen=True, slots=True)
class Unduck:
    """It was nothing: go on where play-out paused."""

    reply: int
    reason: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop the reply for good. What was heard is settled here, once."""

    reply: int
    turn: int
    heard_samples: int
    estimated: bool
    reason: str


@dataclass(frozen=True, slots=True)
class EndReply:
    """The reply has been played out (as far as is known): its turn is over."""

    reply: int
    turn: int


@dataclass(frozen=True, slots=True)
class Apologize:
    """A stage failed for good and the user would be left in silence: say so, aloud if possible."""

    turn: int
    stage: str


@dataclass(frozen=True, slots=True)
class Expire:
    """The watchdog: a reply owed a sign of life and gave none."""

    reply: int
    turn: int


Action = (
    StartUtterance
    | SettleUtterance
    | FinishUtterance
    | CloseUtterance
    | SpeechStarted
    | SpeechStopped
    | CommitTurn
    | StartReply
    | ReleaseReply
    | DiscardReply
    | Duck
    | Unduck
    | Interrupt
    | EndReply
    | Apologize
    | Expire
)
Actions = tuple[Action, ...]
NOTHING: Actions = ()
