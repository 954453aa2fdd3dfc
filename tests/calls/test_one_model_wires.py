"""Whole conversations over the vendors' real wires: a session, its floor and files, and a socket each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.duplex import UNWRITTEN
from pipeline.setup import Setup
from tests.calls.test_one_model import Oracle
from tests.support.call import SILENT, VOICED, Call, open_call
from tests.support.talk_cases import VENDORS
from tests.support.vendors.place import KEY, Trouble

pytestmark = pytest.mark.usefixtures("no_leaks")

BOTH = pytest.mark.parametrize("name", VENDORS)
STAGES = {"text": "The stages say this instead of it.", "first_token_ms": 10}
SCRIPTED_STT = {"text": "what can you do for me today", "final_ms": 10}


@asynccontextmanager
async def calling(
    name: str, *troubles: Trouble, key: str = KEY, **more: Any
) -> AsyncIterator[tuple[Call, Any]]:
    """A call whose talk goes over that vendor's wire, with three scripted stages behind it."""
    async with VENDORS[name].open(*troubles, key=key) as (engine, vendor):
        call = await open_call(
            talk=engine,
            stt=SCRIPTED_STT,
            llm=STAGES,
            tts={"first_byte_ms": 10, "speed": 20.0},
            first_timeout_s=1.0,
            **more,
        )
        try:
            yield call, vendor
        finally:
            await call.end()
            chain = call.session.engines.talk
            assert chain is not None
            await chain.aclose()  # with who looks after the vendor


async def speak(call: Call, ms: int, *, quiet_ms: int = 600) -> None:
    """Faster than real: the session counts samples."""
    for frame in [VOICED] * (ms // 20) + [SILENT] * (quiet_ms // 20):
        call.session.hear(frame)
        await asyncio.sleep(0)


async def until(found: Callable[[], Any], what: str) -> None:
    try:
        async with asyncio.timeout(8.0):
            while not found():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"waited in vain for {what}")


def measured(call: Call, turn: int = 1) -> Callable[[], bool]:
    return lambda: any(m["turn"] == turn for m in call.of("turn.metrics"))


def decisions(call: Call) -> list[str]:
    return [str(d["what"]) for d in call.recorder.of("decision")]


def finals(call: Call) -> list[str]:
    return [e["text"] for e in call.of("transcription") if e["final"]]


@BOTH
async def test_a_spoken_turn(name: str) -> None:
    async with calling(name) as (call, _):
        await speak(call, 800)
        await until(measured(call), "an answer")
        assert finals(call)[-1] == "go forward"
        whole = call.of("agent_response")[-1]
        assert (whole["text"], whole["final"]) == ("You said: go forward.", True)
        assert call.samples == pytest.approx(len(whole["text"]) * 55 * 24, rel=0.02)
        metrics = call.last("turn.metrics")
        assert metrics["plugins"] == {"stt": "vendor", "talk": "vendor"}
        assert "failovers" not in metrics
    user, agent = call.recorder.messages
    assert (user["content"], agent["content"]) == ("go forward", "You said: go forward.")
    assert user["audio"] == "0001_user.mp3"
    costs = call.recorder.of("cost")
    (talk,) = [c for c in costs if c["stage"] == "talk"]
    assert talk["counted"] is True
    assert talk["output_audio_tokens"] > 0
    ears = [c for c in costs if c["stage"] == "stt"]
    assert [c["model"] for c in ears] == (["gpt-transcribe"] if name == "openai-realtime" else [])


@BOTH
async def test_a_typed_turn_and_the_greeting_before_it(name: str) -> None:
    async with calling(name, setup=Setup(greeting="Hi.", system_prompt="Be kind.")) as (call, vendor):
        call.do("start")
        await until(lambda: call.of("audio.end"), "the greeting")
        await until(lambda: call.session.floor.idle, "silence")
        call.do("text_message", message="good morning")
        await until(measured(call), "an answer")
        assert call.of("agent_response")[-1]["text"].startswith("You said: ")
        session = vendor.sessions[0]
        if name == "openai-realtime":
            assert session.settings["instructions"] == "Be kind."
            said = [i["content"][0].get("text") for i in session.items if i["type"] == "message"]
            assert said[:2] == ["Hi.", "good morning"]
        else:
            assert session.setup["systemInstruction"] == {"parts": [{"text": "Be kind."}]}
            assert "Hi." in session.turns[0][1]
            assert session.turns[0][1].endswith("good morning")


@BOTH
async def test_a_tool(name: str) -> None:
    async with calling(name, tools={"oracle": Oracle(0.01)}) as (call, vendor):
        arguments: Any = "{}" if name == "openai-realtime" else {}
        vendor.replies = [("oracle", arguments), "It is forty-two."]
        await speak(call, 800)
        await until(measured(call), "an answer")
        assert call.last("tool.result")["result"] == {"answer": 42}
        assert call.of("agent_response")[-1]["text"] == "It is forty-two."
    assert [m["role"] for m in call.recorder.messages] == ["user", "tool", "assistant"]
    talk = [c for c in call.recorder.of("cost") if c["stage"] == "talk"]
    assert len(talk) == (2 if name == "openai-realtime" else 1)


@BOTH
async def test_barge_in_leaves_in_the_vendors_memory_what_was_heard(name: str) -> None:
    async with calling(name) as (call, vendor):
        vendor.replies = ["This is a rather long answer that nobody will hear to its end.", "Yes?"]
        call.do("text_message", message="go on")
        await until(lambda: len(call.audio) > 4, "sound")
        await asyncio.sleep(0.5)
        await speak(call, 500)
        await until(measured(call, 2), "the second answer")
        interrupted = call.last("interrupted")
        assert 0 < interrupted["heard_ms"] < 2000
        heard = interrupted["heard_text"]
        assert heard
        session = vendor.sessions[0]
        if name == "openai-realtime":
            assert session.kinds.count("conversation.item.truncate") == 1
            kept = next(i for i in session.items if i.get("role") == "assistant")
            assert kept["sound_ms"] == interrupted["heard_ms"]
            assert abs(len(kept["text"]) - len(heard)) < 15  # an estimate on either side
        else:
            note = session.turns[-2][1]
            assert note.startswith("Note: the user interrupted you.")
            assert f'"{heard}"' in note
        assert call.of("agent_response")[-1]["text"] == "Yes?"
    assert call.recorder.messages[1]["heard"] == heard


@BOTH
async def test_an_answer_is_interrupted_while_it_is_made(name: str) -> None:
    async with calling(name, Trouble(each_ms=150)) as (call, vendor):
        vendor.replies = ["This is a rather long answer that nobody will hear to its end.", "Yes?"]
        call.do("text_message", message="go on")
        await until(lambda: len(call.audio) > 1, "sound")
        call.do("interrupt")
        await speak(call, 500)
        await until(measured(call, 2), "the second answer")
        assert call.of("agent_response")[-1]["text"] == "Yes?"
        assert "talk failover" not in decisions(call)
    talk = [c for c in call.recorder.of("cost") if c["stage"] == "talk"]
    assert [c["outcome"] for c in talk] == ["cancelled", "ok"]


@BOTH
async def test_a_text_that_comes_late_corrects_the_turn(name: str) -> None:
    async with calling(name) as (call, vendor):
        vendor.transcript_ms = 400
        await speak(call, 800)
        await until(lambda: len(finals(call)) == 2, "the correction")
        assert finals(call) == [UNWRITTEN, "go forward"]
        assert call.last("transcription")["corrected"] is True
        await until(measured(call), "the answer")
    assert call.recorder.messages[0]["content"] == "go forward"


@BOTH
async def test_a_text_that_never_comes(name: str) -> None:
    async with calling(name) as (call, vendor):
        vendor.transcript_ms = -1
        await speak(call, 800)
        await until(measured(call), "the answer")
        assert finals(call) == [UNWRITTEN]
    assert call.recorder.messages[0]["content"] == UNWRITTEN


BAD_DAYS = {
    "a wrong key": ((), "wrong-key", "auth"),
    "no credit": ((Trouble(status=429),), KEY, "quota"),
    "a refusal": ((Trouble(status=500),), KEY, "transient"),
    "a hang": ((Trouble(hang=True),), KEY, "timeout"),
    "an answer that hangs": ((Trouble(hang=True, after=0),), KEY, "timeout"),
    "an empty answer": ((Trouble(empty=True),), KEY, "empty"),
}


@BOTH
@pytest.mark.parametrize("day", BAD_DAYS)
async def test_on_a_bad_day_the_stages_answer(name: str, day: str) -> None:
    troubles, key, kind = BAD_DAYS[day]
    async with calling(name, *troubles, key=key) as (call, _):
        await speak(call, 800)
        await until(measured(call), "the stages' answer")
        assert call.of("agent_response")[-1]["text"] == STAGES["text"]
        assert call.of("error") == []
        (decision,) = [d for d in call.recorder.of("decision") if d["what"] == "talk failover"]
        assert decision["reason"] == kind
        assert "wrong-key" not in str(decision)
    said = call.recorder.messages
    assert [m["role"] for m in said] == ["user", "assistant"]
    assert UNWRITTEN not in said[0]["content"]


@BOTH
async def test_a_socket_that_dies_in_mid_answer(name: str) -> None:
    async with calling(name, Trouble(after=4)) as (call, vendor):
        vendor.replies = ["This is a rather long answer that the vendor does not finish."]
        await speak(call, 800)
        await until(measured(call), "the end of the answer")
        said = call.of("agent_response")[-1]["text"]
        assert said.startswith("This is")
        assert said.endswith("I am sorry, I have lost my thread there.")
        assert len(call.of("audio.begin")) == 1
        assert decisions(call).count("talk failover") == 1


@BOTH
async def test_a_socket_that_dies_in_mid_utterance(name: str) -> None:
    async with calling(name) as (call, vendor):
        await speak(call, 400, quiet_ms=0)
        await until(lambda: vendor.sessions and vendor.seen[0].messages, "the talk")
        await asyncio.sleep(0.05)
        await vendor.sessions[0]._socket.close(1011)
        await until(lambda: "talk failover" in decisions(call), "the failover")
        await speak(call, 400)
        await until(measured(call), "the stages' answer")
        assert finals(call) == [SCRIPTED_STT["text"]]
        assert call.of("agent_response")[-1]["text"] == STAGES["text"]


@BOTH
async def test_a_socket_that_is_hung_up_between_turns_is_opened_again_with_the_history(name: str) -> None:
    async with calling(name) as (call, vendor):
        await speak(call, 800)
        await until(measured(call), "the first answer")
        await vendor.sessions[0]._socket.close(1001)
        await asyncio.sleep(0.05)
        await until(lambda: call.session.floor.idle, "silence")
        await speak(call, 800)
        await until(measured(call, 2), "the second answer")
        assert "talk failover" not in decisions(call)
        second = vendor.sessions[1]
        if name == "openai-realtime":
            told = [i["content"][0].get("text") for i in second.items if i["type"] == "message"]
            assert told[:2] == ["go forward", "You said: go forward."]
        else:
            assert second.turns[:2] == [("user", "go forward"), ("model", "You said: go forward.")]


async def test_gemini_going_away_is_followed_between_turns() -> None:
    async with calling("gemini-live") as (call, vendor):
        await speak(call, 800)
        await until(lambda: call.audio, "the first answer")
        await vendor.sessions[0].go_away("5s")
        await until(lambda: len(vendor.sessions) == 2, "the next talk")
        assert call.session.floor.idle
        await speak(call, 800)
        await until(measured(call, 2), "the second answer")
        assert vendor.sessions[1].turns[0] == ("user", "go forward")
        assert "talk failover" not in decisions(call)


async def test_a_new_prompt_is_told_to_openai_and_needs_another_talk_with_gemini() -> None:
    for name in VENDORS:
        async with calling(name) as (call, vendor):
            await speak(call, 800)
            await until(measured(call), "the first answer")
            await until(lambda call=call: call.session.floor.idle, "silence")  # type: ignore[misc]
            call.do("update_prompt", prompt="Be long.")
            await speak(call, 800)
            await until(measured(call, 2), "the second answer")
            if name == "openai-realtime":
                assert vendor.sessions[0].settings["instructions"] == "Be long."
            else:
                assert vendor.sessions[1].setup["systemInstruction"] == {"parts": [{"text": "Be long."}]}


async def test_in_writing_only_openai_is_asked_for_text() -> None:
    async with calling("openai-realtime", setup=Setup(greeting="", response="text")) as (call, vendor):
        call.do("text_message", message="hello")
        await until(measured(call), "an answer")
        assert vendor.sessions[0].settings["output_modalities"] == ["text"]
        assert call.audio == []
        assert call.of("agent_response")[-1]["text"] == "You said: hello."
