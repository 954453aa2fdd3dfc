"""Whisper on this machine, through faster-whisper: good in many languages, as fast as the machine is.

The weights are not in any package: they are fetched once (`parley models fetch base.en`), or `model` names
a folder. Nothing here goes to the network unless `download = true`.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.contracts import Env, Unavailable
from pipeline.stt.pool import Pool
from pipeline.stt.whisper_models import MODELS, ModelError, fetch, find


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.faster-whisper]"""

    model: str = ""
    """A size such as "base.en" or "turbo", a hub repository, or a folder in CTranslate2's format.
    "" = "base.en" where English is spoken, else "base": the largest that keep up on two plain cores."""
    device: str = "auto"
    """"auto", "cpu" or "cuda"."""
    compute_type: str = "auto"
    """"auto" (the fastest that the device has), "int8", "float16", "float32", …"""
    download: bool = False
    """Whether missing weights may be fetched when the server starts."""
    beam: int = 1
    """Beams for final texts; 5 is a little better and some two times slower. Partials always use one."""
    language: str = ""
    """What is spoken when the session does not say: a BCP 47 tag; "" = the installation's, "auto" = whatever
    the model detects, utterance by utterance."""
    workers: int = 1
    """Processes, each with the model in memory."""
    threads: int = 0
    """CPU threads per worker; 0 = all cores but one, shared among the workers."""


def create(options: Options, env: Env) -> "FasterWhisper":
    """Find the package and the weights by looking at folders only. Raises `Unavailable`."""
    if find_spec("faster_whisper") is None:
        raise Unavailable("[stt] faster-whisper is not installed; run `pip install 'parley[faster-whisper]'`")
    name = options.model or ("base.en" if env.language.lower().startswith("en") else "base")
    folder = find(name)
    if folder is None:
        _check_name(name)
        if not options.download:
            raise Unavailable(
                f"[stt] faster-whisper has no weights for {name!r}; run `parley models fetch {name}`, "
                "or set [stt.faster-whisper] model to a folder"
            )
    return FasterWhisper(options, name, folder, env.language)


def _check_name(name: str) -> None:
    looks_like_repo = name.count("/") == 1 and not name.startswith((".", "~", "/"))
    if name not in MODELS and not looks_like_repo:
        raise Unavailable(
            f"[stt.faster-whisper] model = {name!r} is neither a folder with model.bin and config.json "
            f"nor one of {', '.join(MODELS)}"
        )


class FasterWhisper(Pool):
    """The worker pool, and the download before it where that is allowed."""

    def __init__(self, options: Options, name: str, folder: Path | None, language: str) -> None:
        self._name, self._folder = name, folder
        settings = {
            "device": options.device,
            "compute_type": options.compute_type,
            "beam": max(1, options.beam),
            "language": options.language or language,
            "threads": options.threads,
            "workers": max(1, options.workers),
        }
        super().__init__(
            "faster-whisper",
            "pipeline.stt.faster_whisper_worker",
            settings,
            max(1, options.workers),
            ("en",) if name.endswith(".en") else (),
        )

    async def warm(self) -> None:
        """Fetch the weights if that is wanted and needed; load them."""
        if self._folder is None:
            repo = MODELS[self._name].repo if self._name in MODELS else self._name
            try:
                self._folder = await fetch(repo)
            except ModelError as error:
                raise Unavailable(f"[stt] faster-whisper: {error}") from error
        self.configure(model=str(self._folder))
        await super().warm()
        self.languages = () if self.facts["is_multilingual"] else ("en",)
