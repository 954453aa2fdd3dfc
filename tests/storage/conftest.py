"""An archive in a temporary folder, and a talk to put into it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.archive import Archive
from storage.database import Database, open_database
from storage.recorder import Recorder

SESSION = "20261226_100900_k3v9x2m8q7w4f5h6t2r9"
NOW = datetime(2026, 12, 26, 10, 9, tzinfo=UTC)
HEADER: dict[str, Any] = {
    "start_time": "2026-12-26T10:09:00.000Z",
    "user_id": None,
    "agent_id": None,
    "owner": "guest:1",
    "config": {"stt": "scripted", "llm": "rules", "tts": "espeak"},
    "mode": "open-mic",
    "language": "en",
}


def tone(seconds: float, rate_hz: int, hz: float = 440.0) -> bytes:
    """A tone at half of full scale."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (16_000 * np.sin(2 * np.pi * hz * t)).astype("<i2").tobytes()


def say(recorder: Recorder, position: int, pcm: bytes) -> int:
    """Feed microphone audio in frames of 20 ms; answers the position after it."""
    for at in range(0, len(pcm), 640):
        recorder.user_audio(position + at // 2, pcm[at : at + 640])
    return position + len(pcm) // 2


def one_turn(recorder: Recorder, turn: int, position: int) -> int:
    """A second of the user, two seconds of the agent of which one and a half are heard."""
    at_ms = position // 16
    file = 2 * turn - 1
    end = say(recorder, position, tone(1, 16_000))
    recorder.record("utterance", at_ms + 1000, {"file": f"{file:04d}_user.mp3", "from": position, "to": end})
    user = {"n": file, "role": "user", "content": f"question {turn}", "audio": f"{file:04d}_user.mp3"}
    recorder.record(
        "message", at_ms + 1000, {**user, "turn": turn, "start_ms": at_ms, "end_ms": at_ms + 1000}
    )
    reply, reply_id = tone(2, 24_000, 660), f"r{turn}"
    for offset in range(0, 48_000, 4800):
        pcm = reply[2 * offset : 2 * offset + 9600]
        recorder.agent_audio(reply_id, 24_000, offset, pcm, end + offset * 2 // 3)
    after = say(recorder, end, bytes(2 * 24_000))
    placed = {"reply_id": reply_id, "file": f"{file + 1:04d}_agent.mp3", "rate_hz": 24_000}
    recorder.record("placed", at_ms + 2500, {**placed, "runs": [[0, 36_000, end]]})
    agent = {"n": file + 1, "role": "assistant", "content": f"answer {turn}, and more", "turn": turn}
    heard = {"interrupted": True, "heard": f"answer {turn}", "audio": f"{file + 1:04d}_agent.mp3"}
    recorder.record("message", at_ms + 2500, {**agent, **heard})
    recorder.record("cost", at_ms + 2500, {"stage": "tts", "price": 0.01, "turn": turn})
    recorder.record("turn", at_ms + 2500, {"turn": turn, "endpoint_ms": 500, "cost": {"tts": 0.01}})
    recorder.sync()
    return after


def files_below(folder: Path) -> list[str]:
    """Names of all files."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Archive]:
    archive = Archive(folder / "conversations", folder / "audio_files", **options)
    await archive.start()
    try:
        yield archive
    finally:
        await archive.aclose()


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with running(tmp_path) as archive:
        yield archive


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A test that uses it runs twice: on SQLite and on PostgreSQL."""
    database = await open_database(database_url)
    yield database
    await database.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Let the writer's thread get somewhere: for what has no event to wait for. Fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
