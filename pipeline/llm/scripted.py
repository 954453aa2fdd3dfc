"""A responder for tests and benchmarks: known words at known times, and every way of failing on request.

It waits by the running loop's own clock only, so under a virtual clock each token comes at an exact time.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.contracts import Env, Failure, LlmError, Message, Prompt, ToolCall, Usage

DEFAULT_TEXT = (  # 60 words in four sentences, the first of ten: benchmarks count on it
    "I can help you with quite a few everyday things. "
    "Ask me for the time, for a little arithmetic, or to keep an appointment in mind, and I will do my best. "
    "You may interrupt me whenever you like, because I listen all the while that I speak. "
    "So tell me, what is it that I can do for you?"
)


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.scripted]`."""

    text: tuple[str, ...] = (DEFAULT_TEXT,)
    """What to say; of several, the first answers the first user message, and so on round."""
    first_token_ms: int = 200
    token_ms: int = 10
    """Token k (from 0) comes first_token_ms + k * token_ms after the call; a token is a word."""
    tool: str = ""
    """A tool to call once before the text, when it is offered."""
    tool_arguments: Mapping[str, Any] = field(default_factory=dict)
    fail: Literal["", "error", "break", "hang", "empty", "stall", "late"] = ""
    """error: fails instead of the first token. break: fails after `stall_tokens`. hang: nothing ever comes.
    empty: ends without a word. stall: hangs after `stall_tokens`. late: starts `late_ms` after the call."""
    fail_after: int = 0
    """How many replies succeed before `fail` begins."""
    stall_tokens: int = 5
    late_ms: int = 10_000


class ScriptedResponder:
    """Says its text, word by word."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._replies = 0

    async def warm(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        fail = self._options.fail if self._replies >= self._options.fail_after else ""
        self._replies += 1
        return self._stream(prompt, fail, asyncio.get_running_loop().time())

    async def _stream(
        self, prompt: Prompt, fail: str, called_s: float
    ) -> AsyncIterator[str | ToolCall | Usage]:
        o = self._options
        first_ms = o.late_ms if fail == "late" else o.first_token_ms
        if fail == "hang":
            await _forever()
        await _until(called_s + first_ms / 1000)
        if fail == "error":
            raise LlmError("the scripted responder was told to fail", Failure.TRANSIENT)
        if fail == "empty":
            return
        if self._wants_tool(prompt):
            yield ToolCall(f"call_{len(prompt.messages)}", o.tool, dict(o.tool_arguments))
            return
        words = self._words(prompt)
        for k, word in enumerate(words):
            if k == o.stall_tokens and fail == "break":
                raise LlmError("the scripted responder was told to break off", Failure.TRANSIENT)
            if k == o.stall_tokens and fail == "stall":
                await _forever()
            await _until(called_s + (first_ms + k * o.token_ms) / 1000)
            yield word if k == 0 else " " + word
        asked = sum(len(m.content.split()) for m in prompt.messages)
        yield Usage(input_tokens=asked, output_tokens=len(words))

    def _words(self, prompt: Prompt) -> list[str]:
        turn = sum(m.role == "user" for m in prompt.messages)
        texts = self._options.text
        return texts[max(0, turn - 1) % len(texts)].split() if texts else []

    def _wants_tool(self, prompt: Prompt) -> bool:
        name = self._options.tool
        if not any(spec.name == name for spec in prompt.tools):
            return False
        return not any(m.role == "tool" and m.name == name for m in _since_user(prompt.messages))


def _since_user(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What came after the last user message."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return messages[index + 1 :]
    return messages


async def _until(due_s: float) -> None:
    # To an absolute time, so that a slow consumer does not delay the tokens after the one it was slow at.
    await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def create(options: Options, env: Env) -> ScriptedResponder:  # noqa: ARG001  (needs no surroundings)
    return ScriptedResponder(options)
