"""One caller: a microphone that never stops, a loudspeaker, and a patient person in between.

    says the sentence -> waits -> listens to the whole reply -> thinks for a second -> says it again
                                  (every so often: talks over the reply)

Below is the leanest WebSocket there is, so that hundreds of callers fit on the client's core. All times are
the client's own (`monotonic`: uvloop's clock counts whole milliseconds); what the server says of itself is
used only to tell whose wait it was (see `_on_metrics`).
"""

import asyncio
import json
import random
import re
from array import array
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast

from bench.speech import Speech, as_message
from pipeline.contracts import FRAME_MS

FRAME_S = FRAME_MS / 1000
PREBUFFER_S = 0.08
PATIENCE_S = 5.0
"""A turn that is not answered within this counts as missed."""
BARGE_AFTER_S = 2.0
REPORT_S = 0.2
"""How often the page reports its play-out."""
DELTA = b'{"type": "agent_response"'


@dataclass(frozen=True, slots=True)
class Plan:
    """What all callers do."""

    speech: Speech
    barge_every: int = 0
    """Every so many replies are talked over; 0 = none."""
    reports: bool = False
    talk: bool = True
    work_ms: float = 390.0
    """From the text to the first sound, if it were for the scripted providers alone."""
    guess_frames: int = 0
    """Silent frames after which the server thinks ahead; 0 = it doesn't."""
    start: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Turn:
    """One question and what came of it. Times in seconds of the client's clock."""

    spoken_at: float
    """When the last sample of speech was sent."""
    last_frame: int
    barged_at: float | None = None
    """When the first sample of speech was sent, if it was said over a reply."""
    duck_at: float | None = None
    interrupted_at: float | None = None
    end_frame: int = 0
    """One past the last frame in which the server heard speech."""
    answered_at: float | None = None
    own_ms: float | None = None
    """What the server added: from the moment at which the answer could have left, had it cost nothing."""
    speculated: bool = False
    silence_ms: int = 0
    ended: bool = False
    cut: bool = False


class Loudspeaker:
    """Plays one reply with a small prebuffer, and counts the gaps."""

    def __init__(self, rate_hz: int, now: float) -> None:
        self.rate_hz, self.received, self.underruns = rate_hz, 0, 0
        self.complete = False
        self._clock, self._paused_at = now + PREBUFFER_S, 0.0

    def played_s(self, now: float) -> float:
        return max(0.0, (self._paused_at or now) - self._clock)

    def feed(self, size: int, now: float) -> None:
        self._check(now)
        self.received += size // 2

    def pause(self, now: float) -> None:
        self._paused_at = self._paused_at or now

    def resume(self, now: float) -> None:
        if self._paused_at:
            self._clock += now - self._paused_at
            self._paused_at = 0.0

    def is_over(self, now: float) -> bool:
        return self.complete and self.played_s(now) >= self.received / self.rate_hz

    def _check(self, now: float) -> None:
        short = self.played_s(now) - self.received / self.rate_hz
        if self.received and short > 0.001 and not self._paused_at:
            self.underruns += 1
            self._clock += short


class Caller(asyncio.Protocol):
    """One session over one raw socket."""

    def __init__(self, plan: Plan, host: str, seed: int, lateness: "array[float]") -> None:
        self.plan = plan
        self.turns: list[Turn] = []
        self.underruns = self.stale = self.false_ducks = self.errors = self.replies = 0
        self.lost = False
        self.connected = asyncio.get_running_loop().create_future()
        self._loop, self._host, self._lateness = asyncio.get_running_loop(), host, lateness
        self._random = random.Random(seed)
        self._buffer = bytearray()
        self._open = False
        self._sent: array[float] = array("d")
        self._due = 0.0
        self._clip = -1
        """The next frame of the sentence; -1 while silent."""
        self._say_at: float | None = None
        self._onset_at = 0.0
        self._barging = False
        self._speaker: Loudspeaker | None = None
        self._dropped = False
        self._response = ""
        self._reported_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- the socket ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.write(
            f"GET /ws/voice HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self.hang_up()
        self.lost = True
        if not self.connected.done():
            self.connected.set_exception(exc or ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        now, buffer = monotonic(), self._buffer
        buffer += data
        at = 0
        if not self._open:
            at = buffer.find(b"\r\n\r\n") + 4
            if at < 4:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self.connected.set_exception(ConnectionError(buffer[:40].decode("latin-1")))
                return
            self._open = True
            self._send({"type": "start", **self.plan.start})
        while len(buffer) - at >= 2:
            size, head = buffer[at + 1], 2
            if size == 126:
                if len(buffer) - at < 4:
                    break
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            elif size == 127:
                if len(buffer) - at < 10:
                    break
                size, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
            if len(buffer) - at < head + size:
                break
            self._message(buffer[at] & 15, buffer, at + head, size, now)
            at += head + size
        del buffer[:at]

    def _message(self, opcode: int, buffer: bytearray, at: int, size: int, now: float) -> None:
        if opcode == 2:
            self._on_audio(size, now)
        elif opcode == 1:
            if not buffer.startswith(DELTA, at):
                self._on_event(json.loads(buffer[at : at + size]), now)
        elif opcode == 9:
            self._transport.write(as_message(bytes(buffer[at : at + size]), 10))

    def _send(self, message: dict[str, Any]) -> None:
        self._transport.write(as_message(json.dumps(message).encode(), 1))

    # -- the microphone --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Switch the microphone on; the first sentence follows in a moment."""
        self._due = monotonic()
        if self.plan.talk:
            self._say_at = self._due + 0.5 + self._random.random()
        self._tick()

    def hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self.hang_up()
        self._transport.abort()

    def _tick(self) -> None:
        now = monotonic()
        self._lateness.append(now - self._due)
        while self._due <= now:
            self._send_frame()
            self._due += FRAME_S
        self._person(now)
        self._timer = self._loop.call_later(max(0.0, self._due - now), self._tick)

    def _send_frame(self) -> None:
        speech, count = self.plan.speech, len(self._sent)
        now = monotonic()
        self._sent.append(now)
        if self._clip < 0:
            self._transport.write(speech.room[count % len(speech.room)])
            return
        if self._clip == speech.onset_frame:
            self._onset_at = now
        self._transport.write(speech.clip[self._clip])
        self._clip += 1
        if self._clip == len(speech.clip):
            self._clip = -1
            turn = self._turn if self._barging else Turn(now, count)
            turn.spoken_at, turn.last_frame = now, count
            if not self._barging:
                self.turns.append(turn)
            self._barging = False

    # -- the person ------------------------------------------------------------------------------------------

    @property
    def _turn(self) -> Turn:
        return self.turns[-1]

    def _person(self, now: float) -> None:
        if self._say_at is not None and now >= self._say_at:
            self._clip, self._say_at = 0, None
            return
        speaker = self._speaker
        if speaker is None:
            waiting = self._clip < 0 and self._say_at is None and self.turns
            if waiting and now - self._turn.spoken_at > PATIENCE_S:
                self._think(now)  # missed: say it again
            return
        if self.plan.reports and now - self._reported_at >= REPORT_S:
            self._report(speaker, now)
        if speaker.is_over(now):
            self._stop_listening(now)
            self._think(now)
        elif self._clip < 0 and not self._barging and self._wants_to_barge(speaker, now):
            self._barging, self._clip = True, 0
            self.turns.append(Turn(now, 0))

    def _wants_to_barge(self, speaker: Loudspeaker, now: float) -> bool:
        every = self.plan.barge_every
        return bool(every) and self.replies % every == 0 and speaker.played_s(now) >= BARGE_AFTER_S

    def _think(self, now: float) -> None:
        self._say_at = now + 0.5 + self._random.random()

    def _report(self, speaker: Loudspeaker, now: float) -> None:
        self._reported_at = now
        played = min(speaker.played_s(now), speaker.received / speaker.rate_hz)
        self._send({"type": "playback", "response_id": self._response, "played_ms": round(played * 1000)})

    def _stop_listening(self, now: float) -> None:
        if self._speaker is not None:
            if self.plan.reports:
                self._report(self._speaker, now)
            self.underruns += self._speaker.underruns
            self._speaker = None

    # -- the server ------------------------------------------------------------------------------------------

    def _on_audio(self, size: int, now: float) -> None:
        if self._speaker is None:
            self.stale += self._dropped
            return
        if self.turns and self._turn.answered_at is None and not self._barging:
            self._turn.answered_at = now
        self._speaker.feed(size, now)

    def _on_event(self, event: dict[str, Any], now: float) -> None:
        match event["type"]:
            case "connected":
                if not self.connected.done():
                    self.connected.set_result(None)
            case "speech.stopped" if self.turns:
                self._turn.end_frame = event["at_ms"] // FRAME_MS
            case "audio.begin":
                self._speaker, self._dropped = Loudspeaker(event["rate"], now), False
                self._response, self.replies = event["response_id"], self.replies + 1
            case "audio.end" if self._speaker is not None:
                self._speaker.complete = True
                wanted = event["duration_ms"] * self._speaker.rate_hz / 1000
                self._turn.cut = abs(wanted - self._speaker.received) > self._speaker.rate_hz / 100
            case "duck":
                self._on_duck(now)
            case "unduck" if self._speaker is not None:
                self._speaker.resume(now)
            case "interrupted":
                if self._barging and self._turn.interrupted_at is None:
                    self._turn.interrupted_at = now
                self._stop_listening(now)
                self._dropped = True
            case "turn.metrics":
                self._on_metrics(event)
            case "error":
                self.errors += 1

    def _on_duck(self, now: float) -> None:
        if not self._barging:
            self.false_ducks += 1
        elif self._turn.duck_at is None:
            self._turn.duck_at, self._turn.barged_at = now, self._onset_at
        if self._speaker is not None:
            self._speaker.pause(now)

    def _on_metrics(self, event: dict[str, Any]) -> None:
        if self._barging or not self.turns or event.get("played") or event.get("interrupted"):
            return
        turn, plan = self._turn, self.plan
        silence = re.match(r"(\d+) ms of silence", event["reason"])
        if turn.answered_at is None or silence is None or turn.ended:
            return
        turn.ended, turn.speculated, turn.silence_ms = True, event["speculated"], int(silence[1])
        decided = self._sent[turn.end_frame + turn.silence_ms // FRAME_MS - 1]
        if turn.speculated:
            thought = self._sent[turn.end_frame + plan.guess_frames - 1] + plan.work_ms / 1000
            turn.own_ms = (turn.answered_at - max(decided, thought)) * 1000
        else:
            turn.own_ms = (turn.answered_at - decided) * 1000 - plan.work_ms
