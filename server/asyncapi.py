"""`/asyncapi.json`: the voice WebSocket for programs that read descriptions; docs/protocol.md is for people.

One table says of every message what it is for and which fields it has; the AsyncAPI 3 document is made from
it. A test holds the messages of real calls against these schemas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.wire.common import RATES
from server.wire.realtime.codec import CLIENT_EVENTS
from server.wire.realtime.told import SERVER_EVENTS
from server.wire.voice import MAX_BINARY_BYTES, MAX_PROMPT_CHARS, MAX_TEXT_CHARS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": "boolean"}
TRUE: Schema = {"const": True}
NUMBER: Schema = {"type": "number", "minimum": 0}
MS: Schema = {"type": "integer", "minimum": 0, "description": "Milliseconds."}
TURN: Schema = {"type": "integer", "minimum": 0, "description": "Counted from 1; 0 is the greeting."}
RATE: Schema = {"enum": list(RATES), "description": "Hertz."}
MODE: Schema = {"enum": ["open-mic", "hold-to-talk"]}
CHANNELS: Schema = {"enum": ["voice", "text", "both"], "description": "How this talk may be held."}
REPLY: Schema = {"type": "string", "description": "The reply that is meant."}
BASE64: Schema = {"type": "string", "contentEncoding": "base64"}
OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "array", "items": TEXT}
CODES = (
    *("bad_message", "unknown_type", "too_late", "wrong_mode", "nothing_heard", "stt_failed", "llm_failed"),
    *("tts_failed", "budget_spent", "recording_failed", "internal"),
)


def _object(fields: Mapping[str, Schema], optional: Iterable[str] = ()) -> Schema:
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in set(optional)],
    }


def _text(most: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": most}


@dataclass(frozen=True, slots=True)
class Message:
    """A JSON message: its `type` and its other fields."""

    type: str
    about: str
    fields: Mapping[str, Schema] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    example: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """As AsyncAPI's keys want it: without dots."""
        return self.type.replace(".", "_")

    def described(self) -> Schema:
        payload = _object({"type": {"const": self.type}, **self.fields}, self.optional)
        example = {"type": self.type, **(self.example or {})}
        return {
            "name": self.type,
            "title": self.type,
            "summary": self.about,
            "contentType": "application/json",
            "payload": payload,
            "examples": [{"payload": example}],
        }


START: dict[str, Schema] = {
    "mode": MODE,
    "agent_id": TEXT,
    "voice": {"type": "string", "description": "An `id` of GET /api/voices."},
    "language": {"type": "string", "description": "BCP 47, such as `en`."},
    "system_prompt": {"type": "string", "maxLength": MAX_PROMPT_CHARS},
    "response": {"enum": ["voice", "text", "both"], "description": "`text` is without sound."},
    "input_rate": {**RATE, "default": 16_000},
    "output_rate": {**RATE, "default": 24_000},
    "base64": {**FLAG, "default": False, "description": "Sound as audio_response, not as binary messages."},
    "marks": {**FLAG, "default": False, "description": "Ask for audio.mark."},
}

FROM_CLIENT = (
    Message("start", "What the talk shall be like. Optional, once, before anything is said.",
            START, tuple(START), {"mode": "open-mic", "language": "en"}),
    Message("audio_chunk", "Microphone sound in JSON. A WAV may have any rate and number of channels.",
            {"audio_data": BASE64, "format": {"enum": ["pcm", "wav"], "default": "pcm"}}, ("format",),
            {"audio_data": "AAAAAA==", "format": "pcm"}),
    Message("talk.begin", "Hold-to-talk: the button was pressed."),
    Message("talk.end", "Hold-to-talk: the button was released."),
    Message("text_message", "A typed turn.", {"message": _text(MAX_TEXT_CHARS)}, (), {"message": "Hello!"}),
    Message("text_input", "The same.", {"text": _text(MAX_TEXT_CHARS)}, (), {"text": "Hello!"}),
    Message("update_prompt", "Replaces the system prompt from the next reply on.",
            {"prompt": _text(MAX_PROMPT_CHARS)}, (), {"prompt": "Be brief."}),
    Message("interrupt", "Stop the agent now."),
    Message("playback", "So much of this reply has been played. About ten times a second.",
            {"response_id": REPLY, "played_ms": NUMBER}, (), {"response_id": "r1", "played_ms": 400}),
    Message("ping", "Answered by pong."),
    Message("end", "End the session."),
)  # fmt: skip

AGENT = _object({"id": MAYBE_TEXT, "name": TEXT, "voice": MAYBE_TEXT, "language": TEXT, "avatar": TEXT})
VIEW: Schema = {"type": ["object", "null"], "description": "How to show the avatar; null: it is gone."}
SAID = _object({"response_id": REPLY, "turn": TURN, "text": TEXT, "final": FLAG})
SPANS = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms", "voice_to_voice_ms")
COSTS = dict.fromkeys(("stt", "llm", "tts", "total"), NUMBER)
FAILOVER = _object({"stage": TEXT, "plugin": TEXT, "kind": TEXT})
METRICS: dict[str, Schema] = {
    "turn": TURN,
    **dict.fromkeys(SPANS, MS),
    "speculated": {**FLAG, "description": "The reply had been thought ahead."},
    "reason": {"type": "string", "description": "What ended the user's turn."},
    "cost": _object({**COSTS, "talk": NUMBER}, ("talk",)),
    "plugins": {"type": "object", "additionalProperties": TEXT, "description": "Who did it, by stage."},
    "failovers": {"type": "array", "items": FAILOVER},
    "interrupted": {**TRUE, "description": "The reply was cut before it was all sent."},
    "played": {**TRUE, "description": "The second one of its turn: it was played to its end."},
}
APPOINTMENT = _object({"action": TEXT, "date": TEXT, "time": TEXT, "appointment_id": TEXT})
SUMMARY: dict[str, Schema] = {
    "session_id": TEXT,
    "summary": TEXT,
    "appointments_discussed": {"type": "array", "items": APPOINTMENT},
    "preferences_mentioned": TEXTS,
    "cost_breakdown": {"type": "object", "additionalProperties": NUMBER},
    "duration_seconds": NUMBER,
}
TALK_ID = "20261121_082630_7yzbierfoixog364p4sy"
TURN_1 = {"turn": 1, "response_id": "r2"}

TO_WATCHER = Message(
    "connected", "First, always: what was said so far.",
    {"session_id": TEXT, "mode": MODE, "messages": {"type": "array", "items": OBJECT}}, (),
    {"session_id": TALK_ID, "mode": "open-mic", "messages": []},
)  # fmt: skip

TO_CLIENT = (
    Message("connected", "First, always. The fields from `resumed` on: after a resume.",
            {"session_id": TEXT, "mode": MODE, "channels": CHANNELS, "agent": AGENT, "input_rate": RATE,
             "output_rate": RATE, "resume_token": TEXT, "resume_window_s": NUMBER, "avatar": VIEW,
             "resumed": TRUE, "messages": {"type": "array", "items": OBJECT}, "response": SAID},
            ("avatar", "resumed", "messages", "response"),
            {"session_id": TALK_ID, "mode": "open-mic", "channels": "both",
             "agent": {"id": None, "name": "Parley", "voice": "", "language": "en", "avatar": "orb"},
             "input_rate": 16000, "output_rate": 24000, "resume_token": "WyIy…", "resume_window_s": 60}),
    Message("speech.started", "Speech was found: it began there, in microphone sound.", {"at_ms": MS}, (),
            {"at_ms": 3540}),
    Message("speech.stopped", "The user's turn is over: its last speech ended there.", {"at_ms": MS}, (),
            {"at_ms": 5200}),
    Message("transcription", "What the user says: the whole turn so far, each time.",
            {"turn": TURN, "text": TEXT, "final": FLAG, "corrected": TRUE}, ("corrected",),
            {"turn": 1, "text": "go forward ten meters", "final": True}),
    Message("user_message", "A typed turn was taken.", {"turn": TURN, "text": TEXT}, (),
            {"turn": 1, "text": "Hello!"}),
    Message("response.begin", "The agent answers.", {"turn": TURN, "response_id": REPLY}, (), TURN_1),
    Message("agent_response", "A piece to append (`final: false`); at last the whole text (`final: true`).",
            {"turn": TURN, "response_id": REPLY, "text": TEXT, "final": FLAG}, (),
            {**TURN_1, "text": "Good morning.", "final": True}),
    Message("audio.begin", "Sound follows, from `offset_ms` of the reply on.",
            {"response_id": REPLY, "rate": RATE, "offset_ms": MS}, ("offset_ms",),
            {"response_id": "r2", "rate": 24000}),
    Message("audio_response", "Sound, when `base64` was asked for.",
            {"response_id": REPLY, "audio_base64": BASE64}, (),
            {"response_id": "r2", "audio_base64": "AAAAAA=="}),
    Message("audio.mark", "These characters of the reply's text sound from there on.",
            {"response_id": REPLY, "text_start": MS | {"description": "Characters."},
             "text_end": MS | {"description": "Characters."}, "start_ms": MS}, (),
            {"response_id": "r2", "text_start": 0, "text_end": 4, "start_ms": 0}),
    Message("audio.end", "All of the reply's sound was sent.", {"response_id": REPLY, "duration_ms": MS}, (),
            {"response_id": "r2", "duration_ms": 1501}),
    Message("duck", "Somebody may be barging in: pause play-out.", {"response_id": REPLY}, (),
            {"response_id": "r2"}),
    Message("unduck", "It was nothing: go on where you paused.", {"response_id": REPLY}, (),
            {"response_id": "r2"}),
    Message("interrupted", "Stop; drop what you have of this reply.",
            {"response_id": REPLY, "heard_ms": MS, "heard_text": TEXT, "reason": TEXT, "estimated": TRUE},
            ("estimated",),
            {"response_id": "r2", "heard_ms": 900, "heard_text": "I can", "reason": "300 ms of speech"}),
    Message("tool.call", "A tool starts.",
            {"id": TEXT, "name": TEXT, "arguments": OBJECT, "by": {"const": "client"}}, ("by",),
            {"id": "t1", "name": "clock", "arguments": {}}),
    Message("tool.progress", "How far a tool is.", {"id": TEXT, "message": TEXT}, (),
            {"id": "t1", "message": "Two of three are done."}),
    Message("tool.result", "A tool has ended: `result`, or `error` if it failed.",
            {"id": TEXT, "result": OBJECT, "error": TEXT}, ("result", "error"),
            {"id": "t1", "result": {"ok": True}}),
    Message("turn.metrics", "After each turn: where the time went.", METRICS,
            ("failovers", "interrupted", "played"),
            {"turn": 1, "endpoint_ms": 543, "stt_ms": 0, "llm_ttft_ms": 0, "tts_ttfb_ms": 0,
             "voice_to_voice_ms": 543, "speculated": True, "reason": "500 ms of silence",
             "cost": {"stt": 0, "llm": 0, "tts": 0, "total": 0}, "plugins": {"llm": "rules"}}),
    Message("avatar", "An avatar has come, or gone.", {"view": VIEW}, (), {"view": None}),
    Message("agent.changed", "Somebody else talks from here on.", {"agent": AGENT}, (),
            {"agent": {"id": "5d1c0a9be2f3", "name": "Ada", "voice": "", "language": "en", "avatar": "orb"}}),
    Message("prompt_updated", "Answer to update_prompt."),
    Message("pong", "Answer to ping."),
    Message("error", "What went wrong, as a sentence for the user. Only `fatal: true` ends the session.",
            {"code": {"enum": list(CODES)}, "message": TEXT, "fatal": FLAG}, (),
            {"code": "unknown_type", "message": "Unknown message type 'x'.", "fatal": False}),
    Message("summary", "The session has ended.", SUMMARY, (),
            {"session_id": TALK_ID, "summary": "The talk had one turn.", "appointments_discussed": [],
             "preferences_mentioned": [], "cost_breakdown": {"total_cost": 0}, "duration_seconds": 8.78}),
    Message("ended", "The last: everything is written.", {"session_id": TEXT, "reason": TEXT}, (),
            {"session_id": TALK_ID, "reason": "ended by the client"}),
)  # fmt: skip


def _sound(title: str, about: str, most: int | None = None) -> Schema:
    payload: Schema = {"type": "string", "format": "binary", **({"maxLength": most} if most else {})}
    return {
        "name": "binary",
        "title": title,
        "summary": about,
        "contentType": "application/octet-stream",
        "payload": payload,
    }


MICROPHONE = _sound("microphone sound", "s16le, mono, at `input_rate`; 20 ms is usual.", MAX_BINARY_BYTES)
SPEECH = _sound("the agent's sound", "s16le, mono, at the rate of audio.begin, and only after it.")

QUERY = {
    "token": "Of a login, or of a room; a browser's cookie does as well.",
    "session_id": "Go into this session, made over HTTP.",
    "agent_id": "Talk with this agent.",
    "resume": "The resume_token of an earlier `connected`: go on with that session.",
}
ABOUT = """\
One socket carries a talk: sound both ways, and JSON events both ways.

Close codes: 1000 ended; 1001 the server is going down, resume; 1008 not allowed; 1009 a message was too big;
1011 a bug; 1013 full, try later; 4408 nothing happened for too long."""


REALTIME_QUERY = {
    "model": "Any name, or the id of one of your agents.",
    "agent_id": "Talk with this agent.",
    "intent": "`transcription`: nothing is answered.",
}


def _realtime(what: str, names: Iterable[str], example: Mapping[str, Any]) -> Schema:
    """The events of OpenAI's API in one direction: their fields are described there."""
    return {
        "name": f"realtime_{what}",
        "title": f"{what} event",
        "summary": f"A {what} event of OpenAI's Realtime API (GA).",
        "contentType": "application/json",
        "externalDocs": {"url": f"https://platform.openai.com/docs/api-reference/realtime-{what}-events"},
        "payload": {
            "type": "object",
            "properties": {"type": {"enum": sorted(names)}, "event_id": TEXT},
            "required": ["type"],
        },
        "examples": [{"payload": example}],
    }


REALTIME: Mapping[str, Schema] = {
    "realtime_client": _realtime("client", CLIENT_EVENTS, {"type": "response.create", "event_id": "event_1"}),
    "realtime_server": _realtime(
        "server", SERVER_EVENTS, {"type": "input_audio_buffer.cleared", "event_id": "event_000007"}
    ),
}


def document(*, version: str, public_url: str = "") -> dict[str, Any]:
    """The AsyncAPI 3.0 document."""
    heard = {"microphone": MICROPHONE, **{f"client_{m.name}": m.described() for m in FROM_CLIENT}}
    told = {"speech": SPEECH, **{f"server_{m.name}": m.described() for m in TO_CLIENT}}
    shown = [f"server_{m.name}" for m in TO_CLIENT if m.type not in ("connected", "audio_response", "pong")]
    both = [*heard, *told]
    server = public_url.rstrip("/") or "http://127.0.0.1:8000"
    scheme, _, host = server.partition("://")
    host, slash, path = host.partition("/")
    channels = {
        "voice": _channel("/ws/voice", "The talk.", both, QUERY),
        "session": _channel("/ws/{session_id}", "The same, by a session's id; base64 is the default.", both),
        "voiceAgent": _channel("/ws/voice-agent/{session_id}", "The same as /ws/{session_id}.", both),
        "transcript": _channel("/ws/transcript/{session_id}", "Read-only.", ["watcher_connected", *shown]),
        "realtime": _channel("/v1/realtime", "OpenAI's Realtime API.", REALTIME, REALTIME_QUERY),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parley's voice WebSocket",
            "version": version,
            "description": ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "this": {
                "host": host,
                **({"pathname": slash + path} if path else {}),
                "protocol": "wss" if scheme == "https" else "ws",
            }
        },
        "channels": channels,
        "operations": {
            "listen": _operation("receive", "voice", "What the client sends.", heard),
            "tell": _operation("send", "voice", "What the server sends.", told),
            "hearRealtime": _operation("receive", "realtime", "What the client says.", ["realtime_client"]),
            "tellRealtime": _operation("send", "realtime", "What it is told.", ["realtime_server"]),
            "show": _operation(
                "send", "transcript", "What who watches is sent.", channels["transcript"]["messages"]
            ),
        },
        "components": {
            "messages": {**heard, **told, "watcher_connected": TO_WATCHER.described(), **REALTIME},
        },
    }


def _channel(
    address: str, about: str, messages: Iterable[str], query: Mapping[str, str] | None = None
) -> Schema:
    channel: Schema = {
        "address": address,
        "summary": about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if "{session_id}" in address:
        channel["parameters"] = {"session_id": {"description": "Of a live session."}}
    if query:
        properties = {name: {"type": "string", "description": what} for name, what in query.items()}
        channel["bindings"] = {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": properties},
                "bindingVersion": "0.1.0",
            }
        }
    return channel


def _operation(action: str, channel: str, about: str, messages: Iterable[str]) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": about,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }
