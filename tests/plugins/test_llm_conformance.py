"""What every responder plug-in must do, run over all of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from pipeline import plugins
from pipeline.contracts import Message, Prompt, ToolCall, Usage
from pipeline.tools.clock import Clock
from tests.support.llm_cases import CASES

TIME = '{"ok": true, "date": "2026-11-21", "time": "15:05", "weekday": "Saturday", "timezone": "UTC"}'

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_every_responder_plugin_has_a_case() -> None:
    assert sorted(CASES) == plugins.names("llm")


@pytest_asyncio.fixture(params=sorted(CASES))
async def responder(no_leaks: None, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    del no_leaks  # requested first, so that it looks last
    async with asyncio.timeout(30), CASES[request.param]() as engine:
        yield engine


def asked(*texts: str) -> tuple[Message, ...]:
    """A talk: user and assistant in turn, the user first."""
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


async def pieces(responder: Any, prompt: Prompt) -> list[str | ToolCall | Usage]:
    return [piece async for piece in responder.tokens(prompt)]


def text_of(stream: Sequence[str | ToolCall | Usage]) -> str:
    return "".join(piece for piece in stream if isinstance(piece, str))


async def test_the_pieces_join_to_an_answer(responder: Any) -> None:
    stream = await pieces(responder, Prompt(asked("hello")))
    text = text_of(stream)
    assert text == text.strip()
    assert "  " not in text
    assert text
    assert all(piece for piece in stream)
    assert not any(isinstance(piece, Usage) for piece in stream[:-1])


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param((), id="no messages"),
        pytest.param(asked(""), id="empty"),
        pytest.param(asked("  \n "), id="blank"),
        pytest.param(asked("何時ですか 🙂 ¿qué? ñandú \u202e\x00"), id="unicode"),
        pytest.param(asked("{name} %s {0} \\ <b> ** `"), id="markup"),
        pytest.param(asked("word " * 5000), id="endless"),
        pytest.param((Message("system", "You are Ada."),), id="system alone"),
        pytest.param(asked(*("tell me more", "There is no more.") * 200, "why"), id="long history"),
        pytest.param(asked("hi", "Hello!", "hi", "Hello!"), id="assistant last"),
        pytest.param((Message("tool", "not json", name="x"),), id="stray tool result"),
    ],
)
async def test_any_prompt_gets_an_answer(responder: Any, messages: tuple[Message, ...]) -> None:
    for language in ("en", "es-ES", "", "xx"):
        assert text_of(await pieces(responder, Prompt(messages, language=language))), language


async def test_cancelling_in_mid_stream_ends_it_and_harms_nobody(responder: Any) -> None:
    started = asyncio.Event()

    async def listen() -> None:
        async with aclosing(responder.tokens(Prompt(asked("what can you do")))) as stream:
            async for _ in stream:
                started.set()
                await asyncio.Event().wait()

    listening = asyncio.create_task(listen())
    await started.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert text_of(await pieces(responder, Prompt(asked("what can you do"))))


async def test_answers_at_the_same_time_do_not_mix(responder: Any) -> None:
    prompts = [Prompt(asked(text)) for text in ("hello", "tell me a joke", "who are you")]
    alone = [text_of(await pieces(responder, prompt)) for prompt in prompts]
    together = await asyncio.gather(*(pieces(responder, prompt) for prompt in prompts))
    assert [text_of(stream) for stream in together] == alone


async def test_an_offered_tool_may_be_called_and_its_result_is_worded(responder: Any) -> None:
    messages = asked("what time is it")
    stream = await pieces(responder, Prompt(messages, tools=(Clock.spec,)))
    calls = [piece for piece in stream if isinstance(piece, ToolCall)]
    assert len(calls) == 1
    assert calls[0].name == "clock"
    assert calls[0].id
    messages += (
        Message("assistant", "", tool_calls=tuple(calls)),
        Message("tool", TIME, tool_call_id=calls[0].id, name="clock"),
    )
    stream = await pieces(responder, Prompt(messages, tools=(Clock.spec,)))
    assert text_of(stream)
    assert not any(isinstance(piece, ToolCall) for piece in stream)


async def test_a_tool_that_is_not_offered_is_not_called(responder: Any) -> None:
    stream = await pieces(responder, Prompt(asked("what time is it")))
    assert not any(isinstance(piece, ToolCall) for piece in stream)


async def test_a_later_question_may_call_the_tool_again_with_another_id(responder: Any) -> None:
    first = asked("what time is it")
    [call, *_] = await pieces(responder, Prompt(first, tools=(Clock.spec,)))
    assert isinstance(call, ToolCall)
    talk = (
        *first,
        Message("assistant", "", tool_calls=(call,)),
        Message(
            "tool", '{"ok": true, "date": "2026-11-21", "time": "15:05"}', tool_call_id=call.id, name="clock"
        ),
        Message("assistant", "It's 3:05 PM."),
        Message("user", "what time is it now"),
    )
    [again, *_] = await pieces(responder, Prompt(talk, tools=(Clock.spec,)))
    assert isinstance(again, ToolCall)
    assert again.id != call.id
