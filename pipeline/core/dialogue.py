"""The history of a talk, as the model is told it: what was said, and of what the agent said, what was heard.

Also the one place that computes heard text: a pure function of the reply's text, where its pieces sit in
its sound, and how much of that sound was played.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.core.messages import Message, ToolCall


@dataclass(frozen=True, slots=True)
class Mark:
    """The reply's text from `start` to `end` sounds from `start_ms` to `end_ms` of its audio."""

    start: int
    end: int
    start_ms: float
    end_ms: float


@dataclass(slots=True)
class SpeechMap:
    """Where a reply's text sits in its audio. Marks in order; words where the voice tells, else segments."""

    marks: list[Mark] = field(default_factory=list)

    def add(self, mark: Mark) -> None:
        if mark.end > mark.start:
            self.marks.append(mark)

    def heard_text(self, text: str, heard_ms: float) -> str:
        """The prefix of `text` that was heard, cut after a whole word.

        A word counts as heard when at least half of it was played. A mark of several words (a segment
        without word times) is shared out by characters: an estimate.
        """
        end = 0
        for mark in self.marks:
            if heard_ms >= mark.end_ms:
                end = max(end, mark.end)
                continue
            if heard_ms <= mark.start_ms:
                break
            share = (heard_ms - mark.start_ms) / max(1.0, mark.end_ms - mark.start_ms)
            end = max(end, _whole_words(text, mark, share))
            break
        return text[:end]


def _whole_words(text: str, mark: Mark, share: float) -> int:
    reached = mark.start + share * (mark.end - mark.start)
    end = mark.start
    for word_start, word_end in words_of(text, mark.start, mark.end):
        if (word_start + word_end) / 2 <= reached:
            end = word_end
    return end


def words_of(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The character ranges of the words of text[start:end]."""
    words, begin = [], -1
    for i in range(start, end):
        if text[i].isspace():
            if begin >= 0:
                words.append((begin, i))
                begin = -1
        elif begin < 0:
            begin = i
    if begin >= 0:
        words.append((begin, end))
    return words


def text_reached(marks: Sequence[Mark], at_ms: float) -> int:
    """The character offset that is being spoken at `at_ms`."""
    index = bisect_right([m.start_ms for m in marks], at_ms) - 1
    return marks[index].end if index >= 0 else 0


class Dialogue:
    """What the model will be reminded of. The system prompt may change between turns."""

    def __init__(self, system_prompt: str) -> None:
        self.system_prompt = system_prompt
        self._messages: list[Message] = []

    def __len__(self) -> int:
        return len(self._messages)

    def user(self, text: str, key: str = "") -> None:
        self._messages.append(Message("user", text, key=key))

    def correct(self, was: str, text: str) -> None:
        """The last user turn that reads so said something else."""
        for i in reversed(range(len(self._messages))):
            if self._messages[i].role == "user" and self._messages[i].content == was:
                self._messages[i] = replace(self._messages[i], content=text)
                return

    def assistant(self, heard: str, calls: Sequence[ToolCall] = (), key: str = "") -> None:
        """What the user heard of a reply, which may be nothing, and the tools it called."""
        if heard.strip() or calls or key:
            self._messages.append(Message("assistant", heard, tuple(calls), key=key))

    def add(self, message: Message, after: str | None = None) -> None:
        """What the client tells us was said: at the end, after the message of that key, or with "" first."""
        places = [i + 1 for i, m in enumerate(self._messages) if m.key == after] if after else [0]
        at = places[-1] if after is not None and places else len(self._messages)
        self._messages.insert(at, message)

    def rewrite(self, key: str, content: str) -> None:
        """Of the message of that key only this counts."""
        self._messages = [replace(m, content=content) if m.key == key else m for m in self._messages]

    def remove(self, key: str) -> None:
        """Forget the message of that key."""
        self._messages = [m for m in self._messages if m.key != key]

    def tool(self, call: ToolCall, result: Mapping[str, Any], key: str = "") -> None:
        told = json.dumps(result, ensure_ascii=False)
        self._messages.append(Message("tool", told, tool_call_id=call.id, name=call.name, key=key))

    def note(self, text: str) -> None:
        """What the model is to know from here on, in place of the last such note."""
        self._messages = [m for m in self._messages if m.role != "system"]
        self._messages.append(Message("system", text))

    def restore(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Take up a stored conversation's messages (contract section 4) where it stopped."""
        for i, message in enumerate(messages):
            role = message.get("role")
            if role == "user":
                self.user(str(message.get("content", "")))
            elif role == "assistant":
                interrupted = message.get("interrupted")
                self.assistant(str(message.get("heard" if interrupted else "content", "")))
            elif role == "tool":
                call = ToolCall(f"restored-{i}", str(message.get("name")), message.get("arguments") or {})
                self.assistant("", [call])
                self.tool(call, {"result": message.get("result")})

    def prompt(self, guess: str | None = None, instructions: str | None = None) -> tuple[Message, ...]:
        """Everything a responder is told; `guess` is a user turn that is not committed yet, `instructions`
        stand in for the system prompt."""
        system = self.system_prompt if instructions is None else instructions
        messages = [Message("system", system)] if system else []
        messages += (m for m in self._messages if m.content.strip() or m.role != "assistant" or m.tool_calls)
        if guess is not None:
            messages.append(Message("user", guess))
        return tuple(messages)
