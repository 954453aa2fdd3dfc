"""AssemblyAI's Universal-Streaming v3 on a local port, and its temporary tokens.

Pages: message order https://www.assemblyai.com/docs/streaming/message-sequence, fields
https://assemblyai.com/docs/api-reference/streaming-api/streaming-api, ends
https://www.assemblyai.com/docs/streaming/common-session-errors-and-closures, when a turn ends
https://assemblyai.com/docs/streaming/universal-streaming/turn-detection. The package's own client is run
against it too (`tests/plugins/test_stt_assemblyai.py`).
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Seen, Trouble, Vendor, refusal
from tests.support.vendors.sound import Ear

MODELS = ("universal-streaming-english", "universal-streaming-multilingual", "u3-rt-pro")
WORD_MS = 80
CODES = {401: 1008, 403: 1008, 402: 1008, 429: 3009, 400: 3006}
"""Close codes for what other vendors say by HTTP status; the rest is 3005, "server error"."""


class End(Exception):
    """The session is over, for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class AssemblyAi(Vendor):
    """Hears `sound.WORDS`."""

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/v3/ws", self._session), Route("/v3/token", self._token)]

    async def _token(self, request: Request) -> Response:
        """https://assemblyai.com/docs/api-reference/streaming-api/generate-streaming-token"""
        seen = await self.see(request)
        trouble = self.trouble()
        if trouble.status:
            return refusal(trouble, {"error": trouble.message})
        if seen.headers.get("authorization") != KEY:
            return JSONResponse({"error": "Authentication error, API token missing/invalid"}, 401)
        assert 1 <= int(seen.query["expires_in_seconds"]) <= 600
        return JSONResponse({"token": "a-token", "expires_in_seconds": 60})

    async def _session(self, socket: WebSocket) -> None:
        seen = self.see_socket(socket)
        trouble = self.trouble()
        try:
            if trouble.status and trouble.after is None:
                await socket.send_denial_response(refusal(trouble, {"error": trouble.message}))
                return
            await socket.accept()
            await _Session(self, socket, seen, trouble).run()
        except End as end:
            # The reason of a close has 123 bytes at most; the whole of it comes in a message before.
            error = {"type": "Error", "error_code": end.code, "error": end.reason}
            await _quietly(socket.send_text(json.dumps(error)))
            await _quietly(socket.close(end.code, end.reason[:100]))
        except WebSocketDisconnect:
            pass
        finally:
            seen.closed.set()


class _Session:
    def __init__(self, vendor: AssemblyAi, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        self._vendor, self._socket, self._seen, self._trouble = vendor, socket, seen, trouble
        self._ear = Ear()
        self._turn = self._first = self._pieces = 0
        """The turn's number, the index of its first word, how many messages about turns were sent."""

    async def run(self) -> None:
        if self._seen.headers.get("authorization") != KEY:
            raise End(1008, "Unauthorized Connection: Missing Authorization header")
        query = self._seen.query
        if query.get("speech_model") not in MODELS:
            raise End(3006, f"Invalid speech_model: {query.get('speech_model')}")
        if (query.get("sample_rate"), query.get("encoding")) != ("16000", "pcm_s16le"):
            raise End(3006, "Invalid sample_rate or encoding")
        if self._trouble.hang and self._trouble.after is None:
            await self._vendor.hang()
        await self._send(
            {"type": "Begin", "id": "de5d9927-73a6-4be8-b52d-b4c07be37e6b", "expires_at": 1793000000}
        )
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await self._audio(message["bytes"])
            elif not await self._order(message["text"]):
                return

    async def _audio(self, pcm: bytes) -> None:
        self._seen.messages.append(pcm)
        ms = len(pcm) / 32
        if not 50 <= ms <= 1000 or len(pcm) % 2:
            raise End(3007, f"Input duration violation: {ms} ms. Expected between 50 and 1000 ms")
        new = self._ear.hear(pcm)
        for known in range(len(self._ear.words) - len(new) + 1, len(self._ear.words) + 1):
            await self._say(known, ended=False)
        quiet_from = self._ear.ends_ms[-1] if self._ear.ends_ms else 0
        limit_ms = int(self._seen.query.get("max_turn_silence", 1280))
        if self._has_turn and self._ear.heard_ms - quiet_from >= limit_ms:
            await self._end_turn(0.9)

    async def _order(self, text: str) -> bool:
        """Whether the session goes on."""
        try:
            order = json.loads(text)
        except ValueError:
            raise End(3006, f"Invalid JSON: {text[:40]}") from None
        self._seen.messages.append(order)
        match order.get("type"):
            case "ForceEndpoint":
                if self._has_turn:
                    await self._end_turn(1.0)
            case "UpdateConfiguration":
                terms = order.get("keyterms_prompt", [])
                if len(terms) > 100 or any(len(t) > 50 for t in terms):
                    raise End(3006, "Invalid Message: too many or too long keyterms")
            case "KeepAlive":
                pass
            case "Terminate":
                if self._has_turn:
                    await self._end_turn(1.0)
                seconds = self._ear.heard_ms // 1000
                await self._send(
                    {
                        "type": "Termination",
                        "audio_duration_seconds": seconds,
                        "session_duration_seconds": seconds,
                    }
                )
                await self._socket.close(1000)
                return False
            case kind:
                raise End(3006, f"Invalid Message Type: {kind}")
        return True

    @property
    def _has_turn(self) -> bool:
        return len(self._ear.words) > self._first

    async def _end_turn(self, confidence: float) -> None:
        known = len(self._ear.words)
        await self._say(known, ended=True, confidence=confidence)
        if self._seen.query.get("format_turns") == "true":
            await self._say(known, ended=True, confidence=confidence, formatted=True)
        self._turn, self._first = self._turn + 1, known

    async def _say(
        self, known: int, *, ended: bool, confidence: float = 0.01, formatted: bool = False
    ) -> None:
        """A Turn message about the words up to `known`. The newest may still change until the turn ends."""
        if self._trouble.empty:
            return
        words = self._ear.words[self._first : known]
        ends = self._ear.ends_ms[self._first : known]
        final = words if ended else words[:-1]
        text = " ".join(final)
        await self._trouble_before()
        await self._send(
            {
                "type": "Turn",
                "turn_order": self._turn,
                "turn_is_formatted": formatted,
                "end_of_turn": ended,
                "transcript": f"{text.capitalize()}." if formatted else text,
                "end_of_turn_confidence": confidence,
                "words": [
                    {
                        "text": word,
                        "start": end - WORD_MS,
                        "end": end,
                        "confidence": 0.98,
                        "word_is_final": i < len(final),
                    }
                    for i, (word, end) in enumerate(zip(words, ends, strict=True))
                ],
                "utterance": text if ended else "",
            }
        )

    async def _trouble_before(self) -> None:
        trouble, index = self._trouble, self._pieces
        await self._vendor.pause(trouble, index)
        if trouble.after is not None and index >= trouble.after:
            if trouble.hang:
                await self._vendor.hang()
            if trouble.status:
                raise End(CODES.get(trouble.status, 3005), trouble.message)
            await self._socket.close(1011)
            raise WebSocketDisconnect(1011)
        self._pieces += 1

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(message))


async def _quietly(sending: Any) -> None:
    """The client may be gone already."""
    try:
        async with asyncio.timeout(1):
            await sending
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        pass
