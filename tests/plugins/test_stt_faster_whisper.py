"""Whisper beyond the conformance suite: missing weights, long speech, languages, broken models."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import plugins
from pipeline.contracts import Env, Transcript, Unavailable
from pipeline.stt.faster_whisper import FasterWhisper, Options, create
from pipeline.stt.window import CUT_FROM_S, CUT_TO_S, quiet_moment
from tests.support.speech import clip
from tests.support.tiny_whisper import build

AUSTEN = clip("austen_0890.wav")

pytestmark = pytest.mark.usefixtures("no_leaks")


async def warm(folder: Path, **values: Any) -> FasterWhisper:
    engine = create(plugins.options("stt", "faster-whisper", {"model": str(folder), **values}), Env())
    await engine.warm()
    return engine


async def heard(engine: FasterWhisper, pcm: bytes, silence_ms: int = 0, **wishes: Any) -> Transcript:
    utterance = engine.open(**wishes)
    utterance.feed(pcm)
    utterance.finish(silence_ms)
    async with asyncio.timeout(60):
        transcripts = [t async for t in utterance.transcripts()]
    await utterance.aclose()
    return transcripts[-1]


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("this must not go to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("_no_network")
def test_missing_weights_are_one_sentence_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable) as told:
        create(Options(), Env())
    assert str(told.value) == (
        "[stt] faster-whisper has no weights for 'base.en'; run `parley models fetch base.en`, "
        "or set [stt.faster-whisper] model to a folder"
    )
    with pytest.raises(Unavailable, match="fetch base`"):
        create(Options(), Env(language="de"))


def test_a_wrong_model_name_lists_the_right_ones() -> None:
    with pytest.raises(Unavailable, match=r"model = 'huge' is neither a folder .* nor one of tiny\.en, tiny"):
        create(Options(model="huge"), Env())


def test_a_broken_off_download_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--Systran--faster-whisper-base.en" / "snapshots" / "abc"
    build(snapshot)
    assert create(Options(), Env()).languages == ("en",)
    (snapshot / "tokenizer.json").unlink()
    with pytest.raises(Unavailable, match="no weights"):
        create(Options(), Env())


async def test_a_model_that_cannot_be_loaded_is_told_when_warming(tmp_path: Path) -> None:
    folder = build(tmp_path / "broken")
    (folder / "model.bin").write_bytes(b"not a model")
    with pytest.raises(Unavailable, match="Whisper could not load"):
        await warm(folder)


async def test_an_english_model_says_so_and_hears_english_only(tmp_path: Path) -> None:
    engine = await warm(build(tmp_path / "model"))
    assert engine.languages == ("en",)
    transcript = await heard(engine, AUSTEN, language="es")
    assert transcript.text
    assert transcript.language == "en"
    await engine.aclose()


async def test_a_multilingual_model_takes_the_session_s_language_or_detects_it(tmp_path: Path) -> None:
    engine = await warm(build(tmp_path / "model", multilingual=True), language="auto")
    assert engine.languages == ()
    assert (await heard(engine, AUSTEN, language="es-MX")).language == "es"
    assert (await heard(engine, AUSTEN)).language in {"en", "es", "de", "fr"}
    await engine.aclose()


async def test_silence_and_hum_are_no_words(tmp_path: Path) -> None:
    engine = await warm(build(tmp_path / "model"))
    hum = (np.sin(np.arange(48_000) * 0.04) * 3000).astype("<i2").tobytes()
    assert (await heard(engine, bytes(96_000), 3000)).text == ""
    assert (await heard(engine, hum)).text == ""
    await engine.aclose()


async def test_speech_longer_than_whisper_s_window_keeps_its_beginning(tmp_path: Path) -> None:
    engine = await warm(build(tmp_path / "model"))
    utterance = engine.open()
    reader = utterance.transcripts()
    utterance.feed(AUSTEN * 8)  # 42 s
    async with asyncio.timeout(60):
        partial = await anext(reader)
        beginning = partial.text.split()[0]
        utterance.finish(0)
        rest = [t async for t in reader]
    assert rest[-1].text.startswith(beginning)
    assert len(rest[-1].text) > 0
    await utterance.aclose()
    await engine.aclose()


def test_a_full_window_is_cut_in_its_quietest_moment() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 3000, 26 * 16_000)
    samples[18 * 16_000 : 18 * 16_000 + 6400] = 0
    samples[2 * 16_000 : 4 * 16_000] = 0  # quieter for longer, but too early
    cut_s = quiet_moment(samples.astype("<i2").tobytes()) / 32_000
    assert CUT_FROM_S < 18 < cut_s < 18.4 < CUT_TO_S
