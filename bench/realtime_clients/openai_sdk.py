"""Talks to a server's `/v1/realtime` with OpenAI's Python SDK (`openai`), unmodified.

    python openai_sdk.py http://127.0.0.1:8123                a spoken turn, a tool, a written turn
    python openai_sdk.py http://127.0.0.1:8123 --barge-in     speaks into a reply (which must be long)

For the first the model should call the function `weather` once in each turn. Every event that comes is held
against the SDK's own types. Prints one JSON object; exits 0 if all that it checks holds.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import soxr
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent

SPEECH = Path(__file__).parents[2] / "tests" / "data" / "goforward.wav"
SPEECH_S = 2.4
CHUNK_MS = 100
CHUNK_BYTES = 24 * 2 * CHUNK_MS
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather at a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
TYPES: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RealtimeServerEvent)


def speech() -> bytes:
    """The recording as PCM16 at 24 kHz, up to where its last word ends."""
    with wave.open(str(SPEECH)) as file:
        pcm = np.frombuffer(file.readframes(round(SPEECH_S * file.getframerate())), "<i2")
        return soxr.resample(pcm, file.getframerate(), 24_000).astype("<i2").tobytes()


class Talk:
    """A connection, a microphone that is always open, and what came of it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []
        self.misfits: list[str] = []
        self._say = b""
        self.spoke_until = 0.0
        self.first_audio_s: list[float] = []
        self._news = asyncio.Event()

    async def microphone(self) -> None:
        """Sends a chunk every 100 ms: speech if there is some to say, else silence."""
        start = time.monotonic()
        for n in range(10_000):
            chunk, self._say = self._say[:CHUNK_BYTES], self._say[CHUNK_BYTES:]
            if chunk and not self._say:
                self.spoke_until = time.monotonic()
            audio = base64.b64encode(chunk.ljust(CHUNK_BYTES, b"\0")).decode()
            await self.connection.input_audio_buffer.append(audio=audio)
            await asyncio.sleep(max(0.0, start + (n + 1) * CHUNK_MS / 1000 - time.monotonic()))

    def say(self, pcm: bytes) -> None:
        self._say += pcm

    async def listen(self) -> None:
        async for event in self.connection:
            try:
                TYPES.validate_python(event.to_dict(), strict=False)
            except pydantic.ValidationError as error:
                first = error.errors()[0]
                self.misfits.append(f"{event.type}: {first['loc']} {first['msg']}")
            if event.type == "response.output_audio.delta" and self.spoke_until:
                self.first_audio_s.append(round(time.monotonic() - self.spoke_until, 2))
                self.spoke_until = 0.0
            self.events.append(event)
            self._news.set()

    def all(self, kind: str, since: int = 0) -> list[Any]:
        return [event for event in self.events[since:] if event.type == kind]

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

    def sound_bytes(self, since: int = 0) -> int:
        return sum(len(base64.b64decode(e.delta)) for e in self.all("response.output_audio.delta", since))


async def begin(talk: Talk) -> dict[str, bool]:
    """Connect and say what the session is to be."""
    checks = {"session_created": await talk.until(lambda: talk.all("session.created"))}
    await talk.connection.session.update(
        session={
            "type": "realtime",
            "instructions": "Be brief.",
            "tools": [WEATHER],
            "audio": {
                "input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "server_vad"}},
                "output": {"voice": "alloy"},
            },
        }
    )
    checks["session_updated"] = await talk.until(lambda: talk.all("session.updated"))
    session = talk.all("session.updated")[-1].session if checks["session_updated"] else None
    checks["instructions_kept"] = session is not None and session.instructions == "Be brief."
    checks["tool_kept"] = session is not None and [t.name for t in session.tools] == ["weather"]
    return checks


async def turns(talk: Talk) -> dict[str, Any]:
    """A spoken turn with a tool in it, then a written one."""
    checks: dict[str, Any] = await begin(talk)
    talk.say(speech())
    calls = "response.function_call_arguments.done"
    checks["tool_called"] = await talk.until(lambda: talk.all(calls))
    order = [event.type for event in talk.events]
    heard = talk.all("conversation.item.input_audio_transcription.completed")
    checks["user_transcribed"] = bool(heard and heard[0].transcript.strip())
    checks["transcript_before_response"] = bool(heard) and order.index(heard[0].type) < order.index(
        "response.created"
    )
    await talk.until(lambda: talk.all("response.done"))
    if checks["tool_called"]:
        call = talk.all(calls)[0]
        checks["tool_arguments"] = json.loads(call.arguments) == {"place": "Rome"}
        at = len(talk.events)
        await talk.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 31 degrees."}
        )
        await talk.connection.response.create()
        checks["answered_after_tool"] = await talk.until(lambda: talk.all("response.done", at))
        said = talk.all("response.output_audio_transcript.done", at)
        checks["answer_text"] = bool(said and said[0].transcript.strip())
        checks["answer_audio_ms"] = talk.sound_bytes(at) // 48
        done = talk.all("response.done", at)
        checks["answer_completed"] = bool(done) and done[-1].response.status == "completed"

    at = len(talk.events)
    written = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And you?"}]}
    await talk.connection.conversation.item.create(item={"id": "item_mine", **written})
    await talk.connection.response.create(
        response={"tool_choice": "none", "output_modalities": ["text"], "metadata": {"mark": "x"}}
    )
    checks["written_answered"] = await talk.until(lambda: talk.all("response.done", at))
    added = talk.all("conversation.item.added", at)
    checks["item_id_kept"] = bool(added) and added[0].item.id == "item_mine"
    text = talk.all("response.output_text.done", at)
    checks["written_answer_text"] = bool(text and text[0].text.strip())
    created = talk.all("response.created", at)
    checks["metadata_kept"] = bool(created) and created[0].response.metadata == {"mark": "x"}

    await talk.connection.conversation.item.retrieve(item_id="item_mine")
    checks["item_retrieved"] = await talk.until(lambda: talk.all("conversation.item.retrieved"))
    await talk.connection.conversation.item.delete(item_id="item_mine")
    checks["item_deleted"] = await talk.until(lambda: talk.all("conversation.item.deleted"))
    await talk.connection.input_audio_buffer.clear()
    checks["buffer_cleared"] = await talk.until(lambda: talk.all("input_audio_buffer.cleared"))
    checks["no_errors"] = not talk.all("error")
    await talk.connection.response.cancel()
    checks["idle_cancel_is_an_error"] = await talk.until(lambda: talk.all("error"))
    error = talk.all("error")[-1].error if talk.all("error") else None
    checks["error_code"] = error is not None and error.code == "response_cancel_not_active"
    return checks


async def barge_in(talk: Talk) -> dict[str, Any]:
    """Speak while the reply is being sent."""
    checks: dict[str, Any] = await begin(talk)
    talk.say(speech())
    checks["answering"] = await talk.until(lambda: talk.sound_bytes() > 0)
    await asyncio.sleep(1.5)
    at = len(talk.events)
    talk.say(speech())
    checks["speech_started"] = await talk.until(lambda: talk.all("input_audio_buffer.speech_started", at))
    checks["cancelled"] = await talk.until(lambda: talk.all("response.done", at))
    if not checks["cancelled"]:
        return checks
    response = talk.all("response.done", at)[0].response
    checks["reason"] = response.status_details and response.status_details.reason
    checks["turn_detected"] = response.status == "cancelled" and checks["reason"] == "turn_detected"
    item = response.output[0]
    checks["item_incomplete"] = item.status == "incomplete"
    checks["sent_ms"] = talk.sound_bytes() // 48
    checks["sent_chars"] = len(item.content[0].transcript)
    await talk.connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=1500)
    checks["truncated"] = await talk.until(lambda: talk.all("conversation.item.truncated"))
    await talk.connection.conversation.item.retrieve(item_id=item.id)
    checks["retrieved"] = await talk.until(lambda: talk.all("conversation.item.retrieved"))
    if checks["retrieved"]:
        text = talk.all("conversation.item.retrieved")[-1].item.content[0].transcript
        checks["text_after_truncation"] = text
        checks["text_cut"] = 0 < len(text) < checks["sent_chars"]
    after = [e for e in talk.events if getattr(e, "response_id", "") == response.id]
    position = talk.events.index(talk.all("response.done", at)[0])
    checks["nothing_after_done"] = all(talk.events.index(e) < position for e in after)
    checks["answers_the_next_turn"] = await talk.until(
        lambda: talk.all("response.output_audio.delta", position)
    )
    checks["no_errors"] = not talk.all("error")
    return checks


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="where the server is, as http://host:port")
    parser.add_argument("--barge-in", action="store_true")
    parser.add_argument("--events", action="store_true", help="tell the events' names too")
    told = parser.parse_args()
    client = AsyncOpenAI(base_url=told.url.rstrip("/") + "/v1", api_key=os.environ.get("API_KEY", "any"))
    async with client.realtime.connect(model="gpt-realtime") as connection:
        talk = Talk(connection)
        tasks = [asyncio.create_task(talk.listen()), asyncio.create_task(talk.microphone())]
        checks = await (barge_in(talk) if told.barge_in else turns(talk))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    checks["fits_the_types"] = not talk.misfits
    passed = all(value is not False for value in checks.values())
    result = {"client": "openai-python", "passed": passed, **checks, "first_audio_s": talk.first_audio_s}
    if talk.misfits:
        result["misfits"] = sorted(set(talk.misfits))
    if told.events:
        result["events"] = [event.type for event in talk.events]
    print(json.dumps(result))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
