"""Which Whisper models there are, where they lie on this machine, and how to get one.

Only folders are looked at: no network, no heavy import. Fetching happens in a process of its own, because
the hub's library was seen to hang for minutes when packets were dropped.
"""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.child import Child, ChildFailed
from pipeline.contracts import ParleyError
from pipeline.worker import Note

FETCH = 16  # to the fetching worker: JSON {"repo"}
PROGRESS, FETCHED, FETCH_FAILED = 32, 33, 34  # from it: JSON {"bytes", "total"}, {"path"}, {"message"}

FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
STALL_S = 30.0


@dataclass(frozen=True, slots=True)
class WhisperModel:
    """A published model in CTranslate2's format."""

    name: str
    repo: str
    megabytes: int  # to download, about

    @property
    def is_english(self) -> bool:
        """Whether English is all it knows."""
        return self.name.endswith(".en")


MODELS = {
    m.name: m
    for m in (
        WhisperModel("tiny.en", "Systran/faster-whisper-tiny.en", 78),
        WhisperModel("tiny", "Systran/faster-whisper-tiny", 78),
        WhisperModel("base.en", "Systran/faster-whisper-base.en", 148),
        WhisperModel("base", "Systran/faster-whisper-base", 148),
        WhisperModel("small.en", "Systran/faster-whisper-small.en", 486),
        WhisperModel("small", "Systran/faster-whisper-small", 486),
        WhisperModel("distil-small.en", "Systran/faster-distil-whisper-small.en", 336),
        WhisperModel("medium.en", "Systran/faster-whisper-medium.en", 1530),
        WhisperModel("medium", "Systran/faster-whisper-medium", 1530),
        WhisperModel("large-v3", "Systran/faster-whisper-large-v3", 3090),
        WhisperModel("distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1520),
        WhisperModel("turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1620),
    )
}


class ModelError(ParleyError):
    """A model is unknown or could not be fetched. One sentence."""


def cache_folder() -> Path:
    """Where the hub's library keeps what it fetched (its own rules: three environment variables)."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))


def find(name: str, models_dir: Path | None = None) -> Path | None:
    """The folder of a model: `name` is a folder itself, one in `models_dir`, or fetched before."""
    if is_complete(folder := Path(name).expanduser()):
        return folder
    if models_dir is not None and is_complete(models_dir / name):
        return models_dir / name
    repo = MODELS[name].repo if name in MODELS else name
    if repo.count("/") != 1:
        return None
    kept = cache_folder() / f"models--{repo.replace('/', '--')}"
    snapshots = sorted((kept / "snapshots").glob("*"), key=lambda p: p.stat().st_mtime, reverse=True)
    return next((s for s in snapshots if is_complete(s)), None)


def is_complete(folder: Path) -> bool:
    """Whether everything that loading needs is there: a download broken off leaves some of it, and without
    the tokenizer faster-whisper would go looking for one on the network."""
    return all((folder / name).is_file() for name in ("model.bin", "config.json", "tokenizer.json"))


def _unwatched(done_bytes: int, total_bytes: int) -> None:
    """Nobody looks at the progress."""


async def fetch(
    repo: str, on_progress: Callable[[int, int], None] = _unwatched, *, stall_s: float = STALL_S
) -> Path:
    """Download a model into the cache; its folder. `on_progress(bytes, total)`; total 0 = not known.

    Raises `ModelError` when the hub refuses, cannot be reached, or has not moved a byte for `stall_s`.
    """
    outcome: asyncio.Future[Path] = asyncio.get_running_loop().create_future()
    moved = asyncio.Event()
    done_bytes = -1

    def take(note: Note) -> None:
        nonlocal done_bytes
        fields = json.loads(note.payload)
        if note.kind == PROGRESS:
            if fields["bytes"] != done_bytes:
                done_bytes = fields["bytes"]
                moved.set()
            on_progress(fields["bytes"], fields["total"])
        elif not outcome.done():
            if note.kind == FETCHED:
                outcome.set_result(Path(fields["path"]))
            else:
                outcome.set_exception(_failed(repo, fields["message"]))

    def lost(reason: str) -> None:
        if not outcome.done():
            outcome.set_exception(_failed(repo, reason))

    child = Child("pipeline.stt.whisper_fetch_worker", {}, take, lost)
    try:
        await child.start()
        child.send(FETCH, 0, json.dumps({"repo": repo}).encode())
        while not outcome.done():
            moved.clear()
            waiting = asyncio.create_task(moved.wait())
            try:
                await asyncio.wait((outcome, waiting), timeout=stall_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            if not outcome.done() and not moved.is_set():
                raise _failed(repo, f"nothing has arrived for {stall_s:.0f} s")
        return outcome.result()
    except ChildFailed as error:
        raise _failed(repo, str(error)) from error
    finally:
        await child.aclose(0.2)


def _failed(repo: str, reason: str) -> ModelError:
    return ModelError(
        f"{repo} could not be downloaded ({reason}); check the network, or copy the model's folder here and "
        "set [stt.faster-whisper] model to it"
    )
