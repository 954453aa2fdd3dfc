"""The Chat Completions wire, for every vendor and server that speaks it: OpenAI, x.ai, Ollama, vLLM, Groq, …

They differ in small things, and say so with a 400 that names the parameter: `max_tokens` or
`max_completion_tokens`, no `stream_options`, no `reasoning_effort`, no tools. So a refused parameter is left
out (or said differently) and the question asked again at once; what helped is remembered.

Wire: https://platform.openai.com/docs/api-reference/chat/create and /chat/streaming
"""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from pipeline import vendor
from pipeline.contracts import Failure, LlmError, Prompt, ToolCall, Usage
from pipeline.llm import history
from pipeline.llm.chat_answer import Answer
from pipeline.llm.history import Answered
from pipeline.openai_http import OpenAiHttp, Place

log = logging.getLogger(__name__)

MOST_TRIES = 4
"""Of one question, with what the server refused left out each time."""
MOST_NAMED = 5
"""Models that a message names."""
LIMITS = ("max_completion_tokens", "max_tokens")
"""OpenAI's newer models refuse the second, most other servers know only the second."""
STATUS_OF = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "invalid_api_key": 401}
"""An error's `code` in the middle of a stream, as the status it would have had before."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a server wants to be asked: as configured, and as its refusals taught."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Those it may refuse, with their values."""
    tools: bool = True

    def after(self, refusal: str) -> "Manners | None":
        """How to ask again after a 400 with these words. None: they are not about how it was asked."""
        p = dict(self.parameters)
        if "reasoning_effort" in refusal:
            # gpt-5.4 and later take tools here only with an explicit "none".
            if "'none'" in refusal and p.get("reasoning_effort") != "none":
                return replace(self, parameters=p | {"reasoning_effort": "none"})
            if p.pop("reasoning_effort", None) is not None:
                return replace(self, parameters=p)
        for one, other in (LIMITS, LIMITS[::-1]):
            if one in p and one in refusal:
                return replace(self, parameters={other if k == one else k: v for k, v in p.items()})
        for name in ("stream_options", "temperature"):
            if name in p and name in refusal:
                return replace(self, parameters={k: v for k, v in p.items() if k != name})
        if self.tools and "tool" in refusal and "support" in refusal:
            return replace(self, tools=False)
        return None


class ChatResponder:
    """The `Responder`. `parameters` go with every request, unless the server turns out not to take them."""

    goes_on = True
    """An answer that another one began can be asked to be continued (see `LlmChain`)."""
    summarizes = True
    """It can be asked to sum a talk up (see `summary`)."""

    def __init__(
        self,
        place: Place,
        model: str,
        parameters: Mapping[str, Any],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self._place, self._extra = place, dict(extra or {})
        self._manners = Manners({"stream_options": {"include_usage": True}, **parameters})
        self._http = OpenAiHttp(LlmError, place, model)

    async def warm(self) -> None:
        await self._http.open()
        _ = self._http.client.chat.completions  # imported when first touched: here, not in the first turn

    async def aclose(self) -> None:
        await self._http.aclose()

    def prepare(self) -> None:
        self._http.prepare()

    async def probe(self) -> None:
        """Ask for the model's description; where a server has none, for its list of models."""
        models = self._http.client.models
        try:
            await models.with_raw_response.retrieve(self.model)
        except self._http.failures as error:
            failed = self._failed(error)
            if failed.kind is not Failure.BAD_REQUEST:
                raise failed from error
            await self._find_in_list(failed)
        self._http.used()

    async def _find_in_list(self, failed: LlmError) -> None:
        try:
            answer = await self._http.client.models.with_raw_response.list()
            listed = [str(m.get("id")) for m in answer.http_response.json().get("data") or ()]
        except self._http.failures as error:
            missing = self._failed(error)
            if missing.kind is Failure.BAD_REQUEST and not self._place.is_openai:
                return  # it is there and took the key; it cannot say what models it has
            raise missing from error
        except (ValueError, AttributeError):
            return
        if self.model not in listed:
            near = get_close_matches(self.model, listed, MOST_NAMED, 0.3) or sorted(listed)[:MOST_NAMED]
            hint = f"; it has {', '.join(near)}" if near else ""
            raise LlmError(f"{failed}{hint}", Failure.BAD_REQUEST)

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        names = {history.legal_name(spec.name): spec.name for spec in prompt.tools}
        answer = Answer(f"{self._place.section} {self.model}", names, prompt.language)
        stream = await self._ask(prompt)
        try:
            while (chunk := await self._next(stream)) is not None:
                for piece in answer.take(chunk):
                    yield piece
        finally:
            await stream.close()  # in mid-stream this closes the connection, which ends the request
        self._http.used()
        for last in answer.end():
            yield last

    async def _ask(self, prompt: Prompt) -> Any:
        """The open stream of an answer. Raises `LlmError`."""
        manners, messages = self._manners, messages_of(prompt)
        for tries_left in reversed(range(MOST_TRIES)):
            # In `extra_body` it is sent as it is. As arguments the package checks each message against its
            # types, on the event loop: 100 ms for a history of 400.
            body: dict[str, Any] = {"messages": messages, **manners.parameters}
            if prompt.tools and manners.tools:
                body["tools"] = tools_of(prompt)
            body |= self._extra
            try:
                create = self._http.client.chat.completions.create
                stream = await create(model=self.model, messages=[], stream=True, extra_body=body)
            except self._http.failures as error:
                failed = self._failed(error)
                better = manners.after(_refusal(error)) if tries_left else None
                if better is None:
                    raise failed from error
                log.info("%s %s asks differently after: %s", self._place.section, self.model, failed)
                manners = better
                continue
            self._manners = manners
            return stream
        raise AssertionError("the last try returns or raises")

    async def _next(self, stream: Any) -> Any:
        """The next chunk; None at the end. Raises `LlmError`."""
        try:
            return await anext(stream)
        except StopAsyncIteration:
            return None
        except self._http.failures as error:
            raise self._failed(error) from error
        except ValueError as error:  # no JSON, or no UTF-8
            raise LlmError(
                f"{self._place.who} sent what cannot be read: {vendor.short(str(error))}"
            ) from error

    def _failed(self, error: BaseException) -> LlmError:
        body = getattr(error, "body", None)
        if getattr(error, "status_code", None) is None and isinstance(body, dict):  # in mid-stream
            code = body.get("code")
            status = code if isinstance(code, int) and code >= 400 else STATUS_OF.get(str(code), 500)
            words = str(body.get("message") or body)
            return self._place.advise(vendor.refused(LlmError, self._place.who, status, words))
        failed = self._http.failed(error)
        if failed.kind is Failure.BAD_REQUEST and "api key" in str(failed).lower():
            # x.ai answers a wrong key with 400: https://docs.x.ai/docs/key-information/debugging
            words = _refusal(error)
            return self._place.advise(vendor.refused(LlmError, self._place.who, 401, words))
        return failed


def messages_of(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt in the wire's words."""
    told = history.tidy(prompt.messages)
    messages: list[dict[str, Any]] = [{"role": "system", "content": told.system}] if told.system else []
    for turn in told.turns:
        if not isinstance(turn, Answered):
            messages.append({"role": "user", "content": turn.text})
            continue
        messages.append({"role": "assistant", "content": turn.text or None})
        if turn.calls:
            messages[-1]["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": history.as_json(call.arguments)},
                }
                for call, _ in turn.calls
            ]
        messages += [{"role": "tool", "tool_call_id": c.id, "content": result} for c, result in turn.calls]
    return messages


def tools_of(prompt: Prompt) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {
                "name": history.legal_name(spec.name),
                "description": spec.description,
                "parameters": history.schema(spec.parameters),
            },
        }
        for spec in prompt.tools
    ]


def _refusal(error: BaseException) -> str:
    """The words of a 400 or 422, else none."""
    if getattr(error, "status_code", None) not in (400, 422):
        return ""
    return f"{getattr(error, 'param', None) or ''} {getattr(error, 'body', None) or error}"
