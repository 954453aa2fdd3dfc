"""The messages of a prompt: what the history is made of, and what a responder is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool to be run. `arguments` is parsed JSON."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt."""

    role: str
    """"system", "user", "assistant" or "tool"."""
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """On an assistant message: what it asked to run."""
    tool_call_id: str = ""
    """On a tool message: the call it answers. `content` is then JSON."""
    name: str = ""
    """On a tool message: the tool's name."""
    key: str = field(default="", compare=False)
    """By which a client that keeps the conversation itself names it; the model is not told."""
