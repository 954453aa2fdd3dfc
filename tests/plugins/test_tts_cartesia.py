"""What is particular to Cartesia: its contexts, its word times, its errors, its voices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, MissingKey, SpeechRequest, SpokenWord, TtsError, Usage
from pipeline.plugins import PluginError
from tests.support.tts_cases import VENDORS
from tests.support.vendors.cartesia import JAMESON, KATIE
from tests.support.vendors.place import KEY, Trouble
from tests.support.vendors.sound import MS_PER_CHAR

CASE = VENDORS["cartesia"]
TEXT = "You have 3 appointments & a meeting."
SHORT = "Good morning."
NOBODY = "00000000-0000-4000-8000-000000000000"

pytestmark = pytest.mark.usefixtures("no_leaks")


async def spoken(engine: Any, text: str = TEXT, **wishes: Any) -> list[Any]:
    async with asyncio.timeout(10):
        return [item async for item in engine.speak(SpeechRequest(text, **wishes))]


def ms_of(items: list[Any]) -> float:
    return sum(len(item) for item in items if isinstance(item, bytes)) / 48


def words_of(items: list[Any]) -> list[SpokenWord]:
    return [item for item in items if isinstance(item, SpokenWord)]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def failure_of(engine: Any, **wishes: Any) -> TtsError:
    with pytest.raises(TtsError) as caught:
        await spoken(engine, **wishes)
    return caught.value


@asynccontextmanager
async def interrupted(engine: Any, text: str) -> AsyncIterator[None]:
    """A listener goes away after the first sound."""
    async with aclosing(engine.speak(SpeechRequest(text))) as stream:
        async for item in stream:
            if isinstance(item, bytes):
                break
    yield


# -- the socket -----------------------------------------------------------------------------------------


async def test_what_goes_over_the_socket() -> None:
    async with CASE.open() as (engine, fake):
        items = await spoken(engine, SHORT, language="es-MX", speed=1.2)
    (connection,) = fake.seen
    assert connection.path == "/tts/websocket"
    assert connection.headers["cartesia-version"] == "2026-03-01"
    assert connection.headers["authorization"] == f"Bearer {KEY}"
    (request,) = connection.messages
    assert request == {
        "model_id": "sonic-3",
        "transcript": SHORT,
        "voice": {"mode": "id", "id": KATIE},
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000},
        "add_timestamps": True,
        "continue": False,
        "language": "es",
        "generation_config": {"speed": 1.2},
        "context_id": request["context_id"],
    }
    assert items[-1] == Usage(characters=len(SHORT))


async def test_what_the_model_may_not_know_is_left_out() -> None:
    async with CASE.open(model="sonic-2") as (engine, fake):
        await spoken(engine, SHORT, language="xx")
    assert {"language", "generation_config"}.isdisjoint(json.loads(fake.contexts[0].body))


async def test_the_speed_is_kept_within_what_the_voice_can() -> None:
    async with CASE.open(speed=1.2) as (engine, fake):
        for speed in (2.0, 0.5):
            assert ms_of(await spoken(engine, SHORT, speed=speed))
    assert [json.loads(c.body)["generation_config"]["speed"] for c in fake.contexts] == [1.5, 0.6]


async def test_each_segment_is_a_context_and_a_reply_is_one_socket() -> None:
    async with CASE.open() as (engine, fake):
        for index in range(4):
            assert ms_of(await spoken(engine, SHORT, reply_id="r", index=index))
    assert len(fake.connections) == 1
    assert len({json.loads(c.body)["context_id"] for c in fake.contexts}) == 4


@pytest.mark.parametrize("spelled_out", [False, True])
async def test_words_have_the_times_that_the_vendor_tells(spelled_out: bool) -> None:
    async with CASE.open() as (engine, fake):
        fake.spelled_out = spelled_out
        items = await spoken(engine)
    words = words_of(items)
    assert [TEXT[w.start : w.end] for w in words] == ["You", "have", "3", "appointments", "a", "meeting."]
    for word in words:
        assert abs(word.start_ms - word.start * MS_PER_CHAR) <= 1
        assert abs(word.end_ms - word.end * MS_PER_CHAR) <= 1


async def test_a_word_is_told_no_sooner_than_its_sound() -> None:
    async with CASE.open() as (engine, _):
        sound_ms = 0.0
        for item in await spoken(engine):
            if isinstance(item, bytes):
                sound_ms += ms_of([item])
            elif isinstance(item, SpokenWord):
                assert item.end_ms <= sound_ms


# -- voices ---------------------------------------------------------------------------------------------


async def test_the_voices_are_listed_page_by_page() -> None:
    async with CASE.open() as (engine, _):
        await until(lambda: len(engine.voices()) == 2)
        assert [(v.id, v.name, v.gender) for v in engine.voices()] == [
            (KATIE, "Katie", "female"),
            (JAMESON, "Jameson", ""),
        ]


async def test_without_the_list_the_default_voice_is_the_list() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        await asyncio.sleep(0.05)
        assert [v.id for v in engine.voices()] == [KATIE]


async def test_a_voice_that_the_vendor_does_not_have_is_tried_once() -> None:
    async with CASE.open() as (engine, fake):
        for wish in (NOBODY, NOBODY, "en-us+f3", JAMESON):
            assert ms_of(await spoken(engine, SHORT, voice=wish)) == len(SHORT) * MS_PER_CHAR
    asked = [json.loads(c.body)["voice"]["id"] for c in fake.contexts]
    assert asked == [NOBODY, KATIE, KATIE, KATIE, JAMESON]
    assert len(fake.connections) == 1  # a refused context does not cost the line


# -- barge-in -------------------------------------------------------------------------------------------


async def test_a_barge_in_cancels_the_context_and_the_line_is_used_again() -> None:
    async with CASE.open(Trouble(each_ms=20)) as (engine, fake):
        async with interrupted(engine, TEXT * 5):
            await until(fake.contexts[0].closed.is_set)
        await asyncio.sleep(0.05)  # until the vendor's last word is here
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
        name = json.loads(fake.contexts[0].body)["context_id"]
        assert {"context_id": name, "cancel": True} in fake.seen[0].messages
    assert len(fake.connections) == 1


async def test_late_sound_of_a_context_never_reaches_the_next_segment() -> None:
    async with CASE.open(Trouble(each_ms=5)) as (engine, fake):
        fake.speaks_on = True
        async with interrupted(engine, TEXT * 2):
            assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
        assert len(fake.connections) == 2  # the first one is not lent before it is silent
        await asyncio.sleep(0.3)
        for _ in range(2):
            assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
        assert len(fake.connections) == 2


async def test_a_line_that_died_while_it_was_idle_is_replaced_unheard() -> None:
    async with CASE.open(Trouble(), Trouble(after=0)) as (engine, fake):
        assert ms_of(await spoken(engine, SHORT))
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
    assert len(fake.connections) == 2


async def test_a_listener_who_takes_his_time_does_not_stall_the_vendor() -> None:
    async with CASE.open() as (engine, fake):
        async with aclosing(engine.speak(SpeechRequest(TEXT * 20))) as stream:
            heard = [await anext(stream)]
            await until(fake.contexts[0].closed.is_set)  # all was sent, and the line is free
            heard += [item async for item in stream]
        assert ms_of(heard) == len(TEXT) * 20 * MS_PER_CHAR


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Failure.AUTH),
        (402, Failure.QUOTA),
        (429, Failure.QUOTA),
        (400, Failure.BAD_REQUEST),
        (500, Failure.TRANSIENT),
    ],
)
async def test_errors_of_a_context_have_their_kind_and_the_line_lives_on(status: int, kind: Failure) -> None:
    async with CASE.open(Trouble(after=0, status=status, message="so it is")) as (engine, fake):
        error = await failure_of(engine)
        assert error.kind is kind
        assert "so it is" in str(error)
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
    assert len(fake.connections) == 1


async def test_a_model_that_there_is_not_is_named() -> None:
    async with CASE.open(model="sonic-99") as (engine, _):
        error = await failure_of(engine)
    assert error.kind is Failure.BAD_REQUEST
    assert "[tts.cartesia] model" in str(error)


# -- set-up ---------------------------------------------------------------------------------------------


def test_without_a_key_one_is_told_which() -> None:
    with pytest.raises(MissingKey, match="CARTESIA_API_KEY"):
        plugins.build("tts", "cartesia", {}, Env())


def test_a_server_of_ones_own_needs_no_key() -> None:
    assert plugins.build("tts", "cartesia", {"base_url": "http://localhost:9"}, Env()).model == "sonic-3"


@pytest.mark.parametrize(("values", "told"), [({"speed": 2.0}, "speed"), ({"base_url": "x.ai"}, "base_url")])
def test_options_that_cannot_be_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(PluginError, match=told):
        plugins.build("tts", "cartesia", values, Env({"CARTESIA_API_KEY": "k"}))
