"""What is particular to ElevenLabs' Scribe: segments, commits that need enough audio, and word times."""

import asyncio
import base64
import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins, vendor
from pipeline.contracts import Env, Failure, MissingKey, SttError, Transcript
from pipeline.lines import LineLost
from pipeline.stt.elevenlabs import FAILURES, WORN_OUT, SegmentWire, Session, audio_bytes, chunk
from tests.support.speech import clip
from tests.support.stt_cases import VENDORS
from tests.support.vendors.elevenlabs_scribe import Scribe
from tests.support.vendors.place import KEY, Trouble
from tests.support.vendors.sound import Ear

pytestmark = pytest.mark.usefixtures("no_leaks")

CASE = VENDORS["elevenlabs"]
SPEECH = clip("goforward.wav")[: 2400 * 32]
HALF = 1500 * 32  # two of its four words
SILENCE_MS = 180


async def everything(utterance: Any) -> list[Transcript]:
    async with asyncio.timeout(10):
        return [t async for t in utterance.transcripts()]


async def spoken(engine: Any, pcm: bytes = SPEECH, **how: Any) -> Transcript:
    utterance = engine.open(**how)
    utterance.feed(pcm)
    utterance.finish(SILENCE_MS)
    transcripts = await everything(utterance)
    await utterance.aclose()
    return transcripts[-1]


async def until_settled(reader: Any) -> Transcript:
    async with asyncio.timeout(10):
        async for transcript in reader:
            if transcript.settled:
                assert isinstance(transcript, Transcript)
                return transcript
    raise AssertionError("nothing was settled")


async def in_two_halves(engine: Any) -> tuple[Transcript, list[Transcript]]:
    """What was settled after the first half, and all that came after it."""
    utterance = engine.open()
    reader = utterance.transcripts()
    utterance.feed(SPEECH[:HALF])
    utterance.settle(SILENCE_MS)
    settled = await until_settled(reader)
    async with asyncio.timeout(10):
        utterance.feed(SPEECH[HALF:])
        utterance.finish(SILENCE_MS)
        rest = [t async for t in reader]
    await utterance.aclose()
    return settled, rest


def commits(fake: Scribe) -> int:
    return sum(m == {"commit": True} for seen in fake.seen for m in seen.messages)


async def test_a_session_is_opened_and_fed_as_documented() -> None:
    async with CASE.open() as (engine, fake):
        assert (await spoken(engine, language="de-AT")).text == "go forward ten meters"
        [seen] = fake.seen
        assert (seen.path, seen.headers["xi-api-key"]) == ("/v1/speech-to-text/realtime", KEY)
        assert dict(seen.query) == {
            "model_id": "scribe_v2_realtime",
            "audio_format": "pcm_16000",
            "commit_strategy": "manual",
            "include_timestamps": "false",
            "language_code": "de",
        }
        assert seen.audio == SPEECH
        assert commits(fake) == 1


async def test_speech_after_a_settled_text_goes_on_from_it() -> None:
    async with CASE.open() as (engine, fake):
        settled, rest = await in_two_halves(engine)
        assert settled.text == "go forward"
        assert [t.text for t in rest if not t.text.startswith("go forward")] == []
        assert rest[-1].text == "go forward ten meters"
        assert (commits(fake), len(fake.seen)) == (2, 1)


async def test_the_final_after_a_settled_text_and_silence_commits_nothing() -> None:
    async with CASE.open() as (engine, fake):
        utterance = engine.open()
        reader = utterance.transcripts()
        utterance.feed(SPEECH)
        utterance.settle(SILENCE_MS)
        settled = await until_settled(reader)
        utterance.feed(bytes(200 * 32))
        utterance.finish(SILENCE_MS + 200)
        final = await anext(reader)
        assert (final.text, final.final) == (settled.text, True)
        assert commits(fake) == 1
        await utterance.aclose()


async def test_a_turn_that_ends_with_its_settled_text_leaves_the_connection_to_the_next() -> None:
    async with CASE.open() as (engine, fake):
        for _ in range(3):
            utterance = engine.open()
            reader = utterance.transcripts()
            utterance.feed(SPEECH)
            utterance.settle(SILENCE_MS)
            await until_settled(reader)
            utterance.feed(bytes(100 * 32))
            await utterance.aclose()
        assert len(fake.seen) == 1
        assert (await spoken(engine)).text == "go forward ten meters"


@pytest.mark.parametrize("ms", [20, 240, 700, 1990])
async def test_a_short_utterance_is_filled_up_with_silence(ms: int) -> None:
    async with CASE.open() as (engine, fake):
        final = await spoken(engine, bytes(ms * 32))
        assert (final.text, final.final) == ("", True)
        assert len(fake.seen[0].audio) == 2000 * 32
        assert {"commit": True} in fake.seen[0].messages


async def test_a_pause_soon_after_a_pause_is_not_refused() -> None:
    async with CASE.open() as (engine, fake):
        utterance = engine.open()
        for pcm in (SPEECH, bytes(100 * 32), bytes(40 * 32)):
            utterance.feed(pcm)
            utterance.settle(0)
        utterance.finish(0)
        assert (await everything(utterance))[-1].text == "go forward ten meters"
        await utterance.aclose()
        assert commits(fake) == 3


async def test_a_long_utterance_is_committed_before_the_vendor_does_it() -> None:
    async with CASE.open() as (engine, fake):
        # The fake commits by itself after 90 s; that answer would be taken for ours.
        final = await spoken(engine, SPEECH + bytes(90_000 * 32) + SPEECH)
        assert final.text == "go forward ten meters go forward ten meters"
        assert commits(fake) == 2


@pytest.mark.parametrize("from_segment", [False, True])
async def test_word_times_are_the_utterances_own_however_the_vendor_counts(from_segment: bool) -> None:
    ear = Ear()
    ear.hear(SPEECH)
    case = replace(CASE, fake=partial(Scribe, from_segment=from_segment))
    async with case.open(word_times=True) as (engine, fake):
        await spoken(engine)
        _, rest = await in_two_halves(engine)
        assert len(fake.seen) == 1  # over the same line
        assert [w.text for w in rest[-1].words] == ear.words
        for word, end_ms in zip(rest[-1].words, ear.ends_ms, strict=True):
            assert abs(word.end_ms - end_ms) <= 120  # the fake goes on counting loud frames
        assert rest[-1].language == "en"


async def test_hints_are_cut_to_what_the_vendor_takes() -> None:
    async with CASE.open(keyterms=["Parley"]) as (engine, fake):
        hints = ("Zürich", "a\nb", "x" * 60, *(f"term {i}" for i in range(60)))
        await spoken(engine, hints=hints)
        terms = [v for k, v in fake.seen[0].query.items() if k == "keyterms"]
        assert terms == ["term 45"]  # the fake keeps the last of a repeated key: the fiftieth
        await spoken(engine, hints=())
        assert len(fake.seen) == 2


async def failing(engine: Any) -> SttError:
    with pytest.raises(SttError) as caught:
        await spoken(engine)
    return caught.value


async def probed(engine: Any) -> SttError:
    with pytest.raises(SttError) as caught:
        await engine.probe()
    return caught.value


async def test_a_wrong_key_names_the_variable() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        for error in (await failing(engine), await probed(engine)):
            assert error.kind is Failure.AUTH
            assert "ELEVENLABS_API_KEY" in str(error)
    async with CASE.open(Trouble(status=401)) as (engine, _):
        error = await failing(engine)
        assert error.kind is Failure.AUTH
        assert "ELEVENLABS_API_KEY" in str(error)


async def test_an_unknown_model_is_named() -> None:
    async with CASE.open(model="scribe_v9") as (engine, _):
        for error in (await failing(engine), await probed(engine)):
            assert error.kind is Failure.BAD_REQUEST
            assert "[stt.elevenlabs] model" in str(error)
            assert "scribe_v2_realtime" in str(error)


async def test_a_probe_opens_a_session_and_says_nothing() -> None:
    async with CASE.open() as (engine, fake):
        await engine.probe()
        [seen] = fake.seen
        await asyncio.wait_for(seen.closed.wait(), 5)
        assert seen.messages == []


async def test_a_server_that_hangs_up_in_mid_utterance_is_tried_again() -> None:
    async with CASE.open(Trouble(after=1)) as (engine, fake):
        assert (await spoken(engine)).text == "go forward ten meters"
        assert len(fake.seen) == 2
        assert fake.seen[1].audio == SPEECH


def test_the_key_is_needed_unless_the_server_is_ones_own() -> None:
    with pytest.raises(MissingKey, match="ELEVENLABS_API_KEY"):
        plugins.build("stt", "elevenlabs", {}, Env())
    assert plugins.build("stt", "elevenlabs", {"base_url": "ws://localhost:1"}, Env()).model


async def test_the_vendors_own_client_understands_the_fake() -> None:
    pytest.importorskip("elevenlabs")
    realtime = await vendor.load("elevenlabs.realtime.scribe", "elevenlabs")
    heard: asyncio.Queue[Any] = asyncio.Queue()
    async with Scribe().serving() as fake:
        connection = await realtime.ScribeRealtime(KEY, fake.ws_url).connect(
            {
                "model_id": "scribe_v2_realtime",
                "audio_format": realtime.AudioFormat.PCM_16000,
                "sample_rate": 16_000,
                "include_timestamps": True,
            }
        )
        connection.on("committed_transcript_with_timestamps", heard.put_nowait)
        for at in range(0, len(SPEECH), 16_000):
            audio = base64.b64encode(SPEECH[at : at + 16_000]).decode()
            await connection.send({"audio_base_64": audio})
        await connection.commit()
        said = await asyncio.wait_for(heard.get(), 5)
        await connection.close()
    assert said["text"] == "go forward ten meters"
    assert [w["text"] for w in said["words"] if w["type"] == "word"] == said["text"].split()


# -- the wire alone ---------------------------------------------------------------------------------------


def new_wire() -> SegmentWire:
    return SegmentWire(Session(None), False)  # type: ignore[arg-type]  # nothing is sent


@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_every_error_message_has_its_kind(kind: str) -> None:
    with pytest.raises(SttError, match="those are the words") as caught:
        new_wire().heard(json.dumps({"message_type": kind, "error": "those are the words"}))
    assert caught.value.kind is FAILURES[kind][0]


@pytest.mark.parametrize("kind", WORN_OUT)
def test_a_line_that_was_kept_too_long_is_replaced(kind: str) -> None:
    wire = new_wire()
    with pytest.raises(LineLost) as caught:
        wire.heard(json.dumps({"message_type": kind, "error": "no audio"}))
    assert wire.lost(caught.value) is None


def test_what_nobody_asked_for_is_still_about_the_utterance_before() -> None:
    wire = new_wire()
    assert wire.heard('{"message_type":"committed_transcript","text":"old"}') == ()
    assert wire.heard('{"message_type":"partial_transcript","text":"old"}') == ()


def test_a_refused_commit_is_an_answer() -> None:
    wire = new_wire()
    wire.audio(bytes(6400))
    wire.finish(0)
    [final] = wire.heard('{"message_type":"commit_throttled","error":"only 0.01s"}')
    assert (final.text, final.final) == ("", True)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"message_type":"partial_transcript"}'])
def test_what_is_not_documented_is_an_error_not_a_crash(text: str) -> None:
    with pytest.raises(SttError):
        new_wire().heard(text)


@given(st.binary(max_size=200), st.booleans())
def test_a_chunk_is_json_and_its_audio_is_counted(pcm: bytes, commit: bool) -> None:
    message = chunk(pcm, commit=commit)
    assert json.loads(message) == {
        "message_type": "input_audio_chunk",
        "audio_base_64": base64.b64encode(pcm).decode(),
        "commit": commit,
        "sample_rate": 16_000,
    }
    assert audio_bytes(message) == len(pcm)
