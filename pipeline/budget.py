"""What talks may cost: per session and per day, and what happens when that is spent."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

WhenSpent = Literal["downgrade", "end"]

LAST_WORDS = {
    "en": "I am sorry, that is all the time we have for today. Goodbye.",
    "es": "Lo siento, por hoy no tenemos más tiempo. Adiós.",
}


def last_words(language: str) -> str:
    """How a talk whose budget is spent ends."""
    return LAST_WORDS.get(language.partition("-")[0].lower(), LAST_WORDS["en"])


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts in the currency of `[prices]`; 0 = no limit."""

    session: float = 0.0
    day: float = 0.0
    when_spent: WhenSpent = "downgrade"
    """"downgrade": ask the plug-ins that cost nothing, when each stage has one; else, and with "end", say
    goodbye."""


class Budget:
    """What all sessions of this process have spent today (UTC).

    `spent` is what was spent today before this process began, and what other workers spend: see `catch_up`.
    """

    def __init__(self, limits: Limits, *, can_downgrade: bool) -> None:
        self.limits = limits
        self.can_downgrade = can_downgrade
        """Every stage has somebody who costs nothing."""
        self._today: date | None = None
        self._known = 0.0
        self._since = 0.0

    def add(self, price: float, at: datetime) -> None:
        """A request was charged."""
        self._turn_page(at)
        self._since += price

    def catch_up(self, spent: float, at: datetime) -> None:
        """The ledger says that so much was spent today, by everybody and with everything written so far."""
        self._turn_page(at)
        self._known, self._since = max(spent, self._known), 0.0

    def spent_today(self, at: datetime) -> float:
        self._turn_page(at)
        return self._known + self._since

    def why_spent(self, session: float, at: datetime) -> str:
        """Which limit has been reached, in words; "" for none."""
        limits = self.limits
        if limits.session and session >= limits.session:
            return f"the session has cost {session:.4f} of {limits.session:g}"
        if limits.day and (today := self.spent_today(at)) >= limits.day:
            return f"today has cost {today:.4f} of {limits.day:g}"
        return ""

    @property
    def ends_talks(self) -> bool:
        return self.limits.when_spent == "end" or not self.can_downgrade

    def _turn_page(self, at: datetime) -> None:
        day = at.astimezone(UTC).date()
        if day != self._today:
            self._today, self._known, self._since = day, 0.0, 0.0
