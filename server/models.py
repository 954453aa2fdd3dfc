"""`parley models`: which local models there are, where they lie, and fetching one more.

Everything here is for a terminal: `list_models` only looks at folders, `fetch` blocks until it is done.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from pipeline.stt.whisper_models import MODELS, STALL_S, ModelError, find
from pipeline.stt.whisper_models import fetch as fetch_whisper
from pipeline.tts import voice_files

BAR_CHARS = 30
REDRAW_S = 0.1


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line of `parley models`."""

    name: str
    kind: str
    """"stt", "vad" or "tts"."""
    plugin: str
    where: str
    """Its file or folder; "" when it is not here."""
    installed: bool
    megabytes: int
    """On disk; for one that is not here, what would be downloaded, about."""
    note: str = ""


def list_models(config_models_dir: Path | None = None) -> list[ModelRow]:
    """Every model that the built-in engines can use; folders in `config_models_dir` as well."""
    rows = [_pocketsphinx(), _silero(), _espeak()]
    rows += [_kokoro(), *_piper()]
    rows += [_whisper(name, config_models_dir) for name in MODELS]
    if config_models_dir is not None and config_models_dir.is_dir():
        others = sorted(p for p in config_models_dir.iterdir() if p.name not in MODELS and find(str(p)))
        rows += [_row(p.name, "stt", "faster-whisper", p) for p in others]
    return rows


def fetch(name: str, out: TextIO = sys.stderr, *, stall_s: float = STALL_S) -> None:
    """Download a model or voice, drawing a bar on `out`. Raises `ModelError` or `VoiceError`: a sentence."""
    if voice_files.wanted_files(name):
        _fetch_voice(name, out, stall_s)
        return
    model = MODELS.get(name)
    if model is None and name.count("/") != 1:
        raise ModelError(
            f"{name!r} is not a model that can be fetched; there are {', '.join(MODELS)}, kokoro, "
            f"and Piper's voices such as {voice_files.OFFERED[0]}"
        )
    if folder := find(name):
        out.write(f"{name} is already here: {folder}\n")
        return
    if find_spec("huggingface_hub") is None:
        raise ModelError(
            "fetching needs the package faster-whisper; run `pip install 'parley[faster-whisper]'`"
        )
    repo = model.repo if model else name
    bar = _Bar(name, out, (model.megabytes if model else 0) * 1_000_000)
    try:
        folder = asyncio.run(fetch_whisper(repo, bar.show, stall_s=stall_s))
    finally:
        bar.end()
    out.write(f"{name} is ready: {folder}\n")


def _fetch_voice(name: str, out: TextIO, stall_s: float) -> None:
    missing = voice_files.missing_files(name)
    if not missing:
        out.write(f"{name} is already here: {voice_files.voices_dir()}\n")
        return
    bar = _Bar(name, out, 0)
    try:
        folder = voice_files.fetch(name, bar.show, stall_s=stall_s)
    finally:
        bar.end()
    key = "" if name == "kokoro" else f'; set [tts.piper] model = "{name}"'
    out.write(f"{name} is ready: {folder}{key}\n")


class _Bar:
    """A progress bar on a terminal; a line now and then where there is none."""

    def __init__(self, name: str, out: TextIO, guess_bytes: int) -> None:
        self._name, self._out, self._guess_bytes = name, out, guess_bytes
        self._is_terminal = out.isatty()
        self._drawn_at = 0.0
        self._is_open = False

    def show(self, done_bytes: int, total_bytes: int) -> None:
        """Draw how far it is; `total_bytes` 0 = not known yet."""
        now = time.monotonic()
        if now - self._drawn_at < (REDRAW_S if self._is_terminal else 5.0):
            return
        self._drawn_at = now
        total = total_bytes or self._guess_bytes
        share = min(1.0, done_bytes / total) if total else 0.0
        full = round(share * BAR_CHARS)
        bar = "#" * full + "." * (BAR_CHARS - full)
        line = f"{self._name} [{bar}] {done_bytes / 1e6:.0f} of {total / 1e6:.0f} MB"
        self._out.write(f"\r{line}" if self._is_terminal else f"{line}\n")
        self._out.flush()
        self._is_open = self._is_terminal

    def end(self) -> None:
        """Leave the bar's line."""
        if self._is_open:
            self._out.write("\n")


def _row(
    name: str, kind: str, plugin: str, path: Path | None, megabytes: int = 0, note: str = ""
) -> ModelRow:
    if path is None or not path.exists():
        return ModelRow(name, kind, plugin, "", False, megabytes, note)
    return ModelRow(name, kind, plugin, str(path), True, round(_bytes_of(path) / 1e6), note)


def _bytes_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def _package(name: str) -> Path | None:
    """Where a package lies, without importing it."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _pocketsphinx() -> ModelRow:
    package = _package("pocketsphinx")
    return _row("en-us", "stt", "pocketsphinx", package and package / "model" / "en-us", note="English")


def _silero() -> ModelRow:
    package = _package("faster_whisper")
    found = sorted(package.glob("assets/silero_vad*.onnx")) if package else []
    return _row("silero", "vad", "silero", found[-1] if found else None, note="comes with faster-whisper")


def _espeak() -> ModelRow:
    package = _package("espeakng_loader")
    data = package / "espeak-ng-data" if package else None
    languages = len(list(data.glob("*_dict"))) if data else 0
    return _row("espeak-ng", "tts", "espeak", data, note=f"{languages} languages")


def _whisper(name: str, models_dir: Path | None) -> ModelRow:
    model = MODELS[name]
    note = "English" if model.is_english else "many languages"
    return _row(name, "stt", "faster-whisper", find(name, models_dir), model.megabytes, note)


def _kokoro() -> ModelRow:
    model = voice_files.voices_dir() / voice_files.KOKORO_MODEL
    is_here = not voice_files.missing_files("kokoro")
    note = "with voices-v1.0.bin, some fifty voices"
    return _row("kokoro", "tts", "kokoro", model if is_here else None, voice_files.KOKORO_MEGABYTES, note)


def _piper() -> list[ModelRow]:
    folder = voice_files.voices_dir()
    found = {p.stem for p in folder.glob("*.onnx") if voice_files.PIPER_NAME.fullmatch(p.stem)}
    rows = []
    for name in sorted(found | set(voice_files.OFFERED)):
        is_here = not voice_files.missing_files(name)
        size = voice_files.PIPER_MEGABYTES[name.rpartition("-")[2]]
        note = "" if is_here else f"any name of {voice_files.PIPER_REPO} can be fetched"
        rows.append(_row(name, "tts", "piper", folder / f"{name}.onnx" if is_here else None, size, note))
    return rows
