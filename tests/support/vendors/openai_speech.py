"""OpenAI's speech endpoint, as its reference describes it.

* POST /v1/audio/speech: https://platform.openai.com/docs/api-reference/audio/createSpeech
* GET /v1/models and /v1/models/{model}: https://platform.openai.com/docs/api-reference/models
* errors: https://platform.openai.com/docs/guides/error-codes/api-errors
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tests.support.vendors.place import KEY, Seen, Trouble, refusal
from tests.support.vendors.voice import Voice

MODELS = ("gpt-4o-mini-tts", "tts-1", "tts-1-hd")
VOICES_OF_TTS_1 = ("alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer")
VOICES = (*VOICES_OF_TTS_1, "ballad", "verse", "marin", "cedar")
LONGEST = 4096
SOUND = "audio/pcm"
KINDS = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("request_forbidden", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def body_of(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    kind, code = KINDS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refused(status: int, message: str, param: str | None = None) -> Response:
    return JSONResponse(body_of(status, message, param), status)


def wrong_key(request: Request) -> Response | None:
    """401 unless it is `KEY`, with the key as OpenAI repeats it: in part."""
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key == KEY:
        return None
    return refused(401, f"Incorrect API key provided: {key[:3]}****{key[-2:]}. Find yours in your account.")


def unknown_model(model: str) -> Response:
    return refused(404, f"The model `{model}` does not exist or you do not have access to it.")


def described(model: str) -> dict[str, Any]:
    """A model as `/v1/models` tells of it."""
    return {"id": model, "object": "model", "created": 1742403959, "owned_by": "system"}


class OpenAiSpeech(Voice):
    """The endpoint."""

    wav = False
    """Answer WAV, as some compatible servers do whatever they are asked for."""

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/audio/speech", self.speech, methods=["POST"]),
            Route("/v1/models", self.list),
            Route("/v1/models/{model:path}", self.describe),
        ]

    async def describe(self, request: Request) -> Response:
        self.connections.add(request.client)
        (await self.see(request)).closed.set()
        if (refused_key := wrong_key(request)) is not None:
            return refused_key
        model = request.path_params["model"]
        return JSONResponse(described(model)) if model in MODELS else unknown_model(model)

    async def list(self, request: Request) -> Response:
        (await self.see(request)).closed.set()
        return wrong_key(request) or JSONResponse({"object": "list", "data": [described(m) for m in MODELS]})

    async def speech(self, request: Request) -> Response:
        self.connections.add(request.client)
        trouble, seen = self.trouble(), await self.see(request)
        if trouble.hang and trouble.after is None:
            await gone(request, seen)
        if trouble.status and trouble.after is None:
            return refusal(trouble, body_of(trouble.status, trouble.message))
        problem = wrong_key(request) or self._problem(seen.json)
        if problem is not None:
            return problem
        self.said.append(seen.json["input"])
        return StreamingResponse(self._sound(seen, trouble), media_type=SOUND)

    def _problem(self, asked: dict[str, Any]) -> Response | None:
        model = asked.get("model")
        voices = VOICES if model == "gpt-4o-mini-tts" else VOICES_OF_TTS_1
        known = {"model", "input", "voice", "response_format", "speed", "instructions", "stream_format"}
        if model not in MODELS:
            return unknown_model(str(model))
        if strange := sorted(asked.keys() - known):
            return refused(400, f"Unrecognized request argument supplied: {strange[0]}", strange[0])
        if not isinstance(asked.get("input"), str) or not 0 < len(asked["input"]) <= LONGEST:
            return refused(400, f"String should have at most {LONGEST} characters", "input")
        if asked.get("voice") not in voices:
            return refused(400, f"Input should be one of {', '.join(voices)}", "voice")
        if not 0.25 <= asked.get("speed", 1.0) <= 4.0:
            return refused(400, "Input should be less than or equal to 4", "speed")
        if asked.get("response_format") != "pcm":
            return refused(400, "this fake speaks pcm only", "response_format")
        return None

    async def _sound(self, seen: Seen, trouble: Trouble) -> AsyncIterator[bytes]:
        try:
            if self.wav:
                yield b"RIFF\xff\xff\xff\xffWAVEfmt \x10" + bytes(19) + b"data\xff\xff\xff\xff"
            async for piece in self.pieces(seen.json["input"], trouble):
                yield piece
        finally:
            seen.closed.set()


async def gone(request: Request, seen: Seen) -> None:
    """Until the client hangs up."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    seen.closed.set()
