"""A client of OpenAI's wire on the virtual clock: a real session, scripted stages, the codec, no socket.

Every event that the server tells is held against the types of the `openai` package.
"""

import asyncio
import base64
import itertools
import json
from collections.abc import Mapping
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import ConfigDict, TypeAdapter

from pipeline.setup import Setup
from server.wire.realtime.codec import Realtime
from server.wire.realtime.terms import Terms
from server.wire.realtime.told import SERVER_EVENTS
from tests.support.call import SILENT, VOICED, Call, open_call

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent, config=ConfigDict(strict=True))
RATE_HZ = 24_000


class RealtimeCall:
    """The client. Sound goes in at 24 kHz, as voice or silence."""

    def __init__(self, call: Call, *, transcribes: bool = False) -> None:
        self.call, self.session = call, call.session
        self.terms = Terms("sess_1", "some-model", 0, self.session.floor.timing)
        self.terms.begin(transcribes=transcribes, voice="", speed=1.0)
        self.codec = Realtime(self.session, self.terms)
        self.events: list[dict[str, Any]] = []
        for event in self.codec.begin(self.session.attach(lambda: None)):
            self._told(event)
        self._reader = asyncio.get_running_loop().create_task(self._read())

    # -- what the client says ------------------------------------------------------------------------------

    async def send(self, kind: str, **fields: Any) -> None:
        await self.codec.take(json.dumps({"type": kind, **fields}))
        await asyncio.sleep(0)

    async def update(self, **session: Any) -> None:
        await self.send("session.update", session={"type": "realtime", **session})

    async def manual(self) -> None:
        """The client says itself when the user is done."""
        await self.update(audio={"input": {"turn_detection": None, "transcription": {}}})

    async def speak(self, ms: int) -> None:
        await self._sound(VOICED, ms)

    async def quiet(self, ms: int) -> None:
        await self._sound(SILENT, ms)

    async def append(self, pcm: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    async def write(self, text: str, **fields: Any) -> None:
        """An item of the user's."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send("conversation.item.create", item={**item, **fields})

    async def respond(self, **response: Any) -> None:
        await self.send("response.create", response=response)

    async def wait(self, ms: int) -> None:
        """No microphone at all."""
        await asyncio.sleep(ms / 1000)

    async def end(self) -> None:
        await self.session.end("the client hung up")
        await self._reader

    # -- what it was told ----------------------------------------------------------------------------------

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["type"] == kind]

    def last(self, kind: str) -> dict[str, Any]:
        return self.of(kind)[-1]

    def kinds(self, *without: str) -> list[str]:
        """Their types in order, runs of one type as one."""
        kinds = (e["type"] for e in self.events if e["type"] not in without)
        return [kind for kind, _ in itertools.groupby(kinds)]

    @property
    def sound(self) -> bytes:
        return b"".join(base64.b64decode(e["delta"]) for e in self.of("response.output_audio.delta"))

    def forget(self) -> None:
        self.events.clear()

    # -- inside --------------------------------------------------------------------------------------------

    async def _sound(self, frame: bytes, ms: int) -> None:
        """20 ms at a time; 24 kHz is three samples for two."""
        wide = (frame[:2] * 480)[:960] if any(frame) else bytes(960)
        for _ in range(ms // 20):
            await asyncio.sleep(0.02)
            await self.append(wide)

    async def _read(self) -> None:
        outbox = self.session.outbox
        while await outbox.wait():
            while (item := outbox.take()) is not None:
                self._told(item)

    def _told(self, item: Any) -> None:
        for message in self.codec.encode(item):
            event = json.loads(message["text"])
            SERVER_EVENT.validate_json(message["text"])
            assert event["type"] in SERVER_EVENTS
            self.events.append(event)


async def open_realtime(
    *, transcribes: bool = False, setup: Mapping[str, Any] | None = None, **stages: Any
) -> RealtimeCall:
    """A call over scripted stages, as `open_call` takes them."""
    made = Setup(greeting="", by_items=True, **(setup or {}))
    call = await open_call(setup=made, attach=False, **stages)
    return RealtimeCall(call, transcribes=transcribes)
