"""Silero VAD: a small recurrent network that tells speech from other sounds, 32 ms at a time.

The model is the ONNX file that the faster-whisper wheel ships. faster-whisper itself is never imported (it
would load a whole recognizer): its folder is looked up and the file is run by onnxruntime alone. The network
is loaded once per process and shared; what it remembers of a microphone lives in that session's detector.
"""

import asyncio
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contracts import Detector, Env, Unavailable

MODEL_FILE = "silero_vad_v6.onnx"
WINDOW_SAMPLES = 512  # 32 ms: the only window length the network was trained on at 16 kHz
CONTEXT_SAMPLES = 64  # the end of the window before, which the network wants to see again
EXIT_MARGIN = 0.15  # speech goes on until the probability is this far below the threshold, as upstream does
QUIET = 0.05  # of the loudest frame's energy (-13 dB): below it speech may be at its end
FADING = 0.98  # a frame: what was loudest is forgotten over a second
_STATE_SHAPE = (1, 1, 128)
_SCALE = np.float32(1.0 / 32768.0)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Options:
    """`[vad.silero]`."""

    threshold: float = 0.5
    """Probability from which a window counts as speech; it ends 0.15 lower."""


class Network:
    """The loaded model. Holds no state between calls, so every session may use the same one."""

    def __init__(self, path: Path) -> None:
        import onnxruntime  # 70 ms and 30 MB: only where a network is really loaded

        settings = onnxruntime.SessionOptions()
        # One window is 0.1 ms of work: handing it to another thread would cost more than doing it.
        settings.intra_op_num_threads = 1
        settings.inter_op_num_threads = 1
        settings.enable_cpu_mem_arena = False
        settings.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            str(path), sess_options=settings, providers=["CPUExecutionProvider"]
        )
        names = {i.name for i in self._session.get_inputs()}
        if names != {"input", "h", "c"}:
            raise Unavailable(
                f"{MODEL_FILE} has inputs this version cannot feed ({', '.join(sorted(names))}): "
                "install faster-whisper 1.2."
            )

    def run(self, windows: Floats, h: Floats, c: Floats) -> tuple[Floats, Floats, Floats]:
        """Speech probability of each row of `windows` (n x 576: context and window), in order, and the
        state after the last."""
        probabilities, h, c = self._session.run(None, {"input": windows, "h": h, "c": c})
        return probabilities.reshape(-1), h, c


_loaded: dict[Path, Network] = {}


def model_path() -> Path:
    """Where the model is. Raises `Unavailable` when a package or the file is missing."""
    for package in ("onnxruntime", "faster_whisper"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"Silero needs the package {package}: pip install 'parley[silero]'.")
    spec = importlib.util.find_spec("faster_whisper")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "assets" / MODEL_FILE
        if path.is_file():
            return path
    raise Unavailable(f"The installed faster-whisper does not ship {MODEL_FILE}: install faster-whisper 1.2.")


async def load() -> Network:
    """The process's one network, loaded in a thread the first time. Raises `Unavailable`."""
    path = model_path()
    if path not in _loaded:
        network = await asyncio.to_thread(_load, path)
        _loaded.setdefault(path, network)
    return _loaded[path]


def _load(path: Path) -> Network:
    try:
        network = Network(path)
    except ImportError as error:
        raise Unavailable(
            f"Silero cannot load onnxruntime ({error}): pip install 'parley[silero]'."
        ) from error
    except Unavailable:
        raise
    # A damaged file or a foreign format: onnxruntime has a class for each and no base for them but this.
    except Exception as error:
        raise Unavailable(f"Silero's model {MODEL_FILE} cannot be read: {error}") from error
    zeros = np.zeros(_STATE_SHAPE, np.float32)
    for rows in (1, 2):  # the first run of a shape allocates: not in somebody's first word
        network.run(np.zeros((rows, CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32), zeros, zeros)
    return network


class SileroDetector:
    """One microphone through the network.

    A frame is 20 ms and a window 32 ms, so the answer for a frame is that of the last whole window: at
    most 12 ms old. `probability` is what the network said of it. Speech begins at `enter` and lasts until
    the probability falls below `leave`.

    With `pair`, a window that completes in the midst of loud speech is kept until the next one completes or
    a frame is `QUIET` beside the loudest: two windows in one run cost little more than one, and speech does
    not end at its loudest. The probabilities are the same; the end of speech is found no later.
    """

    __slots__ = (
        "_c",
        "_enter",
        "_fill",
        "_h",
        "_input",
        "_leave",
        "_loudest",
        "_network",
        "_pair",
        "_row",
        "_speaking",
        "_waits",
        "probability",
    )

    def __init__(self, network: Network, enter: float, leave: float, *, pair: bool = False) -> None:
        self._network = network
        self._enter, self._leave, self._pair = enter, leave, pair
        self._h: Floats = np.zeros(_STATE_SHAPE, np.float32)
        self._c: Floats = np.zeros(_STATE_SHAPE, np.float32)
        self._input: Floats = np.zeros((2, CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        self._row: Floats = self._input[0]
        self._fill = CONTEXT_SAMPLES
        self._waits = False
        """The first row is a whole window that has not been judged yet."""
        self._loudest = 0.0
        self._speaking = False
        self.probability = 0.0

    def is_speech(self, frame: bytes) -> bool:
        samples = np.multiply(np.frombuffer(frame, "<i2"), _SCALE, dtype=np.float32)
        loud = self._is_loud(samples) if self._pair and self._speaking else False
        if self._waits and not loud:
            self._judge(1)
        row, fill = self._row, self._fill
        take = min(len(samples), len(row) - fill)
        row[fill : fill + take] = samples[:take]
        fill += take
        if fill == len(row):
            fill = self._completed(samples[take:], loud)
        self._fill = fill
        return self._speaking

    def _completed(self, rest: Floats, loud: bool) -> int:
        """A window is whole; `rest` belongs to the next one. Returns how far that is filled."""
        row = self._row
        if loud and not self._waits:
            self._waits, self._row = True, self._input[1]
        else:
            self._judge(2 if self._waits else 1)
            self._row = self._input[0]
        self._row[:CONTEXT_SAMPLES] = row[-CONTEXT_SAMPLES:]
        self._row[CONTEXT_SAMPLES : CONTEXT_SAMPLES + len(rest)] = rest
        return CONTEXT_SAMPLES + len(rest)

    def _judge(self, rows: int) -> None:
        """Run the network over what is complete. A second row that is not becomes the first."""
        probabilities, self._h, self._c = self._network.run(self._input[:rows], self._h, self._c)
        for probability in probabilities.tolist():
            self._decide(probability)
        if self._waits and rows == 1:
            self._input[0] = self._input[1]
            self._row = self._input[0]
        self._waits = False

    def _is_loud(self, samples: Floats) -> bool:
        energy = float(np.dot(samples, samples))
        self._loudest = max(energy, self._loudest * FADING)
        return energy > self._loudest * QUIET

    def catch_up(self, pcm: bytes) -> bool:
        """Answer for now after a stretch that was not listened to.

        `pcm` ends with the current frame. Its last whole windows are judged in one run; what is left at its
        beginning is the first one's context. What was learnt of the voice and the room before is kept:
        from a blank state a hoarse voice was found up to 1.5 s late.
        """
        samples = np.frombuffer(pcm, "<i2")
        count = len(samples) // WINDOW_SAMPLES
        self._row, self._waits = self._input[0], False
        if count == 0:
            self._fill = CONTEXT_SAMPLES
            return self.is_speech(pcm)
        heard: Floats = np.zeros(CONTEXT_SAMPLES + count * WINDOW_SAMPLES, np.float32)
        known = min(len(samples), len(heard))
        np.multiply(samples[-known:], _SCALE, out=heard[-known:])
        windows = np.lib.stride_tricks.sliding_window_view(heard, CONTEXT_SAMPLES + WINDOW_SAMPLES)
        batch = np.ascontiguousarray(windows[::WINDOW_SAMPLES])
        probabilities, self._h, self._c = self._network.run(batch, self._h, self._c)
        self._row[:CONTEXT_SAMPLES] = heard[-CONTEXT_SAMPLES:]
        self._fill = CONTEXT_SAMPLES
        self._decide(float(probabilities[-1]))
        return self._speaking

    def _decide(self, probability: float) -> None:
        self.probability = probability
        self._speaking = probability >= (self._leave if self._speaking else self._enter)


class SileroEngine:
    """Loads the network once and opens a detector per session."""

    def __init__(self, options: Options) -> None:
        self._threshold = options.threshold
        self._network: Network | None = None

    async def warm(self) -> None:
        self._network = await load()

    def open(self) -> Detector:
        if self._network is None:
            raise RuntimeError("open() before warm()")
        return SileroDetector(self._network, self._threshold, self._threshold - EXIT_MARGIN)

    async def aclose(self) -> None:
        self._network = None


def create(options: Options, env: Env) -> Any:  # noqa: ARG001  (silero needs nothing of its surroundings)
    """Raises `Unavailable` when the model or onnxruntime is not installed."""
    model_path()
    return SileroEngine(options)
