"""OpenAI's HTTP API, or any server that speaks it, for those who hear and those who speak through it.

It owns the client (the `openai` package's, its retries off: the chain retries), keeps its connections open
between turns, and turns whatever that package raises into the stage's typed error. It knows no stage.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import Any, Generic, TypeVar

from pipeline import vendor
from pipeline.contracts import Env, Failure, ProviderError, Unavailable

URL = "https://api.openai.com/v1"
KEEP_S = 120.0
"""How long an idle connection is kept. The package's own 5 s would mean a handshake in every turn."""
WARM_S = 20.0
"""A connection that was used this recently is surely still open at the other end."""
CONNECT_S, READ_S = 5.0, 30.0
"""Backstops: the chain's own deadlines are shorter."""

P = TypeVar("P", bound=ProviderError)


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go, and who is named when one is refused."""

    section: str
    """Such as "[tts.openai]"."""
    key_variable: str
    key: str
    base_url: str

    @classmethod
    def of(cls, env: Env, stage: str, key_variable: str, base_url: str) -> "Place":
        """Raises `MissingKey` (a server of one's own needs no key), `Unavailable` for what is no URL."""
        if base_url and not base_url.startswith(("http://", "https://")):
            raise Unavailable(f"[{stage}.openai] base_url = {base_url!r} must begin with http:// or https://")
        if base_url:
            key = env.keys.get(key_variable, "").strip() if key_variable else ""
        else:
            key = vendor.key(env, f"[{stage}] openai", key_variable)
        return cls(f"[{stage}.openai]", key_variable, key, (base_url or URL).rstrip("/"))

    @property
    def is_openai(self) -> bool:
        return self.base_url == URL

    @property
    def who(self) -> str:
        return "OpenAI" if self.is_openai else self.base_url

    def advise(self, error: P) -> P:
        """The error with the setting to look at, and without the key, should the server have repeated it."""
        text = str(error).replace(self.key, "…") if self.key else str(error)
        match error.kind:
            case Failure.AUTH:
                text += f" (look at {self.key_variable or f'{self.section} key_variable'})"
            case Failure.BAD_REQUEST:
                text += f" (look at {self.section} model)"
            case _:
                pass
        return type(error)(text, error.kind, retry_after_s=error.retry_after_s)


class OpenAiHttp(Generic[P]):
    """One client, shared by all sessions."""

    def __init__(self, error: type[P], place: Place, model: str) -> None:
        self._error, self._place, self._model = error, place, model
        self._used = float("-inf")
        """When a connection was last known to be open."""
        self._warming: asyncio.Task[None] | None = None
        self.client: Any = None
        """An `AsyncOpenAI`, after `open`."""
        self.failures: tuple[type[BaseException], ...] = ()
        """What the package may raise; `failed` says what it means."""

    async def open(self) -> None:
        """Import the package and make the client. No network. Raises `Unavailable`."""
        openai = await vendor.load("openai", "openai")
        await asyncio.to_thread(self._build, openai)

    def _build(self, openai: ModuleType) -> None:
        httpx = vendor.http_package(openai.DefaultAsyncHttpxClient)
        self.failures = (openai.OpenAIError, httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=KEEP_S)
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        self.client = openai.AsyncOpenAI(
            api_key=self._place.key or "none",
            base_url=self._place.base_url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=limits, timeout=timeout, verify=vendor.trust(httpx)
            ),
        )
        _rehearsed(openai, httpx, self.failures)

    async def aclose(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self.client is not None:
            await self.client.close()

    def prepare(self) -> None:
        """Have a connection open, unless one was used a moment ago."""
        is_warming = self._warming is not None and not self._warming.done()
        if not is_warming and _now() - self._used > WARM_S and self.client is not None:
            self._warming = asyncio.get_running_loop().create_task(self._warm_up())

    async def _warm_up(self) -> None:
        try:
            await self.client.models.with_raw_response.retrieve(self._model)
        except self.failures as error:
            if getattr(error, "status_code", None) is None:
                return  # nobody is there: it shows when it is needed
        self._used = _now()

    def used(self) -> None:
        """A request was answered to its end: its connection is open and free."""
        self._used = _now()

    async def probe(self) -> None:
        """Ask for the model's description: free, needs the key, knows the model. Raises the stage's error."""
        try:
            await self.client.models.with_raw_response.retrieve(self._model)
        except self.failures as error:
            failed = self.failed(error)
            if failed.kind is Failure.BAD_REQUEST:
                await self._look_for_model(failed)
                return
            raise failed from error
        self.used()

    async def _look_for_model(self, failed: P) -> None:
        """It was not described: not every server can do that. Is it listed? Raises with what is."""
        try:
            listed = [str(model.id) for model in (await self.client.models.list()).data]
        except self.failures as error:
            if self._place.is_openai:
                raise failed from error
            return  # it is there, it took the key, it says nothing of its models
        if self._model not in listed:
            close = get_close_matches(self._model, listed, n=6, cutoff=0.3) or listed[:6]
            raise type(failed)(f"{failed}; it has {', '.join(close) or 'none'}", failed.kind) from failed

    def failed(self, error: BaseException) -> P:
        """The stage's error for one of `failures`."""
        status = getattr(error, "status_code", None)
        if status is None:
            return vendor.unreachable(self._error, self._place.who, error.__cause__ or error)
        detail, response = _words(error), getattr(error, "response", None)
        headers = getattr(response, "headers", None)
        return self._place.advise(vendor.refused(self._error, self._place.who, status, detail, headers))


@cache
def _rehearsed(openai: ModuleType, httpx: ModuleType, failures: tuple[type[BaseException], ...]) -> None:
    asyncio.run(_rehearse(openai, httpx, failures))


async def _rehearse(openai: ModuleType, httpx: ModuleType, failures: tuple[type[BaseException], ...]) -> None:
    """Talk to ourselves once, in the thread's own loop: the packages underneath import most of their modules
    with the first request, which took the event loop 50 to 100 ms at the first caller."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close"
        writer.write(f"{head}\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        trust = vendor.trust(httpx)
        # No proxy between us and ourselves.
        alone = httpx.AsyncClient(trust_env=False, timeout=CONNECT_S, verify=trust)
        async with openai.AsyncOpenAI(
            api_key="none", base_url=url, max_retries=0, http_client=alone
        ) as client:
            with suppress(*failures):
                await client.models.with_raw_response.retrieve("m")
                await client.audio.transcriptions.create(file=("s.wav", b"", "audio/wav"), model="m")
                speech = client.audio.speech.with_streaming_response
                async with speech.create(model="m", input="m", voice="alloy") as response:
                    await response.read()


def _words(error: BaseException) -> str:
    """The server's own words: OpenAI's body is {"error": {"message"}}, which the package has opened."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or body)
    return str(body) if body else str(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
