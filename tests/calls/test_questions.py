"""What the agent asked decides how long an answer may pause; exact times on the virtual clock."""

from typing import Any

import pytest

from pipeline.core.endpoint import Timing
from pipeline.setup import Rules, Setup
from tests.support.call import Call, open_call

pytestmark = pytest.mark.virtual_clock

PLAIN = Timing(speculate=False)


async def asked(question: str, said: str, *, questions: bool = True) -> Call:
    """A call whose agent has greeted with a question, and whose user is always understood like that."""
    call = await open_call(
        setup=Setup(greeting=question),
        stt={"text": said, "final_ms": 100},
        rules=Rules(questions=questions),
        timing=PLAIN,
    )
    call.do("start")
    while not call.of("audio.end"):
        await call.quiet(20)
    await call.quiet(5000)
    return call


async def silence_of(call: Call) -> str:
    await call.speak(1000)
    await call.quiet(3000)
    await call.end()
    (endpoint,) = decisions(call, "endpoint")
    reason: str = endpoint["reason"]
    return reason


def decisions(call: Call, what: str = "question") -> list[dict[str, Any]]:
    return [dict(d) for d in call.recorder.of("decision") if d.get("what") == what]


PHONE = "What is your phone number?"


async def test_an_incomplete_number_holds_the_turn_as_long_as_may_be() -> None:
    call = await asked(PHONE, "five five five one two three")
    reason = await silence_of(call)
    assert reason == "1500 ms of silence: held open, 6 of 10 digits"
    (decision,) = decisions(call)
    assert (decision["expected"], decision["count"]) == ("digits", 10)


async def test_ten_digits_end_it_at_once() -> None:
    call = await asked(PHONE, "five five five one two three four five six seven")
    assert await silence_of(call) == "300 ms of silence: all 10 digits"


async def test_what_is_no_number_is_given_the_longer_pause_of_dictation() -> None:
    call = await asked(PHONE, "let me look")
    assert await silence_of(call) == "800 ms of silence"


async def test_a_yes_that_was_asked_for_ends_the_turn_sooner() -> None:
    call = await asked("Shall I book it?", "yes please")
    assert await silence_of(call) == "300 ms of silence: a yes or no, as was asked"


async def test_nothing_of_it_when_it_is_switched_off_or_nothing_was_asked() -> None:
    call = await asked(PHONE, "five five five one two three", questions=False)
    assert await silence_of(call) == "500 ms of silence"
    assert decisions(call) == []
    call = await asked("Hello! How can I help?", "five five five one two three")
    assert await silence_of(call) == "500 ms of silence"
