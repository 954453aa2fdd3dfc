"""Anthropic's Messages API on a local port.

* `POST /v1/messages`: https://platform.claude.com/docs/en/api/messages, streamed as
  https://platform.claude.com/docs/en/build-with-claude/streaming: message_start, for each block
  content_block_start, its deltas and content_block_stop, then message_delta and message_stop; `ping`
  anywhere.
* `GET /v1/models`, `GET /v1/models/X`: https://platform.claude.com/docs/en/api/models-list
* Refusals, also in mid-stream: https://platform.claude.com/docs/en/api/errors
"""

import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.support.vendors.place import KEY, Trouble
from tests.support.vendors.talker import Json, Refused, Script, Talker, sse

MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-haiku-4-5")
ALWAYS_THINKS = ("claude-fable-5-1",)
TYPE_OF = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class Anthropic(Talker):
    """The fake."""

    id_prefix = "toolu_"

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/messages", self.answer, methods=["POST"]),
            Route("/v1/models", self._list),
            Route("/v1/models/{model}", self._get),
        ]

    # -- models -----------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        await self.see(request)
        try:
            self._check_key(request)
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        data = [_model(name) for name in MODELS]
        return JSONResponse(
            {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        )

    async def _get(self, request: Request) -> Response:
        await self.see(request)
        model = request.path_params["model"]
        try:
            self._check_key(request)
            self._check_model(model)
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        return JSONResponse(_model(model))

    # -- what is refused --------------------------------------------------------------------------------

    def error(self, status: int, message: str) -> Json:
        kind = TYPE_OF.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    def late_error(self, trouble: Trouble) -> bytes:
        return sse(self.error(trouble.status, trouble.message), "error")

    def bad(self, message: str) -> Refused:
        return Refused(400, self.error(400, message))

    def _check_key(self, request: Request) -> None:
        # Version 2 of the package sends the key as a bearer, older ones (and curl) in a header of its own.
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if (request.headers.get("x-api-key") or bearer) != KEY:
            raise Refused(401, self.error(401, "invalid x-api-key"))
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", request.headers.get("anthropic-version", "")):
            raise self.bad("anthropic-version: header is required")

    def _check_model(self, model: str) -> None:
        if model not in MODELS:
            raise Refused(404, self.error(404, f"model: {model}"))

    def check(self, request: Request, body: Any) -> None:
        self._check_key(request)
        self._check_model(body.get("model", ""))
        if body.get("max_tokens", 0) < 1:
            raise self.bad("max_tokens: Field required")
        if body["model"] in ALWAYS_THINKS and body.get("thinking", {}).get("type") == "disabled":
            raise self.bad('"thinking.type.disabled" is not supported for this model.')
        if "system" in body and not body["system"].strip():
            raise self.bad("system: text content blocks must be non-empty")
        tools = body.get("tools", ())
        for tool in tools:
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]):
                raise self.bad("tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
            if tool["input_schema"].get("type") != "object":
                raise self.bad("tools.0.custom.input_schema.type: Field required")
        self._check_messages(body.get("messages") or [], bool(tools))

    def _check_messages(self, messages: Sequence[Json], has_tools: bool) -> None:
        if not messages:
            raise self.bad("messages: at least one message is required")
        if messages[-1]["role"] != "user":
            raise self.bad(
                "This model does not support assistant message prefill. The conversation must end with a "
                "user message."
            )
        owed: list[str] = []
        used: set[str] = set()
        for number, message in enumerate(messages):
            if message["role"] != ("user", "assistant")[number % 2]:
                raise self.bad('messages: roles must alternate between "user" and "assistant"')
            blocks = message["content"]
            if not blocks:
                raise self.bad(f"messages.{number}: all messages must have non-empty content")
            answered = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
            self._check_pairs(number, owed, answered, blocks)
            owed = [b["id"] for b in blocks if b["type"] == "tool_use"]
            if (owed or answered) and not has_tools:
                raise self.bad("Requests which include `tool_use` or `tool_result` blocks must define tools")
            self._check_blocks(number, blocks, used)

    def _check_pairs(
        self, number: int, owed: Sequence[str], answered: Sequence[str], blocks: Sequence[Json]
    ) -> None:
        if set(owed) - set(answered):
            raise self.bad(
                f"messages.{number - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {', '.join(owed)}."
            )
        if set(answered) - set(owed):
            raise self.bad(f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks")
        if any(block["type"] != "tool_result" for block in blocks[: len(answered)]):
            raise self.bad(f"messages.{number}: `tool_result` blocks must come first")

    def _check_blocks(self, number: int, blocks: Sequence[Json], used: set[str]) -> None:
        for block in blocks:
            if block["type"] == "text" and not block["text"].strip():
                raise self.bad(f"messages.{number}: text content blocks must contain non-whitespace text")
            if block["type"] != "tool_use":
                continue
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
                raise self.bad(f"messages.{number}.content.0.tool_use.id: String should match pattern")
            if block["id"] in used:
                raise self.bad(f"messages.{number}: `tool_use` ids must be unique")
            used.add(block["id"])
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,200}", block["name"]) or not isinstance(
                block["input"], dict
            ):
                raise self.bad(f"messages.{number}.content.0.tool_use: Input should be a valid dictionary")

    # -- what is answered -------------------------------------------------------------------------------

    def script(self, body: Any, empty: bool) -> Script:
        last = body["messages"][-1]["content"][-1]
        is_result = last["type"] == "tool_result"
        can_call = body.get("tool_choice", {}).get("type") != "none"
        offered = [tool["name"] for tool in body.get("tools", ())] if can_call else []
        reply = self.reply(last.get("text", ""), last["content"] if is_result else "", offered)
        pieces: list[bytes] = []
        if reply.words and not empty:
            pieces = text_block(0, reply.words)
        pieces += [event for n, call in enumerate(reply.calls) for event in call_block(n, *call)]
        asked = len(str(body["messages"])) // 4
        return Script(
            [start(asked), PING], pieces, end(len(pieces), "tool_use" if reply.calls else "end_turn")
        )


PING = sse({"type": "ping"}, "ping")


def event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, kind)


def start(asked: int = 10, cached: int = 0, written: int = 0) -> bytes:
    usage = {
        "input_tokens": asked,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": 1,
    }
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODELS[0],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    return event("message_start", message=message)


def text_block(index: int, words: Sequence[str]) -> list[bytes]:
    """A block of text. Its frame goes with its first and last word, so that each item is a piece."""
    deltas = [
        event("content_block_delta", index=index, delta={"type": "text_delta", "text": word})
        for word in words
    ]
    begin = event("content_block_start", index=index, content_block={"type": "text", "text": ""})
    deltas[0] = begin + deltas[0]
    deltas[-1] += event("content_block_stop", index=index)
    return deltas


def call_block(index: int, id_: str, name: str, arguments: Json | str, cut: int = 4) -> list[bytes]:
    """A call, its arguments in pieces. Text is taken as the JSON itself, be it broken."""
    text = arguments if isinstance(arguments, str) else sse(arguments).decode()[6:].strip()
    block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    parts = [text[at : at + cut] for at in range(0, len(text), cut)]
    return [
        event("content_block_start", index=index, content_block=block),
        *(
            event(
                "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": part}
            )
            for part in ("", *parts)
        ),
        event("content_block_stop", index=index),
    ]


def end(answered: int, reason: str) -> list[bytes]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        event("message_delta", delta=delta, usage={"output_tokens": answered}),
        event("message_stop"),
    ]


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-10-07T00:00:00Z",
        "lifecycle": "active",
    }
