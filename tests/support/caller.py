"""A caller: an open microphone and a loudspeaker at a running server, in real time.

    async with Caller.dialing(server.ws) as caller:
        start_ms = await caller.play(pcm)           # where it began on the microphone's clock
        event = await caller.hears("interrupted")   # any event that has come or comes
        await caller.hang_up()

The microphone never closes: between recordings it sends silence. Every event is stamped with how much
microphone sound had been sent when it came, so delays can be told in the clock that the server hears by. The
loudspeaker is `server.player`: it obeys duck, unduck and interrupted, and reports what it played.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from server.client import Audio, VoiceClient

FRAME_MS = 20
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Something the server sent."""

    type: str
    data: Any
    mic_ms: int
    """Microphone sound sent before it came."""
    at_s: float


class Caller:
    """One call. Use `dialing`."""

    def __init__(self, call: VoiceClient) -> None:
        self.call = call
        self.moments: list[Moment] = []
        """Every event, and the first piece of each reply's sound as type "sound", in order."""
        self.lateness_s = 0.0
        """How late the microphone's worst frame was: this machine's share in any delay."""
        self._frame_bytes = call.input_rate_hz * 2 * FRAME_MS // 1000
        self._to_say = bytearray()
        self._sent = 0
        self._silent = False
        self._news = asyncio.Condition()
        self._closed = False
        self._first_s = 0.0

    @classmethod
    @asynccontextmanager
    async def dialing(cls, url: str, **start: Any) -> AsyncIterator["Caller"]:
        async with await VoiceClient.connect(url, **start) as call:
            caller = cls(call)
            ear = asyncio.create_task(caller._listen(), name="listening")
            mouth = asyncio.create_task(caller._speak(), name="speaking")
            try:
                yield caller
            finally:
                for task in (ear, mouth):
                    task.cancel()
                results = await asyncio.gather(ear, mouth, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    @property
    def mic_ms(self) -> int:
        """Microphone sound sent so far."""
        return self._sent * FRAME_MS

    def sent_at(self, mic_ms: float) -> float:
        """The loop's time at which the microphone had recorded that much."""
        return self._first_s + mic_ms / 1000

    def mic_ms_at(self, at_s: float) -> float:
        """How much the microphone had recorded at that time of the loop."""
        return (at_s - self._first_s) * 1000

    @property
    def rates(self) -> tuple[int, int]:
        """Input and output rate."""
        return self.call.connected["input_rate"], self.call.connected["output_rate"]

    async def play(self, pcm: bytes) -> int:
        """Say a recording (at the call's input rate) to its end. Returns where it began, in mic ms."""
        start_ms = self.mic_ms + len(self._to_say) // self._frame_bytes * FRAME_MS
        self._to_say += pcm + bytes(-len(pcm) % self._frame_bytes)
        end_ms = start_ms + -(-len(pcm) // self._frame_bytes) * FRAME_MS
        await self.recorded(end_ms)
        return start_ms

    async def pause(self, ms: float) -> None:
        """Say nothing for that long."""
        await self.recorded(self.mic_ms + ms)

    async def recorded(self, mic_ms: float) -> None:
        """Wait until the microphone has sent that much."""
        async with asyncio.timeout(PATIENCE_S + (mic_ms - self.mic_ms) / 1000), self._news:
            await self._news.wait_for(lambda: self.mic_ms >= mic_ms or self._closed)

    async def close_microphone(self) -> None:
        """Send nothing more, not even silence."""
        self._silent = True

    async def hears(
        self,
        kind: str,
        when: Callable[[Any], bool] = lambda _data: True,
        since: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> Moment:
        """The first such event from `moments[since]` on; waits for it."""

        def found() -> Moment | None:
            return next((m for m in self.moments[since:] if m.type == kind and when(m.data)), None)

        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._news:
                await self._news.wait_for(lambda: found() is not None or self._closed)
        moment = found()
        came = [(m.mic_ms, m.type, m.data.get("text") or m.data.get("message", "")) for m in self.moments]
        assert moment is not None, f"no {kind} came, but {came}"
        return moment

    async def is_idle(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until everything that the agent says has been played."""
        async with asyncio.timeout(patience_s):
            while not self.call.player.is_idle:
                await self.pause(100)

    async def hang_up(self) -> None:
        """Say what was played last, end the call, wait until it is written down."""
        self._silent = True
        await self.call.report()
        await self.call.end()
        await self.hears("ended")
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self._closed)

    def all(self, kind: str) -> list[Moment]:
        return [m for m in self.moments if m.type == kind]

    def finals(self) -> list[Moment]:
        return [m for m in self.all("transcription") if m.data["final"]]

    def replies(self) -> list[str]:
        """The whole text of each reply, the greeting's included."""
        return [m.data["text"] for m in self.all("agent_response") if m.data["final"]]

    async def _listen(self) -> None:
        sounding: set[str] = set()
        try:
            async for event in self.call:
                if isinstance(event, Audio):
                    if event.response_id in sounding:
                        continue
                    sounding.add(event.response_id)
                    kind, data = "sound", {"response_id": event.response_id}
                else:
                    kind, data = event.type, dict(event.data)
                self.moments.append(Moment(kind, data, self.mic_ms, event.at_s))
                await self._tell()
        finally:
            self._closed = True
            await self._tell()

    async def _speak(self) -> None:
        clock = asyncio.get_running_loop().time
        self._first_s = start_s = clock()
        while not self._closed:
            due_s = start_s + (self._sent + 1) * FRAME_MS / 1000
            await asyncio.sleep(max(0.0, due_s - clock()))
            self.lateness_s = max(self.lateness_s, clock() - due_s)
            frame = bytes(self._to_say[: self._frame_bytes])
            del self._to_say[: self._frame_bytes]
            if not self._silent and not self._closed:
                await self.call.send_audio(frame.ljust(self._frame_bytes, b"\0"))
            self._sent += 1
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
