"""What every transcriber plug-in must do, run over all of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline import plugins
from pipeline.contracts import SttError, Transcript
from tests.support.speech import clip, word_errors
from tests.support.stt_cases import CASES, Case

SPEECH = clip("goforward.wav")[: 2400 * 32]  # the words end at 2220 ms
SILENCE_MS = 180  # in it, after the last word
SILENCE = bytes(200 * 32)

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.parametrize("name", sorted(CASES))]


@pytest.fixture
def case(name: str) -> Case:
    return CASES[name]


@pytest_asyncio.fixture
async def engine(no_leaks: None, case: Case, tmp_path: Path) -> AsyncIterator[Any]:
    del no_leaks  # requested first, so that it looks last
    async with case.open(tmp_path) as engine:
        yield engine


def feed(utterance: Any, pcm: bytes, step: int = 640) -> None:
    for at in range(0, len(pcm), step):
        utterance.feed(pcm[at : at + step])


async def everything(utterance: Any) -> list[Transcript]:
    return await rest_of(utterance.transcripts())


async def rest_of(reader: AsyncIterator[Transcript]) -> list[Transcript]:
    async with asyncio.timeout(60):  # a second on a quiet machine
        return [t async for t in reader]


async def settled_of(reader: AsyncIterator[Transcript]) -> Transcript:
    async with asyncio.timeout(60):
        async for transcript in reader:
            if transcript.settled:
                return transcript
    raise AssertionError("no settled text came")


def check(case: Case, transcripts: list[Transcript]) -> str:
    """Exactly one final, at the end; what it says."""
    assert [t.final for t in transcripts] == [False] * (len(transcripts) - 1) + [True]
    text = transcripts[-1].text
    if case.hears is not None:
        # One word may differ: a decoder hears a little better once it knows the channel.
        assert word_errors(case.hears, text) <= 1
    return text


async def heard(case: Case, engine: Any, pcm: bytes = SPEECH, step: int = 640) -> str:
    utterance = engine.open()
    reading = asyncio.create_task(everything(utterance))
    feed(utterance, pcm, step)
    utterance.finish(SILENCE_MS)
    text = check(case, await reading)
    await utterance.aclose()
    return text


def test_every_plug_in_has_a_case(name: str) -> None:
    assert name.split()[0] in plugins.names("stt")
    assert {n.split()[0] for n in CASES} == set(plugins.names("stt"))


async def test_partials_come_while_speaking_then_exactly_one_final(case: Case, engine: Any) -> None:
    if not case.partials:
        pytest.skip("says nothing before a pause, and its page says so")
    utterance = engine.open()
    reader = utterance.transcripts()
    feed(utterance, SPEECH)
    first = await asyncio.wait_for(anext(reader), 60)  # before anybody has said that the speech is over
    assert not first.final
    utterance.finish(SILENCE_MS)
    check(case, [first, *await rest_of(reader)])
    await utterance.aclose()


async def test_a_settled_text_covers_what_was_fed_and_the_utterance_goes_on(case: Case, engine: Any) -> None:
    utterance = engine.open()
    reader = utterance.transcripts()
    feed(utterance, SPEECH)
    utterance.settle(SILENCE_MS)
    settled = await settled_of(reader)
    assert not settled.final
    if case.hears is not None:
        assert word_errors(case.hears, settled.text) <= 1
    feed(utterance, SILENCE + SPEECH)
    utterance.finish(SILENCE_MS)
    rest = await rest_of(reader)
    assert [t.final for t in rest] == [False] * (len(rest) - 1) + [True]
    await utterance.aclose()


async def test_the_final_after_a_settled_text_and_only_silence_is_the_same_text(engine: Any) -> None:
    utterance = engine.open()
    reader = utterance.transcripts()
    feed(utterance, SPEECH)
    utterance.settle(SILENCE_MS)
    settled = await settled_of(reader)
    feed(utterance, SILENCE)
    utterance.finish(SILENCE_MS + 200)
    rest = await rest_of(reader)
    assert rest[-1].final
    assert rest[-1].text == settled.text
    await utterance.aclose()


async def test_finish_may_come_before_the_settled_text(case: Case, engine: Any) -> None:
    utterance = engine.open()
    feed(utterance, SPEECH)
    utterance.settle(SILENCE_MS)
    utterance.finish(SILENCE_MS)
    check(case, await everything(utterance))
    await utterance.aclose()


async def test_silence_gets_a_final_too(engine: Any) -> None:
    utterance = engine.open()
    feed(utterance, bytes(32_000))
    utterance.finish(1000)
    transcripts = await everything(utterance)
    assert [t.final for t in transcripts].count(True) == 1
    assert transcripts[-1].final
    await utterance.aclose()


async def test_no_audio_at_all_gets_a_final_too(engine: Any) -> None:
    utterance = engine.open()
    utterance.finish(0)
    assert [t.final for t in await everything(utterance)] == [True]
    await utterance.aclose()


async def test_how_the_audio_is_cut_makes_no_difference(case: Case, engine: Any) -> None:
    for step in (333, 5000, 1 << 20):
        await heard(case, engine, step=step)


async def test_an_utterance_can_be_closed_at_any_time(case: Case, engine: Any) -> None:
    untouched = engine.open()
    await untouched.aclose()
    half_fed = engine.open()
    feed(half_fed, SPEECH[:32_000])
    await half_fed.aclose()
    settling = engine.open()
    feed(settling, SPEECH)
    settling.settle(SILENCE_MS)
    await settling.aclose()
    finishing = engine.open()
    reading = asyncio.create_task(everything(finishing))
    feed(finishing, SPEECH)
    finishing.finish(SILENCE_MS)
    await finishing.aclose()
    assert [t for t in await reading if t.final] == []
    await heard(case, engine)


async def test_a_cancelled_reader_harms_nobody(case: Case, engine: Any) -> None:
    utterance = engine.open()
    reading = asyncio.create_task(everything(utterance))
    feed(utterance, SPEECH[:32_000])
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert reading.cancelled()
    await utterance.aclose()
    await heard(case, engine)


async def test_many_utterances_in_a_row(case: Case, engine: Any) -> None:
    for _ in range(3):
        await heard(case, engine)


async def test_several_people_at_once_get_their_own_words(case: Case, engine: Any) -> None:
    utterances = [engine.open() for _ in range(3)]
    readings = [asyncio.create_task(everything(u)) for u in utterances]
    for at in range(0, len(SPEECH), 640):
        for utterance in utterances[:2]:
            utterance.feed(SPEECH[at : at + 640])
        utterances[2].feed(bytes(640))
        await asyncio.sleep(0)
    for utterance in utterances:
        utterance.finish(SILENCE_MS)
    results = [await reading for reading in readings]
    for result in results[:2]:
        check(case, result)
    assert results[2][-1].final
    for utterance in utterances:
        await utterance.aclose()


async def test_hints_and_an_unknown_language_are_taken(engine: Any) -> None:
    utterance = engine.open(language="xx-YY", hints=("Zürich", "日本", "a" * 500))
    feed(utterance, SPEECH)
    utterance.finish(SILENCE_MS)
    assert (await everything(utterance))[-1].final
    await utterance.aclose()


async def test_closing_the_engine_ends_what_was_going_on(case: Case, tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        async with case.open(tmp_path) as engine:
            utterance = engine.open()
            reading = asyncio.create_task(everything(utterance))
            feed(utterance, SPEECH[:32_000])
            await asyncio.sleep(0)
        try:
            transcripts = await reading
        except SttError:
            return
        assert [t for t in transcripts if t.final] == []
