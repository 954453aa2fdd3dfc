"""One connection to an MCP server: opened, watched, opened again when it is lost.

The package's contexts must be entered and left in one task, so the connection lives in a task of its own:

    connect ──▶ list tools ──▶ wait until it is lost ──▶ pause ──▶ connect …
       │                            │ calls are made from their callers' tasks
       └─ failed: pause, twice as long each time; a call that waits cuts it short

A call is made again only when it surely was not begun: the server could not be reached, or it did not know
our session any more. A call that was under way when the connection broke has an unknown outcome.
"""

import asyncio
import logging
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from subprocess import DEVNULL
from types import ModuleType
from typing import Any, Protocol

import anyio

from pipeline import vendor

log = logging.getLogger(__name__)

START_S = 30.0
"""For the first connection: `npx` and `uvx` fetch a server before they run it."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
IMPATIENT_S = 2.0
"""The longest pause while a call waits."""
FAREWELL_S = 8.0
"""The package itself gives a process 2 s to end, 2 s after SIGTERM and 2 s after SIGKILL."""
MOST_PAGES = 50
"""Of a list of tools: one that never ends must not hang the start."""
NOT_SENT = -31_001
"""Our own code, outside of what JSON-RPC reserves: the server could not be reached at all."""
SESSION_GONE = -31_002
"""Our own: the server has forgotten the session, after a restart say."""
NO_SUCH_WIRE = (404, 405)
"""How a server of the older wire (SSE) answers the newer one's requests (MCP 2025-03-26, "Backwards
Compatibility")."""

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


class LinkError(Exception):
    """The server cannot be reached, or refused. The text is a part of a sentence."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server to be started here, spoken to over its standard input and output."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)  # may hold secrets
    cwd: str = ""

    def __str__(self) -> str:
        return self.command[0]


@dataclass(frozen=True, slots=True)
class Address:
    """A server elsewhere, spoken to over HTTP."""

    url: str
    headers: Mapping[str, str] = field(repr=False)  # may hold secrets

    def __str__(self) -> str:
        return self.url


class Package(Protocol):
    """What is used of `mcp`, loaded when it is needed."""

    Client: Any
    MCPError: type[Exception]


class Link:
    """A server's client, as far as there is one. `open` it once, `aclose` it once."""

    def __init__(self, where: Program | Address, timeout_s: float) -> None:
        self._where, self._timeout_s = where, timeout_s
        self._client: Any = None
        self._mcp: Any = None
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()
        self._over = asyncio.Event()
        """The connection that there is has broken, or is not wanted any more."""
        self._ready, self._wanted = asyncio.Event(), asyncio.Event()
        self._waiting = 0
        """Calls that wait for it: `_wanted` is set while there are any."""
        self._first: asyncio.Future[None] | None = None
        self._was_there = False
        self._stopping = asyncio.Event()
        self._is_old_wire = False
        self.on_tools: Callable[[Sequence[Any]], None] = lambda _tools: None
        """Told the server's tools whenever it was connected to."""

    async def open(self, *, required: bool = True) -> None:
        """Connect. Raises `LinkError`, or `Unavailable` without the package; unless it is `required`, a
        server that is not there is looked for again and again."""
        mcp = await vendor.load("mcp", "mcp")
        await vendor.load("mcp.client.sse", "mcp")
        logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells session ids to the log
        logging.getLogger("mcp.client.streamable_http").setLevel(
            logging.CRITICAL
        )  # and tracebacks: we say why
        self._mcp = mcp
        self._first = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(), name=f"mcp {self._where}")
        try:
            async with asyncio.timeout(START_S):
                await asyncio.shield(self._first)
        except (LinkError, TimeoutError) as error:
            problem = error if isinstance(error, LinkError) else LinkError(f"did not answer in {START_S:g} s")
            if required:
                await self.aclose()
                raise problem from error
            log.warning("MCP server %s: %s; it will be looked for again", self._where, problem)

    @property
    def is_up(self) -> bool:
        """As far as is known: over streamable HTTP, only a call shows that a server has gone."""
        return self._client is not None

    async def call(self, name: str, arguments: Mapping[str, Any], progress: Progress, key: str) -> Any:
        """Call a tool, as soon as the server is there. Answers the package's `CallToolResult`. Raises
        `LinkError`. Waits without end: the caller has the deadline. The server is told of a cancel."""
        pause_s = SHORTEST_PAUSE_S
        while True:
            client = await self._connected()
            try:
                return await client.call_tool(
                    name, dict(arguments), progress_callback=progress, meta={"parley/key": key}
                )
            except self._mcp.MCPError as error:
                if error.code == SESSION_GONE:
                    if self._client is client:
                        self._lose()
                elif error.code == self._mcp_types.CONNECTION_CLOSED:
                    raise LinkError(
                        "the connection to the server broke meanwhile: nobody knows whether it was done"
                    ) from error
                elif error.code != NOT_SENT:
                    raise LinkError(vendor.short(error.message)) from error
            except RuntimeError as error:  # an answer that is not what the server itself said it would be
                raise LinkError(vendor.short(str(error))) from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def aclose(self) -> None:
        """Hang up; end the server if it was started here. No process, task or socket is left."""
        self._stopping.set()
        if self._task is None:
            return
        is_there = self._client is not None
        self._lose()
        self._ready.set()  # whoever waits for it is told
        if not is_there:
            self._scope.cancel()
        _, late = await asyncio.wait({self._task}, timeout=FAREWELL_S)
        if late:
            self._scope.cancel()  # and not the task: the package's own farewell must go on
            await self._task
        self._task = None

    # -- the task --------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        pause_s = SHORTEST_PAUSE_S
        with self._scope:
            while not self._stopping.is_set():
                self._over.clear()
                try:
                    await self._one_connection()
                    problem = "the connection broke"
                except Exception as error:  # noqa: BLE001 - of any kind, from any depth of the package
                    problem = self._why(error)
                self._lose()
                if self._stopping.is_set():
                    break
                assert self._first is not None
                if not self._first.done():
                    self._first.set_exception(LinkError(problem))
                    self._first.exception()  # it may be that nobody waits any more
                if self._was_there:
                    log.warning("MCP server %s: %s; connecting again", self._where, problem)
                    pause_s = SHORTEST_PAUSE_S
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Leave the server alone for a while; not quite as long when somebody waits for it."""
        await asyncio.sleep(min(seconds, IMPATIENT_S))
        if seconds > IMPATIENT_S:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds - IMPATIENT_S):
                    await self._wanted.wait()

    async def _one_connection(self) -> None:
        """Connect, and stay until it is over. Raises whatever the package does."""
        self._was_there = False
        try:
            await self._stay(self._wire())
        except Exception as error:
            # Only while it was being made, and only over HTTP: the server may speak the older wire.
            if not isinstance(self._where, Address) or self._was_there or self._is_old_wire:
                raise
            if _status_of(error) not in NO_SUCH_WIRE:
                raise
            self._is_old_wire = True
            try:
                await self._stay(self._wire())
            finally:
                self._is_old_wire = self._was_there

    async def _stay(self, wire: "AbstractAsyncContextManager[Any]") -> None:
        about = self._mcp_types.Implementation(name="parley", version=version("parley"))
        limit_s = max(self._timeout_s, START_S)
        client = self._mcp.Client(
            self._watched(wire), client_info=about, cache=None, read_timeout_seconds=limit_s
        )
        async with client:
            tools = await _all_tools(client)
            self._client, self._was_there = client, True
            self.on_tools(tools)
            self._ready.set()
            assert self._first is not None
            if not self._first.done():
                self._first.set_result(None)
            await self._over.wait()

    def _wire(self) -> "AbstractAsyncContextManager[Any]":
        where = self._where
        if isinstance(where, Program):
            command, *arguments = where.command
            told = self._mcp.StdioServerParameters(
                command=command, args=arguments, env=dict(where.environment), cwd=where.cwd or None
            )
            # What it writes to its standard error goes where ours goes.
            wire: AbstractAsyncContextManager[Any] = self._mcp.client.stdio.stdio_client(
                told, errlog=sys.__stderr__ or DEVNULL
            )
            return wire
        return self._http(where)

    @asynccontextmanager
    async def _http(self, where: Address) -> AsyncGenerator[Any, None]:
        httpx2: Any = await vendor.load("httpx2", "mcp")
        trust = await asyncio.to_thread(vendor.trust, httpx2)

        def make(*_: Any, **__: Any) -> Any:
            limits = httpx2.Timeout(10.0, read=300.0)  # a tool may work long before it says a word
            return httpx2.AsyncClient(
                headers=dict(where.headers),
                timeout=limits,
                transport=_telling(httpx2, trust, self._is_old_wire),
            )

        async with AsyncExitStack() as stack:
            if self._is_old_wire:
                streams = self._mcp.client.sse.sse_client(where.url, httpx_client_factory=make)
            else:
                client = await stack.enter_async_context(make())
                streams = self._mcp.client.streamable_http.streamable_http_client(
                    where.url, http_client=client
                )
            yield await stack.enter_async_context(streams)

    @asynccontextmanager
    async def _watched(self, wire: "AbstractAsyncContextManager[Any]") -> AsyncGenerator[Any, None]:
        """The same; but we hear of its end, which the package keeps to itself until the next call."""
        async with wire as (read, write):
            yield _Watched(read, self._lose), write

    @property
    def _mcp_types(self) -> ModuleType:
        types: ModuleType = self._mcp.types
        return types

    async def _connected(self) -> Any:
        while self._client is None:
            if self._stopping.is_set():
                raise LinkError("the server is being disconnected")
            self._waiting += 1
            self._wanted.set()
            try:
                await self._ready.wait()
            finally:
                self._waiting -= 1
                if not self._waiting:
                    self._wanted.clear()
        return self._client

    def _lose(self) -> None:
        """From now on calls wait for the next connection."""
        self._client = None
        self._ready.clear()
        self._over.set()

    def _why(self, error: BaseException) -> str:
        cause = _innermost(error)
        if isinstance(cause, FileNotFoundError) and isinstance(self._where, Program):
            return f"the command {self._where.command[0]!r} was not found"
        if isinstance(cause, PermissionError) and isinstance(self._where, Program):
            return f"the command {self._where.command[0]!r} may not be run"
        code = getattr(cause, "code", None)
        if code == self._mcp_types.CONNECTION_CLOSED and isinstance(self._where, Program):
            return f"{self._where.command[0]} ended, or is no MCP server; try it in a terminal"
        return vendor.short(getattr(cause, "message", "") or str(cause)) or type(cause).__name__


class _Watched:
    """A stream that is read as it is, and tells when it has ended."""

    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream, self._on_end = stream, on_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._on_end()
            raise

    async def __aenter__(self) -> "_Watched":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._stream.__aexit__(*details)


def _telling(httpx2: Any, trust: ssl.SSLContext, is_old_wire: bool) -> Any:
    """A transport that turns what goes wrong before a request was begun into an answer to that one request:
    the package would end the whole connection, and with it calls that are under way."""

    class Telling(httpx2.AsyncHTTPTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            if request.method != "POST" or is_old_wire:
                return await super().handle_async_request(request)
            try:
                response = await super().handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                return _error(httpx2, 503, NOT_SENT, f"cannot be reached: {vendor.short(str(error))}")
            if response.status_code < 400:
                return response
            if response.status_code == 404 and "mcp-session-id" in request.headers:
                await response.aclose()
                return _error(httpx2, 404, SESSION_GONE, "the session is over")
            if not response.headers.get("content-type", "").startswith("application/json"):
                await response.aclose()
                words = f"answered {response.status_code} {response.reason_phrase}".strip()
                return _error(httpx2, response.status_code, -response.status_code, words)
            return response

    return Telling(verify=trust)


def _error(httpx2: Any, status: int, code: int, message: str) -> Any:
    """A JSON-RPC error; an HTTP status becomes a code of its own, so that it can be told again."""
    return httpx2.Response(
        status, json={"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    )


def _status_of(error: BaseException) -> int:
    code = getattr(_innermost(error), "code", 0)
    return -code if isinstance(code, int) and -600 < code < -399 else 0


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _all_tools(client: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found
