"""A client of the application's sockets, in the same process: no server, no port."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit


class Closed(Exception):
    """The other side has closed the socket."""


class Socket:
    """One WebSocket. `code` is the close code, once it is closed."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.protocol = ""
        """The subprotocol that was accepted."""
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, kind: str, **fields: Any) -> None:
        text = json.dumps({"type": kind, **fields})
        await self._in.put({"type": "websocket.receive", "text": text})

    async def sound(self, pcm: bytes) -> None:
        await self._in.put({"type": "websocket.receive", "bytes": pcm})

    async def event(self, within_s: float = 5.0) -> dict[str, Any]:
        """The next event; sound counts as {"type": "binary"}. Raises `Closed`, TimeoutError."""
        async with asyncio.timeout(within_s):
            while True:
                message = await self._out.get()
                if message["type"] == "websocket.close":
                    self.code = message["code"]
                    raise Closed(message.get("reason", ""))
                if message["type"] == "websocket.accept":
                    self.protocol = message.get("subprotocol") or ""
                if message["type"] == "websocket.send":
                    text = message.get("text")
                    found: dict[str, Any] = json.loads(text) if text else {"type": "binary"}
                    return found

    async def until(self, kind: str, within_s: float = 5.0) -> list[dict[str, Any]]:
        """Every event up to the first of a kind."""
        events = [await self.event(within_s)]
        while events[-1]["type"] != kind:
            events.append(await self.event(within_s))
        return events

    async def closed(self) -> int:
        """The close code."""
        try:
            while True:
                await self.event()
        except Closed:
            assert self.code is not None
            return self.code


@asynccontextmanager
async def connected(
    app: Any, url: str, headers: Mapping[str, str] | None = None, protocols: Sequence[str] = ()
) -> AsyncIterator[Socket]:
    """A socket to a path with its query; it is lost at the end, if it is not closed by then."""
    parts = urlsplit(url)
    scope = {
        "type": "websocket",
        "path": parts.path,
        "query_string": parts.query.encode(),
        "client": ("203.0.113.7", 5000),
        "subprotocols": list(protocols),
        "headers": [
            (b"host", b"parley.test"),
            *((k.lower().encode(), v.encode()) for k, v in (headers or {}).items()),
        ],
    }
    socket = Socket()
    await socket._in.put({"type": "websocket.connect"})
    serving = asyncio.create_task(app(scope, socket._in.get, socket._out.put))
    try:
        yield socket
    finally:
        await socket._in.put({"type": "websocket.disconnect"})
        await serving
