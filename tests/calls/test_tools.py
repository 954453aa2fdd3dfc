"""How tools behave in a conversation: fillers, progress, yes or no, goodbyes, barge-in, crashes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.contracts import Tool, ToolContext
from pipeline.setup import Restored
from pipeline.tool import FunctionTool, tool
from pipeline.toolbox import UNKNOWN_OUTCOME
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]


class Effect:
    """Something that should happen once, and how often it did."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.done, self.keys = seconds, 0, list[str]()

    def tool(self, **manners: Any) -> FunctionTool:
        @tool(name="act", **manners)
        async def act(context: ToolContext, what: str = "it") -> Mapping[str, Any]:
            """Do it."""
            await asyncio.sleep(self.seconds)
            self.done += 1
            self.keys.append(context.key)
            return {"what": what}

        return act


async def call_with(made: Tool, **more: Any) -> Call:
    return await open_call(llm={"tool": "act", "text": "It is done."}, tools={"act": made}, **more)


async def say(call: Call, text: str, ms: int = 8000) -> None:
    call.do("text_message", message=text)
    await call.quiet(ms)


def said(call: Call) -> list[str]:
    return [e["text"] for e in call.of("agent_response") if e["final"]]


async def test_a_slow_tool_is_bridged_by_words_and_a_quick_one_is_not() -> None:
    words = {"en": "One moment, please.", "es": "Un momento."}
    for seconds, expected in ((1.5, "One moment, please. It is done."), (0.3, "It is done.")):
        call = await call_with(Effect(seconds).tool(speaks_while_running=words))
        await say(call, "do it")
        assert said(call) == [expected]
        if seconds > 1:
            begun = next(i for i, e in enumerate(call.events) if e["type"] == "audio.begin")
            done = next(i for i, e in enumerate(call.events) if e["type"] == "tool.result")
            assert begun < done  # they are heard while it runs
        await call.end()


async def test_progress_is_told_and_a_long_tool_keeps_the_reply_alive() -> None:
    @tool(name="act", timeout_s=90)
    async def act(context: ToolContext) -> None:
        """Takes long."""
        for part in range(1, 5):
            await asyncio.sleep(15)
            context.progress(f"Part {part} of 4.", aloud=part == 2)

    call = await call_with(act)
    await say(call, "do it", 70_000)
    assert [e["message"] for e in call.of("tool.progress")] == [f"Part {n} of 4." for n in (1, 2, 3, 4)]
    assert said(call) == ["Part 2 of 4. It is done."]
    assert call.of("error") == []
    await call.end()


async def test_a_tool_has_its_own_time() -> None:
    call = await call_with(Effect(60).tool(timeout_s=1))
    await say(call, "do it")
    assert call.last("tool.result")["error"] == "act took longer than 1 s"
    await call.end()


async def test_a_dangerous_tool_runs_only_after_a_yes() -> None:
    effect = Effect()
    call = await call_with(effect.tool(confirm=True))
    await say(call, "delete everything")
    first = call.last("tool.result")["result"]
    assert (first["ok"], first["needs_confirmation"], effect.done) == (False, True, 0)
    await say(call, "no, rather not")
    assert effect.done == 0
    await say(call, "oh well, do")  # asked again, since the last answer was no
    assert effect.done == 1
    await call.end()


async def test_a_terminal_tool_ends_the_talk_after_the_goodbye_was_heard() -> None:
    call = await call_with(Effect().tool(terminal=True))
    await say(call, "bye", 500)
    assert call.of("ended") == []
    await call.quiet(6000)
    assert call.session.ended
    assert call.last("ended")["reason"] == "goodbye"
    assert said(call) == ["It is done."]


async def test_whoever_speaks_up_during_the_goodbye_is_heard() -> None:
    call = await call_with(Effect().tool(terminal=True))
    await say(call, "bye", 300)
    call.do("interrupt")
    await call.quiet(5000)
    assert not call.session.ended
    await call.end()


async def test_the_same_call_made_again_while_it_runs_is_not_a_second_effect() -> None:
    effect = Effect(4.0)
    call = await call_with(effect.tool(timeout_s=10))
    await say(call, "do it", 500)
    call.do("interrupt")
    await say(call, "is it done", 12_000)
    assert effect.done == 1
    results = [e["result"] for e in call.of("tool.result")]
    assert results == [{"ok": True, "what": "it"}] * 2
    await call.end()


async def test_the_next_reply_waits_a_moment_for_what_was_begun() -> None:
    effect = Effect(1.0)
    call = await call_with(effect.tool())
    await say(call, "do it", 500)
    call.do("interrupt")
    call.do("text_message", message="and now")
    await call.quiet(300)
    roles = [m.role for m in call.session.dialogue.prompt()]
    assert roles == ["user", "user"]  # it has not been asked yet
    await call.quiet(5000)
    roles = [m.role for m in call.session.dialogue.prompt()][:4]
    assert roles == ["user", "user", "assistant", "tool"]
    await call.end()


async def test_who_calls_is_remembered() -> None:
    @tool(name="act")
    async def act(context: ToolContext) -> None:
        """Learn who calls."""
        context.caller.phone, context.caller.name = "5551234567", "Ana"

    call = await call_with(act)
    await say(call, "it is me")
    assert call.recorder.of("caller") == [{"phone": "5551234567", "name": "Ana"}]
    await call.end()


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_call_that_a_crash_cut_off_is_made_again_only_where_that_is_harmless(
    idempotent: bool,
) -> None:
    effect = Effect()
    begun = {"id": "call_1", "name": "act", "arguments": {"what": "x"}, "key": "3.1"}
    restored = Restored(
        {"messages": [{"role": "user", "content": "do it", "turn": 3}]}, 0, 0, 9.0, 0.0, [begun]
    )
    call = await call_with(effect.tool(idempotent=idempotent), restored=restored)
    await call.quiet(1000)
    message = call.recorder.messages[-1]
    assert (message["role"], message["key"]) == ("tool", "3.1")
    if idempotent:
        assert effect.keys == ["3.1"]
        assert message["result"] == {"ok": True, "what": "x"}
    else:
        assert effect.keys == []
        assert message["result"]["error"] == UNKNOWN_OUTCOME
    await call.end()
