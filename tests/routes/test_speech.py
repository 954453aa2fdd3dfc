"""Speech in one request: recordings of every kind to text, texts to sounds, turns of a talk over HTTP."""

import asyncio
import base64
import importlib
import io
import itertools
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile

from server.app import App
from server.dictation import MOST_AT_ONCE
from server.sound_in import BadSound, decoded
from server.spoken import respond
from tests.routes.conftest import Client, bearer
from tests.support.live import SCRIPTED, LiveServer

GO = Path(__file__).parents[1] / "data" / "goforward.wav"  # "go forward ten meters"
SAID = "what can you do for me today"
"""What the scripted recognizer understands."""
SECONDS = 2.786


@pytest.fixture
def settings() -> dict[str, str]:
    prices = {"PARLEY_PRICES__STT": "{scripted = 0.6}", "PARLEY_PRICES__TTS": "{scripted = 0.001}"}
    return {
        "PARLEY_LLM__SCRIPTED__TEXT": "Three words suffice.",
        "PARLEY_TTS__SCRIPTED__SPEED": "100",
        **prices,
    }


def clip(kind: str, subtype: str | None = None, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """The recording in another format."""
    pcm, _ = soundfile.read(GO)
    if rate_hz != 16_000:
        seconds = np.arange(len(pcm) * rate_hz // 16_000) / rate_hz
        pcm = np.interp(seconds, np.arange(len(pcm)) / 16_000, pcm)
    out = io.BytesIO()
    soundfile.write(out, np.stack([pcm] * channels, axis=1), rate_hz, format=kind, subtype=subtype)
    return out.getvalue()


def recorded_by_a_browser(kind: str) -> bytes:
    """The recording as MediaRecorder makes it: Opus in WebM (a stream without a length), AAC in MP4."""
    av: Any = pytest.importorskip("av")
    pcm, _ = soundfile.read(GO, dtype="int16")
    out = io.BytesIO()
    live = {"live": "1"} if kind == "webm" else {"movflags": "frag_keyframe+empty_moov"}
    with av.open(out, "w", format=kind, options=live) as container:
        stream = container.add_stream("libopus" if kind == "webm" else "aac", rate=48_000, layout="mono")
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=48_000)
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.rate = 16_000
        for part in (frame, None):
            for made in resampler.resample(part):
                container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return out.getvalue()


async def pcm_of(data: bytes, most_s: float = 60.0) -> bytes:
    return b"".join([block async for block in decoded(io.BytesIO(data), most_s)])


def likeness(pcm: bytes) -> float:
    """How well the sound agrees with the recording, at the best shift: 1 = the same."""
    ours = np.frombuffer(pcm, "<i2").astype(float)
    theirs = soundfile.read(GO, dtype="int16")[0].astype(float)
    size = len(ours) + len(theirs)
    product = np.fft.irfft(np.fft.rfft(ours, size) * np.conj(np.fft.rfft(theirs, size)), size)
    return float(product.max() / np.sqrt(np.dot(ours, ours) * np.dot(theirs, theirs)))


# -- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subtype", "rate_hz", "channels"),
    [
        ("WAV", "PCM_16", 16_000, 1),
        ("WAV", "PCM_24", 48_000, 2),
        ("WAV", "FLOAT", 44_100, 1),
        ("WAV", "ULAW", 8_000, 1),
        ("FLAC", None, 16_000, 1),
        ("MP3", None, 44_100, 2),
        ("OGG", "VORBIS", 16_000, 1),
        ("OGG", "OPUS", 48_000, 1),
    ],
)
async def test_every_kind_of_file_is_read(
    no_leaks: None, kind: str, subtype: str | None, rate_hz: int, channels: int
) -> None:
    del no_leaks
    pcm = await pcm_of(clip(kind, subtype, rate_hz, channels))
    assert abs(len(pcm) / 32_000 - SECONDS) < 0.1
    assert likeness(pcm) > 0.9


@pytest.mark.parametrize("kind", ["webm", "mp4"])
async def test_what_browsers_record_is_read(no_leaks: None, kind: str) -> None:
    del no_leaks
    pcm = await pcm_of(recorded_by_a_browser(kind))
    assert abs(len(pcm) / 32_000 - SECONDS) < 0.1
    assert likeness(pcm) > 0.8


async def test_a_plain_recording_comes_out_to_the_bit() -> None:
    with wave.open(str(GO)) as wav:
        assert await pcm_of(GO.read_bytes()) == wav.readframes(wav.getnframes())


@pytest.mark.parametrize(
    "data",
    [b"", b"hello, this is no sound" * 9, b"\x1a\x45\xdf\xa3" + b"x" * 99, b"\0\0\0\x18ftypisom" + b"y" * 99],
    ids=["empty", "text", "webm", "mp4"],
)
async def test_what_is_no_sound_is_refused_with_a_sentence(no_leaks: None, data: bytes) -> None:
    del no_leaks
    with pytest.raises(BadSound, match=r"\.$"):
        await pcm_of(data)


async def test_playlists_are_not_followed() -> None:
    """FFmpeg would open the files that a playlist names."""
    secret = "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    with pytest.raises(BadSound):
        await pcm_of(secret.encode())


async def test_without_pyav_the_refusal_says_what_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == "av":
            raise ModuleNotFoundError(name="av")
        return real(name, package)

    data = recorded_by_a_browser("webm")
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BadSound, match="send WAV, MP3, FLAC or OGG"):
        await pcm_of(data)


async def test_reading_stops_at_the_longest_that_is_taken() -> None:
    with pytest.raises(BadSound, match="at most 2 seconds"):
        await pcm_of(GO.read_bytes(), 2.0)


# -- to text --------------------------------------------------------------------------------------------


def upload(data: bytes, name: str = "a.wav", **fields: str) -> dict[str, Any]:
    return {"files": {"audio_file": (name, data)}, "data": fields}


async def test_a_recording_becomes_text_and_is_paid_for(app: App, client: Client) -> None:
    answer = await client().post("/voice/speech-to-text", **upload(GO.read_bytes()))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"text": SAID, "language": "en", "duration_seconds": SECONDS}
    (line,) = await app.parts.usage.by_provider()
    assert (line.stage, line.provider, line.requests, line.failed) == ("stt", "scripted", 1, 0)
    assert line.price == pytest.approx(line.units * 0.6)
    assert 1.0 < line.units * 60 <= SECONDS  # without the silence at both ends


async def test_where_nobody_speaks_nothing_is_recognized(app: App, client: Client) -> None:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(32_000, "int16"), 16_000, format="WAV")
    answer = await client().post("/voice/speech-to-text", **upload(out.getvalue(), language="es"))
    assert answer.json() == {"text": "", "language": "es", "duration_seconds": 2.0}
    assert await app.parts.usage.by_provider() == []


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"files": {"audio_file": ("a.wav", b"no sound at all, really")}}, 415, "not a sound file"),
        ({"files": {"audio_file": ("a.wav", b"")}}, 415, "empty"),
        ({"files": {"sound": ("a.wav", b"x")}}, 422, "audio_file is missing"),
        ({"data": {"audio_file": "text"}, "files": {"x": ("x", b"")}}, 422, "audio_file must be a file"),
        ({"files": {"audio_file": ("a", b"x"), "language": ("b", b"es")}}, 422, "language must be text"),
        ({"files": {"audio_file": ("a", b"x")}, "data": {"language": "x" * 99}}, 422, "must be a code"),
        ({"files": [("audio_file", ("a", b"x")), ("audio_file", ("b", b"x"))]}, 422, "twice"),
        ({"json": {"audio_file": "x"}}, 415, "multipart/form-data"),
        ({"content": b"--x--", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
    ],
)
async def test_a_wrong_upload_is_refused(
    client: Client, request_: dict[str, Any], status: int, says: str
) -> None:
    answer = await client().post("/voice/speech-to-text", **request_)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


async def test_only_so_much_is_done_at_once(app: App, client: Client) -> None:
    errands = [app.parts.errands.begin() for _ in range(MOST_AT_ONCE)]
    answer = await client().post("/voice/text-to-speech", json={"text": "hello"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    for errand in errands:
        await app.parts.errands.settle(errand, None)
    assert (await client().post("/voice/text-to-speech", json={"text": "hello"})).status_code == 200


class TestSpent:
    """A server whose budget for the day is spent, and whose providers all cost something."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {
            "PARLEY_PRICES__TTS": "{scripted = 1.0}",
            "PARLEY_BUDGET__DAY": "0.5",
            "PARLEY_BUDGET__WHEN_SPENT": "end",
        }

    async def test_what_was_spent_counts_for_the_day(self, client: Client) -> None:
        first = await client().post("/voice/text-to-speech", json={"text": "hello"})
        assert first.status_code == 200
        second = await client().post("/voice/text-to-speech", json={"text": "hello"})
        assert (second.status_code, "budget" in second.json()["detail"]) == (503, True)


async def test_too_much_is_too_much(client: Client) -> None:
    answer = await client().post("/voice/speech-to-text", **upload(b"\0" * (26 << 20)))
    assert answer.status_code == 413
    long = io.BytesIO()
    soundfile.write(long, np.zeros(8_000 * 601, "int16"), 8_000, format="FLAC")
    answer = await client().post("/voice/speech-to-text", **upload(long.getvalue()))
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "The recording is too long: at most 600 seconds.",
    )


# -- to sound -------------------------------------------------------------------------------------------


async def test_a_text_becomes_a_wav_by_default(app: App, client: Client) -> None:
    answer = await client().post("/voice/text-to-speech", json={"text": "One, two. Three!"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    with wave.open(io.BytesIO(answer.content)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        seconds = wav.getnframes() / 24_000
        assert len(wav.readframes(wav.getnframes())) == wav.getnframes() * 2
    assert 0.4 < seconds < 2.0
    (line,) = await app.parts.usage.by_provider()
    assert (line.stage, line.units, line.price) == ("tts", 16, 0.016)


@pytest.mark.parametrize(
    ("kind", "media"), [("mp3", "audio/mpeg"), ("pcm", "audio/pcm"), ("opus", "audio/ogg")]
)
async def test_a_text_in_other_formats(client: Client, kind: str, media: str) -> None:
    body = {"text": "One, two. Three!", "format": kind}
    answer = await client().post("/voice/text-to-speech", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    whole = await client().post("/voice/text-to-speech", json={"text": "One, two. Three!", "format": "pcm"})
    seconds = len(whole.content) / 48_000
    if kind != "pcm":
        sound, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert abs(len(sound) / rate_hz - seconds) < 0.15
        assert np.abs(sound).max() > 0.05


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "text is missing"),
        ({"text": "  "}, "at least 1"),
        ({"text": "x" * 4097}, "at most 4096"),
        ({"text": "x", "format": "aiff"}, "must be one of"),
        ({"text": "x", "rate": 3}, "not a field"),
        ({"text": "x", "language": "../es"}, "does not look right"),
    ],
)
async def test_a_wrong_text_is_refused(client: Client, body: dict[str, Any], says: str) -> None:
    answer = await client().post("/voice/text-to-speech", json=body)
    assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.text


async def test_a_text_without_a_word_is_silence(client: Client) -> None:
    for kind in ("wav", "mp3", "pcm", "opus"):
        answer = await client().post("/voice/text-to-speech", json={"text": "…!", "format": kind})
        assert answer.status_code == 200
        assert kind != "wav" or len(answer.content) == 44


async def test_a_wav_that_takes_long_is_sent_as_it_comes() -> None:
    over = []

    async def pieces() -> Any:
        for _ in range(3):
            await asyncio.sleep(0.5)
            yield b"\1\0" * 2400

    async def on_over() -> None:
        over.append(True)

    answer: Any = await respond(pieces(), "wav", on_over)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    await answer({"type": "http", "method": "POST"}, receive, send)
    bodies = [m["body"] for m in sent if m["type"] == "http.response.body" and m["body"]]
    assert len(bodies) >= 2
    assert bodies[0][40:44] == b"\xff\xff\xff\xff"
    assert (len(b"".join(bodies)), over) == (44 + 3 * 4800, [True])


async def test_a_client_that_goes_gives_the_voice_back() -> None:
    state: list[str] = []

    async def pieces() -> Any:
        try:
            while True:
                yield b"\1\0" * 24_000
                await asyncio.sleep(0.01)
        finally:
            state.append("hushed")

    async def on_over() -> None:
        state.append("settled")

    async def gone(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    answer: Any = await respond(pieces(), "mp3", on_over)
    await answer({"type": "http", "method": "POST"}, receive, gone)
    assert state == ["hushed", "settled"]


class TestFailing:
    """Providers that fail."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        fail = {"PARLEY_STT__SCRIPTED__FAIL": "error", "PARLEY_TTS__SCRIPTED__FAIL": "error"}
        return {**fail}

    async def test_nobody_who_can_do_it_is_503(self, app: App, client: Client) -> None:
        answer = await client().post("/voice/speech-to-text", **upload(GO.read_bytes()))
        assert (answer.status_code, "recognizer" in answer.json()["detail"]) == (503, True), answer.text
        answer = await client().post("/voice/text-to-speech", json={"text": "hello", "format": "mp3"})
        assert (answer.status_code, "voice" in answer.json()["detail"]) == (503, True), answer.text
        sums = await app.parts.usage.by_provider()
        assert [(s.stage, s.requests, s.failed) for s in sums] == [("stt", 1, 1), ("tts", 1, 1)]


# -- turns of a talk ------------------------------------------------------------------------------------


async def ended(app: App, session_id: str) -> dict[str, Any]:
    """The conversation's file, once it is over."""
    live = app.sessions.get(session_id)
    assert live is not None
    await live.end("the test is over")
    found = await app.archive.conversation(session_id)
    assert found is not None
    return found


async def test_a_recorded_turn_is_a_turn_of_a_talk(app: App, client: Client) -> None:
    browser = client()
    answer = await browser.post("/voice-agent/process", **upload(GO.read_bytes()))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["user_input"], found["agent_response"]) == (SAID, "Three words suffice.")
    with wave.open(io.BytesIO(base64.b64decode(found["audio_base64"]))) as wav:
        assert (wav.getframerate(), wav.getnchannels()) == (24_000, 1)
        assert abs(wav.getnframes() / 24_000 - 0.8) < 0.1
    again = await browser.post(
        "/voice-agent/process", **upload(recorded_by_a_browser("webm"), session_id=found["session_id"])
    )
    assert again.status_code == 200, again.text
    assert again.json()["session_id"] == found["session_id"]

    talk = await ended(app, found["session_id"])
    said = [(m["role"], m["content"]) for m in talk["messages"]]
    assert said == [("user", SAID), ("assistant", "Three words suffice.")] * 2
    assert [m.get("audio") for m in talk["messages"]] == [
        *("0001_user.mp3", "0002_agent.mp3", "0003_user.mp3", "0004_agent.mp3")
    ]
    assert not any(m.get("interrupted") for m in talk["messages"])
    places = [(m["start_ms"], m["end_ms"]) for m in talk["messages"]]
    assert all(a[1] <= b[0] + 250 for a, b in itertools.pairwise(places)), places
    assert talk["cost_breakdown"]["stt_cost"] == pytest.approx(2 * SECONDS / 60 * 0.6, rel=0.05)
    assert talk["cost_breakdown"]["tts_cost"] > 0
    listed = await app.archive.audio_files(found["session_id"])
    assert [f["filename"] for f in listed][-1] == "conversation.mp3"
    assert listed[0]["duration_ms"] == pytest.approx(SECONDS * 1000, abs=300)


async def test_a_typed_conversation(app: App, client: Client) -> None:
    program = await bearer(client)
    answer = await program.post("/conversation/start", json={"customer_id": "C-42"})
    assert answer.status_code == 201, answer.text
    session_id = answer.json()["session_id"]
    assert answer.json() == {"session_id": session_id, "greeting": "Hello! How can I help?"}
    body = {"session_id": session_id, "text": " good morning "}
    answer = await program.post("/conversation/process", json=body)
    assert (answer.status_code, answer.json()) == (200, {"response": "Three words suffice."})
    assert "C-42" in app.sessions.get(session_id).dialogue.system_prompt  # type: ignore[union-attr]

    stranger = await client().post("/conversation/process", json=body)
    assert stranger.status_code == 404
    talk = await ended(app, session_id)
    assert [(m["role"], m["content"]) for m in talk["messages"]] == [
        ("assistant", "Hello! How can I help?"),
        ("user", "good morning"),
        ("assistant", "Three words suffice."),
    ]
    assert talk["messages"][0]["type"] == "welcome"
    answer = await program.post("/conversation/process", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (409, "This session has ended.")


async def test_turns_can_be_typed_and_recorded_in_one_talk(client: Client) -> None:
    browser = client()
    session_id = (await browser.post("/conversation/start")).json()["session_id"]
    answer = await browser.post("/voice-agent/process", **upload(GO.read_bytes(), session_id=session_id))
    assert answer.status_code == 200, answer.text
    answer = await browser.post("/conversation/process", json={"session_id": session_id, "text": "and?"})
    assert answer.json() == {"response": "Three words suffice."}


async def test_a_busy_line_and_a_silent_recording(app: App, client: Client) -> None:
    browser = client()
    session_id = (await browser.post("/conversation/start")).json()["session_id"]
    session = app.sessions.get(session_id)
    assert session is not None

    def kick() -> None: ...

    session.attach(kick)
    answer = await browser.post("/voice-agent/process", **upload(GO.read_bytes(), session_id=session_id))
    assert (answer.status_code, "only one can be" in answer.json()["detail"]) == (409, True)
    session.detach(kick)

    asking = asyncio.create_task(
        browser.post("/voice-agent/process", **upload(GO.read_bytes(), session_id=session_id))
    )
    while not session.attached:
        await asyncio.sleep(0.005)
    session.attach(kick)
    answer = await asking
    assert (answer.status_code, "taken over" in answer.json()["detail"]) == (409, True)
    assert session.attached
    session.detach(kick)


class TestOnlyNoise:
    """A recognizer that finds no words."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_STT__SCRIPTED__FAIL": "empty"}

    async def test_no_words_are_no_turn(self, client: Client) -> None:
        answer = await client().post("/voice-agent/process", **upload(GO.read_bytes()))
        assert (answer.status_code, "No words" in answer.json()["detail"]) == (422, True), answer.text


class TestNoMind:
    """A model that fails: the agent says that it is sorry, by voice if it has one."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_LLM__SCRIPTED__FAIL": "error"}

    async def test_an_apology_is_an_answer(self, client: Client) -> None:
        answer = await client().post("/voice-agent/process", **upload(GO.read_bytes()))
        assert answer.status_code == 200, answer.text
        assert "try again" in answer.json()["agent_response"]
        assert len(answer.json()["audio_base64"]) > 1000


class TestNeitherMindNorVoice:
    """Nothing is left but words."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_LLM__SCRIPTED__FAIL": "error", "PARLEY_TTS__SCRIPTED__FAIL": "error"}

    async def test_an_apology_in_writing(self, client: Client) -> None:
        answer = await client().post("/voice-agent/process", **upload(GO.read_bytes()))
        assert answer.status_code == 200, answer.text
        assert "try again" in answer.json()["agent_response"]
        assert answer.json()["audio_base64"] == ""


class TestNoGuests:
    """A server for users alone."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__GUESTS": "false"}

    async def test_strangers_are_sent_away(self, client: Client) -> None:
        answers = [
            await client().post("/voice/speech-to-text", **upload(GO.read_bytes())),
            await client().post("/voice/text-to-speech", json={"text": "hello"}),
            await client().post("/voice-agent/process", **upload(GO.read_bytes())),
            await client().post("/conversation/start"),
        ]
        assert [answer.status_code for answer in answers] == [401] * 4


def test_the_embedded_default_hears_and_speaks(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(PARLEY_STT__TIMEOUT_MS="20000")  # others test on this machine too
    with httpx2.Client(base_url=server.url, timeout=60) as http:
        answer = http.post("/voice/speech-to-text", files={"audio_file": ("go.wav", GO.read_bytes())})
        assert answer.json()["text"] == "go forward ten meters"
        answer = http.post("/voice/text-to-speech", json={"text": "Hello there.", "format": "opus"})
        sound, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert 0.4 < len(sound) / rate_hz < 3
        answer = http.post("/voice-agent/process", files={"audio_file": ("go.flac", clip("FLAC"))})
        assert answer.status_code == 200, answer.text
        assert answer.json()["user_input"] == "go forward ten meters"
        assert len(base64.b64decode(answer.json()["audio_base64"])) > 10_000


def test_recordings_reach_the_worker_that_has_the_talk(tmp_path: Path) -> None:
    fast = {"PARLEY_LLM__SCRIPTED__TEXT": "Yes.", "PARLEY_TTS__SCRIPTED__SPEED": "100"}
    server = LiveServer(tmp_path, {**SCRIPTED, **fast}, arguments=("--workers", "2"))
    try:
        session_id = ""
        for _ in range(8):  # each over a connection of its own: the system chooses the worker
            file = {"audio_file": ("go.wav", GO.read_bytes())}
            answer = httpx2.post(
                server.url + "/voice-agent/process", files=file, data={"session_id": session_id}, timeout=60
            )
            assert answer.status_code == 200, answer.text
            session_id = session_id or answer.json()["session_id"]
            assert answer.json()["session_id"] == session_id
        found = httpx2.get(f"{server.url}/api/conversation/{session_id}").json()
        assert len([m for m in found["messages"] if m["role"] == "user"]) == 8
    finally:
        server.stop()
