"""Gemini through google-generativeai, in threads, against a server that speaks Google's wire."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, LlmError, Message, MissingKey, Prompt, ToolCall, Usage
from pipeline.llm.gemini_call import MOST_AHEAD
from pipeline.llm.refusal import sorry
from pipeline.tools.clock import Clock
from tests.support.llm_cases import VENDORS
from tests.support.vendors.gemini import chunk
from tests.support.vendors.place import KEY, Trouble

pytestmark = pytest.mark.usefixtures("no_leaks")
CASE = VENDORS["gemini-classic"]
HELLO = Prompt((Message("system", "You are Ada."), Message("user", "hello")))
TIME = Prompt((Message("user", "what time is it"),), (Clock.spec,))


async def pieces(engine: Any, prompt: Prompt = HELLO) -> list[Any]:
    return [piece async for piece in engine.tokens(prompt)]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gemini-classic"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.002)


async def test_the_request_is_the_rest_form_of_the_api() -> None:
    async with CASE.open(max_output_tokens=300) as (engine, google):
        await pieces(engine, Prompt(HELLO.messages, (Clock.spec,)))
        [seen] = google.asked
    assert seen.path == "/v1beta/models/gemini-2.5-flash-lite:streamGenerateContent"
    assert seen.query == {"$alt": "json;enum-encoding=int"}
    assert seen.headers["x-goog-api-key"] == KEY
    request = seen.json
    [declared] = request.pop("tools")[0]["functionDeclarations"]
    assert request == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "systemInstruction": {"parts": [{"text": "You are Ada."}]},
        "generationConfig": {"maxOutputTokens": 300},
    }
    assert declared["parameters"]["type"] == 6  # OBJECT
    assert declared["parameters"]["properties"]["timezone"]["type"] == 1  # STRING


async def test_a_call_is_made_once_and_its_result_goes_back_under_its_name() -> None:
    async with CASE.open() as (engine, google):
        call, usage = await pieces(engine, TIME)
        assert (call.name, call.arguments, usage.output_tokens) == ("clock", {}, 9)
        talk = (
            *TIME.messages,
            Message("assistant", "", (call,)),
            Message("tool", "[1]", (), call.id, "clock"),
        )
        await pieces(engine, Prompt(talk, (Clock.spec,)))
        turns = google.asked[-1].json["contents"]
    assert [turn["role"] for turn in turns] == ["user", "model", "user"]
    assert turns[2]["parts"] == [
        {"functionResponse": {"id": call.id, "name": "clock", "response": {"result": [1.0]}}}
    ]


async def test_a_model_that_wants_signatures_is_told_results_in_words() -> None:
    call = ToolCall("c1", "clock", {})
    talk = (*TIME.messages, Message("assistant", "", (call,)), Message("tool", "{}", (), "c1", "clock"))
    async with CASE.open(model="gemini-3.8-flash") as (engine, google):
        text = "".join(p for p in await pieces(engine, Prompt(talk, (Clock.spec,))) if isinstance(p, str))
        turns = google.asked[-1].json["contents"]
    assert text
    assert [part["text"] for part in turns[0]["parts"]] == ["what time is it", "(The tool clock said: {})"]


async def test_arguments_are_plain_json() -> None:
    arguments = {"n": 2, "list": [{"a": None}], "text": 'ñ"}{'}
    async with CASE.open() as (engine, google):
        google.scripts.append([chunk([{"functionCall": {"name": "x", "args": arguments}}], finish="STOP")])
        [call] = await pieces(engine, TIME)
    assert call.arguments == arguments


async def test_usage_counts_the_thoughts_that_this_package_does_not_know() -> None:
    usage = {"promptTokenCount": 7, "thoughtsTokenCount": 40, "candidatesTokenCount": 2}
    async with CASE.open() as (engine, google):
        google.scripts.append([chunk([{"text": "Hello."}], finish="STOP", usage=usage)])
        assert await pieces(engine) == ["Hello.", Usage(input_tokens=7, output_tokens=42)]


@pytest.mark.parametrize(
    "script", [[chunk([], blocked="SAFETY")], [chunk([], finish="SAFETY")], [chunk([], finish="RECITATION")]]
)
async def test_what_google_will_not_say_is_told_as_an_answer(script: list[Any]) -> None:
    async with CASE.open() as (engine, google):
        google.scripts.append(script)
        assert (await pieces(engine))[0] == sorry("en", False)


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_refused_request_is_not_sent_again(status: int) -> None:
    async with CASE.open(Trouble(status=status, retry_after="7")) as (engine, google):
        with pytest.raises(LlmError) as caught:
            await pieces(engine)
        assert len(google.asked) == 1
    assert caught.value.retry_after_s == 7.0


async def test_an_error_in_mid_stream_is_one() -> None:
    async with CASE.open(Trouble(status=503, after=2)) as (engine, _):
        with pytest.raises(LlmError) as caught:
            await pieces(engine)
    assert caught.value.kind is Failure.TRANSIENT


@pytest.mark.parametrize("trouble", [Trouble(hang=True), Trouble(hang=True, after=2)])
async def test_the_thread_ends_with_its_reader_whatever_it_waits_for(trouble: Trouble) -> None:
    async with CASE.open(trouble) as (engine, google):
        reading = asyncio.create_task(pieces(engine))
        await until(lambda: bool(google.asked))
        if trouble.after is not None:
            await asyncio.sleep(0.02)  # let it get into the middle
        assert len(threads()) == 1
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(google.asked[0].closed.wait(), 2)
        await until(lambda: not threads())
        assert "".join(p for p in await pieces(engine) if isinstance(p, str))


async def test_a_slow_reader_holds_the_thread_up_and_can_still_leave() -> None:
    script = [chunk([{"text": f"{n} "}]) for n in range(MOST_AHEAD * 3)]
    async with CASE.open() as (engine, google):
        google.scripts.append([*script, chunk([], finish="STOP")])
        async with aclosing(engine.tokens(HELLO)) as stream:
            assert await anext(stream) == "0 "
            await asyncio.sleep(0.1)
            assert len(threads()) == 1  # it waits for room
        await until(lambda: not threads())
        google.scripts.append([*script, chunk([], finish="STOP")])
        assert len(await pieces(engine)) == len(script)


async def test_closing_in_mid_answer_leaves_no_thread() -> None:
    async with CASE.open(Trouble(hang=True)) as (engine, google):
        reading = asyncio.create_task(pieces(engine))
        await until(lambda: bool(google.asked))
    assert not threads()
    with pytest.raises(LlmError):
        await reading


async def test_leaving_while_the_connection_is_being_opened_ends_the_thread_when_it_is() -> None:
    with socket.socket() as deaf:  # accepts nothing: a connection waits in its queue, or for a place in it
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        async with CASE.open(base_url=f"http://127.0.0.1:{deaf.getsockname()[1]}") as (engine, _):
            reading = asyncio.create_task(pieces(engine))
            await until(lambda: bool(threads()))
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
    assert not threads()


async def test_connections_are_kept_and_opened_ahead_of_need() -> None:
    async with CASE.open() as (engine, google):
        engine.prepare()
        await until(lambda: bool(google.seen) and not threads())
        await pieces(engine)
        await pieces(engine)
        engine.prepare()
        assert [seen.method for seen in google.seen] == ["GET", "POST", "POST"]
        assert len({seen.client for seen in google.seen}) == 1


async def test_a_wrong_key_and_a_wrong_model_are_found_by_asking() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        with pytest.raises(LlmError, match="GEMINI_API_KEY") as caught:
            await engine.probe()
    assert caught.value.kind is Failure.AUTH
    async with CASE.open(model="gemini-0") as (engine, _):
        with pytest.raises(
            LlmError, match=r"\[llm.gemini-classic\] model 'gemini-0'.*gemini-3.8-flash"
        ) as caught:
            await engine.probe()
    assert caught.value.kind is Failure.BAD_REQUEST
    async with CASE.open() as (engine, _):
        await engine.probe()


async def test_nobody_there_is_a_failure_that_passes() -> None:
    async with CASE.open(base_url="http://127.0.0.1:9") as (engine, _):
        engine.prepare()
        with pytest.raises(LlmError) as caught:
            await pieces(engine)
    assert caught.value.kind is Failure.TRANSIENT


def test_it_needs_a_key() -> None:
    with pytest.raises(MissingKey, match="gemini-classic needs GEMINI_API_KEY"):
        plugins.build("llm", "gemini-classic", {}, Env())
