"""Deepgram's text-to-speech WebSocket, as its pages describe it.

* opening, limits: https://developers.deepgram.com/docs/streaming-text-to-speech
* Speak, Flush, Clear, Close and what answers them: https://developers.deepgram.com/docs/tts-ws-flush
  and the pages beside it
* refusals: https://developers.deepgram.com/docs/tts-troubleshooting-websocket-net-and-data-errors
  (an HTTP status before the upgrade, its message in `dg-error` and in the body)
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.tts.deepgram import SPEAKERS
from tests.support.vendors.place import KEY, Cut, Seen, Trouble
from tests.support.vendors.voice import Voice

LONGEST = 2000
FLUSHES_A_MINUTE = 20
CODES = {401: "INVALID_AUTH", 403: "INSUFFICIENT_PERMISSIONS", 429: "TOO_MANY_REQUESTS", 400: "Bad Request"}


class DeepgramSpeak(Voice):
    """The socket."""

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/v1/speak", self.speak)]

    async def speak(self, socket: WebSocket) -> None:
        trouble, seen = self.trouble(), self.see_socket(socket)
        problem = self._problem(socket, trouble)
        if problem is not None:
            status, message = problem
            headers = {"dg-error": message, "dg-request-id": "r-1"}
            if trouble.retry_after:
                headers["retry-after"] = trouble.retry_after
            body = {"err_code": CODES.get(status, "INTERNAL"), "err_msg": message, "request_id": "r-1"}
            await socket.send_denial_response(JSONResponse(body, status, headers))
            seen.closed.set()
            return
        await socket.accept()
        self.connections.add(id(seen))
        await socket.send_json(
            {"type": "Metadata", "request_id": "r-1", "model_name": socket.query_params["model"]}
            | {"model_version": "2025-04-07.0", "model_uuid": "u-1"}
        )
        try:
            await self._talk(socket, seen, trouble)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client hung up; or we did, in mid-sentence
        finally:
            seen.closed.set()

    def _problem(self, socket: WebSocket, trouble: Trouble) -> tuple[int, str] | None:
        query = socket.query_params
        if trouble.status and trouble.after is None:
            return trouble.status, trouble.message
        if socket.headers.get("authorization") != f"Token {KEY}":
            return 401, "Invalid credentials."
        known = {f"aura-2-{name}-{tag}" for tag, names in SPEAKERS.items() for name in names.split()}
        if query.get("model") not in known | {"aura-asteria-en"}:
            return 400, "No such model/version combination found."
        if (query.get("encoding"), query.get("sample_rate")) != ("linear16", "24000"):
            return 400, "this fake speaks linear16 at 24000 Hz only"
        if "speed" in query:
            if not query["model"].endswith(("-en", "-es")):
                return 400, "Speed is not supported for this model."
            if not 0.7 <= float(query["speed"]) <= 1.5:
                return 400, "Speed must be between 0.7 and 1.5."
        return None

    async def _talk(self, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        text, flushes, speaking = "", 0, None
        try:
            while True:
                told = await socket.receive_json()
                seen.messages.append(told)
                match told:
                    case {"type": "Speak", "text": str(more)} if len(more) > LONGEST:
                        await self._warn(socket, f"Text exceeds {LONGEST} characters.", "DATA-0001")
                    case {"type": "Speak", "text": str(more)}:
                        text += more
                    case {"type": "Flush"} if flushes >= FLUSHES_A_MINUTE:
                        await self._warn(socket, "Too many Flush messages in a minute.", "FLUSH-0000")
                    case {"type": "Flush"}:
                        self.said.append(text)
                        speaking = asyncio.create_task(self._say(socket, text, trouble, flushes))
                        text, flushes = "", flushes + 1
                    case {"type": "Clear"}:
                        await _stop(speaking)
                        text = ""
                        await socket.send_json({"type": "Cleared", "sequence_id": flushes})
                    case {"type": "Close"}:
                        await _stop(speaking)
                        await socket.close(1000)
                        return
                    case _:
                        await socket.close(1008, "DATA-0000")
                        return
        finally:
            await _stop(speaking)

    async def _say(self, socket: WebSocket, text: str, trouble: Trouble, number: int) -> None:
        if trouble.hang and trouble.after is None:
            await self.hang()
        try:
            async for piece in self.pieces(text, trouble):
                await socket.send_bytes(piece)
        except Cut:
            await socket.close(1011, "NET-0000")
            return
        await socket.send_json({"type": "Flushed", "sequence_id": number})

    async def _warn(self, socket: WebSocket, description: str, code: str) -> None:
        await socket.send_json({"type": "Warning", "description": description, "code": code})


async def _stop(task: "asyncio.Task[Any] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
