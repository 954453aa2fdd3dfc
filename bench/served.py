"""A real `parley serve` in a process and on a core of its own, and what it costs: read from /proc."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent
SERVE = ("server.cli", "serve", "--port", "0")
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """Processor time used so far, in ms."""

    total: float
    """Of the server, all its threads and its children."""
    loop: float
    """Of its event loop's thread."""
    core: float
    """Of its core, whoever used it."""
    at_s: float


class Served:
    """A running server in a folder of its own. Killed at the end: nothing it keeps is wanted."""

    def __init__(
        self, folder: Path, settings: Mapping[str, object], core: int = -1, command: Sequence[str] = SERVE
    ) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}
        chosen = {k: v if isinstance(v, str) else json.dumps(v) for k, v in settings.items()}
        self.core = core
        self.began_s = time.monotonic()
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env={**environ, **chosen, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        if core >= 0:
            os.sched_setaffinity(self._process.pid, {core})
        self.port = self._wait(folder)
        self.ready_s = time.monotonic() - self.began_s

    def _wait(self, folder: Path) -> int:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if match := re.search(r"ready: open http://\S+?:(\d+)\s", line):
                return int(match[1])
        self._process.wait()
        raise RuntimeError(f"the server did not start:\n{(folder / 'log').read_text()}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in [*children(self.pid), self.pid]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def cpu(self) -> Cpu:
        """What has been used until now."""
        total = sum(map(_used_ms, [self.pid, *children(self.pid)]))
        sched = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()
        return Cpu(total, int(sched[0]) / 1e6, _core_ms(self.core), time.monotonic())

    def memory_kib(self) -> dict[str, int]:
        """Resident and private memory of the server alone (children belong to engines, not to sessions)."""
        return memory_kib(self.pid)


def memory_kib(pid: int) -> dict[str, int]:
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        found[name.rstrip(":")] = int(value)
    return {"rss": found["Rss"], "private": found["Private_Clean"] + found["Private_Dirty"]}


def children(pid: int) -> list[int]:
    """Every process below this one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


def _used_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_MS


def _core_ms(core: int) -> float:
    """Time in which a core was not idle, or was stolen by the host."""
    name = f"cpu{core} " if core >= 0 else "cpu "
    line = next(x for x in Path("/proc/stat").read_text().splitlines() if x.startswith(name))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_MS
