"""The user's turn in the making: what its utterances said, whether that sounds finished, what was guessed."""

from dataclasses import dataclass, field

from pipeline.core.endpoint import PAUSE_MS, Timing

MAX_GUESSES = 5
"""Speculations per turn; each costs a request."""
GUESS_STEP_MS = 50
"""Each speculation waits that much longer than the one before: who pauses often is thinking."""
UNFINISHED = 0.4
"""A verdict below this holds the turn open: the surer, the longer, to `max_silence_ms` at 0."""
FINISHED = 0.9
"""A verdict from this on ends it at `min_silence_ms`."""
BACKCHANNELS = frozenset(
    {"mhm", "mm", "hm", "hmm", "huh", "uh", "um", "ah", "oh", "aha", "yeah", "yep", "yes", "okay", "ok"}
    | {"right", "sure", "really", "wow", "si", "sí", "ajá", "vale", "claro", "ya", "genau", "ja", "stimmt"}
    | {"oui", "d'accord"}
)
"""Words that say "I am listening", not "let me speak": no evidence of a barge-in."""


@dataclass(slots=True)
class Heard:
    """What is known of one utterance."""

    text: str = ""
    ready: bool = False
    """Settled or final, with no speech since."""
    ready_at: float = 0.0
    failed: bool = False
    """By every recognizer there is: what was understood so far has to do."""
    complete: float = 0.5
    why: str = ""

    def settle(self, now: float) -> None:
        self.ready, self.ready_at = True, now

    def fail(self, now: float) -> None:
        self.settle(now)
        self.failed = True


@dataclass(slots=True)
class Draft:
    """One utterance, or several joined. Empty between turns."""

    utterances: dict[int, Heard] = field(default_factory=dict)
    start_frame: int = 0
    ended_at: float = 0.0
    reason: str = ""
    guesses: int = 0

    def __bool__(self) -> bool:
        return bool(self.utterances)

    @property
    def text(self) -> str:
        return " ".join(h.text for h in self.utterances.values() if h.text)

    @property
    def ready(self) -> bool:
        return all(h.ready for h in self.utterances.values())

    @property
    def failed(self) -> bool:
        return any(h.failed for h in self.utterances.values())

    @property
    def settled_at(self) -> float:
        return max(h.ready_at for h in self.utterances.values())

    @property
    def words(self) -> int:
        """Words that are more than a backchannel."""
        return sum(w not in BACKCHANNELS for w in self.text.lower().split())

    def fail(self, now: float) -> None:
        """What is still owed will not come."""
        for heard in self.utterances.values():
            if not heard.ready:
                heard.fail(now)

    def limit(self, timing: Timing) -> tuple[int, str]:
        """The silence in ms that ends the turn, and why if it is not `stop_ms`."""
        last = next(reversed(self.utterances.values()), None)
        if last is None or not last.ready or not last.text:
            return timing.stop_ms, ""
        if last.complete < UNFINISHED:
            longest = max(timing.stop_ms, timing.max_silence_ms)
            doubt = min(1.0, (UNFINISHED - last.complete) / UNFINISHED)
            held = timing.stop_ms + round((longest - timing.stop_ms) * doubt)
            return held, f": held open, {last.why}"
        if last.complete >= FINISHED:
            return min(timing.stop_ms, timing.min_silence_ms), f": {last.why}"
        return timing.stop_ms, ""

    def may_guess(self, silence_ms: float) -> bool:
        """Whether it is time to think ahead (again)."""
        return self.guesses < MAX_GUESSES and silence_ms >= PAUSE_MS + GUESS_STEP_MS * self.guesses
