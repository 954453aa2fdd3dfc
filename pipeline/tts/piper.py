"""Piper's neural voices in processes of their own (piper-tts is GPL-3.0-or-later; the server never loads it).

Natural, quick on a plain CPU, some forty languages. A voice is two files, which are in no package: `model`
names one of them, a folder of several, or one that `parley models fetch` got.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.contracts import Env, SpeechRequest, Unavailable, VoiceInfo
from pipeline.tts.voice_files import OFFERED, PiperFile, VoiceError, piper_files
from pipeline.tts.voice_pool import VoicePool, threads_of

LISTED_SPEAKERS = 24  # of a voice that has hundreds; any other is taken by its name


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.piper]"""

    model: str = ""
    """A voice's .onnx file (its .onnx.json lies beside it), a folder of voices, or a name such as
    "en_US-lessac-medium" that was fetched."""
    voice: str = ""
    """Which of a folder's voices speaks when none is asked for; "" = one of the installation's language."""
    speaker: str = ""
    """Name or number of the speaker, in a voice that has several; "" = its first."""
    workers: int = 1
    """Processes, each with the voices in memory: as many sentences are made at the same time."""
    threads: int = 0
    """CPU threads per worker; 0 = all cores but one, shared among the workers."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers = {self.workers} must be 1 or more")


def create(options: Options, env: Env) -> "Piper":
    """Find the package and the voices by looking at folders only. Raises `Unavailable`."""
    package = find_spec("piper")
    # Another package is called "piper", too; and importing any of this one would be loading it.
    if package is None or package.origin is None or not Path(package.origin).with_name("voice.py").is_file():
        raise Unavailable("[tts] piper is not installed; run `pip install 'parley[piper]'`")
    if not options.model:
        raise Unavailable(
            f"[tts.piper] model is not set; run `parley models fetch {OFFERED[0]}` and set it to that name, "
            "or to the path of a voice's .onnx file"
        )
    try:
        files = piper_files(options.model)
    except VoiceError as error:
        raise Unavailable(str(error)) from error
    return Piper(options, files, _default(options, files, env.language))


def _default(options: Options, files: Sequence[PiperFile], language: str) -> PiperFile:
    if options.voice:
        default = next((f for f in files if f.id == options.voice), None)
        if default is None:
            raise Unavailable(
                f"[tts.piper] voice = {options.voice!r} is not in its folder; there are "
                f"{', '.join(f.id for f in files[:8])}"
            )
    else:
        default = _of_language(files, language) or files[0]
    if options.speaker and default.speaker(options.speaker) is None:
        known = ", ".join(default.speakers[:8]) or "none but its own"
        raise Unavailable(f"[tts.piper] speaker = {options.speaker!r} is not one of {default.id}'s: {known}")
    return default


def _of_language(files: Sequence[PiperFile], language: str) -> PiperFile | None:
    wanted = language.lower().replace("_", "-")
    family = wanted.partition("-")[0]
    same = [f for f in files if f.language.lower() == wanted]
    related = [f for f in files if f.language.lower().partition("-")[0] == family]
    return next(iter([*same, *related]), None)


class Piper(VoicePool):
    """The worker pool, and which of the voices a request means."""

    def __init__(self, options: Options, files: Sequence[PiperFile], default: PiperFile) -> None:
        self._files = {f.id: f for f in files}
        self._default, self._speaker = default, default.speaker(options.speaker) if options.speaker else None
        self.model = default.id
        # One rate for all: the best of the voices; the others are brought up to it where they speak.
        rate_hz = max(f.rate_hz for f in files)
        settings = {
            "rate_hz": rate_hz,
            "threads": threads_of(options.threads, options.workers),
            "voice": default.id,
            "voices": {f.id: str(f.path) for f in files},
        }
        super().__init__("piper", "pipeline.tts.piper_worker", settings, options.workers)
        self.rate_hz = rate_hz

    def voices(self) -> Sequence[VoiceInfo]:
        """The default voice first; of voices with several speakers, each as "voice/speaker"."""
        files = sorted(self._files.values(), key=lambda f: (f is not self._default, f.id))
        return tuple(voice for file in files for voice in _listed(file))

    def job_of(self, request: SpeechRequest) -> dict[str, Any]:
        """The voice that was asked for, else one of the request's language, else the default."""
        name, _, wanted = request.voice.partition("/")
        file = self._files.get(name)
        speaker = file.speaker(wanted) if file else None
        if file is None:
            file = self._default
            if not _speaks(file, request.language):
                file = _of_language(tuple(self._files.values()), request.language) or file
        if speaker is None and file is self._default:
            speaker = self._speaker
        return {"voice": file.id, "speaker": speaker, "speed": min(3.0, max(0.3, request.speed))}


def _speaks(file: PiperFile, language: str) -> bool:
    return file.language.lower().partition("-")[0] == language.lower().replace("_", "-").partition("-")[0]


def _listed(file: PiperFile) -> list[VoiceInfo]:
    name = file.id.replace("_", " ").replace("-", " ")
    if not file.speakers:
        return [VoiceInfo(file.id, name, file.language)]
    return [
        VoiceInfo(f"{file.id}/{speaker}", f"{name}, {speaker}", file.language)
        for speaker in file.speakers[:LISTED_SPEAKERS]
    ]
