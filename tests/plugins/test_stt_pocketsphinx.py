"""PocketSphinx beyond the conformance suite: real speech, grammars, dying workers, an unhurt event loop."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, SttError, Transcript, Unavailable
from pipeline.stt.pocketsphinx import Options, PocketSphinx, create
from tests.support.speech import clip, word_errors

GO_FORWARD = clip("goforward.wav")[: 2400 * 32]
AUSTEN = "unless to be rather cold hearted and rather selfish is to be ill disposed"
GRAMMAR = (
    "#JSGF V1.0; grammar moves; public <move> = go (forward | backward) (one | two | ten) [meter | meters];"
)

pytestmark = pytest.mark.usefixtures("no_leaks")


async def warm(**values: Any) -> PocketSphinx:
    engine = create(plugins.options("stt", "pocketsphinx", {"workers": 1, **values}), Env())
    await engine.warm()
    return engine


async def text_of(engine: PocketSphinx, pcm: bytes) -> str:
    utterance = engine.open()
    utterance.feed(pcm)
    utterance.finish(100)
    async with asyncio.timeout(60):
        transcripts = [t async for t in utterance.transcripts()]
    await utterance.aclose()
    return transcripts[-1].text


async def test_real_speech_is_understood_as_well_as_it_ever_was() -> None:
    engine = await warm()
    assert engine.languages == ("en",)
    assert await text_of(engine, GO_FORWARD) == "go forward ten meters"
    # 4 of 14 words were wrong when this was written.
    assert word_errors(AUSTEN, await text_of(engine, clip("austen_0890.wav"))) <= 7
    await engine.aclose()


async def test_the_final_is_there_at_once_after_a_settled_text() -> None:
    engine = await warm()
    utterance = engine.open()
    reader = utterance.transcripts()
    utterance.feed(GO_FORWARD)
    utterance.settle(180)
    async with asyncio.timeout(60):
        while not (settled := await anext(reader)).settled:
            pass
    utterance.feed(bytes(300 * 32))
    utterance.finish(480)
    with pytest.raises(StopIteration) as at_once:
        anext(reader).__await__().send(None)  # answers without giving the loop a turn
    assert at_once.value.value == Transcript(settled.text, final=True, settled=True, plugin="pocketsphinx")
    await utterance.aclose()
    await engine.aclose()


@pytest.mark.parametrize("as_file", [False, True])
async def test_a_grammar_limits_what_can_be_heard(tmp_path: Path, as_file: bool) -> None:
    grammar = GRAMMAR
    if as_file:
        file = tmp_path / "moves.gram"
        file.write_text(GRAMMAR)
        grammar = str(file)
    engine = await warm(grammar=grammar)
    assert await text_of(engine, GO_FORWARD) == "go forward ten meters"
    await engine.aclose()


@pytest.mark.parametrize(
    "grammar", ["#JSGF V1.0; grammar g; public <a = b;", "#JSGF V1.0; grammar g; public <a> = xyzzyq;"]
)
async def test_a_bad_grammar_is_told_when_warming(grammar: str) -> None:
    with pytest.raises(Unavailable, match="every word of the grammar is in the dictionary"):
        await warm(grammar=grammar)


def test_a_missing_file_is_told_at_once() -> None:
    with pytest.raises(Unavailable, match=r"grammar = '/no/such\.gram' does not exist"):
        create(Options(grammar="/no/such.gram"), Env())


async def test_a_worker_that_dies_fails_its_utterance_and_the_next_gets_a_new_one() -> None:
    engine = await warm()
    utterance = engine.open()
    utterance.feed(GO_FORWARD)
    os.kill(engine.pids[0], signal.SIGKILL)
    with pytest.raises(SttError, match="worker died") as failure:
        await _drain(utterance)
    assert failure.value.kind is Failure.TRANSIENT
    await utterance.aclose()
    assert await text_of(engine, GO_FORWARD) == "go forward ten meters"
    await engine.aclose()


async def test_more_speakers_than_decoders_wait_their_turn() -> None:
    engine = await warm(decoders=1)
    texts = await asyncio.gather(*(text_of(engine, GO_FORWARD) for _ in range(3)))
    assert all(word_errors("go forward ten meters", text) <= 1 for text in texts)
    await engine.aclose()


async def test_an_endless_utterance_is_given_up() -> None:
    engine = await warm()
    utterance = engine.open()
    for _ in range(11):
        utterance.feed(bytes(60_000 * 32))
    with pytest.raises(SttError, match="more than ten minutes"):
        await _drain(utterance)
    await utterance.aclose()
    await engine.aclose()


async def test_recognizing_takes_next_to_nothing_of_the_event_loop() -> None:
    engine = await warm()
    utterance = engine.open()
    reading = asyncio.create_task(_drain(utterance))
    longest_s, before_s = 0.0, time.thread_time()
    for at in range(0, len(GO_FORWARD), 640):
        utterance.feed(GO_FORWARD[at : at + 640])
        await asyncio.sleep(0.002)
        # CPU time of this thread, not wall time: a busy machine must not fail the test.
        now_s = time.thread_time()
        longest_s, before_s = max(longest_s, now_s - before_s), now_s
    utterance.finish(180)
    assert (await reading)[-1].final
    assert longest_s < 0.02
    await utterance.aclose()
    await engine.aclose()


async def _drain(utterance: Any) -> list[Transcript]:
    async with asyncio.timeout(60):
        return [t async for t in utterance.transcripts()]
