"""A session that is used without a socket, or with one and without: written replies, its life, its modes."""

import asyncio
from typing import Any

import pytest

from pipeline.core.dialogue import Dialogue
from pipeline.setup import Rules, Setup
from server.exchange import ask
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

LLM: dict[str, Any] = {
    "text": "I can help you with that. What day would suit you?",
    "first_token_ms": 200,
    "token_ms": 10,
}


async def alone(**more: Any) -> Call:
    """A session that is used over REST, with nobody at a socket."""
    call = await open_call(llm=LLM, attach=False, **more)
    call.session.visit()
    return call


def said_by_the_agent(dialogue: Dialogue) -> list[str]:
    return [m.content for m in dialogue.prompt() if m.role == "assistant"]


async def test_with_nobody_to_hear_it_a_reply_is_written_and_remembered_whole() -> None:
    call = await alone()
    answer = await ask(call.session, "hello")
    assert answer.text == LLM["text"]
    await asyncio.sleep(0.1)
    assert call.session.floor.idle
    assert said_by_the_agent(call.session.dialogue) == [LLM["text"]]
    await ask(call.session, "and again")
    assert not any(m.get("interrupted") for m in call.session.minutes.messages)
    assert call.recorder.agent == []
    await call.end()


async def test_a_model_that_speaks_by_itself_answers_in_writing_too() -> None:
    call = await open_call(talk={}, attach=False)
    call.session.visit()
    first, second = await ask(call.session, "hello"), await ask(call.session, "and again")
    assert first.text
    assert second.text
    assert (first.turn, second.turn) == (1, 2)
    assert not any(m.get("interrupted") for m in call.session.minutes.messages)
    await call.end()


async def test_without_a_socket_it_ends_when_it_is_idle_and_not_when_the_window_is_over() -> None:
    call = await alone(rules=Rules(idle_s=300, resume_s=60))
    await asyncio.sleep(299)
    assert not call.recorder.of("end")
    await ask(call.session, "hello")
    assert not call.recorder.of("end")
    await asyncio.sleep(302)
    assert call.session.ended
    assert call.recorder.of("end")[-1]["reason"] == "idle"


async def test_who_is_at_a_socket_hears_what_was_asked_over_rest() -> None:
    call = await open_call(llm=LLM)
    answer = await ask(call.session, "hello")
    assert answer.text == LLM["text"]
    await asyncio.sleep(10)
    assert call.kinds("agent_response", "turn.metrics") == [
        "user_message",
        "response.begin",
        "audio.begin",
        "audio.end",
    ]
    assert call.samples > 24_000
    await call.end()


async def test_speaking_into_the_reply_answers_with_what_there_was() -> None:
    slow = LLM | {"token_ms": 400}
    call = await open_call(llm=slow)
    asked = asyncio.create_task(ask(call.session, "hello"))
    await asyncio.sleep(1)
    call.do("interrupt")
    answer = await asked
    assert answer.interrupted
    assert LLM["text"].startswith(answer.text)
    await call.end()


async def test_by_text_only_a_microphone_is_told_so_once_and_nothing_sounds() -> None:
    call = await open_call(llm=LLM, setup=Setup(greeting="Hello there.", channels="text"))
    await call.speak(1000)
    await call.quiet(1000)
    call.do("text_message", message="hello")
    await asyncio.sleep(3)
    assert [e["code"] for e in call.of("error")] == ["wrong_mode"]
    assert call.audio == []
    assert not call.of("speech.started")
    assert call.last("agent_response")["text"] == LLM["text"]
    await call.end()


async def test_by_voice_only_nothing_is_typed_and_speech_is_heard() -> None:
    call = await open_call(llm=LLM, setup=Setup(greeting="", channels="voice"))
    call.do("text_message", message="hello")
    await call.speak(1000)
    await call.quiet(2500)
    assert [e["code"] for e in call.of("error")] == ["wrong_mode"]
    assert not call.of("user_message")
    assert call.of("response.begin")
    await call.end()


async def test_replacing_the_prompt_leaves_the_agents_own_and_the_context() -> None:
    setup = Setup(greeting="", persona="You are a pirate.", system_prompt="Old.", context="It is stormy.")
    call = await open_call(setup=setup)
    call.do("update_prompt", prompt="New.")
    assert call.session.dialogue.system_prompt == "You are a pirate.\n\nNew.\n\nIt is stormy."
    await call.end()
