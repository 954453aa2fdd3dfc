"""What is particular to OpenAI's voices: the exact requests, and servers that speak the same API."""

from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, MissingKey, SpeechRequest, TtsError, Unavailable, Usage
from pipeline.tts.openai import LONGEST_INPUT
from tests.support.tts_cases import VENDORS
from tests.support.vendors.openai_speech import VOICES, VOICES_OF_TTS_1, OpenAiSpeech
from tests.support.vendors.place import KEY
from tests.support.vendors.sound import speech_of

CASE = VENDORS["openai"]
TEXT = "Good morning to you."

pytestmark = pytest.mark.usefixtures("no_leaks")


async def sound_of(engine: Any, text: str = TEXT, **wishes: Any) -> bytes:
    items = [item async for item in engine.speak(SpeechRequest(text, **wishes))]
    return b"".join(item for item in items if isinstance(item, bytes))


async def test_the_request_is_the_documented_one() -> None:
    async with CASE.open(instructions="Speak calmly.") as (engine, fake):
        assert await sound_of(engine) == b"".join(speech_of(TEXT, 24_000))
        await sound_of(engine, voice="onyx", speed=1.5, language="de", pitch=2.0)
        first, second = fake.seen
    assert (first.method, first.path) == ("POST", "/v1/audio/speech")
    assert first.headers["authorization"] == f"Bearer {KEY}"
    plain = {"model": "gpt-4o-mini-tts", "input": TEXT, "response_format": "pcm"}
    plain["instructions"] = "Speak calmly."
    assert first.json == plain | {"voice": "coral"}
    assert second.json == plain | {"voice": "onyx", "speed": 1.5}


async def test_the_older_models_get_no_instructions_and_no_voice_they_lack() -> None:
    async with CASE.open(model="tts-1", instructions="Speak calmly.") as (engine, fake):
        assert {v.id for v in engine.voices()} == set(VOICES_OF_TTS_1)
        await sound_of(engine, voice="verse")
        assert fake.seen[0].json == {
            "model": "tts-1",
            "input": TEXT,
            "voice": "coral",
            "response_format": "pcm",
        }


async def test_every_voice_of_the_newer_model_is_on_offer_and_an_unknown_one_is_the_default() -> None:
    async with CASE.open(voice="sage") as (engine, fake):
        assert {v.id for v in engine.voices()} == set(VOICES)
        for voice in ("", "Ash", "no such voice", "ash"):
            await sound_of(engine, voice=voice)
        assert [seen.json["voice"] for seen in fake.seen] == ["sage", "sage", "sage", "ash"]


async def test_a_long_text_is_several_requests_of_whole_sentences() -> None:
    text = "This is a sentence. " * 200
    async with CASE.open() as (engine, fake):
        items = [item async for item in engine.speak(SpeechRequest(text))]
        assert len(fake.said) == 3
        assert all(len(said) <= LONGEST_INPUT and said.endswith(".") for said in fake.said)
    assert [item for item in items if isinstance(item, Usage)] == [Usage(characters=len(text.strip()))]


async def test_a_compatible_server_has_its_own_voices_rate_and_key() -> None:
    options = {"model": "tts-1", "voices": ["alloy", "nova"], "voice": "nova", "rate_hz": 22_050}
    async with OpenAiSpeech().serving() as fake:
        values = {**options, "base_url": f"{fake.url}/v1/", "key_variable": "KOKORO_KEY"}
        engine = plugins.build("tts", "openai", values, Env({"KOKORO_KEY": KEY, "OPENAI_API_KEY": "other"}))
        await engine.warm()
        assert engine.rate_hz == 22_050
        assert [v.id for v in engine.voices()] == ["alloy", "nova"]
        assert await sound_of(engine, voice="coral")
        assert fake.seen[0].json["voice"] == "nova"
        await engine.aclose()


async def test_the_header_of_a_wav_that_nobody_asked_for_is_not_heard() -> None:
    async with CASE.open() as (engine, fake):
        fake.wav = True
        assert await sound_of(engine) == b"".join(speech_of(TEXT, 24_000))


async def test_an_answer_that_is_no_sound_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.vendors.openai_speech.SOUND", "application/json")
    async with CASE.open() as (engine, _):
        with pytest.raises(TtsError, match="application/json") as caught:
            await sound_of(engine)
    assert caught.value.kind is Failure.TRANSIENT


async def test_a_probe_says_which_models_there_are() -> None:
    async with CASE.open(model="tts-l") as (engine, _):
        with pytest.raises(TtsError, match="it has tts-1, tts-1-hd"):
            await engine.probe()


def test_openai_needs_a_key_and_a_voice_that_it_has() -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        plugins.build("tts", "openai", {}, Env())
    with pytest.raises(Unavailable, match="voice = 'verse': tts-1 has alloy"):
        plugins.build("tts", "openai", {"model": "tts-1", "voice": "verse"}, Env({"OPENAI_API_KEY": "k"}))
    with pytest.raises(plugins.PluginError, match="rate_hz"):
        plugins.build("tts", "openai", {"rate_hz": 1}, Env({"OPENAI_API_KEY": "k"}))
