"""OpenAI's Realtime wire over a real session with scripted stages, on the virtual clock.

Every server event is held against the types of the `openai` package (`tests/support/realtime.py`).
"""

import base64
import json
from typing import Any

import numpy as np
import pytest

from pipeline.contracts import ToolContext
from pipeline.tool import tool
from tests.support.realtime import RealtimeCall, open_realtime

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

STT = {"text": "what can you do for me", "final_ms": 100}
LLM = {"text": "I can book a room. I can also cancel it.", "first_token_ms": 50, "token_ms": 5}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


async def opened(**more: Any) -> RealtimeCall:
    return await open_realtime(**{"stt": STT, "llm": LLM, **more})


async def spoken_turn(call: RealtimeCall, ms: int = 800, quiet: int = 1500) -> None:
    await call.speak(ms)
    await call.quiet(quiet)


def messages(call: RealtimeCall) -> list[tuple[str, str]]:
    """(role, content) of what the model will be told next."""
    return [(m.role, m.content) for m in call.session.dialogue.prompt()]


# -- a turn ---------------------------------------------------------------------------------------------


async def test_the_events_of_a_spoken_turn_come_in_openais_order() -> None:
    call = await opened()
    await call.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    await spoken_turn(call, quiet=4000)
    deltas = ("response.output_audio.delta", "response.output_audio_transcript.delta")
    assert call.kinds(*deltas, "conversation.item.input_audio_transcription.delta") == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    said = {e["item_id"] for e in call.events if e["type"].startswith("input_audio_buffer.")}
    assert len(said) == 1
    completed = call.last("conversation.item.input_audio_transcription.completed")
    assert completed["item_id"] in said
    assert completed["transcript"] == STT["text"]
    done = call.last("response.done")["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": LLM["text"]}]
    transcript = "".join(e["delta"] for e in call.of("response.output_audio_transcript.delta"))
    assert transcript == LLM["text"]
    assert done["usage"]["output_tokens"] > 0
    assert len(call.sound) > 24_000
    ids = [e["event_id"] for e in call.events]
    assert len(set(ids)) == len(ids)
    assert messages(call)[-2:] == [("user", STT["text"]), ("assistant", LLM["text"])]
    await call.end()


async def test_sound_is_sent_as_fast_as_it_is_made() -> None:
    call = await opened(llm={**LLM, "text": "word " * 150}, tts={"speed": 20})
    await spoken_turn(call, quiet=6000)
    assert call.last("response.done")["response"]["status"] == "completed"
    assert len(call.sound) > 10 * 48_000  # more than ten seconds, in less than six
    await call.end()


async def test_the_words_of_an_answer_come_with_their_sound() -> None:
    """Some clients take their history from the order: no sentence is told long before it sounds."""
    sentences = [f"This is sentence number {n} of the answer. " for n in range(6)]
    call = await opened(llm={**LLM, "text": "".join(sentences).strip()}, tts={"speed": 3})
    await spoken_turn(call, quiet=12_000)
    told, sounded = "", 0
    for event in call.events:
        if event["type"] == "response.output_audio_transcript.delta":
            told += event["delta"]
        elif event["type"] == "response.output_audio.delta":
            sounded += len(base64.b64decode(event["delta"])) // 48
            sentence_ms = len(sentences[0]) * 40
            assert len(told) <= (sounded // sentence_ms + 2) * len(sentences[0])
            assert len(told) * 40 >= sounded - 500
    assert (
        told == call.last("response.output_audio_transcript.done")["transcript"] == "".join(sentences).strip()
    )
    await call.end()


async def test_deltas_of_a_transcript_add_up_to_it() -> None:
    call = await opened()
    await call.update(audio={"input": {"transcription": {}}})
    await spoken_turn(call, 3000)
    deltas = call.of("conversation.item.input_audio_transcription.delta")
    assert deltas
    completed = call.last("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"].startswith("".join(d["delta"] for d in deltas))
    assert completed["usage"]["type"] == "duration"
    assert 0.5 < completed["usage"]["seconds"] < 4
    await call.end()


async def test_no_transcripts_unless_they_are_wanted() -> None:
    call = await opened()
    await spoken_turn(call)
    assert not [e for e in call.events if "input_audio_transcription" in e["type"]]
    await call.end()


# -- interruptions --------------------------------------------------------------------------------------


async def test_barging_in_cancels_the_response_and_says_when_the_speech_began() -> None:
    call = await opened(llm={**LLM, "text": "word " * 60}, tts={"speed": 1.5})
    await spoken_turn(call, quiet=2000)
    call.forget()
    await call.speak(600)
    kinds = call.kinds("response.output_audio.delta", "response.output_audio_transcript.delta")
    assert kinds[0] == "input_audio_buffer.speech_started"
    assert kinds[-1] == "response.done"
    done = call.last("response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert done["output"][0]["status"] == "incomplete"
    call.forget()
    await call.quiet(2500)
    assert call.kinds()[:2] == ["input_audio_buffer.speech_stopped", "input_audio_buffer.committed"]
    assert call.of("response.created")
    await call.end()


async def test_noise_and_backchannels_during_a_response_are_not_told() -> None:
    call = await opened(llm={**LLM, "text": "word " * 60}, stt={**STT, "text": "mhm"}, tts={"speed": 1.5})
    await call.write("hi")
    await call.respond()
    await call.quiet(2000)
    call.forget()
    await call.speak(200)
    await call.quiet(1500)
    assert not [e for e in call.events if e["type"].startswith("input_audio_buffer.")]
    assert call.session.floor.replying
    await call.end()


async def test_what_the_client_says_was_heard_is_what_the_model_remembers() -> None:
    call = await opened(llm={**LLM, "text": "one two three four five six seven eight"}, tts={"speed": 10})
    await spoken_turn(call)
    item_id = call.last("response.output_item.done")["item"]["id"]
    await call.speak(700)  # barges in, long after all was sent
    await call.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=700)
    assert call.last("conversation.item.truncated")["audio_end_ms"] == 700
    heard = call.call.recorder.messages[1]
    assert heard["interrupted"]
    assert heard["heard_ms"] == 700
    assert "estimated" not in heard or heard["estimated"] is None
    assert heard["heard"].startswith("one two")
    assert "eight" not in heard["heard"]
    assert ("assistant", heard["heard"]) in messages(call)
    await call.send("conversation.item.retrieve", item_id=item_id)
    item = call.last("conversation.item.retrieved")["item"]
    assert item["content"][0]["transcript"] == heard["heard"]
    placed = call.call.recorder.of("placed")[-1]
    assert sum(run[1] for run in placed["runs"]) == 700 * 24
    await call.end()


async def test_a_client_that_stops_a_response_by_truncating_it() -> None:
    call = await opened(llm={**LLM, "text": "word " * 60})
    await call.write("hi")
    await call.respond()
    await call.wait(1500)
    item_id = call.last("response.output_item.added")["item"]["id"]
    await call.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
    assert call.last("response.done")["response"]["status_details"]["reason"] == "client_cancelled"
    await call.send("conversation.item.retrieve", item_id=item_id)
    heard = call.last("conversation.item.retrieved")["item"]["content"][0]["transcript"]
    assert heard == call.call.recorder.messages[1]["heard"]
    assert 0 < len(heard) < 60
    await call.end()


async def test_what_was_heard_to_its_end_is_not_an_interruption() -> None:
    call = await opened(tts={"speed": 10})
    await spoken_turn(call, quiet=8000)
    item_id = call.last("response.output_item.done")["item"]["id"]
    await call.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=10**6)
    assert "interrupted" not in call.call.recorder.messages[1]
    await call.end()


async def test_cancelling() -> None:
    call = await opened(llm={**LLM, "text": "word " * 60})
    await call.send("response.cancel", event_id="c1")
    error = call.last("error")["error"]
    assert error["code"] == "response_cancel_not_active"
    assert error["message"].startswith("Cancellation failed")
    assert error["event_id"] == "c1"
    await call.write("hi")
    await call.respond()
    await call.wait(400)
    await call.send("response.cancel")
    done = call.last("response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    await call.end()


# -- what the client writes, and asks for ---------------------------------------------------------------


async def test_a_written_turn() -> None:
    call = await opened()
    await call.write("Book it.", id="mine")
    added, done = call.last("conversation.item.added"), call.last("conversation.item.done")
    assert (added["item"]["id"], done["item"]["id"]) == ("mine", "mine")
    assert not call.of("response.created")
    await call.respond(metadata={"client_event_id": "x"})
    await call.wait(3000)
    assert call.last("response.created")["response"]["metadata"] == {"client_event_id": "x"}
    assert call.last("response.done")["response"]["metadata"] == {"client_event_id": "x"}
    stored = call.call.recorder.messages
    assert [(m["role"], m["content"]) for m in stored] == [("user", "Book it."), ("assistant", LLM["text"])]
    assert messages(call)[-2:] == [("user", "Book it."), ("assistant", LLM["text"])]
    await call.end()


async def test_answers_in_writing() -> None:
    call = await opened()
    await call.update(output_modalities=["text"])
    await call.write("Book it.")
    await call.respond()
    await call.wait(1000)
    assert "".join(e["delta"] for e in call.of("response.output_text.delta")) == LLM["text"]
    assert call.last("response.output_text.done")["text"] == LLM["text"]
    assert call.last("response.content_part.done")["part"] == {"type": "text", "text": LLM["text"]}
    assert call.sound == b""
    await call.respond(output_modalities=["audio"])  # this one aloud
    await call.wait(3000)
    assert call.sound
    assert call.last("response.done")["response"]["output_modalities"] == ["audio"]
    await call.end()


async def test_one_response_at_a_time() -> None:
    call = await opened()
    await call.write("hi")
    await call.respond()
    await call.send("response.create", event_id="second")
    error = call.last("error")["error"]
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")
    await call.wait(3000)
    assert len(call.of("response.done")) == 1
    await call.respond()  # while the first one may still be playing
    await call.wait(3000)
    assert [e["response"]["status"] for e in call.of("response.done")] == ["completed", "completed"]
    await call.end()


async def test_instructions_and_items_of_one_response() -> None:
    call = await opened()
    prompts: list[Any] = []
    call.session.speaking._mouth.llm = Spy(call.session.speaking._mouth.llm, prompts)  # type: ignore[assignment]
    await call.update(instructions="Be kind.")
    await call.write("hi", id="one")
    await call.respond()
    await call.wait(3000)
    told = [{"type": "item_reference", "id": "one"}]
    told += [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "again"}]}]  # type: ignore[dict-item]
    await call.respond(instructions="Be short.", input=told, tool_choice="none")
    await call.wait(3000)
    shapes = [[(m.role, m.content) for m in p.messages] for p in prompts]
    assert shapes[0] == [("system", "Be kind."), ("user", "hi")]
    assert shapes[1] == [("system", "Be short."), ("user", "hi"), ("user", "again")]
    await call.end()


class Spy:
    """A responder chain whose prompts are kept."""

    def __init__(self, chain: Any, prompts: list[Any]) -> None:
        self._chain, self._prompts = chain, prompts

    def tokens(self, prompt: Any, *rest: Any, **named: Any) -> Any:
        self._prompts.append(prompt)
        return self._chain.tokens(prompt, *rest, **named)


async def test_a_response_outside_the_conversation() -> None:
    """It goes on beside the talk, and leaves no trace there but on the bill."""
    call = await opened(llm={**LLM, "token_ms": 100})
    await call.write("hi")
    await call.respond()
    told = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Angry?"}]}]
    topic = {"topic": "mood"}
    await call.respond(conversation="none", output_modalities=["text"], input=told, metadata=topic)
    await call.wait(8000)
    aside, answer = sorted(
        (e["response"] for e in call.of("response.done")), key=lambda r: "aside" not in r["id"]
    )
    assert aside["metadata"] == topic
    assert aside["conversation_id"] is None
    assert aside["output"][0]["content"] == [{"type": "output_text", "text": LLM["text"]}]
    assert aside["usage"]["output_tokens"] > 0
    assert answer["status"] == "completed"
    assert messages(call) == [("user", "hi"), ("assistant", LLM["text"])]
    assert [m["role"] for m in call.call.recorder.messages] == ["user", "assistant"]
    assert len([e for e in call.call.recorder.of("cost") if e["stage"] == "llm"]) == 2
    await call.end()


async def test_one_outside_that_fails_or_is_left_behind() -> None:
    call = await opened(llm={"fail": "error"})
    await call.respond(conversation="none", output_modalities=["text"])
    await call.wait(5000)
    assert call.last("response.done")["response"]["status"] == "failed"
    await call.respond(conversation="none", output_modalities=["text"])
    await call.end()  # and nothing of it is left


async def test_items_go_where_they_are_put_and_away_when_deleted() -> None:
    call = await opened()
    await call.write("second", id="b")
    await call.send(
        "conversation.item.create",
        previous_item_id="root",
        item={
            "id": "a",
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "first"}],
        },
    )
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "middle"}]}
    await call.send("conversation.item.create", previous_item_id="a", item=answer)
    places = [e["previous_item_id"] for e in call.of("conversation.item.added")]
    assert places == [None, None, "a"]
    await call.write("third", id="c")
    assert call.last("conversation.item.added")["previous_item_id"] == "b"
    await call.send("conversation.item.delete", item_id="c")
    assert messages(call) == [("system", "first"), ("assistant", "middle"), ("user", "second")]
    await call.send("conversation.item.delete", item_id="a")
    assert call.last("conversation.item.deleted")["item_id"] == "a"
    assert messages(call) == [("assistant", "middle"), ("user", "second")]
    await call.write("twice", id="b")
    assert call.last("error")["error"]["code"] == "item_create_duplicate_item_id"
    for kind in ("retrieve", "delete", "truncate"):
        await call.send(f"conversation.item.{kind}", item_id="nobody", content_index=0, audio_end_ms=0)
        assert call.last("error")["error"]["code"] == f"item_{kind}_invalid_item_id"
    await call.end()


async def test_what_was_said_can_be_forgotten() -> None:
    call = await opened()
    await spoken_turn(call, quiet=6000)
    user, agent = (e["item"]["id"] for e in call.of("conversation.item.done"))
    for item_id in (user, agent):
        await call.send("conversation.item.delete", item_id=item_id)
    assert messages(call) == []
    assert "interrupted" not in call.call.recorder.messages[1]  # it was heard all the same
    await call.end()


async def test_what_was_interrupted_before_it_was_played_was_not_heard() -> None:
    """Some clients then delete the item instead of truncating it at zero."""
    call = await opened(llm={**LLM, "text": "word " * 60})
    await call.write("hi")
    await call.respond()
    await call.wait(600)
    await call.send("response.cancel")
    item_id = call.last("response.output_item.done")["item"]["id"]
    await call.send("conversation.item.delete", item_id=item_id)
    stored = call.call.recorder.messages[1]
    assert (stored["interrupted"], stored["heard"], stored["heard_ms"]) == (True, "", 0)
    assert messages(call) == [("user", "hi")]
    await call.end()


# -- tools ----------------------------------------------------------------------------------------------


async def test_the_client_runs_its_tools_and_asks_for_the_answer() -> None:
    call = await opened(llm={**LLM, "tool": "weather", "tool_arguments": {"place": "Rome"}})
    await call.update(tools=[WEATHER], tool_choice="auto")
    call.forget()
    await call.write("Rain?")
    await call.respond()
    await call.wait(1000)
    assert call.kinds("conversation.item.added", "conversation.item.done") == [
        "response.created",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.done",
    ]
    begun, done = (
        call.last("response.output_item.added")["item"],
        call.last("response.output_item.done")["item"],
    )
    assert (begun["status"], begun["arguments"]) == ("in_progress", "")
    assert (done["status"], json.loads(done["arguments"])) == ("completed", {"place": "Rome"})
    assert call.last("response.done")["response"]["output"] == [done]
    output = {"type": "function_call_output", "call_id": done["call_id"], "output": '{"sky": "clear"}'}
    await call.send("conversation.item.create", item=output)
    await call.respond()
    await call.wait(3000)
    assert call.last("response.done")["response"]["output"][0]["content"][0]["transcript"] == LLM["text"]
    told = call.call.recorder.messages[1]
    assert (told["role"], told["name"], told["result"]) == ("tool", "weather", {"sky": "clear"})
    turns = call.call.recorder.of("turn")
    assert {turn["turn"] for turn in turns} == {1}
    assert turns[-1]["voice_to_voice_ms"] > 1000  # the answer that was heard, not the call
    await call.end()


async def test_tools_of_one_response_are_the_clients_too() -> None:
    call = await opened(llm={**LLM, "tool": "weather"})
    await call.write("Rain?")
    await call.respond(tools=[WEATHER])
    await call.wait(1000)
    assert call.last("response.done")["response"]["output"][0]["name"] == "weather"
    await call.end()


@pytest.mark.parametrize(
    "output", ["clear", '{"x": NaN}', '"\\ud800"', '{"x": "\\u0000"}', "1e999", "[1, 2]"]
)
async def test_whatever_a_tool_says_can_be_written_down(output: str) -> None:
    call = await opened(llm={**LLM, "tool": "weather"})
    await call.update(tools=[WEATHER])
    await call.write("Rain?")
    await call.respond()
    await call.wait(1000)
    call_id = call.last("response.output_item.done")["item"]["call_id"]
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    await call.send("conversation.item.create", item=item)
    kept = json.dumps(call.call.recorder.messages[1]["result"], ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in kept.replace("\\\\", "")
    assert kept.encode()
    await call.end()


async def test_what_was_only_written_is_not_unheard_by_truncating() -> None:
    call = await opened()
    await call.update(output_modalities=["text"])
    await call.write("hi")
    await call.respond()
    await call.wait(1000)
    item_id = call.last("response.output_item.done")["item"]["id"]
    await call.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
    assert "interrupted" not in call.call.recorder.messages[1]
    assert messages(call)[-1] == ("assistant", LLM["text"])
    await call.end()


async def test_a_call_that_nobody_answers_does_not_stop_the_talk() -> None:
    call = await opened(llm={**LLM, "tool": "weather"})
    await call.update(tools=[WEATHER])
    await call.write("Rain?")
    await call.respond()
    await call.wait(1000)
    await spoken_turn(call, quiet=4000)
    assert call.last("response.done")["response"]["status"] == "completed"
    await call.end()


async def test_the_servers_own_tools_run_here_until_the_client_names_some() -> None:
    ran: list[str] = []

    @tool(name="book")
    async def book(context: ToolContext) -> None:  # noqa: ARG001
        """Book it."""
        ran.append("book")

    call = await opened(llm={**LLM, "tool": "book"}, tools={"book": book})
    await call.write("Book it.")
    await call.respond()
    await call.wait(3000)
    assert ran == ["book"]
    assert not [e for e in call.events if "function_call" in e["type"]]
    await call.update(tools=[WEATHER])
    await call.write("Book it again.")
    await call.respond()
    await call.wait(3000)
    assert ran == ["book"]
    await call.end()


# -- who says when the user is done ---------------------------------------------------------------------


async def test_the_client_commits_and_asks() -> None:
    call = await opened()
    await call.manual()
    call.forget()
    await call.speak(800)
    await call.quiet(1500)
    assert call.events == []  # nobody has said that the user is done
    await call.send("input_audio_buffer.commit")
    assert call.kinds() == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    await call.respond()
    await call.wait(3000)
    completed = call.last("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == STT["text"]
    assert completed["usage"] == {"type": "duration", "seconds": pytest.approx(2.3, abs=0.05)}
    kinds = call.kinds()
    assert kinds.index("conversation.item.input_audio_transcription.completed") < kinds.index(
        "response.created"
    )
    assert call.last("response.done")["response"]["status"] == "completed"
    assert not call.of("input_audio_buffer.speech_started")
    await call.end()


async def test_a_commit_alone_is_not_answered() -> None:
    call = await opened()
    await call.manual()
    await call.speak(800)
    await call.send("input_audio_buffer.commit")
    await call.wait(3000)
    assert not call.of("response.created")
    assert messages(call) == [("user", STT["text"])]
    await call.end()


async def test_an_empty_buffer_cannot_be_committed_and_a_cleared_one_is_empty() -> None:
    call = await opened()
    for manual in (False, True):
        if manual:
            await call.manual()
            await call.speak(800)
            await call.send("input_audio_buffer.clear")
            assert call.of("input_audio_buffer.cleared")
        await call.send("input_audio_buffer.commit")
        assert call.last("error")["error"]["code"] == "input_audio_buffer_commit_empty"
    await call.wait(2000)
    assert messages(call) == []
    await call.end()


async def test_a_commit_in_mid_speech_ends_the_turn() -> None:
    call = await opened()
    await call.speak(800)
    await call.send("input_audio_buffer.commit")
    await call.wait(200)
    assert call.of("input_audio_buffer.committed")
    await call.end()


async def test_turns_that_are_not_to_be_answered_by_themselves() -> None:
    call = await opened()
    detection = {"type": "server_vad", "create_response": False}
    await call.update(audio={"input": {"turn_detection": detection}})
    await spoken_turn(call)
    assert call.of("input_audio_buffer.committed")
    assert not call.of("response.created")
    await call.respond()
    await call.quiet(2000)
    assert call.of("response.done")
    await call.end()


async def test_a_session_that_only_writes_down() -> None:
    call = await opened(transcribes=True)
    created = call.last("session.created")["session"]
    assert created["type"] == "transcription"
    await call.send(
        "session.update", session={"type": "transcription", "audio": {"input": {"transcription": {}}}}
    )
    await spoken_turn(call)
    assert call.last("conversation.item.input_audio_transcription.completed")["transcript"] == STT["text"]
    assert not call.of("response.created")
    await call.end()


# -- settings -------------------------------------------------------------------------------------------


async def test_an_update_is_merged_and_told_whole() -> None:
    call = await opened()
    before = call.last("session.created")["session"]
    assert before["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    await call.update(audio={"input": {"turn_detection": {"silence_duration_ms": 300}}})
    detection = call.last("session.updated")["session"]["audio"]["input"]["turn_detection"]
    assert (detection["type"], detection["silence_duration_ms"]) == ("server_vad", 300)
    assert call.session.floor.timing.stop_ms == 300
    await call.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}})
    detection = call.last("session.updated")["session"]["audio"]["input"]["turn_detection"]
    assert detection == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }
    assert call.session.floor.timing.max_silence_ms == 4000
    await call.update(instructions="Be kind.", unheard_of={"x": 1}, temperature=0.8)
    assert call.last("session.updated")["session"]["instructions"] == "Be kind."
    assert messages(call) == [("system", "Be kind.")]
    assert not call.of("error")
    await call.end()


@pytest.mark.parametrize(
    ("patch", "param"),
    [
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format.type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools"),
        ({"tools": [{"type": "function"}]}, "session.tools.0.name"),
        ({"instructions": 5}, "session.instructions"),
    ],
)
async def test_an_update_that_is_wrong_counts_for_nothing(patch: dict[str, Any], param: str) -> None:
    call = await opened()
    patch = {"instructions": "Be rude.", **patch}
    await call.send("session.update", event_id="e1", session={"type": "realtime", **patch})
    error = call.last("error")["error"]
    assert (error["type"], error["param"], error["event_id"]) == ("invalid_request_error", param, "e1")
    assert messages(call) == []
    await call.send("session.update", session={"type": "realtime"})
    assert call.last("session.updated")["session"]["instructions"] == ""
    await call.end()


async def test_responses_can_be_kept_from_being_interrupted() -> None:
    call = await opened(llm={**LLM, "text": "word " * 60})
    detection = {"type": "server_vad", "interrupt_response": False}
    await call.update(audio={"input": {"turn_detection": detection}})
    await call.write("hi")
    await call.respond()
    await call.quiet(1000)
    await call.speak(1500)
    await call.quiet(1000)
    assert call.session.floor.replying
    assert not call.of("input_audio_buffer.speech_started")
    await call.end()


@pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
async def test_the_telephones_sound(law: str) -> None:
    call = await opened()
    telephone = {"format": {"type": law}}
    await call.update(audio={"input": telephone, "output": telephone})
    session = call.last("session.updated")["session"]
    assert session["audio"]["output"]["format"] == {"type": law}
    loud = b"\x10" * 160
    for _ in range(50):
        await call.append(loud)
        await call.wait(20)
    silent = b"\xff" * 160 if law == "audio/pcmu" else b"\xd5" * 160
    for _ in range(200):
        await call.append(silent)
        await call.wait(20)
    done = call.last("response.done")["response"]
    assert done["status"] == "completed"
    made_s = (
        len(call.call.recorder.agent) and sum(len(pcm) for *_, pcm, _ in call.call.recorder.agent) / 16_000
    )
    assert len(call.sound) == pytest.approx(made_s * 8000, rel=0.01)
    await call.end()


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "missing_required_parameter"),
        ('{"type": "nothing.known"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "%%"}', "invalid_value"),
        ('{"type": "conversation.item.create"}', "missing_required_parameter"),
        (
            '{"type": "conversation.item.create", "item": {"type": "message", "role": "user"}}',
            "missing_required_parameter",
        ),
        ('{"type": "response.create", "response": {"input": [5]}}', "invalid_value"),
        ('{"type": "response.create", "response": 5}', "invalid_value"),
        ('{"type": "session.update", "session": 5}', "missing_required_parameter"),
        ('{"type": "session.update", "session": {"audio": null, "tools": 5}}', "invalid_value"),
        ('{"type": "conversation.item.create", "item": {"type": "song"}}', "invalid_value"),
        ('{"type": "session.update", "session": {"instructions": "\\ud800"}}', "invalid_value"),
        ('{"type": "response.create", "response": {"conversation": "none"}}', "invalid_value"),  # aloud
        ('{"type": "response.create", "response": {"metadata": 5}}', "invalid_value"),
    ],
)
async def test_bad_messages_are_told_and_nothing_is_lost(text: str, code: str) -> None:
    call = await opened()
    await call.codec.take(text)
    await call.wait(10)
    assert call.last("error")["error"]["code"] == code
    await call.write("hi")
    await call.respond()
    await call.wait(3000)
    assert call.last("response.done")["response"]["status"] == "completed"
    await call.end()


async def test_a_truncation_without_end_is_refused() -> None:
    call = await opened()
    await spoken_turn(call, quiet=4000)
    item_id = call.last("response.output_item.done")["item"]["id"]
    for end in ("Infinity", "1e999", '"x"', "null", "true"):
        told = f'"item_id": "{item_id}", "content_index": 0, "audio_end_ms": {end}'
        await call.codec.take(f'{{"type": "conversation.item.truncate", {told}}}')
    await call.wait(10)
    assert len(call.of("error")) == 5
    assert not call.session.ended
    await call.end()


async def test_a_model_that_fails_is_a_failed_response_and_an_apology() -> None:
    call = await opened(llm={"fail": "error"})
    await call.write("hi")
    await call.respond()
    await call.wait(5000)
    first, second = (e["response"] for e in call.of("response.done"))
    assert (first["status"], first["status_details"]["error"]["code"]) == ("failed", "llm_failed")
    assert second["status"] == "completed"
    assert second["output"][0]["content"][0]["transcript"]
    assert not call.of("error")  # some clients stop at any error
    await call.end()


async def test_a_recognizer_that_fails_is_told_of_the_item() -> None:
    call = await opened(stt={"fail": "error"})
    await call.manual()
    await call.speak(800)
    await call.send("input_audio_buffer.commit")
    await call.wait(6000)
    failed = call.last("conversation.item.input_audio_transcription.failed")
    assert failed["item_id"] == call.last("input_audio_buffer.committed")["item_id"]
    await call.end()


async def test_nothing_said_is_an_empty_transcript() -> None:
    call = await opened(stt={"text": "", "fail": "empty"})
    await call.manual()
    await call.speak(300)
    await call.send("input_audio_buffer.commit")
    await call.wait(3000)
    assert call.last("conversation.item.input_audio_transcription.completed")["transcript"] == ""
    await call.end()


async def test_a_whole_recording_in_one_message() -> None:
    call = await opened()
    await call.append(b"\x10\x27" * 24_000 * 3 + bytes(48_000 * 2))
    await call.quiet(3000)
    assert call.last("response.done")["response"]["status"] == "completed"
    await call.end()


async def test_a_sample_cut_in_two_is_put_together() -> None:
    call = await opened()
    loud = b"\x10\x27" * 24_000
    for at in range(0, len(loud), 961):
        await call.append(loud[at : at + 961])
        await call.wait(20)
    await call.quiet(3000)
    assert not call.of("error")
    spoken = b"".join(pcm for _, pcm in call.call.recorder.user)
    samples = np.frombuffer(spoken[: 16_000 * 2], "<i2").astype(int)
    assert (np.abs(samples[1000:15_000] - 10_000) < 1000).all()  # halves would be noise
    await call.end()
