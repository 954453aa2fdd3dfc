"""The one thread that writes. Commands come first; long work goes on a step at a time between them.

    commands (journal, sound, JSON: milliseconds)  ──▶ ┐
                                                        thread: all waiting commands, then one step of one job
    jobs (MP3s: ~50 ms a step, the jobs in turn)   ──▶ ┘

So an hour's conversation.mp3 delays another session's turn end by one step, and no file has two writers.
"""

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue

log = logging.getLogger(__name__)

Command = Callable[[], None]
Job = Generator[None, None, None]

NICENESS = 10  # MP3s can wait, talking cannot: on a busy core the event loop gets nine parts of ten


class Writer:
    """Runs commands in the order given, and jobs whenever there is none."""

    def __init__(self) -> None:
        # Unbounded, because the recorders are not: each holds back sound when its own is not being written.
        self._commands: SimpleQueue[Command | None] = SimpleQueue()
        self._jobs: deque[tuple[Job, Command]] = deque()
        self._stopping = self._hurried = False
        self._thread = threading.Thread(target=self._run, name="parley-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, command: Command) -> None:
        """Have something done soon. From any thread."""
        self._commands.put(command)

    def add(self, job: Job, done: Command | None = None) -> None:
        """Have something long done, its first step at once. On the writer's thread. `done` is called when it
        is over, however it ended."""
        self._jobs.appendleft((job, done or _nothing))
        self._step()

    def stop(self) -> None:
        """Finish everything, then let the thread end. From any thread."""
        self._stopping = True
        self._commands.put(None)

    def hurry(self) -> None:
        """After `stop`: leave the jobs as they are; the next start finishes them."""
        self._hurried = True
        self._commands.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end. Whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        if sys.platform == "linux":  # where a thread has a niceness of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            try:
                command = self._commands.get(block=not (self._jobs or self._stopping))
            except Empty:
                if self._hurried or not self._jobs:
                    break  # only when stopping
                self._step()
                continue
            if command is not None:
                _guarded(command)
        while self._jobs:
            job, done = self._jobs.popleft()
            job.close()
            _guarded(done)

    def _step(self) -> None:
        job, done = self._jobs.popleft()
        try:
            next(job)
        except StopIteration:
            _guarded(done)
        except Exception:
            # A bug in one session's rendering must not end everybody's recording.
            log.exception("a job of the writer failed")
            _guarded(done)
        else:
            self._jobs.append((job, done))


def _guarded(command: Command) -> None:
    try:
        command()
    except Exception:
        # The same: this thread outlives any one session's bug.
        log.exception("a command of the writer failed")


def _nothing() -> None:
    pass
