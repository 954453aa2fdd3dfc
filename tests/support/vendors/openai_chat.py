"""Chat Completions on a local port, as OpenAI and as x.ai speak it.

* `POST /v1/chat/completions`: https://platform.openai.com/docs/api-reference/chat/create, streamed as
  https://platform.openai.com/docs/api-reference/chat/streaming: `data:` lines with a
  `chat.completion.chunk` each, with `include_usage` a last one without choices, then `data: [DONE]`.
* `GET /v1/models`, `GET /v1/models/X`: https://platform.openai.com/docs/api-reference/models
* Refusals: https://platform.openai.com/docs/guides/error-codes
* x.ai: https://docs.x.ai/docs/api-reference#chat-completions; its errors are `{"code", "error"}`, a wrong key
  is a 400, and its `completion_tokens` leave the thinking out.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.support.vendors.place import KEY, Trouble
from tests.support.vendors.talker import Json, Refused, Script, Talker, sse

ROLES = ("developer", "system", "user", "assistant", "tool")
REASONING = ("gpt-5.4", "gpt-5.6", "gpt-6")
"""They take tools here only with reasoning_effort "none": https://github.com/openai/openai-openapi/issues/541"""
CODES = {429: "rate_limit_exceeded", 500: "server_error", 503: "server_error"}


class OpenAiChat(Talker):
    """The fake of OpenAI. `refuses` holds parameters that it does not know, as other servers do not."""

    models: ClassVar[tuple[str, ...]] = ("gpt-5.4-mini", "gpt-5.4", "gpt-5.6-terra", "gpt-4.1-mini")

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.refuses: set[str] = set()
        self.needs_key = True
        self.lists_models = self.describes_models = True

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/chat/completions", self.answer, methods=["POST"]),
            Route("/v1/models", self._list),
            Route("/v1/models/{model:path}", self._get),
        ]

    # -- models -----------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        await self.see(request)
        try:
            self._check_key(request)
            if not self.lists_models:
                raise Refused(404, {"detail": "Not Found"})
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        return JSONResponse({"object": "list", "data": [self._model(m) for m in self.models]})

    async def _get(self, request: Request) -> Response:
        await self.see(request)
        try:
            self._check_key(request)
            if not self.describes_models:
                raise Refused(404, {"detail": "Not Found"})
            self._check_model(request.path_params["model"])
        except Refused as refused:
            return JSONResponse(refused.body, refused.status)
        return JSONResponse(self._model(request.path_params["model"]))

    def _model(self, name: str) -> Json:
        return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "system"}

    # -- what is refused --------------------------------------------------------------------------------

    def error(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Json:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        body = {"message": message, "type": kind, "param": param, "code": code or CODES.get(status)}
        return {"error": body}

    def late_error(self, trouble: Trouble) -> bytes:
        return sse(self.error(trouble.status, trouble.message))

    def bad(self, message: str, param: str | None = None, code: str | None = None) -> Refused:
        return Refused(400, self.error(400, message, param, code))

    def _check_key(self, request: Request) -> None:
        if self.needs_key and request.headers.get("authorization") != f"Bearer {KEY}":
            raise self.wrong_key()

    def wrong_key(self) -> Refused:
        words = "Incorrect API key provided: wro*****dy. You can find your API key at the dashboard."
        return Refused(401, self.error(401, words, code="invalid_api_key"))

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            words = f"The model `{model}` does not exist or you do not have access to it."
            raise Refused(404, self.error(404, words, "model", "model_not_found"))

    def check(self, request: Request, body: Any) -> None:
        self._check_key(request)
        self._check_model(body.get("model", ""))
        for name in sorted(self.refuses & body.keys()):
            raise self.bad(f"Unrecognized request argument supplied: {name}", name)
        if not body.get("stream"):
            raise self.bad("this fake streams")
        self._check_parameters(body)
        if not body.get("messages"):
            raise self.bad("[] is too short - 'messages'", "messages")
        _check_messages(self, body["messages"])
        for tool in body.get("tools", ()):
            function = tool["function"]
            if tool["type"] != "function" or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", function["name"]):
                raise self.bad(f"Invalid 'tools[0].function.name': {function['name']!r}", "tools")
            if function["parameters"].get("type") != "object" or "properties" not in function["parameters"]:
                raise self.bad("Invalid schema for function: object schema missing properties", "tools")

    def _check_parameters(self, body: Any) -> None:
        model = body["model"]
        if "max_tokens" in body and not model.startswith("gpt-4"):
            raise self.bad(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            )
        if model.startswith("gpt-4") and "reasoning_effort" in body:
            raise self.bad("Unrecognized request argument supplied: reasoning_effort")
        # gpt-5.6 thinks by default, gpt-5.4 does not.
        effort = body.get("reasoning_effort", "medium" if model.startswith(("gpt-5.6", "gpt-6")) else "none")
        if body.get("tools") and model.startswith(REASONING) and effort != "none":
            raise self.bad(
                f"Function tools with reasoning_effort are not supported for {model} in "
                "/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to "
                "'none'.",
                "reasoning_effort",
            )

    # -- what is answered -------------------------------------------------------------------------------

    def script(self, body: Any, empty: bool) -> Script:
        last = body["messages"][-1]
        result = last["content"] if last["role"] == "tool" else ""
        offered = [tool["function"]["name"] for tool in body.get("tools", ())]
        reply = self.reply("" if result else last["content"], result, offered)
        pieces = [chunk({"content": word}) for word in reply.words]
        pieces += call_chunks(reply.calls)
        finish = "tool_calls" if reply.calls else "stop"
        tail = [chunk({}, finish)]
        if body.get("stream_options", {}).get("include_usage"):
            tail.append(self.usage(len(str(body["messages"])) // 4, len(pieces)))
        head = [chunk({"role": "assistant", "content": ""})]
        return Script(head, [] if empty else pieces, [*tail, sse("[DONE]")])

    def usage(self, asked: int, answered: int) -> bytes:
        """The chunk that tells what it cost."""
        counted = {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
            "prompt_tokens_details": {"cached_tokens": asked // 2},
        }
        return sse({**FRAME, "choices": [], "usage": counted})


class XaiChat(OpenAiChat):
    """The fake of x.ai."""

    models: ClassVar[tuple[str, ...]] = ("grok-4.3", "grok-4.6", "grok-4.20-0309-non-reasoning")

    def error(self, status: int, message: str, param: str | None = None, code: str | None = None) -> Json:
        del status, param
        return {"code": code or "Some requested entity was refused", "error": message}

    def late_error(self, trouble: Trouble) -> bytes:
        return sse({"error": {"message": trouble.message, "code": CODES.get(trouble.status)}})

    def wrong_key(self) -> Refused:
        words = "Incorrect API key provided: wr***dy. You can obtain an API key from https://console.x.ai."
        return self.bad(words, code="Client specified an invalid argument")

    def _check_parameters(self, body: Any) -> None:
        if body["model"].endswith("non-reasoning") and "reasoning_effort" in body:
            raise self.bad(
                f"Model {body['model']} does not support parameter reasoning_effort.",
                code="Client specified an invalid argument",
            )

    def usage(self, asked: int, answered: int) -> bytes:
        counted = {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered + 30,
            "completion_tokens_details": {"reasoning_tokens": 30},
        }
        return sse({**FRAME, "choices": [], "usage": counted})


FRAME = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1_767_225_600,
    "model": "gpt-5.4-mini",
}


def chunk(delta: Json, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return sse({**FRAME, "choices": [choice], **more})


def call_chunks(calls: Sequence[tuple[str, str, Json | str]], cut: int = 4) -> list[bytes]:
    """Tool calls as they are streamed: id and name first, then the arguments in pieces."""
    made = []
    for index, (id_, name, arguments) in enumerate(calls):
        text = arguments if isinstance(arguments, str) else sse(arguments).decode()[6:].strip()
        function = {"name": name, "arguments": ""}
        first = {"index": index, "id": id_, "type": "function", "function": function}
        made.append(chunk({"tool_calls": [first]}))
        for at in range(0, len(text), cut):
            part = {"index": index, "function": {"arguments": text[at : at + cut]}}
            made.append(chunk({"tool_calls": [part]}))
    return made


def _check_messages(fake: OpenAiChat, messages: Sequence[Json]) -> None:
    owed: list[str] = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        where = f"messages[{number}]"
        if role not in ROLES:
            raise fake.bad(f"Invalid value: {role!r}. Supported values are: {ROLES}", f"{where}.role")
        if role == "tool":
            if message["tool_call_id"] not in owed:
                raise fake.bad(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message "
                    "with 'tool_calls'.",
                    f"{where}.role",
                )
            owed.remove(message["tool_call_id"])
        elif owed:
            raise fake.bad(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {owed}",
                f"{where}.role",
            )
        calls = message.get("tool_calls")
        if not isinstance(content, str) and not (role == "assistant" and content is None and calls):
            raise fake.bad(f"Invalid value for 'content': expected a string, got {content!r}.", where)
        for call in calls or ():
            if len(call["id"]) > 40:
                raise fake.bad(f"Invalid '{where}.tool_calls[0].id': string too long.", where)
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"]):
                raise fake.bad(f"Invalid '{where}.tool_calls[0].function.name'", where)
            owed.append(call["id"])
        _check_like_a_template(fake, messages, number)
    if owed:
        raise fake.bad("An assistant message with 'tool_calls' must be followed by tool messages", "messages")


def _check_like_a_template(fake: OpenAiChat, messages: Sequence[Json], number: int) -> None:
    """What the chat templates of open models insist on (llama.cpp, vLLM), and OpenAI does not."""
    role, before = messages[number]["role"], messages[number - 1]["role"] if number else ""
    if (role == "system" and number) or (role == "user" and before == "user"):
        raise fake.bad("Conversation roles must alternate user/assistant/user/assistant/...")
    if role == "assistant" and before not in ("user", "tool"):
        raise fake.bad("Conversation roles must alternate user/assistant/user/assistant/...")
    if not messages[number].get("content") and not messages[number].get("tool_calls"):
        raise fake.bad("Message content must not be empty")
