"""A whole server on either database: a talk becomes rows."""

import asyncio
import json
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect

from storage.conversations import Conversations
from storage.database import open_database
from storage.usage import Usage
from tests.support.live import SCRIPTED, LiveServer


@pytest.mark.slow
async def test_a_talk_becomes_rows(live_server: Callable[..., LiveServer], database_url: str) -> None:
    server = await asyncio.to_thread(live_server, **SCRIPTED, PARLEY_STORAGE__URL=database_url)
    async with asyncio.timeout(60), connect(server.ws) as ws:
        session_id = json.loads(await ws.recv())["session_id"]
        await ws.send(json.dumps({"type": "text_message", "message": "hello\0 there"}))
        async for data in ws:
            if isinstance(data, str) and json.loads(data)["type"] == "turn.metrics":
                break
        await ws.send(json.dumps({"type": "end"}))
        async for _ in ws:
            pass
    database = await open_database(database_url)
    try:
        row = await Conversations(database).get(session_id)
        messages = await Conversations(database).messages(session_id)
        asked = await Usage(database).of_session(session_id)
    finally:
        await database.aclose()
    assert row is not None
    assert (row["turns"], row["end_reason"], row["config"]["llm"]) == (1, "ended by the client", "scripted")
    assert [m["role"] for m in messages] == ["user", "assistant"]
    assert {request["stage"] for request in asked} == {"llm", "tts"}
    assert await asyncio.to_thread(server.stop) == 0
    assert "ERROR" not in server.log
