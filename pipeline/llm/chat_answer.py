"""One answer of the Chat Completions wire, put together from its chunks. Pure; it knows no network.

Lenient, because servers differ: parts may be missing, several calls may share an index, and the end may come
without a `finish_reason`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from pipeline.contracts import Failure, LlmError, ToolCall, Usage
from pipeline.llm.history import arguments_of
from pipeline.llm.refusal import sorry
from pipeline.llm.thoughts import Thoughts

_numbers = count(1)
"""For calls that come without an id."""


@dataclass(slots=True)
class _Call:
    """A call of which more may come."""

    index: int
    id: str
    name: str
    arguments: str = ""


class Answer:
    """What the chunks so far say. `names` are the tools' own names by those the model knows."""

    def __init__(self, who: str, names: Mapping[str, str], language: str) -> None:
        self._who, self._names, self._language = who, names, language
        self._thoughts = Thoughts()
        self._calls: list[_Call] = []
        self._finish = ""
        self._said = self._called = False
        self._usage: Usage | None = None

    def take(self, chunk: Any) -> Iterator[str | ToolCall]:
        """What a chunk adds. Raises `LlmError`."""
        if (usage := getattr(chunk, "usage", None)) is not None:
            self._usage = usage_of(usage)
        for choice in getattr(chunk, "choices", None) or ():
            delta = getattr(choice, "delta", None)
            for text in (getattr(delta, "content", None), getattr(delta, "refusal", None)):
                if isinstance(text, str) and (spoken := self._thoughts.spoken(text)):
                    self._said = True
                    yield spoken
            for part in getattr(delta, "tool_calls", None) or ():
                self._collect(part)
            if finish := getattr(choice, "finish_reason", None):
                self._finish = str(finish)
                yield from self._finished()

    def end(self) -> Iterator[str | ToolCall | Usage]:
        """No more chunks. Raises `LlmError` when this was no answer."""
        if rest := self._thoughts.rest():
            self._said = True
            yield rest
        yield from self._finished()
        if self._finish == "length" and not (self._said or self._called):
            raise LlmError(f"{self._who} used up its max_tokens before it said anything", Failure.EMPTY)
        if self._usage is not None:
            yield self._usage

    def _collect(self, part: Any) -> None:
        function = getattr(part, "function", None)
        name = str(getattr(function, "name", None) or "")
        arguments = str(getattr(function, "arguments", None) or "")
        id_, index = str(getattr(part, "id", None) or ""), getattr(part, "index", None) or 0
        call = next((c for c in reversed(self._calls) if c.index == index), None)
        # Ollama and others give each of several calls the index 0: another id begins another call.
        if call is None or (name and id_ and call.id and id_ != call.id):
            call = _Call(index, id_, "")
            self._calls.append(call)
        call.id, call.name = call.id or id_, call.name or name
        call.arguments += arguments

    def _finished(self) -> Iterator[str | ToolCall]:
        if self._finish == "content_filter":
            self._finish = "said sorry"
            yield sorry(self._language, self._said)
            self._said = True
        if self._finish == "error":
            raise LlmError(f"{self._who} broke off its answer", Failure.TRANSIENT)
        calls, self._calls = self._calls, []
        for call in calls:
            yield self._parsed(call)
            self._called = True

    def _parsed(self, call: _Call) -> ToolCall:
        arguments = arguments_of(call.arguments)
        if arguments is None or not call.name:
            why = "used up its max_tokens in" if self._finish == "length" else "wrote broken JSON for"
            raise LlmError(f"{self._who} {why} a call of {call.name or 'a tool'}", Failure.TRANSIENT)
        name = self._names.get(call.name, call.name)
        return ToolCall(call.id or f"call_{next(_numbers)}", name, arguments)


def usage_of(usage: Any) -> Usage:
    """Tokens as they are paid for. Cached ones are part of `prompt_tokens`; x.ai leaves thinking out of
    `completion_tokens`, and has it in the total."""
    asked = int(getattr(usage, "prompt_tokens", None) or 0)
    answered = int(getattr(usage, "completion_tokens", None) or 0)
    total = int(getattr(usage, "total_tokens", None) or 0)
    return Usage(input_tokens=asked, output_tokens=max(answered, total - asked))
