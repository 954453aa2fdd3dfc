"""Kokoro's neural voices in processes of their own: one model of 82 million parameters, some fifty voices.

Through kokoro-onnx (MIT), which needs no torch; its phonemizer is GPL-3.0-or-later, one more reason for the
process of its own. Model and voices are two files, in no package: `parley models fetch kokoro` gets them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.contracts import Env, SpeechRequest, Unavailable, VoiceInfo
from pipeline.tts.voice_files import VoiceError, kokoro_files
from pipeline.tts.voice_pool import VoicePool, threads_of

LANGUAGES = {
    "a": "en-US", "b": "en-GB", "e": "es", "f": "fr-FR", "h": "hi",
    "i": "it", "j": "ja", "p": "pt-BR", "z": "zh",
}  # fmt: skip
"""What the first letter of a voice's name stands for (hexgrad/Kokoro-82M, VOICES.md)."""
GENDERS = {"f": "female", "m": "male"}


@dataclass(frozen=True, slots=True)
class Options:
    """[tts.kokoro]"""

    model: str = ""
    """The model's .onnx file, such as kokoro-v1.0.onnx or the smaller kokoro-v1.0.int8.onnx; "" = the
    fetched one."""
    voices: str = ""
    """The voices' file, such as voices-v1.0.bin; "" = the fetched one."""
    voice: str = "af_heart"
    """Who speaks when no voice is asked for and the language is this voice's."""
    workers: int = 1
    """Processes, each with the model in memory: as many sentences are made at the same time."""
    threads: int = 0
    """CPU threads per worker; 0 = all cores but one, shared among the workers."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers = {self.workers} must be 1 or more")


def create(options: Options, env: Env) -> "Kokoro":
    """Find the package and the files by looking at folders only. Raises `Unavailable`."""
    del env  # the request's language decides
    if find_spec("kokoro_onnx") is None:
        raise Unavailable("[tts] kokoro is not installed; run `pip install 'parley[kokoro]'`")
    try:
        model, voices = kokoro_files(options.model, options.voices)
    except VoiceError as error:
        raise Unavailable(str(error)) from error
    return Kokoro(options, model, voices)


class Kokoro(VoicePool):
    """The worker pool, and which of the voices a request means."""

    def __init__(self, options: Options, model: Path, voices: Path) -> None:
        self._options = options
        self._voices: tuple[VoiceInfo, ...] = ()
        self.model = model.stem
        settings = {
            "model": str(model),
            "voices": str(voices),
            "voice": options.voice,
            "threads": threads_of(options.threads, options.workers),
        }
        super().__init__("kokoro", "pipeline.tts.kokoro_worker", settings, options.workers)
        self.rate_hz = 24_000

    async def warm(self) -> None:
        """Load the model and learn its voices."""
        await super().warm()
        names = sorted(self.facts["voices"], key=lambda name: (name != self._options.voice, name))
        self._voices = tuple(_described(name) for name in names)

    def voices(self) -> Sequence[VoiceInfo]:
        """Those of the voices' file, the default first."""
        return self._voices

    def job_of(self, request: SpeechRequest) -> dict[str, Any]:
        """The voice that was asked for, else the default, else one of the request's language."""
        known = {voice.id: voice for voice in self._voices}
        voice = known.get(request.voice) or known[self._options.voice]
        language = voice.language
        wanted = _family(request.language.lower().replace("_", "-"))
        if request.voice not in known and _family(language) != wanted:
            voice = next((v for v in self._voices if _family(v.language) == wanted), voice)
            # Without a voice of the language, another one speaks it, with an accent.
            language = next((tag for tag in LANGUAGES.values() if _family(tag) == wanted), voice.language)
        return {"voice": voice.id, "language": language, "speed": min(2.0, max(0.5, request.speed))}


def _family(language: str) -> str:
    return language.partition("-")[0]


def _described(name: str) -> VoiceInfo:
    shown = name.partition("_")[2].replace("_", " ").title() or name
    return VoiceInfo(name, shown, LANGUAGES.get(name[:1], "en-US"), GENDERS.get(name[1:2], ""))
