"""One session's bill: a line for each request to a provider, and what they add up to."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from pipeline.budget import Budget
from pipeline.request import Outcome, Request
from pipeline.tariff import DIGITS, Tariff

STAGES = ("stt", "llm", "tts")
UNITS = {"stt": "minute", "llm": "token", "tts": "character", "talk": "token"}


class Bill:
    """Adds up requests. `write(entry, now)` puts a line into the journal, from which the rows are made."""

    def __init__(
        self,
        tariff: Tariff,
        budget: Budget,
        wall: Callable[[], datetime],
        write: Callable[[Mapping[str, Any], float], None],
    ) -> None:
        self._tariff, self._budget, self._wall, self._write = tariff, budget, wall, write
        self._turns: dict[int, dict[str, float]] = {}
        self._totals = dict.fromkeys(STAGES, 0.0)

    @property
    def totals(self) -> dict[str, float]:
        """The cost breakdown of the conversation file."""
        costs = {f"{stage}_cost": round(cost, DIGITS) for stage, cost in self._totals.items()}
        return {**costs, "total_cost": self.total}

    @property
    def total(self) -> float:
        return round(sum(self._totals.values()), DIGITS)

    def restore(self, breakdown: Mapping[str, float]) -> None:
        """Go on with the bill of a session that a crash cut off."""
        for name, cost in breakdown.items():
            stage = name.removesuffix("_cost")
            if stage != "total":
                self._totals[stage] = cost

    def of_turn(self, turn: int) -> dict[str, float]:
        """What a turn has cost so far, with guesses that were thrown away."""
        costs = self._turns.get(turn, {})
        parts = {stage: round(costs.get(stage, 0.0), DIGITS) for stage in (*STAGES, *costs)}
        return {**parts, "total": round(sum(costs.values()), DIGITS)}

    def charge(self, requests: Iterable[Request], turn: int, now: float, *, discarded: bool = False) -> None:
        """Put requests on the bill that are not on it yet. `discarded`: they were for a guess that turned
        out wrong."""
        for request in requests:
            if not request.charged:
                request.charged = True
                request.end(Outcome.CANCELLED)  # else it would have ended by itself
                self._charge(request, turn, now, discarded)

    def _charge(self, request: Request, turn: int, now: float, discarded: bool) -> None:
        price = self._tariff.price(request)
        costs = self._turns.setdefault(turn, {})
        costs[request.stage] = costs.get(request.stage, 0.0) + price
        self._totals[request.stage] = self._totals.get(request.stage, 0.0) + price
        self._budget.add(price, self._wall())
        self._write(
            {
                "stage": request.stage,
                "provider": request.plugin,
                "model": request.model,
                "units": _units(request),
                "unit": UNITS[request.stage],
                **{name: value for name in _COUNTS if (value := getattr(request, name))},
                "counted": request.counted,
                "price": price,
                "turn": turn,
                "speculative": discarded,
                "outcome": str(request.outcome),
                **({"purpose": request.purpose} if request.purpose else {}),
                **({"error": request.error} if request.error else {}),
                **({"first_ms": request.first_ms} if request.first_ms is not None else {}),
            },
            now,
        )

    def why_spent(self) -> str:
        """Which budget is spent, in words; "" for none."""
        return self._budget.why_spent(self.total, self._wall())

    @property
    def ends_talks(self) -> bool:
        """A spent budget ends the talk, rather than making it cheaper."""
        return self._budget.ends_talks


_COUNTS = (
    "input_tokens",
    "output_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cached_tokens",
    "cached_audio_tokens",
    "characters",
    "audio_ms",
)


def _units(r: Request) -> float:
    if r.stage == "stt":
        return round(r.audio_ms / 60_000, 6)
    if r.stage == "tts":
        return r.characters
    text, audio = r.input_tokens + r.output_tokens, r.input_audio_tokens + r.output_audio_tokens
    return text + audio + r.cached_tokens + r.cached_audio_tokens
