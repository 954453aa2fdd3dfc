"""Google's Gemini through google-genai: streamed over server-sent events, with tools.

The SDK's own check of a request's `contents` takes 0.2 ms a message on the event loop (75 ms for 400), so
they are handed over ready made, as its `extra_body`.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from pipeline import vendor
from pipeline.contracts import Env, Failure, LlmError, Prompt, ToolCall, Usage
from pipeline.llm import gemini_wire as wire

KEEP_S = 120.0
"""How long an idle connection stays open; Google's own side keeps it for longer."""
FRESH_S = 60.0
"""A connection used this lately needs no opening ahead of need."""
TIMEOUT_MS = 60_000
"""Of the last resort: the chain's own deadlines are shorter."""


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.gemini]`."""

    model: str = "gemini-3.5-flash-lite"
    base_url: str = ""
    """Of a server that speaks the same API; "" = Google's."""
    thinking: Literal["least", "low", "medium", "high", "default"] = "least"
    """How much to think before the first word. "default": as the model is."""
    max_output_tokens: int = 0
    """The longest answer, thoughts included; 0 = the model's own limit."""


class Gemini:
    """A responder over one client and its pool of connections."""

    summarizes = True
    """It can be asked to sum a talk up (see `summary`)."""

    def __init__(self, options: Options, key: str) -> None:
        self._options, self._key = options, key
        self.model = options.model.removeprefix("models/")
        self._sdk: Any = None
        self._http: Any = None
        self._client: Any = None
        self._signatures = wire.Signatures()
        self._responses: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._preparing: asyncio.Task[None] | None = None
        self._used_at = float("-inf")
        generation: dict[str, Any] = {}
        if thinks := wire.thinking(self.model, options.thinking):
            generation["thinkingConfig"] = thinks
        if options.max_output_tokens:
            generation["maxOutputTokens"] = options.max_output_tokens
        self._generation = generation

    async def warm(self) -> None:
        self._sdk = await vendor.load("google.genai", "gemini")
        self._http = await vendor.load("httpx2", "gemini")
        self._client = await asyncio.to_thread(self._connect)

    async def aclose(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        if self._client is not None:
            await self._pool.aclose()
            self._client.close()

    def prepare(self) -> None:
        if self._client is None or self._clock() - self._used_at < FRESH_S:
            return
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.get_running_loop().create_task(self._open())

    async def probe(self) -> None:
        try:
            await self._client.aio.models.get(model=self.model)
        except Exception as error:  # an SDK raises what it likes; all of it is a failure here
            failure = self._failure(error)
            if not _is_missing(error):
                raise failure from error
            raise wire.unknown_model("gemini", self.model, await self._known_models()) from error

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        tools = wire.Toolset(prompt.tools)
        answer = wire.Answer("[llm] gemini", tools, self._signatures, prompt.language)
        self._used_at = self._clock()
        chunks: asyncio.Queue[wire.Chunk | None] = asyncio.Queue()  # as long as the answer at most
        reading = asyncio.get_running_loop().create_task(self._read(self._config(prompt, tools), chunks))
        try:
            while (chunk := await chunks.get()) is not None:
                for piece in answer.take(chunk):
                    yield piece
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        self._used_at = self._clock()
        if usage := answer.end():
            yield usage

    def _connect(self) -> Any:
        types = self._sdk.types
        limits = self._http.Limits(
            max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEP_S
        )
        trust = vendor.trust(self._http)
        self._pool = self._http.AsyncClient(
            limits=limits, follow_redirects=True, event_hooks={"response": [self._note]}, verify=trust
        )
        return self._sdk.Client(
            api_key=self._key,
            vertexai=False,  # whatever the SDK finds in the environment
            http_options=types.HttpOptions(
                base_url=self._options.base_url or wire.BASE_URL,
                api_version="v1beta",
                timeout=TIMEOUT_MS,
                client_args={"verify": trust},
                httpx_async_client=self._pool,  # without it aiohttp is used where it is installed, with
                # connections of its own and a second try of its own, seconds later
            ),
        )

    async def _note(self, response: Any) -> None:
        """Remember whose response it is: the SDK does not give it away."""
        self._responses[asyncio.current_task()] = response

    def _config(self, prompt: Prompt, tools: wire.Toolset) -> Any:
        types = self._sdk.types
        request = wire.body(prompt, tools, signature=self._signature, generation=self._generation)
        return types.GenerateContentConfig(
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            http_options=types.HttpOptions(extra_body=request),
        )

    def _signature(self, call_id: str, first: bool) -> str:
        known = self._signatures.of(call_id)
        return known or (wire.ANY_SIGNATURE if first and wire.wants_signatures(self.model) else "")

    async def _read(self, config: Any, chunks: "asyncio.Queue[wire.Chunk | None]") -> None:
        """Read one answer, in a task of its own. The SDK's stream cannot be closed from outside (its inner
        generators hold each other until they are collected), so the response under it is."""
        try:
            stream = await self._client.aio.models.generate_content_stream(
                model=self.model, contents="-", config=config
            )
            async for response in stream:
                chunks.put_nowait(_chunk_of(response))
                await asyncio.sleep(0)  # several come at once, and each takes the SDK 0.4 ms
        except Exception as error:  # an SDK raises what it likes; all of it is a failure here
            raise self._failure(error) from error
        finally:
            chunks.put_nowait(None)
            if under := self._responses.pop(asyncio.current_task(), None):
                await under.aclose()

    async def _open(self) -> None:
        """Have a connection: by a question that costs nothing. Why it fails shows when it is needed."""
        with contextlib.suppress(Exception):
            await self._client.aio.models.get(model=self.model)
            self._used_at = self._clock()

    async def _known_models(self) -> list[str]:
        names = []
        with contextlib.suppress(Exception):  # a hint only
            for model in (await self._client.aio.models.list(config={"page_size": 200})).page:
                if "generateContent" in (model.supported_actions or ()):
                    names.append(str(model.name).removeprefix("models/"))
        return names

    def _failure(self, error: Exception) -> LlmError:
        if isinstance(error, self._sdk.errors.APIError):
            headers = getattr(error.response, "headers", None) or {}
            return wire.refused("gemini", int(error.code or 500), error.details, headers)
        if isinstance(error, self._http.TransportError | OSError):
            return vendor.unreachable(LlmError, "[llm] gemini: Google", error)
        what = vendor.short(f"{type(error).__name__}: {error}")
        return LlmError(f"[llm] gemini: Google's answer cannot be read: {what}", Failure.TRANSIENT)

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()


def _is_missing(error: Exception) -> bool:
    return getattr(error, "code", None) == 404


def _chunk_of(response: Any) -> wire.Chunk:
    """One streamed `GenerateContentResponse`; thoughts (`part.thought`) are not for the user."""
    candidate = response.candidates[0] if response.candidates else None
    content = candidate.content if candidate else None
    parts = [part for part in (content.parts if content else None) or () if not part.thought]
    feedback, usage = response.prompt_feedback, response.usage_metadata
    reason = candidate.finish_reason if candidate else None
    blocked = feedback.block_reason if feedback else None
    return wire.Chunk(
        texts=[part.text for part in parts if part.text],
        calls=[_call_of(part) for part in parts if part.function_call],
        finish=str(reason.value) if reason else "",
        message=str((candidate and candidate.finish_message) or ""),
        blocked=str(blocked.value) if blocked else "",
        input_tokens=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
        if usage
        else 0,
        output_tokens=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0) if usage else 0,
    )


def _call_of(part: Any) -> wire.Call:
    call = part.function_call
    signature = base64.b64encode(part.thought_signature).decode() if part.thought_signature else ""
    return wire.Call(call.name or "", call.args or {}, call.id or "", signature)


def create(options: Options, env: Env) -> Gemini:
    found = next((value for name in wire.KEYS if (value := env.keys.get(name, "").strip())), "")
    if not found and options.base_url:
        return Gemini(options, "none")  # a server of one's own may want none; the SDK insists on one
    return Gemini(options, found or vendor.key(env, "[llm] gemini", *wire.KEYS))
