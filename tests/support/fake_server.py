"""A small server that speaks `/ws/voice` from a script: no recognition, no model, real sockets.

It calls sound loud or silent, answers a stretch of loud sound followed by silence as one turn, and remembers
everything it was sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from pipeline.core.audio import rms

RATE_HZ = 24_000
LOUD_RMS = 0.01
STOP_MS = 200


def tone(ms: int, rate_hz: int = RATE_HZ, amplitude: float = 0.3) -> bytes:
    """A 440 Hz tone."""
    t = np.arange(rate_hz * ms // 1000) / rate_hz
    return bytes((np.sin(2 * np.pi * 440 * t) * amplitude * 32767).astype("<i2").tobytes())


@dataclass
class FakeServer:
    """What it does is set before, what it saw is read after."""

    greeting: str = ""
    reply: bytes = field(default_factory=lambda: tone(300))
    answers: bool = True
    close_at_once: tuple[int, str] | None = None
    close_after_audio: tuple[int, str] | None = None
    interrupt_after_ms: int | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    greeted_at_s: float = 0.0
    first_loud_at_s: float = 0.0
    port: int = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def of_type(self, type: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == type]

    async def handle(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        self.paths.append(ws.request.path)
        if self.close_at_once:
            await ws.close(*self.close_at_once)
            return
        try:
            await _Call(self, ws).run()
        except ConnectionClosed:
            return


class _Call:
    """One connection."""

    def __init__(self, server: FakeServer, ws: ServerConnection) -> None:
        self.server, self.ws = server, ws
        self.turn = 0
        self.loud_ms = self.silent_ms = 0
        self.pressed: bool | None = None

    async def send(self, type: str, **fields: Any) -> None:
        await self.ws.send(json.dumps({"type": type, **fields}))

    async def run(self) -> None:
        await self.send("connected", session_id="s1", mode="open-mic", agent={}, input_rate=16_000,
                        output_rate=RATE_HZ, resume_token="r")  # fmt: skip
        if self.server.greeting:
            await self.speak(0, "r0", self.server.greeting)
            self.server.greeted_at_s = asyncio.get_running_loop().time()
        async for message in self.ws:
            if isinstance(message, bytes):
                await self.hear(message)
                continue
            data = json.loads(message)
            self.server.messages.append(data)
            if data["type"] == "end":
                await self.send("summary", session_id="s1", summary="")
                await self.send("ended", session_id="s1", reason="client")
                await self.ws.close(1000)
                return
            if data["type"] == "talk.begin":
                self.pressed = True
            if data["type"] == "talk.end" and self.loud_ms:
                self.pressed = False
                await self.answer("held words")
            if data["type"] == "text_message":
                await self.send("user_message", turn=self.turn + 1, text=data["message"])
                await self.answer("")

    async def hear(self, pcm: bytes) -> None:
        self.server.audio += pcm
        if self.server.close_after_audio and len(self.server.audio) > 3200:
            await self.ws.close(*self.server.close_after_audio)
            return
        if rms(pcm) > LOUD_RMS:
            self.server.first_loud_at_s = self.server.first_loud_at_s or asyncio.get_running_loop().time()
            if not self.loud_ms:
                await self.send("speech.started", at_ms=0)
                await self.send("transcription", turn=self.turn + 1, text="some \x1b[31mwords", final=False)
            self.loud_ms, self.silent_ms = self.loud_ms + 20, 0
            return
        self.silent_ms += 20
        if self.loud_ms and self.silent_ms >= STOP_MS and self.pressed is None:
            await self.send("speech.stopped", at_ms=0)
            await self.answer("some \x1b[31mwords")

    async def answer(self, heard: str) -> None:
        self.turn, self.loud_ms = self.turn + 1, 0
        if heard:
            await self.send("transcription", turn=self.turn, text=heard, final=True)
        if self.server.answers:
            await self.speak(self.turn, f"r{self.turn}", "an answer")

    async def speak(self, turn: int, response_id: str, text: str) -> None:
        await self.send("response.begin", turn=turn, response_id=response_id)
        await self.send("agent_response", turn=turn, response_id=response_id, text=text, final=True)
        await self.send("audio.begin", response_id=response_id, rate=RATE_HZ)
        for begin in range(0, len(self.server.reply), 9600):
            await self.ws.send(self.server.reply[begin : begin + 9600])
        if self.server.interrupt_after_ms is not None:
            await asyncio.sleep(self.server.interrupt_after_ms / 1000)
            await self.send(
                "interrupted", response_id=response_id, heard_ms=1, heard_text="an", reason="test"
            )
        else:
            await self.send("audio.end", response_id=response_id, duration_ms=300)
        if turn:
            await self.send("turn.metrics", turn=turn, endpoint_ms=200, stt_ms=100, llm_ttft_ms=300,
                            tts_ttfb_ms=50, voice_to_voice_ms=650, reason="silence", cost={})  # fmt: skip


@asynccontextmanager
async def fake_server(**behaviour: Any) -> AsyncIterator[FakeServer]:
    """A running `FakeServer`."""
    fake = FakeServer(**behaviour)
    listener: Server
    async with serve(fake.handle, "127.0.0.1", 0, compression=None) as listener:
        fake.port = next(iter(listener.sockets)).getsockname()[1]
        yield fake
