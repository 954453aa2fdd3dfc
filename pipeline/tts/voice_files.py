"""Which files local voices are made of, where they lie on this machine, and how to get some.

Finding only looks at folders. Fetching is plain HTTPS and blocks: it is for the command line.
"""

import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contracts import ParleyError

PIPER_REPO = "rhasspy/piper-voices"
"""https://huggingface.co/rhasspy/piper-voices: en/en_US/lessac/medium/en_US-lessac-medium.onnx, and so on."""
PIPER_NAME = re.compile(r"([a-z]{2,3})_([A-Z]{2,3}|[0-9]{3})-(\w+)-(x_low|low|medium|high)")
PIPER_MEGABYTES = {"x_low": 20, "low": 63, "medium": 63, "high": 114}
OFFERED = ("en_US-lessac-medium", "en_GB-alba-medium", "es_ES-davefx-medium")
"""Piper voices that `parley models` lists; any name of the repository can be fetched."""

KOKORO_REPO = "fastrtc/kokoro-onnx"
"""https://huggingface.co/fastrtc/kokoro-onnx: the two files of kokoro-onnx's release "model-files-v1.0"."""
KOKORO_MODEL, KOKORO_VOICES = "kokoro-v1.0.onnx", "voices-v1.0.bin"
KOKORO_MEGABYTES = 353

STALL_S = 30.0
_CHUNK_BYTES = 1 << 18


class VoiceError(ParleyError):
    """A voice's file is missing, is something else, or could not be fetched. One sentence."""


@dataclass(frozen=True, slots=True)
class PiperFile:
    """A Piper voice: what its configuration, the .onnx.json, says."""

    id: str
    path: Path
    rate_hz: int
    language: str
    speakers: tuple[str, ...]
    """Their names, in the order of their numbers; () = it has one."""

    def speaker(self, wanted: str) -> int | None:
        """The number of a speaker given by name or number; `None` when there is no such one."""
        if wanted in self.speakers:
            return self.speakers.index(wanted)
        return int(wanted) if wanted.isdecimal() and int(wanted) < len(self.speakers) else None


def voices_dir() -> Path:
    """Where `parley models fetch` puts voices."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "parley" / "voices"


def piper_files(model: str) -> list[PiperFile]:
    """The voices that `[tts.piper] model` means: a file, a folder of them, or the name of a fetched one.

    Raises `VoiceError`.
    """
    path = Path(model).expanduser()
    if not path.exists() and PIPER_NAME.fullmatch(model):
        path = voices_dir() / f"{model}.onnx"
        if not path.exists():
            raise VoiceError(
                f"[tts.piper] model = {model!r} has not been fetched; run `parley models fetch {model}`"
            )
    if not path.exists():
        raise VoiceError(f"[tts.piper] model = {model!r} does not exist; {_piper_advice()}")
    if not path.is_dir():
        return [_piper_file(path)]
    found = [_piper_file(p) for p in sorted(path.rglob("*.onnx")) if Path(f"{p}.json").is_file()]
    if not found:
        raise VoiceError(
            f"[tts.piper] model = {model!r} is a folder without a voice (NAME.onnx and NAME.onnx.json); "
            f"{_piper_advice()}"
        )
    return found


def _piper_advice() -> str:
    return (
        f"`parley models fetch {OFFERED[0]}` gets a voice, "
        f"and https://huggingface.co/{PIPER_REPO} has them all"
    )


def _piper_file(path: Path) -> PiperFile:
    config_path = Path(f"{path}.json")
    if not config_path.is_file():
        raise VoiceError(
            f"[tts.piper] model: {path} has no {config_path.name} beside it; a Piper voice is two files, "
            f"and {_piper_advice()}"
        )
    try:
        config = json.loads(config_path.read_text("utf-8"))
        return _described(path, config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VoiceError(
            f"[tts.piper] model: {config_path} is not the configuration of a Piper voice "
            f"({type(error).__name__}: {error})"
        ) from error


def _described(path: Path, config: dict[str, Any]) -> PiperFile:
    if config.get("phoneme_type") == "pinyin":
        # Its phonemizer fetches a model of its own from the network in the middle of a talk.
        raise VoiceError(f"[tts.piper] model: {path} speaks Chinese by pinyin, which is not supported here")
    count = int(config["num_speakers"])
    names = {int(number): name for name, number in config.get("speaker_id_map", {}).items()}
    speakers = tuple(names.get(i, str(i)) for i in range(count)) if count > 1 else ()
    language = config.get("language", {}).get("code") or config["espeak"]["voice"]
    _ = config["phoneme_id_map"].items()
    rate_hz = int(config["audio"]["sample_rate"])
    return PiperFile(path.stem, path.resolve(), rate_hz, language.replace("_", "-"), speakers)


def kokoro_files(model: str, voices: str) -> tuple[Path, Path]:
    """The two files that `[tts.kokoro]` means; "" = the fetched ones. Raises `VoiceError`."""
    paths = []
    for key, value, name in (("model", model, KOKORO_MODEL), ("voices", voices, KOKORO_VOICES)):
        path = Path(value).expanduser() if value else voices_dir() / name
        if not path.is_file():
            is_wrong = f" = {value!r} is not a file" if value else " is not set"
            raise VoiceError(
                f"[tts.kokoro] {key}{is_wrong}; `parley models fetch kokoro` gets it, "
                f"and https://huggingface.co/{KOKORO_REPO} has it ({name})"
            )
        paths.append(path.resolve())
    return paths[0], paths[1]


def wanted_files(name: str) -> dict[str, str]:
    """What has to be fetched for a voice: file name -> its place on the hub; {} for a name of no voice."""
    if name == "kokoro":
        return {file: f"{KOKORO_REPO}/resolve/main/{file}" for file in (KOKORO_MODEL, KOKORO_VOICES)}
    parts = PIPER_NAME.fullmatch(name)
    if parts is None:
        return {}
    family, region, voice, quality = parts.groups()
    folder = f"{PIPER_REPO}/resolve/main/{family}/{family}_{region}/{voice}/{quality}"
    # The configuration comes first, and small: a wrong name is told before 60 MB are on their way.
    return {file: f"{folder}/{file}" for file in (f"{name}.onnx.json", f"{name}.onnx")}


def missing_files(name: str) -> dict[str, str]:
    """Those of `wanted_files` that are not here yet."""
    return {file: url for file, url in wanted_files(name).items() if not (voices_dir() / file).is_file()}


def fetch(name: str, on_progress: Callable[[int, int], None], *, stall_s: float = STALL_S) -> Path:
    """Download a voice; its folder. `on_progress(bytes, total)` of the file on its way; total 0 = not known.

    Raises `VoiceError`. What was broken off is not left behind under a voice's name.
    """
    folder = voices_dir()
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    for file, place in missing_files(name).items():
        part = folder / f"{file}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _download(f"{hub}/{urllib.parse.quote(place)}", part, on_progress, stall_s)
            part.replace(folder / file)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            reason = "there is no such voice" if getattr(error, "code", 0) == 404 else _reason(error)
            raise VoiceError(
                f"{name} could not be downloaded ({reason}); check the name and the network, "
                f"or copy {' and '.join(wanted_files(name))} into {folder}"
            ) from error
        finally:
            part.unlink(missing_ok=True)
    return folder


def _download(url: str, to: Path, on_progress: Callable[[int, int], None], stall_s: float) -> None:
    with urllib.request.urlopen(url, timeout=stall_s) as answer, to.open("wb") as out:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while piece := answer.read(_CHUNK_BYTES):
            out.write(piece)
            done += len(piece)
            on_progress(done, total)
        if total and done != total:
            raise OSError(f"only {done} of {total} bytes came")


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    return " ".join(str(cause).split()) or type(error).__name__
