"""What others may want to be told of a talk: that a tool ran in it, that it is over.

They are made from the journal, so that a crash loses none; a second look at it makes the same ones again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storage.journal import Fold

SESSION_ENDED = "session.ended"
TOOL_RAN = "tool.ran"
TYPES = (SESSION_ENDED, TOOL_RAN)

_NOT_TOLD = frozenset(("messages", "turns", "config", "audio_files", "end_reason", "caller", "summary"))
_OF_SUMMARY = ("summary", "appointments_discussed", "preferences_mentioned")
_OF_MESSAGE = (
    "role",
    "content",
    "time",
    "turn",
    "type",
    "name",
    "arguments",
    "result",
    "interrupted",
    "heard",
)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened in a talk, once."""

    key: str
    """What makes it this one: the same when it is made again."""
    type: str
    session_id: str
    time: str
    data: Mapping[str, Any]


def happenings(session_id: str, fold: Fold, changed: Iterable[int]) -> tuple[Happening, ...]:
    """Of a talk's tools, those among the messages that changed; and its end, if it is over."""
    found = [
        _tool_ran(session_id, fold, n) for n in sorted(changed) if fold.messages[n].get("role") == "tool"
    ]
    if fold.ending is not None:
        found.append(_ended(session_id, fold))
    return tuple(found)


def _tool_ran(session_id: str, fold: Fold, n: int) -> Happening:
    message, header = fold.messages[n], fold.header
    key = str(message.get("key") or f"message {n}")
    data = {
        "session_id": session_id,
        "user_id": header.get("user_id"),
        "agent_id": header.get("agent_id"),
        "turn": message.get("turn", _turn_of(key)),
        "key": key,
        "name": message.get("name"),
        "arguments": message.get("arguments"),
        "result": message.get("result"),
    }
    time = str(message.get("time") or fold.last_time or "")
    return Happening(f"{TOOL_RAN} {session_id} {key}", TOOL_RAN, session_id, time, data)


def _turn_of(key: str) -> int | None:
    """An idempotency key is "turn.number"."""
    turn = key.partition(".")[0]
    return int(turn) if turn.isdecimal() else None


def _ended(session_id: str, fold: Fold) -> Happening:
    told = fold.conversation()
    time = str(told["end_time"] or "")
    data = {key: value for key, value in told.items() if key not in _NOT_TOLD and key not in _OF_SUMMARY}
    data["session_id"] = session_id
    data["reason"] = told["end_reason"]
    data["transcript"] = [
        {name: message[name] for name in _OF_MESSAGE if name in message} for message in told["messages"]
    ]
    data["summary"] = {name: told.get(name, [] if name != "summary" else "") for name in _OF_SUMMARY}
    # A talk that was over may be gone on with, and end a second time.
    return Happening(f"{SESSION_ENDED} {session_id} {time}", SESSION_ENDED, session_id, time, data)
