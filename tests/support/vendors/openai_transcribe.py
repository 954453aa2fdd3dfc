"""OpenAI's two ways to transcribe, as its pages describe them. Hears `sound.WORDS`.

* WebSocket /v1/realtime?intent=transcription: https://platform.openai.com/docs/guides/realtime-transcription,
  https://platform.openai.com/docs/api-reference/realtime-client-events and -server-events. The live models
  send text while one speaks, the others from the commit on; turn detection is off. A wrong key is refused
  after the handshake, by an `error` and close code 3000.
* POST /v1/audio/transcriptions: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.core.audio import read_wav
from tests.support.vendors.openai_speech import body_of, described, gone, refused, unknown_model, wrong_key
from tests.support.vendors.place import KEY, Seen, Trouble, Vendor, refusal
from tests.support.vendors.sound import Ear

LIVE = ("gpt-live-transcribe", "gpt-realtime-whisper")
WITH_KEYWORDS = ("gpt-transcribe", "gpt-live-transcribe")
MODELS = (*LIVE, "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1")
LANGUAGES = {"de", "en", "es", "fr", "it", "ja", "zh"}
RATE_HZ = 24_000
LEAST_MS = 100


class OpenAiTranscribe(Vendor):
    """Both ways."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.connections: set[object] = set()
        self.uploads: list[dict[str, Any]] = []
        """The fields of each transcription request; `file` is its sound."""

    def routes(self) -> Sequence[BaseRoute]:
        return [
            WebSocketRoute("/v1/realtime", self.realtime),
            Route("/v1/audio/transcriptions", self.transcribe, methods=["POST"]),
            Route("/v1/models", self.list),
            Route("/v1/models/{model:path}", self.describe),
        ]

    async def describe(self, request: Request) -> Response:
        self.connections.add(request.client)
        (await self.see(request)).closed.set()
        model = request.path_params["model"]
        found = JSONResponse(described(model)) if model in MODELS else unknown_model(model)
        return wrong_key(request) or found

    async def list(self, request: Request) -> Response:
        (await self.see(request)).closed.set()
        return wrong_key(request) or JSONResponse({"object": "list", "data": [described(m) for m in MODELS]})

    # -- REST ----------------------------------------------------------------------------------------------

    async def transcribe(self, request: Request) -> Response:
        self.connections.add(request.client)
        trouble, seen = self.trouble(), await self.see(request)
        if trouble.hang and trouble.after is None:
            await gone(request, seen)
        if trouble.status and trouble.after is None:
            return refusal(trouble, body_of(trouble.status, trouble.message))
        fields = await _fields(request)
        self.uploads.append(fields)
        problem = wrong_key(request) or _problem(fields)
        if problem is not None:
            return problem
        pcm, rate_hz = read_wav(fields["file"])
        assert rate_hz == 16_000
        ear = Ear()
        ear.hear(pcm)
        words = [] if trouble.empty else ear.words
        if fields.get("stream") == "true" and fields["model"] != "whisper-1":
            return StreamingResponse(self._events(words, trouble, seen), media_type="text/event-stream")
        await self.pause(trouble, 0)
        seen.closed.set()
        seconds = round(len(pcm) / 32_000)
        return JSONResponse({"text": " ".join(words), "usage": {"type": "duration", "seconds": seconds}})

    async def _events(self, words: Sequence[str], trouble: Trouble, seen: Seen) -> AsyncIterator[str]:
        try:
            for index, word in enumerate(words):
                if index == trouble.after:
                    if trouble.hang:
                        await self.hang()
                    if not trouble.status:
                        raise ConnectionError("cut by the test")
                    yield f"event: error\ndata: {json.dumps(body_of(trouble.status, trouble.message))}\n\n"
                    return
                await self.pause(trouble, index)
                delta = word if index == 0 else f" {word}"
                yield _event({"type": "transcript.text.delta", "delta": delta})
            usage = {"type": "tokens", "input_tokens": 24, "output_tokens": 5, "total_tokens": 29}
            yield _event({"type": "transcript.text.done", "text": " ".join(words), "usage": usage})
        finally:
            seen.closed.set()

    # -- realtime ------------------------------------------------------------------------------------------

    async def realtime(self, socket: WebSocket) -> None:
        trouble, seen = self.trouble(), self.see_socket(socket)
        self.connections.add(id(seen))
        if trouble.status not in (0, 401, 403) and trouble.after is None:
            body = body_of(trouble.status, trouble.message)
            await socket.send_denial_response(refusal(trouble, body))
            seen.closed.set()
            return
        await socket.accept()
        talk = _Talk(self, socket, seen, trouble)
        with suppress(WebSocketDisconnect, RuntimeError):
            await talk.run()
        seen.closed.set()


async def _fields(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                fields[name] = await value.read()
            elif name.endswith("[]"):
                fields.setdefault(name, []).append(value)
            else:
                fields[name] = value
    return fields


def _problem(fields: dict[str, Any]) -> Response | None:
    model = fields.get("model", "")
    known = {"file", "model", "language", "prompt", "response_format", "stream"}
    known |= {"keywords[]"} if model in WITH_KEYWORDS else set()
    if model not in MODELS or model in LIVE:
        return unknown_model(model)
    if strange := sorted(fields.keys() - known):
        return refused(400, f"Unrecognized request argument supplied: {strange[0]}", strange[0])
    if "language" in fields and fields["language"] not in LANGUAGES:
        return refused(400, f"Invalid language '{fields['language']}'. It must be in ISO-639-1.", "language")
    if fields.get("response_format", "json") != "json":
        return refused(400, "this fake answers json only", "response_format")
    return None


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


@dataclass
class _Item:
    """One stretch of speech, from one commit to the next."""

    id: str
    ear: Ear = field(default_factory=Ear)
    to_16k: Any = field(default_factory=lambda: soxr.ResampleStream(RATE_HZ, 16_000, 1, "int16", "LQ"))
    ms: float = 0.0
    told: int = 0
    """Words of it that were sent already."""

    def hear(self, sound: bytes) -> None:
        self.ms += len(sound) / 2 / RATE_HZ * 1000
        self.ear.hear(self.to_16k.resample_chunk(np.frombuffer(sound, "<i2")).tobytes())


class _Talk:
    """One realtime session."""

    def __init__(self, vendor: OpenAiTranscribe, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        self._vendor, self._socket, self._seen, self._trouble = vendor, socket, seen, trouble
        self._items = 0
        self._item = self._new_item()
        self._last: str | None = None
        self._model = ""
        self._pieces = 0

    async def run(self) -> None:
        key = self._socket.headers.get("authorization", "").removeprefix("Bearer ")
        if self._trouble.hang and self._trouble.after is None:
            await self._vendor.hang()
        if key != KEY or (self._trouble.status and self._trouble.after is None):
            await self._error("invalid_api_key", "Incorrect API key provided: wr****dy.")
            await self._socket.close(3000, "invalid_request_error.invalid_api_key")
            return
        if self._socket.query_params.get("intent") != "transcription" or "model" in self._socket.query_params:
            await self._error("invalid_intent", "this fake only transcribes")
            await self._socket.close(4000, "invalid_request_error.invalid_intent")
            return
        await self._send("session.created", session={"type": "transcription", "id": "sess_1"})
        while True:
            told = await self._socket.receive_json()
            self._seen.messages.append(told)
            await self._hear(told)

    async def _hear(self, told: dict[str, Any]) -> None:
        match told:
            case {"type": "session.update", "session": {"type": "transcription", "audio": {"input": heard}}}:
                await self._configure(heard)
            case {"type": "input_audio_buffer.append", "audio": str(audio)}:
                self._item.hear(base64.b64decode(audio, validate=True))
                if self._pieces == self._trouble.after:
                    await self._go_wrong(self._item)
                if self._model in LIVE:
                    await self._tell(self._item)
            case {"type": "input_audio_buffer.commit"}:
                await self._commit()
            case {"type": "input_audio_buffer.clear"}:
                self._item = self._new_item()
                await self._send("input_audio_buffer.cleared")
            case _:
                await self._error("invalid_value", f"Invalid event {told.get('type')}")

    async def _configure(self, heard: dict[str, Any]) -> None:
        wanted = heard.get("transcription", {})
        model = wanted.get("model")
        known = {"model", "language", "prompt"} | ({"keywords"} if model in WITH_KEYWORDS else set())
        if heard.get("format") != {"type": "audio/pcm", "rate": RATE_HZ}:
            await self._error("invalid_value", "Invalid value: 'session.audio.input.format'.")
        elif heard.get("turn_detection", 0) is not None:
            await self._error("invalid_value", "this fake waits for commits")
        elif model not in MODELS:
            await self._error("invalid_value", f"Invalid value: '{model}'. Supported models: {MODELS}")
        elif strange := sorted(wanted.keys() - known):
            await self._error("unknown_parameter", f"Unknown parameter: {strange[0]}")
        elif "language" in wanted and wanted["language"] not in LANGUAGES:
            await self._error("invalid_value", f"Invalid value: '{wanted['language']}'.")
        else:
            self._model = model
            await self._send("session.updated", session={"type": "transcription", "audio": {"input": heard}})

    async def _commit(self) -> None:
        item = self._item
        if item.ms < LEAST_MS:
            words = f"buffer too small. Expected at least 100ms of audio, but buffer only has {item.ms:.2f}ms"
            await self._error("input_audio_buffer_commit_empty", words)
            return
        self._item = self._new_item()
        await self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=self._last)
        self._last = item.id
        await self._tell(item)
        transcript = "" if self._trouble.empty else item.ear.text
        usage = {"type": "duration", "seconds": round(item.ms / 1000)}
        name = "conversation.item.input_audio_transcription.completed"
        await self._send(name, item_id=item.id, content_index=0, transcript=transcript, usage=usage)

    async def _tell(self, item: _Item) -> None:
        """The words of an item that were not told yet, each in a delta."""
        words = [] if self._trouble.empty else item.ear.words
        for index in range(item.told, len(words)):
            if self._pieces == self._trouble.after:
                await self._go_wrong(item)
            await self._vendor.pause(self._trouble, self._pieces)
            self._pieces += 1
            delta = words[index] if index == 0 else f" {words[index]}"
            name = "conversation.item.input_audio_transcription.delta"
            await self._send(name, item_id=item.id, content_index=0, delta=delta)
        item.told = len(words)

    async def _go_wrong(self, item: _Item) -> None:
        if self._trouble.hang:
            await self._vendor.hang()
        if self._trouble.status:
            error = body_of(self._trouble.status, self._trouble.message)["error"]
            name = "conversation.item.input_audio_transcription.failed"
            await self._send(name, item_id=item.id, content_index=0, error=error)
        await self._socket.close(1011, "internal error")
        raise WebSocketDisconnect(1011)

    async def _error(self, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
        await self._send("error", error=error | {"event_id": None})

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._socket.send_json({"type": kind, "event_id": f"event_{id(fields)}", **fields})

    def _new_item(self) -> _Item:
        self._items += 1
        return _Item(f"item_{self._items}")
