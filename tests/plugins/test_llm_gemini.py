"""Gemini through google-genai against a server that speaks Google's wire."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, LlmError, Message, MissingKey, Prompt, ToolCall, Usage
from pipeline.llm import gemini_wire as wire
from pipeline.llm.refusal import sorry
from pipeline.tools.clock import Clock
from tests.support.llm_cases import VENDORS
from tests.support.vendors.gemini import MODELS, SIGNATURE, chunk
from tests.support.vendors.place import KEY, Trouble

pytestmark = pytest.mark.usefixtures("no_leaks")
CASE = VENDORS["gemini"]
HELLO = Prompt((Message("system", "You are Ada."), Message("user", "hello")))
TIME = Prompt((Message("user", "what time is it"),), (Clock.spec,))


async def pieces(engine: Any, prompt: Prompt = HELLO) -> list[Any]:
    return [piece async for piece in engine.tokens(prompt)]


async def test_the_request_is_what_the_api_documents() -> None:
    async with CASE.open(max_output_tokens=300) as (engine, google):
        await pieces(engine, Prompt(HELLO.messages, (Clock.spec,)))
        [seen] = google.asked
    assert seen.path == "/v1beta/models/gemini-3.5-flash-lite:streamGenerateContent"
    assert seen.query == {"alt": "sse"}
    assert seen.headers["x-goog-api-key"] == KEY
    assert seen.json == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "systemInstruction": {"parts": [{"text": "You are Ada."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "clock",
                        "description": Clock.spec.description,
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {
                                "timezone": {
                                    "type": "STRING",
                                    "description": Clock.spec.parameters["properties"]["timezone"][
                                        "description"
                                    ],
                                }
                            },
                        },
                    }
                ]
            }
        ],
        "generationConfig": {"thinkingConfig": {"thinkingLevel": "minimal"}, "maxOutputTokens": 300},
    }


async def test_a_call_goes_back_with_its_id_its_name_and_its_signature() -> None:
    async with CASE.open() as (engine, google):
        call, usage = await pieces(engine, TIME)
        assert call == ToolCall("fc1", "clock", {})
        assert usage == Usage(input_tokens=usage.input_tokens, output_tokens=9)
        talk = (
            *TIME.messages,
            Message("assistant", "", (call,)),
            Message("tool", "{}", (), call.id, "clock"),
        )
        await pieces(engine, Prompt(talk, (Clock.spec,)))
        step = google.asked[-1].json["contents"][1:]
    assert step == [
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"id": "fc1", "name": "clock", "args": {}},
                    "thoughtSignature": SIGNATURE,
                }
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {"id": "fc1", "name": "clock", "response": {}}}]},
    ]


@pytest.mark.parametrize(
    ("model", "signature"), [("gemini-3.8-flash", wire.ANY_SIGNATURE), (MODELS[2], None)]
)
async def test_a_call_of_another_model_goes_with_googles_stand_in_where_one_is_needed(
    model: str, signature: str | None
) -> None:
    call = ToolCall("call_of_another", "clock", {})
    talk = (*TIME.messages, Message("assistant", "", (call,)), Message("tool", "{}", (), call.id, "clock"))
    async with CASE.open(model=model) as (engine, google):
        await pieces(engine, Prompt(talk, (Clock.spec,)))
        part = google.asked[-1].json["contents"][1]["parts"][0]
    assert part.get("thoughtSignature") == signature


async def test_thoughts_are_counted_but_never_spoken() -> None:
    async with CASE.open() as (engine, google):
        usage = {"promptTokenCount": 7, "thoughtsTokenCount": 40, "candidatesTokenCount": 2}
        google.scripts.append(
            [
                chunk([{"text": "The user greets me.", "thought": True}]),
                chunk([{"text": "Hello."}], finish="STOP", usage=usage),
            ]
        )
        assert await pieces(engine) == ["Hello.", Usage(input_tokens=7, output_tokens=42)]


async def test_calls_and_text_come_out_in_their_order() -> None:
    parts: list[Any] = [
        {"text": "One moment."},
        *({"functionCall": {"name": "clock", "args": {"n": n}}} for n in (1, 2)),
    ]
    async with CASE.open() as (engine, google):
        google.scripts.append([chunk(parts, finish="STOP")])
        text, first, second = await pieces(engine, TIME)
    assert text == "One moment."
    assert [first.arguments, second.arguments] == [{"n": 1}, {"n": 2}]
    assert first.id != second.id


WITHHELD: list[tuple[Sequence[Any], list[str]]] = [
    ([chunk([], blocked="PROHIBITED_CONTENT")], []),
    ([chunk([{"text": "Well,"}]), chunk([], finish="SAFETY")], ["Well,"]),
    ([chunk([], finish="RECITATION", message="It is somebody's.")], []),
]


@pytest.mark.parametrize(("script", "said"), WITHHELD)
async def test_what_google_will_not_say_is_told_as_an_answer(script: Sequence[Any], said: list[str]) -> None:
    async with CASE.open() as (engine, google):
        google.scripts.append(script)
        texts = [piece async for piece in engine.tokens(HELLO) if isinstance(piece, str)]
    assert texts == [*said, sorry("en", bool(said))]


async def test_what_cannot_be_read_is_a_failure_of_the_stage() -> None:
    async with CASE.open() as (engine, google):
        google.scripts.append([{"candidates": "none at all"}])
        with pytest.raises(LlmError) as caught:
            await pieces(engine)
    assert caught.value.kind is Failure.TRANSIENT


async def test_an_error_in_mid_stream_comes_with_its_status() -> None:
    async with CASE.open(Trouble(status=503, message="The model is overloaded.", after=2)) as (engine, _):
        with pytest.raises(LlmError, match="overloaded") as caught:
            await pieces(engine)
    assert caught.value.kind is Failure.TRANSIENT


async def test_google_says_in_its_body_when_to_come_back() -> None:
    async with CASE.open(Trouble(status=429, retry_after="37")) as (engine, google):
        with pytest.raises(LlmError) as caught:
            await pieces(engine)
        assert len(google.asked) == 1
    assert (caught.value.kind, caught.value.retry_after_s) == (Failure.QUOTA, 37.0)


async def test_nobody_reading_any_more_ends_the_request() -> None:
    async with CASE.open(Trouble(hang=True, after=2)) as (engine, google):
        async with aclosing(engine.tokens(HELLO)) as stream:
            assert await anext(stream)
        await asyncio.wait_for(google.asked[0].closed.wait(), 2)


async def test_a_wrong_key_and_a_wrong_model_are_found_by_asking() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        with pytest.raises(LlmError, match="GEMINI_API_KEY") as caught:
            await engine.probe()
    assert caught.value.kind is Failure.AUTH
    async with CASE.open(model="gemini-0") as (engine, _):
        with pytest.raises(LlmError, match=r"\[llm.gemini\] model 'gemini-0'.*gemini-3.8-flash") as caught:
            await engine.probe()
    assert caught.value.kind is Failure.BAD_REQUEST
    async with CASE.open() as (engine, google):
        await engine.probe()
        assert [seen.path for seen in google.seen] == ["/v1beta/models/gemini-3.5-flash-lite"]


async def test_a_connection_is_opened_ahead_of_need_and_used() -> None:
    async with CASE.open() as (engine, google):
        engine.prepare()
        engine.prepare()
        async with asyncio.timeout(5):
            while not google.seen:
                await asyncio.sleep(0.005)
            await google.seen[0].closed.wait()
        await asyncio.sleep(0.05)
        await pieces(engine)
        engine.prepare()
        assert [seen.method for seen in google.seen] == ["GET", "POST"]
        assert google.seen[0].client == google.seen[1].client


async def test_nobody_there_is_a_failure_that_passes() -> None:
    async with CASE.open(base_url="http://127.0.0.1:9") as (engine, _):
        engine.prepare()
        with pytest.raises(LlmError) as caught:
            await pieces(engine)
        with pytest.raises(LlmError):
            await engine.probe()
    assert caught.value.kind is Failure.TRANSIENT


def test_either_name_of_the_key_will_do_and_a_server_of_ones_own_needs_none() -> None:
    assert plugins.build("llm", "gemini", {}, Env({"GOOGLE_API_KEY": "k"})).model == MODELS[0]
    assert (
        plugins.build("llm", "gemini", {"base_url": "http://x", "model": "models/gemma"}, Env()).model
        == "gemma"
    )
    with pytest.raises(MissingKey, match=r"GEMINI_API_KEY \(or GOOGLE_API_KEY\)"):
        plugins.build("llm", "gemini", {}, Env({"GEMINI_API_KEY": " "}))
