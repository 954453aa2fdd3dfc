"""What a session says, as the server events of OpenAI's Realtime API (GA).

    a turn      speech_started, speech_stopped, committed, item.added, item.done, transcription.completed
    a response  response.created, then one message (item added, parts, deltas, done), the calls, response.done

The order is OpenAI's. Where it leaves room, this does what the stock clients need (docs/openai-realtime.md):
the user's transcript comes before the answer, and `speech_started` during an answer once it interrupts it.
"""

import base64
import itertools
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts import LlmError, ToolCall
from pipeline.minutes import user_key
from pipeline.outbox import Event
from pipeline.reply import Reply
from pipeline.request import Request
from pipeline.session import Session
from server.wire import g711
from server.wire.common import Outgoing
from server.wire.realtime.items import Item, Items, copy_of, new_id
from server.wire.realtime.terms import LAWS, Terms

log = logging.getLogger(__name__)

SERVER_EVENTS = (
    *("error", "session.created", "session.updated", "response.created", "response.done"),
    *(f"input_audio_buffer.{what}" for what in ("speech_started", "speech_stopped", "committed", "cleared")),
    *(f"conversation.item.{what}" for what in ("added", "done", "retrieved", "truncated", "deleted")),
    *(f"conversation.item.input_audio_transcription.{what}" for what in ("delta", "completed", "failed")),
    *(f"response.{part}.{what}" for part in ("output_item", "content_part") for what in ("added", "done")),
    *(
        f"response.{part}.{what}"
        for part in ("output_audio", "output_audio_transcript", "output_text", "function_call_arguments")
        for what in ("delta", "done")
    ),
)
"""All that a client may be told."""


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
    shown: int = 0
    """Characters of it that the client was told: of what is spoken, no more than sounds."""
    samples: int = 0
    """Sound that it was sent."""
    open: bool = False
    """The client knows of its message."""
    before: str | None = None
    """The item before that."""
    calls: list[ToolCall] = field(default_factory=list)
    trouble: Event | None = None
    asked: list[Request] = field(default_factory=list)
    """Whom, of one that is no reply."""
    outside: bool = False
    """Of the conversation: its items are nobody's but its own."""


class Teller:
    """Speaks for one socket. It keeps what the client knows, and changes it as it is told."""

    def __init__(self, session: Session, terms: Terms, items: Items) -> None:
        self._session, self._terms, self._items = session, terms, items
        self._numbers = itertools.count(1)
        self._response: _Response | None = None
        self._asked: deque[Event] = deque()
        """What `response.create` wanted of responses that have not begun."""
        self._asides: dict[str, _Response] = {}
        """Responses outside the conversation."""
        self._commits: deque[str] = deque()
        """Items whose transcript is owed."""
        self._speech = ""
        """The item of the speech that goes on."""
        self._held: list[Event] = []
        """Speech during a response: told when it is more than noise or a backchannel."""
        self._partial = ""
        self._heard_ms = [0, 0]

    def id_of(self, response_id: str) -> str:
        """What the client calls a response of ours."""
        return f"resp_{self._session.id.rpartition('_')[2]}_{response_id}"

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
            yield from self._on_item(self._speech or new_id("item"), event)
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
        self._heard_ms = [0, event["ms"]]
        yield from self._committed(event["item_id"], None)

    def _on_item(self, item_id: str, event: Event) -> Iterable[Event]:
        """The user's turn is over."""
        yield from self._committed(item_id, event["text"])
        self._items.bind(item_id, user_key(event["turn"]))
        yield from self._written_down(item_id, event["text"])

    def _committed(self, item_id: str, text: str | None) -> Iterable[Event]:
        content = [{"type": "input_audio", "transcript": text}]
        item: Item = {"id": item_id, "object": "realtime.item", "type": "message", "status": "completed"}
        item |= {"role": "user", "content": content}
        before = self._items.add(item)
        yield {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": before}
        for kind in ("added", "done"):
            yield {
                "type": f"conversation.item.{kind}",
                "item": copy_of(item),
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
        item: Item = {"id": new_id("item"), "object": "realtime.item", "type": "message"}
        item |= {"status": "completed", "role": "user"}
        item["content"] = [{"type": "input_text", "text": event["text"]}]
        before = self._items.add(item, user_key(event["turn"]))
        for kind in ("added", "done"):
            yield {"type": f"conversation.item.{kind}", "item": copy_of(item), "previous_item_id": before}

    # -- the agent -----------------------------------------------------------------------------------------

    def _on_begin(self, event: Event) -> Iterable[Event]:
        asked: Event = self._asked.popleft() if self._asked else {}
        spoken = asked.get("spoken")
        ours = event["response_id"]
        response = self._response = _Response(
            self.id_of(ours),
            ours,
            new_id("item"),
            self._terms.chosen.is_spoken if spoken is None else spoken,
            asked.get("metadata"),
        )
        yield {"type": "response.created", "response": self._told(response, "in_progress")}

    def _on_aside(self, event: Event) -> Iterable[Event]:
        name = event["name"]
        response = _Response(
            f"resp_{name}", name, new_id("item"), spoken=False, metadata=event["metadata"], outside=True
        )
        self._asides[name] = response
        yield {"type": "response.created", "response": self._told(response, "in_progress")}

    def _on_piece(self, event: Event) -> Iterable[Event]:
        """The next of a response outside the conversation; at last what was asked of whom."""
        response, piece = self._asides[event["name"]], event["piece"]
        if isinstance(piece, str):
            yield from self._grown(response, piece)
        elif isinstance(piece, ToolCall):
            response.calls.append(piece)
        elif isinstance(piece, LlmError):
            response.trouble = {"code": "llm_failed", "message": piece.user_message}
        else:
            response.asked = piece
            del self._asides[event["name"]]
            yield from self._ended(response)

    def _on_text(self, event: Event) -> Iterable[Event]:
        response = self._of(event)
        if response is not None and not event["final"] and event["text"]:
            yield from self._grown(response, event["text"])

    def _grown(self, response: _Response, text: str) -> Iterable[Event]:
        response.text += text
        return () if response.spoken else self._show(response, len(response.text))

    def _show(self, response: _Response, end: int) -> Iterable[Event]:
        """Tell the text to there."""
        delta, response.shown = response.text[response.shown : end], max(end, response.shown)
        if delta:
            yield from self._opened(response)
            kind = "output_audio_transcript" if response.spoken else "output_text"
            yield {"type": f"response.{kind}.delta", **self._place(response), "delta": delta}

    def _sound(self, pcm: bytes) -> list[Event]:
        response = self._response
        if response is None:
            return []
        reply = self._reply(response)
        response.samples += len(pcm) // 2
        reached = reply.text_reached(response.samples) if reply is not None else len(response.text)
        shown = list(self._show(response, reached))
        law = LAWS.get(self._terms.chosen.audio.output.format.type)
        data = g711.encode(pcm, law) if law is not None else pcm
        delta = base64.b64encode(data).decode("ascii")
        told = {"type": "response.output_audio.delta", **self._place(response), "delta": delta}
        return [*shown, *self._opened(response), told]

    def _on_call(self, event: Event) -> Iterable[Event]:
        if event.get("by") == "client" and self._response is not None:
            call = ToolCall(event["id"], event["name"], event["arguments"])
            self._response.calls.append(call)  # its time comes when the message is over
        return ()

    def _on_end(self, event: Event) -> Iterable[Event]:
        response = self._of(event)
        if response is not None:
            self._response = None
            yield from self._ended(response)

    def _ended(self, response: _Response) -> Iterable[Event]:
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
        self._response = None
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
        known = self._message(response, "in_progress", self._content(response))
        if not response.outside:
            response.before = self._items.add(known, response.ours, response.ours)
        yield {"type": "response.output_item.added", **_output(response, 0), "item": item}
        if not response.outside:
            yield {"type": "conversation.item.added", "item": item, "previous_item_id": response.before}
        part = {"type": "audio", "transcript": ""} if response.spoken else {"type": "text", "text": ""}
        yield {"type": "response.content_part.added", **self._place(response), "part": part}

    def _finish(self, response: _Response, status: str, details: Mapping[str, Any] | None) -> Iterable[Event]:
        output: list[Item] = []
        if status == "completed":
            yield from self._show(response, len(response.text))  # what had no sound after all
        response.text = response.text[: response.shown]
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
            yield from self._done(response, item, 0, response.before)
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
        before = None if response.outside else self._items.add(item)
        yield {"type": "response.output_item.added", **_output(response, index), "item": begun}
        if not response.outside:
            yield {"type": "conversation.item.added", "item": begun, "previous_item_id": before}
        place = {**_output(response, index), "item_id": item["id"], "call_id": call.id}
        kind = "response.function_call_arguments"
        yield {"type": f"{kind}.delta", **place, "delta": arguments}
        yield {"type": f"{kind}.done", **place, "name": call.name, "arguments": arguments}
        yield from self._done(response, item, index, before)
        output.append(item)

    def _done(self, response: _Response, item: Item, index: int, before: str | None) -> Iterable[Event]:
        if not response.outside:
            self._items.settle(item)
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
            "conversation_id": None if response.outside else f"conv_{self._session.id}",
            "output_modalities": ["audio"] if response.spoken else ["text"],
            "max_output_tokens": self._terms.chosen.max_output_tokens,
            "audio": {"output": {"format": audio["format"], "voice": audio["voice"]}} if audio else None,
            "usage": None if status == "in_progress" else self._usage(response),
            "metadata": response.metadata,
        }

    def _reply(self, response: _Response) -> Reply | None:
        """The session's reply that it is, as long as that is remembered."""
        return self._session.speaking.known(response.ours)

    def _usage(self, response: _Response) -> dict[str, Any]:
        reply = self._reply(response)
        asked = [r for r in (reply.requests if reply else response.asked) if r.stage == "llm"]
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


_TELLERS: Mapping[str, Callable[[Teller, Event], Iterable[Event]]] = {
    "wire.events": Teller._on_events,
    "wire.create": Teller._on_create,
    "wire.commit": Teller._on_commit,
    "wire.aside": Teller._on_aside,
    "wire.piece": Teller._on_piece,
    "speech.started": Teller._on_speech,
    "speech.stopped": Teller._on_speech,
    "transcription": Teller._on_transcription,
    "user_message": Teller._on_message,
    "response.begin": Teller._on_begin,
    "agent_response": Teller._on_text,
    "tool.call": Teller._on_call,
    "response.end": Teller._on_end,
    "interrupted": Teller._on_interrupted,
    "error": Teller._on_error,
}
