"""The items of a conversation, as a client of OpenAI's Realtime API knows them: what was said, in order.

It keeps what the client was told. What the model is told is the session's `dialogue`, whose messages are
named here by their keys.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from server.wire.realtime.terms import Refusal

Item = dict[str, Any]

MOST_ITEMS = 2000
"""Remembered for `retrieve`; a talk of an hour has some two hundred."""
ROOT = "root"
"""The place before the first item."""
PARTS = {
    "user": ("input_text", "input_audio", "text"),
    "system": ("input_text", "text"),
    "assistant": ("output_text", "output_audio", "text"),
}
"""The content that a message of that role may have; "text" is what older clients say."""


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"


class Items:
    """In order."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._keys: dict[str, str] = {}
        self._replies: dict[str, str] = {}
        self._heard: dict[str, str] = {}

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and item_id in self._items

    def add(self, item: Item, key: str = "", reply: str = "", after: str | None = None) -> str | None:
        """At the end, or after the item of that id ("root": first). Returns the id of the one before. `key`
        names its message in the dialogue, `reply` the response of ours that it is."""
        at = len(self._order)
        if after is not None:
            at = 0 if after == ROOT else self._order.index(after) + 1
        self._order.insert(at, item["id"])
        self._items[item["id"]] = item
        self.bind(item["id"], key, reply)
        before = self._order[at - 1] if at else None
        if len(self._order) > MOST_ITEMS:
            self.remove(self._order[0])
        return before

    def bind(self, item_id: str, key: str, reply: str = "") -> None:
        """What it is in the session."""
        if key:
            self._keys[item_id] = key
        if reply:
            self._replies[item_id] = reply

    def settle(self, item: Item) -> None:
        """It is over: that is what it became, as far as it was heard."""
        if (kept := self._items.get(item["id"])) is not None:
            kept.update(copy_of(item))
            if item["id"] in self._heard:
                self.truncate(item["id"], self._heard[item["id"]])

    def truncate(self, item_id: str, heard: str) -> None:
        """Only that much of it was heard."""
        self._heard[item_id] = heard
        for part in self._items[item_id]["content"]:
            part["transcript" if part["type"] == "output_audio" else "text"] = heard

    def get(self, item_id: object, what: str) -> Item:
        """`what` is wanted of it. Raises `Refusal`."""
        item = self._items.get(item_id) if isinstance(item_id, str) else None
        if item is None:
            raise Refusal(
                f"Error {what[:-1]}ing item: there is no item with the id '{item_id}'.",
                f"item_{what}_invalid_item_id",
                "item_id",
            )
        return item

    def key(self, item_id: str) -> str:
        """The dialogue's name for it; "" where it is no message there."""
        return self._keys.get(item_id, "")

    def reply(self, item_id: str) -> str:
        """The response of ours that it is, or ""."""
        return self._replies.get(item_id, "")

    def call(self, call_id: str) -> Item | None:
        """The function call of that id."""
        calls = (i for i in self._items.values() if i["type"] == "function_call")
        return next((item for item in calls if item.get("call_id") == call_id), None)

    def remove(self, item_id: str) -> None:
        self._items.pop(item_id, None)
        self._keys.pop(item_id, None)
        self._replies.pop(item_id, None)
        self._heard.pop(item_id, None)
        self._order.remove(item_id)


def read(told: object) -> tuple[Item, str]:
    """An item that a client made, in full, and its text. Raises `Refusal`."""
    if not isinstance(told, dict):
        raise Refusal("item must be an object.", "missing_required_parameter", "item")
    kind = told.get("type")
    item_id = told.get("id") or new_id("item")
    if not isinstance(item_id, str) or len(item_id) > 64:
        raise Refusal("Invalid value for 'item.id': at most 64 characters.", param="item.id")
    item: Item = {"id": item_id, "object": "realtime.item", "type": kind, "status": "completed"}
    match kind:
        case "message":
            role, content = told.get("role"), told.get("content")
            if not isinstance(role, str) or role not in PARTS:
                raise Refusal("Invalid value for 'item.role': user, system or assistant.", param="item.role")
            if not isinstance(content, list):
                raise Refusal("item.content must be a list.", "missing_required_parameter", "item.content")
            texts = [_text(part, role) for part in content]
            return {**item, "role": role, "content": content}, "\n".join(texts)
        case "function_call":
            asked = {name: _word(told, name) for name in ("call_id", "name", "arguments")}
            return {**item, **asked}, ""
        case "function_call_output":
            return {**item, "call_id": _word(told, "call_id"), "output": _word(told, "output")}, ""
        case _:
            raise Refusal(f"Invalid value for 'item.type': {kind!r}.", param="item.type")


def _text(part: object, role: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in PARTS[role]:
        allowed = ", ".join(PARTS[role])
        raise Refusal(f"Content of a {role} message here is one of {allowed}.", param="item.content")
    text = part.get("transcript") if kind in ("input_audio", "output_audio") else part.get("text")
    if not isinstance(text, str):
        raise Refusal(
            "Sound in an item needs its transcript: what is to be heard goes into the input audio buffer."
            if kind in ("input_audio", "output_audio")
            else "Content of that type needs a text.",
            param="item.content",
        )
    return text


def _word(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str):
        raise Refusal(f"item.{name} must be a string.", "missing_required_parameter", f"item.{name}")
    return value


def copy_of(item: Item) -> Item:
    """As it is now: the next event about it may say something else."""
    return {**item, "content": [dict(part) for part in item["content"]]} if "content" in item else dict(item)
