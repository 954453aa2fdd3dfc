"""A caller who leaves in mid-reply and never comes back, at a real server on its real event loop."""

import asyncio
import json
from collections.abc import Callable

import pytest

from server.client import Audio, VoiceClient
from tests.support.live import SCRIPTED, LiveServer


@pytest.mark.slow
async def test_a_talk_left_in_mid_reply_ends_with_its_window(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(**SCRIPTED, PARLEY_PIPELINE__RESUME_WINDOW_S="1")
    call = await VoiceClient.connect(server.ws)
    async for event in call:
        if isinstance(event, Audio):
            break
    await call.drop()
    file = server.folder / "conversations" / f"{call.session_id}.json"
    async with asyncio.timeout(20):
        while not (file.exists() and json.loads(file.read_text()).get("end_time")):
            await asyncio.sleep(0.1)
    [greeting] = json.loads(file.read_text())["messages"]
    assert (greeting["interrupted"], greeting["type"]) == (True, "welcome")
