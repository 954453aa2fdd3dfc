"""Many come at the same moment to a session that was made over REST, at two workers: it is opened once."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.support.live import LiveServer

from .test_sockets import FAST

SESSIONS = 6
COMERS = 4
"""Of each kind, to each session: with two workers, one in eight times all would land at the same one."""


@pytest.mark.slow
async def test_a_session_that_many_come_to_at_once_is_opened_once(tmp_path: Path, database_url: str) -> None:
    settings = {**FAST, "PARLEY_STORAGE__URL": database_url}
    server = await asyncio.to_thread(LiveServer, tmp_path, settings, arguments=["--workers", "2"])
    try:
        # A connection for each request: the kernel picks the worker.
        async with httpx2.AsyncClient(
            base_url=server.url, headers={"Connection": "close"}, timeout=30
        ) as http:
            for _ in range(SESSIONS):
                await one_session(server, http)
    finally:
        assert await asyncio.to_thread(server.stop) == 0
    assert "ERROR" not in server.log
    assert len(list((tmp_path / "conversations").glob("*.json"))) == SESSIONS


async def one_session(server: LiveServer, http: httpx2.AsyncClient) -> None:
    session_id = (await http.post("/sessions/", json={})).json()["id"]
    path = f"/sessions/{session_id}"
    messages = (http.post(f"{path}/message", json={"message": f"number {n}"}) for n in range(COMERS))
    starts = (http.post(f"{path}/start") for _ in range(COMERS))
    came, answers = await asyncio.gather(
        asyncio.gather(*(come(f"{server.ws}?session_id={session_id}") for _ in range(COMERS))),
        asyncio.gather(*messages, *starts),
    )
    assert set(came) == {session_id}
    assert [answer.status_code for answer in answers] == [200] * (2 * COMERS), [a.text for a in answers]
    turns = sorted(answer.json()["turn"] for answer in answers[:COMERS])
    assert turns == list(range(1, COMERS + 1))  # in one and the same talk
    assert (await http.post(f"{path}/end")).json()["is_active"] is False
    stored = json.loads((server.folder / "conversations" / f"{session_id}.json").read_text())
    said: list[Any] = [m["content"] for m in stored["messages"] if m["role"] == "user"]
    assert sorted(said) == [f"number {n}" for n in range(COMERS)]
    journal = (server.folder / "conversations" / f"{session_id}.journal").read_bytes()
    assert journal.count(b'"start_time"') == 1


async def come(url: str) -> str:
    """Connect. Returns which session that was; whoever comes later may take the place away."""
    async with connect(url) as ws:
        connected = json.loads(await ws.recv())
        with suppress(websockets.ConnectionClosed, TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await ws.recv()
        return str(connected["session_id"])
