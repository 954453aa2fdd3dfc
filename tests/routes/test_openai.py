"""OpenAI's clients at this server: the package's own, and what others send."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import soundfile

from pipeline.contracts import Word
from server.app import App
from server.dictation import Dictated, Stretch
from server.routes.openai import _cues, _verbose
from server.subtitles import LINE_CHARS, srt, vtt
from tests.routes.conftest import Client, signed_up

GO = Path(__file__).parents[1] / "data" / "goforward.wav"
SAID = "what can you do for me today"
"""What the scripted recognizer understands."""

Opener = Callable[..., Any]


@pytest.fixture
def settings() -> dict[str, str]:
    return {"PARLEY_TTS__SCRIPTED__SPEED": "100"}


@pytest.fixture
def sdk(app: App) -> Opener:
    """The package, pointed here: `async with sdk(key) as client`."""

    @asynccontextmanager
    async def start(key: str = "any") -> AsyncIterator[openai.AsyncOpenAI]:
        transport = httpx2.ASGITransport(app=app, client=("203.0.113.7", 5000))
        async with httpx2.AsyncClient(transport=transport) as http:
            yield openai.AsyncOpenAI(
                api_key=key, base_url="http://parley.test/v1", http_client=http, max_retries=0
            )

    return start


async def test_models_are_whom_this_server_asks(sdk: Opener) -> None:
    async with sdk() as client:
        models = [model async for model in client.models.list()]
    assert [(model.id, model.object, model.owned_by) for model in models] == [("scripted", "model", "parley")]


@pytest.mark.parametrize(
    ("wish", "media", "kind"),
    [
        (None, "audio/mpeg", "MP3"),
        ("mp3", "audio/mpeg", "MP3"),
        ("opus", "audio/ogg", "OGG"),
        ("flac", "audio/flac", "FLAC"),
        ("wav", "audio/wav", "WAV"),
    ],
)
async def test_speech_comes_in_every_format_but_one(
    sdk: Opener, wish: str | None, media: str, kind: str
) -> None:
    more: dict[str, Any] = {"response_format": wish} if wish else {}
    async with sdk() as client:
        answer = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="Hello there.", instructions="Be kind.", **more
        )
    assert answer.response.headers["content-type"] == media
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert file.format == kind
        assert len(file.read()) / file.samplerate == pytest.approx(0.48, abs=0.1)  # 12 times 40 ms


async def test_speech_as_plain_samples_while_it_is_made(sdk: Opener) -> None:
    async with sdk() as client:
        streamed = client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="coral", input="Hello there.", response_format="pcm", speed=4.0
        )
        async with streamed as answer:
            pcm = b"".join([piece async for piece in answer.iter_bytes()])
    assert len(pcm) == 12 * 40 * 48  # s16le at 24 kHz


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"response_format": "aac"}, "there is no AAC"),
        ({"input": "  "}, "blank"),
        ({"input": "x" * 4097}, "at most 4096 characters"),
        ({"speed": 9.0}, "at most 4"),
        ({"voice": 7}, "voice"),
    ],
)
async def test_what_cannot_be_spoken_is_said_in_the_clients_words(
    sdk: Opener, wishes: dict[str, Any], why: str
) -> None:
    async with sdk() as client:
        with pytest.raises(openai.UnprocessableEntityError, match=why) as caught:
            await client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": "Hi.", **wishes})
    body: Any = caught.value.response.json()
    assert body["error"]["message"] == body["detail"]
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", None)


async def test_a_recording_becomes_text_in_every_shape(sdk: Opener) -> None:
    async with sdk() as client:

        async def ask(shape: str, **more: Any) -> Any:
            return await client.audio.transcriptions.create(
                model="whisper-1", file=GO, response_format=shape, prompt="Robots.", temperature=0, **more
            )

        assert (await ask("json")).text == SAID
        assert await ask("text") == f"{SAID}\n"
        assert (await ask("srt")).endswith(f"\n{SAID}\n")
        assert (await ask("vtt")).startswith("WEBVTT\n\n00:00:00.")
        found = await ask("verbose_json", timestamp_granularities=["word", "segment"], language="en")
    assert (found.task, found.language, found.text) == ("transcribe", "en", SAID)
    assert found.duration == pytest.approx(2.786, abs=0.01)
    (segment,) = found.segments
    assert 0 <= segment.start < segment.end <= 2.8
    assert found.words == []  # this recognizer tells no times of words


async def test_a_recording_becomes_text_as_events(sdk: Opener) -> None:
    async with sdk() as client:
        stream = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=GO, stream=True)
        events = [event async for event in stream]
    assert "".join(e.delta for e in events[:-1]) == events[-1].text == SAID
    assert [e.type for e in events] == ["transcript.text.delta", "transcript.text.done"]


async def test_what_cannot_be_transcribed_is_said(sdk: Opener, client: Client) -> None:
    async with sdk() as program:
        with pytest.raises(openai.APIStatusError) as caught:
            await program.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"nonsense"))
        assert caught.value.status_code == 415
    form: dict[str, Any] = {"files": {"file": ("go.wav", GO.read_bytes())}}
    answer = await client().post(
        "/v1/audio/transcriptions", data={"model": "x", "response_format": "xml"}, **form
    )
    assert (answer.status_code, "verbose_json" in answer.json()["detail"]) == (422, True)
    answer = await client().post("/v1/audio/transcriptions", **form)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "model is missing")


def test_stretches_keep_their_times() -> None:
    words = (Word("good", 30_100, 30_400), Word("bye", 30_400, 30_900))
    found = Dictated(
        (Stretch(100, 900, "hello & hi"), Stretch(30_000, 31_000, "good bye", words)), "en", 61.5
    )
    assert srt(_cues(found)) == (
        "1\n00:00:00,100 --> 00:00:00,900\nhello & hi\n\n2\n00:00:30,000 --> 00:00:31,000\ngood bye\n"
    )
    assert vtt(_cues(found)) == (
        "WEBVTT\n\n00:00:00.100 --> 00:00:00.900\nhello &amp; hi\n\n00:00:30.000 --> 00:00:31.000\ngood bye\n"
    )
    verbose = _verbose(found, "segment")
    assert "words" not in verbose
    assert [s["start"] for s in verbose["segments"]] == [0.1, 30.0]
    assert _verbose(found, "word")["words"][0] == {"word": "good", "start": 30.1, "end": 30.4}
    assert found.text == "hello & hi good bye"
    long = [*_cues(Dictated((Stretch(1000, 29_000, "word " * 60),), "en", 30.0))]
    assert len(long) > 3
    assert (long[0].start_ms, long[-1].end_ms) == (1000, 29_000)
    assert all(len(cue.text) <= LINE_CHARS for cue in long)


async def test_a_key_of_the_profile_page_is_its_user(client: Client, sdk: Opener) -> None:
    browser = await signed_up(client)
    await browser.put("/api/users/preferences", json={"preferred_language": "es"})
    key = (await browser.post("/api/users/api-keys", json={"label": "radio"})).json()["key"]
    async with sdk(key) as program, aclosing(program.models.list().__aiter__()) as models:
        assert (await anext(models)).id == "scripted"
        found = await program.audio.transcriptions.create(
            model="whisper-1", file=GO, response_format="verbose_json"
        )
    assert found.language.startswith("es")
    elsewhere = await client().post(
        "/voice/text-to-speech", json={"text": "hi"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert elsewhere.status_code == 401


class TestNoGuests:
    """A server for users alone."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__GUESTS": "false"}

    async def test_a_made_up_key_is_refused(self, sdk: Opener, client: Client) -> None:
        async with sdk("sk-made-up") as program:
            with pytest.raises(openai.AuthenticationError, match="not valid"):
                await program.models.list()
        browser = await signed_up(client)
        key = (await browser.post("/api/users/api-keys", json={"label": "radio"})).json()["key"]
        async with sdk(key) as program:
            assert (await program.models.list()).data
