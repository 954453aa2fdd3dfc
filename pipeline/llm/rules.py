"""The offline responder: answers small talk, time, sums and spelling from rules, without a key or a network.

It is what a fresh installation talks with, and it says so. It reads everything from the prompt and keeps
nothing, so the same prompt (at the same time of day) always gets the same answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.contracts import Env, Prompt, ToolCall, Usage
from pipeline.llm.rules_appointments import at_the_desk
from pipeline.llm.rules_handoff import pass_on
from pipeline.llm.rules_intents import TABLE, Answer, Intent, calculate, choose, from_tool, unclear
from pipeline.llm.rules_talk import Talk

WORDS_BETWEEN_YIELDS = 8


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.rules]`: no keys."""


def local_now() -> datetime:
    return datetime.now().astimezone()


class RulesResponder:
    """Answers from a table of intents."""

    def __init__(self, table: Sequence[Intent] = TABLE, now: Callable[[], datetime] = local_now) -> None:
        self._table = tuple(table)
        self._now = now

    async def warm(self) -> None:
        """Nothing to load."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        answer = self.answer(prompt)
        said = 0
        if isinstance(answer, ToolCall):
            yield answer
        else:
            for number, word in enumerate(answer.split(" ")):
                if number % WORDS_BETWEEN_YIELDS == 0:
                    await asyncio.sleep(0)
                yield f" {word}" if number else word
                said += 1
        heard = sum(m.content.count(" ") + 1 for m in prompt.messages)
        yield Usage(input_tokens=heard, output_tokens=said)

    def answer(self, prompt: Prompt) -> Answer:
        """The whole answer at once."""
        talk = Talk(prompt, self._now)
        if (handed := pass_on(talk)) is not None:
            return handed
        if (answer := at_the_desk(talk, _from_tool)) is not None:
            return answer
        if talk.answers:
            return _from_tool(talk)
        # A sum is told by its numbers, so it goes before what merely sounds like a question.
        return calculate(talk) or choose(talk, self._table) or unclear(talk)


def _from_tool(talk: Talk) -> Answer:
    return from_tool(talk, talk.answers[-1])


def create(options: Options, env: Env) -> RulesResponder:  # noqa: ARG001  (needs neither)
    return RulesResponder()
