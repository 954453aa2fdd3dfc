"""One answer of the Messages API, put together from its events. Pure; it knows no network.

Events: https://platform.claude.com/docs/en/build-with-claude/streaming#event-types
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.contracts import Failure, LlmError, ToolCall, Usage
from pipeline.llm.history import arguments_of
from pipeline.llm.refusal import sorry


class Answer:
    """What the events so far say. `names` are the tools' own names by those the model knows."""

    def __init__(self, who: str, names: Mapping[str, str], language: str) -> None:
        self._who, self._names, self._language = who, names, language
        self._call: tuple[str, str] | None = None
        """Id and name of the call that is being written."""
        self._json = self._stop = ""
        self._said = self._called = self._ended = False
        self._asked = self._answered = 0

    def take(self, event: Any) -> Iterator[str | ToolCall]:
        """What an event adds. Raises `LlmError`."""
        match getattr(event, "type", ""):
            case "message_start":
                self._count(getattr(getattr(event, "message", None), "usage", None))
            case "content_block_start":
                block: Any = getattr(event, "content_block", None)
                if getattr(block, "type", "") == "tool_use":
                    self._call, self._json = (str(block.id), str(block.name)), ""
                elif getattr(block, "type", "") == "text":
                    yield from self._spoken(block)
            case "content_block_delta":
                delta: Any = getattr(event, "delta", None)
                if getattr(delta, "type", "") == "text_delta":
                    yield from self._spoken(delta)
                elif getattr(delta, "type", "") == "input_json_delta":
                    self._json += str(delta.partial_json)
            case "content_block_stop":
                # A call that max_tokens cut ends like any other; only what follows tells. Its JSON is broken,
                # or it lacks arguments that the tool asks for itself.
                if self._call is not None:
                    yield self._parsed(*self._call)
            case "message_delta":
                self._count(getattr(event, "usage", None))
                self._stop = str(getattr(getattr(event, "delta", None), "stop_reason", None) or self._stop)
            case "message_stop":
                self._ended = True

    def end(self) -> Iterator[str | Usage]:
        """No more events. Raises `LlmError` when this was no answer."""
        if not self._ended:
            raise LlmError(f"{self._who} broke off its answer", Failure.TRANSIENT)
        if self._stop == "refusal":
            yield sorry(self._language, self._said)
        elif not (self._said or self._called) and self._stop == "max_tokens":
            raise LlmError(f"{self._who} used up its max_tokens before it said anything", Failure.EMPTY)
        elif not (self._said or self._called) and self._stop == "model_context_window_exceeded":
            raise LlmError(f"{self._who} cannot take a talk as long as this one", Failure.BAD_REQUEST)
        if self._asked or self._answered:
            yield Usage(input_tokens=self._asked, output_tokens=self._answered)

    def _spoken(self, part: Any) -> Iterator[str]:
        text = getattr(part, "text", None)
        if isinstance(text, str) and text:
            self._said = True
            yield text

    def _parsed(self, id_: str, name: str) -> ToolCall:
        self._call = None
        arguments = arguments_of(self._json)
        if arguments is None:
            raise LlmError(f"{self._who} wrote broken JSON for a call of {name}", Failure.TRANSIENT)
        self._called = True
        return ToolCall(id_, self._names.get(name, name), arguments)

    def _count(self, usage: Any) -> None:
        """Counts are totals so far. What is written to or read from the cache is counted apart, and paid."""
        parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        asked = sum(int(getattr(usage, part, None) or 0) for part in parts)
        self._asked = max(self._asked, asked)
        self._answered = max(self._answered, int(getattr(usage, "output_tokens", None) or 0))
