"""OpenAI's Realtime wire (GA), as a server: JSON events over our session. It decides nothing about turns.

    client event --take--> session.hear / respond / do ...       what it is told at once goes into the outbox
    session.outbox --encode--> server events                      so that everything leaves in order

A session's reply is a response with at most one message item, and the function calls after it. Where OpenAI
leaves room, we do what the stock clients need (docs/openai-realtime.md): the user's transcript comes before
the answer, `speech_started` during an answer only once it is an interruption, and nothing is an error that
could be taken as it is meant.
"""

import asyncio
import base64
import binascii
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import soxr

from pipeline.by_items import ByItems
from pipeline.contracts import INPUT_RATE_HZ, Message, ToolCall, ToolSpec
from pipeline.core.floor import User
from pipeline.outbox import Event
from pipeline.reply import Reply, Wish
from pipeline.session import Session
from server.wire import g711
from server.wire.common import Outgoing
from server.wire.realtime.items import ROOT, Item, Items, copy_of, new_id, read
from server.wire.realtime.terms import LAWS, Format, Refusal, Terms, Wished, offered, wished
from server.wire.realtime.told import Teller

log = logging.getLogger(__name__)

LEAST_MS = 100
"""Sound that can be committed, as at OpenAI's."""
MOST_WAITING_S = 120
"""Sound that may wait for a commit."""
PIECE_BYTES = INPUT_RATE_HZ * 2
"""A second: how much of a long recording is listened to before others have their turn."""
BUSY = "Conversation already has an active response in progress. Wait until it is done, or cancel it."
NOT_ACTIVE = "Cancellation failed: no active response found"


class Realtime:
    """Speaks for one socket and acts on its session."""

    def __init__(self, session: Session, terms: Terms) -> None:
        self._session, self._terms, self._talk = session, terms, ByItems(session)
        self._items = Items()
        self._format: Format | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._odd = b""
        self._waiting = bytearray()
        """Sound that is not pressed yet: a reply has the floor."""
        self._buffered = 0
        """Bytes since the last commit, where the client commits."""
        self._unsaid: list[str] = []
        """What the user has written since the last response."""
        self._teller = Teller(session, terms, self._items)

    # -- from the client -----------------------------------------------------------------------------------

    async def take(self, text: str) -> None:
        """One message. What is wrong with it the client is told; the session lives on."""
        event_id: object = None
        try:
            try:
                event = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise Refusal("This is not JSON.", "invalid_json") from error
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise Refusal("An event must be an object with a type.", "missing_required_parameter", "type")
            event_id = event.get("event_id")
            if event["type"] == "input_audio_buffer.append":
                await self._append(event.get("audio"))
                return
            reader = _READERS.get(event["type"])
            if reader is None:
                raise Refusal(f"Unknown event type: {event['type'][:60]!r}.", param="type")
            reader(self, _cleaned(event))
        except Refusal as refusal:
            known = event_id if isinstance(event_id, str) else None
            self._refuse(str(refusal), refusal.code, refusal.param, known)

    def refuse_binary(self) -> None:
        """A binary message came: there is no such thing on this wire."""
        self._refuse("Sound travels as base64 in input_audio_buffer.append.", "invalid_event")

    def _refuse(self, message: str, code: str, param: str | None = None, event_id: str | None = None) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
        self._tell({"type": "error", "error": {**error, "event_id": event_id}})

    async def _append(self, audio: object) -> None:
        if not isinstance(audio, str):
            raise Refusal("audio must be base64 text.", "missing_required_parameter", "audio")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refusal("Invalid value for 'audio': it is not base64.", param="audio") from error
        pcm = self._as_16_khz(data)
        if len(pcm) <= PIECE_BYTES:
            self._hear(pcm)
            return
        for at in range(0, len(pcm), PIECE_BYTES):
            self._hear(pcm[at : at + PIECE_BYTES])
            await asyncio.sleep(0)

    def _as_16_khz(self, data: bytes) -> bytes:
        told = self._terms.chosen.audio.input.format
        if told != self._format:
            self._format, self._resampler, self._odd = told, None, b""
            if told.rate_hz != INPUT_RATE_HZ:
                self._resampler = soxr.ResampleStream(told.rate_hz, INPUT_RATE_HZ, 1, "int16", "LQ")
        law = LAWS.get(told.type)
        if law is not None:
            data = g711.decode(data, law)
        elif self._odd or len(data) & 1:  # a sample may be cut in two by the client's messages
            data = self._odd + data
            cut = len(data) & ~1
            data, self._odd = data[:cut], data[cut:]
        if self._resampler is None:
            return data
        return bytes(self._resampler.resample_chunk(np.frombuffer(data, "<i2")).tobytes())

    def _hear(self, pcm: bytes) -> None:
        session = self._session
        if not self._terms.chosen.is_manual:
            session.hear(pcm)
            return
        self._buffered += len(pcm)
        self._waiting += pcm
        if len(self._waiting) > MOST_WAITING_S * INPUT_RATE_HZ * 2:
            del self._waiting[: len(pcm)]
        if session.floor.pressed or not session.floor.replying:
            self._press()

    def _press(self) -> None:
        """Listen to what waits."""
        if not self._session.floor.pressed:
            self._session.do({"type": "talk.begin"})
        self._session.hear(bytes(self._waiting))
        self._waiting.clear()

    def _commit(self, event: Event) -> None:  # noqa: ARG002 - every reader takes the event
        session = self._session
        if not self._terms.chosen.is_manual:
            if session.floor.user not in (User.SPEAKING, User.PAUSE):
                raise _empty(0)
            self._talk.cut_off()
            return
        ms = self._buffered * 1000 // (INPUT_RATE_HZ * 2)
        if ms < LEAST_MS:
            raise _empty(ms)
        self._press()
        item_id, self._buffered = new_id("item"), 0
        self._put("wire.commit", item_id=item_id, ms=ms)
        session.do({"type": "talk.end"})

    def _clear(self, event: Event) -> None:  # noqa: ARG002
        self._waiting.clear()
        self._buffered = 0
        self._talk.forget_speech()
        self._tell({"type": "input_audio_buffer.cleared"})

    def _update(self, event: Event) -> None:
        terms, session = self._terms, self._session
        was_manual, had = terms.chosen.is_manual, terms.setup()
        terms.update(event.get("session"))
        if terms.chosen.is_manual is not was_manual:
            self._talk.forget_speech()
            self._waiting.clear()
            self._buffered = 0
        wants = terms.setup()
        if changed := {key: value for key, value in wants.items() if had.get(key) != value or key not in had}:
            self._talk.retune(**changed)
        session.floor.answers = terms.chosen.answers
        self._talk.equip(terms.tools())
        self._tell({"type": "session.updated", "session": terms.told()})

    def begin(self, known: Event) -> list[Event]:  # noqa: ARG002 - nobody comes back on this wire
        """Make the session as the terms are. Returns what the client is told first."""
        session = self._session
        self._talk.retune(**self._terms.setup())
        session.floor.answers = self._terms.chosen.answers
        created = {"type": "session.created", "session": self._terms.told()}
        return [{"type": "wire.events", "events": [created]}]

    def _create(self, event: Event) -> None:
        item, text = read(event.get("item"))
        if item["id"] in self._items:
            raise Refusal(
                f"Error adding item: an item with the id '{item['id']}' is there already.",
                "item_create_duplicate_item_id",
                "item.id",
            )
        after = event.get("previous_item_id")
        if after is not None and after != ROOT and after not in self._items:
            raise Refusal(
                f"Error adding item: the previous item '{after}' does not exist.",
                "item_create_invalid_previous_item_id",
                "previous_item_id",
            )
        if item["type"] == "message":
            place = "" if after == ROOT else (self._items.key(after) or None if after else None)
            self._session.dialogue.add(Message(item["role"], text, key=item["id"]), place)
            if item["role"] == "user" and text.strip() and after is None:
                self._unsaid.append(text)
            elif item["role"] == "assistant":
                self._unsaid.clear()  # it is told of an earlier talk
        elif item["type"] == "function_call_output":
            self._returned(item)
        before = self._items.add(item, item["id"], after=after)
        for kind in ("added", "done"):
            told = {"item": copy_of(item), "previous_item_id": before}
            self._tell({"type": f"conversation.item.{kind}", **told})

    def _returned(self, item: Item) -> None:
        call_id, output = item["call_id"], item["output"]
        if self._talk.returned(call_id, output, item["id"]):
            return
        asked = self._items.call(call_id)
        if asked is None:
            log.info("session %s: an output for a call that nobody made", self._session.id)
            return
        call = ToolCall(call_id, asked["name"], _arguments(asked["arguments"]))
        dialogue = self._session.dialogue
        dialogue.add(Message("assistant", "", (call,), key=item["id"]))
        dialogue.add(Message("tool", output, tool_call_id=call_id, name=call.name, key=item["id"]))

    def _retrieve(self, event: Event) -> None:
        item = self._items.get(event.get("item_id"), "retrieve")
        self._tell({"type": "conversation.item.retrieved", "item": copy_of(item)})

    def _truncate(self, event: Event) -> None:
        item = self._items.get(event.get("item_id"), "truncate")
        end_ms = event.get("audio_end_ms")
        if not isinstance(end_ms, int | float) or isinstance(end_ms, bool) or not math.isfinite(end_ms):
            raise Refusal("audio_end_ms must be a number.", "missing_required_parameter", "audio_end_ms")
        heard_ms = max(0, int(end_ms))
        self._reheard(item, heard_ms)
        told = {"item_id": item["id"], "content_index": 0, "audio_end_ms": heard_ms}
        self._tell({"type": "conversation.item.truncated", **told})

    def _delete(self, event: Event) -> None:
        item = self._items.get(event.get("item_id"), "delete")
        if self._session.speaking.is_cut(self._items.reply(item["id"])):
            self._reheard(item, 0)  # clients delete what was interrupted before anything of it was played
        if key := self._items.key(item["id"]):
            self._session.dialogue.remove(key)
        self._items.remove(item["id"])
        self._tell({"type": "conversation.item.deleted", "item_id": item["id"]})

    def _reheard(self, item: Item, heard_ms: int) -> None:
        """The client played so much of it, and no more."""
        if not (ours := self._items.reply(item["id"])):
            return
        heard = self._session.speaking.reheard(ours, heard_ms)
        if heard is not None:
            self._items.truncate(item["id"], heard)

    def _respond(self, event: Event) -> None:
        session, chosen, told = self._session, self._terms.chosen, wished(event.get("response"))
        functions = chosen.tools if told.tools is None else told.tools
        choice = told.tool_choice or chosen.tool_choice
        tools = offered(functions, choice) if functions or choice == "none" else None  # None: the agent's own
        if told.conversation == "none":
            self._think(told, tools)
            return
        if self._active is not None or session.floor.asked:
            raise Refusal(BUSY, "conversation_already_has_active_response")
        spoken = None if told.output_modalities is None else told.output_modalities == ["audio"]
        messages = None if told.input is None else tuple(self._messages(told.input))
        said, self._unsaid = "\n".join(self._unsaid), []
        self._put("wire.create", metadata=told.metadata, spoken=spoken)
        self._talk.respond(Wish(told.instructions, messages, tools, spoken, told.voice), said)

    def _think(self, told: Wished, tools: tuple[ToolSpec, ...] | None) -> None:
        """A response outside the conversation, beside whatever goes on in it: in writing."""
        modalities = told.output_modalities or self._terms.chosen.output_modalities
        if modalities != ["text"]:
            raise Refusal(
                "A response outside the conversation is in writing: output_modalities must be ['text'].",
                param="response.output_modalities",
            )
        dialogue, name = self._session.dialogue, new_id("aside")
        if told.input is None:
            messages = dialogue.prompt(None, told.instructions)
        else:
            system = [m for m in dialogue.prompt(None, told.instructions)[:1] if m.role == "system"]
            messages = (*system, *self._messages(told.input))
        self._put("wire.aside", name=name, metadata=told.metadata)
        self._talk.think(messages, tools, lambda piece: self._put("wire.piece", name=name, piece=piece))

    def _messages(self, items: Iterable[Mapping[str, Any]]) -> Iterable[Message]:
        for told in items:
            if told.get("type") == "item_reference":
                key = self._items.key(self._items.get(told.get("id"), "retrieve")["id"])
                yield from (m for m in self._session.dialogue.prompt() if m.key == key)
                continue
            item, text = read(told)
            if item["type"] == "message":
                yield Message(item["role"], text)

    def _cancel(self, event: Event) -> None:
        reply, wanted = self._active, event.get("response_id")
        if reply is None or (wanted is not None and wanted != self._teller.id_of(reply.response_id)):
            raise Refusal(NOT_ACTIVE, "response_cancel_not_active")
        self._session.do({"type": "interrupt"})

    @property
    def _active(self) -> Reply | None:
        """The reply that is being made or sent."""
        reply = self._session.speaking.current
        return None if reply is None or reply.closed else reply

    # -- to the client -------------------------------------------------------------------------------------

    def _tell(self, *events: Event) -> None:
        """In its place among what the session says."""
        self._put("wire.events", events=events)

    def _put(self, kind: str, **told: Any) -> None:
        self._session.outbox.put({"type": kind, **told})

    def encode(self, item: Event | bytes) -> list[Outgoing]:
        """What the session says, as server events."""
        return self._teller.encode(item)


def _empty(ms: int) -> Refusal:
    why = f"buffer too small. Expected at least {LEAST_MS}ms of audio, but buffer only has {ms}ms of audio."
    return Refusal(f"Error committing input audio buffer: {why}", "input_audio_buffer_commit_empty")


def _arguments(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _cleaned(value: Any) -> Any:
    """Text that every file and database takes: JSON can escape half a character, and NUL. Raises
    `Refusal`."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refusal("A text holds half a character (a lone surrogate).") from error
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(one) for key, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list) else value


_READERS: Mapping[str, Callable[[Realtime, Event], None]] = {
    "session.update": Realtime._update,
    "input_audio_buffer.commit": Realtime._commit,
    "input_audio_buffer.clear": Realtime._clear,
    "conversation.item.create": Realtime._create,
    "conversation.item.retrieve": Realtime._retrieve,
    "conversation.item.truncate": Realtime._truncate,
    "conversation.item.delete": Realtime._delete,
    "response.create": Realtime._respond,
    "response.cancel": Realtime._cancel,
}

CLIENT_EVENTS = ("input_audio_buffer.append", *_READERS)
"""All that a client may say."""
