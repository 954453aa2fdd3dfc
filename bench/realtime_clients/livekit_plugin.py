"""Talks to a server's `/v1/realtime` with LiveKit's `AgentSession` and its OpenAI plugin, unmodified.

    python livekit_plugin.py http://127.0.0.1:8123                a spoken turn, a tool, a written turn
    python livekit_plugin.py http://127.0.0.1:8123 --barge-in     speaks into a reply (which must be long)

There is no room: a microphone and a loudspeaker of this script stand in for it, in real time. For the first
the model should call the function `weather` once in each turn. Prints one JSON object; exits 0 if all that it
checks holds.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer
from livekit.plugins import openai

SPEECH = Path(__file__).parents[2] / "tests" / "data" / "goforward.wav"
SPEECH_S = 2.4
RATE_HZ = 24_000
CHUNK_MS = 50
CHUNK_BYTES = RATE_HZ * 2 * CHUNK_MS // 1000

complaints: list[str] = []


class Complaints(logging.Handler):
    """Warnings and errors that LiveKit logs."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(f"{record.name}: {record.getMessage()}"[:300])


def speech() -> bytes:
    """The recording as PCM16 at 24 kHz, up to where its last word ends."""
    with wave.open(str(SPEECH)) as file:
        pcm = np.frombuffer(file.readframes(round(SPEECH_S * file.getframerate())), "<i2")
        return soxr.resample(pcm, file.getframerate(), RATE_HZ).astype("<i2").tobytes()


class Microphone(io.AudioInput):
    """Speech if there is some to say, else silence."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._say = b""
        self.spoke_until = 0.0
        self._next = time.monotonic()

    def say(self, pcm: bytes) -> None:
        self._say += pcm

    async def __anext__(self) -> rtc.AudioFrame:
        self._next += CHUNK_MS / 1000
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        chunk, self._say = self._say[:CHUNK_BYTES], self._say[CHUNK_BYTES:]
        if chunk and not self._say:
            self.spoke_until = time.monotonic()
        return rtc.AudioFrame(chunk.ljust(CHUNK_BYTES, b"\0"), RATE_HZ, 1, CHUNK_BYTES // 2)


class Loudspeaker(io.AudioOutput):
    """Plays in real time, and knows how much of it was heard."""

    def __init__(self, microphone: Microphone) -> None:
        super().__init__(
            label="loudspeaker",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=RATE_HZ,
        )
        self._microphone = microphone
        self.first_audio_s: list[float] = []
        self.received_s = 0.0
        self._begun, self._length = 0.0, 0.0
        self._end: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._length:
            self._begun = time.monotonic()
            self.on_playback_started(created_at=time.time())
            if self._microphone.spoke_until:
                self.first_audio_s.append(round(self._begun - self._microphone.spoke_until, 2))
                self._microphone.spoke_until = 0.0
        self._length += frame.duration
        self.received_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._length and self._end is None:
            self._end = asyncio.create_task(self._play_out())

    async def _play_out(self) -> None:
        await asyncio.sleep(max(0.0, self._begun + self._length - time.monotonic()))
        self._over(self._length, interrupted=False)

    def clear_buffer(self) -> None:
        if self._length:
            if self._end is not None:
                self._end.cancel()
            self._over(min(self._length, time.monotonic() - self._begun), interrupted=True)

    def _over(self, position: float, *, interrupted: bool) -> None:
        self._length, self._end = 0.0, None
        self.on_playback_finished(playback_position=position, interrupted=interrupted)


class Screen(io.TextOutput):
    """Where the transcript would be read."""

    def __init__(self) -> None:
        super().__init__(label="screen", next_in_chain=None)

    async def capture_text(self, text: str) -> None:
        pass

    def flush(self) -> None:
        pass


class Assistant(Agent):
    """Has one function."""

    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.asked_for: list[str] = []

    @function_tool
    async def weather(self, place: str) -> str:
        """The weather at a place."""
        self.asked_for.append(place)
        return f"Sunny in {place}, 31 degrees."


class Talk:
    """A session, and what it told."""

    def __init__(self, url: str) -> None:
        self.agent = Assistant()
        model = openai.realtime.RealtimeModel(
            base_url=url.rstrip("/") + "/v1",
            api_key=os.environ.get("API_KEY", "any"),
        )
        self.session: AgentSession[None] = AgentSession(
            llm=model, turn_handling={"interruption": {"resume_false_interruption": False}}
        )
        self.microphone = Microphone()
        self.loudspeaker = Loudspeaker(self.microphone)
        self.session.input.audio = self.microphone
        both = TranscriptSynchronizer(next_in_chain_audio=self.loudspeaker, next_in_chain_text=Screen())
        self.session.output.audio, self.session.output.transcription = both.audio_output, both.text_output
        self.heard: list[str] = []
        self.errors: list[str] = []
        self.states: list[str] = []
        self.server_events: list[dict[str, Any]] = []
        self.session.on("user_input_transcribed", lambda e: e.is_final and self.heard.append(e.transcript))
        self.session.on("error", lambda e: self.errors.append(str(e.error)[:300]))
        self.session.on("agent_state_changed", lambda e: self.states.append(e.new_state))

    async def begin(self) -> None:
        await self.session.start(self.agent)
        self.realtime.on("openai_server_event_received", self.server_events.append)

    @property
    def realtime(self) -> Any:
        """The plugin's own session."""
        return self.agent.realtime_llm_session

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.server_events if event["type"] == kind]

    def history(self) -> list[dict[str, Any]]:
        return [
            {"role": item.role, "text": item.text_content or "", "interrupted": item.interrupted}
            for item in self.session.history.items
            if item.type == "message"
        ]

    def said(self) -> list[dict[str, Any]]:
        return [item for item in self.history() if item["role"] == "assistant"]


async def until(holds: Callable[[], Any], within_s: float = 15) -> bool:
    """Wait for it; False if it does not come."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


async def turns(talk: Talk) -> dict[str, Any]:
    """A spoken turn with a tool in it, then a written one."""
    checks: dict[str, Any] = {}
    talk.microphone.say(speech())
    checks["user_transcribed"] = await until(lambda: any(text.strip() for text in talk.heard))
    checks["tool_ran"] = await until(lambda: talk.agent.asked_for == ["Rome"])
    checks["answer_played"] = await until(lambda: "speaking" in talk.states)
    checks["answer_in_history"] = await until(lambda: any(item["text"].strip() for item in talk.said()))
    checks["answer_audio_ms"] = round(talk.loudspeaker.received_s * 1000)
    checks["user_in_history"] = any(i["role"] == "user" and i["text"].strip() for i in talk.history())
    await until(lambda: talk.session.agent_state == "listening")

    at, received = len(talk.said()), talk.loudspeaker.received_s
    handle = talk.session.generate_reply(user_input="And what can you tell me?")
    try:
        await asyncio.wait_for(handle.wait_for_playout(), 20)
        checks["written_answered"] = True
    except TimeoutError:
        checks["written_answered"] = False
    checks["written_tool_ran"] = len(talk.agent.asked_for) == 2
    checks["written_audio"] = talk.loudspeaker.received_s > received
    checks["written_in_history"] = await until(lambda: len(talk.said()) > at)
    checks["roles"] = [item["role"] for item in talk.history()]
    checks["history_order"] = checks["roles"] == ["user", "assistant", "user", "assistant"]
    checks["none_interrupted"] = not any(item["interrupted"] for item in talk.history())

    await talk.realtime.update_instructions("Be brief and kind.")
    checks["instructions_changed"] = await until(
        lambda: any(
            event["session"].get("instructions") == "Be brief and kind."
            for event in talk.told("session.updated")
        )
    )
    return checks


async def barge_in(talk: Talk) -> dict[str, Any]:
    """Speak while the reply is being played."""
    checks: dict[str, Any] = {}
    talk.microphone.say(speech())
    checks["answering"] = await until(lambda: "speaking" in talk.states)
    await asyncio.sleep(2)
    talk.microphone.say(speech())
    checks["interrupted"] = await until(lambda: any(item["interrupted"] for item in talk.said()))
    checks["truncated"] = await until(lambda: talk.told("conversation.item.truncated"), 5)
    truncated = talk.told("conversation.item.truncated")
    checks["heard_ms"] = truncated[0]["audio_end_ms"] if truncated else 0
    dones = talk.told("response.done")
    details = (dones[0]["response"].get("status_details") or {}) if dones else {}
    checks["turn_detected"] = details.get("reason") == "turn_detected"
    output = dones[0]["response"]["output"] if dones else []
    checks["sent_chars"] = len(output[0]["content"][0]["transcript"]) if output else 0
    cut = [item for item in talk.said() if item["interrupted"]]
    checks["history_truncated"] = bool(cut) and 0 < len(cut[0]["text"]) < checks["sent_chars"]
    checks["user_in_history"] = any(i["role"] == "user" and i["text"].strip() for i in talk.history())
    checks["answers_the_next_turn"] = await until(lambda: talk.states.count("speaking") > 1)
    checks["history"] = talk.history()
    return checks


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="where the server is, as http://host:port")
    parser.add_argument("--barge-in", action="store_true")
    told = parser.parse_args()
    logging.getLogger().addHandler(Complaints(logging.WARNING))
    talk = Talk(told.url)
    await talk.begin()
    checks = await (barge_in(talk) if told.barge_in else turns(talk))
    # LiveKit cancels what the server has just cancelled itself, and knows that this is refused.
    refused = [e["error"] for e in talk.told("error")]
    checks["no_server_errors"] = all(e["code"] == "response_cancel_not_active" for e in refused)
    checks["no_errors"] = not talk.errors
    # A reply that is cut off by its own user is no trouble, though LiveKit warns of it.
    odd = [told for told in complaints if "before text/audio input is done" not in told]
    checks["no_complaints"] = not odd
    talk.session.interrupt()
    await talk.session.aclose()
    passed = all(value is not False for value in checks.values())
    result = {"client": "livekit-plugins-openai", "passed": passed, **checks}
    result |= {"first_audio_s": talk.loudspeaker.first_audio_s, "errors": talk.errors}
    result["refused"] = [error["code"] for error in refused]
    print(json.dumps({**result, "complaints": complaints}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
