"""Talks to a server's `/v1/realtime` with OpenAI's Agents SDK for Python (`openai-agents`), unmodified.

    python openai_agents.py http://127.0.0.1:8123                a spoken turn, a tool, a written turn
    python openai_agents.py http://127.0.0.1:8123 --barge-in     speaks into a reply (which must be long)

For the first the model should call the function `weather` once in each turn. Prints one JSON object; exits 0
if all that it checks holds.
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
from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimePlaybackTracker, RealtimeRunner, RealtimeSession

SPEECH = Path(__file__).parents[2] / "tests" / "data" / "goforward.wav"
SPEECH_S = 2.4
CHUNK_MS = 100
CHUNK_BYTES = 24 * 2 * CHUNK_MS

asked_for: list[str] = []
complaints: list[str] = []


class Complaints(logging.Handler):
    """Warnings and errors that the SDK logs."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(f"{record.name}: {record.getMessage()}"[:300])


@function_tool
def weather(place: str) -> str:
    """The weather at a place."""
    asked_for.append(place)
    return f"Sunny in {place}, 31 degrees."


def speech() -> bytes:
    """The recording as PCM16 at 24 kHz, up to where its last word ends."""
    with wave.open(str(SPEECH)) as file:
        pcm = np.frombuffer(file.readframes(round(SPEECH_S * file.getframerate())), "<i2")
        return soxr.resample(pcm, file.getframerate(), 24_000).astype("<i2").tobytes()


class Talk:
    """A session, a microphone that is always open, and a loudspeaker that plays in real time."""

    def __init__(self, session: RealtimeSession, tracker: RealtimePlaybackTracker) -> None:
        self.session, self._tracker = session, tracker
        self.events: list[Any] = []
        self.first_audio_s: list[float] = []
        self._say = b""
        self._spoke_until = 0.0
        self._to_play: list[tuple[str, int, bytes]] = []
        self._news = asyncio.Event()

    async def devices(self) -> None:
        """Sends a chunk every 100 ms, speech or silence, and plays what has come in that time."""
        start = time.monotonic()
        for n in range(10_000):
            chunk, self._say = self._say[:CHUNK_BYTES], self._say[CHUNK_BYTES:]
            if chunk and not self._say:
                self._spoke_until = time.monotonic()
            await self.session.send_audio(chunk.ljust(CHUNK_BYTES, b"\0"))
            left = CHUNK_BYTES
            while left and self._to_play:
                item_id, index, pcm = self._to_play.pop(0)
                if len(pcm) > left:
                    self._to_play.insert(0, (item_id, index, pcm[left:]))
                self._tracker.on_play_bytes(item_id, index, pcm[:left])
                left -= min(left, len(pcm))
            await asyncio.sleep(max(0.0, start + (n + 1) * CHUNK_MS / 1000 - time.monotonic()))

    def say(self, pcm: bytes) -> None:
        self._say += pcm

    async def listen(self) -> None:
        async for event in self.session:
            if event.type == "audio":
                if self._spoke_until:
                    self.first_audio_s.append(round(time.monotonic() - self._spoke_until, 2))
                    self._spoke_until = 0.0
                self._to_play.append((event.item_id, event.content_index, event.audio.data))
            elif event.type == "audio_interrupted":
                self._to_play.clear()
            self.events.append(event)
            self._news.set()

    def all(self, kind: str, since: int = 0) -> list[Any]:
        return [event for event in self.events[since:] if event.type == kind]

    def raw(self, kind: str, since: int = 0) -> list[dict[str, Any]]:
        """The server's own events of that type."""
        told = [e.data.data for e in self.all("raw_model_event", since) if e.data.type == "raw_server_event"]
        return [event for event in told if event.get("type") == kind]

    async def until(self, holds: Callable[[], Any], within_s: float = 15) -> bool:
        """Wait for it; False if it does not come."""
        end = time.monotonic() + within_s
        while not holds():
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, end - time.monotonic()))
            except TimeoutError:
                return bool(holds())
        return True

    def history(self) -> list[tuple[str, str]]:
        """What the SDK remembers: role and text of each message."""
        newest = self.all("history_updated")
        history = newest[-1].history if newest else []
        told = []
        for item in history:
            if item.type == "message":
                parts = [
                    getattr(p, "transcript", None) or getattr(p, "text", None) or "" for p in item.content
                ]
                told.append((item.role, " ".join(parts)))
        return told

    def remembers(self, role: str) -> bool:
        return any(who == role and text.strip() for who, text in self.history())


async def turns(talk: Talk) -> dict[str, Any]:
    """A spoken turn with a tool in it, then a written one."""
    checks: dict[str, Any] = {"session_updated": await talk.until(lambda: talk.raw("session.updated"))}
    talk.say(speech())
    checks["tool_started"] = await talk.until(lambda: talk.all("tool_start"))
    checks["tool_ran"] = await talk.until(lambda: talk.all("tool_end")) and asked_for == ["Rome"]
    at = len(talk.events)
    checks["audio_after_tool"] = await talk.until(lambda: talk.all("audio", at))
    checks["audio_end"] = await talk.until(lambda: talk.all("audio_end", at))
    checks["answer_audio_ms"] = sum(len(e.audio.data) for e in talk.all("audio", at)) // 48
    checks["user_in_history"] = await talk.until(lambda: talk.remembers("user"))
    checks["answer_in_history"] = await talk.until(lambda: talk.remembers("assistant"))
    await talk.until(lambda: talk.raw("response.done", at))

    at, before = len(talk.events), len(asked_for)
    await talk.session.send_message("And what can you tell me?")
    checks["written_tool_ran"] = await talk.until(lambda: len(asked_for) > before)
    checks["written_audio"] = await talk.until(lambda: talk.all("audio", at))
    checks["written_answered"] = await talk.until(lambda: talk.all("audio_end", at))
    await talk.until(lambda: len([1 for who, _ in talk.history() if who == "assistant"]) > 1, 5)
    roles = [role for role, _ in talk.history()]
    checks["history_order"] = roles == ["user", "assistant", "user", "assistant"]
    checks["history"] = talk.history()
    return checks


async def barge_in(talk: Talk) -> dict[str, Any]:
    """Speak while the reply is being played."""
    checks: dict[str, Any] = {"session_updated": await talk.until(lambda: talk.raw("session.updated"))}
    talk.say(speech())
    checks["answering"] = await talk.until(lambda: talk.all("audio"))
    await asyncio.sleep(2)
    at = len(talk.events)
    talk.say(speech())
    checks["interrupted"] = await talk.until(lambda: talk.all("audio_interrupted", at))
    checks["truncated"] = await talk.until(lambda: talk.raw("conversation.item.truncated", at))
    truncated = talk.raw("conversation.item.truncated", at)
    checks["heard_ms"] = truncated[0]["audio_end_ms"] if truncated else 0
    checks["response_done"] = await talk.until(lambda: talk.raw("response.done", at))
    done = talk.raw("response.done", at)
    details = (done[0]["response"].get("status_details") or {}) if done else {}
    checks["turn_detected"] = details.get("reason") == "turn_detected"
    position = len(talk.events)
    checks["answers_the_next_turn"] = await talk.until(lambda: talk.all("audio", position))
    output = done[0]["response"]["output"] if done else []
    sent = len(output[0]["content"][0]["transcript"]) if output else 0
    said = [text for who, text in talk.history() if who == "assistant"]
    checks["sent_chars"], checks["history_after"] = sent, talk.history()
    checks["history_truncated"] = bool(said) and 0 < len(said[0]) < sent
    checks["user_in_history"] = talk.remembers("user")
    return checks


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="where the server is, as http://host:port")
    parser.add_argument("--barge-in", action="store_true")
    told = parser.parse_args()
    set_tracing_disabled(True)
    logging.getLogger().addHandler(Complaints(logging.WARNING))
    agent = RealtimeAgent(name="Assistant", instructions="Be brief.", tools=[weather])
    tracker = RealtimePlaybackTracker()
    runner = RealtimeRunner(agent, config={"async_tool_calls": True})
    session = await runner.run(
        model_config={
            "url": told.url.replace("http", "ws", 1).rstrip("/") + "/v1/realtime?model=gpt-realtime",
            "api_key": os.environ.get("API_KEY", "any"),
            "playback_tracker": tracker,
            "initial_model_settings": {
                "input_audio_transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
            },
        }
    )
    async with session:
        talk = Talk(session, tracker)
        tasks = [asyncio.create_task(talk.listen()), asyncio.create_task(talk.devices())]
        checks = await (barge_in(talk) if told.barge_in else turns(talk))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    errors = [str(event.error)[:300] for event in talk.all("error")]
    odd = [e.data for e in talk.all("raw_model_event") if e.data.type == "exception"]
    checks["no_errors"] = not errors and not odd
    checks["no_complaints"] = not complaints
    passed = all(value is not False for value in checks.values())
    result = {"client": "openai-agents-python", "passed": passed, **checks}
    result |= {"first_audio_s": talk.first_audio_s, "errors": errors + [str(e) for e in odd]}
    print(json.dumps({**result, "complaints": complaints}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
