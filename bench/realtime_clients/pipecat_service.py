"""Talks to a server's `/v1/realtime` with Pipecat's `OpenAIRealtimeLLMService`, unmodified.

    python pipecat_service.py http://127.0.0.1:8123                a spoken turn, a tool, a written turn
    python pipecat_service.py http://127.0.0.1:8123 --barge-in     speaks into a reply (which must be long)

A pipeline as for a call, with a transport of this script's: a microphone and a loudspeaker in real time. For
the first the model should call the function `weather` once in each turn. Prints one JSON object; exits 0 if
all that it checks holds.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    TranscriptionFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

SPEECH = Path(__file__).parents[2] / "tests" / "data" / "goforward.wav"
SPEECH_S = 2.4
RATE_HZ = 24_000
CHUNK_MS = 50
CHUNK_BYTES = RATE_HZ * 2 * CHUNK_MS // 1000


def speech() -> bytes:
    """The recording as PCM16 at 24 kHz, up to where its last word ends."""
    with wave.open(str(SPEECH)) as file:
        pcm = np.frombuffer(file.readframes(round(SPEECH_S * file.getframerate())), "<i2")
        return soxr.resample(pcm, file.getframerate(), RATE_HZ).astype("<i2").tobytes()


class Microphone(FrameProcessor):
    """Speech if there is some to say, else silence, from `open` on."""

    def __init__(self) -> None:
        super().__init__()
        self._say = b""
        self.spoke_until = 0.0

    def say(self, pcm: bytes) -> None:
        self._say += pcm

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)

    async def open(self) -> None:
        start = time.monotonic()
        for n in range(20_000):
            chunk, self._say = self._say[:CHUNK_BYTES], self._say[CHUNK_BYTES:]
            if chunk and not self._say:
                self.spoke_until = time.monotonic()
            audio = chunk.ljust(CHUNK_BYTES, b"\0")
            await self.push_frame(InputAudioRawFrame(audio=audio, sample_rate=RATE_HZ, num_channels=1))
            await asyncio.sleep(max(0.0, start + (n + 1) * CHUNK_MS / 1000 - time.monotonic()))


class Loudspeaker(BaseOutputTransport):
    """Plays in real time."""

    def __init__(self, microphone: Microphone) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_sample_rate=RATE_HZ))
        self._microphone = microphone
        self.first_audio_s: list[float] = []
        self.played_ms = 0.0
        self._busy_until = 0.0

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        now = time.monotonic()
        if any(frame.audio) and self._microphone.spoke_until:
            self.first_audio_s.append(round(now - self._microphone.spoke_until, 2))
            self._microphone.spoke_until = 0.0
        seconds = len(frame.audio) / 2 / frame.sample_rate
        self.played_ms += seconds * 1000
        self._busy_until = max(self._busy_until, now) + seconds
        await asyncio.sleep(self._busy_until - now)
        return True


class Watch(BaseObserver):
    """What went through the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.transcripts: list[str] = []
        self.errors: list[str] = []
        self.interruptions = 0
        self._seen: set[int] = set()

    async def on_push_frame(self, data: FramePushed) -> None:
        frame = data.frame
        if frame.id in self._seen:
            return
        self._seen.add(frame.id)
        if isinstance(frame, TranscriptionFrame):
            self.transcripts.append(frame.text)
        elif isinstance(frame, ErrorFrame):
            self.errors.append(frame.error[:300])
        elif isinstance(frame, InterruptionFrame):
            self.interruptions += 1


class Talk:
    """A pipeline, and what came of it."""

    def __init__(self, url: str, first: str) -> None:
        self.asked_for: list[str] = []
        weather = FunctionSchema(
            "weather", "The weather at a place.", {"place": {"type": "string"}}, ["place"]
        )
        self.llm = OpenAIRealtimeLLMService(
            api_key=os.environ.get("API_KEY", "any"),
            base_url=url.replace("http", "ws", 1).rstrip("/") + "/v1/realtime",
            settings=OpenAIRealtimeLLMService.Settings(
                model="gpt-realtime",
                system_instruction="Be brief.",
                session_properties=events.SessionProperties(
                    audio=events.AudioConfiguration(
                        input=events.AudioInput(
                            transcription=events.InputAudioTranscription(),
                            turn_detection=events.SemanticTurnDetection(),
                        )
                    )
                ),
            ),
        )
        self.llm.register_function("weather", self._weather)
        messages: list[Any] = [{"role": "user", "content": first}] if first else []
        self.context = LLMContext(messages, ToolsSchema(standard_tools=[weather]))
        memory = LLMContextAggregatorPair(self.context)
        self.microphone, self.watch = Microphone(), Watch()
        self.loudspeaker = Loudspeaker(self.microphone)
        pipeline = Pipeline([self.microphone, memory.user(), self.llm, self.loudspeaker, memory.assistant()])
        rates = PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ)
        self.worker = PipelineWorker(pipeline, params=rates, observers=[self.watch])

    async def _weather(self, call: Any) -> None:
        self.asked_for.append(call.arguments["place"])
        await call.result_callback({"sky": "sunny", "degrees": 31})

    def history(self) -> list[tuple[str, str]]:
        told = []
        for message in self.context.get_messages():
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, list):
                content = " ".join(part.get("text", "") for part in content)
            if isinstance(message, dict) and message.get("role") in ("user", "assistant") and content:
                told.append((message["role"], content))
        return told

    def said(self) -> list[str]:
        return [text for role, text in self.history() if role == "assistant"]


async def until(holds: Callable[[], Any], within_s: float = 15) -> bool:
    """Wait for it; False if it does not come."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


async def turns(talk: Talk) -> dict[str, Any]:
    """The written turn that the context begins with, then a spoken one; in each a tool."""
    checks: dict[str, Any] = {}
    checks["written_tool_ran"] = await until(lambda: talk.asked_for == ["Rome"])
    checks["written_answered"] = await until(lambda: len(talk.said()) == 1)
    checks["written_audio_ms"] = round(talk.loudspeaker.played_ms)
    await asyncio.sleep(0.5)
    talk.microphone.say(speech())
    checks["user_transcribed"] = await until(lambda: any(text.strip() for text in talk.watch.transcripts))
    checks["tool_ran"] = await until(lambda: talk.asked_for == ["Rome", "Rome"])
    checks["spoken_answered"] = await until(lambda: len(talk.said()) == 2)
    checks["spoken_audio_ms"] = round(talk.loudspeaker.played_ms) - checks["written_audio_ms"]
    checks["history"] = talk.history()
    roles = [role for role, _ in talk.history()]
    checks["history_order"] = roles == ["user", "assistant", "user", "assistant"]
    checks["user_in_history"] = bool(talk.watch.transcripts) and any(
        text.strip() == talk.watch.transcripts[0].strip() for role, text in talk.history() if role == "user"
    )
    return checks


async def barge_in(talk: Talk) -> dict[str, Any]:
    """Speak while the reply is being played."""
    checks: dict[str, Any] = {}
    sent: list[dict[str, Any]] = []
    send = talk.llm.send_client_event

    async def noted(event: Any) -> None:
        sent.append(event.model_dump())
        await send(event)

    talk.llm.send_client_event = noted
    await until(lambda: any(event["type"] == "session.update" for event in sent), 3)
    talk.microphone.say(speech())
    checks["answering"] = await until(lambda: talk.loudspeaker.first_audio_s)
    await asyncio.sleep(2)
    before = talk.watch.interruptions
    talk.microphone.say(speech())
    checks["interrupted"] = await until(lambda: talk.watch.interruptions > before)
    cuts: list[dict[str, Any]] = []

    def cut() -> bool:
        cuts[:] = [event for event in sent if event["type"] == "conversation.item.truncate"]
        return bool(cuts)

    checks["truncates"] = await until(cut, 5)
    checks["heard_ms"] = cuts[0]["audio_end_ms"] if cuts else 0
    if cuts:
        item = await asyncio.wait_for(talk.llm.retrieve_conversation_item(cuts[0]["item_id"]), 5)
        text = item.content[0].transcript if item.content else ""
        checks["text_after_truncation"] = text
        checks["text_cut"] = 0 < len(text) < 200
    checks["answer_in_history"] = await until(lambda: len(talk.said()) == 1)
    # Pipecat remembers what came before the sound that was played last: no more than was sent until then.
    checks["remembered_chars"] = len(talk.said()[0]) if talk.said() else 0
    checks["history_truncated"] = 0 < checks["remembered_chars"] < 160
    played = talk.loudspeaker.played_ms
    checks["answers_the_next_turn"] = await until(
        lambda: len(talk.loudspeaker.first_audio_s) > 1 and talk.loudspeaker.played_ms > played + 1000
    )
    checks["user_in_history"] = any(role == "user" for role, _ in talk.history())
    checks["history"] = talk.history()
    return checks


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="where the server is, as http://host:port")
    parser.add_argument("--barge-in", action="store_true")
    told = parser.parse_args()
    complaints: list[str] = []
    logger.remove()
    note = "{name}: {message}"
    logger.add(lambda line: complaints.append(str(line).strip()[:300]), level="WARNING", format=note)
    talk = Talk(told.url, "" if told.barge_in else "What is the weather like?")
    runner = WorkerRunner(handle_sigint=False)
    started = asyncio.Event()
    talk.worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    await runner.add_workers(talk.worker)
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(started.wait(), 10)
    microphone = asyncio.create_task(talk.microphone.open())
    if not told.barge_in:
        await talk.worker.queue_frame(LLMRunFrame())
    checks = await (barge_in(talk) if told.barge_in else turns(talk))
    checks["no_errors"] = not talk.watch.errors
    checks["no_complaints"] = not complaints
    passed = all(value is not False for value in checks.values())
    result = {"client": "pipecat-ai", "passed": passed, **checks}
    result |= {"first_audio_s": talk.loudspeaker.first_audio_s, "errors": talk.watch.errors}
    print(json.dumps({**result, "complaints": complaints}))
    microphone.cancel()
    if told.barge_in:
        await talk.worker.cancel()  # rather than wait for the end of the reply
    else:
        await talk.worker.queue_frame(EndFrame())
    await asyncio.wait([running], timeout=5)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
