"""Google's Gemini through google-generativeai, the package whose support ended in November 2025.

For installations that must stay with it; `gemini` is the better choice in every respect. Its asynchronous
stream does not work over REST, and gRPC brings threads of its own, so each answer is read over REST by a
thread that ends with it. The package's global client is left alone: the one here is its own.
"""

import asyncio
import importlib
import json
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipeline import vendor
from pipeline.contracts import Env, Failure, LlmError, Prompt, ProviderError, ToolCall, Usage
from pipeline.llm import gemini_wire as wire
from pipeline.llm.gemini_call import CONNECT_S, Call, adapter

FRESH_S = 60.0
"""A connection used this lately needs no opening ahead of need."""
TRANSPORTS = "google.ai.generativelanguage_v1beta.services.{0}_service.transports.rest"
GOODBYE = r"\s*All support for the `google.generativeai` package has ended"


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.gemini-classic]`."""

    model: str = "gemini-2.5-flash-lite"
    base_url: str = ""
    """Of a server that speaks the same API; "" = Google's."""
    max_output_tokens: int = 0
    """The longest answer, thoughts included; 0 = the model's own limit."""


class GeminiClassic:
    """A responder with one thread per answer, over one pool of connections."""

    summarizes = True
    """It can be asked to sum a talk up (see `summary`)."""

    def __init__(self, options: Options, key: str) -> None:
        self._options, self._key = options, key
        self.model = options.model.removeprefix("models/")
        self._protos: Any = None
        self._talking: Any = None
        self._models: Any = None
        self._adapter: Any = None
        self._calls: set[Call[Any]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._used_at = float("-inf")
        tokens = options.max_output_tokens
        self._generation = {"maxOutputTokens": tokens} if tokens else {}

    async def warm(self) -> None:
        # The operator chose it knowingly, and the page says so: no need to say it at every start. Filters are
        # the process's, and imports run in a thread: narrow ones that stay are safer than `catch_warnings`.
        warnings.filterwarnings("ignore", message=GOODBYE, category=FutureWarning)
        warnings.filterwarnings("ignore", module=r"google\.api_core", category=FutureWarning)
        package = await vendor.load("google.generativeai", "gemini-classic")
        transports = [
            await vendor.load(TRANSPORTS.format(name), "gemini-classic") for name in ("generative", "model")
        ]
        await asyncio.to_thread(self._connect, package, *transports)

    async def aclose(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        for call in list(self._calls):
            call.cancel()
            await asyncio.to_thread(call.thread.join, 2 * CONNECT_S)
        if self._adapter is not None:
            self._adapter.close()

    def prepare(self) -> None:
        if self._adapter is None or self._clock() - self._used_at < FRESH_S:
            return
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.get_running_loop().create_task(self._open())

    async def probe(self) -> None:
        try:
            async for _ in self._run(self._look_up):
                pass
        except LlmError as error:
            if getattr(error.__cause__, "code", None) != 404:
                raise
            known = [name async for name in self._run(self._list)]
            raise wire.unknown_model("gemini-classic", self.model, known) from error

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        tools = wire.Toolset(prompt.tools, old=True)
        answer = wire.Answer("[llm] gemini-classic", tools, language=prompt.language)
        # These protocol buffers know no signatures, so newer models are told results in words.
        calls = not wire.wants_signatures(self.model)
        request = wire.body(prompt, tools, calls=calls, generation=self._generation)
        async with aclosing(self._run(lambda: self._answer(request))) as chunks:
            async for chunk in chunks:
                for piece in answer.take(chunk):
                    yield piece
        if usage := answer.end():
            yield usage

    # -- on the loop ------------------------------------------------------------------------------------

    async def _run(self, work: Any) -> AsyncGenerator[Any, None]:
        """What `work` yields in a thread. Raises `LlmError`."""
        call: Call[Any] = Call(work, "gemini-classic")
        self._calls = {c for c in self._calls if c.thread.is_alive() or c.thread.ident is None} | {call}
        try:
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        except ProviderError:
            raise
        except Exception as error:  # an SDK raises what it likes; all of it is a failure here
            raise _failure(error) from error
        self._used_at = self._clock()

    async def _open(self) -> None:
        """Have a connection: by a question that costs nothing. Why it fails shows when it is needed."""
        with suppress(LlmError):
            async for _ in self._run(self._look_up):
                pass

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()

    # -- in a thread ------------------------------------------------------------------------------------

    def _connect(self, package: ModuleType, talking: Any, models: Any) -> None:
        clients, auth = (
            importlib.import_module(name)
            for name in ("google.ai.generativelanguage", "google.auth.credentials")
        )
        self._protos = package.protos
        self._adapter = adapter()
        host = (self._options.base_url or wire.BASE_URL).rstrip("/")

        def client(kind: Any, transport: Any) -> Any:
            made = transport(host=host, credentials=auth.AnonymousCredentials())
            # Its session cannot be hung up, and sends a refused request twice more. No other way in, but the
            # package is pinned to google-ai-generativelanguage 0.6.15 for good.
            session = made._session
            session.headers["x-goog-api-key"] = self._key
            session._refresh_status_codes = ()
            for scheme in ("http://", "https://"):
                session.mount(scheme, self._adapter)
            return kind(transport=made)

        self._talking = client(clients.GenerativeServiceClient, talking.GenerativeServiceRestTransport)
        self._models = client(clients.ModelServiceClient, models.ModelServiceRestTransport)

    def _answer(self, body: dict[str, Any]) -> Iterator[wire.Chunk]:
        text = json.dumps({**body, "model": f"models/{self.model}"})
        request = self._protos.GenerateContentRequest.from_json(text, ignore_unknown_fields=True)
        # Its own retries would go on for a minute.
        stream = self._talking.stream_generate_content(request=request, retry=None, timeout=None)
        try:
            for response in stream:
                yield _chunk_of(response)
        finally:
            stream.cancel()

    def _look_up(self) -> Iterator[str]:
        yield self._models.get_model(name=f"models/{self.model}", retry=None, timeout=None).name

    def _list(self) -> Iterator[str]:
        with suppress(Exception):  # a hint only
            for model in self._models.list_models(page_size=200, retry=None, timeout=None):
                if "generateContent" in model.supported_generation_methods:
                    yield model.name.removeprefix("models/")


def _failure(error: Exception) -> LlmError:
    response = getattr(error, "response", None)
    code = getattr(error, "code", None)
    if code is not None and response is not None:  # google.api_core's GoogleAPICallError
        try:
            answer = response.json()
        except ValueError:
            answer = {"message": getattr(error, "message", "")}
        return wire.refused("gemini-classic", int(code), answer, response.headers)
    if isinstance(error, OSError):  # requests' own too
        return vendor.unreachable(LlmError, "[llm] gemini-classic: Google", error)
    what = vendor.short(f"{type(error).__name__}: {error}")
    return LlmError(f"[llm] gemini-classic: Google's answer cannot be read: {what}", Failure.TRANSIENT)


def _chunk_of(response: Any) -> wire.Chunk:
    """One streamed `GenerateContentResponse` of 2024: it knows no thoughts, and none are asked for."""
    candidate = response.candidates[0] if response.candidates else None
    parts = candidate.content.parts if candidate else ()
    blocked, usage = response.prompt_feedback.block_reason, response.usage_metadata
    if candidate is None and not blocked and not usage.prompt_token_count:
        # An error in mid-stream is an item of its own, of which these protocol buffers keep nothing.
        raise LlmError("[llm] gemini-classic: Google broke off with an error", Failure.TRANSIENT)
    finish = candidate.finish_reason if candidate else 0
    return wire.Chunk(
        texts=[part.text for part in parts if part.text],
        calls=[_call_of(part.function_call) for part in parts if part.function_call.name],
        finish=getattr(finish, "name", str(finish)) if finish else "",
        blocked=getattr(blocked, "name", str(blocked)) if blocked else "",
        input_tokens=usage.prompt_token_count,
        # The thoughts are in the total only.
        output_tokens=max(usage.candidates_token_count, usage.total_token_count - usage.prompt_token_count),
    )


def _call_of(call: Any) -> wire.Call:
    return wire.Call(call.name, type(call).to_dict(call).get("args") or {}, call.id)


def create(options: Options, env: Env) -> GeminiClassic:
    found = next((value for name in wire.KEYS if (value := env.keys.get(name, "").strip())), "")
    if not found and options.base_url:
        return GeminiClassic(options, "none")  # a server of one's own may want none
    return GeminiClassic(options, found or vendor.key(env, "[llm] gemini-classic", *wire.KEYS))
