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
import itertools
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr

from pipeline.contracts import INPUT_RATE_HZ, Message, ToolCall
from pipeline.core.floor import User
from pipeline.minutes import user_key
from pipeline.outbox import Event
from pipeline.reply import Reply, Wish
from pipeline.session import Session
from server.wire import g711
from server.wire.realtime_items import Item, Items, new_id, read
from server.wire.realtime_session import Format, Refusal, Terms, offered, wished
from server.wire.voice import Outgoing

log = logging.getLogger(__name__)

LEAST_MS = 100
"""Sound that can be committed, as at OpenAI's."""
MOST_WAITING_S = 120
"""Sound that may wait for a commit."""
PIECE_BYTES = INPUT_RATE_HZ * 2
"""A second: how much of a long recording is listened to before others have their turn."""
LAWS: Mapping[str, g711.Law] = {"audio/pcmu": "mu", "audio/pcma": "a"}
BUSY = "Conversation already has an active response in progress. Wait until it is done, or cancel it."
NOT_ACTIVE = "Cancellation failed: no active response found"


@dataclass(slots=True)
class _Response:
    """A response that is being sent."""

    id: str
    ours: str
    """The session's name for it."""
    item_id: str
    spoken: bool
    metadata: Mapping[str, str] | None
    text: str = ""
    open: bool = False
    """The client knows of its message."""
    calls: list[ToolCall] = field(default_factory=list)
    trouble: Event | None = None


class Realtime:
    """Speaks for one socket and acts on its session."""

    def __init__(self, session: Session, terms: Terms) -> None:
        self._session, self._terms = session, terms
        self._items = Items()
        self._numbers = itertools.count(1)
        self._format: Format | None = None
        self._resampler: soxr.ResampleStream | None = None
        self._waiting = bytearray()
        """Sound that is not pressed yet: a reply has the floor."""
        self._buffered = 0
        """Bytes since the last commit, where the client commits."""
        self._unsaid: list[str] = []
        """What the user has written since the last response."""
        # what the client knows; changed in the order in which it is told
        self._response: _Response | None = None
        self._asked: deque[Event] = deque()
        """What `response.create` wanted of responses that have not begun."""
        self._commits: deque[str] = deque()
        """Items whose transcript is owed."""
        self._speech = ""
        """The item of the speech that goes on."""
        self._held: list[Event] = []
        """Speech during a response: told when it is more than noise or a backchannel."""
        self._partial = ""
        self._heard_ms = [0, 0]

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
            self._format = told
            self._resampler = None
            if told.rate_hz != INPUT_RATE_HZ:
                self._resampler = soxr.ResampleStream(told.rate_hz, INPUT_RATE_HZ, 1, "int16", "LQ")
        law = LAWS.get(told.type)
        if law is not None:
            data = g711.decode(data, law)
        elif len(data) & 1:
            raise Refusal("Invalid value for 'audio': half a sample.", param="audio")
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
            session.cut_off()
            return
        ms = self._buffered * 1000 // (INPUT_RATE_HZ * 2)
        if ms < LEAST_MS:
            raise _empty(ms)
        self._press()
        item_id, self._buffered = new_id("item"), 0
        self._put("wire.commit", item_id=item_id)
        session.do({"type": "talk.end"})

    def _clear(self, event: Event) -> None:  # noqa: ARG002
        self._waiting.clear()
        self._buffered = 0
        self._session.forget_speech()
        self._tell({"type": "input_audio_buffer.cleared"})

    def _update(self, event: Event) -> None:
        terms, session = self._terms, self._session
        was_manual, had = terms.chosen.is_manual, terms.setup()
        terms.update(event.get("session"))
        if terms.chosen.is_manual is not was_manual:
            session.forget_speech()
            self._waiting.clear()
            self._buffered = 0
        wants = terms.setup()
        if changed := {key: value for key, value in wants.items() if had.get(key) != value or key not in had}:
            session.retune(**changed)
        session.floor.answers = terms.chosen.answers
        session.equip(terms.tools())
        self._tell({"type": "session.updated", "session": terms.told()})

    def begin(self, known: Event) -> list[Event]:  # noqa: ARG002 - nobody comes back on this wire
        """Make the session as the terms are. Returns what the client is told first."""
        session = self._session
        session.retune(**self._terms.setup())
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
        if after not in (None, "root") and after not in self._items:
            raise Refusal(
                f"Error adding item: the previous item '{after}' does not exist.",
                "item_create_invalid_previous_item_id",
                "previous_item_id",
            )
        if item["type"] == "message":
            place = "" if after == "root" else (self._items.key(after) or None if after else None)
            self._session.dialogue.add(Message(item["role"], text, key=item["id"]), place)
            if item["role"] == "user" and text.strip():
                self._unsaid.append(text)
            elif item["role"] == "assistant":
                self._unsaid.clear()  # it is told of an earlier talk
        elif item["type"] == "function_call_output":
            self._returned(item)
        before = self._items.add(item, item["id"])
        previous = None if after == "root" else after or before
        for kind in ("added", "done"):
            told = {"item": _copy(item), "previous_item_id": previous}
            self._tell({"type": f"conversation.item.{kind}", **told})

    def _returned(self, item: Item) -> None:
        call_id, output = item["call_id"], item["output"]
        if self._session.returned(call_id, output, item["id"]):
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
        self._tell({"type": "conversation.item.retrieved", "item": _copy(item)})

    def _truncate(self, event: Event) -> None:
        item = self._items.get(event.get("item_id"), "truncate")
        end_ms = event.get("audio_end_ms")
        if not isinstance(end_ms, int | float) or isinstance(end_ms, bool):
            raise Refusal("audio_end_ms must be a number.", "missing_required_parameter", "audio_end_ms")
        heard_ms = max(0, int(end_ms))
        self._reheard(item, heard_ms)
        told = {"item_id": item["id"], "content_index": 0, "audio_end_ms": heard_ms}
        self._tell({"type": "conversation.item.truncated", **told})

    def _delete(self, event: Event) -> None:
        item = self._items.get(event.get("item_id"), "delete")
        self._reheard(item, 0)
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
            for part in item["content"]:
                part["transcript" if part["type"] == "output_audio" else "text"] = heard

    def _respond(self, event: Event) -> None:
        session, chosen, told = self._session, self._terms.chosen, wished(event.get("response"))
        if told.conversation == "none":
            raise Refusal(
                "Responses outside the conversation are not made here.", param="response.conversation"
            )
        if self._active is not None or session.floor.asked:
            raise Refusal(BUSY, "conversation_already_has_active_response")
        tools = None
        if told.tools is not None or told.tool_choice is not None:
            functions = told.tools if told.tools is not None else chosen.tools
            tools = offered(functions, told.tool_choice or chosen.tool_choice)
        spoken = None if told.output_modalities is None else told.output_modalities == ["audio"]
        messages = None if told.input is None else tuple(self._messages(told.input))
        said, self._unsaid = "\n".join(self._unsaid), []
        self._put("wire.create", metadata=told.metadata, spoken=spoken)
        session.respond(Wish(told.instructions, messages, tools, spoken, told.voice), said)

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
        if reply is None or (wanted is not None and wanted != self._id_of(reply.response_id)):
            raise Refusal(NOT_ACTIVE, "response_cancel_not_active")
        self._session.do({"type": "interrupt"})

    @property
    def _active(self) -> Reply | None:
        """The reply that is being made or sent."""
        reply = self._session.speaking.current
        return None if reply is None or reply.closed else reply

    def _id_of(self, response_id: str) -> str:
        return f"resp_{self._session.id.rpartition('_')[2]}_{response_id}"

    # -- to the client -------------------------------------------------------------------------------------

    def _tell(self, *events: Event) -> None:
        """In its place among what the session says."""
        self._put("wire.events", events=events)

    def _put(self, kind: str, **told: Any) -> None:
        self._session.outbox.put({"type": kind, **told})

    def encode(self, item: Event | bytes) -> list[Outgoing]:
        """What the session says, as server events, in order: this keeps what the client knows."""
        if isinstance(item, bytes):
            events = self._sound(item)
        else:
            teller = _TELLERS.get(item["type"])
            events = list(teller(self, item)) if teller is not None else []
        return [_sent({"event_id": f"event_{next(self._numbers):06}", **event}) for event in events]

    def _on_events(self, event: Event) -> Iterable[Event]:
        return event["events"]  # type: ignore[no-any-return]

    def _on_create(self, event: Event) -> Iterable[Event]:
        self._asked.append(event)
        return ()

    # -- the user ------------------------------------------------------------------------------------------

    def _on_speech(self, event: Event) -> Iterable[Event]:
        if self._terms.chosen.is_manual:
            return
        started = event["type"] == "speech.started"
        self._heard_ms[not started] = event["at_ms"]
        if started:
            self._held.clear()
            self._partial = ""
            self._speech = self._speech or new_id("item")
        when = "audio_start_ms" if started else "audio_end_ms"
        kind = "speech_started" if started else "speech_stopped"
        told = {"type": f"input_audio_buffer.{kind}", when: event["at_ms"], "item_id": self._speech}
        if self._held or (started and self._session.floor.replying):
            self._held.append(told)
        else:
            yield told

    def _on_transcription(self, event: Event) -> Iterable[Event]:
        if not event["final"]:
            yield from self._on_partial(event["text"])
            return
        if not self._commits:
            yield from self._flush()
            yield from self._on_item(self._speech or new_id("item"), event["text"])
        else:
            while len(self._commits) > 1:  # several commits became one turn
                yield from self._written_down(self._commits.popleft(), "")
            item_id = self._commits.popleft()
            self._items.bind(item_id, user_key(event["turn"]))
            yield from self._written_down(item_id, event["text"])
        self._speech = self._partial = ""

    def _on_partial(self, text: str) -> Iterable[Event]:
        item_id = self._commits[0] if self._commits else self._speech
        grown = text.startswith(self._partial)  # a delta cannot take anything back
        if self._terms.chosen.audio.input.transcription is None or self._held or not item_id or not grown:
            return
        delta, self._partial = text[len(self._partial) :], text
        if delta:
            kind = "conversation.item.input_audio_transcription.delta"
            yield {"type": kind, "item_id": item_id, "content_index": 0, "delta": delta}

    def _on_commit(self, event: Event) -> Iterable[Event]:
        """The client has said that the user is done."""
        self._commits.append(event["item_id"])
        yield from self._committed(event["item_id"], None)

    def _on_item(self, item_id: str, text: str) -> Iterable[Event]:
        """The user's turn is over."""
        yield from self._committed(item_id, text)
        self._items.bind(item_id, user_key(self._session.floor.turn))
        yield from self._written_down(item_id, text)

    def _committed(self, item_id: str, text: str | None) -> Iterable[Event]:
        content = [{"type": "input_audio", "transcript": text}]
        item: Item = {"id": item_id, "object": "realtime.item", "type": "message", "status": "completed"}
        item |= {"role": "user", "content": content}
        before = self._items.add(item)
        yield {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": before}
        for kind in ("added", "done"):
            yield {
                "type": f"conversation.item.{kind}",
                "item": _copy(item),
                "previous_item_id": before,
            }

    def _written_down(self, item_id: str, text: str) -> Iterable[Event]:
        if item_id in self._items:
            self._items.get(item_id, "retrieve")["content"][0]["transcript"] = text
        if self._terms.chosen.audio.input.transcription is None:
            return
        seconds = max(0, self._heard_ms[1] - self._heard_ms[0]) / 1000
        yield {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": item_id,
            "content_index": 0,
            "transcript": text,
            "usage": {"type": "duration", "seconds": seconds},
        }

    def _flush(self) -> Iterable[Event]:
        """It was an interruption, or a turn: now the client is told when the speech began."""
        held, self._held = self._held, []
        return held

    def _on_message(self, event: Event) -> Iterable[Event]:
        """Somebody wrote over REST."""
        if event.get("told"):
            return
        item: Item = {"id": new_id("item"), "object": "realtime.item", "type": "message"}
        item |= {"status": "completed", "role": "user"}
        item["content"] = [{"type": "input_text", "text": event["text"]}]
        before = self._items.add(item, user_key(event["turn"]))
        for kind in ("added", "done"):
            yield {"type": f"conversation.item.{kind}", "item": _copy(item), "previous_item_id": before}

    # -- the agent -----------------------------------------------------------------------------------------

    def _on_begin(self, event: Event) -> Iterable[Event]:
        asked: Event = self._asked.popleft() if self._asked else {}
        spoken = asked.get("spoken")
        ours = event["response_id"]
        response = self._response = _Response(
            self._id_of(ours),
            ours,
            new_id("item"),
            self._terms.chosen.is_spoken if spoken is None else spoken,
            asked.get("metadata"),
        )
        yield {"type": "response.created", "response": self._told(response, "in_progress")}

    def _on_text(self, event: Event) -> Iterable[Event]:
        response = self._of(event)
        if response is None or event["final"] or not event["text"]:
            return
        yield from self._opened(response)
        response.text += event["text"]
        kind = "output_audio_transcript" if response.spoken else "output_text"
        yield {"type": f"response.{kind}.delta", **self._place(response), "delta": event["text"]}

    def _sound(self, pcm: bytes) -> list[Event]:
        response = self._response
        if response is None:
            return []
        law = LAWS.get(self._terms.chosen.audio.output.format.type)
        data = g711.encode(pcm, law) if law is not None else pcm
        delta = base64.b64encode(data).decode("ascii")
        told = {"type": "response.output_audio.delta", **self._place(response), "delta": delta}
        return [*self._opened(response), told]

    def _on_call(self, event: Event) -> Iterable[Event]:
        if event.get("by") == "client" and self._response is not None:
            call = ToolCall(event["id"], event["name"], event["arguments"])
            self._response.calls.append(call)  # its time comes when the message is over
        return ()

    def _on_end(self, event: Event) -> Iterable[Event]:
        response = self._of(event)
        if response is None:
            return
        if response.trouble is not None and not response.open:
            trouble = response.trouble
            error = {"type": "server_error", "code": trouble["code"], "message": trouble["message"]}
            yield from self._finish(response, "failed", {"type": "failed", "error": error})
        else:
            yield from self._finish(response, "completed", None)

    def _on_interrupted(self, event: Event) -> Iterable[Event]:
        yield from self._flush()
        response = self._of(event)
        if response is None:
            return
        asked_for = "client" in event["reason"]
        reason = "client_cancelled" if asked_for else "turn_detected"
        yield from self._finish(response, "cancelled", {"type": "cancelled", "reason": reason})

    def _on_error(self, event: Event) -> Iterable[Event]:
        code = event["code"]
        if code in ("nothing_heard", "stt_failed") and self._commits:
            item_id = self._commits.popleft()
            if code == "nothing_heard":
                yield from self._written_down(item_id, "")
                return
            kind = "conversation.item.input_audio_transcription.failed"
            error = {"type": "server_error", "code": code, "message": event["message"], "param": None}
            yield {"type": kind, "item_id": item_id, "content_index": 0, "error": error}
        elif event["fatal"]:
            error = {"type": "server_error", "code": code, "message": event["message"], "param": None}
            yield {"type": "error", "error": {**error, "event_id": None}}
        elif self._response is not None:
            self._response.trouble = event
        else:
            log.info("session %s: %s", self._session.id, event["message"])

    def _of(self, event: Event) -> _Response | None:
        """The response that an event of the session is about, if it goes on."""
        response = self._response
        return response if response is not None and response.ours == event["response_id"] else None

    def _opened(self, response: _Response) -> Iterable[Event]:
        """What comes before the first piece."""
        if response.open:
            return
        response.open = True
        item = self._message(response, "in_progress", [])
        before = self._items.add(
            self._message(response, "in_progress", self._content(response)), response.ours, response.ours
        )
        yield {"type": "response.output_item.added", **_output(response, 0), "item": item}
        yield {"type": "conversation.item.added", "item": item, "previous_item_id": before}
        part = {"type": "audio", "transcript": ""} if response.spoken else {"type": "text", "text": ""}
        yield {"type": "response.content_part.added", **self._place(response), "part": part}

    def _finish(self, response: _Response, status: str, details: Mapping[str, Any] | None) -> Iterable[Event]:
        self._response = None
        output: list[Item] = []
        if response.open:
            whole = "completed" if status == "completed" else "incomplete"
            item = self._message(response, whole, self._content(response))
            place, text = self._place(response), response.text
            if response.spoken:
                yield {"type": "response.output_audio.done", **place}
                yield {"type": "response.output_audio_transcript.done", **place, "transcript": text}
                part = {"type": "audio", "transcript": text}
            else:
                yield {"type": "response.output_text.done", **place, "text": text}
                part = {"type": "text", "text": text}
            yield {"type": "response.content_part.done", **place, "part": part}
            yield from self._done(response, item, 0)
            output.append(item)
        if status == "completed":
            for call in response.calls:
                yield from self._called(response, call, output)
        told = self._told(response, status, details, output)
        yield {"type": "response.done", "response": told}

    def _called(self, response: _Response, call: ToolCall, output: list[Item]) -> Iterable[Event]:
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
        item: Item = {"id": new_id("item"), "object": "realtime.item", "type": "function_call"}
        item |= {"status": "completed", "call_id": call.id, "name": call.name, "arguments": arguments}
        begun = {**item, "status": "in_progress", "arguments": ""}
        index = len(output)
        before = self._items.add(item)
        yield {"type": "response.output_item.added", **_output(response, index), "item": begun}
        yield {"type": "conversation.item.added", "item": begun, "previous_item_id": before}
        place = {**_output(response, index), "item_id": item["id"], "call_id": call.id}
        kind = "response.function_call_arguments"
        yield {"type": f"{kind}.delta", **place, "delta": arguments}
        yield {"type": f"{kind}.done", **place, "name": call.name, "arguments": arguments}
        yield from self._done(response, item, index, before)
        output.append(item)

    def _done(
        self, response: _Response, item: Item, index: int, before: str | None = None
    ) -> Iterable[Event]:
        if item["id"] in self._items:
            self._items.get(item["id"], "retrieve").update(_copy(item))
        yield {"type": "conversation.item.done", "item": item, "previous_item_id": before}
        yield {"type": "response.output_item.done", **_output(response, index), "item": item}

    def _message(self, response: _Response, status: str, content: list[dict[str, Any]]) -> Item:
        item = {"id": response.item_id, "object": "realtime.item", "type": "message", "status": status}
        return {**item, "role": "assistant", "content": content}

    def _content(self, response: _Response) -> list[dict[str, Any]]:
        if response.spoken:
            return [{"type": "output_audio", "transcript": response.text}]
        return [{"type": "output_text", "text": response.text}]

    def _place(self, response: _Response) -> dict[str, Any]:
        return {**_output(response, 0), "item_id": response.item_id, "content_index": 0}

    def _told(
        self,
        response: _Response,
        status: str,
        details: Mapping[str, Any] | None = None,
        output: list[Item] | None = None,
    ) -> dict[str, Any]:
        chosen = self._terms.told()
        audio = chosen.get("audio", {}).get("output")
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": status,
            "status_details": details,
            "output": output or [],
            "conversation_id": f"conv_{self._session.id}",
            "output_modalities": ["audio"] if response.spoken else ["text"],
            "max_output_tokens": self._terms.chosen.max_output_tokens,
            "audio": {"output": {"format": audio["format"], "voice": audio["voice"]}} if audio else None,
            "usage": None if status == "in_progress" else self._usage(response.ours),
            "metadata": response.metadata,
        }

    def _usage(self, ours: str) -> dict[str, Any]:
        speaking = self._session.speaking
        known = (speaking.current, *speaking.recent)
        reply = next((r for r in known if r is not None and r.response_id == ours), None)
        asked = [r for r in reply.requests if r.stage == "llm"] if reply is not None else []
        into, out = sum(r.input_tokens + r.cached_tokens for r in asked), sum(r.output_tokens for r in asked)
        cached = sum(r.cached_tokens for r in asked)
        nothing = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
        return {
            "total_tokens": into + out,
            "input_tokens": into,
            "output_tokens": out,
            "input_token_details": {
                **nothing,
                "text_tokens": into,
                "cached_tokens": cached,
                "cached_tokens_details": {**nothing, "text_tokens": cached},
            },
            "output_token_details": {"text_tokens": out, "audio_tokens": 0},
        }


def told_alone(code: str, message: str) -> Outgoing:
    """Why there is no session."""
    kind = "invalid_request_error" if code.startswith("invalid") else "server_error"
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": None}
    return _sent({"type": "error", "event_id": new_id("event"), "error": error})


def _sent(event: Event) -> Outgoing:
    return {"type": "websocket.send", "text": json.dumps(event)}


def _output(response: _Response, index: int) -> dict[str, Any]:
    return {"response_id": response.id, "output_index": index}


def _empty(ms: int) -> Refusal:
    why = f"buffer too small. Expected at least {LEAST_MS}ms of audio, but buffer only has {ms}ms of audio."
    return Refusal(f"Error committing input audio buffer: {why}", "input_audio_buffer_commit_empty")


def _arguments(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _copy(item: Item) -> Item:
    """As it is now: the next event about it may say something else."""
    return {**item, "content": [dict(part) for part in item["content"]]} if "content" in item else dict(item)


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

_TELLERS: Mapping[str, Callable[[Realtime, Event], Iterable[Event]]] = {
    "wire.events": Realtime._on_events,
    "wire.create": Realtime._on_create,
    "wire.commit": Realtime._on_commit,
    "speech.started": Realtime._on_speech,
    "speech.stopped": Realtime._on_speech,
    "transcription": Realtime._on_transcription,
    "user_message": Realtime._on_message,
    "response.begin": Realtime._on_begin,
    "agent_response": Realtime._on_text,
    "tool.call": Realtime._on_call,
    "response.end": Realtime._on_end,
    "interrupted": Realtime._on_interrupted,
    "error": Realtime._on_error,
}
