"""Catches what a test leaves behind: tasks, threads, child processes, sockets and files.

Use the fixture `no_leaks` as a test's first argument, or for a whole module with
`pytestmark = pytest.mark.usefixtures("no_leaks")`; fixtures requested after it are closed before it looks.
"""

import asyncio
import gc
import os
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.support.virtual import VirtualLoop

GRACE_S = 2.0  # a killed child and an ending thread need a moment on a busy machine
STEP_S = 0.02


class Leak(AssertionError):
    """A test left something behind."""


@dataclass(frozen=True)
class Snapshot:
    """What this process and this loop hold right now."""

    tasks: frozenset["asyncio.Task[Any]"]
    threads: frozenset[threading.Thread]
    children: frozenset[int]
    files: dict[int, str]

    @classmethod
    def take(cls) -> "Snapshot":
        try:
            tasks = frozenset(asyncio.all_tasks())
        except RuntimeError:  # no loop is running: there are no tasks
            tasks = frozenset()
        return cls(tasks, frozenset(threading.enumerate()), _children(), _open_files())

    def since(self, before: "Snapshot") -> list[str]:
        """One line for each thing that was not there before."""
        found = []
        for task in self.tasks - before.tasks:
            if task is not asyncio.current_task():
                found.append(f"task {task.get_name()}: {task.get_coro()!r}{_place(task)}")
        for thread in self.threads - before.threads:
            # asyncio's default executor belongs to the loop and ends with it.
            if thread.is_alive() and not thread.name.startswith("asyncio_"):
                found.append(f"thread {thread.name}")
        found += [f"child process {pid}: {_command(pid)}" for pid in self.children - before.children]
        for fd, target in self.files.items():
            if before.files.get(fd) != target:
                found.append(f"open file {fd}: {_describe(fd, target)}")
        return sorted(found)


@pytest_asyncio.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Fails the test when something that it opened is still there after it."""
    before = Snapshot.take()
    yield
    left = await settled(before)
    if left:
        raise Leak("left behind:\n  " + "\n  ".join(left))


async def settled(before: Snapshot) -> list[str]:
    """What is left once everything that is just ending has had time to end."""
    steps = 3 if isinstance(asyncio.get_running_loop(), VirtualLoop) else int(GRACE_S / STEP_S)
    left = Snapshot.take().since(before)
    for _ in range(steps):
        if not left:
            break
        gc.collect()  # a cancelled task's traceback and what it holds go with the next collection
        await asyncio.sleep(STEP_S)
        left = Snapshot.take().since(before)
    return left


def _children() -> frozenset[int]:
    pids: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids.update(map(int, listing.read_text().split()))
        except FileNotFoundError:  # the thread has ended meanwhile
            continue
    # One per process, started by the first spawned child and kept on purpose.
    pids.discard(getattr(resource_tracker._resource_tracker, "_pid", None) or -1)
    return frozenset(pids)


def _open_files() -> dict[int, str]:
    found = {}
    tracker = getattr(resource_tracker._resource_tracker, "_fd", None)
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the listing's own
            continue
        if int(name) != tracker:
            found[int(name)] = target
    return found


def _describe(fd: int, target: str) -> str:
    if not target.startswith("socket:"):
        return target
    try:
        with socket.socket(fileno=os.dup(fd)) as twin:
            try:
                peer = f" to {twin.getpeername()}"
            except OSError:
                peer = ""
            return f"{target} {twin.family.name} at {twin.getsockname()}{peer}"
    except OSError:  # closed meanwhile
        return target


def _place(task: "asyncio.Task[Any]") -> str:
    frames = task.get_stack(limit=1)
    return f" at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = ""
    return words.strip() or "ended, but nobody has waited for it"
