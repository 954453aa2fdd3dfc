"""What is particular to OpenAI's recognizers: the session that is agreed, the commits, the requests sent."""

import asyncio
import base64
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, MissingKey, SttError, Transcript, Unavailable
from pipeline.stt.openai_realtime import OpenAiRealtime
from pipeline.stt.openai_request import Asked
from pipeline.stt.openai_rest import OpenAiRest
from tests.support.speech import clip
from tests.support.stt_cases import VENDORS
from tests.support.vendors.place import Trouble

SPEECH = clip("goforward.wav")[: 2400 * 32]
SILENCE_MS = 180
SILENCE = bytes(400 * 32)
TEXT = "go forward ten meters"

pytestmark = pytest.mark.usefixtures("no_leaks")


def speak(utterance: Any, pcm: bytes = SPEECH) -> None:
    for at in range(0, len(pcm), 640):
        utterance.feed(pcm[at : at + 640])


async def next_settled(reader: Any) -> Transcript:
    async with asyncio.timeout(15):
        async for transcript in reader:
            if transcript.settled:
                return transcript  # type: ignore[no-any-return]
    raise AssertionError("no settled text came")


async def rest_of(reader: Any) -> list[Transcript]:
    async with asyncio.timeout(15):
        return [transcript async for transcript in reader]


def types_of(fake: Any, connection: int = 0) -> list[str]:
    """The kinds of the messages of a connection, runs of the same one given once."""
    kinds: list[str] = []
    for message in fake.seen[connection].messages:
        if not kinds or kinds[-1] != message["type"]:
            kinds.append(message["type"])
    return [kind.removeprefix("input_audio_buffer.") for kind in kinds]


# -- which way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ({}, OpenAiRealtime),
        ({"model": "gpt-4o-transcribe"}, OpenAiRealtime),
        ({"model": "whisper-1"}, OpenAiRest),
        ({"model": "gpt-4o-transcribe", "mode": "rest"}, OpenAiRest),
        ({"model": "Systran/faster-whisper-small", "base_url": "http://127.0.0.1:1/v1"}, OpenAiRest),
        ({"model": "m", "base_url": "http://127.0.0.1:1/v1", "mode": "realtime"}, OpenAiRealtime),
    ],
)
def test_the_model_and_the_place_say_which_way_is_taken(options: dict[str, Any], engine: type[Any]) -> None:
    built = plugins.build("stt", "openai", options, Env({"OPENAI_API_KEY": "k"}))
    assert type(built) is engine
    assert built.model == options.get("model", "gpt-live-transcribe")


def test_openai_needs_a_key_and_a_server_of_ones_own_does_not() -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        plugins.build("stt", "openai", {}, Env())
    with pytest.raises(MissingKey, match="GROQ_API_KEY"):
        plugins.build("stt", "openai", {"key_variable": "GROQ_API_KEY"}, Env())
    plugins.build("stt", "openai", {"model": "m", "base_url": "http://127.0.0.1:1/v1"}, Env())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "rest"}, "realtime sessions only"),
        ({"partial_every_ms": 20}, "at least 250"),
        ({"mode": "loud"}, "mode"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.build("stt", "openai", options, Env({"OPENAI_API_KEY": "k"}))


def test_a_base_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(Unavailable, match="base_url"):
        plugins.build("stt", "openai", {"model": "m", "base_url": "localhost:8000"}, Env())


@pytest.mark.parametrize(
    ("model", "language", "fields"),
    [
        (
            "gpt-live-transcribe",
            "de-CH",
            {"language": "de", "prompt": "A bank.", "keywords": ["Zürich", "日本"]},
        ),
        ("gpt-4o-transcribe", "nb", {"language": "no", "prompt": "A bank. Zürich, 日本"}),
        ("whisper-1", "xx", {"prompt": "A bank. Zürich, 日本"}),
        ("gpt-realtime-whisper", "", {}),
    ],
)
def test_each_model_is_told_what_it_takes(model: str, language: str, fields: dict[str, Any]) -> None:
    asked = Asked.of(model, language, "A bank.", ("Zürich", " ", "日本"))
    assert asked.fields() == {"model": model, **fields}


# -- realtime -------------------------------------------------------------------------------------------


async def test_the_session_is_agreed_once_and_again_when_something_changes() -> None:
    async with VENDORS["openai"].open(prompt="A robot.") as (engine, fake):
        for language, hints in (("", ()), ("", ()), ("de", ("Zürich",))):
            utterance = engine.open(language, hints)
            reading = asyncio.create_task(rest_of(utterance.transcripts()))
            speak(utterance)
            utterance.finish(SILENCE_MS)
            assert (await reading)[-1].text == TEXT
            await utterance.aclose()
        (seen,) = fake.seen
    assert (seen.path, seen.query) == ("/v1/realtime", {"intent": "transcription"})
    agreed = [m["session"] for m in seen.messages if m["type"] == "session.update"]
    heard = {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": None}
    told = {"model": "gpt-live-transcribe", "language": "en", "prompt": "A robot."}
    german = told | {"language": "de", "keywords": ["Zürich"]}
    assert agreed == [
        {"type": "transcription", "audio": {"input": heard | {"transcription": t}}} for t in (told, german)
    ]


async def test_sound_arrives_whole_at_24_khz_in_few_messages() -> None:
    async with VENDORS["openai"].open() as (engine, fake):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance.transcripts()))
        for at in range(0, len(SPEECH), 640):
            utterance.feed(SPEECH[at : at + 640])
            await asyncio.sleep(0)
        utterance.finish(SILENCE_MS)
        await reading
        await utterance.aclose()
        appended = [m["audio"] for m in fake.seen[0].messages if m["type"] == "input_audio_buffer.append"]
    sound = b"".join(base64.b64decode(audio) for audio in appended)
    assert abs(len(sound) - len(SPEECH) * 3 / 2) < 100
    assert len(appended) <= len(SPEECH) / 32 / 60 + 1


async def test_a_pause_commits_and_the_final_after_it_needs_nothing_more() -> None:
    async with VENDORS["openai committed"].open() as (engine, fake):
        utterance = engine.open()
        reader = utterance.transcripts()
        speak(utterance)
        utterance.settle(SILENCE_MS)
        assert (await next_settled(reader)).text == TEXT
        speak(utterance, SILENCE)
        utterance.finish(SILENCE_MS + 400)
        assert [(t.text, t.final) for t in await rest_of(reader)] == [(TEXT, True)]
        await utterance.aclose()
        assert types_of(fake)[:3] == ["session.update", "append", "commit"]
        assert types_of(fake).count("commit") == 1
        # The silence after the commit is taken out of the buffer: the next one begins with an empty one.
        again = engine.open()
        reading = asyncio.create_task(rest_of(again.transcripts()))
        speak(again)
        again.finish(SILENCE_MS)
        assert (await reading)[-1].text == TEXT
        await again.aclose()
        assert len(fake.seen) == 1
        assert types_of(fake)[3:] == ["append", "clear", "append", "commit"]


async def test_who_goes_on_after_a_pause_gets_all_stretches_joined() -> None:
    async with VENDORS["openai"].open() as (engine, _):
        utterance = engine.open()
        reader = utterance.transcripts()
        speak(utterance)
        utterance.settle(SILENCE_MS)
        await next_settled(reader)
        speak(utterance, SILENCE + SPEECH)
        utterance.finish(SILENCE_MS)
        rest = await rest_of(reader)
        await utterance.aclose()
    assert rest[-1].text == f"{TEXT} {TEXT}"
    assert all(t.text.startswith(TEXT) for t in rest)


async def test_where_nothing_was_said_nothing_is_asked() -> None:
    async with VENDORS["openai"].open() as (engine, fake):
        utterance = engine.open()
        speak(utterance, bytes(32_000))
        utterance.finish(1000)
        assert [(t.text, t.final) for t in await rest_of(utterance.transcripts())] == [("", True)]
        await utterance.aclose()
        assert "commit" not in types_of(fake)


async def test_a_transcription_that_failed_is_a_typed_error() -> None:
    async with VENDORS["openai"].open(Trouble(status=429, after=1, message="slow down")) as (engine, _):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance.transcripts()))
        speak(utterance)
        utterance.finish(SILENCE_MS)
        with pytest.raises(SttError, match="slow down") as caught:
            await reading
        await utterance.aclose()
    assert caught.value.kind is Failure.QUOTA


# -- one request ----------------------------------------------------------------------------------------


async def test_a_pause_asks_and_the_final_after_it_costs_nothing_more() -> None:
    async with VENDORS["openai rest"].open(partial_every_ms=0) as (engine, fake):
        utterance = engine.open("de-DE", ("Zürich",))
        reader = utterance.transcripts()
        speak(utterance)
        utterance.settle(SILENCE_MS)
        assert (await next_settled(reader)).text == TEXT
        speak(utterance, SILENCE)
        utterance.finish(SILENCE_MS + 400)
        assert [(t.text, t.final) for t in await rest_of(reader)] == [(TEXT, True)]
        assert utterance.billed_ms == len(SPEECH) // 32
        await utterance.aclose()
        (fields,) = fake.uploads
        sound = fields.pop("file")
    assert (sound[:4], sound[44:]) == (b"RIFF", SPEECH)
    asked = {"model": "whisper-1", "language": "de", "prompt": "Zürich", "response_format": "json"}
    assert fields == asked


async def test_without_settling_only_the_end_asks() -> None:
    async with VENDORS["openai rest"].open(partial_every_ms=0, settle=False) as (engine, fake):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance.transcripts()))
        speak(utterance)
        utterance.settle(SILENCE_MS)
        speak(utterance, SILENCE + SPEECH)
        utterance.finish(SILENCE_MS)
        assert [(t.text, t.final) for t in await reading] == [(f"{TEXT} {TEXT}", True)]
        await utterance.aclose()
        assert len(fake.uploads) == 1


async def test_who_goes_on_after_a_pause_is_asked_about_as_a_whole() -> None:
    async with VENDORS["openai rest"].open(partial_every_ms=0) as (engine, fake):
        utterance = engine.open()
        reader = utterance.transcripts()
        speak(utterance)
        utterance.settle(SILENCE_MS)
        await next_settled(reader)
        speak(utterance, SILENCE + SPEECH)
        utterance.finish(SILENCE_MS)
        assert (await rest_of(reader))[-1].text == f"{TEXT} {TEXT}"
        assert utterance.billed_ms == (3 * len(SPEECH) + len(SILENCE)) // 32
        await utterance.aclose()
        assert len(fake.uploads) == 2


async def test_a_streamed_answer_shows_its_words_as_they_come_and_takes_keywords() -> None:
    case = VENDORS["openai rest-streamed"]
    async with case.open(Trouble(each_ms=30), partial_every_ms=0, model="gpt-transcribe") as (engine, fake):
        utterance = engine.open("en", ("Zürich", "日本"))
        reading = asyncio.create_task(rest_of(utterance.transcripts()))
        speak(utterance)
        utterance.finish(SILENCE_MS)
        texts = [t.text for t in await reading]
        await utterance.aclose()
    assert (texts[:3], texts[-1]) == (["go", "go forward", "go forward ten"], TEXT)
    assert fake.uploads[0]["keywords[]"] == ["Zürich", "日本"]
    assert fake.uploads[0]["stream"] == "true"


async def test_a_request_that_is_not_needed_any_more_is_called_off() -> None:
    async with VENDORS["openai rest"].open(Trouble(hang=True), partial_every_ms=0) as (engine, fake):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance.transcripts()))
        speak(utterance)
        utterance.settle(SILENCE_MS)
        while not fake.seen:
            await asyncio.sleep(0.005)
        speak(utterance, SILENCE + SPEECH)
        utterance.finish(SILENCE_MS)
        assert (await reading)[-1].text == f"{TEXT} {TEXT}"
        await asyncio.wait_for(fake.seen[0].closed.wait(), 10)
        await utterance.aclose()


async def test_a_partial_that_fails_is_no_failure_of_the_utterance() -> None:
    async with VENDORS["openai rest"].open(Trouble(status=500)) as (engine, fake):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance.transcripts()))
        speak(utterance, SPEECH[:32_000])
        while not fake.seen or any(task for task in utterance._tasks):
            await asyncio.sleep(0.005)
        speak(utterance, SPEECH[32_000:])
        utterance.finish(SILENCE_MS)
        assert [(t.text, t.final) for t in await reading] == [(TEXT, True)]
        await utterance.aclose()
