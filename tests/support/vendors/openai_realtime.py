"""OpenAI's Realtime API, GA, on a local port, with turn detection off: the client commits and asks.

Message shapes and their order: https://platform.openai.com/docs/api-reference/realtime-client-events and
https://platform.openai.com/docs/api-reference/realtime-server-events; the guide
https://platform.openai.com/docs/guides/realtime-conversations. Every event that comes in or goes out is
checked against the types of OpenAI's own package. A bad key or model is refused after the handshake, as the
vendor does.
"""

import asyncio
import base64
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import soxr
from pydantic import TypeAdapter
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Seen, Trouble, Vendor
from tests.support.vendors.sound import MS_PER_CHAR, Ear, speech_of

RATE_HZ = 24_000
MODELS = ("gpt-realtime-2.1-mini", "gpt-realtime-1.5")
BYTES_PER_MS = RATE_HZ * 2 // 1000


class OpenAiRealtime(Vendor):
    """`replies`: what is answered, in turn; a ToolCall is a tuple (name, arguments)."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.replies: list[str | tuple[str, str]] = []
        self.transcript_ms = 0
        """How long writing down an utterance takes; below 0 = for ever."""
        self.transcript_fails = False
        self.sessions: list[Session] = []

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/v1/realtime", self._serve)]

    def next_reply(self, heard: str) -> str | tuple[str, str]:
        return self.replies.pop(0) if self.replies else f"You said: {heard}."

    async def _serve(self, socket: WebSocket) -> None:
        seen = self.see_socket(socket)
        trouble = self.trouble()
        await socket.accept()
        session = Session(self, socket, seen, trouble)
        self.sessions.append(session)
        try:
            await session.run()
        except WebSocketDisconnect:
            pass
        finally:
            await session.close()
            seen.closed.set()


class Session:
    """One connection and its conversation."""

    def __init__(self, vendor: OpenAiRealtime, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        self._vendor, self._socket, self._seen, self._trouble = vendor, socket, seen, trouble
        self._ids = itertools.count(1)
        self.items: list[dict[str, Any]] = []
        """The conversation as the model would remember it; sound as "sound_ms"."""
        self.settings: dict[str, Any] = {"type": "realtime", "model": seen.query.get("model", "")}
        self._buffer = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        self._response: tuple[str, asyncio.Task[None]] | None = None
        self.kinds: list[str] = []
        """The types of the client's events."""

    async def run(self) -> None:
        if not await self._may_enter():
            return
        if self._trouble.hang and self._trouble.after is None:
            await self._vendor.hang()
            return
        await self.send("session.created", session=self._session())
        while True:
            text = await self._socket.receive_text()
            event = json.loads(text)
            self._seen.messages.append(event)
            _CLIENT.validate_python(event)
            self.kinds.append(event["type"])
            await self._HANDLERS[event["type"]](self, event)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self._ids)}", **fields}
        _SERVER.validate_python(event)
        with suppress(RuntimeError, WebSocketDisconnect):  # the client is gone
            await self._socket.send_text(json.dumps(event))

    # -- the door ------------------------------------------------------------------------------------------

    async def _may_enter(self) -> bool:
        status = 0 if self._trouble.after is not None else self._trouble.status
        if self._seen.headers.get("authorization") != f"Bearer {KEY}":
            status = 401
        if not status and self._seen.query.get("model") not in MODELS:
            status = 404
        if not status:
            return True
        kind, code, close = {
            401: ("invalid_request_error", "invalid_api_key", 3000),
            404: ("invalid_request_error", "model_not_found", 4000),
            429: ("insufficient_quota", "insufficient_quota", 4000),
        }.get(status, ("server_error", "server_error", 1011))
        await self._error(kind, code, self._trouble.message)
        await self._socket.close(close, f"{kind}.{code}")
        return False

    async def _error(self, kind: str, code: str, message: str, event_id: str | None = None) -> None:
        error = {"type": kind, "code": code, "message": message, "param": None, "event_id": event_id}
        await self.send("error", error=error)

    def _session(self) -> dict[str, Any]:
        return {"id": "sess_1", "object": "realtime.session", **self.settings}

    # -- client events -------------------------------------------------------------------------------------

    async def _update(self, event: dict[str, Any]) -> None:
        self.settings |= event["session"]
        await self.send("session.updated", session=self._session())

    async def _append(self, event: dict[str, Any]) -> None:
        self._buffer += base64.b64decode(event["audio"], validate=True)

    async def _clear(self, event: dict[str, Any]) -> None:
        del event
        self._buffer.clear()
        await self.send("input_audio_buffer.cleared")

    async def _commit(self, event: dict[str, Any]) -> None:
        if len(self._buffer) < 100 * BYTES_PER_MS:
            code = "input_audio_buffer_commit_empty"
            message = "Error committing input audio buffer: buffer too small."
            await self._error("invalid_request_error", code, message, event.get("event_id"))
            return
        pcm, self._buffer = bytes(self._buffer), bytearray()
        ear = Ear()
        samples = soxr.resample(np.frombuffer(pcm, "<i2"), RATE_HZ, 16_000)
        ear.hear(samples.astype("<i2").tobytes())
        content = [{"type": "input_audio", "transcript": None}]
        item = self._add({"type": "message", "role": "user", "status": "completed", "content": content})
        item["heard"], item["sound_ms"] = ear.text, len(pcm) // BYTES_PER_MS
        await self.send("input_audio_buffer.committed", item_id=item["id"], previous_item_id=None)
        await self._announce(item)
        if self.settings["audio"]["input"].get("transcription"):
            self._spawn(self._write_down(item))

    async def _write_down(self, item: dict[str, Any]) -> None:
        head = "conversation.item.input_audio_transcription"
        if self._vendor.transcript_ms < 0:
            return
        await asyncio.sleep(self._vendor.transcript_ms / 1000)
        where = {"item_id": item["id"], "content_index": 0}
        if self._vendor.transcript_fails:
            error = {"type": "server_error", "code": "transcription_failed", "message": "it failed"}
            await self.send(f"{head}.failed", **where, error=error)
            return
        for word in item["heard"].split():
            await self.send(f"{head}.delta", **where, delta=f"{word} ")
        details = {"audio_tokens": item["sound_ms"] // 100, "text_tokens": 0}
        usage = {"type": "tokens", "input_tokens": details["audio_tokens"], "output_tokens": 4}
        usage |= {"total_tokens": details["audio_tokens"] + 4, "input_token_details": details}
        await self.send(f"{head}.completed", **where, transcript=item["heard"], usage=usage)

    async def _create_item(self, event: dict[str, Any]) -> None:
        await self._announce(self._add(dict(event["item"])))

    async def _delete_item(self, event: dict[str, Any]) -> None:
        self.items = [i for i in self.items if i["id"] != event["item_id"]]
        await self.send("conversation.item.deleted", item_id=event["item_id"])

    async def _truncate(self, event: dict[str, Any]) -> None:
        item = next(i for i in self.items if i["id"] == event["item_id"])
        end_ms = event["audio_end_ms"]
        if end_ms > item["sound_ms"]:
            message = f"Audio content of {item['sound_ms']}ms is already shorter than {end_ms}ms"
            await self._error("invalid_request_error", "invalid_value", message, event.get("event_id"))
            return
        item["sound_ms"] = end_ms
        item["text"] = item["text"][: end_ms // MS_PER_CHAR]
        where = {"item_id": item["id"], "content_index": 0, "audio_end_ms": end_ms}
        await self.send("conversation.item.truncated", **where)

    async def _create_response(self, event: dict[str, Any]) -> None:
        if self._response is not None:
            code = "conversation_already_has_active_response"
            message = "Conversation already has an active response in progress."
            await self._error("invalid_request_error", code, message, event.get("event_id"))
            return
        response_id = f"resp_{next(self._ids)}"
        task = self._spawn(self._respond(response_id, event.get("response") or {}))
        self._response = (response_id, task)

    async def _cancel(self, event: dict[str, Any]) -> None:
        if self._response is None:
            code, message = "response_cancel_not_active", "Cancellation failed: no active response found"
            await self._error("invalid_request_error", code, message, event.get("event_id"))
            return
        await asyncio.sleep(0)  # it has begun
        if self._response is not None:
            self._response[1].cancel()

    _HANDLERS: dict[str, Callable[..., Any]] = {  # noqa: RUF012 - a table of methods
        "session.update": _update,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.clear": _clear,
        "input_audio_buffer.commit": _commit,
        "conversation.item.create": _create_item,
        "conversation.item.delete": _delete_item,
        "conversation.item.truncate": _truncate,
        "response.create": _create_response,
        "response.cancel": _cancel,
    }

    # -- answering -----------------------------------------------------------------------------------------

    async def _respond(self, response_id: str, asked: dict[str, Any]) -> None:
        response: dict[str, Any] = {
            "id": response_id,
            "object": "realtime.response",
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "metadata": asked.get("metadata"),
        }
        trouble, status, made_ms = self._trouble, "completed", [0]
        details: dict[str, Any] | None = None
        try:
            await asyncio.shield(self._spawn(self.send("response.created", response=response)))
            await self._vendor.pause(trouble, 0)
            if not trouble.empty:
                output = await self._output(response_id, made_ms)
                response["output"] = [{k: v for k, v in output.items() if k in _PUBLIC}]
        except asyncio.CancelledError:
            status, details = "cancelled", {"type": "cancelled", "reason": "client_cancelled"}
        except _Failed:
            status = "failed"
            error = {"type": "server_error", "code": "server_error", "message": trouble.message}
            details = {"type": "failed", "error": error}
        self._response = None
        done = {**response, "status": status, "status_details": details, "usage": self._usage(made_ms[0])}
        await self.send("response.done", response=done)

    async def _output(self, response_id: str, made_ms: list[int]) -> dict[str, Any]:
        users = [i for i in self.items if i.get("role") == "user"]
        heard = str(users[-1].get("heard") or users[-1]["content"][0].get("text", "")) if users else ""
        reply = self._vendor.next_reply(heard)
        if isinstance(reply, tuple):
            return await self._call(response_id, *reply)
        item = self._add({"type": "message", "role": "assistant", "status": "in_progress", "content": []})
        item |= {"text": "", "sound_ms": 0}
        await self.send("response.output_item.added", **_at(response_id), item=_public(item))
        await self._announce(item, done=False)
        where = {**_at(response_id), "item_id": item["id"], "content_index": 0}
        spoken = self.settings["output_modalities"] == ["audio"]
        part = {"type": "audio", "transcript": ""} if spoken else {"type": "text", "text": ""}
        await self.send("response.content_part.added", **where, part=part)
        sounds = speech_of(reply, RATE_HZ) if spoken else []
        said = 0
        for index, pcm in enumerate(sounds or [b""]):
            await self._go_wrong(index)
            item["sound_ms"] += len(pcm) // BYTES_PER_MS
            made_ms[0] = item["sound_ms"]
            reached = len(reply) if index + 1 >= len(sounds) else item["sound_ms"] // MS_PER_CHAR
            delta, said = reply[said:reached], reached
            item["text"] += delta
            name = "output_audio_transcript" if spoken else "output_text"
            await self.send(f"response.{name}.delta", **where, delta=delta)
            if pcm:
                sound = base64.b64encode(pcm).decode()
                await self.send("response.output_audio.delta", **where, delta=sound)
        if spoken:
            await self.send("response.output_audio.done", **where)
            await self.send("response.output_audio_transcript.done", **where, transcript=reply)
        else:
            await self.send("response.output_text.done", **where, text=reply)
        full = {"type": "audio", "transcript": reply} if spoken else {"type": "text", "text": reply}
        await self.send("response.content_part.done", **where, part=full)
        kind = "output_audio" if spoken else "output_text"
        item |= {
            "status": "completed",
            "content": [{"type": kind, "transcript" if spoken else "text": reply}],
        }
        await self.send("conversation.item.done", item=_public(item), previous_item_id=None)
        await self.send("response.output_item.done", **_at(response_id), item=_public(item))
        return item

    async def _call(self, response_id: str, name: str, arguments: str) -> dict[str, Any]:
        call_id = f"call_{next(self._ids)}"
        item = self._add({"type": "function_call", "status": "in_progress", "call_id": call_id, "name": name})
        item["arguments"] = ""
        where = {**_at(response_id), "item_id": item["id"], "call_id": call_id}
        await self.send("response.output_item.added", **_at(response_id), item=_public(item))
        await self._announce(item, done=False)
        await self.send("response.function_call_arguments.delta", **where, delta=arguments)
        done = {**where, "name": name, "arguments": arguments}
        await self.send("response.function_call_arguments.done", **done)
        item |= {"status": "completed", "arguments": arguments}
        await self.send("conversation.item.done", item=_public(item), previous_item_id=None)
        await self.send("response.output_item.done", **_at(response_id), item=_public(item))
        return item

    async def _go_wrong(self, index: int) -> None:
        trouble = self._trouble
        if index:
            await self._vendor.pause(trouble, index)
        await asyncio.sleep(0)
        if trouble.after is None or index < trouble.after:
            return
        if trouble.hang:
            await self._vendor.hang()
        if trouble.status:
            raise _Failed
        with suppress(RuntimeError):
            await self._socket.close(1011)
        await asyncio.sleep(3600)

    def _usage(self, made_ms: int) -> dict[str, Any]:
        heard = sum(i["sound_ms"] // 100 for i in self.items if i.get("role") == "user" and "sound_ms" in i)
        cached = {"text_tokens": 40, "audio_tokens": 0, "image_tokens": 0}
        into = {"text_tokens": 100, "audio_tokens": heard, "image_tokens": 0, "cached_tokens": 40}
        out = {"text_tokens": 10, "audio_tokens": made_ms // 50}
        return {
            "total_tokens": 110 + heard + made_ms // 50,
            "input_tokens": 100 + heard,
            "output_tokens": 10 + made_ms // 50,
            "input_token_details": {**into, "cached_tokens_details": cached},
            "output_token_details": out,
        }

    # -- the conversation ----------------------------------------------------------------------------------

    def _add(self, item: dict[str, Any]) -> dict[str, Any]:
        item.setdefault("id", f"item_{next(self._ids)}")
        self.items.append(item)
        return item

    async def _announce(self, item: dict[str, Any], *, done: bool = True) -> None:
        await self.send("conversation.item.added", item=_public(item), previous_item_id=None)
        if done:
            await self.send("conversation.item.done", item=_public(item), previous_item_id=None)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Failed(Exception):
    """The response is to end as failed."""


_PUBLIC = {"id", "type", "role", "status", "content", "call_id", "name", "arguments", "output"}


def _public(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if k in _PUBLIC}


def _at(response_id: str) -> dict[str, Any]:
    return {"response_id": response_id, "output_index": 0}


def _adapters() -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent

    return TypeAdapter(RealtimeClientEvent), TypeAdapter(RealtimeServerEvent)


_CLIENT, _SERVER = _adapters()
