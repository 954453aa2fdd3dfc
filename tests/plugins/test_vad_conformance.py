"""What every detector plug-in must do, run over all of them, on recorded speech and recorded noise."""

import asyncio
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import FRAME_BYTES, FRAME_MS, Detector, Env, Unavailable
from pipeline.vad import silero, webrtc
from tests.support.speech import clip

# Clips with their first segment (start, end in ms), each edge good to 50 ms.
SPEECH = {
    "goforward.wav": (500, 2220),
    "austen_0890.wav": (280, 5100),
    "numbers_three_turns.wav": (850, 2560),  # quiet: about -30 dBFS
}
NOISE = ("nonspeech_dishes.wav", "nonspeech_music.wav", "nonspeech_roomtone_clicks.wav", "nonspeech_dog.wav")
BREATHS_MS = ((1100, 1600), (2300, 3350), (5850, 6420), (10250, 10750))


@dataclass(frozen=True)
class Case:
    """A way to run a plug-in, and what may be asked of it."""

    plugin: str
    options: Mapping[str, Any]
    onset_ms: int
    tail_ms: int
    false_run_ms: int | None
    """The longest run of "speech" in noise; None = it cannot tell noise from speech, and says so."""


CASES = {
    "webrtc": Case("webrtc", {}, onset_ms=120, tail_ms=150, false_run_ms=60),
    "webrtc alone": Case("webrtc", {"confirm": ""}, onset_ms=60, tail_ms=600, false_run_ms=None),
    "silero": Case("silero", {}, onset_ms=140, tail_ms=150, false_run_ms=60),
}


def test_every_detector_plugin_has_a_case() -> None:
    assert {case.plugin for case in CASES.values()} == set(plugins.names("vad"))


@pytest.fixture(scope="module")
def engines() -> dict[str, Any]:
    made = {name: plugins.build("vad", case.plugin, case.options, Env()) for name, case in CASES.items()}

    async def warm() -> None:
        for engine in made.values():
            await engine.warm()

    asyncio.run(warm())
    return made


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[i : i + FRAME_BYTES] for i in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]


def answers(detector: Detector, pcm: bytes) -> list[bool]:
    return [detector.is_speech(frame) for frame in frames(pcm)]


def longest_run_ms(said: list[bool]) -> int:
    best = run = 0
    for speech in said:
        run = run + 1 if speech else 0
        best = max(best, run)
    return best * FRAME_MS


def test_digital_silence_is_not_speech(engines: dict[str, Any], name: str) -> None:
    assert not any(answers(engines[name].open(), bytes(FRAME_BYTES * 100)))


@pytest.mark.parametrize("noise", NOISE)
def test_noise_is_never_speech_for_long(engines: dict[str, Any], name: str, noise: str) -> None:
    limit_ms = CASES[name].false_run_ms
    if limit_ms is None:
        pytest.skip("webrtcvad alone hears speech in noise: that is why it is confirmed")
    assert longest_run_ms(answers(engines[name].open(), clip(noise))) <= limit_ms


def test_breath_is_not_speech(engines: dict[str, Any], name: str) -> None:
    limit_ms = CASES[name].false_run_ms
    if limit_ms is None:
        pytest.skip("webrtcvad alone hears speech in breath")
    said = answers(engines[name].open(), clip("breaths_between_words.wav"))
    for start_ms, end_ms in BREATHS_MS:
        assert longest_run_ms(said[start_ms // FRAME_MS : end_ms // FRAME_MS]) <= limit_ms


@pytest.mark.parametrize("speech", sorted(SPEECH))
def test_speech_is_found_soon_and_let_go_soon(engines: dict[str, Any], name: str, speech: str) -> None:
    case, (start_ms, end_ms) = CASES[name], SPEECH[speech]
    said = answers(engines[name].open(), clip(speech)[: (end_ms + 600) * 32])
    first_ms = (said.index(True) + 1) * FRAME_MS  # the answer is known when its frame has been heard
    last_ms = (len(said) - said[::-1].index(True)) * FRAME_MS
    assert first_ms <= start_ms + case.onset_ms
    assert end_ms - 200 <= last_ms <= end_ms + case.tail_ms
    if case.false_run_ms is not None:
        assert first_ms >= start_ms - 60


def test_each_frame_gets_a_bool_however_loud(engines: dict[str, Any], name: str) -> None:
    detector = engines[name].open()
    loudest = b"\xff\x7f\x00\x80" * (FRAME_BYTES // 4)
    for frame in (loudest, bytes(FRAME_BYTES), b"\x01\x00" * (FRAME_BYTES // 2)):
        assert all(type(detector.is_speech(frame)) is bool for _ in range(20))


def test_detectors_do_not_hear_each_other(engines: dict[str, Any], name: str) -> None:
    """Fresh ones agree, and one beside a noisy neighbour answers as it does alone."""
    speech, noise = frames(clip("goforward.wav")), frames(clip("nonspeech_music.wav"))
    alone = answers(engines[name].open(), clip("goforward.wav"))
    mine, neighbour = engines[name].open(), engines[name].open()
    beside = []
    for frame, other in zip(speech, noise, strict=False):
        neighbour.is_speech(other)
        beside.append(mine.is_speech(frame))
    assert beside == alone


def test_what_was_heard_carries_over(engines: dict[str, Any], name: str) -> None:
    """The second half after the first is judged as in one go: nothing is forgotten between calls."""
    whole = answers(engines[name].open(), clip("austen_0890.wav"))
    detector, half = engines[name].open(), len(whole) // 2
    pcm = clip("austen_0890.wav")
    first = answers(detector, pcm[: half * FRAME_BYTES])
    assert first + answers(detector, pcm[half * FRAME_BYTES :]) == whole


# -- Silero behind the door -----------------------------------------------------------------------------


class CountingNetwork:
    """The real network, counting windows per call."""

    def __init__(self, network: silero.Network) -> None:
        self._network = network
        self.rows: list[int] = []

    def run(self, windows: Any, h: Any, c: Any) -> Any:
        self.rows.append(len(windows))
        return self._network.run(windows, h, c)


@pytest.fixture
def network() -> CountingNetwork:
    return CountingNetwork(asyncio.run(silero.load()))


def confirmed(network: Any) -> webrtc.ConfirmedDetector:
    o = webrtc.Options()
    second = silero.SileroDetector(network, o.threshold, o.exit_threshold)
    return webrtc.ConfirmedDetector(o.mode, o.hangover_ms // FRAME_MS, second)


def test_a_quiet_microphone_costs_silero_nothing(network: CountingNetwork) -> None:
    answers(confirmed(network), bytes(FRAME_BYTES * 500))
    assert network.rows == []


def test_no_frame_costs_more_than_two_windows(network: CountingNetwork) -> None:
    detector, runs = confirmed(network), []
    for frame in frames(clip("numbers_three_turns.wav")):
        before = len(network.rows)
        detector.is_speech(frame)
        runs.append(sum(network.rows[before:]))
    assert max(runs) == 2  # the frame that opens the door catches up with 64 ms
    assert sum(runs) < len(runs) * 0.625 * 0.8  # all windows would be 20/32 a frame; pauses are free


def test_the_network_is_loaded_once_a_process() -> None:
    async def twice() -> tuple[silero.Network, silero.Network]:
        return await silero.load(), await silero.load()

    first, second = asyncio.run(twice())
    assert first is second


def test_warm_says_whether_silero_confirms(engines: dict[str, Any]) -> None:
    assert engines["webrtc"].confirmed is True
    assert engines["webrtc alone"].confirmed is False


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As on a machine where the package is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == package else real(n, *a))


@pytest.mark.parametrize("package", ["onnxruntime", "faster_whisper"])
def test_without_its_packages_silero_is_unavailable(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    hide(monkeypatch, package)
    with pytest.raises(Unavailable, match=package):
        plugins.build("vad", "silero", {}, Env())


async def test_without_silero_webrtc_goes_on_alone_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hide(monkeypatch, "onnxruntime")
    engine = plugins.build("vad", "webrtc", {}, Env())
    with caplog.at_level(logging.WARNING):
        await engine.warm()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert engine.confirmed is False
    assert any(answers(engine.open(), clip("goforward.wav")))


def test_a_damaged_model_is_unavailable_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / silero.MODEL_FILE
    broken.write_bytes(b"not a model")
    monkeypatch.setattr(silero, "model_path", lambda: broken)
    with pytest.raises(Unavailable, match="cannot be read"):
        asyncio.run(silero.load())


def test_a_mode_that_webrtcvad_lacks_is_refused() -> None:
    with pytest.raises(Unavailable, match="mode"):
        plugins.build("vad", "webrtc", {"mode": 4}, Env())
