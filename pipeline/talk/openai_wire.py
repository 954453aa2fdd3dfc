"""The messages of OpenAI's Realtime API, GA: client events out, server events in.

https://platform.openai.com/docs/api-reference/realtime-client-events and -server-events. Items are known by
the ids that the server gives them; responses by a number of ours in their `metadata`, which it echoes.
"""

import base64
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr

from pipeline import vendor
from pipeline.contracts import (
    Asked,
    Ended,
    Failure,
    Said,
    Sounded,
    TalkError,
    TalkEvent,
    TalkSetup,
    ToolCall,
    Understood,
    Usage,
    Used,
)
from pipeline.core.messages import Message as Remembered
from pipeline.lines import LineLost, Message
from pipeline.talk.live import wrong_message

log = logging.getLogger(__name__)

WHO = "OpenAI Realtime"
RATE_HZ = 24_000
LEAST_MS = 100
"""The server refuses to commit less audio than this (`input_audio_buffer_commit_empty`)."""
VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
HARMLESS = {"response_cancel_not_active", "input_audio_buffer_commit_empty", "item_delete_invalid_item_id"}
"""Errors about things that are over already: our cancel crossed its end."""


@dataclass(slots=True)
class _Item:
    """A message of the model's, and how much sound it has."""

    id: str
    made_bytes: int = 0

    @property
    def ms(self) -> float:
        return self.made_bytes * 1000 / (RATE_HZ * 2)


@dataclass(slots=True)
class _Reply:
    """What a number of ours has become at the server: one response, or several with tools in between."""

    items: list[_Item] = field(default_factory=list)
    is_cut: bool = False


class OpenAiWire:
    """A `live.Wire`."""

    def __init__(self, voice: str, ear_model: str, effort: str = "") -> None:
        self.out: list[Message] = []
        self.ready = self.leaving = False
        self._voice, self._ear_model, self._effort = voice, ear_model, effort
        self._spoken = True
        self._resample = self._resampler()
        self._sent_bytes = 0
        self._committing: deque[int] = deque()
        self._utterances: dict[str, int] = {}
        """Our number of each user item."""
        self._user_items: dict[int, str] = {}
        self._dropped: set[int] = set()
        self._texts: dict[int, str] = {}
        self._replies: dict[int, _Reply] = {}
        self._responses: dict[str, int] = {}
        self._waiting: deque[int] = deque()
        """Responses to be asked for once the running one is done."""
        self._active: int | None = None

    # -- out -----------------------------------------------------------------------------------------------

    def open(self, setup: TalkSetup) -> None:
        self._spoken = setup.spoken
        ear: dict[str, Any] = {"model": self._ear_model}
        if setup.language:
            ear["language"] = setup.language.partition("-")[0].lower()  # ISO 639-1 is what it takes
        pcm = {"type": "audio/pcm", "rate": RATE_HZ}
        voice = setup.voice if setup.voice in VOICES else self._voice
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["audio" if setup.spoken else "text"],
            "instructions": setup.instructions,
            "audio": {
                "input": {"format": pcm, "turn_detection": None, "transcription": ear},
                "output": {"format": pcm, "voice": voice},
            },
            "tools": [
                {"type": "function", "name": t.name, "description": t.description, "parameters": t.parameters}
                for t in setup.tools
            ],
            "tool_choice": "auto",
        }
        if self._effort:
            session["reasoning"] = {"effort": self._effort}
        self._send("session.update", session=session)
        for message in setup.history:
            self._replay(message)

    def begin(self, utterance: int) -> None:
        del utterance  # the buffer is empty since the last commit or clear
        self._resample = self._resampler()
        self._sent_bytes = 0

    def audio(self, pcm: bytes, *, last: bool) -> None:
        samples = self._resample.resample_chunk(np.frombuffer(pcm, "<i2"), last=last)
        data = samples.tobytes()
        least = LEAST_MS * RATE_HZ * 2 // 1000
        if last and self._sent_bytes + len(data) < least:
            data += bytes(least - self._sent_bytes - len(data))
        if data:
            self._sent_bytes += len(data)
            self._send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    def finish(self, utterance: int, reply: int) -> None:
        self._committing.append(utterance)
        self._send("input_audio_buffer.commit")
        self._ask(reply)

    def drop(self, utterance: int) -> None:
        self._dropped.add(utterance)
        if item := self._user_items.get(utterance):
            self._send("conversation.item.delete", item_id=item)
        elif utterance not in self._committing:
            self._send("input_audio_buffer.clear")

    def say(self, text: str, reply: int) -> None:
        if text:
            self._create({"type": "message", "role": "user", "content": [_input(text)]})
        self._ask(reply)

    def answer(self, reply: int, results: Sequence[tuple[ToolCall, str]], *, go_on: bool) -> None:
        for call, output in results:
            self._create({"type": "function_call_output", "call_id": call.id, "output": output})
        if go_on:
            self._ask(reply)

    def cut(self, reply: int, heard_ms: float, heard_text: str) -> None:
        del heard_text  # the server cuts its own transcript to the sound that is left
        if reply in self._waiting:
            self._waiting.remove(reply)
        elif self._active == reply:
            self._send("response.cancel")
        known = self._replies.setdefault(reply, _Reply())
        known.is_cut = True
        for item in known.items:
            if heard_ms <= 0:
                self._send("conversation.item.delete", item_id=item.id)
            elif heard_ms < item.ms:
                cut = {"item_id": item.id, "content_index": 0, "audio_end_ms": int(heard_ms)}
                self._send("conversation.item.truncate", **cut)
            heard_ms -= item.ms

    def remember(self, text: str) -> None:
        self._create({"type": "message", "role": "assistant", "content": [_output(text)]})

    def instruct(self, instructions: str) -> bool:
        self._send("session.update", session={"type": "realtime", "instructions": instructions})
        return True

    def _send(self, kind: str, **fields: Any) -> None:
        self.out.append(json.dumps({"type": kind, **fields}, ensure_ascii=False))

    def _create(self, item: Mapping[str, Any]) -> None:
        self._send("conversation.item.create", item=item)

    def _ask(self, reply: int) -> None:
        self._replies.setdefault(reply, _Reply())
        if self._active is not None:
            self._waiting.append(reply)
            return
        self._active = reply
        response = {"metadata": {"reply": str(reply)}}
        self._send("response.create", event_id=f"reply-{reply}", response=response)

    def _replay(self, message: Remembered) -> None:
        if message.role == "user":
            self._create({"type": "message", "role": "user", "content": [_input(message.content)]})
        elif message.role == "tool":
            output = {"call_id": message.tool_call_id, "output": message.content}
            self._create({"type": "function_call_output", **output})
        elif message.role == "assistant":
            if message.content:
                self.remember(message.content)
            for call in message.tool_calls:
                asked = {"call_id": call.id, "name": call.name, "arguments": json.dumps(dict(call.arguments))}
                self._create({"type": "function_call", **asked})

    def _resampler(self) -> Any:
        return soxr.ResampleStream(16_000, RATE_HZ, 1, "int16", "LQ")

    # -- in ------------------------------------------------------------------------------------------------

    def heard(self, message: Message) -> Sequence[TalkEvent]:
        try:
            event: dict[str, Any] = json.loads(message)
            return self._heard(str(event["type"]), event)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise wrong_message(WHO, message) from error

    def _heard(self, kind: str, event: Mapping[str, Any]) -> Sequence[TalkEvent]:
        match kind:
            case "response.output_audio.delta":
                return self._sound(event)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                reply = self._responses.get(event["response_id"])
                return () if reply is None else (Said(reply, event["delta"]),)
            case "session.updated":
                self.ready = True
            case "input_audio_buffer.committed":
                self._committed(event["item_id"])
            case "response.created":
                self._created(event["response"])
            case "response.output_item.added":
                self._item(event["response_id"], event["item"])
            case "response.done":
                return self._done(event["response"])
            case "error":
                return self._error(event["error"])
            case _ if kind.startswith("conversation.item.input_audio_transcription."):
                return self._transcribed(kind.rpartition(".")[2], event)
        return ()

    def _sound(self, event: Mapping[str, Any]) -> Sequence[TalkEvent]:
        reply = self._responses.get(event["response_id"])
        if reply is None:
            return ()
        pcm = base64.b64decode(event["delta"])
        for item in self._replies[reply].items:
            if item.id == event["item_id"]:
                item.made_bytes += len(pcm)
        return (Sounded(reply, pcm),)

    def _committed(self, item_id: str) -> None:
        if not self._committing:
            return
        utterance = self._committing.popleft()
        self._utterances[item_id], self._user_items[utterance] = utterance, item_id
        if utterance in self._dropped:
            self._send("conversation.item.delete", item_id=item_id)

    def _transcribed(self, what: str, event: Mapping[str, Any]) -> Sequence[TalkEvent]:
        utterance = self._utterances.get(event["item_id"])
        if utterance is None or utterance in self._dropped:
            return ()
        if what == "delta":
            text = self._texts[utterance] = self._texts.get(utterance, "") + (event.get("delta") or "")
            return (Understood(utterance, text),)
        if what == "completed":
            usage = event.get("usage")
            used = _ear_usage(usage) if usage else None
            return (Understood(utterance, event["transcript"], final=True, usage=used),)
        if what == "failed":
            log.warning(
                "%s could not write down an utterance: %s", WHO, vendor.short(str(event.get("error")))
            )
        return ()

    def _created(self, response: Mapping[str, Any]) -> None:
        reply = int((response.get("metadata") or {}).get("reply") or self._active or 0)
        self._responses[response["id"]] = reply
        self._replies.setdefault(reply, _Reply())
        if self._replies[reply].is_cut:
            self._send("response.cancel", response_id=response["id"])

    def _item(self, response_id: str, item: Mapping[str, Any]) -> None:
        reply = self._responses.get(response_id)
        if reply is None or item["type"] != "message":
            return
        if self._replies[reply].is_cut:
            self._send("conversation.item.delete", item_id=item["id"])
        else:
            self._replies[reply].items.append(_Item(item["id"]))

    def _done(self, response: Mapping[str, Any]) -> Sequence[TalkEvent]:
        reply = self._responses.pop(response["id"], None)
        if reply is None:
            return ()
        self._active = None
        events: list[TalkEvent] = []
        if response.get("usage"):
            events.append(Used(reply, _usage(response["usage"])))
        calls = [_call(i) for i in response.get("output") or () if i.get("type") == "function_call"]
        status = response["status"]
        if status == "completed" and calls and not self._replies[reply].is_cut:
            events.append(Asked(reply, tuple(calls)))
        else:
            error = _failure(response.get("status_details") or {}) if status == "failed" else None
            events.append(Ended(reply, error))
        if self._waiting:
            self._ask(self._waiting.popleft())
        return events

    def _error(self, error: Mapping[str, Any]) -> Sequence[TalkEvent]:
        code, asked = str(error.get("code") or ""), str(error.get("event_id") or "")
        if code in HARMLESS:
            log.debug("%s: %s", WHO, error.get("message"))
            return ()
        typed = _typed(code, str(error.get("type") or ""), str(error.get("message") or ""))
        if not self.ready or typed.kind in (Failure.AUTH, Failure.QUOTA) or code == "session_expired":
            raise typed
        if code == "conversation_already_has_active_response" and asked.startswith("reply-"):
            self._waiting.appendleft(int(asked.removeprefix("reply-")))
            return ()
        if asked.startswith("reply-"):
            self._active = None
            return (Ended(int(asked.removeprefix("reply-")), typed),)
        log.warning("%s refused something: %s", WHO, typed)
        return ()

    def lost(self, lost: LineLost) -> TalkError:
        if lost.code in (3000, 4000):
            return _typed(lost.reason.rpartition(".")[2], lost.reason, lost.reason)
        return vendor.unreachable(TalkError, WHO, lost)


def _input(text: str) -> dict[str, str]:
    return {"type": "input_text", "text": text}


def _output(text: str) -> dict[str, str]:
    return {"type": "output_text", "text": text}


def _call(item: Mapping[str, Any]) -> ToolCall:
    try:
        arguments = json.loads(item.get("arguments") or "{}")
    except ValueError:
        arguments = {}
    return ToolCall(item["call_id"], item["name"], arguments if isinstance(arguments, dict) else {})


def _usage(usage: Mapping[str, Any]) -> Usage:
    """https://platform.openai.com/docs/guides/realtime-costs: the cached tokens are among the others."""
    into, out = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    cached = into.get("cached_tokens_details") or {}
    known = int(into.get("cached_tokens") or 0)
    known_audio = int(cached.get("audio_tokens") or 0)
    known_text = int(cached.get("text_tokens") or known - known_audio)
    return Usage(
        input_tokens=max(0, int(into.get("text_tokens") or 0) - known_text),
        input_audio_tokens=max(0, int(into.get("audio_tokens") or 0) - known_audio),
        cached_tokens=known_text,
        cached_audio_tokens=known_audio,
        output_tokens=int(out.get("text_tokens") or 0),
        output_audio_tokens=int(out.get("audio_tokens") or 0),
    )


def _ear_usage(usage: Mapping[str, Any]) -> Usage:
    """By tokens (gpt-4o-transcribe) or by seconds (whisper-1)."""
    if usage.get("type") == "duration":
        return Usage(audio_ms=round(float(usage.get("seconds") or 0) * 1000))
    details = usage.get("input_token_details") or {}
    return Usage(
        input_tokens=int(details.get("text_tokens") or 0),
        input_audio_tokens=int(details.get("audio_tokens") or 0),
        output_tokens=int(usage.get("output_tokens") or 0),
    )


def _failure(details: Mapping[str, Any]) -> TalkError:
    error = details.get("error") or {}
    return _typed(str(error.get("code") or ""), str(error.get("type") or ""), str(error.get("message") or ""))


def _typed(code: str, kind: str, message: str) -> TalkError:
    words = vendor.short(message or code or kind or "it failed")
    if code in ("invalid_api_key", "account_deactivated") or "invalid_api_key" in kind:
        return TalkError(f"{WHO} refused the API key (OPENAI_API_KEY): {words}", Failure.AUTH)
    if code in ("insufficient_quota", "rate_limit_exceeded") or kind in ("insufficient_quota", "tokens"):
        return TalkError(f"{WHO} has had too many requests or has no credit left: {words}", Failure.QUOTA)
    if code == "model_not_found":
        return TalkError(f"{WHO} does not know [talk.openai-realtime] model: {words}", Failure.BAD_REQUEST)
    if kind.startswith("invalid_request_error") and code != "session_expired":
        return TalkError(f"{WHO} did not accept the request: {words}", Failure.BAD_REQUEST)
    return TalkError(f"{WHO} failed: {words}", Failure.TRANSIENT)
