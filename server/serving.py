"""Serving: the application behind uvicorn, from the first listening socket to the last written talk."""

import asyncio
import gc
import logging
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from server.app import App, running
from server.config import Config
from server.workers import Place, listen, supervise

WS_MAX_BYTES = 2 * 1024 * 1024
"""The largest text message: a WAV of half a minute in base64. Binary ones are bounded by the codec."""
HTTP_GRACE_S = 2
"""How long requests in flight may take to finish once the sessions are written."""


class _Server(uvicorn.Server):
    """uvicorn that writes the live talks before it closes their sockets."""

    def __init__(self, config: uvicorn.Config, app: App, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._app, self._on_ready = app, on_ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = (sockets or self.servers[0].sockets)[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002 - uvicorn's signature
        """Ask to stop; a second Ctrl-C insists. (uvicorn's own would raise the signal again afterwards,
        and kill us before anything is given back.)"""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        for server in self.servers:
            server.close()  # nobody new, while the old ones are written
        await self._app.sessions.drain()
        await self._app.sockets.closed(HTTP_GRACE_S)
        await super().shutdown(sockets)


def run(config: Config, workers: int = 1) -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the exit code."""
    _log_to_stderr()
    if workers > 1:
        return supervise(config, workers, work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config, Place(), None))


def work(config: Config, place: Place, told: Connection) -> None:
    """Serve as one of several workers: the whole life of such a process."""
    _log_to_stderr()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        raise SystemExit(runner.run(_serve(config, place, lambda: told.send(True))))


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


async def _serve(config: Config, place: Place, on_ready: Callable[[], None] | None) -> int:
    async with running(config, place) as app:

        def ready(url: str) -> None:
            gc.freeze()  # a look for garbage in all this would stop every talk for 80 ms
            if on_ready is not None:
                on_ready()
                return
            stages = ", ".join(f"{stage} {name}" for stage, name in app.sessions.plugins.items())
            print(f"Parley is ready: open {url}  ({stages})", flush=True)

        try:
            sockets = [_listen(config, shared=place.count > 1)]
        except OSError as error:
            where = f"{config.server.host}:{config.server.port}"
            print(
                f"parley: cannot listen on {where}: {error.strerror}; choose another with --host and --port",
                file=sys.stderr,
            )
            return 1
        if place.count > 1:
            sockets.append(_unix(place.path(place.index)))
        server = _Server(_uvicorn(config, app), app, ready)
        if (parent := multiprocessing.parent_process()) is not None:  # a worker does not outlive it
            asyncio.get_running_loop().add_reader(parent.sentinel, server.handle_exit, signal.SIGTERM, None)
        await server.serve(sockets)
        for sock in sockets:
            sock.close()
    return 0


def _listen(config: Config, *, shared: bool) -> socket.socket:
    if shared:
        return listen(config)
    family = socket.AF_INET6 if ":" in config.server.host else socket.AF_INET
    return socket.create_server((config.server.host, config.server.port), family=family, backlog=2048)


def _unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    Path(path).unlink(missing_ok=True)  # left by the worker that died here
    sock.bind(path)
    return sock


def _uvicorn(config: Config, app: App) -> uvicorn.Config:
    proxies = list(config.server.trusted_proxies)
    return uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=WS_MAX_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        timeout_graceful_shutdown=HTTP_GRACE_S,
        server_header=False,
        backlog=2048,
    )
