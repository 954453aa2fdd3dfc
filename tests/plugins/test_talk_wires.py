"""The vendors' speech-to-speech messages one by one: no socket, only what goes out for what comes in."""

import base64
import json
from typing import Any

import pytest

from pipeline.contracts import (
    Asked,
    Ended,
    Failure,
    Message,
    Said,
    Sounded,
    TalkError,
    TalkEvent,
    TalkSetup,
    ToolCall,
    ToolSpec,
    Understood,
    Usage,
    Used,
)
from pipeline.lines import LineLost
from pipeline.talk.gemini_wire import GeminiWire
from pipeline.talk.openai_wire import OpenAiWire

MS_24 = bytes(48)  # a millisecond at 24 kHz
SPEECH = bytes(32) * 300  # 300 ms at 16 kHz
HISTORY = (
    Message("user", "What time is it?"),
    Message("assistant", "", (ToolCall("c1", "clock", {"zone": "UTC"}),)),
    Message("tool", '{"time": "noon"}', tool_call_id="c1", name="clock"),
    Message("assistant", "It is noon."),
)
CLOCK = ToolSpec("clock", "tells the time", {"type": "object", "properties": {}})


def taken(wire: OpenAiWire | GeminiWire) -> list[Any]:
    """What was to be sent since the last look."""
    out, wire.out = wire.out, []
    return [json.loads(m) for m in out]


def kinds(wire: OpenAiWire) -> list[str]:
    return [m["type"] for m in taken(wire)]


def hear(wire: OpenAiWire | GeminiWire, *messages: dict[str, Any]) -> list[TalkEvent]:
    return [event for m in messages for event in wire.heard(json.dumps(m).encode())]


# -- OpenAI ----------------------------------------------------------------------------------------------


def opened() -> OpenAiWire:
    wire = OpenAiWire("marin", "gpt-transcribe")
    wire.open(TalkSetup("Be brief.", language="pt-BR"))
    hear(wire, {"type": "session.created", "session": {}}, {"type": "session.updated", "session": {}})
    taken(wire)
    return wire


def created(number: int, response_id: str = "r1") -> dict[str, Any]:
    response = {"id": response_id, "metadata": {"reply": str(number)}}
    return {"type": "response.created", "response": response}


def added(item_id: str, response_id: str = "r1") -> dict[str, Any]:
    item = {"id": item_id, "type": "message"}
    return {"type": "response.output_item.added", "response_id": response_id, "item": item}


def sound(item_id: str, ms: int, response_id: str = "r1") -> dict[str, Any]:
    delta = base64.b64encode(MS_24 * ms).decode()
    where = {"response_id": response_id, "item_id": item_id}
    return {"type": "response.output_audio.delta", **where, "delta": delta}


def done(response_id: str = "r1", status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response_id, "status": status, "output": [], **more}}


def test_openai_is_set_up_without_turn_detection_and_told_the_history() -> None:
    wire = OpenAiWire("marin", "gpt-transcribe", "low")
    wire.open(TalkSetup("Be brief.", HISTORY, (CLOCK,), "pt-BR", "cedar"))
    update, *items = taken(wire)
    session = update["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-transcribe", "language": "pt"}
    assert session["audio"]["output"]["voice"] == "cedar"
    assert session["tools"][0]["name"] == "clock"
    assert session["reasoning"] == {"effort": "low"}
    assert [i["item"]["type"] for i in items] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]


def test_openai_is_asked_with_the_commit_and_audio_comes_at_24_khz() -> None:
    wire = opened()
    wire.begin(1)
    wire.audio(SPEECH, last=True)
    wire.finish(1, 5)
    append, commit, create = taken(wire)
    assert len(base64.b64decode(append["audio"])) == pytest.approx(300 * 48, abs=100)
    assert commit["type"] == "input_audio_buffer.commit"
    assert create["response"] == {"metadata": {"reply": "5"}}


def test_an_utterance_too_short_for_openai_is_filled_up_with_silence() -> None:
    wire = opened()
    wire.begin(1)
    wire.audio(bytes(640), last=True)
    (append,) = taken(wire)
    assert len(base64.b64decode(append["audio"])) == 100 * 48


def test_openai_is_asked_for_one_response_at_a_time() -> None:
    wire = opened()
    wire.say("one", 1)
    hear(wire, created(1))
    taken(wire)
    wire.cut(1, 0.0, "")
    wire.say("two", 2)
    assert kinds(wire) == ["response.cancel", "conversation.item.create"]
    assert hear(wire, done(status="cancelled")) == [Ended(1)]
    assert kinds(wire) == ["response.create"]


def test_a_reply_is_cut_item_by_item_to_what_was_heard() -> None:
    wire = opened()
    wire.say("hi", 1)
    hear(wire, created(1), added("a"), sound("a", 500), done())
    wire._ask(1)
    hear(wire, created(1, "r2"), added("b", "r2"), sound("b", 500, "r2"), added("c", "r2"), done("r2"))
    taken(wire)
    wire.cut(1, 700.9, "as far as this")
    assert taken(wire) == [
        {"type": "conversation.item.truncate", "item_id": "b", "content_index": 0, "audio_end_ms": 200},
        {"type": "conversation.item.delete", "item_id": "c"},
    ]


def test_what_comes_of_a_cut_reply_is_deleted() -> None:
    wire = opened()
    wire.say("hi", 1)
    wire.cut(1, 0.0, "")
    taken(wire)
    hear(wire, created(1), added("late"))
    assert [m["type"] for m in taken(wire)] == ["response.cancel", "conversation.item.delete"]


def test_openais_transcript_and_what_it_cost() -> None:
    wire = opened()
    wire.begin(4)
    wire.audio(SPEECH, last=True)
    wire.finish(4, 5)
    head = "conversation.item.input_audio_transcription"
    usage = {"type": "duration", "seconds": 1.5}
    assert hear(
        wire,
        {"type": "input_audio_buffer.committed", "item_id": "u"},
        {"type": f"{head}.delta", "item_id": "u", "delta": "go "},
        {"type": f"{head}.delta", "item_id": "stranger", "delta": "no"},
        {"type": f"{head}.completed", "item_id": "u", "transcript": "go on", "usage": usage},
    ) == [Understood(4, "go "), Understood(4, "go on", final=True, usage=Usage(audio_ms=1500))]


def test_openais_cached_tokens_are_not_counted_twice() -> None:
    wire = opened()
    wire.say("hi", 1)
    cached = {"text_tokens": 256, "audio_tokens": 384}
    into = {"text_tokens": 313, "audio_tokens": 476, "cached_tokens": 640, "cached_tokens_details": cached}
    out = {"text_tokens": 9, "audio_tokens": 23}
    usage = {"input_token_details": into, "output_token_details": out}
    used, ended = hear(wire, created(1), done(usage=usage))
    assert used == Used(
        1,
        Usage(
            input_tokens=57,
            output_tokens=9,
            input_audio_tokens=92,
            output_audio_tokens=23,
            cached_tokens=256,
            cached_audio_tokens=384,
        ),
    )
    assert ended == Ended(1)


def test_openais_function_calls_are_asked_for_when_the_response_is_done() -> None:
    wire = opened()
    wire.say("hi", 1)
    call = {"type": "function_call", "call_id": "c", "name": "clock", "arguments": "not json"}
    assert hear(wire, created(1), done(output=[call])) == [Asked(1, (ToolCall("c", "clock", {}),))]
    taken(wire)
    wire.answer(1, [(ToolCall("c", "clock", {}), "{}")], go_on=False)
    assert kinds(wire) == ["conversation.item.create"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, Failure.AUTH),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, Failure.QUOTA),
        ({"type": "invalid_request_error", "code": "session_expired"}, Failure.TRANSIENT),
    ],
)
def test_an_error_of_openais_that_ends_the_talk(error: dict[str, Any], kind: Failure) -> None:
    with pytest.raises(TalkError) as caught:
        hear(opened(), {"type": "error", "error": {**error, "message": "no"}})
    assert caught.value.kind is kind


def test_an_error_of_openais_that_ends_nothing() -> None:
    wire = opened()
    crossed = {"code": "response_cancel_not_active", "message": "Cancellation failed", "type": "x"}
    assert hear(wire, {"type": "error", "error": crossed}) == []
    wire.say("hi", 1)
    refused = {
        "code": "invalid_value",
        "type": "invalid_request_error",
        "event_id": "reply-1",
        "message": "no",
    }
    (ended,) = hear(wire, {"type": "error", "error": refused})
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert ended.error.kind is Failure.BAD_REQUEST


@pytest.mark.parametrize("message", ["{", "[]", '{"no": "type"}', '{"type": "response.created"}'])
def test_what_openai_does_not_document_is_an_error_not_a_bug(message: str) -> None:
    with pytest.raises(TalkError):
        opened().heard(message)


# -- Gemini ----------------------------------------------------------------------------------------------


def ready(*history: Message) -> GeminiWire:
    wire = GeminiWire("gemini-3.1-flash-live-preview", "Puck")
    wire.open(TalkSetup("Be brief.", tuple(history), (CLOCK,)))
    hear(wire, {"setupComplete": {}})
    taken(wire)
    return wire


def part(ms: int = 10) -> dict[str, Any]:
    data = base64.b64encode(MS_24 * ms).decode()
    return {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}]}


def test_gemini_is_set_up_without_activity_detection_and_told_the_history() -> None:
    wire = GeminiWire("gemini-3.1-flash-live-preview", "Puck")
    wire.open(TalkSetup("Be brief.", HISTORY, (CLOCK,), voice="Kore"))
    (setup,) = taken(wire)
    setup = setup["setup"]
    assert setup["model"] == "models/gemini-3.1-flash-live-preview"
    assert setup["realtimeInputConfig"]["automaticActivityDetection"] == {"disabled": True}
    assert setup["tools"] == [{"functionDeclarations": [{"name": "clock", "description": "tells the time"}]}]
    assert setup["historyConfig"] == {"initialHistoryInClientContent": True}
    hear(wire, {"setupComplete": {}})
    assert wire.ready
    (content,) = taken(wire)
    assert content["clientContent"]["turnComplete"] is True
    assert [t["role"] for t in content["clientContent"]["turns"]] == ["user", "user", "model"]


def test_without_a_history_gemini_waits_for_none() -> None:
    wire = GeminiWire("x", "Puck")
    wire.open(TalkSetup())
    (setup,) = taken(wire)
    assert "historyConfig" not in setup["setup"]


def test_an_utterance_is_an_activity_of_geminis() -> None:
    wire = ready()
    wire.begin(1)
    wire.audio(SPEECH, last=True)
    wire.finish(1, 2)
    start, audio, end = (m["realtimeInput"] for m in taken(wire))
    assert (start, end) == ({"activityStart": {}}, {"activityEnd": {}})
    assert audio["audio"]["mimeType"] == "audio/pcm;rate=16000"
    assert base64.b64decode(audio["audio"]["data"]) == SPEECH


def test_several_parts_in_one_message_of_geminis_are_all_taken() -> None:
    wire = ready()
    wire.say("hi", 2)
    events = hear(
        wire,
        {"serverContent": {"modelTurn": part(), "outputTranscription": {"text": "Hello"}}},
        {"serverContent": {"generationComplete": True}},
        {"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 7}},
    )
    assert events == [Said(2, "Hello"), Sounded(2, MS_24 * 10), Used(2, Usage(input_tokens=7)), Ended(2)]


def test_usage_that_comes_behind_the_turn_is_that_turns() -> None:
    wire = ready()
    wire.say("hi", 2)
    events = hear(
        wire,
        {"serverContent": {"turnComplete": True}},
        {"serverContent": {}, "usageMetadata": {"responseTokenCount": 9}},
    )
    assert events == [Ended(2), Used(2, Usage(output_tokens=9))]


def test_gemini_is_told_in_words_what_was_heard_and_what_others_said() -> None:
    wire = ready()
    wire.say("hi", 2)
    hear(wire, {"serverContent": {"modelTurn": part()}})
    wire.cut(2, 5.0, "Hel")
    wire.remember("Welcome!")
    taken(wire)
    wire.begin(3)
    told = [m["realtimeInput"].get("text") for m in taken(wire)]
    assert told[0] is None
    assert '"Hel"' in told[1]
    assert '"Welcome!"' in told[2]


@pytest.mark.parametrize("told", [True, False])
def test_an_answer_cut_before_it_began_may_be_reported_as_interrupted_or_not_at_all(told: bool) -> None:
    wire = ready()
    wire.say("one", 1)
    wire.cut(1, 0.0, "")
    wire.say("two", 2)
    interrupted: list[dict[str, Any]] = [
        {"serverContent": {"interrupted": True}},
        {"serverContent": {"turnComplete": True}},
    ]
    events = hear(
        wire,
        *(interrupted if told else []),
        {"serverContent": {"modelTurn": part()}},
        {"serverContent": {"turnComplete": True}},
    )
    assert events == [Sounded(2, MS_24 * 10), Ended(2)]


def test_geminis_function_calls_are_answered_once() -> None:
    wire = ready()
    wire.say("hi", 2)
    call = {"id": "f1", "name": "clock", "args": {"a": 1}}
    asked = hear(wire, {"toolCall": {"functionCalls": [call]}})
    assert asked == [Asked(2, (ToolCall("f1", "clock", {"a": 1}),))]
    taken(wire)
    for _ in range(2):
        wire.answer(2, [(ToolCall("f1", "clock", {}), '{"ok": true}')], go_on=True)
    (answer,) = taken(wire)
    assert answer == {
        "toolResponse": {"functionResponses": [{"id": "f1", "name": "clock", "response": {"ok": True}}]}
    }


def test_what_gemini_should_not_have_heard_and_its_going_away_call_for_another_talk() -> None:
    wire = ready()
    wire.begin(1)
    wire.drop(1)
    assert wire.leaving
    other = ready()
    hear(other, {"goAway": {"timeLeft": "5s"}})
    assert other.leaving
    assert other.instruct("Be long.") is False


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1007, "API key not valid. Please pass a valid API key.", Failure.AUTH),
        (1008, "models/x is not found for API version v1beta", Failure.BAD_REQUEST),
        (1011, "You exceeded your current quota", Failure.QUOTA),
        (1007, "Request contains an invalid argument.", Failure.BAD_REQUEST),
        (1011, "Internal error encountered.", Failure.TRANSIENT),
        (0, "gone", Failure.TRANSIENT),
    ],
)
def test_geminis_close_frames_say_why(code: int, reason: str, kind: Failure) -> None:
    assert ready().lost(LineLost(code, reason)).kind is kind


@pytest.mark.parametrize("message", [b"{", b"[]", b'{"serverContent": 3}'])
def test_what_gemini_does_not_document_is_an_error_not_a_bug(message: bytes) -> None:
    with pytest.raises(TalkError):
        ready().heard(message)
