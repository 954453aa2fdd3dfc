"""What a prompt tells the offline responder: who said what, which name was given, who it is to be.

Nothing is remembered between prompts: everything is read from the messages, so the same prompt always gets
the same answer.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pipeline.contracts import Message, Prompt
from pipeline.llm.rules_match import words_of

LONGEST = 2000  # characters of one message that are looked at: answering may not hold up the loop
MOST_WORDS = 40
LOOK_BACK = 100  # messages of the user's in which a name is looked for

_PERSONA = re.compile(r"\b(?:[Yy]ou are|[Yy]our name is|[Yy]ou're|[Ee]res|[Tt]e llamas)\s+([A-Z]\w+)")
_LED_IN = r"\b(?:my name is|my name's|call me|i am called|i'm called|me llamo|mi nombre es|llámame)\s+"
_NAMED = re.compile(_LED_IN + r"([^\W\d_]+(?:[-'][^\W\d_]+)*)", re.IGNORECASE)
_NAME = re.compile(_LED_IN + "(.+)", re.IGNORECASE)
# What follows "call me" or a misheard "my name is" without being a name.
NOT_NAMES = frozenset(
    words_of("a an the not is in on at when if later back what so uh um please tomorrow today and but")
    + words_of("de en el la no que y")
)


def name_led_in(text: str) -> str:
    """What follows "my name is"."""
    found = _NAME.search(text.replace("’", "'"))
    return str(found[1]) if found else ""


@dataclass(frozen=True)
class Talk:
    """One prompt, read."""

    prompt: Prompt
    now: Callable[[], datetime]

    @cached_property
    def users(self) -> tuple[str, ...]:
        """What the user said, oldest first."""
        return tuple(m.content.strip() for m in self.prompt.messages if m.role == "user")

    @cached_property
    def replies(self) -> tuple[str, ...]:
        """What was answered so far."""
        return tuple(m.content for m in self.prompt.messages if m.role == "assistant" and m.content)

    @cached_property
    def text(self) -> str:
        """What the user said last."""
        return self.users[-1] if self.users else ""

    @cached_property
    def words(self) -> tuple[str, ...]:
        return words_of(self.text[:LONGEST])[:MOST_WORDS]

    @property
    def spanish(self) -> bool:
        return self.prompt.language.lower().startswith("es")

    @cached_property
    def name(self) -> str:
        """The user's name, "" if it was not said. The last one counts."""
        for text in reversed(self.users[-LOOK_BACK:]):
            for found in reversed(_NAMED.findall(text[:LONGEST].replace("’", "'"))):
                if found.lower() not in NOT_NAMES:
                    return str(found).capitalize() if found.islower() else str(found)
        return ""

    @cached_property
    def persona(self) -> str:
        """The agent's own name, if a system message states it simply ("You are Ada, …")."""
        for message in self.prompt.messages:
            found = _PERSONA.search(message.content[:LONGEST]) if message.role == "system" else None
            if found:
                return found[1]
        return ""

    @cached_property
    def answers(self) -> tuple[Message, ...]:
        """Results of tools that ran since the user spoke last."""
        messages = self.prompt.messages
        last = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
        return tuple(m for m in messages[last + 1 :] if m.role == "tool")

    def offers(self, tool: str) -> bool:
        return any(spec.name == tool for spec in self.prompt.tools)

    def pick(self, choices: Sequence[str]) -> str:
        """The next of several ways to say it; those used lately come last."""
        start = len(self.users)
        turned = [choices[(start + i) % len(choices)] for i in range(len(choices))]
        fresh = [c for c in turned if not any(_gist(c) in reply for reply in self.replies[-6:])]
        return (fresh or turned)[0]


def _gist(choice: str) -> str:
    """The longest part of a text that is the same whatever is filled into it."""
    return max(re.split(r"\{\w+\}", choice), key=len)
