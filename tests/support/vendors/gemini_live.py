"""Google's Gemini Live on a local port, with automatic activity detection off.

Message shapes and their order: https://ai.google.dev/api/live (BidiGenerateContentClientMessage and
...ServerMessage), https://ai.google.dev/gemini-api/docs/live-guide (activity signals, transcriptions,
interruptions) and https://ai.google.dev/gemini-api/docs/live-session (goAway). Frames are binary JSON, as the
vendor's are; refusals come as close frames with a reason.
"""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Seen, Trouble, Vendor
from tests.support.vendors.sound import Ear, speech_of

RATE_HZ = 24_000
MODELS = ("models/gemini-2.5-flash-native-audio-preview-12-2025", "models/gemini-3.1-flash-live-preview")
PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP_KEYS = {
    "model",
    "generationConfig",
    "systemInstruction",
    "tools",
    "realtimeInputConfig",
    "sessionResumption",
    "contextWindowCompression",
    "inputAudioTranscription",
    "outputAudioTranscription",
    "proactivity",
    "historyConfig",
}
INPUT_KEYS = {"audio", "text", "activityStart", "activityEnd", "audioStreamEnd", "video"}


class GeminiLive(Vendor):
    """`replies`: what is answered, in turn; a tuple (name, arguments) is a function call."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.replies: list[str | tuple[str, dict[str, Any]]] = []
        self.transcript_ms = 0
        """How long writing down an utterance takes; below 0 = for ever."""
        self.usage_behind = False
        """The usage comes in a message of its own after the turn, as the 3.1 model sends it."""
        self.sessions: list[Session] = []

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute(PATH, self._serve)]

    async def _serve(self, socket: WebSocket) -> None:
        seen = self.see_socket(socket)
        session = Session(self, socket, seen, self.trouble())
        self.sessions.append(session)
        await socket.accept()
        try:
            await session.run()
        except WebSocketDisconnect:
            pass
        finally:
            await session.close()
            seen.closed.set()


class _Refused(Exception):
    """The close frame says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Session:
    """One connection and its conversation."""

    def __init__(self, vendor: GeminiLive, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        self._vendor, self._socket, self._seen, self._trouble = vendor, socket, seen, trouble
        self.setup: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.turns: list[tuple[str, str]] = []
        """(role, text) as the model would remember them."""
        self._ear: Ear | None = None
        self._texts: list[str] = []
        self._generation: asyncio.Task[None] | None = None
        self._results: asyncio.Queue[Any] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0

    async def run(self) -> None:
        try:
            await self._enter()
            while True:
                await self._take(await self._receive())
        except _Refused as refused:
            with suppress(RuntimeError):
                await self._socket.close(refused.code, refused.reason)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def send(self, **message: Any) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):  # the client is gone
            await self._socket.send_bytes(json.dumps(message).encode())

    async def go_away(self, time_left: str) -> None:
        await self.send(goAway={"timeLeft": time_left})

    # -- the door ------------------------------------------------------------------------------------------

    async def _enter(self) -> None:
        trouble = self._trouble
        status = 0 if trouble.after is not None else trouble.status
        if self._seen.headers.get("x-goog-api-key") != KEY:
            raise _Refused(1007, "API key not valid. Please pass a valid API key.")
        if status in (401, 403):
            raise _Refused(1008, "Permission denied: Consumer has been suspended.")
        if status == 429:
            raise _Refused(
                1011, "You exceeded your current quota, please check your plan and billing details."
            )
        if status:
            raise _Refused(1011, f"Internal error encountered: {trouble.message}")
        if trouble.hang and trouble.after is None:
            await self._vendor.hang()
        first = await self._receive()
        if set(first) != {"setup"}:
            raise _Refused(1007, "Request contains an invalid argument: setup must be the first message.")
        self.setup = first["setup"]
        if unknown := set(self.setup) - SETUP_KEYS:
            raise _Refused(
                1007, f"Invalid JSON payload received. Unknown name \"{unknown.pop()}\" at 'setup'"
            )
        if self.setup["model"] not in MODELS:
            reason = f"{self.setup['model']} is not found for API version v1beta, or is not supported"
            raise _Refused(1008, f"{reason} for bidiGenerateContent."[:120])
        detection = self.setup["realtimeInputConfig"]["automaticActivityDetection"]
        assert detection == {"disabled": True}
        await self.send(setupComplete={})
        if self.setup.get("historyConfig", {}).get("initialHistoryInClientContent"):
            content = (await self._receive())["clientContent"]
            assert content["turnComplete"] is True
            self.history = content["turns"]
            self.turns = [(t["role"], t["parts"][0]["text"]) for t in self.history]

    async def _receive(self) -> dict[str, Any]:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        event = json.loads(message.get("text") or message.get("bytes") or b"")
        self._seen.messages.append(event)
        assert isinstance(event, dict)
        return event

    # -- client messages -----------------------------------------------------------------------------------

    async def _take(self, message: Mapping[str, Any]) -> None:
        if len(message) != 1:
            raise _Refused(1007, "Request contains an invalid argument.")
        ((kind, body),) = message.items()
        if kind == "toolResponse":
            self._results.put_nowait(body["functionResponses"])
        elif kind == "realtimeInput" and len(body) == 1 and set(body) <= INPUT_KEYS:
            await self._input(*next(iter(body.items())))
        else:  # `clientContent` in the middle of a talk is refused by the 3.1 model
            raise _Refused(1007, "Request contains an invalid argument.")

    async def _input(self, kind: str, body: Any) -> None:
        if kind == "activityStart":
            await self._interrupt()
            self._ear, self._texts = Ear(), []
        elif self._ear is None:
            raise _Refused(1007, f"{kind} outside of an activity")
        elif kind == "audio":
            assert body["mimeType"] == "audio/pcm;rate=16000"
            words = self._ear.hear(base64.b64decode(body["data"], validate=True))
            if words and not self._vendor.transcript_ms:
                await self._write_down(" ".join(words) + " ")
        elif kind == "text":
            self._texts.append(body)
        elif kind == "activityEnd":
            heard, texts = self._ear.text, self._texts
            self._ear = None
            if heard and self._vendor.transcript_ms > 0:
                self._spawn(self._write_down_later(heard))
            self.turns.append(("user", " ".join([*texts, heard]).strip()))
            self._generation = self._spawn(self._generate(heard or (texts[-1] if texts else "")))

    async def _write_down_later(self, text: str) -> None:
        await asyncio.sleep(self._vendor.transcript_ms / 1000)
        await self._write_down(text)

    async def _write_down(self, text: str) -> None:
        await self.send(serverContent={"inputTranscription": {"text": text}})

    async def _interrupt(self) -> None:
        if self._generation is None or self._generation.done():
            return
        self._generation.cancel()
        with suppress(asyncio.CancelledError):
            await self._generation
        await self.send(serverContent={"interrupted": True})
        await self.send(serverContent={"turnComplete": True}, usageMetadata=self._usage(0))

    # -- answering -----------------------------------------------------------------------------------------

    async def _generate(self, heard: str) -> None:
        trouble, vendor = self._trouble, self._vendor
        await vendor.pause(trouble, 0)
        reply = vendor.replies.pop(0) if vendor.replies else f"You said: {heard}."
        while isinstance(reply, tuple):
            self._calls += 1
            call = {"id": f"function-call-{self._calls}", "name": reply[0], "args": reply[1]}
            await self.send(toolCall={"functionCalls": [call]})
            (result,) = await self._results.get()
            assert (result["id"], result["name"]) == (call["id"], call["name"])
            reply = vendor.replies.pop(0) if vendor.replies else f"It says {json.dumps(result['response'])}."
        made_ms = 0
        if not trouble.empty:
            made_ms = await self._speak(reply)
            await self.send(serverContent={"generationComplete": True})
        if vendor.usage_behind:
            await self.send(serverContent={"turnComplete": True})
            await self.send(serverContent={}, usageMetadata=self._usage(made_ms))
        else:
            await self.send(serverContent={"turnComplete": True}, usageMetadata=self._usage(made_ms))

    async def _speak(self, reply: str) -> int:
        self.turns.append(("model", ""))
        sounds, said = speech_of(reply, RATE_HZ), 0
        for index, pcm in enumerate(sounds):
            await self._go_wrong(index)
            inline = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(pcm).decode()}
            await self.send(serverContent={"modelTurn": {"parts": [{"inlineData": inline}]}})
            reached = len(reply) * (index + 1) // len(sounds)
            text, said = reply[said:reached], reached
            self.turns[-1] = ("model", reply[:reached])
            if text:
                await self.send(serverContent={"outputTranscription": {"text": text}})
        return sum(map(len, sounds)) // 48

    async def _go_wrong(self, index: int) -> None:
        trouble = self._trouble
        if index:
            await self._vendor.pause(trouble, index)
        await asyncio.sleep(0)
        if trouble.after is None or index < trouble.after:
            return
        if trouble.hang:
            await self._vendor.hang()
        with suppress(RuntimeError):
            await self._socket.close(1011, f"Internal error encountered: {trouble.message}")
        await asyncio.sleep(3600)

    def _usage(self, made_ms: int) -> dict[str, Any]:
        spoken = made_ms // 40
        return {
            "promptTokenCount": 150,
            "responseTokenCount": spoken + 5,
            "totalTokenCount": 155 + spoken,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 100},
                {"modality": "AUDIO", "tokenCount": 50},
            ],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": spoken}],
        }

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
