"""Deepgram: the exact wire of both protocols, word times, and what the recognizer thinks of the end."""

import asyncio
import importlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.contracts import Env, Failure, MissingKey, SttError, Transcript
from pipeline.lines import LineLost
from pipeline.plugins import PluginError, options
from pipeline.stt import deepgram
from pipeline.stt.deepgram_flux import FluxWire
from pipeline.stt.deepgram_line import DeepgramLine, event_of, meaning_of
from pipeline.stt.deepgram_nova import NovaWire
from tests.plugins.test_stt_troubles import SILENCE_MS, SPEECH, heard, speak, text_of, until
from tests.support.stt_cases import VENDORS
from tests.support.vendors.place import Seen

pytestmark = pytest.mark.usefixtures("no_leaks")

NOVA, FLUX = VENDORS["deepgram"], VENDORS["deepgram flux"]
FINALIZE, CLOSE = {"type": "Finalize"}, {"type": "CloseStream"}
FORCE = {"type": "ForceEndTurn"}


def orders(seen: Seen) -> list[Any]:
    return [m for m in seen.messages if not isinstance(m, bytes)]


async def settled_then_left(engine: Any) -> list[Transcript]:
    """What most utterances are: a pause, its text, and the floor has what it wants."""
    utterance = engine.open()
    transcripts = []
    speak(utterance, SPEECH)
    utterance.settle(SILENCE_MS)
    async for transcript in utterance.transcripts():
        transcripts.append(transcript)
        if transcript.settled and len(transcript.text.split()) == 4 and (transcript.complete or 1) >= 1:
            break
        if transcript.settled:
            utterance.feed(bytes(640 * 20))  # the pause goes on
    await utterance.aclose()
    return transcripts


# -- the handshake --------------------------------------------------------------------------------------


async def test_what_nova_is_asked_for() -> None:
    async with NOVA.open(keyterms=["Parley"]) as (engine, fake):
        utterance = engine.open("de-CH", ("Zürich", "Parley", ""))
        utterance.finish(0)
        assert [t.final async for t in utterance.transcripts()] == [True]
        await utterance.aclose()
        seen: Seen = fake.seen[0]
    assert seen.path == "/v1/listen"
    assert seen.headers["authorization"] == "Token key-of-the-test"
    assert seen.query == {
        "model": "nova-3",
        "encoding": "linear16",
        "sample_rate": "16000",
        "language": "de",
        "channels": "1",
        "interim_results": "true",
        "endpointing": "false",
        "smart_format": "true",
        "keyterm": "Zürich",  # the last of several
    }


async def test_what_flux_is_asked_for() -> None:
    async with FLUX.open(eot_timeout_ms=3000) as (engine, fake):
        await engine.probe()
        seen: Seen = fake.seen[0]
    assert seen.path == "/v2/listen"
    assert seen.query == {
        "model": "flux-general-en",
        "encoding": "linear16",
        "sample_rate": "16000",
        "eot_threshold": "0.7",
        "eager_eot_threshold": "0.5",
        "eot_timeout_ms": "3000",
    }


@pytest.mark.parametrize(
    ("language", "asked"), [("", "en"), ("pt-BR", "pt"), ("xx", "multi"), ("no", "no"), ("zh-TW", "multi")]
)
async def test_a_language_that_nova_does_not_know_alone_is_heard_as_one_of_many(
    language: str, asked: str
) -> None:
    engine = deepgram.create(deepgram.Options(), Env({"DEEPGRAM_API_KEY": "k"}))
    assert f"&language={asked}&" in engine._url(language, ())


async def test_flux_in_many_languages_is_given_a_hint() -> None:
    chosen = deepgram.Options(model="flux-general-multi")
    engine = deepgram.create(chosen, Env({"DEEPGRAM_API_KEY": "k"}, language="es"))
    assert "language_hint=es" in engine._url("", ())
    assert "language_hint" not in engine._url("pl", ())
    assert engine.languages == deepgram.FLUX_LANGUAGES


async def test_older_models_get_no_keyterms() -> None:
    async with NOVA.open(model="nova-2", keyterms=["Parley"]) as (engine, fake):
        assert text_of(await heard(engine)) == "go forward ten meters"
        assert "keyterm" not in fake.seen[0].query


def test_the_key_is_needed_at_the_vendors_and_not_at_a_server_of_ones_own() -> None:
    with pytest.raises(MissingKey, match="DEEPGRAM_API_KEY"):
        deepgram.create(deepgram.Options(), Env())
    with pytest.raises(MissingKey):
        deepgram.create(deepgram.Options(base_url="wss://api.eu.deepgram.com"), Env())
    deepgram.create(deepgram.Options(base_url="ws://127.0.0.1:8080"), Env())


@pytest.mark.parametrize(
    "values",
    [
        {"eot_threshold": 0.4},
        {"eager_eot_threshold": 0.8},
        {"eager_eot_threshold": 0.1},
        {"eot_timeout_ms": 100},
    ],
)
def test_thresholds_that_the_vendor_would_refuse_are_refused(values: Mapping[str, Any]) -> None:
    with pytest.raises(PluginError, match=f"deepgram.*{next(iter(values))}"):
        options("stt", "deepgram", values)


# -- Nova -----------------------------------------------------------------------------------------------


async def test_nova_settles_and_finishes_by_finalize_and_tells_when_words_were_said() -> None:
    async with NOVA.open() as (engine, fake):
        transcripts = await heard(engine, settle=True)
        assert orders(fake.seen[0])[0] == FINALIZE
        assert fake.seen[0].audio == SPEECH
    final = transcripts[-1]
    assert [w.text for w in final.words] == ["go", "forward", "ten", "meters"]
    times = [t for w in final.words for t in (w.start_ms, w.end_ms)]
    assert times[0] >= 0
    assert times[-1] <= 2400
    assert [w.start_ms for w in final.words] == sorted(w.start_ms for w in final.words)


async def test_a_line_goes_on_from_one_utterance_to_the_next_with_times_of_its_own() -> None:
    async with NOVA.open() as (engine, fake):
        first = await heard(engine)
        second = await heard(engine)
        assert second[-1].words == first[-1].words
        left = await settled_then_left(engine)
        assert left[-1].words == first[-1].words
        await asyncio.sleep(0.05)
        again = await heard(engine)
        assert (again[-1].text, again[-1].words) == (first[-1].text, first[-1].words)
        assert len(fake.seen) == 1
    assert orders(fake.seen[0])[-1] == CLOSE


async def test_what_nova_hears_as_several_languages_tells_the_first() -> None:
    async with NOVA.open(language="multi") as (engine, _):
        assert (await heard(engine))[-1].language == "en"


def results(text: str, start: float, duration: float, **more: Any) -> str:
    channel = {"alternatives": [{"transcript": text, "confidence": 1.0, "words": []}]}
    return json.dumps({"type": "Results", "start": start, "duration": duration, "channel": channel, **more})


class Nothing:
    """A line that is never used."""

    is_open = True

    async def send(self, message: Any) -> None:
        raise AssertionError(message)

    async def receive(self) -> Any:
        raise AssertionError

    async def close(self) -> None: ...


def line_after(ms: int) -> DeepgramLine:
    line = DeepgramLine(Nothing())
    line.sent_bytes = ms * 32
    return line


def said(transcripts: Any) -> list[tuple[str, bool, bool]]:
    return [(t.text, t.settled, t.final) for t in transcripts]


def test_nova_finishes_at_once_when_only_silence_came_since_the_last_final_stretch() -> None:
    wire = NovaWire(line_after(0))
    wire.audio(bytes(2000 * 32))
    assert wire.settle(300) == ('{"type":"Finalize"}',)
    settled = wire.heard(results("hello", 0.0, 2.0, is_final=True, from_finalize=True))
    assert said(settled) == [("hello", True, False)]
    wire.audio(bytes(400 * 32))
    finalize, final = wire.finish(700)
    assert (finalize, said([final])) == ('{"type":"Finalize"}', [("hello", True, True)])


def test_a_late_answer_to_the_utterance_before_is_passed_over() -> None:
    wire = NovaWire(line_after(2400))
    assert wire.heard(results("old", 2.0, 0.4, is_final=True, from_finalize=True)) == ()
    wire.audio(bytes(1000 * 32))
    wire.finish(0)
    assert said(wire.heard(results("new", 2.4, 1.0, is_final=True, from_finalize=True))) == [
        ("new", True, True)
    ]


def test_a_stretch_that_nova_closes_by_itself_does_not_answer_for_what_comes_after_it() -> None:
    wire = NovaWire(line_after(0))
    wire.audio(bytes(3000 * 32))
    wire.settle(100)
    assert said(wire.heard(results("one", 0.0, 1.5, is_final=True))) == [("one", False, False)]
    assert said(wire.heard(results("two", 1.5, 1.0))) == [("one two", False, False)]
    assert said(wire.heard(results("two.", 1.5, 1.5, is_final=True, from_finalize=True))) == [
        ("one two.", True, False)
    ]


async def test_nova_is_kept_open_by_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepgram, "BEAT_S", 0.05)
    async with NOVA.open() as (engine, fake):
        engine.prepare()
        await until(lambda: fake.seen and orders(fake.seen[0])[:2] == [{"type": "KeepAlive"}] * 2)
        assert text_of(await heard(engine)) == "go forward ten meters"
        assert len(fake.seen) == 1


# -- Flux -----------------------------------------------------------------------------------------------


async def test_flux_thinks_more_of_the_end_the_longer_the_pause() -> None:
    async with FLUX.open() as (engine, fake):
        transcripts = await settled_then_left(engine)
        settled = [t.complete for t in transcripts if t.settled]
        assert settled[-1] == 1.0
        assert settled == sorted(c for c in settled if c is not None)
        assert FORCE not in fake.seen[0].messages  # it ended the turn by itself
        await asyncio.sleep(0.05)
        assert text_of(await heard(engine)) == "go forward ten meters"
        assert len(fake.seen) == 1  # nothing was left open on that line


async def test_a_turn_that_flux_has_not_ended_is_ended_and_has_word_times() -> None:
    async with FLUX.open(eot_threshold=0.9) as (engine, fake):
        utterance = engine.open()
        speak(utterance, SPEECH[: 2000 * 32])  # in the middle of a word
        utterance.finish(0)
        final = [t async for t in utterance.transcripts()][-1]
        await utterance.aclose()
        assert FORCE in fake.seen[0].messages
    assert [w.text for w in final.words] == final.text.split()
    assert all(0 <= w.start_ms < w.end_ms <= 2300 for w in final.words)


def turn_info(event: str, text: str, until_s: float, sure: float = 0.0) -> str:
    fields = {"audio_window_end": until_s, "end_of_turn_confidence": sure, "words": []}
    return json.dumps({"type": "TurnInfo", "event": event, "transcript": text, **fields})


def test_several_of_fluxs_turns_make_one_utterance() -> None:
    wire = FluxWire(line_after(1000))
    wire.audio(bytes(3000 * 32))
    assert wire.heard(turn_info("EndOfTurn", "of another one", 1.0)) == ()
    wire.heard(turn_info("StartOfTurn", "one", 1.5))
    assert wire.heard(turn_info("EndOfTurn", "one two", 2.5, 0.8))[0].complete == 1.0
    (later,) = wire.heard(turn_info("StartOfTurn", "three", 3.0, 0.05))
    assert (later.text, later.complete, later.settled) == ("one two three", 0.05, False)
    wire.settle(200)
    (settled,) = wire.heard(turn_info("EagerEndOfTurn", "three", 3.9, 0.6))
    assert (settled.text, settled.complete, settled.settled) == ("one two three", 0.6, True)
    assert wire.leave() is None  # the turn is going on
    assert wire.heard(turn_info("EndOfTurn", "three", 3.95, 0.7))[0].complete == 1.0
    assert wire.leave() == ()


def test_an_end_before_the_pause_was_noticed_is_known_when_it_is() -> None:
    wire = FluxWire(line_after(0))
    wire.audio(bytes(1000 * 32))
    wire.heard(turn_info("EndOfTurn", "hello", 0.95, 0.9))
    (settled,) = wire.settle(100)
    assert isinstance(settled, Transcript)
    assert (settled.text, settled.settled, settled.complete) == ("hello", True, 1.0)
    (final,) = wire.finish(100)
    assert isinstance(final, Transcript)
    assert (final.text, final.final) == ("hello", True)


def test_a_line_with_an_open_turn_is_not_used_again() -> None:
    line = line_after(0)
    wire = FluxWire(line)
    wire.audio(bytes(1000 * 32))
    wire.finish(0)
    assert wire.heard(turn_info("StartOfTurn", "hel", 0.9)) != ()
    (final,) = wire.heard(turn_info("Update", "hello", 1.2))
    assert (final.text, final.final, line.is_open) == ("hello", True, False)


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('{"type":"Error","variant":"SchemaError","description":"no"}', Failure.BAD_REQUEST),
        ('{"type":"Error","code":"INTERNAL_SERVER_ERROR","description":"no"}', Failure.TRANSIENT),
        ("[]", Failure.TRANSIENT),
        ("no JSON", Failure.TRANSIENT),
        (b"\x00", Failure.TRANSIENT),
    ],
)
def test_error_messages_and_nonsense(message: str | bytes, kind: Failure) -> None:
    with pytest.raises(SttError) as caught:
        event_of(message)
    assert caught.value.kind is kind


def test_audio_that_is_refused_is_not_sent_again() -> None:
    refused = meaning_of(LineLost(1008, "DATA-0000"))
    assert refused is not None
    assert refused.kind is Failure.BAD_REQUEST
    assert meaning_of(LineLost(1011, "NET-0001")) is None


async def test_the_fakes_messages_are_what_the_vendors_package_expects() -> None:
    """Its models are the vendor's own description of the messages."""
    pytest.importorskip("deepgram")
    v1 = importlib.import_module("deepgram.listen.v1.types.listen_v1results").ListenV1Results
    v2 = importlib.import_module("deepgram.listen.v2.types.listen_v2turn_info").ListenV2TurnInfo
    for case, model, kind in ((NOVA, v1, "Results"), (FLUX, v2, "TurnInfo")):
        async with case.open() as (engine, fake):
            assert text_of(await heard(engine)) == "go forward ten meters"
            sent = fake.sent
        checked = [model.model_validate(m) for m in sent if m["type"] == kind]
        assert len(checked) >= 4
        known = set(model.model_fields)
        assert all(set(m) <= known for m in sent if m["type"] == kind)
