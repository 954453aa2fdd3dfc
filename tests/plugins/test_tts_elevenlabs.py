"""What is particular to ElevenLabs: its socket's messages, its alignment, its complaints, its HTTP."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, MissingKey, SpeechRequest, SpokenWord, TtsError, Usage
from pipeline.lines import LineLost
from pipeline.plugins import PluginError
from pipeline.tts.elevenlabs_wire import Context, complaint
from pipeline.tts.spoken import WordTimes
from tests.support.tts_cases import VENDORS
from tests.support.vendors.elevenlabs_tts import ERIC, MODELS, SARAH
from tests.support.vendors.place import Trouble
from tests.support.vendors.sound import MS_PER_CHAR

CASE = VENDORS["elevenlabs"]
TEXT = "You have 3 appointments & a meeting."
SHORT = "Good morning."
WORDS = ["You", "have", "3", "appointments", "a", "meeting."]

pytestmark = pytest.mark.usefixtures("no_leaks")


async def spoken(engine: Any, text: str = TEXT, **wishes: Any) -> list[Any]:
    async with asyncio.timeout(10):
        return [item async for item in engine.speak(SpeechRequest(text, **wishes))]


def ms_of(items: list[Any]) -> float:
    return sum(len(item) for item in items if isinstance(item, bytes)) / 48


def words_of(items: list[Any], text: str = TEXT) -> dict[str, tuple[int, int]]:
    return {text[w.start : w.end]: (w.start_ms, w.end_ms) for w in items if isinstance(w, SpokenWord)}


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def http(*troubles: Trouble, **options: Any) -> Any:
    return CASE.open(*troubles, mode="http", **options)


async def failure_of(engine: Any, **wishes: Any) -> TtsError:
    with pytest.raises(TtsError) as caught:
        await spoken(engine, **wishes)
    return caught.value


# -- the socket -----------------------------------------------------------------------------------------


async def test_what_goes_over_the_socket() -> None:
    async with CASE.open(stability=0.4) as (engine, fake):
        items = await spoken(engine, SHORT, language="es-MX")
    (connection,) = fake.seen
    assert connection.path == f"/v1/text-to-speech/{SARAH}/multi-stream-input"
    assert connection.query == {
        "model_id": "eleven_flash_v2_5",
        "output_format": "pcm_24000",
        "auto_mode": "true",
        "sync_alignment": "true",
        "inactivity_timeout": "180",
        "language_code": "es",
    }
    name = connection.messages[0]["context_id"]
    assert connection.messages == [
        {"text": " ", "context_id": name, "voice_settings": {"stability": 0.4}},
        {"text": f"{SHORT} ", "context_id": name, "flush": True},
        {"context_id": name, "close_context": True},
    ]
    assert items[-1] == Usage(characters=len(SHORT))


async def test_a_language_goes_only_to_models_that_take_it() -> None:
    async with CASE.open(model="eleven_multilingual_v2") as (engine, fake):
        await spoken(engine, SHORT, language="es")
    async with CASE.open() as (engine, other):
        await spoken(engine, SHORT, language="xx")
    assert "language_code" not in fake.seen[0].query
    assert "language_code" not in other.seen[0].query


async def test_the_speed_is_kept_within_what_the_voice_can_and_does_not_change_on_a_socket() -> None:
    async with CASE.open(speed=0.9) as (engine, fake):
        for speed in (1.0, 2.0, 0.5, 1.0):
            assert ms_of(await spoken(engine, SHORT, speed=speed))
    speeds = [{m["voice_settings"]["speed"] for m in c.messages if "voice_settings" in m} for c in fake.seen]
    assert speeds == [{0.9}, {1.2}, {0.7}]


async def test_each_segment_is_a_context_and_a_reply_is_one_socket() -> None:
    async with CASE.open() as (engine, fake):
        for index in range(7):
            assert ms_of(await spoken(engine, SHORT, reply_id="r", index=index))
    assert len(fake.connections) == 1
    assert len({c.headers["context-id"] for c in fake.contexts}) == 7


async def test_words_have_the_times_of_their_letters() -> None:
    async with CASE.open() as (engine, _):
        items = await spoken(engine)
    assert list(words_of(items)) == WORDS
    for word in items:
        if isinstance(word, SpokenWord):
            assert abs(word.start_ms - word.start * MS_PER_CHAR) <= 1
            assert abs(word.end_ms - word.end * MS_PER_CHAR) <= 1


async def test_what_is_spelled_out_in_the_alignment_is_found() -> None:
    async with CASE.open() as (engine, fake):
        fake.spelled_out = True
        words = words_of(await spoken(engine))
    assert list(words) == WORDS
    at = TEXT.index("3") * MS_PER_CHAR
    assert abs(words["3"][0] - at) <= 1
    assert abs(words["appointments"][0] - TEXT.index("app") * MS_PER_CHAR) <= 1


# -- voices ---------------------------------------------------------------------------------------------


async def test_the_accounts_voices_are_listed_page_by_page() -> None:
    async with CASE.open() as (engine, _):
        await until(lambda: len(engine.voices()) == 2)
        assert [(v.id, v.name, v.gender, v.language) for v in engine.voices()] == [
            (SARAH, "Sarah", "female", "en"),
            (ERIC, "Eric", "male", "en"),
        ]


async def test_without_the_list_the_default_voice_is_the_list() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        await asyncio.sleep(0.05)
        assert [v.id for v in engine.voices()] == [SARAH]


async def test_a_voice_that_there_is_speaks_itself() -> None:
    async with CASE.open() as (engine, fake):
        assert ms_of(await spoken(engine, SHORT, voice=ERIC))
    assert [c.path.split("/")[3] for c in fake.seen] == [ERIC]


@pytest.mark.parametrize("mode", ["websocket", "http"])
async def test_a_voice_that_the_vendor_does_not_have_is_tried_once(mode: str) -> None:
    async with CASE.open(mode=mode) as (engine, fake):
        for _ in range(2):
            assert ms_of(await spoken(engine, SHORT, voice="x" * 20)) == len(SHORT) * MS_PER_CHAR
        asked = [seen.path.split("/")[3] for seen in fake.seen]
    assert asked.count("x" * 20) == 1
    assert SARAH in asked


async def test_another_plug_ins_voice_is_not_even_tried() -> None:
    async with CASE.open() as (engine, fake):
        assert ms_of(await spoken(engine, SHORT, voice="en-us+f3"))
    assert [c.path.split("/")[3] for c in fake.seen] == [SARAH]


async def test_a_configured_voice_that_there_is_not_is_named() -> None:
    async with CASE.open(voice="y" * 20) as (engine, _):
        error = await failure_of(engine)
    assert error.kind is Failure.BAD_REQUEST
    assert "[tts.elevenlabs] voice" in str(error)


# -- barge-in -------------------------------------------------------------------------------------------


@asynccontextmanager
async def interrupted(engine: Any, text: str) -> AsyncIterator[None]:
    """A listener goes away after the first sound."""
    async with aclosing(engine.speak(SpeechRequest(text))) as stream:
        async for item in stream:
            if isinstance(item, bytes):
                break
    yield


async def test_a_barge_in_closes_the_context_and_the_line_is_used_again() -> None:
    async with CASE.open(Trouble(each_ms=20)) as (engine, fake):
        async with interrupted(engine, TEXT * 5):
            await until(fake.contexts[0].closed.is_set)
        await asyncio.sleep(0.05)  # until the vendor's last word is here
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
        name = fake.contexts[0].headers["context-id"]
        closes = [m for m in fake.seen[0].messages if m == {"context_id": name, "close_context": True}]
    assert len(closes) == 2  # the one that ends every segment, and the barge-in's
    assert len(fake.connections) == 1


async def test_late_sound_of_a_context_never_reaches_the_next_segment() -> None:
    async with CASE.open(Trouble(each_ms=5)) as (engine, fake):
        fake.speaks_on = True
        async with interrupted(engine, TEXT * 2):
            assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
        assert len(fake.connections) == 2
        await until(lambda: fake.contexts[0].closed.is_set())


async def test_rapid_barge_ins_never_reach_the_limit_of_contexts() -> None:
    async with CASE.open(*[Trouble(each_ms=3)] * 12) as (engine, fake):
        fake.speaks_on = True
        for _ in range(12):
            async with interrupted(engine, TEXT * 3):
                pass
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR


async def test_a_line_that_died_while_it_was_idle_is_replaced_unheard() -> None:
    async with CASE.open(Trouble(), Trouble(after=0)) as (engine, fake):
        assert ms_of(await spoken(engine, SHORT))
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR
    assert len(fake.connections) == 2


# -- complaints -----------------------------------------------------------------------------------------


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
async def test_complaints_inside_the_socket_have_their_kind(status: int, kind: Failure) -> None:
    async with CASE.open(Trouble(after=0, status=status, message="so it is")) as (engine, _):
        error = await failure_of(engine)
    assert error.kind is kind
    assert "so it is" in str(error)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Maximum simultaneous contexts exceeded max_active_conversations", Failure.QUOTA),
        ("We are sorry, something went wrong. You are not charged for this request.", Failure.TRANSIENT),
        ("A voice with voice_id abc does not exist.", Failure.BAD_REQUEST),
        ("This request exceeds your quota.", Failure.QUOTA),
    ],
)
def test_what_it_is_known_to_have_said(words: str, kind: Failure) -> None:
    assert complaint(words).kind is kind


def context() -> Context:
    return Context("mine", SHORT, {}, WordTimes(SHORT))


def test_a_socket_that_was_idle_for_too_long_is_only_lost() -> None:
    assert context().lost(LineLost(1008, "input_timeout_exceeded")) is None
    assert context().lost(LineLost(1006, "")) is None
    refused = context().lost(LineLost(1008, "invalid_api_key"))
    assert refused is not None
    assert refused.kind is Failure.AUTH


def test_both_spellings_of_the_end_are_understood_and_other_contexts_are_not_ours() -> None:
    audio = base64.b64encode(b"\1\0" * 480).decode()
    for final in ({"isFinal": True, "contextId": "mine"}, {"is_final": True, "context_id": "mine"}):
        wire = context()
        assert wire.heard(json.dumps({"audio": audio, "contextId": "another"})) == ()
        assert list(wire.heard(json.dumps({"audio": audio, "contextId": "mine", "alignment": None}))) == [
            b"\1\0" * 480
        ]
        assert list(wire.heard(json.dumps(final))) == [Usage(characters=len(SHORT))]
        assert wire.ended


def test_times_that_run_ahead_of_their_sound_follow_on_each_other() -> None:
    wire = Context("mine", "one two", {}, WordTimes("one two"))
    audio = base64.b64encode(b"\1\0" * 2400).decode()  # 100 ms

    def hear(chars: str) -> None:
        times = {
            "chars": list(chars),
            "charStartTimesMs": [100 * i for i in range(len(chars))],
            "charDurationsMs": [100] * len(chars),
        }
        wire.heard(json.dumps({"audio": audio, "contextId": "mine", "alignment": times}))

    hear("one ")
    hear("two")
    for _ in range(4):  # 600 ms: the last word's sound is not all there before the end
        wire.heard(json.dumps({"audio": audio, "contextId": "mine"}))
    assert SpokenWord(4, 7, 400, 600) in wire.heard(json.dumps({"isFinal": True, "contextId": "mine"}))


# -- HTTP -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
async def test_over_http_words_have_their_times_too(relative: bool) -> None:
    async with http() as (engine, fake):
        fake.relative_times = relative
        items = await spoken(engine)
    assert ms_of(items) == len(TEXT) * MS_PER_CHAR
    assert list(words_of(items)) == WORDS
    for word in items:
        if isinstance(word, SpokenWord):
            assert abs(word.start_ms - word.start * MS_PER_CHAR) <= 1
    assert items[-1] == Usage(characters=len(TEXT))


async def test_over_http_a_segment_knows_what_its_reply_said_before() -> None:
    async with http(similarity_boost=0.5) as (engine, fake):
        await spoken(engine, "One.", reply_id="r1", index=0)
        await spoken(engine, "Two.", reply_id="r1", index=1)
        await spoken(engine, "Three.", reply_id="r1", index=2, speed=1.1, language="de")
        await spoken(engine, "Four.", reply_id="r2", index=0)
    bodies = [seen.json for seen in fake.seen]
    assert bodies[2] == {
        "text": "Three.",
        "model_id": "eleven_flash_v2_5",
        "previous_text": "One. Two.",
        "voice_settings": {"similarity_boost": 0.5, "speed": 1.1},
        "language_code": "de",
    }
    assert [body.get("previous_text") for body in bodies] == [None, "One.", "One. Two.", None]
    assert {seen.query["output_format"] for seen in fake.seen} == {"pcm_24000"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Failure.AUTH), (429, Failure.QUOTA), (422, Failure.BAD_REQUEST), (503, Failure.TRANSIENT)],
)
async def test_over_http_refusals_have_their_kind_and_are_not_tried_again(status: int, kind: Failure) -> None:
    async with http(Trouble(status=status, retry_after="3", message="so it is")) as (engine, fake):
        error = await failure_of(engine)
    assert error.kind is kind
    assert "so it is" in str(error)
    assert len(fake.seen) == 1
    assert error.retry_after_s == (3.0 if kind in (Failure.QUOTA, Failure.TRANSIENT) else None)


async def test_over_http_a_cut_comes_after_what_was_said() -> None:
    async with http(Trouble(after=3)) as (engine, _):
        heard: list[Any] = []

        async def listen() -> None:
            async for item in engine.speak(SpeechRequest(TEXT)):
                heard.append(item)

        with pytest.raises(TtsError) as caught:
            await listen()
    assert caught.value.kind is Failure.TRANSIENT
    assert ms_of(heard) == 300


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_over_http_a_barge_in_hangs_up(how: str) -> None:
    async with http(Trouble(each_ms=20)) as (engine, fake):
        started = asyncio.Event()

        async def listen() -> None:
            async with aclosing(engine.speak(SpeechRequest(TEXT * 20))) as stream:
                async for item in stream:
                    if isinstance(item, bytes):
                        started.set()
                        if how == "closed":
                            return

        listening = asyncio.create_task(listen())
        await asyncio.wait_for(started.wait(), 10)
        if how == "cancelled":
            listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await until(fake.seen[0].closed.is_set)
        assert ms_of(await spoken(engine, SHORT)) == len(SHORT) * MS_PER_CHAR


async def test_over_http_success_without_sound_is_no_sound() -> None:
    async with http(Trouble(empty=True)) as (engine, _):
        assert ms_of(await spoken(engine)) == 0


async def test_over_http_a_connection_is_opened_ahead_of_need() -> None:
    async with http() as (engine, fake):
        await until(lambda: len(engine.voices()) == 2 and not engine._tasks)
        engine.prepare()
        await until(lambda: not engine._tasks)
        assert [seen.path for seen in fake.seen] == ["/v1/models"]
        for _ in range(2):
            assert ms_of(await spoken(engine, SHORT))
        assert len(fake.connections) == 1


# -- set-up ---------------------------------------------------------------------------------------------


async def test_a_probe_names_the_models_that_there_are() -> None:
    async with CASE.open(model="eleven_flash_v3") as (engine, _):
        with pytest.raises(TtsError) as caught:
            await engine.probe()
    assert caught.value.kind is Failure.BAD_REQUEST
    assert all(model in str(caught.value) for model in MODELS)
    assert "eleven_english_sts_v2" not in str(caught.value)


def test_without_a_key_one_is_told_which() -> None:
    with pytest.raises(MissingKey, match="ELEVENLABS_API_KEY"):
        plugins.build("tts", "elevenlabs", {}, Env())


def test_a_server_of_ones_own_needs_no_key() -> None:
    engine = plugins.build("tts", "elevenlabs", {"base_url": "http://localhost:9"}, Env())
    assert engine.model == "eleven_flash_v2_5"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"speed": 1.5}, "speed"),
        ({"stability": 2.0}, "stability"),
        ({"base_url": "api.elevenlabs.io"}, "base_url"),
        ({"model": "eleven_v3"}, 'mode = "http"'),
        ({"mode": "carrier pigeon"}, "mode"),
    ],
)
def test_options_that_cannot_be_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(PluginError, match=told):
        plugins.build("tts", "elevenlabs", values, Env({"ELEVENLABS_API_KEY": "k"}))
