"""Calls with a recognizer that has an opinion of its own about the end of a turn."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from pipeline.contracts import Transcript
from pipeline.stt.outlet import Outlet
from tests.support.call import Call, open_call
from tests.support.stt_cases import VENDORS

pytestmark = [pytest.mark.usefixtures("no_leaks")]

TEXT = "what time is it"
Opinions = Sequence[tuple[int, float]]


class Opinionated:
    """A recognizer that knows the text at once, and thinks about the end at set times after each pause."""

    def __init__(self, *opinions: tuple[int, float]) -> None:
        self._opinions = opinions

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...

    def open(self, language: str = "", hints: Sequence[str] = ()) -> "OpinionatedUtterance":
        del language, hints
        return OpinionatedUtterance(self._opinions)


class OpinionatedUtterance:
    """One `Transcriber`."""

    def __init__(self, opinions: Opinions) -> None:
        self._opinions, self._outlet = opinions, Outlet()
        self._timers: list[asyncio.TimerHandle] = []

    def feed(self, pcm: bytes) -> None: ...

    def settle(self, silence_ms: int) -> None:
        del silence_ms
        loop = asyncio.get_running_loop()
        self._stop()
        for after_ms, complete in self._opinions:
            said = Transcript(TEXT, settled=True, complete=complete)
            self._timers.append(loop.call_later(after_ms / 1000, self._outlet.put, said))

    def finish(self, silence_ms: int) -> None:
        del silence_ms
        self._outlet.put(Transcript(TEXT, final=True, settled=True))

    def transcripts(self) -> AsyncIterator[Transcript]:
        return self._outlet.read()

    async def aclose(self) -> None:
        self._stop()
        self._outlet.close()

    def _stop(self) -> None:
        for timer in self._timers:
            timer.cancel()


async def endpoint(call: Call) -> tuple[int, str]:
    """When the turn ended, counted from the end of speech, and why."""
    await call.speak(800)
    stopped_ms = call.ms
    await call.quiet(2500)
    await call.end()
    ended_ms = next(e["_ms"] for e in call.of("transcription") if e["final"])
    why = next(d for d in call.recorder.of("decision") if d["what"] == "endpoint")
    return ended_ms - stopped_ms, why["reason"]


@pytest.mark.virtual_clock
async def test_an_end_that_was_heard_ends_the_turn_at_min_silence() -> None:
    call = await open_call(ears=Opinionated((50, 1.0)))
    assert await endpoint(call) == (300, "300 ms of silence: the recognizer heard the end")


@pytest.mark.virtual_clock
async def test_an_end_that_is_heard_later_ends_the_turn_at_that_moment() -> None:
    call = await open_call(ears=Opinionated((10, 0.1), (250, 0.3), (610, 1.0)))
    at_ms, why = await endpoint(call)
    assert (at_ms, why) == (710, "700 ms of silence: the recognizer heard the end")


@pytest.mark.virtual_clock
async def test_who_is_expected_to_go_on_is_waited_for_no_longer_than_max_silence() -> None:
    call = await open_call(ears=Opinionated((10, 0.0)))
    assert await endpoint(call) == (1500, "1500 ms of silence: held open, the recognizer expects more")


@pytest.mark.virtual_clock
async def test_an_opinion_in_the_middle_is_none() -> None:
    call = await open_call(ears=Opinionated((10, 0.6)))
    assert await endpoint(call) == (500, "500 ms of silence")


async def test_flux_ends_the_turn_of_a_call() -> None:
    """In real time. The fake is sure 280 ms after the last loud sound, which is before min_silence_ms."""
    async with VENDORS["deepgram flux"].open() as (engine, fake):
        call = await open_call(ears=engine)
        ended_ms, why = await endpoint(call)
    assert why.endswith("the recognizer heard the end")
    assert int(why.split()[0]) < 500  # of silence; without it stop_ms
    assert ended_ms >= 280
    assert [e["text"] for e in call.of("transcription") if e["final"]] == ["go forward"]
    assert {"type": "ForceEndTurn"} not in fake.seen[0].messages
