"""Makes any history into one that every vendor's chat API accepts. Pure; it knows no vendor.

What the vendors refuse with 400, between them: an empty list, empty text, two of a role in a row, an
assistant first or last, a system message in the middle, a tool call without its result or a result without
its call, ids that are long or used twice, names with a dot. A talk that was cut by a barge-in, restored from
disk or begun by another vendor has all of these.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.messages import Message, ToolCall

SILENCE = "(nothing was said)"
"""Stands where the API wants the user to speak and nobody did."""
UNANSWERED = '{"ok": false, "error": "it has not answered"}'
"""The result of a call that has none (yet)."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")  # 40: https://platform.openai.com/docs/api-reference/chat
_ILLEGAL_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user said."""

    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What the agent said, and the tools it called then, each with its result. One of both is there."""

    text: str
    calls: tuple[tuple[ToolCall, str], ...] = ()


Turn = Asked | Answered


@dataclass(frozen=True, slots=True)
class History:
    """`turns` begins with the user, and ends with the user or with results of calls. No two in a row are
    of one kind, except after calls: there the agent may speak (or call) again."""

    system: str
    turns: tuple[Turn, ...]


def tidy(messages: Sequence[Message]) -> History:
    """The history in order, with nothing in it that an API could refuse."""
    system = "\n\n".join(text for m in messages if m.role == "system" and (text := clean(m.content).strip()))
    turns: list[Turn] = []
    for turn in _paired(messages):
        last = turns[-1] if turns else None
        if isinstance(turn, Asked) and isinstance(last, Asked):
            turns[-1] = Asked(f"{last.text}\n{turn.text}")
        elif isinstance(turn, Answered) and isinstance(last, Answered) and not last.calls:
            turns[-1] = Answered(f"{last.text} {turn.text}".strip(), turn.calls)
        else:
            turns.append(turn)
    if not turns or isinstance(turns[0], Answered):
        turns.insert(0, Asked(SILENCE))
    if isinstance(turns[-1], Answered) and not turns[-1].calls:
        turns.append(Asked(SILENCE))
    return History(system, tuple(turns))


def _paired(messages: Sequence[Message]) -> Iterable[Turn]:
    """What was said in order, each call with its result, wherever that stood."""
    results = _Results(messages)
    ids = _Ids()
    for number, message in enumerate(messages):
        text = clean(message.content).strip()
        if message.role == "user" and text:
            yield Asked(text)
        elif message.role == "assistant" and (text or message.tool_calls):
            calls = tuple(
                (ids.legal(call), results.of(number, index)) for index, call in enumerate(message.tool_calls)
            )
            yield Answered(text, calls)
        elif message.role == "tool" and number in results.stray and message.name:
            call = ToolCall(message.tool_call_id, message.name, {})
            yield Answered("", ((ids.legal(call), text or UNANSWERED),))


class _Results:
    """Which result answers which call: the first one after it with its id."""

    def __init__(self, messages: Sequence[Message]) -> None:
        waiting: dict[str, list[tuple[int, int]]] = {}
        self._found: dict[tuple[int, int], str] = {}
        self.stray: set[int] = set()
        for number, message in enumerate(messages):
            for index, call in enumerate(message.tool_calls):
                waiting.setdefault(call.id, []).append((number, index))
            if message.role != "tool":
                continue
            places = waiting.get(message.tool_call_id)
            if places:
                self._found[places.pop(0)] = clean(message.content).strip() or UNANSWERED
            else:
                self.stray.add(number)

    def of(self, number: int, index: int) -> str:
        """The result of a call, by its message and its place there."""
        return self._found.get((number, index), UNANSWERED)


class _Ids:
    """Calls under ids and names that are legal everywhere, each id once."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def legal(self, call: ToolCall) -> ToolCall:
        id_, count = call.id, len(self._used)
        while not _LEGAL_ID.fullmatch(id_) or id_ in self._used:
            id_, count = f"call_{count}", count + 1
        self._used.add(id_)
        return ToolCall(id_, legal_name(call.name), call.arguments)


def clean(text: str) -> str:
    """The text without what JSON or a vendor's store chokes on: control characters, half characters."""
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode()


def legal_name(name: str) -> str:
    """A tool's name as every vendor takes it."""
    return _ILLEGAL_IN_NAMES.sub("_", name)[:LONGEST_NAME] or "tool"


def schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's parameters as a JSON schema of type object, also where it has none."""
    return {"type": "object", "properties": {}, **parameters}


def as_json(arguments: Mapping[str, Any]) -> str:
    return clean(json.dumps(dict(arguments), ensure_ascii=False, default=str))


def arguments_of(text: str) -> dict[str, Any] | None:
    """The arguments that a model wrote; None when they are not the JSON of an object. Nothing is guessed:
    a tool that runs with other arguments than were meant does harm."""
    if not text.strip():
        return {}  # how a call without arguments is written
    try:
        value = json.loads(text)
        if isinstance(value, str):
            value = json.loads(value)  # some small models encode them twice
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
