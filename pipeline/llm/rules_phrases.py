"""The shape of what the offline responder listens for and says in one language."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language's patterns (see `rules_match`) and replies, by intent."""

    heard: Mapping[str, tuple[str, ...]]
    said: Mapping[str, tuple[str, ...]]
    weekdays: tuple[str, ...]
    months: tuple[str, ...]
