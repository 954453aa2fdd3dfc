"""What providers charge, and what a request therefore costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.request import Request

V = TypeVar("V")
DIGITS = 9
"""To which a price is rounded: finer than any provider's unit, so that sums of rows add up exactly."""


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Per million tokens. All but the first two are a speech-to-speech model's."""

    input: float = 0.0
    output: float = 0.0
    audio_input: float = 0.0
    audio_output: float = 0.0
    cached_input: float = 0.0
    cached_audio_input: float = 0.0


@dataclass(frozen=True, slots=True)
class Tariff:
    """The price lists of `[prices]`, by "plug-in/model" or, for every model of it, "plug-in". What is not
    listed costs nothing."""

    stt_per_minute: Mapping[str, float] = field(default_factory=dict)
    llm_per_million: Mapping[str, TokenPrices] = field(default_factory=dict)
    tts_per_character: Mapping[str, float] = field(default_factory=dict)
    talk_per_million: Mapping[str, TokenPrices] = field(default_factory=dict)

    def price(self, request: Request) -> float:
        """What a request costs, by what it has used so far."""
        return round(self._price(request), DIGITS)

    def _price(self, r: Request) -> float:
        if r.stage == "stt":
            return r.audio_ms / 60_000 * (_find(self.stt_per_minute, r.plugin, r.model) or 0.0)
        if r.stage == "tts":
            return r.characters * (_find(self.tts_per_character, r.plugin, r.model) or 0.0)
        prices = self.talk_per_million if r.stage == "talk" else self.llm_per_million
        p = _find(prices, r.plugin, r.model) or TokenPrices()
        text = r.input_tokens * p.input + r.output_tokens * p.output
        audio = r.input_audio_tokens * p.audio_input + r.output_audio_tokens * p.audio_output
        cached = r.cached_tokens * p.cached_input + r.cached_audio_tokens * p.cached_audio_input
        return (text + audio + cached) / 1e6

    def is_free(self, stage: str, plugin: str, model: str) -> bool:
        """Whether it costs nothing, as far as is known."""
        lists: Mapping[str, Mapping[str, float | TokenPrices]] = {
            "stt": self.stt_per_minute,
            "llm": self.llm_per_million,
            "tts": self.tts_per_character,
            "talk": self.talk_per_million,
        }
        return _find(lists[stage], plugin, model) in (None, 0.0, TokenPrices())


def _find(prices: Mapping[str, V], plugin: str, model: str) -> V | None:
    exact = prices.get(f"{plugin}/{model}")
    return exact if exact is not None else prices.get(plugin)
