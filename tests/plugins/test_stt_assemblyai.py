"""What is particular to AssemblyAI: sessions that are billed while open, turns, and `ForceEndpoint`."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline import plugins, vendor
from pipeline.contracts import Env, Failure, MissingKey, SttError, Transcript, Word
from pipeline.lines import LineLost
from pipeline.stt.assemblyai import FORCE, TERMINATE, Session, SessionWire
from tests.support.speech import clip
from tests.support.stt_cases import VENDORS
from tests.support.vendors.assemblyai import AssemblyAi
from tests.support.vendors.place import KEY, Trouble

pytest.importorskip("assemblyai")
pytestmark = pytest.mark.usefixtures("no_leaks")

CASE = VENDORS["assemblyai"]
SPEECH = clip("goforward.wav")[: 2400 * 32]
HALF = 1500 * 32  # two of its four words
SILENCE_MS = 180


async def everything(utterance: Any) -> list[Transcript]:
    async with asyncio.timeout(10):
        return [t async for t in utterance.transcripts()]


async def spoken(engine: Any, pcm: bytes = SPEECH, **how: Any) -> Transcript:
    """As in a talk: partials have come by the time the speech is over."""
    utterance = engine.open(**how)
    reader = utterance.transcripts()
    utterance.feed(pcm)
    async with asyncio.timeout(10):
        async for transcript in reader:
            if len(transcript.text.split()) >= 4 or transcript.final:
                break
        utterance.finish(SILENCE_MS)
        transcripts = [t async for t in reader]
    await utterance.aclose()
    final = transcripts[-1]
    assert isinstance(final, Transcript)
    return final


async def spoken_at_once(engine: Any, pcm: bytes) -> Transcript:
    """As after a failure elsewhere: all of it is there before anything was understood."""
    utterance = engine.open()
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


def orders(fake: AssemblyAi, index: int = 0) -> list[str]:
    return [m["type"] for m in fake.seen[index].messages if isinstance(m, dict)]


async def test_a_session_is_opened_as_documented_and_fed_in_messages_of_50_to_1000_ms() -> None:
    async with CASE.open() as (engine, fake):
        assert (await spoken(engine)).text == "go forward ten meters"
        [seen] = fake.seen
        assert seen.path == "/v3/ws"
        assert seen.headers["authorization"] == KEY
        assert dict(seen.query) == {
            "sample_rate": "16000",
            "encoding": "pcm_s16le",
            "speech_model": "universal-streaming-english",
            "format_turns": "false",
            "end_of_turn_confidence_threshold": "1.0",
            "min_turn_silence": "5000",
            "max_turn_silence": "5000",
        }
        sounds = [m for m in seen.messages if isinstance(m, bytes)]
        assert all(50 * 32 <= len(m) <= 1000 * 32 for m in sounds)
        assert seen.audio.startswith(SPEECH)
        assert orders(fake) == ["ForceEndpoint"]


async def test_speech_after_a_settled_text_goes_on_from_it() -> None:
    async with CASE.open() as (engine, fake):
        utterance = engine.open()
        reader = utterance.transcripts()
        utterance.feed(SPEECH[:HALF])
        utterance.settle(SILENCE_MS)
        settled = await until_settled(reader)
        assert settled.text == "go forward"
        utterance.feed(SPEECH[HALF:])
        rest = [await asyncio.wait_for(anext(reader), 5)]
        utterance.finish(SILENCE_MS)
        rest += [t async for t in reader]
        assert [t.text for t in rest if not t.text.startswith("go forward")] == []
        assert rest[-1].text == "go forward ten meters"
        assert orders(fake) == ["ForceEndpoint", "ForceEndpoint"]
        await utterance.aclose()


async def test_the_final_after_a_settled_text_and_silence_needs_no_answer() -> None:
    async with CASE.open() as (engine, fake):
        utterance = engine.open()
        reader = utterance.transcripts()
        utterance.feed(SPEECH)
        utterance.settle(SILENCE_MS)
        settled = await until_settled(reader)
        utterance.feed(bytes(200 * 32))
        utterance.finish(SILENCE_MS + 200)
        final = await anext(reader)
        assert (final.text, final.words, final.final) == (settled.text, settled.words, True)
        assert orders(fake) == ["ForceEndpoint"]
        await utterance.aclose()


async def test_a_session_serves_several_utterances_and_each_has_its_own_words_and_times() -> None:
    async with CASE.open() as (engine, fake):
        first, second = await spoken(engine), await spoken(engine)
        assert len(fake.seen) == 1
        assert first.text == second.text == "go forward ten meters"
        for word, again in zip(first.words, second.words, strict=True):
            assert word.text == again.text
            assert abs(word.start_ms - again.start_ms) <= 120  # the fake goes on counting loud frames
        assert [w.text for w in first.words] == ["go", "forward", "ten", "meters"]
        assert first.words[-1].end_ms <= 2400


async def test_silence_ends_the_session_because_nothing_else_would_be_answered() -> None:
    async with CASE.open() as (engine, fake):
        assert (await spoken_at_once(engine, bytes(32_000))).text == ""
        assert orders(fake) == ["Terminate"]
        assert (await spoken(engine)).text == "go forward ten meters"
        assert len(fake.seen) == 2


async def test_a_long_silence_that_the_vendor_takes_for_the_end_is_not() -> None:
    async with CASE.open() as (engine, _):
        pcm = SPEECH[:HALF] + bytes(6000 * 32) + SPEECH[HALF:]
        assert (await spoken_at_once(engine, pcm)).text == "go forward ten meters"
        assert (await spoken(engine, pcm)).text == "go forward ten meters"


async def test_a_turn_that_ends_with_its_settled_text_leaves_the_session_to_the_next() -> None:
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


async def test_formatted_text_is_waited_for_when_it_was_asked_for() -> None:
    async with CASE.open(format_turns=True) as (engine, fake):
        assert fake.seen == []
        for _ in range(2):
            assert (await spoken(engine)).text == "Go forward ten meters."
        assert len(fake.seen) == 1


async def test_hints_are_sent_when_they_change() -> None:
    async with CASE.open(keyterms=["Parley"]) as (engine, fake):
        for hints in ((), ("Zürich", "a" * 80), ("Zürich", "a" * 80), ()):
            await spoken(engine, hints=hints)
        [seen] = fake.seen
        assert json.loads(seen.query["keyterms_prompt"]) == ["Parley"]
        updates = [m for m in seen.messages if isinstance(m, dict) and m["type"] == "UpdateConfiguration"]
        assert [u["keyterms_prompt"] for u in updates] == [["Parley", "Zürich", "a" * 50], ["Parley"]]


async def test_the_english_model_gives_way_where_english_is_not_spoken() -> None:
    async with CASE.open() as (engine, fake):
        await spoken(engine, language="en-GB")
        await spoken(engine, language="es-MX")
        models = [s.query["speech_model"] for s in fake.seen]
        assert models == ["universal-streaming-english", "universal-streaming-multilingual"]
        assert fake.seen[1].query["language_detection"] == "true"


async def test_a_session_that_nobody_wants_is_terminated_soon() -> None:
    async with CASE.open(idle_s=0.05) as (engine, fake):
        engine.prepare()
        async with asyncio.timeout(5):
            while not fake.seen:
                await asyncio.sleep(0.01)
            await fake.seen[0].closed.wait()
        assert orders(fake) == ["Terminate"]


async def test_an_utterance_that_is_given_up_ends_its_session_at_once() -> None:
    async with CASE.open() as (engine, fake):
        utterance = engine.open()
        reader = utterance.transcripts()
        utterance.feed(SPEECH)
        await asyncio.wait_for(anext(reader), 5)
        await utterance.aclose()
        await asyncio.wait_for(fake.seen[0].closed.wait(), 5)
        assert orders(fake)[-1] == "Terminate"


async def failing(engine: Any) -> SttError:
    with pytest.raises(SttError) as caught:
        await spoken(engine)
    return caught.value


async def test_a_wrong_key_names_the_variable() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        error = await failing(engine)
        assert error.kind is Failure.AUTH
        assert "ASSEMBLYAI_API_KEY" in str(error)
        assert "1008" in str(error)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "Unauthorized Connection: Missing Authorization header", Failure.AUTH),
        (402, "Unauthorized Connection: insufficient account balance", Failure.QUOTA),
        (429, "Unauthorized Connection: Too many concurrent sessions", Failure.QUOTA),
        (400, "Invalid Message: []", Failure.BAD_REQUEST),
    ],
)
async def test_a_session_that_is_ended_says_why(status: int, message: str, kind: Failure) -> None:
    async with CASE.open(Trouble(after=1, status=status, message=message)) as (engine, _):
        error = await failing(engine)
        assert error.kind is kind
        assert message in str(error)


async def test_a_server_error_in_mid_session_is_tried_again_on_a_fresh_one() -> None:
    async with CASE.open(Trouble(after=1, status=500)) as (engine, fake):
        assert (await spoken(engine)).text == "go forward ten meters"
        assert len(fake.seen) == 2


async def test_too_many_sessions_at_the_handshake_says_when_to_come_again() -> None:
    async with CASE.open(Trouble(status=429, retry_after="7")) as (engine, _):
        error = await failing(engine)
        assert (error.kind, error.retry_after_s) == (Failure.QUOTA, 7.0)


async def test_an_unknown_model_is_named_with_those_there_are() -> None:
    async with CASE.open(model="universal-9") as (engine, fake):
        for error in (await failing(engine), await probed(engine)):
            assert error is not None
            assert error.kind is Failure.BAD_REQUEST
            assert "[stt.assemblyai] model" in str(error)
            assert "universal-streaming-english" in str(error)
        assert fake.seen == []


async def probed(engine: Any) -> SttError | None:
    try:
        await engine.probe()
    except SttError as error:
        return error
    return None


async def test_a_probe_asks_for_a_token() -> None:
    async with CASE.open() as (engine, fake):
        assert await probed(engine) is None
        assert (fake.seen[0].path, fake.seen[0].headers["authorization"]) == ("/v3/token", KEY)
    async with CASE.open(key="wrong") as (engine, _):
        error = await probed(engine)
        assert error is not None
        assert error.kind is Failure.AUTH
        assert "ASSEMBLYAI_API_KEY" in str(error)


def test_the_key_is_needed_unless_the_server_is_ones_own() -> None:
    with pytest.raises(MissingKey, match="ASSEMBLYAI_API_KEY"):
        plugins.build("stt", "assemblyai", {}, Env())
    assert plugins.build("stt", "assemblyai", {"base_url": "ws://localhost:1"}, Env()).model


async def test_the_vendors_own_client_understands_the_fake() -> None:
    streaming = await vendor.load("assemblyai.streaming.v3", "assemblyai")
    heard: list[Any] = []
    async with AssemblyAi().serving() as fake:
        options = streaming.StreamingClientOptions(api_host=fake.ws_url, api_key=KEY)
        client = streaming.AsyncStreamingClient(options)
        client.on(streaming.StreamingEvents.Turn, lambda _, turn: heard.append(turn))
        await client.connect(
            streaming.StreamingParameters(
                sample_rate=16_000, encoding="pcm_s16le", speech_model="universal-streaming-english"
            )
        )
        for at in range(0, len(SPEECH), 3200):
            await client.stream(SPEECH[at : at + 3200])
        await client.force_endpoint()
        await client.disconnect(terminate=True)
    assert (heard[-1].transcript, heard[-1].end_of_turn) == ("go forward ten meters", True)


# -- the wire alone ---------------------------------------------------------------------------------------


class Wire:
    """A `SessionWire`, and a vendor that says what the test wants."""

    def __init__(self) -> None:
        self.session = Session(None)  # type: ignore[arg-type]  # nothing is sent
        self.wire = SessionWire(self.session, None, (), False)  # type: ignore[arg-type]  # no terms change

    def fed(self, ms: int) -> None:
        for message in self.wire.audio(bytes(ms * 32)):
            assert isinstance(message, bytes)
            self.session.sent_bytes += len(message)

    def turn(
        self, number: int, *words: tuple[str, int], end: bool, confidence: float = 0.2
    ) -> Sequence[Transcript]:
        items = [{"text": w, "start": ms - 80, "end": ms} for w, ms in words]
        said = {
            "type": "Turn",
            "turn_order": number,
            "end_of_turn": end,
            "turn_is_formatted": False,
            "transcript": " ".join(w for w, _ in words) if end else "",
            "end_of_turn_confidence": confidence,
            "words": items,
        }
        return self.wire.heard(json.dumps(said))


def test_an_answer_that_comes_after_the_speaker_went_on_and_paused_again_settles_nothing() -> None:
    wire = Wire()
    wire.fed(1000)
    wire.wire.settle(200)
    wire.fed(1000)
    wire.wire.settle(200)
    [late] = wire.turn(0, ("one", 700), end=True)
    assert (late.text, late.settled) == ("one", False)
    [settled] = wire.turn(1, ("two", 1700), end=True)
    assert (settled.text, settled.settled) == ("one two", True)
    assert settled.words == (Word("one", 620, 700), Word("two", 1620, 1700))


def test_a_pause_without_an_answer_does_not_take_the_next_ones() -> None:
    wire = Wire()
    wire.fed(1000)
    wire.wire.settle(200)  # nothing was said yet: never answered
    wire.fed(1000)
    wire.wire.settle(200)
    [settled] = wire.turn(0, ("two", 1700), end=True)
    assert (settled.text, settled.settled) == ("two", True)


def test_finish_takes_the_answer_that_is_on_its_way_for_the_final() -> None:
    wire = Wire()
    wire.fed(1000)
    wire.turn(0, ("one", 700), end=False)
    assert wire.wire.settle(200) == (FORCE,)
    assert wire.wire.finish(200) == (FORCE,)
    [final] = wire.turn(0, ("one", 700), end=True)
    assert (final.text, final.final) == ("one", True)


def test_finish_ends_the_session_when_it_is_not_sure_of_an_answer() -> None:
    wire = Wire()
    wire.fed(1000)
    assert wire.wire.finish(200) == (TERMINATE,)
    [partial] = wire.turn(0, ("one", 700), end=True)  # more may be on its way
    assert (partial.text, partial.final) == ("one", False)
    [final] = wire.wire.heard('{"type":"Termination"}')
    assert (final.text, final.final) == ("one", True)


def test_turns_of_the_utterance_before_are_not_heard_again() -> None:
    wire = Wire()
    wire.session.turn = 4
    wire.wire = SessionWire(wire.session, None, (), False)  # type: ignore[arg-type]
    assert wire.turn(4, ("old", 500), end=True) == ()
    [fresh] = wire.turn(5, ("new", 500), end=False)
    assert fresh.text == "new"


@pytest.mark.parametrize(("confidence", "complete"), [(0.83, 0.83), (1.0, None)])
def test_being_told_to_end_is_not_an_opinion_about_the_end(confidence: float, complete: float | None) -> None:
    wire = Wire()
    wire.fed(1000)
    wire.wire.settle(200)
    [settled] = wire.turn(0, ("one", 700), end=True, confidence=confidence)
    assert settled.complete == complete


@pytest.mark.parametrize("text", ["", "[]", "7", '{"type":"Turn"}', '{"type":"Turn","turn_order":"x"}'])
def test_what_is_not_documented_is_an_error_not_a_crash(text: str) -> None:
    with pytest.raises(SttError):
        Wire().wire.heard(text)


def test_audio_that_came_too_fast_is_nobodys_bad_request() -> None:
    error = Wire().wire.lost(
        LineLost(3007, "Audio Transmission Rate Exceeded: Received 3 sec. audio in 1 sec")
    )
    assert error is not None
    assert error.kind is Failure.TRANSIENT
