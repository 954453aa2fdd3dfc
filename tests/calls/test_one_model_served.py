"""A real server with one model that hears and speaks: what is kept of a talk has the shape that three stages
give it."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.caller import Caller
from tests.support.live import SCRIPTED, LiveServer
from tests.support.speech import clip
from tests.support.stored import Stored

pytestmark = pytest.mark.slow

REPLY = "I can help with that."
COMMON = SCRIPTED | {
    "PARLEY_PIPELINE__GREETING": "Hello.",
    "PARLEY_LLM__SCRIPTED__TEXT": REPLY,
    "PARLEY_TALK__SCRIPTED__REPLY": REPLY,
}


async def talk(server: LiveServer) -> str:
    async with Caller.dialing(server.ws) as caller:
        await caller.hears("audio.end")
        await asyncio.sleep(1.0)
        await caller.play(clip("goforward.wav"))
        await caller.hears("turn.metrics")
        await asyncio.sleep(1.5)
        await caller.hang_up()
        return str(caller.call.session_id)


def shape(value: Any) -> Any:
    """Names and types, without the values."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items() if not k.endswith("_cost")}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return type(value).__name__ if not isinstance(value, float) else "int"


async def test_files_and_rows_are_those_of_three_stages(live_server: Callable[..., LiveServer]) -> None:
    kept = []
    for more in ({}, {"PARLEY_PIPELINE__ENGINE": "scripted"}):
        server = live_server(**COMMON, **more)
        session_id = await talk(server)
        async with httpx2.AsyncClient() as client:
            health = (await client.get(f"{server.url}/health")).json()
        assert ("talk" in health["stages"]) == bool(more)
        server.stop()
        kept.append(Stored(server.folder, session_id))
    stages, one = kept
    assert shape(one.conversation["messages"]) == shape(stages.conversation["messages"])
    assert set(one.conversation) == set(stages.conversation)
    for stored in kept:
        assert [m["role"] for m in stored.conversation["messages"]] == ["assistant", "user", "assistant"]
        assert stored.conversation["messages"][2]["content"] == REPLY
    for table in ("conversations", "turns"):
        ours, theirs = one.rows(table), stages.rows(table)
        assert [set(r) for r in ours] == [set(r) for r in theirs]
        assert len(ours) == 1
