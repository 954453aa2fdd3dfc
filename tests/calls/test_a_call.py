"""Whole conversations on the virtual clock: exact order, exact times, nothing left behind."""

import asyncio

import pytest

from pipeline.core.endpoint import Timing
from pipeline.setup import Rules, Setup
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

LLM = {"text": "I can help with that. Just tell me when.", "first_token_ms": 200, "token_ms": 10}


async def one_turn(call: Call) -> None:
    await call.speak(800)
    await call.quiet(700)


async def test_a_spoken_turn_is_answered_in_the_order_and_at_the_times_of_its_stages() -> None:
    call = await open_call(llm=LLM)
    await one_turn(call)
    await call.quiet(3000)
    assert call.kinds() == [
        "speech.started",
        "transcription",
        "speech.stopped",
        "transcription",
        "response.begin",
        "agent_response",
        "audio.begin",
        "audio.end",
        "turn.metrics",
    ]
    assert call.last("speech.started")["at_ms"] == 0
    assert call.last("speech.stopped")["at_ms"] == 800
    final = call.last("transcription")
    assert (final["turn"], final["text"], final["final"]) == (1, "what can you do for me today", True)
    metrics = call.last("turn.metrics")
    # pause at 900, settled at 900 (the words were spoken 100 ms ago), then 200 + 4 tokens, then 100: at 1240
    spans = [metrics[k] for k in ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms")]
    assert spans == [500, 0, 0, 0]
    assert metrics["voice_to_voice_ms"] == sum(spans)
    assert metrics["speculated"] is True
    assert metrics["reason"] == "500 ms of silence"
    assert call.audio[0][0] == 1300
    assert call.last("audio.end")["duration_ms"] == 40 * 40
    assert call.samples == 40 * 40 * 24
    await call.end()


async def test_without_speculation_every_stage_is_waited_for() -> None:
    call = await open_call(llm=LLM, timing=Timing(speculate=False))
    await one_turn(call)
    await call.quiet(2000)
    metrics = call.last("turn.metrics")
    assert [metrics[k] for k in ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms")] == [500, 0, 200, 140]
    assert metrics["speculated"] is False
    await call.end()


async def test_the_greeting_is_turn_0_said_after_start_and_has_no_metrics() -> None:
    call = await open_call(setup=Setup(greeting="Hello there."))
    await call.quiet(100)
    assert call.events == []
    call.do("start", response="both")
    await call.quiet(3000)
    begin = call.last("response.begin")
    assert (begin["turn"], begin["_ms"]) == (0, 100)
    assert call.last("agent_response")["text"] == "Hello there."
    assert call.last("audio.end")["duration_ms"] == 12 * 40
    assert call.of("turn.metrics") == []
    await call.end()
    assert call.recorder.messages[0]["type"] == "welcome"


async def test_a_client_that_never_says_start_is_greeted_after_a_second() -> None:
    call = await open_call(setup=Setup(greeting="Hello there."))
    await call.quiet(1100)
    assert call.last("response.begin")["_ms"] == 1000
    await call.end()


async def test_a_message_typed_before_the_greeting_replaces_it() -> None:
    call = await open_call(setup=Setup(greeting="Hello there."), llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(4000)
    assert call.last("user_message") == {"type": "user_message", "turn": 1, "text": "hi", "_ms": 0}
    assert [e["turn"] for e in call.of("response.begin")] == [1]
    assert call.last("turn.metrics")["endpoint_ms"] == 0
    await call.end()
    assert [m["role"] for m in call.recorder.messages] == ["user", "assistant"]


async def test_a_reply_in_writing_only_has_no_audio() -> None:
    call = await open_call(llm=LLM)
    call.do("start", response="text")
    call.do("text_message", message="hi")
    await call.quiet(1000)
    assert call.kinds() == ["user_message", "response.begin", "agent_response", "turn.metrics"]
    assert call.audio == []
    assert call.last("agent_response")["text"] == LLM["text"]
    assert call.last("agent_response")["final"] is True
    await call.end()


async def test_partials_of_a_turn_that_goes_on_keep_what_was_said_before() -> None:
    call = await open_call(stt={"text": "one two three", "final_ms": 1200}, llm=LLM)
    await call.speak(800)
    await call.quiet(700)  # the turn is over, its text still owed
    await call.speak(800)
    await call.quiet(2000)
    assert [(e["turn"], e["text"], e["final"]) for e in call.of("transcription")] == [
        (1, "one", False),
        (1, "one two", False),
        (1, "one two one", False),
        (1, "one two one two", False),
        (1, "one two three one two three", True),
    ]
    await call.end()


async def test_deltas_join_to_the_whole_answer() -> None:
    call = await open_call(llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(1000)
    texts = call.of("agent_response")
    assert "".join(e["text"] for e in texts if not e["final"]) == texts[-1]["text"] == LLM["text"]
    await call.end()


async def test_speaking_over_the_reply_cuts_history_to_what_was_heard() -> None:
    call = await open_call()
    call.do("text_message", message="hi")
    await call.quiet(2000)
    begin = call.last("audio.begin")["_ms"]
    await call.speak(400)
    order = call.kinds("agent_response", "transcription")
    assert order[-4:] == ["duck", "speech.started", "interrupted", "turn.metrics"]
    duck, interrupted = call.last("duck"), call.last("interrupted")
    assert duck["_ms"] == 2040
    assert interrupted["_ms"] == 2300
    assert interrupted["heard_ms"] == 2040 - begin
    assert interrupted["estimated"] is True
    whole = call.of("agent_response")[-1]["text"]
    assert whole.startswith(interrupted["heard_text"])
    assert interrupted["heard_text"].endswith(("everyday", "few", "quite"))
    late = [e for e in call.of("audio.end") if e["_ms"] > 2300]
    assert late == []
    heard = call.session.dialogue.prompt()[-1]
    assert (heard.role, heard.content) == ("assistant", interrupted["heard_text"])
    message = call.recorder.messages[-1]
    assert message["interrupted"] is True
    assert message["heard"] == interrupted["heard_text"]
    await call.quiet(2000)
    assert call.last("response.begin")["turn"] == 2
    await call.end()


async def test_no_audio_of_an_interrupted_reply_comes_after_the_interruption() -> None:
    call = await open_call()
    call.do("text_message", message="hi")
    await call.quiet(2000)
    before = len(call.audio)
    await call.speak(600)
    assert len(call.audio) == before  # from the duck on, nothing
    await call.end()


async def test_a_cough_pauses_the_reply_and_it_goes_on_without_a_loss() -> None:
    call = await open_call(llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(1000)
    await call.speak(80)
    await call.quiet(3000)
    assert call.of("interrupted") == []
    assert len(call.of("duck")) == len(call.of("unduck")) == 1
    assert call.samples == 40 * 40 * 24
    assert call.last("audio.end")["duration_ms"] == 1600
    message = call.recorder.messages[-1]
    assert "interrupted" not in message
    placed = call.recorder.of("placed")[-1]
    (made,) = call.recorder.of("made")
    assert made == {"response_id": placed["reply_id"], "samples": sum(run[1] for run in placed["runs"])}
    assert sum(run[1] for run in placed["runs"]) == 40 * 40 * 24
    assert len(placed["runs"]) == 2  # the pause is a gap on the time line
    await call.end()


async def test_reported_playback_ends_the_turn_with_a_second_metrics() -> None:
    call = await open_call(llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(1400)
    reply = call.last("audio.begin")["response_id"]
    call.do("playback", response_id=reply, played_ms=800)
    await call.quiet(1500)
    assert [m.get("played") for m in call.of("turn.metrics")] == [None]
    call.do("playback", response_id=reply, played_ms=1600)
    await call.quiet(20)
    assert [m.get("played") for m in call.of("turn.metrics")] == [None, True]
    await call.end()


async def test_a_report_that_comes_after_the_clock_ended_the_reply_still_counts() -> None:
    call = await open_call(llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(4000)
    assert call.session.floor.idle
    reply = call.last("audio.begin")["response_id"]
    call.do("playback", response_id=reply, played_ms=1600)
    call.do("playback", response_id=reply, played_ms=1600)
    await call.quiet(20)
    assert [m.get("played") for m in call.of("turn.metrics")] == [None, True]
    await call.end()


async def test_reply_audio_is_sent_ahead_by_the_lead_and_no_further() -> None:
    call = await open_call(rules=Rules(lead_ms=2000), tts={"speed": 100.0})
    call.do("text_message", message="hi")
    for _ in range(40):
        await call.quiet(100)
        played = max(0, call.ms - call.last("audio.begin")["_ms"]) if call.of("audio.begin") else 0
        assert call.samples / 24 - played <= 2100
    await call.end()


async def test_hold_to_talk_neither_records_nor_recognizes_an_unpressed_microphone() -> None:
    call = await open_call(llm=LLM)
    call.do("start", mode="hold-to-talk")
    await call.speak(1000)
    assert call.recorder.user == []
    call.do("talk.begin")
    await call.speak(600)
    call.do("talk.end")
    await call.speak(1000)
    assert len(call.recorder.user) == 30
    assert call.last("transcription")["final"] is True
    assert call.last("turn.metrics")["reason"] == "the talk button was released"
    await call.end()


async def test_sound_before_start_counts_as_input_audio() -> None:
    call = await open_call(llm=LLM)
    await call.quiet(500)
    call.do("start", mode="open-mic")
    await call.speak(600)
    await call.quiet(800)
    assert call.last("speech.started")["at_ms"] == 500
    assert call.last("speech.stopped")["at_ms"] == 1100
    assert call.recorder.messages[0]["start_ms"] == 500
    await call.end()


async def test_a_changed_prompt_counts_from_the_next_turn() -> None:
    call = await open_call()
    call.do("update_prompt", prompt="Be brief.")
    assert call.session.dialogue.prompt()[0].content == "Be brief."
    await call.end()
    assert "prompt_updated" in call.kinds()


async def test_the_client_can_stop_the_agent() -> None:
    call = await open_call()
    call.do("text_message", message="hi")
    await call.quiet(1000)
    call.do("interrupt")
    await call.quiet(20)
    assert call.last("interrupted")["reason"] == "the client asked for it"
    await call.end()


async def test_a_lost_client_comes_back_to_the_unheard_rest() -> None:
    call = await open_call(llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(1000)
    reply = call.last("audio.begin")
    heard_ms = call.ms - reply["_ms"]
    sent = call.samples
    call.drop()
    await asyncio.sleep(10)
    told = call.attach()
    assert told["resumed"] is True
    assert told["response"]["text"] == LLM["text"]
    await call.quiet(3000)
    again = call.last("audio.begin")
    assert again["response_id"] == reply["response_id"]
    assert again["offset_ms"] == heard_ms
    assert call.samples - sent == 1600 * 24 - heard_ms * 24
    assert call.of("audio.end")[-1]["duration_ms"] == 1600
    await call.end()


async def test_a_client_that_comes_back_before_its_loss_was_noticed_hears_the_rest() -> None:
    call = await open_call(llm=LLM)
    call.do("text_message", message="hi")
    await call.quiet(1000)
    begun = call.last("audio.begin")
    sent, heard_ms = call.samples, call.ms - begun["_ms"]
    told = call.attach()  # the old socket is still there
    assert told["response"]["text"] == LLM["text"]
    await call.quiet(3000)
    again = call.last("audio.begin")
    assert again["_ms"] > begun["_ms"]
    assert again["offset_ms"] == heard_ms
    assert call.samples - sent == (1600 - heard_ms) * 24
    await call.end()


async def test_text_that_was_told_on_resume_is_not_told_again() -> None:
    call = await open_call(llm={"text": "One two three four five six.", "token_ms": 100})
    call.do("text_message", message="hi")
    await call.quiet(400)
    before = "".join(e["text"] for e in call.of("agent_response"))
    call.drop()
    await asyncio.sleep(0.2)
    told = call.attach()["response"]["text"]
    assert told.startswith(before)
    assert len(told) > len(before)
    seen = len(call.of("agent_response"))
    await call.quiet(2000)
    rest = [e["text"] for e in call.of("agent_response")[seen:] if not e["final"]]
    assert told + "".join(rest) == "One two three four five six."
    await call.end()


async def test_nothing_of_a_cut_reply_follows_its_interruption() -> None:
    call = await open_call(setup=Setup(greeting="Hello there."), llm=LLM)
    call.do("start", response="both")
    call.do("text_message", message="hi")
    await call.quiet(1000)
    kinds = [(e["type"], e.get("response_id")) for e in call.events]
    cut = kinds.index(("interrupted", "r1"))
    assert not any(response == "r1" for _, response in kinds[cut + 1 :])
    await call.end()


async def test_a_client_that_never_comes_back_is_waited_for_no_longer_than_the_window() -> None:
    call = await open_call(rules=Rules(resume_s=60))
    ended: list[float] = []
    call.session.on_end = lambda _s: ended.append(call.ms)
    await call.quiet(1000)
    call.drop()
    await asyncio.sleep(59.9)
    assert not call.session.ended
    await asyncio.sleep(0.2)
    assert ended == [61_000]
    assert call.recorder.closed


async def test_an_idle_client_is_sent_away_and_a_talking_one_is_not() -> None:
    call = await open_call(rules=Rules(idle_s=5), llm=LLM)
    await call.quiet(3000)
    await one_turn(call)
    await call.quiet(4000)
    assert call.of("ended") == []
    await call.quiet(4000)
    assert call.last("ended")["reason"] == "idle"
    assert call.session.close_code == 4408
    assert call.kinds()[-2:] == ["summary", "ended"]


async def test_the_end_cuts_a_reply_to_what_was_heard_and_is_said_last() -> None:
    call = await open_call()
    call.do("text_message", message="hi")
    await call.quiet(1000)
    await call.end()
    assert call.kinds()[-3:] == ["turn.metrics", "summary", "ended"]
    assert call.recorder.messages[-1]["interrupted"] is True
    assert call.recorder.of("end")[-1]["reason"] == "ended by the client"
    assert call.session.task_count == 0


async def test_watchers_see_the_events_and_nothing_of_the_sound() -> None:
    call = await open_call(llm=LLM)
    watcher = call.session.observe()
    call.do("text_message", message="hi")
    await call.quiet(2000)
    seen = []
    while (item := watcher.take()) is not None:
        assert isinstance(item, dict)
        seen.append(item["type"])
    assert "agent_response" in seen
    await call.end()
