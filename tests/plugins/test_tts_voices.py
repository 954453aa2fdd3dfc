"""What the voices on this machine share: cutting a text, word times, a model's hidden output, fetching."""

import asyncio
import http.server
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins
from pipeline.contracts import Env, SpeechRequest
from pipeline.tts.onnx_outputs import nodes, with_output
from pipeline.tts.text import is_speakable
from pipeline.tts.voice_files import VoiceError, missing_files, voices_dir, wanted_files
from pipeline.tts.voice_pool import FIRST_CHARS, PIECE_CHARS, cut
from pipeline.tts.voice_times import Phone, is_sound, spread, word_times
from server.models import fetch, list_models
from tests.support.tiny_voice import kokoro_model, piper_model, piper_voice

# -- pieces ---------------------------------------------------------------------------------------------


def test_the_first_sentence_is_a_piece_of_its_own() -> None:
    text = "Hello there, my friend. You have a visit. It is on Monday."
    assert cut(text) == [(0, "Hello there, my friend. "), (24, "You have a visit. It is on Monday.")]


@pytest.mark.parametrize(
    "text", ["No. I am sorry", "Your doctor is Dr. Smith", "Version 3.11 is the one you want"]
)
def test_a_short_answer_and_an_abbreviation_are_not_cut_off(text: str) -> None:
    assert cut(text) == [(0, text)]


@given(st.text(alphabet="ab1.,!? \n👋日", max_size=600))
def test_pieces_hold_all_that_can_be_said_in_its_place(text: str) -> None:
    kept = [" "] * len(text)
    for number, (offset, piece) in enumerate(cut(text)):
        assert 0 < len(piece) <= (FIRST_CHARS if number == 0 and offset == 0 else PIECE_CHARS)
        assert text[offset : offset + len(piece)] == piece
        kept[offset : offset + len(piece)] = piece
    assert [c for c in kept if is_speakable(c)] == [c for c in text if is_speakable(c)]


# -- word times -----------------------------------------------------------------------------------------


def phones(said: str, each_ms: float = 100.0) -> list[Phone]:
    return [Phone(symbol, i * each_ms, (i + 1) * each_ms) for i, symbol in enumerate(said)]


def letters(word: str) -> int:
    return sum(is_sound(c) for c in word)


def test_as_many_words_are_matched_one_by_one() -> None:
    assert word_times("Hi, you!", phones("haɪ, ju!"), letters) == [(0, 3, 0, 300), (4, 8, 500, 700)]


def test_a_number_takes_the_words_it_is_said_with() -> None:
    def size_of(word: str) -> int:
        return {"24": 10}.get(word, len(word))

    times = word_times("on 24 may", phones("on twɛnti fɔː meɪ"), size_of)
    assert times == [(0, 2, 0, 200), (3, 5, 300, 1300), (6, 9, 1400, 1700)]


def test_words_that_are_run_together_share_their_phonemes() -> None:
    assert word_times("of the day", phones("ʌvðə deɪ"), letters)[:2] == [(0, 2, 0, 200), (3, 6, 200, 400)]


@given(st.text(alphabet="ab1 .,", max_size=40), st.text(alphabet="əkˈː ,.", max_size=40))
def test_word_times_are_in_order_and_inside_the_sound(text: str, said: str) -> None:
    end_ms = 0
    for start, end, from_ms, to_ms in word_times(text, phones(said), letters):
        assert is_speakable(text[start:end])
        assert end_ms <= from_ms <= to_ms <= len(said) * 100
        end_ms = to_ms


def test_an_estimate_fills_the_whole_time_and_gives_stress_none() -> None:
    times = spread("ˈaː b.", 1000.0, 2000.0)
    assert (times[0].start_ms, times[0].end_ms) == (1000.0, 1000.0)
    assert times[-1].end_ms == pytest.approx(2000.0)
    assert times[1].end_ms - times[1].start_ms == pytest.approx(2 * (times[2].end_ms - times[2].start_ms))


# -- the hidden output ----------------------------------------------------------------------------------


def test_durations_become_an_output_and_the_sound_stays_the_same() -> None:
    feeds: dict[str, Any] = {
        "input": np.array([[1, 0, 20, 0, 25, 0, 2]], np.int64),
        "input_lengths": np.array([7], np.int64),
        "scales": np.array([0.667, 1.0, 0.8], np.float32),
    }
    model = piper_model()
    (alone,) = run(model, feeds)
    sound, durations = run(with_output(model, "Ceil", "duration"), feeds)
    assert np.array_equal(alone, sound)
    assert durations.shape == (1, 7)
    assert sound.size == durations.sum() * 256


def run(model: bytes, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def test_what_is_there_already_or_not_clear_is_left_alone() -> None:
    once = with_output(kokoro_model(), "Round", "duration")
    assert ("Identity", ["duration"]) in list(nodes(once))
    assert with_output(once, "Round", "duration") == once
    two = piper_model(has_durations=False)
    assert with_output(two, "Ceil", "duration") == two
    assert with_output(once, "Ceil", "duration") == once


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange_to_look_at(data: bytes) -> None:
    assert with_output(data, "Ceil", "duration").startswith(data)


# -- fetching -------------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as a download needs, with one voice."""

    folder: Path
    prefix = "/rhasspy/piper-voices/resolve/main/fr/fr_FR/siwis/low/"
    cut_short = False

    def do_GET(self) -> None:
        file = self.folder / self.path.rpartition("/")[2]
        if not self.path.startswith(self.prefix) or not file.is_file():
            self.send_error(404)
            return
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:-10] if self.cut_short and file.suffix == ".onnx" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    piper_voice(tmp_path / "published", "fr_FR-siwis-low", espeak_voice="fr")
    handler: type[Hub] = type("OneHub", (Hub,), {"folder": tmp_path / "published"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("hub")
def test_a_voice_is_fetched_once_and_speaks_by_its_name() -> None:
    out = io.StringIO()
    fetch("fr_FR-siwis-low", out)
    assert "is ready: " in out.getvalue()
    assert '[tts.piper] model = "fr_FR-siwis-low"' in out.getvalue()
    row = next(row for row in list_models() if row.name == "fr_FR-siwis-low")
    assert (row.kind, row.plugin, row.installed) == ("tts", "piper", True)
    out = io.StringIO()
    fetch("fr_FR-siwis-low", out)
    assert out.getvalue().startswith("fr_FR-siwis-low is already here: ")
    assert asyncio.run(spoken_bytes("fr_FR-siwis-low")) > 10_000


async def spoken_bytes(model: str) -> int:
    engine = plugins.build("tts", "piper", {"model": model}, Env(language="fr"))
    await engine.warm()
    try:
        items = [item async for item in engine.speak(SpeechRequest("Bonjour, mon ami."))]
        return sum(len(item) for item in items if isinstance(item, bytes))
    finally:
        await engine.aclose()


@pytest.mark.usefixtures("hub")
def test_a_voice_that_the_hub_does_not_have_is_one_sentence() -> None:
    with pytest.raises(
        VoiceError, match=r"en_US-nobody-low could not be downloaded \(there is no such voice\)"
    ):
        fetch("en_US-nobody-low", io.StringIO())


def test_what_was_broken_off_is_not_taken_for_a_voice(hub: type[Hub]) -> None:
    hub.cut_short = True
    with pytest.raises(VoiceError, match=r"could not be downloaded \(.*\); check the name and the network"):
        fetch("fr_FR-siwis-low", io.StringIO())
    assert [p.name for p in voices_dir().iterdir()] == ["fr_FR-siwis-low.onnx.json"]
    hub.cut_short = False
    fetch("fr_FR-siwis-low", io.StringIO())
    assert missing_files("fr_FR-siwis-low") == {}


@pytest.mark.parametrize("name", ["kokoro", "en_US-lessac-medium"])
def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with socket.socket() as nobody:  # bound, but not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(VoiceError, match="check the name and the network") as told:
            fetch(name, io.StringIO())
    assert "\n" not in str(told.value)


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(VoiceError, match="timed out"):
            fetch("kokoro", io.StringIO(), stall_s=0.2)
        assert time.monotonic() - started < 5


def test_names_with_letters_of_their_language_are_voices() -> None:
    assert list(wanted_files("pt_PT-tugão-medium")) == [
        "pt_PT-tugão-medium.onnx.json",
        "pt_PT-tugão-medium.onnx",
    ]
    assert wanted_files("base.en") == {}
