"""Whole conversations with one model that hears and speaks by itself: the same session, the same files."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.contracts import ToolContext, ToolSpec
from pipeline.duplex import UNWRITTEN
from pipeline.setup import Setup
from pipeline.talk.scripted import ScriptedTalk, ScriptedTalkEngine
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

REPLY = "I can help you with everyday questions, and quite a few others."
HEARD = "what can you do for me today"
STAGES = {"text": "The stages say this instead of it.", "first_token_ms": 100}


async def turn(call: Call, wait_ms: int = 4000) -> None:
    await call.speak(800)
    await call.quiet(wait_ms)


def engine_of(call: Call) -> ScriptedTalkEngine:
    chain = call.session.engines.talk
    assert chain is not None
    engine = chain.members[0].engine
    assert isinstance(engine, ScriptedTalkEngine)
    return engine


def talk_of(call: Call) -> ScriptedTalk:
    return engine_of(call).talks[-1]


def decisions(call: Call) -> list[str]:
    return [str(d["what"]) for d in call.recorder.of("decision")]


def told(call: Call, what: str) -> list[tuple[Any, ...]]:
    return [t for talk in engine_of(call).talks for t in talk.told if t[0] == what]


class Oracle:
    """A tool that takes its time."""

    spec = ToolSpec("oracle", "knows", {"type": "object", "properties": {}})

    def __init__(self, takes_s: float = 0.1) -> None:
        self._takes_s = takes_s

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> Mapping[str, Any]:
        del arguments, context
        await asyncio.sleep(self._takes_s)
        return {"answer": 42}


async def test_a_spoken_turn_has_the_events_files_and_numbers_of_three_stages() -> None:
    call = await open_call(talk={})
    await turn(call)
    assert call.kinds() == [
        "speech.started",
        "speech.stopped",
        "transcription",
        "response.begin",
        "agent_response",
        "audio.begin",
        "agent_response",
        "audio.end",
        "turn.metrics",
    ]
    final = call.last("transcription")
    assert (final["turn"], final["text"], final["final"]) == (1, HEARD, True)
    metrics = call.last("turn.metrics")
    # 500 ms of silence, 100 to the text; the answer was asked for with it and sounds 200 after the silence
    assert [metrics[k] for k in ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms")] == [500, 100, 100, 0]
    assert metrics["plugins"] == {"stt": "scripted", "talk": "scripted"}
    assert call.samples == len(REPLY) * 40 * 24
    await call.end()
    user, agent = call.recorder.messages
    assert (user["content"], user["audio"]) == (HEARD, "0001_user.mp3")
    assert (agent["content"], agent["audio"]) == (REPLY, "0002_agent.mp3")
    assert agent["end_ms"] - agent["start_ms"] == pytest.approx(len(REPLY) * 40, abs=1)
    assert [m.content for m in call.session.dialogue.prompt()] == [HEARD, REPLY]


async def test_each_answer_is_one_request_on_the_bill_as_the_model_counted_it() -> None:
    call = await open_call(talk={})
    await turn(call)
    await call.end()
    (cost,) = call.recorder.of("cost")
    assert (cost["stage"], cost["provider"], cost["model"]) == ("talk", "scripted", "scripted")
    assert (cost["turn"], cost["counted"], cost["outcome"]) == (1, True, "ok")
    assert (cost["input_tokens"], cost["output_audio_tokens"]) == (20, len(REPLY) * 40 // 50)
    assert cost["first_ms"] == 200


async def test_a_typed_message_is_answered_by_the_model() -> None:
    call = await open_call(talk={"open_ms": 300})
    call.do("text_message", message="hi")
    await call.quiet(4000)
    assert told(call, "say") == [("say", "hi", 1)]
    assert talk_of(call).setup.history == ()  # it is asked, so it is not history
    assert call.last("agent_response")["text"] == REPLY
    assert call.last("turn.metrics")["endpoint_ms"] == 0
    await call.end()


async def test_in_writing_only_no_sound_is_waited_for() -> None:
    call = await open_call(talk={})
    call.do("start", response="text")
    await turn(call)
    assert talk_of(call).setup.spoken is False
    assert call.audio == []
    assert call.last("agent_response")["text"] == REPLY
    await call.end()


async def test_the_greeting_is_said_by_the_voice_and_remembered_by_the_model() -> None:
    call = await open_call(talk={}, setup=Setup(greeting="Hello there."))
    call.do("start")
    await call.quiet(2000)
    assert call.last("audio.end")["duration_ms"] == 12 * 40
    assert told(call, "remember") == [("remember", "Hello there.")]
    await call.end()


async def test_barge_in_cuts_the_models_memory_to_what_was_heard() -> None:
    call = await open_call(talk={})
    call.do("text_message", message="hi")
    await call.quiet(1000)
    begin = call.last("audio.begin")["_ms"]
    await call.speak(400)
    assert call.kinds()[-3:] == ["duck", "speech.started", "interrupted"]
    interrupted = call.last("interrupted")
    assert interrupted["heard_ms"] == call.last("duck")["_ms"] - begin
    assert REPLY.startswith(interrupted["heard_text"])
    assert interrupted["heard_text"] == "I can help you with"
    assert told(call, "cut") == [("cut", 1, interrupted["heard_ms"], interrupted["heard_text"])]
    await call.quiet(3000)
    assert call.last("response.begin")["turn"] == 2
    assert told(call, "finish")[0][3] == 300 + 400 + 500  # all of it, with what was said before the decision
    await call.end()
    assert call.recorder.messages[1]["heard"] == interrupted["heard_text"]


async def test_what_is_cut_while_it_is_made_is_charged_once_when_the_model_has_counted_it() -> None:
    call = await open_call(talk={"word_ms": 400})
    call.do("text_message", message="hi")
    await call.quiet(1000)
    call.do("interrupt")
    await call.quiet(1000)
    await call.end()
    (cost,) = call.recorder.of("cost")
    assert (cost["turn"], cost["outcome"], cost["counted"]) == (1, "cancelled", True)


async def test_a_backchannel_during_a_reply_never_reaches_the_model() -> None:
    call = await open_call(talk={})
    call.do("text_message", message="hi")
    await call.quiet(600)
    await call.speak(160)
    await call.quiet(3000)
    assert call.of("interrupted") == []
    assert told(call, "begin") == told(call, "drop") == []
    assert call.samples == len(REPLY) * 40 * 24
    await call.end()


async def test_going_on_after_the_endpoint_withdraws_the_first_answer_unheard() -> None:
    call = await open_call(talk={"transcript_ms": 400, "first_ms": 600})
    await call.speak(800)
    await call.quiet(600)
    await call.speak(600)
    await call.quiet(4000)
    assert len(call.of("response.begin")) == 1
    assert told(call, "cut") == [("cut", 2, 0, "")]
    assert call.recorder.messages[0]["content"] == f"{HEARD} {HEARD}"
    await call.end()
    assert [c["outcome"] for c in call.recorder.of("cost")] == ["cancelled", "ok"]


async def test_an_answer_does_not_wait_for_the_text_it_answers() -> None:
    call = await open_call(talk={"transcript_ms": 900})
    await turn(call)
    finals = [e for e in call.of("transcription") if e["final"]]
    assert [(e["text"], e.get("corrected", False)) for e in finals] == [(UNWRITTEN, False), (HEARD, True)]
    assert finals[1]["_ms"] - finals[0]["_ms"] == 700
    assert call.audio[0][0] == 800 + 500 + 200
    await call.end()
    assert call.recorder.messages[0]["content"] == HEARD
    assert call.session.dialogue.prompt()[0].content == HEARD


async def test_a_text_that_never_comes_leaves_an_honest_mark() -> None:
    call = await open_call(talk={"fail": "unwritten"})
    await turn(call)
    assert call.samples > 0
    await call.end()
    assert call.recorder.messages[0]["content"] == UNWRITTEN
    assert decisions(call) == ["endpoint"]


async def test_an_utterance_without_words_is_no_turn_and_its_answer_is_withdrawn() -> None:
    call = await open_call(talk={"text": [""]})
    await turn(call)
    assert call.of("response.begin") == []
    assert told(call, "drop") == [("drop", 1)]
    assert len(told(call, "cut")) == 1
    await call.end()


async def test_a_tool_runs_and_the_model_goes_on_with_its_result() -> None:
    call = await open_call(talk={"tool": "oracle"}, tools={"oracle": Oracle()})
    await turn(call)
    kinds = call.kinds("agent_response")
    assert kinds.index("tool.call") < kinds.index("tool.result") < kinds.index("audio.begin")
    assert told(call, "answer") == [("answer", 2, [("oracle", '{"answer": 42}')], True)]
    assert talk_of(call).setup.tools == (Oracle.spec,)
    await call.end()
    assert [m["role"] for m in call.recorder.messages] == ["user", "tool", "assistant"]
    assert [c["outcome"] for c in call.recorder.of("cost")] == ["ok", "ok"]


async def test_a_tool_that_was_running_when_the_caller_barged_in_is_remembered() -> None:
    call = await open_call(talk={"tool": "oracle"}, tools={"oracle": Oracle(1.0)})
    call.do("text_message", message="hi")
    await call.quiet(500)
    call.do("interrupt")
    await call.quiet(2000)
    assert told(call, "answer") == [("answer", 1, [("oracle", '{"answer": 42}')], False)]
    assert call.samples == 0
    await call.end()


async def test_a_new_prompt_reaches_the_model() -> None:
    call = await open_call(talk={}, setup=Setup(greeting="", system_prompt="Be brief."))
    await turn(call)
    assert talk_of(call).setup.instructions == "Be brief."
    call.do("update_prompt", prompt="Be long.")
    assert told(call, "instruct") == [("instruct", "Be long.")]
    await call.end()


async def test_an_old_talk_is_replaced_between_turns_with_the_history() -> None:
    call = await open_call(talk={"lives_s": 5.0})
    await turn(call, 6000)
    await turn(call, 6000)
    first, second = engine_of(call).talks[:2]
    assert first.told[-1] == ("aclose",)
    assert [m.content for m in second.setup.history] == [HEARD, REPLY]
    assert len(call.of("turn.metrics")) >= 2
    assert "talk failover" not in decisions(call)
    await call.end()


# -- failing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["open", "die-while-hearing", "hang"])
async def test_a_model_that_fails_before_it_answers_leaves_the_turn_to_the_stages(way: str) -> None:
    call = await open_call(talk={"fail": way}, llm=STAGES)
    await turn(call, 8000)
    assert decisions(call).count("talk failover") == 1
    assert call.of("error") == []
    final = [e for e in call.of("transcription") if e["final"]]
    assert final[0]["text"] == HEARD
    assert call.last("agent_response")["text"] == STAGES["text"]
    metrics = call.last("turn.metrics")
    assert metrics["plugins"]["llm"] == "scripted"
    assert [f["stage"] for f in metrics["failovers"]] == ["talk"]
    assert call.samples == len(str(STAGES["text"])) * 40 * 24
    await call.end()
    assert call.recorder.messages[-1]["content"] == STAGES["text"]


async def test_a_model_that_answers_nothing_leaves_the_turn_to_the_stages() -> None:
    call = await open_call(talk={"fail": "empty"}, llm=STAGES)
    await turn(call, 8000)
    assert decisions(call).count("talk failover") == 1
    assert call.last("agent_response")["text"] == STAGES["text"]
    await call.end()


async def test_an_answer_without_sound_is_spoken_by_the_voice() -> None:
    call = await open_call(talk={"fail": "mute"}, llm=STAGES)
    await turn(call, 8000)
    assert call.last("agent_response")["text"] == REPLY
    assert call.samples == len(REPLY) * 40 * 24
    assert call.last("turn.metrics")["plugins"]["tts"] == "scripted"
    await call.end()


async def test_a_socket_that_dies_in_mid_reply_ends_the_sentence_honestly() -> None:
    call = await open_call(talk={"fail": "die", "die_words": 3}, llm=STAGES)
    await turn(call, 3200)
    said = str(call.last("agent_response")["text"])
    assert said == "I can help  I am sorry, I have lost my thread there."
    rest = said.removeprefix("I can help")
    assert call.samples == len("I can help " + rest) * 40 * 24
    assert len(call.of("audio.begin")) == 1
    await turn(call, 8000)  # it rests: the stages go on with the talk
    assert call.last("agent_response")["text"] == STAGES["text"]
    await call.end()
    assert len(engine_of(call).talks) == 1


async def test_words_that_were_never_written_down_are_recognized_when_the_stages_must_answer() -> None:
    call = await open_call(
        talk={"fail": "die", "die_words": 0, "transcript_ms": 900, "tool": "oracle"}, llm=STAGES
    )
    await turn(call, 8000)
    finals = [e for e in call.of("transcription") if e["final"]]
    assert [e["text"] for e in finals] == [UNWRITTEN, HEARD]
    assert call.session.dialogue.prompt()[0].content == HEARD
    assert call.last("agent_response")["text"] == STAGES["text"]
    await call.end()


async def test_after_its_rest_the_model_is_asked_again_and_told_what_was_said_meanwhile() -> None:
    call = await open_call(talk={"fail": "die-while-hearing"}, llm=STAGES)
    await turn(call, 8000)
    engine = engine_of(call)
    engine.answers = -100  # well again: it is not yet time to fail
    await turn(call, 6000)
    assert [m.content for m in engine.talks[-1].setup.history] == [HEARD, STAGES["text"]]
    assert call.last("agent_response")["text"] == REPLY
    await call.end()


async def test_ending_the_session_in_the_midst_of_everything_leaves_nothing_behind() -> None:
    call = await open_call(talk={"open_ms": 400})
    await call.speak(300)
    await call.end()
    other = await open_call(talk={"word_ms": 300})
    await other.speak(600)
    await other.quiet(1000)
    await other.end()
    assert other.recorder.messages[-1]["interrupted"] is True
