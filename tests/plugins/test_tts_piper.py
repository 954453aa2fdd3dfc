"""Piper beyond the conformance suite: voices, speakers, word times, cancelling, dying, and wrong files."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, SpeechRequest, SpokenWord, TtsError, Unavailable
from pipeline.plugins import PluginError
from pipeline.tts.piper import Piper
from tests.support.tiny_voice import crossings_hz, kokoro_voice, piper_voice

pytestmark = pytest.mark.usefixtures("no_leaks")

TEXT = "You have 3 appointments on 24 December 2026, at 09:30."


def made(language: str = "en", **values: Any) -> Piper:
    engine = plugins.build("tts", "piper", values, Env(language=language))
    assert isinstance(engine, Piper)
    return engine


@asynccontextmanager
async def warm(**values: Any) -> AsyncIterator[Piper]:
    engine = made(**values)
    try:
        await engine.warm()
        yield engine
    finally:
        await engine.aclose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three voices: English, Spanish with two speakers and a higher rate, German."""
    piper_voice(tmp_path)
    piper_voice(tmp_path, "es_ES-tiny-medium", rate_hz=22_050, espeak_voice="es", speakers=("ana", "bo"))
    piper_voice(tmp_path, "de_DE-tiny-low", espeak_voice="de")
    return tmp_path


async def spoken(engine: Piper, text: str, **wishes: Any) -> tuple[bytes, list[SpokenWord]]:
    async with asyncio.timeout(20):
        items = [i async for i in engine.speak(SpeechRequest(text, **wishes))]
    audio = b"".join(i for i in items if isinstance(i, bytes))
    return audio, [i for i in items if isinstance(i, SpokenWord)]


async def test_voices_are_listed_before_anything_is_loaded(folder: Path) -> None:
    engine = made(model=str(folder))
    assert [v.id for v in engine.voices()] == [
        "en_US-tiny-low", "de_DE-tiny-low", "es_ES-tiny-medium/ana", "es_ES-tiny-medium/bo",
    ]  # fmt: skip
    assert engine.voices()[0].language == "en-US"
    assert engine.model == "en_US-tiny-low"
    assert engine.rate_hz == 22_050
    assert "piper" not in sys.modules  # GPL: it is never part of this process
    await engine.aclose()


@pytest.mark.parametrize(
    ("wishes", "voice", "speaker"),
    [
        ({}, "en_US-tiny-low", None),
        ({"language": "en-GB"}, "en_US-tiny-low", None),
        ({"language": "es-MX"}, "es_ES-tiny-medium", None),
        ({"language": "fr"}, "en_US-tiny-low", None),
        ({"voice": "de_DE-tiny-low"}, "de_DE-tiny-low", None),
        ({"voice": "es_ES-tiny-medium/bo"}, "es_ES-tiny-medium", 1),
        ({"voice": "es_ES-tiny-medium/1"}, "es_ES-tiny-medium", 1),
        ({"voice": "es_ES-tiny-medium/nobody"}, "es_ES-tiny-medium", None),
        ({"voice": "nobody", "language": "de"}, "de_DE-tiny-low", None),
    ],
)
def test_a_voice_is_found_or_one_of_the_language_is_taken(
    folder: Path, wishes: dict[str, Any], voice: str, speaker: int | None
) -> None:
    job = made(model=str(folder)).job_of(SpeechRequest("Hi.", **wishes))
    assert (job["voice"], job["speaker"]) == (voice, speaker)


def test_the_installation_s_language_and_the_options_choose_the_default(folder: Path) -> None:
    assert made("es-MX", model=str(folder)).model == "es_ES-tiny-medium"
    engine = made(model=str(folder), voice="es_ES-tiny-medium", speaker="bo")
    assert engine.job_of(SpeechRequest("Hola.", language="es"))["speaker"] == 1


async def test_speakers_sound_different_and_speed_is_honoured(folder: Path) -> None:
    async with warm(model=str(folder)) as engine:
        ana, _ = await spoken(engine, "Buenos dias, amigo.", voice="es_ES-tiny-medium/ana")
        bo, _ = await spoken(engine, "Buenos dias, amigo.", voice="es_ES-tiny-medium/bo")
        assert crossings_hz(bo, 22_050) > 2 * crossings_hz(ana, 22_050)
        lengths = [len((await spoken(engine, TEXT, speed=speed))[0]) for speed in (0.5, 1.0, 2.0)]
    assert lengths[0] > 1.6 * lengths[1] > 1.6 * 1.5 * lengths[2]


async def test_a_voice_of_another_rate_lasts_as_long(tmp_path: Path) -> None:
    piper_voice(tmp_path / "alone")
    piper_voice(tmp_path / "both")
    piper_voice(tmp_path / "both", "es_ES-tiny-medium", rate_hz=22_050, espeak_voice="es")
    seconds = []
    for name in ("alone", "both"):
        async with warm(model=str(tmp_path / name)) as engine:
            seconds.append(len((await spoken(engine, TEXT))[0]) / 2 / engine.rate_hz)
    assert seconds[0] == pytest.approx(seconds[1], abs=0.01)


@pytest.mark.parametrize("has_durations", [True, False])
async def test_every_word_has_its_time(tmp_path: Path, has_durations: bool) -> None:
    voice = piper_voice(tmp_path, has_durations=has_durations)
    async with warm(model=str(voice)) as engine:
        audio, words = await spoken(engine, TEXT)
    assert [TEXT[w.start : w.end] for w in words] == TEXT.split()
    assert words[-1].end_ms > len(audio) / 32 - 500  # 16 kHz
    by_text = {TEXT[w.start : w.end]: w.end_ms - w.start_ms for w in words}
    assert by_text["2026,"] > by_text["You"]
    assert by_text["appointments"] > by_text["on"]


async def test_durations_are_those_of_the_model(tmp_path: Path) -> None:
    # The tiny voice gives each id 2 to 3.2 frames, rounded up, of 256 samples: some 80 ms with its pad.
    voice = piper_voice(tmp_path)
    async with warm(model=str(voice)) as engine:
        audio, words = await spoken(engine, "Papa, mama.")
    (papa, mama), length_ms = words, len(audio) / 32
    assert papa.start_ms == pytest.approx(80, abs=1)  # BOS and its pad: five frames
    assert papa.end_ms < mama.start_ms
    assert length_ms - mama.end_ms == pytest.approx(128, abs=64)  # the full stop, its pad and EOS


async def test_phoneme_brackets_are_text(folder: Path) -> None:
    async with warm(model=str(folder)) as engine:
        plain, _ = await spoken(engine, "one   h   two")
        bracketed, words = await spoken(engine, "one [[h]] two")
    assert len(plain) == len(bracketed)
    assert len(words) == 3


async def test_the_first_sound_comes_before_the_rest_is_made(tmp_path: Path) -> None:
    voice = piper_voice(tmp_path, slowness=40)
    long = "Good morning, my friend. " + "the quick brown fox jumps over the lazy dog " * 5
    async with warm(model=str(voice), threads=1) as engine:
        started = time.monotonic()
        first_s = 0.0
        async for item in engine.speak(SpeechRequest(long)):
            if isinstance(item, bytes) and not first_s:
                first_s = time.monotonic() - started
        whole_s = time.monotonic() - started
        assert first_s < whole_s / 2

        # And a cancel ends the run of the model, not only the waiting for it.
        stream = engine.speak(SpeechRequest(long))
        await anext(stream)  # the long piece is being made by now
        started = time.monotonic()
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        await spoken(engine, "Hi.")
        assert time.monotonic() - started < whole_s / 2


async def test_a_first_piece_goes_before_the_rest_of_others(tmp_path: Path) -> None:
    voice = piper_voice(tmp_path, slowness=20)
    done: list[str] = []

    async def say(engine: Piper, text: str) -> None:
        await spoken(engine, text)
        done.append(text[:4])

    async with warm(model=str(voice)) as engine:
        long = asyncio.create_task(say(engine, "Long" + " and longer" * 60))
        await asyncio.sleep(0)
        await asyncio.gather(long, say(engine, "Soon."))
    assert done == ["Soon", "Long"]


async def test_a_worker_that_dies_fails_its_request_and_the_next_one_speaks(tmp_path: Path) -> None:
    async with warm(model=str(piper_voice(tmp_path, slowness=20))) as engine:
        stream = engine.speak(SpeechRequest("Hello there. " * 100))
        await anext(stream)
        os.kill(engine.pids[0], signal.SIGKILL)
        with pytest.raises(TtsError, match="the piper worker died") as failure:
            async with asyncio.timeout(15):
                _ = [i async for i in stream]
        assert failure.value.kind is Failure.TRANSIENT
        assert (await spoken(engine, "Good morning."))[0]


async def test_workers_share_the_work(tmp_path: Path) -> None:
    async with warm(model=str(piper_voice(tmp_path)), workers=2) as engine:
        assert len(engine.pids) == 2
        both = await asyncio.gather(spoken(engine, TEXT), spoken(engine, TEXT))
        assert both[0] == both[1]


async def test_a_voice_that_turns_out_broken_fails_its_request_only(folder: Path) -> None:
    (folder / "de_DE-tiny-low.onnx").write_bytes(b"not a model")
    async with warm(model=str(folder)) as engine:
        with pytest.raises(
            TtsError, match=r"piper could not speak: .*de_DE-tiny-low\.onnx is not a Piper voice"
        ):
            await spoken(engine, "Guten Tag.", voice="de_DE-tiny-low")
        assert (await spoken(engine, "Good morning."))[0]


# -- what can be wrong with the settings ----------------------------------------------------------------


def _spoil_json(folder: Path) -> str:
    path = piper_voice(folder)
    Path(f"{path}.json").write_text("{", "utf-8")
    return str(path)


def _lose_json(folder: Path) -> str:
    path = piper_voice(folder)
    Path(f"{path}.json").unlink()
    return str(path)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (lambda _: "", r"model is not set; run `parley models fetch en_US-lessac-medium` and set it"),
        (lambda _: "/no/such.onnx", r"model = '/no/such\.onnx' does not exist; `parley models fetch"),
        (lambda _: "fr_FR-siwis-low", r"has not been fetched; run `parley models fetch fr_FR-siwis-low`"),
        (str, r"is a folder without a voice \(NAME\.onnx and NAME\.onnx\.json\)"),
        (_lose_json, r"has no en_US-tiny-low\.onnx\.json beside it; a Piper voice is two files"),
        (_spoil_json, r"is not the configuration of a Piper voice"),
        (lambda f: str(piper_voice(f, phoneme_type="pinyin")), r"speaks Chinese by pinyin"),
    ],
)
def test_a_wrong_model_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path], str], sentence: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match=sentence) as told:
        made(model=place(tmp_path))
    assert str(told.value).startswith("[tts.piper] model")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"voice": "nobody"},
            r"\[tts\.piper\] voice = 'nobody' is not in its folder; there are de_DE-tiny-low",
        ),
        ({"speaker": "7"}, r"speaker = '7' is not one of en_US-tiny-low's: none but its own"),
        ({"voice": "es_ES-tiny-medium", "speaker": "eve"}, r"speaker = 'eve' .*: ana, bo"),
    ],
)
def test_a_wrong_voice_names_the_right_ones(folder: Path, values: dict[str, str], sentence: str) -> None:
    with pytest.raises(Unavailable, match=sentence):
        made(model=str(folder), **values)


def test_no_workers_are_refused() -> None:
    with pytest.raises(PluginError, match=r"\[tts\.piper\] workers = 0 must be 1 or more"):
        made(workers=0)


def _no_model(folder: Path) -> Path:
    path = piper_voice(folder)
    path.write_bytes(b"\x3a\xff\xff\xff\xff\x0fthis is not a model")
    return path


def _kokoro_in_its_place(folder: Path) -> Path:
    path = piper_voice(folder)
    path.write_bytes(kokoro_voice(folder / "kokoro")[0].read_bytes())
    return path


@pytest.mark.parametrize("place", [_no_model, _kokoro_in_its_place])
async def test_a_file_that_is_no_voice_is_told_when_it_is_loaded(
    tmp_path: Path, place: Callable[[Path], Path]
) -> None:
    path = place(tmp_path)
    loading: AbstractAsyncContextManager[Piper] = warm(model=str(path))
    with pytest.raises(Unavailable, match=r"is not a Piper voice \(\[tts\.piper\] model\)") as told:
        await loading.__aenter__()
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(Unavailable, match=r"pip install 'parley\[piper\]'"):
        made(model="anything")


def test_the_other_package_of_that_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "piper").mkdir()
    (tmp_path / "piper" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unavailable, match=r"pip install 'parley\[piper\]'"):
        made(model="anything")
