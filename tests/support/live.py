"""A real `parley serve` in a process of its own, on a free port, in a folder of its own.

    async def test_something(live_server):
        server = live_server(PARLEY_STT__PLUGIN='["scripted"]')
        ... server.url, server.ws, server.folder ...

Without overrides it is the embedded default. Every server is stopped at the end of its test.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

START_S = 30.0
SCRIPTED = {
    "PARLEY_STT__PLUGIN": '["scripted"]',
    "PARLEY_LLM__PLUGIN": '["scripted"]',
    "PARLEY_TTS__PLUGIN": '["scripted"]',
}
"""Overrides for a server whose three stages have fixed delays."""


class LiveServer:
    """A running server. `log` is everything it has printed."""

    def __init__(
        self, folder: Path, overrides: dict[str, str], port: int = 0, arguments: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "serve", "--port", str(port), *arguments],
            cwd=folder,
            env={**environ, **overrides, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log = ""
        self.port = 0
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_S) or not self.port:
            self.stop()
            raise RuntimeError(f"the server did not start:\n{self.log}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/voice"

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """Stop it. Returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log += line
            if match := re.search(r"ready: open http://\S+:(\d+)", line):
                self.port = int(match[1])
                self._ready.set()
        self._ready.set()


@pytest.fixture
def live_server(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Start servers: `live_server(**environment)`; `port=` and `folder=` to start one again."""
    servers: list[LiveServer] = []

    def start(*, port: int = 0, folder: Path | None = None, **overrides: str) -> LiveServer:
        server = LiveServer(folder or tmp_path / f"server{len(servers)}", overrides, port)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def scripted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server with scripted stages for all tests of a module."""
    server = LiveServer(tmp_path_factory.mktemp("server"), SCRIPTED)
    yield server
    server.stop()
