"""One request to a provider: the unit of the bill, and of "who answered, and why"."""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.contracts import Usage


class Outcome(StrEnum):
    """How a request ended."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"  # nobody wanted the rest: a barge-in, a wrong guess


@dataclass(slots=True)
class Request:
    """What one plug-in was asked once, what it used and how it went. Kept up to date while it runs."""

    stage: str
    plugin: str
    model: str = ""
    asked_at: float = 0.0
    """Loop time, seconds."""
    first_ms: float | None = None
    """To the first piece that could be used."""
    input_tokens: int = 0
    output_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    """Of a speech-to-speech model, beside the text tokens."""
    cached_tokens: int = 0
    cached_audio_tokens: int = 0
    """Input that the model knew already, where that is charged less: not among the others."""
    characters: int = 0
    audio_ms: int = 0
    counted: bool = False
    """The provider counted; else these are our estimates."""
    outcome: Outcome = Outcome.RUNNING
    error: str = ""
    """Why it failed: a `Failure` in one word."""
    charged: bool = False
    """It is on the bill."""
    purpose: str = ""
    """What it was for; "" = to hear or to answer."""

    def answered(self, now: float) -> None:
        """A piece came."""
        if self.first_ms is None:
            self.first_ms = round((now - self.asked_at) * 1000, 1)

    def count(self, usage: Usage) -> None:
        """What the provider says was used replaces our estimate, as far as it says anything."""
        self.counted = True
        if usage.input_tokens or usage.output_tokens:
            self.input_tokens, self.output_tokens = usage.input_tokens, usage.output_tokens
        audio = usage.input_audio_tokens or usage.output_audio_tokens
        if audio or usage.cached_tokens or usage.cached_audio_tokens:
            self.input_audio_tokens = usage.input_audio_tokens
            self.output_audio_tokens = usage.output_audio_tokens
            self.cached_tokens = usage.cached_tokens
            self.cached_audio_tokens = usage.cached_audio_tokens
        self.characters = usage.characters or self.characters
        self.audio_ms = usage.audio_ms or self.audio_ms

    def end(self, outcome: Outcome, error: str = "") -> None:
        """It is over; only the first end counts."""
        if self.outcome is Outcome.RUNNING:
            self.outcome, self.error = outcome, error
