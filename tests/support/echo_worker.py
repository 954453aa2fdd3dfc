"""A worker for the tests of `pipeline.child`: it echoes, and misbehaves when told to."""

import signal
import sys
import time
from typing import Any

from pipeline.worker import Link, Refused, run

ECHO, HANG, DIE, INTERRUPT, PRINT = 16, 17, 18, 19, 20


def work(link: Link, settings: dict[str, Any]) -> None:
    """Do as told until the parent is gone."""
    if settings.get("refuse"):
        raise Refused(settings["refuse"])
    link.ready({"name": settings.get("name", "")})
    while True:
        note = link.next()
        if note.kind == ECHO:
            link.send(ECHO, note.ident, note.payload)
        elif note.kind == HANG:
            while True:
                time.sleep(60)
        elif note.kind == DIE:
            sys.exit(3)
        elif note.kind == INTERRUPT:
            signal.raise_signal(signal.SIGINT)
            link.send(ECHO, note.ident, b"still here")
        elif note.kind == PRINT:
            print("a library says hello", flush=True)
            link.send(ECHO, note.ident, b"printed")


if __name__ == "__main__":
    run(work)
