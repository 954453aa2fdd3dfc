"""Anthropic's Claude models over the Messages API, streamed.

Wire: https://platform.claude.com/docs/en/api/messages and /build-with-claude/streaming. Thinking is switched
off where a model allows that: nobody waits on the phone for thoughts.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from pipeline import vendor
from pipeline.contracts import Env, LlmError, Prompt, ToolCall, Usage
from pipeline.llm import history
from pipeline.llm.anthropic_answer import Answer
from pipeline.llm.history import Answered
from pipeline.openai_http import CONNECT_S, KEEP_S, READ_S, OpenAiHttp, Place

log = logging.getLogger(__name__)

URL = "https://api.anthropic.com"
VARIABLE = "ANTHROPIC_API_KEY"
MOST_NAMED = 5
"""Models that a message names."""
STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""https://platform.claude.com/docs/en/api/errors: in mid-stream an error has its type, and no status."""


@dataclass(frozen=True, slots=True)
class Options:
    """`[llm.anthropic]`"""

    model: str = "claude-haiku-5-5"
    max_tokens: int = 1024
    """The longest answer. The API wants to be told."""
    cache: bool = False
    """Let it keep the prompt between turns: cheaper and quicker from some thousands of tokens on."""
    base_url: str = URL
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What goes with the request besides, such as { output_config = { effort = "low" } }."""

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model must not be empty")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens = {self.max_tokens} must be 1 or more")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url = {self.base_url!r} must begin with http:// or https://")


def create(options: Options, env: Env) -> "AnthropicResponder":
    """Raises `MissingKey`."""
    key = vendor.key(env, "[llm] anthropic", VARIABLE)
    place = Place("[llm.anthropic]", VARIABLE, key, options.base_url.rstrip("/"))
    return AnthropicResponder(options, place)


class AnthropicHttp(OpenAiHttp[LlmError]):
    """The client. This package and OpenAI's come from one generator, and keep their connections alike."""

    def __init__(self, place: Place, model: str) -> None:
        super().__init__(LlmError, place, model)
        self._at = place

    async def open(self) -> None:
        """Import the package and make the client. No network. Raises `Unavailable`."""
        package = await vendor.load("anthropic", "anthropic")
        await asyncio.to_thread(self._make, package)

    def _make(self, package: ModuleType) -> None:
        httpx = vendor.http_package(package.DefaultAsyncHttpxClient)
        self.failures = (package.AnthropicError, httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=KEEP_S)
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        self.client = package.AsyncAnthropic(
            api_key=self._at.key,
            base_url=self._at.base_url,
            max_retries=0,
            timeout=timeout,
            http_client=package.DefaultAsyncHttpxClient(
                limits=limits, timeout=timeout, verify=vendor.trust(httpx)
            ),
        )
        # These import their modules when first touched: here, not in the first turn.
        _ = self.client.messages, self.client.models.with_raw_response

    def failed(self, error: BaseException) -> LlmError:
        """The stage's error for one of `failures`."""
        status = getattr(error, "status_code", None)
        if status is None:
            return vendor.unreachable(LlmError, self._at.who, error.__cause__ or error)
        kind, words = _told(error)
        if status < 400:  # the answer had begun
            status = STATUS_OF.get(kind, 500)
        headers = getattr(getattr(error, "response", None), "headers", None)
        return self._at.advise(vendor.refused(LlmError, self._at.who, status, words, headers))

    async def probe(self) -> None:
        """Ask for the model's description: free, needs the key, knows the model. Raises `LlmError`."""
        models = self.client.models.with_raw_response
        try:
            await models.retrieve(self._model)
        except self.failures as error:
            failed = self.failed(error)
            if getattr(error, "status_code", None) == 404:
                failed = LlmError(f"{failed}{await self._hint()}", failed.kind)
            raise failed from error
        self.used()

    async def _hint(self) -> str:
        """The models that there are, as the end of a message; "" when they are not told."""
        try:
            answer = await self.client.models.with_raw_response.list(limit=100)
            listed = [str(model.get("id")) for model in answer.http_response.json().get("data") or ()]
        except self.failures:
            return ""
        except (ValueError, AttributeError):  # no JSON, or another one
            return ""
        near = get_close_matches(self._model, listed, MOST_NAMED, 0.3) or listed[:MOST_NAMED]
        return f"; it has {', '.join(near)}" if near else ""


class AnthropicResponder:
    """The `Responder`."""

    goes_on = True
    """An answer that another one began can be asked to be continued (see `LlmChain`)."""
    summarizes = True
    """It can be asked to sum a talk up (see `summary`)."""

    def __init__(self, options: Options, place: Place) -> None:
        self.model = options.model
        self._options, self._place = options, place
        self._http = AnthropicHttp(place, options.model)
        self._parameters: dict[str, Any] = {"thinking": {"type": "disabled"}}
        """What a model may refuse; then it is asked without."""
        if options.cache:
            self._parameters["cache_control"] = {"type": "ephemeral"}
        for name in options.extra:
            self._parameters.pop(name, None)

    async def warm(self) -> None:
        await self._http.open()

    async def aclose(self) -> None:
        await self._http.aclose()

    def prepare(self) -> None:
        self._http.prepare()

    async def probe(self) -> None:
        await self._http.probe()

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        names = {history.legal_name(spec.name): spec.name for spec in prompt.tools}
        answer = Answer(f"{self._place.section} {self.model}", names, prompt.language)
        stream = await self._ask(prompt)
        try:
            while (event := await self._next(stream)) is not None:
                for piece in answer.take(event):
                    yield piece
        finally:
            await stream.close()  # in mid-stream this closes the connection, which ends the request
        self._http.used()
        for last in answer.end():
            yield last

    async def _ask(self, prompt: Prompt) -> Any:
        """The open stream of an answer. Raises `LlmError`."""
        body, parameters = body_of(prompt), self._parameters
        while True:
            try:
                stream = await self._http.client.messages.create(
                    model=self.model,
                    max_tokens=self._options.max_tokens,
                    messages=[],
                    stream=True,
                    # Sent as it is: as arguments the package would check each message, on the event loop.
                    extra_body={**body, **parameters, **self._options.extra},
                )
            except self._http.failures as error:
                failed = self._http.failed(error)
                words = _told(error)[1] if getattr(error, "status_code", None) == 400 else ""
                fewer = {name: value for name, value in parameters.items() if name not in words}
                if fewer == parameters:
                    raise failed from error
                log.info("%s %s asks differently after: %s", self._place.section, self.model, failed)
                parameters = fewer
                continue
            self._parameters = parameters
            return stream

    async def _next(self, stream: Any) -> Any:
        """The next event; None at the end. Raises `LlmError`."""
        try:
            return await anext(stream)
        except StopAsyncIteration:
            return None
        except self._http.failures as error:
            raise self._http.failed(error) from error
        except ValueError as error:  # no JSON, or no UTF-8
            raise LlmError(
                f"{self._place.who} sent what cannot be read: {vendor.short(str(error))}"
            ) from error


def body_of(prompt: Prompt) -> dict[str, Any]:
    """The prompt in the wire's words: the system prompt apart, results at the head of what the user says."""
    told = history.tidy(prompt.messages)
    messages: list[dict[str, Any]] = []
    called: dict[str, None] = {}
    for turn in told.turns:
        if not isinstance(turn, Answered):
            _say(messages, "user", [{"type": "text", "text": turn.text}])
            continue
        spoken = [{"type": "text", "text": turn.text}] if turn.text else []
        _say(messages, "assistant", spoken + [_call(call) for call, _ in turn.calls])
        _say(messages, "user", [_result(call, result) for call, result in turn.calls])
        called |= {call.name: None for call, _ in turn.calls}
    body: dict[str, Any] = {"messages": messages}
    if told.system:
        body["system"] = told.system
    if prompt.tools:
        body["tools"] = [
            {
                "name": history.legal_name(spec.name),
                "description": spec.description,
                "input_schema": history.schema(spec.parameters),
            }
            for spec in prompt.tools
        ]
    elif called:  # a history with calls is refused without tools
        body["tools"] = [{"name": name, "input_schema": history.schema({})} for name in called]
        body["tool_choice"] = {"type": "none"}
    return body


def _say(messages: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    elif blocks:
        messages.append({"role": role, "content": blocks})


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.loads(history.as_json(call.arguments))
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _result(call: ToolCall, result: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call.id, "content": result}


def _told(error: BaseException) -> tuple[str, str]:
    """Type and words of an error: {"type": "error", "error": {"type", "message"}}."""
    body = getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    if isinstance(inner, dict):
        return str(inner.get("type")), str(inner.get("message"))
    return "", str(body) if body else str(error)
