"""Providers that fail in every way they can: the caller is never left in silence."""

from typing import Any

import pytest

from pipeline.contracts import ToolContext, ToolSpec
from pipeline.speaking import Speaking
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

BACKUP = {stage: f"pipeline.{stage}.scripted:create" for stage in ("stt", "llm", "tts")}
WAYS = ["error", "hang", "empty", "late"]


async def turn(call: Call, wait_ms: int = 20_000) -> None:
    await call.speak(800)
    await call.quiet(wait_ms)


def failovers(call: Call) -> list[str]:
    return [d["what"] for d in call.recorder.of("decision") if "failover" in d["what"]]


@pytest.mark.parametrize("way", ["error", "hang"])
async def test_a_failing_recognizer_hands_its_audio_to_the_next_one(way: str) -> None:
    call = await open_call(stt={"fail": way}, backups=BACKUP)
    await turn(call, 6000)
    final = [e for e in call.of("transcription") if e["final"]]
    assert [e["text"] for e in final] == ["what can you do for me today"]
    assert "stt failover" in failovers(call)
    assert call.samples > 0
    await call.end()


@pytest.mark.parametrize("way", WAYS)
async def test_a_failing_model_hands_the_prompt_to_the_next_one(way: str) -> None:
    call = await open_call(llm={"fail": way, "late_ms": 10_000}, backups=BACKUP)
    await turn(call)
    assert call.of("error") == []
    assert "llm failover" in failovers(call)
    assert call.of("agent_response")[-1]["text"].startswith("I can help you")
    assert call.last("turn.metrics")["plugins"]["llm"] == BACKUP["llm"]
    await call.end()


@pytest.mark.parametrize("way", ["error", "hang", "empty"])
async def test_a_failing_voice_hands_the_segment_to_the_next_one(way: str) -> None:
    call = await open_call(tts={"fail": way}, backups=BACKUP)
    await turn(call)
    assert call.of("error") == []
    assert "tts failover" in failovers(call)
    whole = call.of("agent_response")[-1]["text"]
    assert call.last("audio.end")["duration_ms"] >= 40 * (len(whole) - 5)
    await call.end()


async def test_late_audio_of_a_cancelled_reply_reaches_nobody() -> None:
    call = await open_call(tts={"fail": "late"})
    call.do("text_message", message="hi")
    await call.quiet(350)
    call.do("interrupt")
    await call.quiet(8000)
    assert call.last("interrupted")["heard_text"] == ""
    assert call.samples == 0
    await call.end()


async def test_when_every_model_fails_the_user_is_told_aloud() -> None:
    call = await open_call(llm={"fail": "error"})
    await turn(call, 6000)
    assert call.last("error")["code"] == "llm_failed"
    assert call.last("error")["fatal"] is False
    assert call.last("agent_response")["text"].startswith("I could not think of an answer")
    assert call.samples > 0
    await call.end()
    assert call.recorder.messages[-1]["type"] == "apology"


async def test_when_every_recognizer_fails_the_user_is_told_aloud() -> None:
    call = await open_call(stt={"fail": "error"})
    await turn(call, 6000)
    assert call.last("error")["code"] == "stt_failed"
    assert call.last("agent_response")["text"].startswith("I could not hear that properly")
    assert call.samples > 0
    await call.end()


async def test_when_every_voice_fails_the_answer_comes_in_writing() -> None:
    call = await open_call(tts={"fail": "error"})
    await turn(call, 6000)
    assert call.last("error")["code"] == "tts_failed"
    assert call.of("agent_response")[-1]["final"] is True
    assert call.last("turn.metrics")["turn"] == 1
    await turn(call, 6000)
    assert call.last("turn.metrics")["turn"] == 2
    await call.end()


async def test_a_model_that_breaks_off_ends_its_sentence_honestly() -> None:
    call = await open_call(llm={"fail": "break", "stall_tokens": 6}, backups=BACKUP)
    await turn(call, 8000)
    assert call.of("agent_response")[-1]["text"].endswith("I have lost my thread there.")
    await call.end()


async def test_a_model_that_stalls_is_not_waited_for_without_end() -> None:
    call = await open_call(llm={"fail": "stall", "stall_tokens": 6}, stall_s=1.0)
    await turn(call, 8000)
    assert call.of("agent_response")[-1]["text"].endswith("I have lost my thread there.")
    await call.end()


async def test_a_recognizer_that_heard_nothing_makes_no_turn() -> None:
    call = await open_call(stt={"fail": "empty"})
    await turn(call, 6000)
    assert call.kinds("transcription") == ["speech.started", "speech.stopped"]
    assert not any(e["final"] for e in call.of("transcription"))
    assert call.session.floor.turn == 0
    await call.end()


async def test_a_failed_member_is_asked_again_after_its_rest() -> None:
    call = await open_call(llm={"fail": "error"}, backups=BACKUP)
    chain = call.session.engines.llm.chain
    await turn(call, 3000)
    first = chain.members[0]
    assert first.failures == 1
    assert next(iter(chain.in_order())).name == BACKUP["llm"]
    await call.quiet(5000)
    assert next(iter(chain.in_order())) is first
    await call.end()


class Slow:
    """A tool that takes a while."""

    spec = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds, self.error, self.ran = seconds, error, 0

    async def run(self, arguments: Any, context: ToolContext) -> dict[str, Any]:  # noqa: ARG002
        import asyncio

        await asyncio.sleep(self.seconds)
        self.ran += 1
        if self.error:
            raise self.error
        return {"ok": True, "time": "12:00"}


async def test_a_tool_runs_once_after_the_commit_and_its_result_is_answered() -> None:
    tool = Slow(0.1)
    call = await open_call(llm={"tool": "clock"}, tools={"clock": tool})
    await turn(call, 6000)
    assert tool.ran == 1
    kinds = call.kinds("transcription", "agent_response")
    assert kinds.index("response.begin") < kinds.index("tool.call") < kinds.index("audio.begin")
    assert call.last("tool.result")["result"] == {"ok": True, "time": "12:00"}
    assert [m["role"] for m in call.recorder.messages] == ["user", "tool", "assistant"]
    journal = [k for _, k, _ in call.recorder.entries]
    assert journal.index("tool") < journal.index("message") + 10
    await call.end()


@pytest.mark.parametrize(
    ("tool", "says"),
    [(Slow(0, RuntimeError("boom")), "clock failed: boom"), (Slow(60), "clock took longer than 2 s")],
)
async def test_a_tool_that_fails_is_an_error_and_the_talk_goes_on(tool: Slow, says: str) -> None:
    call = await open_call(llm={"tool": "clock"}, tools={"clock": tool})
    await turn(call, 8000)
    assert call.last("tool.result")["error"] == says
    assert call.samples > 0
    await call.end()


async def test_a_barge_in_never_loses_a_tools_result() -> None:
    tool = Slow(1.0)
    call = await open_call(llm={"tool": "clock"}, tools={"clock": tool})
    call.do("text_message", message="what time is it")
    await call.quiet(400)
    call.do("interrupt")
    await call.quiet(2000)
    assert tool.ran == 1
    assert [m["role"] for m in call.recorder.messages] == ["user", "tool"]
    roles = [m.role for m in call.session.dialogue.prompt()]
    assert roles[-2:] == ["assistant", "tool"]
    await call.end()


async def test_a_bug_ends_this_session_saved_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    call = await open_call()

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Speaking, "on_token", broken)
    call.do("text_message", message="hi")
    await call.quiet(2000)
    assert call.session.ended
    assert call.last("error")["fatal"] is True
    assert "bug" not in call.last("error")["message"]
    assert call.recorder.closed
