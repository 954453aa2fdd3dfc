"""Where a fake vendor stands: a real HTTP and WebSocket server on a local port, and what goes wrong there."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

KEY = "key-of-the-test"
"""The API key that every fake knows. Any other is refused the vendor's way."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one request or connection. The default is a good day."""

    status: int = 0
    """Refuse with this HTTP status (or, where the vendor refuses after the handshake, its own way)."""
    message: str = "made to fail by the test"
    retry_after: str = ""
    hang: bool = False
    """Accept, and never answer: a half-open socket reads the same."""
    empty: bool = False
    """Say that all went well, and give nothing."""
    after: int | None = None
    """Go wrong only after this many pieces (audio chunks, tokens, partials) were sent: with `hang` stall,
    with `status` send the vendor's error message, else cut the connection."""
    odd: bool = False
    """Cut sound into pieces of odd length, in mid-sample."""
    first_ms: int = 0
    each_ms: int = 0
    """Delays before the first piece and before each one after it."""


FINE = Trouble()


@dataclass
class Seen:
    """One request or connection as it came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    messages: list[Any] = field(default_factory=list)
    """What came over a WebSocket: text as decoded JSON, audio as bytes."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """The client is gone, or all was answered."""
    client: object = None
    """Address and port of the other end: the same for requests over one connection."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def audio(self) -> bytes:
        """The binary messages, joined."""
        return b"".join(m for m in self.messages if isinstance(m, bytes))


class Vendor:
    """Base of the fakes. A subclass gives `routes()`; its handlers call `self.see`, `self.trouble` and
    `self.pause`."""

    def __init__(self, *troubles: Trouble) -> None:
        self.troubles = deque(troubles)
        self.seen: list[Seen] = []
        self.port = 0
        self._gone = asyncio.Event()
        self._server: _Server | None = None

    def routes(self) -> Sequence[BaseRoute]:
        raise AssertionError("a fake has routes")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def trouble(self) -> Trouble:
        """The next one's trouble."""
        return self.troubles.popleft() if self.troubles else FINE

    async def hang(self) -> None:
        """Until the fake is closed."""
        await self._gone.wait()

    async def pause(self, trouble: Trouble, index: int) -> None:
        """The vendor takes its time before piece `index`."""
        delay_ms = trouble.each_ms if index else trouble.first_ms
        if delay_ms:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), delay_ms / 1000)

    async def see(self, request: Request) -> Seen:
        """Remember a request."""
        seen = Seen(
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            await request.body(),
            client=request.client,
        )
        self.seen.append(seen)
        return seen

    def see_socket(self, socket: WebSocket) -> Seen:
        """Remember a connection; its messages are for the handler to append."""
        seen = Seen("WS", socket.url.path, dict(socket.query_params), dict(socket.headers))
        self.seen.append(seen)
        return seen

    def die(self) -> None:
        """The vendor breaks down: every connection is reset, and nobody listens any more."""
        assert self._server is not None
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve until the block ends."""
        config = uvicorn.Config(
            Starlette(routes=list(self.routes())),
            host="127.0.0.1",
            port=0,
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = self._server = _Server(config)
        serving = asyncio.create_task(server.serve())
        await server.ready.wait()
        self.port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._gone.set()
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, and leaves the signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def refusal(trouble: Trouble, body: Any) -> Response:
    """A refusal with the vendor's own body."""
    headers = {"retry-after": trouble.retry_after} if trouble.retry_after else None
    return JSONResponse(body, trouble.status, headers)


class Cut(Exception):
    """Raise it in a streamed body to end the answer in the middle: the client sees the connection break."""
