"""ElevenLabs' realtime Scribe on a local port.

Pages: messages https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime, errors
https://elevenlabs.io/docs/eleven-api/guides/how-to/speech-to-text/realtime/event-reference, commits
https://elevenlabs.io/docs/eleven-api/guides/how-to/speech-to-text/realtime/transcripts-and-commit-strategies,
the refused commit https://github.com/elevenlabs/packages/issues/378. Its words about commits are the
vendor's. The package's own client is run against it too (`tests/plugins/test_stt_elevenlabs.py`).
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Seen, Trouble, Vendor, refusal
from tests.support.vendors.sound import Ear

WORD_MS = 80
LEAST_COMMIT_MS = 300
AUTO_COMMIT_MS = 90_000
MOST_CHUNK_MS = 1000
ERRORS = {
    401: "auth_error",
    403: "auth_error",
    402: "quota_exceeded",
    429: "rate_limited",
    400: "input_error",
}
"""Error messages for what other vendors say by HTTP status; the rest is "transcriber_error"."""


class Failed(Exception):
    """The session ends with this error message."""

    def __init__(self, kind: str, error: str) -> None:
        super().__init__(error)
        self.kind, self.error = kind, error


class Scribe(Vendor):
    """Hears `sound.WORDS`. `from_segment`: whether word times count from the segment's start."""

    def __init__(self, *troubles: Trouble, from_segment: bool = False) -> None:
        super().__init__(*troubles)
        self.from_segment = from_segment

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/v1/speech-to-text/realtime", self._session)]

    async def _session(self, socket: WebSocket) -> None:
        seen = self.see_socket(socket)
        trouble = self.trouble()
        try:
            if trouble.status and trouble.after is None:
                detail = {"detail": {"status": "refused", "message": trouble.message}}
                await socket.send_denial_response(refusal(trouble, detail))
                return
            await socket.accept()
            await _Session(self, socket, seen, trouble).run()
        except Failed as failed:
            await _quietly(socket.send_text(json.dumps({"message_type": failed.kind, "error": failed.error})))
            await _quietly(socket.close(1000))
        except WebSocketDisconnect:
            pass
        finally:
            seen.closed.set()


class _Session:
    def __init__(self, vendor: Scribe, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        self._vendor, self._socket, self._seen, self._trouble = vendor, socket, seen, trouble
        self._ear = Ear()
        self._first = self._from_ms = self._received_ms = self._pieces = 0

    async def run(self) -> None:
        if self._seen.headers.get("xi-api-key") != KEY:
            raise Failed("auth_error", "You must be authenticated to use this endpoint.")
        query = self._seen.query
        if query.get("model_id") != "scribe_v2_realtime":
            raise Failed("invalid_request", f"Model {query.get('model_id')} is not a realtime model.")
        if (query.get("audio_format"), query.get("commit_strategy", "manual")) != ("pcm_16000", "manual"):
            raise Failed("invalid_request", "This fake knows pcm_16000 and manual commits.")
        if self._trouble.hang and self._trouble.after is None:
            await self._vendor.hang()
        config = {"sample_rate": 16000, "audio_format": "pcm_16000", "model_id": query["model_id"]}
        await self._send("session_started", session_id="0b0a72b57fd743ebbed6555d44836cf2", config=config)
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._chunk(message.get("text") or "")

    async def _chunk(self, text: str) -> None:
        try:
            chunk = json.loads(text)
            pcm = base64.b64decode(chunk["audio_base_64"], validate=True)
        except (ValueError, KeyError, binascii.Error) as error:
            raise Failed("input_error", f"Invalid message: {error}") from error
        if chunk.get("message_type") != "input_audio_chunk" or chunk.get("sample_rate") != 16000:
            raise Failed("input_error", "Expected input_audio_chunk with the session's sample_rate")
        if len(pcm) > MOST_CHUNK_MS * 32 or len(pcm) % 2:
            raise Failed("chunk_size_exceeded", f"{len(pcm)} bytes")
        self._seen.messages += [pcm, {"commit": chunk["commit"]}]
        self._received_ms += len(pcm) // 32
        new = self._ear.hear(pcm)
        for known in range(len(self._ear.words) - len(new) + 1, len(self._ear.words) + 1):
            await self._say("partial_transcript", known)
        if self._received_ms - self._from_ms >= AUTO_COMMIT_MS:
            await self._commit()
        if chunk["commit"]:
            fresh_ms = self._received_ms - self._from_ms
            if fresh_ms < LEAST_COMMIT_MS:
                await self._send(
                    "commit_throttled",
                    error=f"Commit request ignored: only {fresh_ms / 1000}s of uncommitted audio. "
                    "You need at least 0.3s of uncommitted audio before committing.",
                )
            else:
                await self._commit()

    async def _commit(self) -> None:
        known = len(self._ear.words)
        await self._say("committed_transcript", known)
        if self._seen.query.get("include_timestamps") == "true":
            await self._say("committed_transcript_with_timestamps", known, **self._times(known))
        self._first, self._from_ms = known, self._received_ms

    def _times(self, known: int) -> dict[str, Any]:
        base_ms = self._from_ms if self._vendor.from_segment else 0
        words: list[dict[str, Any]] = []
        for word, end_ms in zip(
            self._ear.words[self._first : known], self._ear.ends_ms[self._first : known], strict=True
        ):
            start, end = (end_ms - WORD_MS - base_ms) / 1000, (end_ms - base_ms) / 1000
            if words:
                words.append({"text": " ", "start": start, "end": start, "type": "spacing"})
            words.append({"text": word, "start": start, "end": end, "type": "word", "logprob": -0.1})
        return {"language_code": "en", "words": words}

    async def _say(self, kind: str, known: int, **more: Any) -> None:
        """A message about the segment's words up to `known`."""
        text = "" if self._trouble.empty else " ".join(self._ear.words[self._first : known])
        if self._trouble.empty:
            more = {"words": []} if more else {}
            if kind == "partial_transcript":
                return
        await self._trouble_before()
        await self._send(kind, text=text, **more)

    async def _trouble_before(self) -> None:
        trouble, index = self._trouble, self._pieces
        await self._vendor.pause(trouble, index)
        if trouble.after is not None and index >= trouble.after:
            if trouble.hang:
                await self._vendor.hang()
            if trouble.status:
                raise Failed(ERRORS.get(trouble.status, "transcriber_error"), trouble.message)
            await self._socket.close(1011)
            raise WebSocketDisconnect(1011)
        self._pieces += 1

    async def _send(self, kind: str, **more: Any) -> None:
        await self._socket.send_text(json.dumps({"message_type": kind, **more}))


async def _quietly(sending: Any) -> None:
    """The client may be gone already."""
    try:
        async with asyncio.timeout(1):
            await sending
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        pass
