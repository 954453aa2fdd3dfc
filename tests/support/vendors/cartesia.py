"""Cartesia's text-to-speech on a local port: the WebSocket with contexts and word times, and its voices.

Pages: https://docs.cartesia.ai/api-reference/tts/websocket (every message's shape), contexts and cancelling
https://docs.cartesia.ai/use-the-api/tts-websocket/contexts, errors https://docs.cartesia.ai/use-the-api/api-errors,
the header https://docs.cartesia.ai/use-the-api/api-conventions, https://docs.cartesia.ai/api-reference/voices/list.

Troubles are taken one per context; a refusal by status, at the handshake.
"""

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Cut, Seen, Trouble, refusal
from tests.support.vendors.sound import MS_PER_CHAR
from tests.support.vendors.voice import Voice

KATIE = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
JAMESON = "a5136bf9-224c-4d76-b823-52bd5efcffcc"
VOICES = (
    {"id": KATIE, "name": "Katie", "language": "en", "gender": "feminine"},
    {"id": JAMESON, "name": "Jameson", "language": "en", "gender": None},
)
MODELS = ("sonic-3", "sonic-3.5", "sonic-2")
RATE_HZ = 24_000
"""Of the six that there are, the one that this fake speaks."""
WORDS_PER_MESSAGE = 3
PAGE = 1
"""Voices per page, whatever was asked for: so that there is a next page."""


class Cartesia(Voice):
    """Speaks a tone, 55 ms a character.

    `contexts` holds one entry per context (its `body` is the request); `seen` connections and HTTP requests,
    but for the list of voices, which is asked for in the background.
    """

    spelled_out: bool = False
    """Its timestamps tell "three" where the transcript has "3"."""
    speaks_on: bool = False
    """A context that is cancelled in mid-speech speaks on until its text is spoken."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.contexts: list[Seen] = []

    def routes(self) -> Sequence[BaseRoute]:
        return [
            WebSocketRoute("/tts/websocket", self._socket),
            Route("/voices", self._voices),
            Route("/voices/{voice}", self._voice),
        ]

    # -- HTTP ----------------------------------------------------------------------------------------------

    async def _voices(self, request: Request) -> Response:
        if (denied := self._denied(request.headers)) is not None:
            return denied
        after = request.query_params.get("starting_after")
        at = [v["id"] for v in VOICES].index(after) + 1 if after else 0
        return JSONResponse({"data": VOICES[at : at + PAGE], "has_more": at + PAGE < len(VOICES)})

    async def _voice(self, request: Request) -> Response:
        await self.see(request)
        if (denied := self._denied(request.headers)) is not None:
            return denied
        for voice in VOICES:
            if voice["id"] == request.path_params["voice"]:
                return JSONResponse(voice)
        return JSONResponse(_told("voice_not_found", "Voice not found", "The voice does not exist."), 404)

    def _denied(self, headers: Any) -> Response | None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", headers.get("cartesia-version", "")):
            return JSONResponse(_told(None, "Bad request", "Cartesia-Version is missing"), 400)
        if headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse(_told("unauthorized", "Unauthorized", "The API key is not valid."), 401)
        return None

    # -- the socket ----------------------------------------------------------------------------------------

    async def _socket(self, socket: WebSocket) -> None:
        connection = self.see_socket(socket)
        self.connections.add(connection.headers["sec-websocket-key"])
        head = self.troubles[0] if self.troubles else None
        if head is not None and head.status and head.after is None:
            trouble = self.troubles.popleft()
            await socket.send_denial_response(refusal(trouble, _told(None, "Made up", trouble.message)))
            return
        if (denied := self._denied(socket.headers)) is not None:
            await socket.send_denial_response(denied)
            return
        await socket.accept()
        with suppress(
            WebSocketDisconnect, RuntimeError
        ):  # RuntimeError: starlette's, for a socket that is gone
            await _Socket(self, socket, connection).run()
        connection.closed.set()


class _Socket:
    def __init__(self, vendor: Cartesia, socket: WebSocket, connection: Seen) -> None:
        self._vendor, self._socket, self._connection = vendor, socket, connection
        self._contexts: dict[str, tuple[Seen, asyncio.Task[None]]] = {}
        self._hangs = False

    async def run(self) -> None:
        try:
            while True:
                message = json.loads(await self._socket.receive_text())
                self._connection.messages.append(message)
                if message.get("cancel"):
                    await self._cancel(message["context_id"])
                else:
                    await self._generate(message)
        finally:
            for seen, task in self._contexts.values():
                seen.closed.set()
                task.cancel()

    async def _generate(self, request: dict[str, Any]) -> None:
        name = request["context_id"]
        wrong = _fault(request)
        seen = Seen("WS", self._connection.path, self._connection.query, self._connection.headers)
        seen.body = json.dumps(request).encode()
        self._vendor.contexts.append(seen)
        trouble = self._vendor.trouble()
        if wrong is not None:
            status, told = wrong
            await self._error(name, status, told)
            seen.closed.set()
            return
        assert name not in self._contexts
        self._vendor.said.append(request["transcript"])
        self._contexts[name] = seen, asyncio.create_task(self._speak(name, request, trouble))

    async def _cancel(self, name: str) -> None:
        if name not in self._contexts:
            return
        seen, task = self._contexts[name]
        seen.closed.set()
        if not (self._vendor.speaks_on or self._hangs):  # who hangs does not listen either
            task.cancel()
            await self._done(name)

    async def _speak(self, name: str, request: dict[str, Any], trouble: Trouble) -> None:
        text = request["transcript"]
        self._hangs = trouble.hang
        if trouble.hang and trouble.after is None:
            await self._vendor.hang()
        words = [(m.group(), m.start(), m.end()) for m in re.finditer(r"\S+", text)]
        try:
            async for pcm in self._vendor.pieces(text, trouble):
                if request.get("add_timestamps") and words:
                    await self._say_words(name, words[:WORDS_PER_MESSAGE])
                    del words[:WORDS_PER_MESSAGE]
                chunk = {"type": "chunk", "data": base64.b64encode(pcm).decode(), "done": False}
                await self._send(name, {**chunk, "status_code": 206, "step_time": 1.0})
        except Cut:
            if trouble.status:
                await self._error(name, trouble.status, _told(None, "Made up", trouble.message))
                self._contexts.pop(name)[0].closed.set()
            else:
                await self._socket.close(1011)
            return
        await self._done(name)

    async def _say_words(self, name: str, words: list[tuple[str, int, int]]) -> None:
        spell = {"3": "three", "&": "and"} if self._vendor.spelled_out else {}
        times = {
            "words": [spell.get(word, word) for word, _, _ in words],
            "start": [start * MS_PER_CHAR / 1000 for _, start, _ in words],
            "end": [end * MS_PER_CHAR / 1000 for _, _, end in words],
        }
        await self._send(
            name, {"type": "timestamps", "done": False, "status_code": 206, "word_timestamps": times}
        )

    async def _done(self, name: str) -> None:
        self._contexts.pop(name)[0].closed.set()
        await self._send(name, {"type": "done", "done": True, "status_code": 206})

    async def _error(self, name: str, status: int, told: dict[str, Any]) -> None:
        await self._send(name, {"type": "error", "done": True, "status_code": status, **told})

    async def _send(self, name: str, message: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps({**message, "context_id": name}))


def _fault(request: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    if request["model_id"] not in MODELS:
        return 404, _told("model_not_found", "Invalid model", "The model is not valid.")
    if request["voice"]["id"] not in {v["id"] for v in VOICES}:
        return 404, _told("voice_not_found", "Voice not found", "The voice does not exist.")
    form = request["output_format"]
    if (form["container"], form["encoding"]) != ("raw", "pcm_s16le") or form["sample_rate"] != RATE_HZ:
        return 400, _told(None, "Bad request", "Invalid output_format")
    if not 0.6 <= request.get("generation_config", {}).get("speed", 1.0) <= 1.5:
        return 400, _told(None, "Bad request", "Invalid speed")
    if not request["transcript"].strip() and not request.get("continue"):
        return 400, _told(None, "Bad request", "The transcript is empty")
    return None


def _told(code: str | None, title: str, message: str) -> dict[str, Any]:
    return {"error_code": code, "title": title, "message": message, "request_id": "a-request"}
