"""What every synthesizer plug-in must do, run over all of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio

from pipeline import plugins
from pipeline.contracts import SpeechRequest, SpokenWord, TtsError, Usage
from tests.support.tts_cases import CASES

TEXT = "Hello there, my friend. You have 3 appointments on Monday."
TEXTS = (
    "Größe ist schön — naïve 日本 café, okay?",
    'Costs < 5 & > 3; <break time="9s"/> <b>bold</b> **stars** [[h@loU]]',
    "bell \x07 null \x00 escape \x1b[31m \x01K1 end",
    "one\n\n  two   three 👋 four",
    "x" * 3000,
)

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.parametrize("name", sorted(CASES))]

Item = bytes | SpokenWord | Usage


@pytest.fixture
def opening(name: str) -> AbstractAsyncContextManager[Any]:
    return CASES[name]()


@pytest_asyncio.fixture
async def engine(no_leaks: None, opening: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    del no_leaks  # requested first, so that it looks last
    async with opening as engine:
        yield engine


async def spoken(engine: Any, text: str, **wishes: Any) -> list[Item]:
    async with asyncio.timeout(15):  # nothing that is waited for here takes more than one
        return [item async for item in engine.speak(SpeechRequest(text, **wishes))]


def audio_of(items: list[Item]) -> bytes:
    return b"".join(i for i in items if isinstance(i, bytes))


def words_of(items: list[Item]) -> list[SpokenWord]:
    return [i for i in items if isinstance(i, SpokenWord)]


def test_every_plug_in_has_a_case(name: str) -> None:
    assert name in plugins.names("tts")
    assert set(CASES) == set(plugins.names("tts"))


async def test_a_text_becomes_whole_samples_of_sound(engine: Any) -> None:
    items = await spoken(engine, TEXT)
    chunks = [i for i in items if isinstance(i, bytes)]
    assert len(chunks) > 2
    assert all(chunk and len(chunk) % 2 == 0 for chunk in chunks)
    duration_s = len(audio_of(items)) / 2 / engine.rate_hz
    assert 1.5 < duration_s < 8
    assert any(audio_of(items))


async def test_usage_comes_at_most_once_and_last(engine: Any) -> None:
    items = await spoken(engine, TEXT)
    assert [i for i in items[:-1] if isinstance(i, Usage)] == []


@pytest.mark.parametrize("text", ["", "   ", "…", "!!! -- ?", "👋🙂", "\x00\x1b"])
async def test_what_cannot_be_spoken_yields_nothing(engine: Any, text: str) -> None:
    assert [i for i in await spoken(engine, text) if not isinstance(i, Usage)] == []


@pytest.mark.parametrize("text", [TEXT, *TEXTS])
async def test_word_times_are_in_order_and_inside_the_text_and_the_sound(engine: Any, text: str) -> None:
    items = await spoken(engine, text)
    words = words_of(items)
    duration_ms = len(audio_of(items)) * 1000 / 2 / engine.rate_hz
    assert duration_ms > 0
    for word in words:
        assert 0 <= word.start < word.end <= len(text)
        assert 0 <= word.start_ms <= word.end_ms <= duration_ms + 1
        assert text[word.start : word.end].strip() == text[word.start : word.end]
    for earlier, later in itertools.pairwise(words):
        assert earlier.end <= later.start
        assert earlier.end_ms <= later.start_ms + 1


async def test_wishes_are_taken_or_ignored_but_never_an_error(engine: Any) -> None:
    for wishes in (
        {"voice": "no such voice"},
        {"language": "xx"},
        {"language": "es-MX"},
        {"speed": 0.5, "pitch": 2.0},
        {"speed": 2.0, "pitch": 0.5},
        {"reply_id": "r1", "index": 3},
    ):
        assert audio_of(await spoken(engine, "Good morning.", **wishes))


async def test_every_voice_on_offer_speaks(engine: Any) -> None:
    voices = engine.voices()
    assert len({v.id for v in voices}) == len(voices)
    for voice in voices[:12]:
        assert audio_of(await spoken(engine, "Hi.", voice=voice.id, language=voice.language))


async def test_a_cancelled_request_leaves_nothing_in_the_next(engine: Any) -> None:
    usual = len(audio_of(await spoken(engine, "Good morning.")))

    async def listen() -> None:
        async for item in engine.speak(SpeechRequest(TEXT * 20)):
            if isinstance(item, bytes):
                started.set()

    for _ in range(5):
        started = asyncio.Event()
        listening = asyncio.create_task(listen())
        await asyncio.wait_for(started.wait(), 15)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert listening.cancelled()
        assert abs(len(audio_of(await spoken(engine, "Good morning."))) - usual) < engine.rate_hz // 5


async def test_who_stops_reading_and_closes_is_forgotten(engine: Any) -> None:
    stream = engine.speak(SpeechRequest(TEXT))
    while not isinstance(await asyncio.wait_for(anext(stream), 15), bytes):
        pass
    await stream.aclose()
    assert audio_of(await spoken(engine, "Good morning."))


async def test_several_at_once_each_get_their_own_speech(engine: Any) -> None:
    texts = ["Hi.", TEXT, TEXT + " " + TEXT, "Good morning."]
    alone = [len(audio_of(await spoken(engine, text))) for text in texts]
    together = await asyncio.gather(*(spoken(engine, text) for text in texts))
    for items, length in zip(together, alone, strict=True):
        assert abs(len(audio_of(items)) - length) < engine.rate_hz // 5


async def test_closing_the_engine_ends_what_was_going_on(opening: AbstractAsyncContextManager[Any]) -> None:
    async with asyncio.timeout(15):
        async with opening as engine:
            stream = engine.speak(SpeechRequest(TEXT))
            while not isinstance(await anext(stream), bytes):
                pass
        try:
            async for _ in stream:
                pass
        except TtsError:
            return  # both an early end and an error are fine; hanging is not
