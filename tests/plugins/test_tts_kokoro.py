"""Kokoro beyond the conformance suite: voices, languages, word times, pauses, and wrong files."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, SpeechRequest, SpokenWord, TtsError, Unavailable
from pipeline.plugins import PluginError
from pipeline.tts.kokoro import Kokoro
from tests.support.tiny_voice import crossings_hz, kokoro_voice, piper_voice

pytestmark = pytest.mark.usefixtures("no_leaks")

TEXT = "You have 3 appointments on 24 December 2026, at 09:30."


def made(folder: Path, **values: Any) -> Kokoro:
    model, voices = kokoro_voice(folder)
    engine = plugins.build("tts", "kokoro", {"model": str(model), "voices": str(voices)} | values, Env())
    assert isinstance(engine, Kokoro)
    return engine


@asynccontextmanager
async def warm(folder: Path, **values: Any) -> AsyncIterator[Kokoro]:
    engine = made(folder, **values)
    try:
        await engine.warm()
        yield engine
    finally:
        await engine.aclose()


async def spoken(engine: Kokoro, text: str, **wishes: Any) -> tuple[bytes, list[SpokenWord]]:
    async with asyncio.timeout(20):
        items = [i async for i in engine.speak(SpeechRequest(text, **wishes))]
    audio = b"".join(i for i in items if isinstance(i, bytes))
    return audio, [i for i in items if isinstance(i, SpokenWord)]


async def test_voices_tell_language_and_gender_by_their_names(tmp_path: Path) -> None:
    async with warm(tmp_path, voice="bf_emma") as engine:
        voices = {v.id: v for v in engine.voices()}
        assert list(voices) == ["bf_emma", "af_heart", "am_adam", "ef_dora"]
        assert (voices["am_adam"].name, voices["am_adam"].language) == ("Adam", "en-US")
        assert voices["am_adam"].gender == "male"
        assert voices["ef_dora"].language == "es"
        assert (engine.rate_hz, engine.model) == (24_000, "kokoro-tiny")
        assert {"kokoro_onnx", "phonemizer"}.isdisjoint(sys.modules)  # GPL: never part of this process


@pytest.mark.parametrize(
    ("wishes", "voice", "language"),
    [
        ({}, "af_heart", "en-US"),
        ({"language": "es-MX"}, "ef_dora", "es"),
        ({"language": "it"}, "af_heart", "it"),  # nobody is Italian: with an accent
        ({"language": "xx"}, "af_heart", "en-US"),
        ({"voice": "bf_emma"}, "bf_emma", "en-GB"),
        ({"voice": "bf_emma", "language": "es"}, "bf_emma", "en-GB"),
        ({"voice": "nobody", "language": "es"}, "ef_dora", "es"),
    ],
)
async def test_a_voice_is_found_or_one_of_the_language_is_taken(
    tmp_path: Path, wishes: dict[str, Any], voice: str, language: str
) -> None:
    async with warm(tmp_path) as engine:
        job = engine.job_of(SpeechRequest("Hi.", **wishes))
        assert (job["voice"], job["language"]) == (voice, language)
        assert (await spoken(engine, "Good morning.", **wishes))[0]


async def test_voices_sound_different_and_speed_is_honoured(tmp_path: Path) -> None:
    async with warm(tmp_path) as engine:
        heart, _ = await spoken(engine, "Good morning.", voice="af_heart")
        dora, _ = await spoken(engine, "Good morning.", voice="ef_dora")
        assert crossings_hz(dora, 24_000) > 2 * crossings_hz(heart, 24_000)
        lengths = [len((await spoken(engine, TEXT, speed=speed))[0]) for speed in (0.5, 1.0, 2.0)]
    assert lengths[0] > 1.5 * lengths[1] > 1.5 * 1.5 * lengths[2]


async def test_every_word_has_its_time(tmp_path: Path) -> None:
    async with warm(tmp_path) as engine:
        audio, words = await spoken(engine, TEXT)
    assert [TEXT[w.start : w.end] for w in words] == TEXT.split()
    by_text = {TEXT[w.start : w.end]: w.end_ms - w.start_ms for w in words}
    assert by_text["2026,"] > by_text["You"]
    # Silence before the first phoneme is trimmed; after the last come the full stop, a hum here, and a pause.
    assert words[0].start_ms < 100
    assert 300 < len(audio) / 48 - words[-1].end_ms < 500


async def test_sentences_do_not_run_together(tmp_path: Path) -> None:
    async with warm(tmp_path) as engine:
        audio, _ = await spoken(engine, "Good morning. And now?")
    silent = b"\0\0" * 24 * 200  # 200 ms
    assert silent in audio[: -len(silent)].rstrip(b"\0")


async def test_a_long_text_without_a_pause_is_spoken_to_its_end(tmp_path: Path) -> None:
    text = "pneumonoultramicroscopicsilicovolcanoconiosis" * 12
    async with warm(tmp_path) as engine:
        _, words = await spoken(engine, text)
    assert words[-1].end == len(text)


async def test_a_worker_that_dies_fails_its_request_and_the_next_one_speaks(tmp_path: Path) -> None:
    async with warm(tmp_path) as engine:
        stream = engine.speak(SpeechRequest("Hello there. " * 200))
        await anext(stream)
        os.kill(engine.pids[0], signal.SIGKILL)
        with pytest.raises(TtsError, match="the kokoro worker died") as failure:
            async with asyncio.timeout(15):
                _ = [i async for i in stream]
        assert failure.value.kind is Failure.TRANSIENT
        assert (await spoken(engine, "Good morning."))[0]


# -- what can be wrong with the settings ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model": "/no/such.onnx"}, r"model = '/no/such\.onnx' is not a file; `parley models fetch kokoro`"),
        ({"voices": "/no/such.bin"}, r"voices = '/no/such\.bin' is not a file; .* \(voices-v1\.0\.bin\)"),
        ({"model": ""}, r"model is not set; `parley models fetch kokoro` gets it, and https://"),
    ],
)
def test_a_missing_file_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], sentence: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match=sentence) as told:
        made(tmp_path, **values)
    assert str(told.value).startswith("[tts.kokoro] ")
    assert "\n" not in str(told.value)


def test_fetched_files_need_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, voices = kokoro_voice(tmp_path / "parley" / "voices")
    model.rename(model.with_name("kokoro-v1.0.onnx"))
    voices.rename(voices.with_name("voices-v1.0.bin"))
    engine = plugins.build("tts", "kokoro", {}, Env())
    assert engine.model == "kokoro-v1.0"


async def refusal(folder: Path, **values: Any) -> str:
    with pytest.raises(Unavailable) as told:
        await warm(folder, **values).__aenter__()
    assert "\n" not in str(told.value)
    return str(told.value)


async def test_files_that_are_something_else_are_told_when_they_are_loaded(tmp_path: Path) -> None:
    model, _ = kokoro_voice(tmp_path)
    piper = piper_voice(tmp_path)
    text = tmp_path / "readme.txt"
    text.write_text("hello", "utf-8")
    assert "is not a Kokoro model ([tts.kokoro] model)" in await refusal(tmp_path, model=str(text))
    assert "it is a model without the input 'speed'" in await refusal(tmp_path, model=str(piper))
    assert "is not a file of Kokoro voices (voices-v1.0.bin)" in await refusal(tmp_path, voices=str(text))
    assert "is not a file of Kokoro voices" in await refusal(tmp_path, voices=str(model))


async def test_an_unknown_voice_names_the_known_ones(tmp_path: Path) -> None:
    told = await refusal(tmp_path, voice="af_nobody")
    assert "[tts.kokoro] voice = 'af_nobody' is not in the voices' file; there are af_heart, am_adam" in told


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"\[tts\.kokoro\] workers = 0 must be 1 or more"):
        made(tmp_path, workers=0)


def test_without_the_package_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kokoro_onnx", None)
    with pytest.raises(Unavailable, match=r"pip install 'parley\[kokoro\]'"):
        made(tmp_path)
