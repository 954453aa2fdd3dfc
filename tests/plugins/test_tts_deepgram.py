"""What is particular to Deepgram's voices: what goes over a line, and when one is hung up."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, MissingKey, SpeechRequest, TtsError, Unavailable
from pipeline.tts.deepgram import FLUSHES, SPEAKERS
from tests.support.tts_cases import VENDORS
from tests.support.vendors.place import KEY, Trouble

CASE = VENDORS["deepgram"]
TEXT = "Good morning to you."

pytestmark = pytest.mark.usefixtures("no_leaks")


async def sound_of(engine: Any, text: str = TEXT, **wishes: Any) -> bytes:
    async with asyncio.timeout(15):
        items = [item async for item in engine.speak(SpeechRequest(text, **wishes))]
    return b"".join(item for item in items if isinstance(item, bytes))


async def test_a_segment_is_one_speak_and_one_flush_and_the_line_stays() -> None:
    async with CASE.open() as (engine, fake):
        assert await sound_of(engine)
        assert await sound_of(engine, "And now?")
        (seen,) = fake.seen
    assert seen.path == "/v1/speak"
    assert seen.query == {"model": "aura-2-thalia-en", "encoding": "linear16", "sample_rate": "24000"}
    assert seen.headers["authorization"] == f"Token {KEY}"
    speak, flush = {"type": "Speak"}, {"type": "Flush"}
    assert seen.messages == [speak | {"text": TEXT}, flush, speak | {"text": "And now?"}, flush]


@pytest.mark.parametrize(
    ("wishes", "model"),
    [
        ({"voice": "aura-2-zeus-en"}, "aura-2-zeus-en"),
        ({"voice": "zeus"}, "aura-2-zeus-en"),
        ({"voice": "aura-2-zeus-de"}, "aura-2-thalia-en"),
        ({"voice": "nobody"}, "aura-2-thalia-en"),
        ({"language": "de-AT"}, "aura-2-viktoria-de"),
        ({"language": "es_MX", "voice": "nobody"}, "aura-2-celeste-es"),
        ({"language": "fi"}, "aura-2-thalia-en"),
        ({"language": "de", "voice": "hector"}, "aura-2-hector-fr"),
    ],
)
async def test_the_voice_is_the_wished_one_or_one_of_the_language(wishes: dict[str, str], model: str) -> None:
    async with CASE.open() as (engine, fake):
        assert await sound_of(engine, **wishes)
        assert fake.seen[0].query["model"] == model


async def test_the_configured_voice_speaks_its_language_and_those_that_nobody_has() -> None:
    async with CASE.open(voice="luna") as (engine, fake):
        for language in ("en", "fi", "de"):
            await sound_of(engine, language=language)
        assert [s.query["model"] for s in fake.seen] == ["aura-2-luna-en", "aura-2-viktoria-de"]


async def test_speed_is_a_line_of_its_own_within_what_the_voices_take() -> None:
    async with CASE.open() as (engine, fake):
        for wishes in ({"speed": 2.0}, {"speed": 0.5}, {"speed": 2.0, "language": "de"}, {"speed": 1.0}):
            assert await sound_of(engine, **wishes)
        assert [s.query.get("speed") for s in fake.seen] == ["1.50", "0.70", None, None]


async def test_a_line_that_was_flushed_as_often_as_allowed_is_replaced_before_it_is_refused() -> None:
    async with CASE.open() as (engine, fake):
        for _ in range(FLUSHES + 1):
            assert await sound_of(engine, "Yes.")
        assert len(fake.said) == FLUSHES + 1
        assert len(fake.seen) == 2


async def test_a_barge_in_clears_hangs_up_and_has_the_next_line_open() -> None:
    async with CASE.open(Trouble(each_ms=20)) as (engine, fake):
        async with aclosing(engine.speak(SpeechRequest(TEXT * 20))) as stream:
            await anext(stream)
        async with asyncio.timeout(10):
            await fake.seen[0].closed.wait()
            while len(fake.seen) < 2:
                await asyncio.sleep(0.005)
        assert fake.seen[0].messages[-2:] == [{"type": "Clear"}, {"type": "Close"}]
        assert await sound_of(engine)
        assert len(fake.seen) == 2


async def test_a_warm_line_that_has_died_is_replaced_unheard() -> None:
    async with CASE.open(Trouble(after=0)) as (engine, fake):
        assert await sound_of(engine)
        assert len(fake.seen) == 2


async def test_a_refused_flush_is_a_quota_that_the_chain_knows_what_to_do_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.support.vendors.deepgram_speak.FLUSHES_A_MINUTE", 0)
    async with CASE.open() as (engine, _):
        with pytest.raises(TtsError, match="Too many Flush") as caught:
            await sound_of(engine)
    assert caught.value.kind is Failure.QUOTA


async def test_a_warned_of_text_without_sound_is_a_failure_that_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.support.vendors.deepgram_speak.LONGEST", 5)
    async with CASE.open() as (engine, _):
        with pytest.raises(TtsError, match="Text exceeds") as caught:
            await sound_of(engine)
    assert caught.value.kind is Failure.EMPTY


async def test_all_voices_are_on_offer_with_their_languages() -> None:
    async with CASE.open() as (engine, _):
        voices = engine.voices()
    assert len(voices) == len({v.id for v in voices}) == sum(len(n.split()) for n in SPEAKERS.values())
    assert {v.language for v in voices} == set(SPEAKERS)


def test_what_is_charged_for_is_the_generation() -> None:
    env = Env({"DEEPGRAM_API_KEY": "k"})
    assert plugins.build("tts", "deepgram", {}, env).model == "aura-2"
    assert plugins.build("tts", "deepgram", {"voice": "aura-asteria-en"}, env).model == "aura"


async def test_the_first_aura_can_be_chosen() -> None:
    async with CASE.open(voice="aura-asteria-en") as (engine, fake):
        assert await sound_of(engine)
        assert fake.seen[0].query["model"] == "aura-asteria-en"


def test_deepgram_needs_a_key_and_a_server_of_ones_own_does_not() -> None:
    with pytest.raises(MissingKey, match="DEEPGRAM_API_KEY"):
        plugins.build("tts", "deepgram", {}, Env())
    with pytest.raises(Unavailable, match="base_url"):
        plugins.build("tts", "deepgram", {"base_url": "localhost:1"}, Env())
    assert plugins.build("tts", "deepgram", {"base_url": "http://127.0.0.1:1"}, Env())
