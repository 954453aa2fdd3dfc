"""Who talks next: a talk that is to be handed over to another agent, and how often that may happen.

A tool proposes a successor while a reply is being made; it takes over when that reply is over, so that the
old agent says its goodbye in its own voice. No clock, no I/O.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.setup import Setup
from pipeline.tool import Refused

MOST_IN_A_ROW = 5
"""Hand-overs without the user saying anything: agents that send each other the caller go in circles."""
HANDOVER = "handover"
"""The kind of the first reply of an agent that has taken over and has no greeting."""
NUDGE = "(The caller waits for you to begin.)"
"""What a speech-to-speech model is asked, which speaks only when it is spoken to."""

WORDS = {
    "en": {
        "self": "You are talking to {name} already.",
        "circle": "You have been passed on often enough. Let me help you myself.",
        "text": "{name} answers in writing only.",
        "voice": "{name} can only be talked to.",
    },
    "es": {
        "self": "Ya está hablando con {name}.",
        "circle": "Ya le hemos pasado bastantes veces. Permítame ayudarle yo.",
        "text": "{name} solo responde por escrito.",
        "voice": "Con {name} solo se puede hablar.",
    },
}


class Succession:
    """The hand-overs of one session."""

    def __init__(self) -> None:
        self._next: Mapping[str, Any] | None = None
        self._turn = self._count = 0

    def propose(self, told: Mapping[str, Any], setup: Setup, turn: int) -> None:
        """That agent is to take over. `turn` is the last one of the user's. Raises `Refused`."""
        words = WORDS.get(setup.language[:2].lower(), WORDS["en"])
        name, channels = str(told["agent_name"]), told.get("channels", "both")
        if told["agent_id"] == setup.agent_id:
            raise Refused(words["self"].format(name=name))
        if channels == "text" and setup.channels != "text":
            raise Refused(words["text"].format(name=name))
        if channels == "voice" and setup.channels == "text":
            raise Refused(words["voice"].format(name=name))
        if turn != self._turn:
            self._turn, self._count = turn, 0
        if self._count >= MOST_IN_A_ROW:
            raise Refused(words["circle"])
        self._count += 1
        # How the caller is connected stays as it is.
        self._next = {key: value for key, value in told.items() if key not in ("channels", "response")}

    def take(self) -> Mapping[str, Any] | None:
        """Who is to take over now; None for nobody."""
        told, self._next = self._next, None
        return told


def handed_over(old: str, new: str) -> str:
    """What the new agent's model is told, beside its own prompt."""
    return (
        f"{old} has handed this call over to you: from here on you are {new}. What the assistant said before "
        f"was said by {old}, and the caller knows it. Say in a few words who you are, then go on with what "
        "the caller wants, without asking for what was said already."
    )
