"""The process that downloads a model. Its parent watches the progress and kills it when nothing moves."""

import json
import os
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pipeline.worker import Link, run

# Before the import below: the library reads them once. Its own deadlines, as far as it has them.
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "15")
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"  # writes to a cache of its own, where progress cannot be seen

import huggingface_hub

from pipeline.stt.whisper_models import FETCH, FETCH_FAILED, FETCHED, FILES, PROGRESS, cache_folder

_LOOK_S = 0.2


class _Download(threading.Thread):
    """The library's blocking call. A daemon: when the parent goes, the process ends, whatever hangs here."""

    def __init__(self, repo: str) -> None:
        super().__init__(daemon=True)
        self.repo = repo
        self.total = 0
        self.path = ""
        self.error = ""

    def run(self) -> None:
        try:
            self.total = self._total()
            self.path = huggingface_hub.snapshot_download(self.repo, allow_patterns=list(FILES))
        except Exception as error:  # noqa: BLE001 - a program's last line of defence: it is told to the parent
            lines = [line for line in str(error).splitlines() if line.strip()]
            self.error = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"

    def _total(self) -> int:
        info = huggingface_hub.HfApi().model_info(self.repo, files_metadata=True, timeout=15)
        files = info.siblings or []
        return sum(f.size or 0 for f in files if any(fnmatch(f.rfilename, p) for p in FILES))


def _bytes_in(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*") if p.is_file())


def work(link: Link, settings: dict[str, Any]) -> None:
    """Download one model, telling how far it is."""
    del settings
    link.ready()
    note = link.next()
    assert note.kind == FETCH
    download = _Download(json.loads(note.payload)["repo"])
    blobs = cache_folder() / f"models--{download.repo.replace('/', '--')}" / "blobs"
    download.start()
    while download.is_alive():
        download.join(_LOOK_S)
        link.poll()  # exits when the parent is gone
        progress = {"bytes": _bytes_in(blobs), "total": download.total}
        link.send(PROGRESS, 0, json.dumps(progress).encode())
    if download.error:
        link.send(FETCH_FAILED, 0, json.dumps({"message": download.error}).encode())
    else:
        link.send(FETCHED, 0, json.dumps({"path": download.path}).encode())
    while True:
        link.next()  # until the parent closes


if __name__ == "__main__":
    run(work)
