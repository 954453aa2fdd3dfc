"""The scripted responder: known words at exact times, and failures on request."""

import asyncio
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, LlmError, Message, Prompt, ToolCall, Usage
from pipeline.tools.clock import Clock

pytestmark = pytest.mark.virtual_clock

HELLO = Prompt((Message("user", "hello"),))


def scripted(**values: Any) -> Any:
    return plugins.build("llm", "scripted", values, Env())


async def timed(responder: Any, prompt: Prompt = HELLO) -> list[tuple[int, str]]:
    """(ms after the call, word) of each token."""
    loop = asyncio.get_running_loop()
    called_s = loop.time()
    return [
        (round((loop.time() - called_s) * 1000), piece)
        async for piece in responder.tokens(prompt)
        if isinstance(piece, str)
    ]


async def text_of(responder: Any, prompt: Prompt = HELLO) -> str:
    return "".join(word for _, word in await timed(responder, prompt))


async def test_token_k_comes_at_its_time() -> None:
    assert await timed(scripted(text="one two three")) == [(200, "one"), (210, " two"), (220, " three")]


async def test_a_slow_listener_does_not_delay_the_tokens_after() -> None:
    loop, times = asyncio.get_running_loop(), []
    async for piece in scripted(text="a b c d", first_token_ms=100, token_ms=50).tokens(HELLO):
        if isinstance(piece, str):
            times.append(round(loop.time() * 1000))
            if piece == " b":
                await asyncio.sleep(0.06)
    assert times == [100, 150, 210, 250]


async def test_time_counts_from_the_call_not_from_the_first_listening() -> None:
    loop = asyncio.get_running_loop()
    stream = scripted(text="a b").tokens(HELLO)
    await asyncio.sleep(0.15)
    assert await anext(stream) == "a"
    assert loop.time() == pytest.approx(0.2)
    await stream.aclose()


async def test_the_default_is_sixty_words_in_four_sentences() -> None:
    tokens = await timed(scripted())
    text = "".join(word for _, word in tokens)
    assert (len(tokens), tokens[-1][0]) == (60, 790)
    sentences = text.replace("?", ".").rstrip(".").split(". ")
    assert len(sentences) == 4
    assert len(sentences[0].split()) == 10


async def test_several_texts_answer_turn_by_turn_and_round_again() -> None:
    responder, user = scripted(text=["one", "two"]), Message("user", "go on")
    assert [await text_of(responder, Prompt((user,) * turn)) for turn in (1, 2, 3)] == ["one", "two", "one"]


async def test_a_tool_is_called_first_when_it_is_offered() -> None:
    responder = scripted(text="done", tool="clock", tool_arguments={"timezone": "Asia/Tokyo"})
    user = Message("user", "go")
    [call] = [p async for p in responder.tokens(Prompt((user,), tools=(Clock.spec,)))]
    assert isinstance(call, ToolCall)
    assert (call.name, dict(call.arguments)) == ("clock", {"timezone": "Asia/Tokyo"})
    answered = (user, Message("tool", "{}", tool_call_id=call.id, name="clock"))
    assert await text_of(responder, Prompt(answered, tools=(Clock.spec,))) == "done"
    assert await text_of(responder, Prompt((user,))) == "done"


async def test_usage_counts_words() -> None:
    stream = [p async for p in scripted(text="one two").tokens(HELLO)]
    assert stream[-1] == Usage(input_tokens=1, output_tokens=2)


async def test_an_error_comes_instead_of_the_first_token() -> None:
    with pytest.raises(LlmError) as caught:
        await timed(scripted(fail="error"))
    assert caught.value.kind is Failure.TRANSIENT
    assert asyncio.get_running_loop().time() == pytest.approx(0.2)


async def test_it_breaks_off_after_some_tokens() -> None:
    stream = scripted(fail="break", stall_tokens=2, text="a b c").tokens(HELLO)
    assert [await anext(stream), await anext(stream)] == ["a", " b"]
    with pytest.raises(LlmError):
        await anext(stream)


async def test_empty_ends_without_a_word() -> None:
    assert await timed(scripted(fail="empty")) == []


async def test_late_is_late() -> None:
    assert await timed(scripted(fail="late", late_ms=5000, text="a b")) == [(5000, "a"), (5010, " b")]


@pytest.mark.parametrize(("fail", "words"), [("hang", 0), ("stall", 5)])
async def test_a_hang_never_ends_and_can_be_cancelled(fail: str, words: int) -> None:
    stream = scripted(fail=fail).tokens(HELLO)
    for _ in range(words):
        await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 3600)


async def test_failures_begin_after_the_replies_that_succeed() -> None:
    responder = scripted(text="fine", fail="error", fail_after=2)
    assert [await text_of(responder), await text_of(responder)] == ["fine", "fine"]
    with pytest.raises(LlmError):
        await text_of(responder)
