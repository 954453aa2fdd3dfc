"""What every speech-to-speech plug-in must do, run over each of them; and over each vendor's bad days."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pipeline.contracts import (
    Asked,
    Ended,
    Failure,
    Message,
    Said,
    Sounded,
    Talk,
    TalkEngine,
    TalkError,
    TalkEvent,
    TalkSetup,
    ToolCall,
    ToolSpec,
    Understood,
    Used,
)
from tests.support.speech import clip
from tests.support.talk_cases import NAMES, VENDORS, open_engine
from tests.support.vendors.place import Trouble

pytestmark = pytest.mark.usefixtures("no_leaks")

TOOL = ToolSpec("oracle", "knows", {"type": "object", "properties": {"about": {"type": "string"}}})
FULL = TalkSetup(
    "Be brief.",
    (Message("user", "hello"), Message("assistant", "Hello!", ()), Message("user", "how are you?")),
    (TOOL,),
    "en-US",
    "no such voice",
)
PATIENCE_S = 5.0


class Listener:
    """Reads a talk's events."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.events: list[TalkEvent] = []
        self._stream = aiter(talk.events())

    async def until(self, kind: type[TalkEvent], number: int) -> TalkEvent:
        """Read on until such an event of that reply."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event = await anext(self._stream)
                self.events.append(event)
                if isinstance(event, kind) and not isinstance(event, Understood) and event.reply == number:
                    return event

    def text(self, reply: int) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Said) and e.reply == reply)

    def pcm(self, reply: int) -> bytes:
        return b"".join(e.pcm for e in self.events if isinstance(e, Sounded) and e.reply == reply)

    async def close(self) -> None:
        await self.talk.aclose()
        await self._stream.aclose()  # type: ignore[attr-defined]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def engine(no_leaks: None, name: str) -> AsyncIterator[TalkEngine]:
    del no_leaks
    async with open_engine(name) as (made, _):
        yield made


@pytest_asyncio.fixture
async def ear(engine: TalkEngine) -> AsyncIterator[Listener]:
    listener = Listener(await engine.open(FULL))
    yield listener
    await listener.close()


def speak(talk: Talk, utterance: int) -> None:
    pcm = clip("goforward.wav")
    talk.begin(utterance)
    for at in range(0, len(pcm), 640):
        talk.feed(pcm[at : at + 640])


async def test_what_is_said_is_understood_and_answered_in_text_and_sound(
    ear: Listener, engine: TalkEngine
) -> None:
    speak(ear.talk, 1)
    ear.talk.finish(1, 7)
    await ear.until(Ended, 7)
    understood = [e for e in ear.events if isinstance(e, Understood) and e.utterance == 1]
    assert understood[-1].text in ("go forward ten meters", "what can you do for me today")
    assert ear.text(7)
    assert len(ear.pcm(7)) % 2 == 0
    seconds = len(ear.pcm(7)) / 2 / engine.rate_hz
    assert seconds == pytest.approx(len(ear.text(7)) * 0.05, rel=0.3)
    (used,) = [e for e in ear.events if isinstance(e, Used)]
    assert used.usage.output_audio_tokens > 0
    assert ear.events.index(used) < len(ear.events)
    assert [e.error for e in ear.events if isinstance(e, Ended)] == [None]


async def test_a_typed_message_is_answered(ear: Listener) -> None:
    ear.talk.say("good morning ☀️ “to” you\x00", 3)
    await ear.until(Ended, 3)
    assert ear.text(3)
    assert ear.pcm(3)


async def test_one_turn_follows_the_other_and_nothing_is_mixed_up(ear: Listener) -> None:
    for number in (1, 2, 3):
        speak(ear.talk, number)
        ear.talk.finish(number, 10 + number)
        await ear.until(Ended, 10 + number)
    replies = [e.reply for e in ear.events if isinstance(e, Said | Sounded | Ended)]
    assert replies == sorted(replies)
    assert set(replies) == {11, 12, 13}


async def test_a_reply_that_is_cut_makes_room_for_the_next_one(ear: Listener) -> None:
    ear.talk.say("tell me a long story about something", 1)
    await ear.until(Sounded, 1)
    ear.talk.cut(1, 40.0, "You")
    speak(ear.talk, 2)
    ear.talk.finish(2, 3)
    await ear.until(Ended, 3)
    assert ear.text(3)
    ended = [e.reply for e in ear.events if isinstance(e, Ended)]
    assert ended == [1, 3]


async def test_a_reply_can_be_cut_before_anything_came_of_it(ear: Listener) -> None:
    speak(ear.talk, 1)
    ear.talk.finish(1, 2)
    ear.talk.cut(2, 0.0, "")
    speak(ear.talk, 3)
    ear.talk.finish(3, 4)
    await ear.until(Ended, 4)
    assert ear.text(4)
    assert [e.error for e in ear.events if isinstance(e, Ended)].count(None) >= 1


async def test_an_utterance_can_be_dropped(ear: Listener) -> None:
    speak(ear.talk, 1)
    ear.talk.drop(1)
    ear.talk.remember("I said this with another voice.")
    ear.talk.say("never mind", 2)
    await ear.until(Ended, 2)
    assert ear.text(2)


async def test_new_instructions_are_taken_or_refused_without_harm(ear: Listener) -> None:
    assert ear.talk.instruct("Be long.") in (True, False)
    ear.talk.say("hi", 1)
    await ear.until(Ended, 1)
    assert ear.text(1)


async def test_a_new_talk_is_not_old(ear: Listener) -> None:
    assert ear.talk.is_old is False


async def test_hanging_up_in_the_midst_of_an_answer_leaves_nothing_behind(engine: TalkEngine) -> None:
    listener = Listener(await engine.open(TalkSetup()))
    listener.talk.say("tell me a long story", 1)
    await listener.until(Sounded, 1)
    await listener.close()


# -- vendors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_a_tool_is_asked_for_and_its_result_is_talked_about(vendor_name: str) -> None:
    arguments = {"about": "life"}
    async with VENDORS[vendor_name].open() as (engine, vendor):
        raw = json.dumps(arguments) if vendor_name == "openai-realtime" else arguments
        vendor.replies = [("oracle", raw), "It is forty-two."]
        ear = Listener(await engine.open(FULL))
        ear.talk.say("what is it?", 1)
        asked = await ear.until(Asked, 1)
        assert isinstance(asked, Asked)
        (call,) = asked.calls
        assert (call.name, call.arguments) == ("oracle", arguments)
        ear.talk.answer(1, [(call, '{"answer": 42}')], go_on=True)
        await ear.until(Ended, 1)
        assert ear.text(1) == "It is forty-two."
        await ear.close()


@pytest.mark.parametrize("vendor_name", VENDORS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Failure.AUTH), (429, Failure.QUOTA), (500, Failure.TRANSIENT), (503, Failure.TRANSIENT)],
)
async def test_a_refusal_is_typed(vendor_name: str, status: int, kind: Failure) -> None:
    async with VENDORS[vendor_name].open(Trouble(status=status)) as (engine, _):
        with pytest.raises(TalkError) as caught:
            await engine.open(TalkSetup())
        assert caught.value.kind is kind


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_a_wrong_key_names_its_variable_and_never_itself(vendor_name: str) -> None:
    case = VENDORS[vendor_name]
    async with case.open(key="wrong-key") as (engine, _):
        for ask in (engine.probe(), engine.open(TalkSetup())):
            with pytest.raises(TalkError, match=case.variable) as caught:
                await ask
            assert caught.value.kind is Failure.AUTH
            assert "wrong-key" not in str(caught.value)


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_an_unknown_model_names_its_key(vendor_name: str) -> None:
    async with VENDORS[vendor_name].open(model="no-such-model") as (engine, _):
        with pytest.raises(TalkError, match=rf"\[talk\.{vendor_name}\] model") as caught:
            await engine.probe()
        assert caught.value.kind is Failure.BAD_REQUEST


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_a_probe_on_a_good_day_hangs_up_again(vendor_name: str) -> None:
    async with VENDORS[vendor_name].open() as (engine, vendor):
        await engine.probe()
        async with asyncio.timeout(PATIENCE_S):
            await vendor.seen[0].closed.wait()


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_a_socket_that_dies_in_mid_answer_ends_the_events_with_an_error(vendor_name: str) -> None:
    async with VENDORS[vendor_name].open(Trouble(after=2)) as (engine, _):
        ear = Listener(await engine.open(TalkSetup()))
        ear.talk.say("hi", 1)
        with pytest.raises(TalkError) as caught:
            await ear.until(Ended, 1)
        assert caught.value.kind is Failure.TRANSIENT
        assert ear.pcm(1)
        await ear.close()


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_success_without_an_answer_ends_the_reply_with_nothing(vendor_name: str) -> None:
    async with VENDORS[vendor_name].open(Trouble(empty=True)) as (engine, _):
        ear = Listener(await engine.open(TalkSetup()))
        ear.talk.say("hi", 1)
        await ear.until(Ended, 1)
        assert ear.text(1) == ""
        assert ear.pcm(1) == b""
        await ear.close()


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_whoever_hangs_up_is_seen_at_once(vendor_name: str) -> None:
    async with VENDORS[vendor_name].open(Trouble(each_ms=200)) as (engine, vendor):
        ear = Listener(await engine.open(TalkSetup()))
        ear.talk.say("hi", 1)
        await ear.until(Sounded, 1)
        await ear.close()
        async with asyncio.timeout(1.0):
            await vendor.seen[0].closed.wait()


@pytest.mark.parametrize("vendor_name", VENDORS)
async def test_a_call_that_nobody_made_is_not_answered(vendor_name: str) -> None:
    async with VENDORS[vendor_name].open() as (engine, vendor):
        ear = Listener(await engine.open(FULL))
        ear.talk.answer(1, [(ToolCall("unheard-of", "oracle", {}), "{}")], go_on=False)
        ear.talk.say("hi", 2)
        await ear.until(Ended, 2)
        assert ear.text(2)
        assert vendor.sessions
        await ear.close()
