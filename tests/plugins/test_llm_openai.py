"""What is particular to Chat Completions: the exact requests, what servers refuse, and odd answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, LlmError, Message, Prompt, ToolCall, ToolSpec, Usage
from pipeline.llm.history import SILENCE, UNANSWERED
from pipeline.llm.thoughts import Thoughts
from pipeline.tools.clock import Clock
from tests.support.llm_cases import VENDORS
from tests.support.vendors.openai_chat import FRAME, OpenAiChat, call_chunks, chunk
from tests.support.vendors.place import KEY
from tests.support.vendors.talker import Script, sse

CASE = VENDORS["openai"]
HELLO = Prompt((Message("user", "hello"),))
ASKS_TIME = Prompt((Message("user", "what time is it"),), tools=(Clock.spec,))
DONE = sse("[DONE]")

pytestmark = pytest.mark.usefixtures("no_leaks")


async def answered(engine: Any, prompt: Prompt = HELLO) -> list[Any]:
    return [piece async for piece in engine.tokens(prompt)]


async def scripted(pieces: Sequence[bytes], prompt: Prompt = HELLO, **options: Any) -> list[Any]:
    """What comes of an answer with these events."""
    async with CASE.open(**options) as (engine, fake):
        fake.scripts.append(Script(pieces=pieces))
        return await answered(engine, prompt)


@asynccontextmanager
async def own_server(env: Env, **options: Any) -> AsyncIterator[tuple[Any, OpenAiChat]]:
    """A server of one's own."""
    async with OpenAiChat().serving() as fake:
        fake.needs_key = False
        engine = plugins.build("llm", "openai", {"base_url": f"{fake.url}/v1", **options}, env)
        await engine.warm()
        try:
            yield engine, fake
        finally:
            await engine.aclose()


# -- requests -------------------------------------------------------------------------------------------


async def test_a_talk_is_sent_in_the_words_of_the_wire() -> None:
    call = ToolCall("call_9", "clock", {"timezone": "Europe/Madrid"})
    talk = (
        Message("system", "Be brief."),
        Message("user", "hi"),
        Message("assistant", "Hello!"),
        Message("user", "what time is it in Madrid"),
        Message("assistant", "One moment.", (call,)),
        Message("tool", '{"time": "15:05"}', tool_call_id="call_9", name="clock"),
    )
    async with CASE.open(temperature=0.5, max_tokens=200) as (engine, fake):
        await answered(engine, Prompt(talk, tools=(Clock.spec,)))
    seen = fake.asked[-1]  # the first one had `max_tokens`, as servers other than OpenAI want it
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    function = {"name": "clock", "arguments": '{"timezone": "Europe/Madrid"}'}
    offered = {"name": "clock", "description": Clock.spec.description, "parameters": Clock.spec.parameters}
    assert seen.json == {
        "model": "gpt-5.4-mini",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_completion_tokens": 200,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "what time is it in Madrid"},
            {
                "role": "assistant",
                "content": "One moment.",
                "tool_calls": [{"id": "call_9", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "call_9", "content": '{"time": "15:05"}'},
        ],
        "tools": [{"type": "function", "function": offered}],
    }


async def test_what_must_be_there_and_is_not_is_said_for_the_vendor() -> None:
    async with CASE.open() as (engine, fake):
        await answered(engine, Prompt((Message("assistant", "Hello!"),)))
        await answered(engine, Prompt((Message("user", "x"), Message("assistant", "", (_call("a"),)))))
    assert fake.asked[0].json["messages"] == [
        {"role": "user", "content": SILENCE},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": SILENCE},
    ]
    assert fake.asked[1].json["messages"][-1]["content"] == UNANSWERED


def _call(id_: str) -> ToolCall:
    return ToolCall(id_, "clock", {})


async def test_a_tool_with_a_dot_in_its_name_is_called_by_its_own_name() -> None:
    spec = ToolSpec("calendar.book", "Books.", {})
    async with CASE.open() as (engine, fake):
        [call, _] = await answered(engine, Prompt((Message("user", "a time please"),), tools=(spec,)))
    assert fake.asked[0].json["tools"][0]["function"]["name"] == "calendar_book"
    assert call.name == "calendar.book"


async def test_more_goes_along_when_it_is_configured() -> None:
    async with CASE.open(extra={"chat_template_kwargs": {"enable_thinking": False}}) as (engine, fake):
        await answered(engine)
    assert fake.asked[0].json["chat_template_kwargs"] == {"enable_thinking": False}


# -- servers that differ --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "options", "left"),
    [
        ({"stream_options"}, {}, {}),
        ({"max_tokens"}, {"max_tokens": 50}, {"max_completion_tokens": 50}),
        ({"temperature"}, {"temperature": 0.1, "max_tokens": 9}, {"max_tokens": 9}),
        ({"stream_options", "temperature"}, {"temperature": 0.1}, {}),
    ],
)
async def test_what_a_server_refuses_is_left_out_and_remembered(
    refused: set[str], options: dict[str, Any], left: dict[str, Any]
) -> None:
    async with CASE.open(model="gpt-4.1-mini", **options) as (engine, fake):
        fake.refuses = refused
        first, second = await answered(engine), await answered(engine)
    assert "".join(p for p in first if isinstance(p, str)) == "You said 5 letters: hello. What else?"
    assert "".join(p for p in second if isinstance(p, str)) == "You said 5 letters: hello. What else?"
    assert len(fake.asked) == len(refused) + 2, "the second answer was asked for rightly at once"
    body = fake.asked[-1].json
    kept = {k: v for k, v in body.items() if k not in ("model", "messages", "stream", "stream_options")}
    assert kept == left


async def test_a_model_that_thinks_by_itself_is_told_not_to_when_it_is_to_use_tools() -> None:
    async with CASE.open(model="gpt-5.6-terra") as (engine, fake):
        [call, _] = await answered(engine, ASKS_TIME)
    assert isinstance(call, ToolCall)
    assert [seen.json.get("reasoning_effort") for seen in fake.asked] == [None, "none"]


async def test_a_model_without_tools_answers_without_them() -> None:
    async with CASE.open() as (engine, fake):
        fake.refuses = {"tools"}
        fake.bad = lambda *_: OpenAiChat.bad(fake, "registry.ollama.ai/library/x does not support tools")
        pieces = await answered(engine, ASKS_TIME)
    assert "".join(p for p in pieces if isinstance(p, str)).startswith("You said 15 letters")


async def test_a_refusal_that_is_not_about_the_parameters_is_not_asked_again() -> None:
    async with CASE.open() as (engine, fake):
        fake.refuses = {"messages"}
        with pytest.raises(LlmError) as caught:
            await answered(engine)
    assert caught.value.kind == Failure.BAD_REQUEST
    assert len(fake.asked) == 1


async def test_openai_is_asked_not_to_think_and_another_server_is_not_told() -> None:
    keys = Env({"OPENAI_API_KEY": KEY})
    ours = plugins.build("llm", "openai", {"max_tokens": 7}, keys)
    assert ours._manners.parameters["reasoning_effort"] == "none"
    assert ours._manners.parameters["max_completion_tokens"] == 7
    async with own_server(keys, model="gpt-4.1-mini", max_tokens=7) as (engine, fake):
        await answered(engine)
    assert fake.asked[0].json["max_tokens"] == 7
    assert "reasoning_effort" not in fake.asked[0].json


async def test_a_server_of_ones_own_needs_no_key() -> None:
    async with own_server(Env()) as (engine, fake):
        assert await answered(engine)
        await engine.probe()
    assert fake.asked


async def test_a_server_of_ones_own_can_be_kept_from_seeing_openais_key() -> None:
    async with own_server(Env({"OPENAI_API_KEY": "sk-secret"}), key_variable="") as (engine, fake):
        assert await answered(engine)
        await engine.probe()
    assert all("sk-secret" not in str(seen.headers) for seen in fake.seen)


async def test_the_key_of_a_server_comes_from_the_variable_that_is_named() -> None:
    keys = Env({"GROQ_API_KEY": "gsk-1", "OPENAI_API_KEY": "sk-secret"})
    async with own_server(keys, key_variable="GROQ_API_KEY") as (engine, fake):
        await answered(engine)
    assert fake.asked[0].headers["authorization"] == "Bearer gsk-1"


@pytest.mark.parametrize("lists", [True, False])
async def test_a_probe_of_a_server_that_cannot_describe_its_models(lists: bool) -> None:
    async with CASE.open() as (engine, fake):
        fake.describes_models, fake.lists_models = False, lists
        await engine.probe()
    assert [seen.path for seen in fake.seen] == ["/v1/models/gpt-5.4-mini", "/v1/models"]


# -- answers --------------------------------------------------------------------------------------------


async def test_text_and_several_calls_come_in_order_and_then_what_it_cost() -> None:
    calls = [("call_a", "clock", {"timezone": "Asia/Tokyo"}), ("call_b", "clock", {})]
    fake = OpenAiChat()
    script = [chunk({"content": "Let me see."}), *call_chunks(calls), chunk({}, "tool_calls")]
    pieces = await scripted([*script, fake.usage(100, 7), DONE], ASKS_TIME)
    assert pieces == [
        "Let me see.",
        ToolCall("call_a", "clock", {"timezone": "Asia/Tokyo"}),
        ToolCall("call_b", "clock", {}),
        Usage(100, 7),
    ]


async def test_several_calls_that_all_have_the_index_0_are_several() -> None:
    parts = [
        {"index": 0, "id": f"c{n}", "function": {"name": "clock", "arguments": f'{{"n": {n}}}'}}
        for n in (1, 2)
    ]
    pieces = await scripted([chunk({"tool_calls": [part]}) for part in parts] + [chunk({}, "stop"), DONE])
    assert pieces == [ToolCall("c1", "clock", {"n": 1}), ToolCall("c2", "clock", {"n": 2})]


async def test_a_call_without_id_and_arguments_is_one() -> None:
    part = {"index": 0, "function": {"name": "clock"}}
    [call] = await scripted([chunk({"tool_calls": [part]}, "tool_calls"), DONE])
    assert call.id
    assert (call.name, call.arguments) == ("clock", {})


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "null", "not json", '{"a": 1} x'])
async def test_a_call_with_broken_arguments_is_an_error_and_no_call(arguments: str) -> None:
    with pytest.raises(LlmError, match="broken JSON for a call of clock") as caught:
        await scripted([*call_chunks([("c", "clock", arguments)]), chunk({}, "tool_calls"), DONE])
    assert caught.value.kind == Failure.TRANSIENT


async def test_arguments_that_were_encoded_twice_are_read() -> None:
    pieces = await scripted([*call_chunks([("c", "clock", '"{\\"a\\": 1}"')]), chunk({}, "stop"), DONE])
    assert pieces == [ToolCall("c", "clock", {"a": 1})]


@pytest.mark.parametrize(
    ("delta", "finish", "language", "said"),
    [
        ({"content": "Half an ans"}, "length", "en", "Half an ans"),
        ({"refusal": "I can't help with that."}, "stop", "en", "I can't help with that."),
        ({}, "content_filter", "en", "I am sorry, I cannot talk about that."),
        ({"content": "Well,"}, "content_filter", "es-ES", "Well, Lo siento, de eso no puedo hablar."),
    ],
)
async def test_an_answer_that_ends_early_is_an_answer(
    delta: dict[str, str], finish: str, language: str, said: str
) -> None:
    prompt = Prompt(HELLO.messages, language=language)
    pieces = await scripted([chunk(delta), chunk({}, finish), DONE], prompt)
    assert "".join(pieces) == said


async def test_thinking_until_the_limit_names_the_limit() -> None:
    with pytest.raises(LlmError, match="max_tokens") as caught:
        await scripted([chunk({"reasoning_content": "hmm"}), chunk({}, "length"), DONE])
    assert caught.value.kind == Failure.EMPTY


async def test_an_end_without_a_reason_and_chunks_without_parts_are_forgiven() -> None:
    odd = [sse({"id": "x"}), sse({**FRAME, "choices": [{"index": 0}]}), sse({**FRAME, "choices": None})]
    assert await scripted([*odd, chunk({"content": "Yes."}), DONE]) == ["Yes."]


@pytest.mark.parametrize("garbage", [b"data: {no json\n\n", b"data: \xff\xfe\n\n"])
async def test_garbage_is_an_error_of_the_provider(garbage: bytes) -> None:
    with pytest.raises(LlmError) as caught:
        await scripted([chunk({"content": "Yes."}), garbage])
    assert caught.value.kind == Failure.TRANSIENT


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow down", "code": "rate_limit_exceeded"}, Failure.QUOTA),
        ({"message": "Provider returned error", "code": 502}, Failure.TRANSIENT),
        ({"message": "spent", "code": 402}, Failure.QUOTA),
    ],
)
async def test_an_error_in_mid_stream_has_its_kind(error: dict[str, Any], kind: Failure) -> None:
    with pytest.raises(LlmError, match=error["message"]) as caught:
        await scripted([chunk({"content": "Yes."}), sse({"error": error})])
    assert caught.value.kind == kind


async def test_thoughts_are_not_read_aloud() -> None:
    texts = ["<thi", "nk>\nThe user ", "greets me.</th", "ink>", "\n\n", "Hello", " there."]
    pieces = await scripted([*(chunk({"content": t}) for t in texts), chunk({}, "stop"), DONE])
    assert pieces == ["Hello", " there."]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello <think>x</think> there", "Hello <think>x</think> there"),
        ("<b>Hello</b>", "<b>Hello</b>"),
        ("<think></think>Hello", "Hello"),
        ("\n<think>a\nb</think>\n\nHello", "Hello"),
        ("<think>never ends", ""),
        ("<th", "<th"),
        ("", ""),
    ],
)
def test_only_thoughts_at_the_beginning_are_kept_back_however_they_are_cut(text: str, said: str) -> None:
    for step in range(1, 12):
        thoughts = Thoughts()
        pieces = [thoughts.spoken(text[at : at + step]) for at in range(0, len(text), step)]
        assert "".join(pieces) + thoughts.rest() == said


def test_options_that_cannot_be_are_refused() -> None:
    for values, words in (({"model": " "}, "model"), ({"max_tokens": -1}, "max_tokens")):
        with pytest.raises(plugins.PluginError, match=words):
            plugins.options("llm", "openai", values)
