"""Voices of a few kilobytes: real ONNX models with the inputs and outputs of Piper's and Kokoro's, that hum.

Each phoneme lasts a number of frames, read from a table and scaled by the speed, and is a tone of its own: so
the length of the sound depends on the phonemes and the speed, and nothing depends on chance. The real
packages load and run them like published voices. Written as Protocol Buffers by hand (onnx.proto3 of ONNX
1.17): no package is needed.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.tts.onnx_outputs import field

OPSET, IR_VERSION = 17, 8
_FLOAT, _INT64 = 1, 7
PIPER_SYMBOLS = "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyzæçðøŋœɐɑɒɔəɚɛɜɡɪɫɲɹɾʁʃʊʌʒʔʲˈˌːβθχᵻ\u0303\u0329"
PIPER_HOP, KOKORO_HOP = 256, 600
KOKORO_VOICES = ("af_heart", "am_adam", "bf_emma", "ef_dora")


def piper_voice(
    folder: Path,
    name: str = "en_US-tiny-low",
    *,
    rate_hz: int = 16_000,
    espeak_voice: str = "en-us",
    speakers: tuple[str, ...] = (),
    has_durations: bool = True,
    slowness: int = 0,
    **config: Any,
) -> Path:
    """Write NAME.onnx and NAME.onnx.json; the model's path. `config` overrides keys of the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "audio": {"sample_rate": rate_hz, "quality": name.rpartition("-")[2]},
        "espeak": {"voice": espeak_voice},
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {symbol: [i] for i, symbol in enumerate(PIPER_SYMBOLS)},
        "num_symbols": len(PIPER_SYMBOLS),
        "num_speakers": max(1, len(speakers)),
        "speaker_id_map": {speaker: i for i, speaker in enumerate(speakers)},
        "language": {"code": name.partition("-")[0]},
        "hop_length": PIPER_HOP,
    }
    (folder / f"{name}.onnx.json").write_text(json.dumps(settings | config), "utf-8")
    path = folder / f"{name}.onnx"
    path.write_bytes(piper_model(len(speakers) > 1, has_durations, slowness))
    return path


def kokoro_voice(folder: Path, names: tuple[str, ...] = KOKORO_VOICES) -> tuple[Path, Path]:
    """Write a model and a file of voices; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    model, voices = folder / "kokoro-tiny.onnx", folder / "voices-tiny.bin"
    model.write_bytes(kokoro_model())
    styles = {name: np.full((510, 1, 256), 1.0 + i, np.float32) for i, name in enumerate(names)}
    with voices.open("wb") as out:
        np.savez_compressed(out, **styles)  # type: ignore[arg-type]  # numpy's stub wants to know the keys
    return model, voices


def piper_model(has_speakers: bool = False, has_durations: bool = True, slowness: int = 0) -> bytes:
    """A VITS as Piper exports it; its durations are the only Ceil, as in published voices."""
    # With two nodes of that name nobody can tell which one makes the durations.
    rounding = ["Ceil"] if has_durations else ["Ceil", "Ceil"]
    model = _Model()
    model.node("Gather", ["scales", model.ints(1)], "length_scale")
    model.node("Gather", [model.floats(_lengths(len(PIPER_SYMBOLS), 2.0)), "input"], "plain")
    model.node("Mul", ["plain", "length_scale"], "widths")
    for i, op in enumerate(rounding):
        model.node(op, ["widths" if i == 0 else f"ceil_{i - 1}"], f"ceil_{i}")
    model.node("Identity", [f"ceil_{len(rounding) - 1}"], "frames")
    pitch = model.floats([1.0])
    if has_speakers:
        model.node("Gather", [model.floats([1.0, 3.0, 5.0]), "sid"], pitch := "pitch")
    model.hum("input", pitch, len(PIPER_SYMBOLS), PIPER_HOP, [1, 1, 1, -1], "output", slowness)
    inputs = [_value("input", _INT64, (1, "n")), _value("input_lengths", _INT64, (1,))]
    inputs.append(_value("scales", _FLOAT, (3,)))
    inputs += [_value("sid", _INT64, (1,))] if has_speakers else []
    return model.written(inputs, [_value("output", _FLOAT, (1, 1, 1, "time"))])


def kokoro_model() -> bytes:
    """A Kokoro as kokoro-onnx's release has it: tokens, style and speed in, sound out; one Round."""
    model = _Model()
    model.node("Gather", [model.floats(_lengths(256, 2.0)), "tokens"], "plain")
    model.node("Div", ["plain", "speed"], "widths")
    model.node("Round", ["widths"], "rounded")
    model.node("Max", ["rounded", model.floats([1.0])], "frames")
    model.node("Gather", ["style", model.ints(0)], "pitches", axis=1)
    model.hum("tokens", "pitches", 256, KOKORO_HOP, [-1], "audio")
    inputs = [_value("tokens", _INT64, (1, "n")), _value("style", _FLOAT, (1, 256))]
    return model.written([*inputs, _value("speed", _FLOAT, (1,))], [_value("audio", _FLOAT, ("time",))])


def _lengths(count: int, shortest: float) -> list[float]:
    return [shortest + 0.3 * (i * 7 % 5) for i in range(count)]


class _Model:
    """A graph being written, node by node."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def node(self, op: str, inputs: list[str], output: str, **attributes: int) -> None:
        data = b"".join(field(1, name.encode()) for name in inputs)
        data += field(2, output.encode()) + field(3, f"make {output}".encode()) + field(4, op.encode())
        for name, value in attributes.items():
            data += field(5, field(1, name.encode()) + field(3, value) + field(20, 2))
        self._nodes.append(data)

    def floats(self, values: list[float]) -> str:
        return self._constant(_FLOAT, [len(values)], struct.pack(f"<{len(values)}f", *values))

    def ints(self, *values: int, scalar: bool = False) -> str:
        dims = [] if scalar else [len(values)]
        return self._constant(_INT64, dims, struct.pack(f"<{len(values)}q", *values))

    def hum(
        self, ids: str, pitch: str, symbols: int, hop: int, shape: list[int], output: str, slowness: int = 0
    ) -> None:
        """Sound of `frames` x `hop` samples: of each id its own tone, `pitch` times as high."""
        # A whole number of waves a frame, so that frames join without a click; the first id is silence.
        tones = [math.tau * (1 + i % 4) / hop if i else 0.0 for i in range(symbols)]
        self.node("Cast", ["frames"], "counts", to=_INT64)
        self.node("Reshape", ["counts", self.ints(-1)], "flat_counts")
        self.node("Reshape", [ids, self.ints(-1)], "flat_ids")
        self.node("CumSum", ["flat_counts", self.ints(0, scalar=True)], "ends")
        self.node("ReduceSum", ["flat_counts"], "total", keepdims=0)
        self.node("Range", [self.ints(0, scalar=True), "total", self.ints(1, scalar=True)], "at")
        self.node("Unsqueeze", ["at", self.ints(1)], "at_column")
        self.node("GreaterOrEqual", ["at_column", "ends"], "is_over")
        self.node("Cast", ["is_over"], "overs", to=_INT64)
        self.node("ReduceSum", ["overs", self.ints(1)], "index", keepdims=0)
        self.node("Gather", ["flat_ids", "index"], "sounding")
        self.node("Gather", [self.floats(tones), "sounding"], "tone")
        self.node("Reshape", [pitch, self.ints(-1)], "flat_pitch")
        self.node("Mul", ["tone", "flat_pitch"], "pitched")
        self.node("Unsqueeze", ["pitched", self.ints(1)], "pitched_column")
        self.node("Mul", ["pitched_column", self.floats([float(i) for i in range(hop)])], "phase")
        if slowness:  # so many multiplications by one, to and fro
            same = self._constant(_FLOAT, [hop, hop], np.eye(hop, dtype=np.float32).tobytes())
            for i in range(slowness):
                self.node("MatMul", ["phase" if i == 0 else f"phase_{i - 1}", same], f"phase_{i}")
        self.node("Sin", [f"phase_{slowness - 1}" if slowness else "phase"], "wave")
        self.node("Mul", ["wave", self.floats([0.4])], "quiet_wave")
        self.node("Reshape", ["quiet_wave", self.ints(*shape)], output)

    def written(self, inputs: list[bytes], outputs: list[bytes]) -> bytes:
        graph = b"".join(field(1, node) for node in self._nodes) + field(2, b"tiny")
        graph += b"".join(field(5, constant) for constant in self._constants)
        graph += b"".join(field(11, value) for value in inputs)
        graph += b"".join(field(12, value) for value in outputs)
        opset = field(1, b"") + field(2, OPSET)
        return field(1, IR_VERSION) + field(8, opset) + field(7, graph)

    def _constant(self, kind: int, dims: list[int], raw: bytes) -> str:
        name = f"constant_{len(self._constants)}"
        data = b"".join(field(1, dim) for dim in dims) + field(2, kind)
        self._constants.append(data + field(8, name.encode()) + field(9, raw))
        return name


def _value(name: str, kind: int, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(
        field(1, field(2, dim.encode()) if isinstance(dim, str) else field(1, dim)) for dim in shape
    )
    return field(1, name.encode()) + field(2, field(1, field(1, kind) + field(2, dims)))


def crossings_hz(pcm: bytes, rate_hz: int) -> float:
    """How often the sound goes up through nought in a second: its pitch, more or less."""
    samples: npt.NDArray[np.int16] = np.frombuffer(pcm, np.int16)
    ups = np.count_nonzero((samples[:-1] < 0) & (samples[1:] >= 0))
    return float(ups) * rate_hz / max(1, len(samples))
