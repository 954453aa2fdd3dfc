"""A talk is handed over to another agent in mid-call: prompts, voices, history, and who speaks when."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.chain import Member
from pipeline.contracts import (
    Caller,
    Env,
    Prompt,
    SpeechRequest,
    SpokenWord,
    Tool,
    ToolCall,
    ToolContext,
    Usage,
    VoiceInfo,
)
from pipeline.setup import Setup
from pipeline.succession import MOST_IN_A_ROW, NUDGE
from pipeline.tool import tool
from pipeline.tools import handoff
from tests.calls.test_one_model import engine_of
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

MAX = Setup(
    greeting="",
    agent_id="a1",
    agent_name="Max",
    persona="You are Max, at the door.",
    voice="low",
    caller=Caller(user_id="u1"),
)
ADA: dict[str, Any] = {
    "agent_id": "a2",
    "agent_name": "Ada",
    "persona": "You are Ada, of the bank.",
    "voice": "high",
    "language": "es",
    "avatar": "face",
    "greeting": "",
    "system_prompt": "",
    "context": "The bank is open.",
    "tools": ["transfer_to_agent"],
    "turn": {"start_ms": 200},
    "speed": 1.0,
    "pitch": 1.0,
    "providers": {},
    "channels": "both",
}
BOB: dict[str, Any] = {**ADA, "agent_id": "a3", "agent_name": "Bob", "greeting": "Bob here.", "tools": None}


class People:
    """A directory of one user's agents."""

    def __init__(self, *agents: Mapping[str, Any], owner: str = "u1") -> None:
        self.agents, self.owner = agents, owner
        self.asked: list[tuple[str | None, str, str]] = []

    async def names(self, user_id: str | None) -> list[str]:
        return [a["agent_name"] for a in self.agents] if user_id == self.owner else []

    async def find(self, user_id: str | None, name: str, session_id: str) -> Mapping[str, Any] | None:
        self.asked.append((user_id, name, session_id))
        if user_id != self.owner:
            return None
        return next((a for a in self.agents if a["agent_name"].casefold() == name.casefold()), None)


class Mind:
    """Hands the caller over when "transfer to NAME" was the last thing said; else says its own name."""

    def __init__(self, *, restless: bool = False) -> None:
        self.prompts: list[Prompt] = []
        self.restless = restless

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        self.prompts.append(prompt)
        messages = prompt.messages
        me = messages[0].content.split()[2].rstrip(",.")
        last = messages[-1]
        call = f"c{len(self.prompts)}"
        if last.role == "system" and self.restless:
            yield ToolCall(call, "transfer_to_agent", {"agent": "Bob" if me == "Ada" else "Ada"})
        elif last.role == "user" and "transfer to" in last.content:
            yield ToolCall(call, "transfer_to_agent", {"agent": last.content.partition("to ")[2]})
        elif last.role == "tool":
            yield f"Goodbye from {me}."
        else:
            yield f"This is {me}."


class Voices:
    """A synthesizer that remembers who was to say what."""

    rate_hz = 24_000

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...

    def voices(self) -> list[VoiceInfo]:
        return []

    async def speak(self, request: SpeechRequest) -> AsyncIterator[bytes | SpokenWord | Usage]:
        self.said.append((request.voice, request.language, request.text))
        yield bytes(24_000)


async def talk(
    mind: Mind, people: People, setup: Setup = MAX, more: Sequence[Tool] = (), **options: Any
) -> tuple[Call, Voices]:
    voices = Voices()
    call = await open_call(
        minds=[Member("mind", mind)],
        mouths=[Member("voices", voices)],
        tools={t.spec.name: t for t in (*handoff.create(handoff.Options(), Env()), *more)},
        tool_storage=SimpleNamespace(directory=people),
        setup=replace(setup, caller=replace(setup.caller)),
        **options,
    )
    return call, voices


async def say(call: Call, text: str, wait_ms: int = 6000) -> None:
    call.do("text_message", message=text)
    await call.quiet(wait_ms)


def results(call: Call) -> list[dict[str, Any]]:
    return [m["result"] for m in call.recorder.messages if m["role"] == "tool"]


def agents_texts(call: Call) -> list[str]:
    return [m["content"] for m in call.recorder.messages if m["role"] == "assistant"]


async def test_the_old_agent_says_goodbye_and_the_new_one_goes_on_by_itself() -> None:
    mind = Mind()
    call, voices = await talk(mind, People(ADA))
    await say(call, "my name is Sam")
    await say(call, "transfer to ada")
    assert voices.said == [
        ("low", "en", "This is Max."),
        ("low", "en", "Goodbye from Max."),
        ("high", "es", "This is Ada."),
    ]
    assert results(call)[0] == {"ok": True, "agent": "Ada", "message": "I am handing you over to Ada now."}
    assert call.kinds("tool.call", "tool.result", "audio.begin", "audio.end", "user_message")[3:] == [
        *(
            "response.begin",
            "agent_response",
            "turn.metrics",
            "agent.changed",
            "response.begin",
            "agent_response",
        ),
    ]
    changed = call.last("agent.changed")["agent"]
    assert changed == {"id": "a2", "name": "Ada", "voice": "high", "language": "es", "avatar": "face"}
    assert changed == call.session.agent
    last = call.recorder.messages[-1]
    assert (last["content"], last["type"], last["turn"]) == ("This is Ada.", "handover", 2)
    await call.end()


async def test_the_new_agents_model_is_told_its_own_prompt_and_all_that_was_said() -> None:
    mind = Mind()
    call, _ = await talk(mind, People(ADA))
    await say(call, "my name is Sam")
    await say(call, "transfer to Ada")
    await say(call, "and now?")
    goodbye, first, next_one = mind.prompts[2:]
    assert goodbye.messages[0].content == "You are Max, at the door."
    assert first.messages[0].content == "You are Ada, of the bank.\n\nThe bank is open."
    said = [(m.role, m.content) for m in first.messages[1:] if m.role in ("user", "assistant") and m.content]
    assert said == [
        ("user", "my name is Sam"),
        ("assistant", "This is Max."),
        ("user", "transfer to Ada"),
        ("assistant", "Goodbye from Max."),
    ]
    assert first.messages[-1].role == "system"
    assert "Max has handed this call over to you: from here on you are Ada." in first.messages[-1].content
    assert [spec.name for spec in first.tools] == ["transfer_to_agent"]  # she has no others
    assert len(goodbye.tools) == 2
    assert first.language == "es"
    assert (next_one.messages[0], next_one.messages[-1].content) == (first.messages[0], "and now?")
    await call.end()


async def test_an_agent_with_a_greeting_begins_with_it() -> None:
    mind = Mind()
    call, voices = await talk(mind, People(BOB))
    await say(call, "transfer to Bob")
    assert voices.said[-1] == ("high", "es", "Bob here.")
    assert len(mind.prompts) == 2
    assert call.recorder.messages[-1]["type"] == "welcome"
    await call.end()


async def test_the_talk_is_the_new_agents_in_its_files_and_after_a_crash() -> None:
    call, _ = await talk(Mind(), People(ADA))
    await say(call, "transfer to Ada")
    (opened,) = call.recorder.of("open")
    assert {
        "agent_id": "a2",
        "agent_name": "Ada",
        "voice": "high",
        "tools": ["transfer_to_agent"],
    }.items() <= opened.items()
    again = Setup(persona="x", tools=["clock"])
    again.take(opened)
    assert (again.persona, again.prompt) == (ADA["persona"], "You are Ada, of the bank.\n\nThe bank is open.")
    assert call.session.floor.timing.start_ms == 200
    await call.end()


async def test_what_the_successor_does_not_say_is_not_the_old_agents() -> None:
    old = replace(
        MAX, tools=["transfer_to_agent"], speed=2.0, system_prompt="Be brief.", context="At the door."
    )
    call, _ = await talk(Mind(), People({**BOB, "context": ""}), old)
    await say(call, "transfer to Bob")
    setup = call.session.setup
    assert (setup.tools, setup.speed, setup.prompt) == (None, 1.0, "You are Ada, of the bank.")
    await call.end()


async def test_who_interrupts_the_goodbye_is_answered_by_the_new_agent() -> None:
    mind = Mind()
    call, voices = await talk(mind, People(ADA))
    call.do("text_message", message="transfer to Ada")
    await call.quiet(200)
    call.do("text_message", message="are you there?")
    await call.quiet(6000)
    assert voices.said[-1] == ("high", "es", "This is Ada.")
    assert agents_texts(call)[-1] == "This is Ada."
    assert len(call.of("agent.changed")) == 1
    assert mind.prompts[-1].messages[-1].content == "are you there?"
    assert len(mind.prompts) == 3  # she does not introduce herself as well
    await call.end()


async def test_nobody_is_handed_over_to_himself_or_to_somebody_elses_agent() -> None:
    people = People(ADA, {**BOB, "agent_id": "a1", "agent_name": "Max"})
    call, _ = await talk(Mind(), people)
    await say(call, "transfer to Max")
    assert results(call)[-1] == {"ok": False, "message": "You are talking to Max already."}
    people.owner = "u2"
    await say(call, "transfer to Ada")
    assert results(call)[-1] == {"ok": False, "message": "There is nobody I could hand you over to."}
    assert people.asked[-1] == ("u1", "Ada", call.session.id)
    assert call.of("agent.changed") == []
    await call.end()


async def test_a_name_that_is_not_known_is_answered_with_those_that_are() -> None:
    call, _ = await talk(Mind(), People(ADA, BOB))
    await say(call, "transfer to Adda")
    assert results(call)[-1]["message"] == "I don't know Adda. Did you mean Ada?"
    await say(call, "transfer to the manager")
    assert results(call)[-1]["message"] == "I don't know the manager. I can hand you over to Ada or Bob."
    await say(call, "transfer to the ADA agent, please")
    assert results(call)[-1]["ok"] is True
    await call.end()


async def test_agents_that_pass_the_caller_on_to_each_other_are_stopped() -> None:
    mind = Mind(restless=True)
    call, _ = await talk(
        mind, People({**ADA}, {**BOB, "greeting": "", "persona": "You are Bob, of the bank."})
    )
    await say(call, "transfer to Ada", 60_000)
    assert len(call.of("agent.changed")) == MOST_IN_A_ROW
    assert results(call)[-1]["ok"] is False
    assert results(call)[-1]["message"].startswith("Ya le hemos pasado")
    await say(call, "transfer to Bob" if call.session.setup.agent_name == "Ada" else "transfer to Ada", 3000)
    assert len(call.of("agent.changed")) > MOST_IN_A_ROW  # the user has spoken: it begins anew
    await call.end()


@pytest.mark.parametrize(("channels", "theirs"), [("both", "text"), ("text", "voice")])
async def test_an_agent_that_cannot_talk_like_this_does_not_take_over(channels: Any, theirs: str) -> None:
    call, _ = await talk(Mind(), People({**ADA, "channels": theirs}), replace(MAX, channels=channels))
    await say(call, "transfer to Ada")
    assert results(call)[-1]["ok"] is False
    assert call.of("agent.changed") == []
    await call.end()


async def test_between_two_replies_somebody_takes_over_at_once() -> None:
    call, voices = await talk(Mind(), People())
    call.session.become(ADA)
    await call.quiet(3000)
    assert voices.said == [("high", "es", "This is Ada.")]
    await call.end()


async def test_a_talk_that_ends_in_the_goodbye_is_the_new_agents_who_says_nothing() -> None:
    call, voices = await talk(Mind(), People(ADA))
    call.do("text_message", message="transfer to Ada")
    await call.quiet(200)
    await call.end()
    assert call.kinds()[-3:] == ["agent.changed", "summary", "ended"]
    assert [text for *_, text in voices.said] == ["Goodbye from Max."]


async def test_one_model_for_speech_is_opened_anew_for_the_new_agent() -> None:
    @tool()
    async def to_ada(context: ToolContext) -> None:
        """Hand over to Ada."""
        context.hand_over(ADA)

    call, _ = await talk(Mind(), People(), talk={"tool": "to_ada"}, more=(to_ada,))
    await call.speak(800)
    await call.quiet(8000)
    talks = engine_of(call).talks
    assert len(talks) == 2
    assert "You are Ada" in talks[1].setup.instructions
    assert "from here on you are Ada" in talks[1].setup.instructions
    assert (talks[1].setup.voice, talks[1].setup.language) == ("high", "es")
    assert [m.content for m in talks[1].setup.history if m.role == "user"]
    assert ("say", NUDGE) in [t[:2] for t in talks[1].told]
    assert call.last("agent.changed")["agent"]["name"] == "Ada"
    await call.end()
