"""eSpeak beyond the conformance suite: voices, speed, cancelling, dying, and what is never interpreted."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pipeline import plugins
from pipeline.contracts import Env, Failure, SpeechRequest, SpokenWord, TtsError, Unavailable
from pipeline.tts.espeak import PIECE_CHARS, Espeak
from pipeline.tts.text import pieces, plain

pytestmark = pytest.mark.usefixtures("no_leaks")


def made(**values: Any) -> Espeak:
    engine = plugins.build("tts", "espeak", values, Env())
    assert isinstance(engine, Espeak)
    return engine


@pytest_asyncio.fixture
async def espeak(no_leaks: None) -> AsyncIterator[Espeak]:
    del no_leaks
    engine = made()
    await engine.warm()
    yield engine
    await engine.aclose()


async def spoken_ms(engine: Espeak, text: str, **wishes: Any) -> int:
    async with asyncio.timeout(15):
        items = [i async for i in engine.speak(SpeechRequest(text, **wishes))]
    return sum(len(i) for i in items if isinstance(i, bytes)) * 500 // engine.rate_hz


async def words(engine: Espeak, text: str) -> list[str]:
    async with asyncio.timeout(15):
        items = [i async for i in engine.speak(SpeechRequest(text))]
    return [text[i.start : i.end] for i in items if isinstance(i, SpokenWord)]


@pytest.mark.parametrize(
    ("voice", "language", "file"),
    [
        ("", "en", "gmw/en-US+f3"),
        ("", "en-GB", "gmw/en+f3"),
        ("", "es-MX", "roa/es+f3"),
        ("", "pt_BR", "roa/pt-BR+f3"),
        ("", "zh", "sit/cmn+f3"),
        ("", "xx", "gmw/en-US+f3"),
        ("es-419", "en", "roa/es-419"),
        ("EN-US+M3", "en", "gmw/en-US+m3"),
        ("de+annie", "en", "gmw/de+Annie"),
        ("nobody", "de", "gmw/de+f3"),
        ("en-us+nobody", "en", "gmw/en-US"),
    ],
)
async def test_a_voice_is_found_or_the_language_s_own_is_taken(
    espeak: Espeak, voice: str, language: str, file: str
) -> None:
    assert espeak.voice_for(voice, language) == file


async def test_all_voices_are_on_offer(espeak: Espeak) -> None:
    voices = {v.id: v for v in espeak.voices()}
    assert len(voices) > 130
    assert voices["es-419"].language == "es-419"
    assert voices["en-us+f3"].gender == "female"


async def test_speed_is_honoured(espeak: Espeak) -> None:
    text = "Your appointment is on Monday at nine."
    slow, usual, fast = [await spoken_ms(espeak, text, speed=speed) for speed in (0.5, 1.0, 2.0)]
    assert slow > 1.6 * usual
    assert usual > 1.6 * fast


async def test_pitch_is_honoured(espeak: Espeak) -> None:
    async def crossings(pitch: float) -> int:
        request = SpeechRequest("Ah, mama, are you calm?", pitch=pitch, voice="en-us")
        pcm = b"".join([i async for i in espeak.speak(request) if isinstance(i, bytes)])
        samples = memoryview(pcm).cast("h")
        return sum(1 for a, b in itertools.pairwise(samples) if a < 0 <= b) * 1000 // len(samples)

    assert await crossings(2.0) > await crossings(0.4)


async def test_words_keep_their_places_in_any_script(espeak: Espeak) -> None:
    assert await words(espeak, "Größe ist schön — naïve 日本 café, okay?") == [
        "Größe", "ist", "schön", "naïve", "日本", "café,", "okay?",
    ]  # fmt: skip
    assert await words(espeak, "You have 3 items on 2026-11-05 👋 at 09:30.") == [
        "You", "have", "3", "items", "on", "2026-11-05", "at", "09:30.",
    ]  # fmt: skip


async def test_markup_is_never_obeyed(espeak: Espeak) -> None:
    assert await spoken_ms(espeak, 'one <break time="9s"/> two') < 3000
    assert await words(espeak, "<speak>**Hello** `there`</speak>") == ["Hello", "there"]


async def test_a_long_text_is_never_all_in_memory_and_does_not_hold_up_others(espeak: Espeak) -> None:
    long = espeak.speak(SpeechRequest("The quick brown fox jumps over the lazy dog. " * 2000))
    async with asyncio.timeout(15):
        while not isinstance(await anext(long), bytes):
            pass
        assert await spoken_ms(espeak, "Me too.") > 300
    assert isinstance(long, AsyncGenerator)
    await long.aclose()


async def test_cancelling_aborts_the_synthesis_itself(espeak: Espeak) -> None:
    async def listen() -> None:
        async for _ in espeak.speak(SpeechRequest("9" * PIECE_CHARS)):  # minutes of speech in one piece
            started.set()

    started = asyncio.Event()
    listening = asyncio.create_task(listen())
    await asyncio.wait_for(started.wait(), 15)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert await spoken_ms(espeak, "Good morning.") < 2000


async def test_the_event_loop_hardly_notices(espeak: Espeak) -> None:
    speaking = asyncio.create_task(spoken_ms(espeak, "The quick brown fox jumps over the lazy dog. " * 40))
    longest_s, before_s = 0.0, time.thread_time()
    while not speaking.done():
        await asyncio.sleep(0)
        # CPU time of this thread, not wall time: a busy machine must not fail the test.
        now_s = time.thread_time()
        longest_s, before_s = max(longest_s, now_s - before_s), now_s
    assert longest_s < 0.02


async def test_a_worker_that_dies_fails_its_request_and_the_next_one_speaks(espeak: Espeak) -> None:
    stream = espeak.speak(SpeechRequest("Hello there. " * 200))
    while not isinstance(await anext(stream), bytes):
        pass
    os.kill(espeak.pids[0], signal.SIGKILL)
    with pytest.raises(TtsError, match="espeak worker") as failure:
        async with asyncio.timeout(15):
            _ = [i async for i in stream]
    assert failure.value.kind is Failure.TRANSIENT
    assert await spoken_ms(espeak, "Good morning.") > 300


@pytest.mark.parametrize(("key", "value"), [("rate_wpm", 1000), ("pitch", -1)])
def test_a_setting_out_of_range_is_told_at_once(key: str, value: int) -> None:
    with pytest.raises(Unavailable, match=f"{key} = {value} must be between"):
        made(**{key: value})


@pytest.mark.parametrize(
    "text", ["a <b>c</b> d", "**x** `y` ~~z~~", "# Title\n- point", "2 < 3 > 1", "tab\there 👋"]
)
def test_blanking_markup_keeps_every_place(text: str) -> None:
    assert len(plain(text)) == len(text)
    assert all(p in (t, " ") for p, t in zip(plain(text), text, strict=True))


def test_what_has_a_name_is_kept() -> None:
    assert plain("20 °C, 5 € + 3 £, 2 < 3, snake_case") == "20 °C, 5 € + 3 £, 2 < 3, snake_case"


@pytest.mark.parametrize(
    "text", ["", "short", "One. Two. Three is longer, and goes on. " * 9, "y" * 95, "日本語。" * 30]
)
def test_pieces_are_the_text_and_not_too_long(text: str) -> None:
    cut = pieces(text, 40)
    assert "".join(piece for _, piece in cut) == text
    assert all(0 < len(piece) <= 40 and text.startswith(piece, offset) for offset, piece in cut)


def test_a_text_is_cut_after_a_sentence_where_there_is_one() -> None:
    assert pieces("One two three. Four five six. Seven", 32)[0] == (0, "One two three. Four five six. ")
