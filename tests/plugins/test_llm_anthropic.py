"""What is particular to the Messages API: the exact requests, its events, and how answers end."""

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Failure, LlmError, Message, Prompt, ToolCall, Usage
from pipeline.llm.history import SILENCE, UNANSWERED
from pipeline.tools.clock import Clock
from tests.support.llm_cases import VENDORS
from tests.support.vendors.anthropic import call_block, end, event, start, text_block
from tests.support.vendors.talker import Script, sse

CASE = VENDORS["anthropic"]
HELLO = Prompt((Message("user", "hello"),))
CALL = ToolCall("toolu_9", "clock", {"timezone": "Europe/Madrid"})
TALK = (
    Message("system", "Be brief."),
    Message("assistant", "Hello! How can I help?"),
    Message("user", "what time is it in Madrid"),
    Message("assistant", "One moment.", (CALL,)),
    Message("tool", '{"time": "15:05"}', tool_call_id="toolu_9", name="clock"),
    Message("user", "well?"),
)

pytestmark = pytest.mark.usefixtures("no_leaks")


async def answered(engine: Any, prompt: Prompt = HELLO) -> list[Any]:
    return [piece async for piece in engine.tokens(prompt)]


async def scripted(*events: bytes, prompt: Prompt = HELLO) -> list[Any]:
    """What comes of an answer with these events."""
    async with CASE.open() as (engine, fake):
        fake.scripts.append(Script(pieces=events))
        return await answered(engine, prompt)


def whole(events: Sequence[bytes], reason: str = "end_turn") -> list[bytes]:
    return [start(), *events, *end(5, reason)]


# -- requests -------------------------------------------------------------------------------------------


async def test_a_talk_is_sent_in_the_words_of_the_wire() -> None:
    async with CASE.open(max_tokens=300) as (engine, fake):
        await answered(engine, Prompt(TALK, tools=(Clock.spec,)))
    [seen] = fake.asked
    assert seen.json == {
        "model": "claude-haiku-5-5",
        "max_tokens": 300,
        "stream": True,
        "thinking": {"type": "disabled"},
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": SILENCE}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello! How can I help?"}]},
            {"role": "user", "content": [{"type": "text", "text": "what time is it in Madrid"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "One moment."},
                    {
                        "type": "tool_use",
                        "id": "toolu_9",
                        "name": "clock",
                        "input": {"timezone": "Europe/Madrid"},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_9", "content": '{"time": "15:05"}'},
                    {"type": "text", "text": "well?"},
                ],
            },
        ],
        "tools": [
            {
                "name": "clock",
                "description": Clock.spec.description,
                "input_schema": dict(Clock.spec.parameters),
            }
        ],
    }


async def test_a_history_with_calls_still_has_tools_when_none_are_offered() -> None:
    async with CASE.open() as (engine, fake):
        await answered(engine, Prompt(TALK))
    body = fake.asked[0].json
    assert body["tools"] == [{"name": "clock", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}


async def test_a_call_that_was_never_answered_has_a_result() -> None:
    async with CASE.open() as (engine, fake):
        await answered(engine, Prompt((*TALK[:4], Message("user", "hello?")), tools=(Clock.spec,)))
    result = fake.asked[0].json["messages"][-1]["content"][0]
    assert result == {"type": "tool_result", "tool_use_id": "toolu_9", "content": UNANSWERED}


async def test_a_model_that_always_thinks_is_let_think_from_the_second_request_on() -> None:
    async with CASE.open(model="claude-fable-5-1") as (engine, fake):
        assert await answered(engine)
        assert await answered(engine)
    assert ["thinking" in seen.json for seen in fake.asked] == [True, False, False]


async def test_caching_and_more_go_along_when_they_are_configured() -> None:
    extra = {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}
    async with CASE.open(cache=True, extra=extra) as (engine, fake):
        await answered(engine)
    body = fake.asked[0].json
    assert body["cache_control"] == {"type": "ephemeral"}
    assert {name: body[name] for name in extra} == extra


@pytest.mark.parametrize(
    ("values", "words"),
    [({"model": ""}, "model"), ({"max_tokens": 0}, "max_tokens"), ({"base_url": "x"}, "http")],
)
def test_options_that_cannot_be_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.options("llm", "anthropic", values)


# -- answers --------------------------------------------------------------------------------------------


async def test_text_and_several_calls_come_in_order_and_then_what_it_cost() -> None:
    events = [
        *text_block(0, ["Let", " me", " see."]),
        *call_block(1, "toolu_a", "clock", {"timezone": "Asia/Tokyo"}),
        *call_block(2, "toolu_b", "clock", ""),
    ]
    pieces = await scripted(*whole(events, "tool_use"))
    assert pieces == [
        "Let",
        " me",
        " see.",
        ToolCall("toolu_a", "clock", {"timezone": "Asia/Tokyo"}),
        ToolCall("toolu_b", "clock", {}),
        Usage(10, 5),
    ]


async def test_what_the_cache_takes_and_gives_is_input_too() -> None:
    pieces = await scripted(
        start(asked=7, cached=2000, written=300), *text_block(0, ["Yes."]), *end(9, "end_turn")
    )
    assert pieces == ["Yes.", Usage(2307, 9)]


async def test_thinking_is_not_read_aloud() -> None:
    thought = {"type": "thinking", "thinking": "", "signature": ""}
    deltas = [{"type": "thinking_delta", "thinking": "Hm."}, {"type": "signature_delta", "signature": "x"}]
    events = [
        event("content_block_start", index=0, content_block=thought),
        *(event("content_block_delta", index=0, delta=delta) for delta in deltas),
        event("content_block_stop", index=0),
        *text_block(1, ["Yes."]),
    ]
    assert await scripted(*whole(events)) == ["Yes.", Usage(10, 5)]


@pytest.mark.parametrize(
    ("words", "reason", "language", "said"),
    [
        (["Half", " an", " ans"], "max_tokens", "en", "Half an ans"),
        (["Well,"], "refusal", "en", "Well, I am sorry, I cannot talk about that."),
        ([], "refusal", "es-MX", "Lo siento, de eso no puedo hablar."),
    ],
)
async def test_an_answer_that_ends_early_is_an_answer(
    words: list[str], reason: str, language: str, said: str
) -> None:
    events = whole(text_block(0, words) if words else [], reason)
    pieces = await scripted(*events, prompt=Prompt(HELLO.messages, language=language))
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == said


@pytest.mark.parametrize(
    ("events", "kind", "words"),
    [
        (whole([], "max_tokens"), Failure.EMPTY, "max_tokens"),
        (whole([], "model_context_window_exceeded"), Failure.BAD_REQUEST, "as long as this one"),
        ([start(), *text_block(0, ["Half"])], Failure.TRANSIENT, "broke off"),
        (whole(call_block(0, "t", "clock", '{"a": '), "max_tokens"), Failure.TRANSIENT, "broken JSON"),
        ([start(), b"event: message_delta\ndata: {no json\n\n"], Failure.TRANSIENT, "cannot be read"),
    ],
)
async def test_what_is_no_answer_is_an_error(events: list[bytes], kind: Failure, words: str) -> None:
    with pytest.raises(LlmError, match=words) as caught:
        await scripted(*events)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("overloaded_error", Failure.TRANSIENT),
        ("rate_limit_error", Failure.QUOTA),
        ("billing_error", Failure.QUOTA),
        ("authentication_error", Failure.AUTH),
        ("an_error_of_next_year", Failure.TRANSIENT),
    ],
)
async def test_an_error_in_mid_stream_has_its_kind(type_: str, kind: Failure) -> None:
    error = {"type": "error", "error": {"type": type_, "message": "Something is wrong"}}
    with pytest.raises(LlmError, match="Something is wrong") as caught:
        await scripted(start(), *text_block(0, ["Half"]), sse(error, "error"))
    assert caught.value.kind == kind
