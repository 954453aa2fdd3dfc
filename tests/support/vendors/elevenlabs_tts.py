"""ElevenLabs' text-to-speech on a local port: the multi-context socket, streaming with timestamps, the lists.

Pages: the socket
https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input and
https://elevenlabs.io/docs/eleven-api/guides/how-to/websockets/multi-context-web-socket; over HTTP
https://elevenlabs.io/docs/api-reference/text-to-speech/stream-with-timestamps; the lists
https://elevenlabs.io/docs/api-reference/voices/search and
https://elevenlabs.io/docs/api-reference/models/list; errors
https://help.elevenlabs.io/hc/en-us/articles/19572237925521-API-Error-Code-400-or-401. How the socket words
its complaints is taken from reports of what it said: github.com/pipecat-ai/pipecat/issues/4114 and 4541.

Troubles are taken one per context (or HTTP request for speech); a refusal by status, at the handshake.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Cut, Seen, Trouble, refusal
from tests.support.vendors.sound import MS_PER_CHAR
from tests.support.vendors.voice import Voice

SARAH, ERIC = "EXAVITQu4vr4xnSDxMaL", "cjVigY5qzO86Huf0OWal"
VOICES = (
    {"voice_id": SARAH, "name": "Sarah", "labels": {"gender": "female", "language": "en"}},
    {"voice_id": ERIC, "name": "Eric", "labels": {"gender": "male", "language": "en"}},
)
MODELS = ("eleven_flash_v2_5", "eleven_multilingual_v2", "eleven_v3")
LANGUAGES = ("en", "es", "de", "fr", "ja")
MOST_CONTEXTS = 5
FORMATS = ("pcm_24000",)
"""Of the many that there are, the one that this fake speaks."""
BYTES_PER_MS = 48
PAGE = 1
"""Voices per page, whatever was asked for: so that there is a next page."""


class Complaint(Exception):
    """The socket is closed with 1008 and this."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class ElevenLabsTts(Voice):
    """Speaks a tone, 55 ms a character.

    `contexts` holds one entry per context (its `body` is the text); `seen` connections and HTTP requests, but
    for the list of voices, which is asked for in the background.
    """

    spelled_out: bool = False
    """Its alignment tells "three" where the text has "3"."""
    relative_times: bool = False
    """Over HTTP: the times of a piece begin at 0. (The page does not say; the socket's do.)"""
    speaks_on: bool = False
    """A context that is closed in mid-speech speaks on until its text is spoken."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.contexts: list[Seen] = []

    def routes(self) -> Sequence[BaseRoute]:
        return [
            WebSocketRoute("/v1/text-to-speech/{voice}/multi-stream-input", self._socket),
            Route("/v1/text-to-speech/{voice}/stream/with-timestamps", self._stream, methods=["POST"]),
            Route("/v2/voices", self._voices),
            Route("/v1/models", self._models),
        ]

    # -- HTTP ----------------------------------------------------------------------------------------------

    async def _voices(self, request: Request) -> Response:
        if (denied := self._denied(request)) is not None:
            return denied
        at = int(request.query_params.get("next_page_token", "0"))
        more = at + PAGE < len(VOICES)
        body = {"voices": VOICES[at : at + PAGE], "has_more": more, "total_count": len(VOICES)}
        return JSONResponse({**body, "next_page_token": str(at + PAGE) if more else None})

    async def _models(self, request: Request) -> Response:
        await self.see(request)
        self._connected(request)
        if (denied := self._denied(request)) is not None:
            return denied
        speaking = [{"model_id": m, "name": m, "can_do_text_to_speech": True} for m in MODELS]
        return JSONResponse(
            [*speaking, {"model_id": "eleven_english_sts_v2", "can_do_text_to_speech": False}]
        )

    def _connected(self, request: Request) -> None:
        assert request.client is not None
        self.connections.add(request.client.port)

    def _denied(self, request: Request) -> Response | None:
        if request.headers.get("xi-api-key") == KEY:
            return None
        return JSONResponse({"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}, 401)

    async def _stream(self, request: Request) -> Response:
        seen = await self.see(request)
        self._connected(request)
        trouble = self.trouble()
        if trouble.status and trouble.after is None:
            return refusal(trouble, {"detail": {"status": "made_up", "message": trouble.message}})
        if request.headers.get("xi-api-key") != KEY:
            return JSONResponse({"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}, 401)
        voice, body = request.path_params["voice"], seen.json
        if voice not in {v["voice_id"] for v in VOICES}:
            told = {
                "status": "voice_not_found",
                "message": f"A voice for the voice_id {voice} was not found.",
            }
            return JSONResponse({"detail": told}, 404)
        if body["model_id"] not in MODELS:
            told = {
                "status": "model_not_found",
                "message": f"Model with model ID {body['model_id']} not found",
            }
            return JSONResponse({"detail": told}, 400)
        assert body["text"].strip()
        assert seen.query["output_format"] in FORMATS
        self.said.append(body["text"])
        return StreamingResponse(self._lines(seen, trouble), media_type="application/json")

    async def _lines(self, seen: Seen, trouble: Trouble) -> AsyncIterator[bytes]:
        text = seen.json["text"]
        try:
            if trouble.hang and trouble.after is None:
                await self.hang()
            at_ms = 0.0
            async for pcm in self.pieces(text, trouble):
                a = alignment(text, at_ms, len(pcm))
                base = 0.0 if self.relative_times else at_ms
                at_ms += len(pcm) / BYTES_PER_MS
                starts = [(base + s) / 1000 for s in a["charStartTimesMs"]]
                ends = [s + d / 1000 for s, d in zip(starts, a["charDurationsMs"], strict=True)]
                times = {
                    "characters": a["chars"],
                    "character_start_times_seconds": starts,
                    "character_end_times_seconds": ends,
                }
                line = {"audio_base64": base64.b64encode(pcm).decode(), "alignment": times}
                yield json.dumps({**line, "normalized_alignment": times}).encode() + b"\n"
        finally:
            seen.closed.set()

    # -- the socket ----------------------------------------------------------------------------------------

    async def _socket(self, socket: WebSocket) -> None:
        connection = self.see_socket(socket)
        self.connections.add(connection.headers["sec-websocket-key"])
        head = self.troubles[0] if self.troubles else None
        if head is not None and head.status and head.after is None:
            trouble = self.troubles.popleft()
            told = {"detail": {"status": "made_up", "message": trouble.message}}
            await socket.send_denial_response(refusal(trouble, told))
            return
        if socket.headers.get("xi-api-key") != KEY:
            told = {"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}
            await socket.send_denial_response(JSONResponse(told, 401))
            return
        await socket.accept()
        with suppress(
            WebSocketDisconnect, RuntimeError
        ):  # RuntimeError: starlette's, for a socket that is gone
            await _Socket(self, socket, connection).run()
        connection.closed.set()


def alignment(text: str, at_ms: float, size: int) -> dict[str, Any]:
    """The characters that begin within a piece of sound; times from its start."""
    end_ms = at_ms + size / BYTES_PER_MS
    at = [i for i in range(len(text)) if at_ms <= i * MS_PER_CHAR < end_ms]
    return {
        "chars": [text[i] for i in at],
        "charStartTimesMs": [round(i * MS_PER_CHAR - at_ms) for i in at],
        "charDurationsMs": [MS_PER_CHAR] * len(at),
    }


class _Socket:
    def __init__(self, vendor: ElevenLabsTts, socket: WebSocket, connection: Seen) -> None:
        self._vendor, self._socket, self._connection = vendor, socket, connection
        self._contexts: dict[str, _Context] = {}
        self._settings: Any = None

    async def run(self) -> None:
        try:
            self._check()
            while True:
                message = json.loads(await self._socket.receive_text())
                self._connection.messages.append(message)
                await self._take(message)
        except Complaint as complaint:
            told = {"message": complaint.message, "error": complaint.code, "code": 1008}
            await self._socket.send_text(json.dumps(told))
            await self._socket.close(1008, complaint.message[:120])
        finally:
            for context in self._contexts.values():
                context.seen.closed.set()
                if context.task is not None:
                    context.task.cancel()

    def _check(self) -> None:
        query, path = self._connection.query, self._connection.path
        voice = path.split("/")[3]
        if voice not in {v["voice_id"] for v in VOICES}:
            raise Complaint("voice_id_does_not_exist", f"A voice with voice_id {voice} does not exist.")
        if query["model_id"] not in MODELS or query["model_id"] == "eleven_v3":
            raise Complaint(
                "model_not_found", f"Model {query['model_id']} is not available on this endpoint."
            )
        if query["output_format"] not in FORMATS or query["sync_alignment"] not in ("true", "false"):
            raise Complaint("invalid_output_format", "Invalid query parameters")
        if query.get("language_code", "en") not in LANGUAGES:
            raise Complaint("unsupported_language", "Invalid language_code")
        if not 1 <= int(query.get("inactivity_timeout", "20")) <= 180:
            raise Complaint("invalid_inactivity_timeout", "Invalid inactivity_timeout")

    async def _take(self, message: dict[str, Any]) -> None:
        name = message["context_id"]
        context = self._contexts.get(name)
        if "voice_settings" in message:
            if self._settings not in (None, message["voice_settings"]):
                words = "voice_settings field must be provided in the first message and then not change."
                raise Complaint("invalid_request", words)
            self._settings = message["voice_settings"]
        if message.get("close_context"):
            if context is not None:
                await self._close(name, context)
        elif context is None:
            if len(self._contexts) >= MOST_CONTEXTS:
                words = f"Maximum simultaneous contexts per WebSocket connection exceeded ({MOST_CONTEXTS})."
                raise Complaint("max_active_conversations", words)
            assert message["text"] == " ", "the first message of a context is one space"
            headers = {**self._connection.headers, "context-id": name}
            seen = Seen("WS", self._connection.path, self._connection.query, headers)
            seen.messages.append(message)
            self._vendor.contexts.append(seen)
            self._contexts[name] = _Context(seen, self._vendor.trouble())
        else:
            assert message["text"].endswith(" "), "text ends with a space"
            assert not context.is_closed
            context.seen.messages.append(message)
            context.seen.body += message["text"].encode()
            if message.get("flush"):
                self._vendor.said.append(context.seen.body.decode().rstrip())
                context.task = asyncio.create_task(self._speak(name, context))

    async def _close(self, name: str, context: "_Context") -> None:
        if not context.is_closed:
            context.is_closed = True
            if context.task is None:
                await self._end(name)
        elif context.task is not None:  # a second time: there was a barge-in
            context.seen.closed.set()
            if not (self._vendor.speaks_on or context.trouble.hang):  # who hangs does not listen either
                context.task.cancel()
                await self._end(name)

    async def _end(self, name: str) -> None:
        self._contexts.pop(name).seen.closed.set()
        await self._socket.send_text(json.dumps({"isFinal": True, "contextId": name}))

    async def _speak(self, name: str, context: "_Context") -> None:
        trouble, text = context.trouble, context.seen.body.decode().rstrip()
        if trouble.hang and trouble.after is None:
            await self._vendor.hang()
        at_ms = 0.0
        try:
            async for pcm in self._vendor.pieces(text, trouble):
                await self._send_piece(name, text, at_ms, pcm)
                at_ms += len(pcm) / BYTES_PER_MS
        except Cut:
            await self._fail(trouble)
            return
        while not context.is_closed:
            await asyncio.sleep(0.001)
        await self._end(name)

    async def _send_piece(self, name: str, text: str, at_ms: float, pcm: bytes) -> None:
        times = alignment(text, at_ms, len(pcm))
        if self._vendor.spelled_out:
            times = _spelled_out(times)
        piece = {"audio": base64.b64encode(pcm).decode(), "isFinal": None, "contextId": name}
        await self._socket.send_text(json.dumps({**piece, "alignment": times, "normalizedAlignment": times}))

    async def _fail(self, trouble: Trouble) -> None:
        if trouble.status:
            codes = {401: "invalid_api_key", 402: "quota_exceeded", 429: "too_many_concurrent_requests"}
            code = codes.get(trouble.status, "invalid_request" if trouble.status < 500 else "internal_error")
            told = {"message": trouble.message, "error": code, "code": 1008}
            await self._socket.send_text(json.dumps(told))
            await self._socket.close(1008, trouble.message[:120])
        else:
            await self._socket.close(1011)


class _Context:
    def __init__(self, seen: Seen, trouble: Trouble) -> None:
        self.seen, self.trouble = seen, trouble
        self.is_closed = False
        self.task: asyncio.Task[None] | None = None


def _spelled_out(alignment: dict[str, Any]) -> dict[str, Any]:
    chars: list[str] = []
    starts: list[float] = []
    for char, start in zip(alignment["chars"], alignment["charStartTimesMs"], strict=True):
        spelled = {"3": "three", "&": "and"}.get(char, char)
        chars += spelled
        starts += [start + MS_PER_CHAR * i // len(spelled) for i in range(len(spelled))]
    ends = [*starts[1:], alignment["charStartTimesMs"][-1] + MS_PER_CHAR] if starts else []
    durations = [end - start for start, end in zip(starts, ends, strict=True)]
    return {"chars": chars, "charStartTimesMs": starts, "charDurationsMs": durations}
