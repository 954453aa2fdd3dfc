"""The Gemini API on a local port, for google-genai (server-sent events) and google-generativeai (JSON array).

* `POST /v1beta/models/X:streamGenerateContent`: https://ai.google.dev/api/generate-content. With `?alt=sse`
  each `GenerateContentResponse` is a `data:` line; without, they are the items of one array, sent as they
  come (the REST form of server streaming). `$alt=json;enum-encoding=int` turns enums into their numbers.
* `GET /v1beta/models`, `GET /v1beta/models/X`: https://ai.google.dev/api/models
* Refusals: https://cloud.google.com/apis/design/errors#error_model; a wrong key is 400 with the reason
  API_KEY_INVALID, as the service answers it.

It answers with words about what it was asked, and calls the first tool it is offered when it hears "time".
"""

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tests.support.vendors.place import KEY, Cut, Seen, Trouble, Vendor

MODELS = ("gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro")
SIGNATURE = base64.b64encode(b"encrypted thoughts about the call").decode()
ANY_SIGNATURE = base64.b64encode(b"skip_thought_signature_validator").decode()
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
FINISH = (
    "",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
)
BLOCK = ("", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY")
TYPES = ("", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
"""Enums by their numbers."""
SCHEMA_WORDS = frozenset(
    (
        *("type", "format", "title", "description", "nullable", "enum", "anyOf", "items", "minItems"),
        *("maxItems", "properties", "required", "minProperties", "maxProperties", "minLength", "maxLength"),
        *("pattern", "example", "propertyOrdering", "default", "minimum", "maximum"),
    )
)
"""https://ai.google.dev/api/caching#Schema"""

Json = Mapping[str, Any]


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, details: Sequence[Json] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "code": status,
                "message": message,
                "status": STATUS.get(status, "UNKNOWN"),
                **({"details": list(details)} if details else {}),
            }
        }


class Gemini(Vendor):
    """The fake. `scripts` holds chunks to answer with instead of its own words, one list per request."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.scripts: deque[Sequence[Json]] = deque()

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1beta/models", self._list),
            Route("/v1beta/models/{model}", self._get),
            Route("/v1beta/models/{model}:streamGenerateContent", self._stream, methods=["POST"]),
        ]

    @property
    def asked(self) -> list[Seen]:
        """The requests for an answer, without the questions about models."""
        return [seen for seen in self.seen if seen.method == "POST"]

    # -- models -----------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        await self.see(request)
        try:
            _check_key(request)
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        return JSONResponse({"models": [_model(name) for name in MODELS]})

    async def _get(self, request: Request) -> Response:
        seen = await self.see(request)
        try:
            _check_key(request)
            _check_model(request.path_params["model"])
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        finally:
            seen.closed.set()
        return JSONResponse(_model(request.path_params["model"]))

    # -- answers ----------------------------------------------------------------------------------------

    async def _stream(self, request: Request) -> Response:
        seen = await self.see(request)
        trouble = self.trouble()
        if trouble.hang and trouble.after is None:
            await self._left(request)
            seen.closed.set()
            return Response()
        model = request.path_params["model"]
        try:
            if trouble.status and trouble.after is None:
                raise _made(trouble)
            _check_key(request)
            _check_model(model)
            check(seen.json, model)
        except Refused as refused:
            seen.closed.set()
            headers = {"retry-after": trouble.retry_after} if trouble.retry_after else None
            return JSONResponse(refused.body, refused.status, headers)
        chunks = self.scripts.popleft() if self.scripts else chunks_for(seen.json, model, trouble.empty)
        body = self._sent(request, seen, trouble, chunks)
        kind = "text/event-stream" if is_sse(seen) else "application/json; charset=UTF-8"
        return StreamingResponse(body, media_type=kind)

    async def _sent(
        self, request: Request, seen: Seen, trouble: Trouble, chunks: Sequence[Json]
    ) -> AsyncIterator[bytes]:
        form = _Sse() if is_sse(seen) else _Array("int" in seen.query.get("$alt", ""))
        try:
            for index, chunk in enumerate(chunks):
                if index == trouble.after:
                    if trouble.hang:
                        await self._left(request)
                        return
                    if not trouble.status:
                        raise Cut
                    yield form.item(_made(trouble).body)
                    yield form.end()
                    return
                await self.pause(trouble, index)
                yield form.item(chunk)
            yield form.end()
        finally:
            seen.closed.set()

    async def _left(self, request: Request) -> None:
        """Until the client is gone, or the fake is closed."""

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        waits = [asyncio.create_task(gone()), asyncio.create_task(self.hang())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


class _Sse:
    def item(self, chunk: Json) -> bytes:
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n"

    def end(self) -> bytes:
        return b""


class _Array:
    """Pretty-printed and split where items meet, as the service does."""

    def __init__(self, numbers: bool) -> None:
        self._numbers, self._before = numbers, "["

    def item(self, chunk: Json) -> bytes:
        before, self._before = self._before, "\n,\r\n"
        return (before + json.dumps(self._encoded(chunk), ensure_ascii=False, indent=2)).encode()

    def end(self) -> bytes:
        return b"\n]" if self._before != "[" else b"[]"

    def _encoded(self, chunk: Json) -> Any:
        if not self._numbers:
            return chunk
        turned = json.loads(json.dumps(chunk))
        for candidate in turned.get("candidates", ()):
            if candidate.get("finishReason") in FINISH:
                candidate["finishReason"] = FINISH.index(candidate["finishReason"])
        feedback = turned.get("promptFeedback", {})
        if "blockReason" in feedback:
            feedback["blockReason"] = BLOCK.index(feedback["blockReason"])
        return turned


def is_sse(seen: Seen) -> bool:
    return seen.query.get("alt") == "sse"


# -- what is refused ------------------------------------------------------------------------------------


def _check_key(request: Request) -> None:
    if request.headers.get("x-goog-api-key") != KEY:
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
        raise Refused(400, "API key not valid. Please pass a valid API key.", [info])


def _check_model(model: str) -> None:
    if model not in MODELS:
        raise Refused(
            404,
            f"models/{model} is not found for API version v1beta, or is not supported for generateContent. "
            "Call ListModels to see the list of available models and their supported methods.",
        )


def _made(trouble: Trouble) -> Refused:
    details = []
    if trouble.retry_after.isdigit():
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        details = [{"@type": kind, "retryDelay": f"{trouble.retry_after}s"}]
    return Refused(trouble.status, trouble.message, details)


def check(request: Json, model: str) -> None:
    """What the service insists on. Raises `Refused`."""
    unknown = request.keys() - {"contents", "systemInstruction", "tools", "generationConfig", "model"}
    if unknown:
        raise Refused(400, f"Invalid JSON payload received. Unknown name {sorted(unknown)[0]!r}")
    contents = request.get("contents") or []
    if not contents:
        raise Refused(400, "GenerateContentRequest.contents: contents is not specified")
    if not all(part.get("text") for part in request.get("systemInstruction", {}).get("parts", ())):
        raise Refused(400, "system_instruction: required oneof field 'data' must have one initialized field")
    before: Json = {}
    for content in contents:
        _check_content(content, before)
        before = content
    if contents[0]["role"] != "user" or contents[-1]["role"] != "user":
        raise Refused(400, "Please ensure that multiturn requests alternate between user and model.")
    _check_signatures(contents, model)
    for tool in request.get("tools", ()):
        names = [declared["name"] for declared in tool["functionDeclarations"]]
        if len(set(names)) < len(names):
            raise Refused(400, "Duplicate function declaration found")
        for declared in tool["functionDeclarations"]:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", declared["name"]):
                raise Refused(400, f"Invalid function name {declared['name']!r}")
            if not declared.get("description"):
                raise Refused(400, "function_declarations: description is missing")
            if "parameters" in declared:
                check_schema(declared["parameters"])
    _check_thinking(request.get("generationConfig", {}).get("thinkingConfig"), model)


def _kinds(content: Json) -> list[str]:
    return [
        next((k for k in part if k in ("text", "functionCall", "functionResponse")), "")
        for part in content.get("parts", ())
    ]


def _check_content(content: Json, before: Json) -> None:
    kinds = _kinds(content)
    if content.get("role") not in ("user", "model"):
        raise Refused(400, "Please use a valid role: user, model.")
    if not kinds or any(
        kind == "text" and not p["text"] for kind, p in zip(kinds, content["parts"], strict=True)
    ):
        raise Refused(400, "GenerateContentRequest.contents.parts: contents.parts must not be empty.")
    asked = _named(before, "functionCall")
    answered = _named(content, "functionResponse")
    if asked != answered:
        raise Refused(
            400,
            "Please ensure that the number of function response parts is equal to the number of function "
            "call parts of the function call turn.",
        )
    if "functionCall" in kinds and before.get("role") != "user":
        raise Refused(
            400,
            "Please ensure that function call turn comes immediately after a user turn or after a function "
            "response turn.",
        )
    results = "functionResponse" in _kinds(before) or answered
    if content["role"] == before.get("role") and not results:
        raise Refused(400, "Please ensure that multiturn requests alternate between user and model.")
    for part in content["parts"]:
        if not isinstance(part.get("functionResponse", {}).get("response", {}), dict):
            raise Refused(400, "function_response.response: Proto field is not repeating, cannot start list.")


def _named(content: Json, kind: str) -> list[tuple[str, str]]:
    return [(p[kind].get("id", ""), p[kind]["name"]) for p in content.get("parts", ()) if kind in p]


def _check_signatures(contents: Sequence[Json], model: str) -> None:
    """https://ai.google.dev/gemini-api/docs/thought-signatures: the first call of each step of this turn."""
    if not model.startswith("gemini-3"):
        return
    last = max(i for i, c in enumerate(contents) if c["role"] == "user" and "text" in _kinds(c))
    for content in contents[last:]:
        first = next((p for p in content["parts"] if "functionCall" in p), None)
        if first and first.get("thoughtSignature") not in (SIGNATURE, ANY_SIGNATURE):
            raise Refused(
                400,
                "Function call is missing a thought_signature in functionCall parts. This is required for "
                "tools to work correctly.",
            )


def _check_thinking(config: Json | None, model: str) -> None:
    """https://ai.google.dev/gemini-api/docs/thinking"""
    if not config:
        return
    if "thinkingLevel" in config and "thinkingBudget" in config:
        raise Refused(400, "You can only set only one of thinking budget and thinking level.")
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    if level and not model.startswith("gemini-3"):
        raise Refused(400, "Thinking level is not supported for this model.")
    if level == "minimal" and model == "gemini-3.8-flash":
        raise Refused(400, "Thinking level MINIMAL is not supported for this model.")
    if budget is not None and model == "gemini-2.5-pro" and budget < 128:
        raise Refused(400, "Budget 0 is invalid. This model only works in thinking mode.")


def check_schema(schema: Json) -> None:
    unknown = schema.keys() - SCHEMA_WORDS
    if unknown:
        raise Refused(
            400, f"Invalid JSON payload received. Unknown name {sorted(unknown)[0]!r}: Cannot find field."
        )
    kind = schema.get("type")
    kind = TYPES[kind] if isinstance(kind, int) else kind
    if kind not in TYPES[1:] and "anyOf" not in schema:
        raise Refused(400, f"Invalid value at 'type': {kind!r}")
    if kind == "OBJECT" and not schema.get("properties"):
        raise Refused(400, "parameters.properties: should be non-empty for OBJECT type")
    if kind == "ARRAY" and "items" not in schema:
        raise Refused(400, "parameters.items: missing field.")
    if "enum" in schema and kind != "STRING":
        raise Refused(400, "parameters.enum: only allowed for STRING type")
    if schema.get("format") not in (None, "enum", "date-time", "float", "double", "int32", "int64"):
        raise Refused(400, "parameters.format: only 'enum' and 'date-time' are supported for STRING type")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            raise Refused(400, f"parameters.required: property {name!r} is not defined")
    for inner in (
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ):
        check_schema(inner)


# -- what is answered -----------------------------------------------------------------------------------


def chunks_for(request: Json, model: str, empty: bool = False) -> list[Json]:
    """A good day's answer: a few words about the last thing said, or a call."""
    last = request["contents"][-1]["parts"][-1]
    usage = {"promptTokenCount": sum(len(json.dumps(c)) // 4 for c in request["contents"])}
    if empty:
        return [chunk([], finish="STOP", usage=usage)]
    if call := _call_for(request, last, model):
        counted = {**usage, "candidatesTokenCount": 9}
        return [chunk([call], usage=usage), chunk([], finish="STOP", usage=counted)]
    if "functionResponse" in last:
        told = last["functionResponse"]["response"]
        text = f"It says {told.get('time') or told.get('result') or 'something'}, as far as I can tell."
    else:
        text = f"You said {len(last['text'])} letters: {' '.join(last['text'].split()[:6])}. What else?"
    pieces = re.findall(r"\s*\S+", text)
    counts = [{**usage, "candidatesTokenCount": n + 1} for n in range(len(pieces))]
    if model != MODELS[0]:
        counts = [{**count, "thoughtsTokenCount": 20} for count in counts]
    made = [chunk([{"text": piece}], usage=count) for piece, count in zip(pieces, counts, strict=True)]
    return [*made, chunk([{"text": ""}], finish="STOP", usage=counts[-1])]


def chunk(
    parts: Sequence[Json],
    *,
    finish: str = "",
    usage: Json | None = None,
    blocked: str = "",
    message: str = "",
) -> Json:
    """A `GenerateContentResponse`."""
    made: dict[str, Any] = {"modelVersion": "fake", "responseId": "fake"}
    if blocked:
        made["promptFeedback"] = {"blockReason": blocked}
    else:
        candidate: dict[str, Any] = {"index": 0}
        if parts:
            candidate["content"] = {"role": "model", "parts": list(parts)}
        if finish:
            candidate["finishReason"] = finish
        if message:
            candidate["finishMessage"] = message
        made["candidates"] = [candidate]
    if usage:
        made["usageMetadata"] = {**usage, "totalTokenCount": sum(usage.values())}
    return made


def _call_for(request: Json, last: Json, model: str) -> Json | None:
    tools = request.get("tools") or []
    if not tools or "time" not in last.get("text", "").lower() or last["text"].startswith("(The tool"):
        return None
    name = tools[0]["functionDeclarations"][0]["name"]
    if not model.startswith("gemini-3"):
        return {"functionCall": {"name": name, "args": {}}}
    call_id = f"fc{len(request['contents'])}"
    return {"functionCall": {"id": call_id, "name": name, "args": {}}, "thoughtSignature": SIGNATURE}


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
