"""Clients of OpenAI's wire that do anything in any order: what they are told stays in order."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from server.wire.realtime.codec import CLIENT_EVENTS
from tests.support import virtual
from tests.support.realtime import RealtimeCall, open_realtime

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
LLM = {"text": "word " * 30, "first_token_ms": 50, "token_ms": 5, "tool": "weather"}

KINDS = [
    *("speak", "quiet", "wait", "write", "respond", "aside", "cancel", "commit", "clear", "truncate"),
    *("delete", "retrieve", "manual", "vad", "tools", "text", "audio", "output"),
]
steps = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20)), max_size=25)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_every_response_begins_and_ends_once(schedule: list[tuple[str, int]]) -> None:
    virtual.run(told_to_the_end(schedule))


async def told_to_the_end(schedule: list[tuple[str, int]]) -> None:
    call = await open_realtime(stt={"text": "book a room", "final_ms": 100}, llm=LLM)
    for kind, value in schedule:
        await step(call, kind, value)
    await call.update(audio={"input": {"turn_detection": {"type": "server_vad"}}})
    await call.quiet(8000)  # whatever was begun comes to its end
    check(call)
    await call.end()


async def step(call: RealtimeCall, kind: str, value: int) -> None:
    items = [e["item"]["id"] for e in call.of("conversation.item.done")]
    item_id = items[-1 - value % len(items)] if items else "nobody"
    match kind:
        case "speak" | "quiet" | "wait":
            await getattr(call, kind)(value * 100)
        case "write":
            await call.write(f"number {value}")
        case "respond":
            await call.respond()
        case "aside":
            await call.respond(conversation="none", output_modalities=["text"])
        case "cancel":
            await call.send("response.cancel")
        case "commit" | "clear":
            await call.send(f"input_audio_buffer.{kind}")
        case "truncate":
            cut = {"content_index": 0, "audio_end_ms": value * 100}
            await call.send("conversation.item.truncate", item_id=item_id, **cut)
        case "delete" | "retrieve":
            await call.send(f"conversation.item.{kind}", item_id=item_id)
        case "manual":
            await call.update(audio={"input": {"turn_detection": None}})
        case "vad":
            await call.update(
                audio={"input": {"turn_detection": {"type": "semantic_vad"}, "transcription": {}}}
            )
        case "tools":
            await call.update(tools=[TOOL] if value % 2 else [])
        case "text" | "audio":
            await call.update(output_modalities=[kind])
        case "output":
            calls = call.of("response.function_call_arguments.done")
            call_id = calls[-1]["call_id"] if calls else "nobody"
            item = {"type": "function_call_output", "call_id": call_id, "output": "{}"}
            await call.send("conversation.item.create", item=item)


def check(call: RealtimeCall) -> None:
    assert not [e for e in call.of("error") if e["error"]["type"] == "server_error"]
    assert not call.session.ended
    active: dict[str, set[str]] = {}
    over: set[str] = set()
    talking: list[str] = []
    known: set[str] = set()
    for event in call.events:
        kind = event["type"]
        if kind == "response.created":
            response: dict[str, Any] = event["response"]
            assert response["id"] not in active
            assert response["id"] not in over
            active[response["id"]] = set()
            if response["conversation_id"]:
                talking.append(response["id"])
                assert len(talking) == 1, "one response at a time"
        elif kind == "response.done":
            assert active.pop(event["response"]["id"]) == set(), "every item of it was ended"
            over.add(event["response"]["id"])
            talking = [one for one in talking if one != event["response"]["id"]]
        elif kind == "response.output_item.added":
            active[event["response_id"]].add(event["item"]["id"])
        elif kind == "response.output_item.done":
            active[event["response_id"]].remove(event["item"]["id"])
        elif "response_id" in event:
            assert event["item_id"] in active[event["response_id"]]
        elif kind == "conversation.item.added":
            assert event["item"]["id"] not in known
            known.add(event["item"]["id"])
        elif kind == "conversation.item.done":
            assert event["item"]["id"] in known
    assert not active, "nothing is left open"


# -- any JSON at all ------------------------------------------------------------------------------------

NAMES = [
    *("type", "id", "role", "content", "text", "transcript", "name", "call_id", "output", "arguments"),
    *("audio", "input", "format", "rate", "transcription", "language", "turn_detection", "eagerness"),
    *("silence_duration_ms", "voice", "speed", "tools", "tool_choice", "parameters", "instructions"),
    *("output_modalities", "metadata", "conversation", "max_output_tokens", "previous_item_id"),
]
WORDS = [
    *("message", "function_call", "function_call_output", "user", "assistant", "system", "input_text"),
    *("input_audio", "output_text", "server_vad", "semantic_vad", "audio/pcm", "audio/pcmu", "function"),
    *("low", "auto", "none", "required", "text", "audio", "realtime", "transcription", "root", "", "mcp"),
]
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from(WORDS)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
KINDS_OF_EVENTS = st.sampled_from(CLIENT_EVENTS)
FIELDS = [
    "session",
    "item",
    "response",
    "item_id",
    "audio_end_ms",
    "content_index",
    "audio",
    "previous_item_id",
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KINDS_OF_EVENTS, st.dictionaries(st.sampled_from(FIELDS), anything)), max_size=12))
def test_whatever_is_sent_the_session_lives_on(told: list[tuple[str, dict[str, Any]]]) -> None:
    virtual.run(lives_on(told))


async def lives_on(told: list[tuple[str, dict[str, Any]]]) -> None:
    call = await open_realtime(stt={"text": "book a room"}, llm=LLM)
    for kind, fields in told:
        await call.codec.take(json.dumps({"type": kind, **fields}))
        await call.wait(20)
    await call.quiet(3000)
    assert not call.session.ended
    await call.end()
