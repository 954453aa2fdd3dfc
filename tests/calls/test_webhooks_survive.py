"""What happened is told once, whatever becomes of the server that it happened in."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from server.rest import ParleyClient
from tests.support.live import SCRIPTED, LiveServer
from tests.support.receiver import SECRET, Answer, Receiver

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_killed_server_s_talk_is_told_by_the_next(
    live_server: Callable[..., LiveServer], workers: str
) -> None:
    async with Receiver() as receiver:
        receiver.answers = [Answer(hangs=True)]  # the tool's: it is under way when the server dies
        settings = {
            **SCRIPTED,
            "PARLEY_LLM__SCRIPTED__TOOL": "clock",
            "PARLEY_LLM__SCRIPTED__TEXT": '["It is five."]',
            "PARLEY_PIPELINE__RESUME_WINDOW_S": "0",
            "PARLEY_WEBHOOKS__URLS": receiver.url,
            "PARLEY_WEBHOOKS__TIMEOUT_MS": "1000",
            "WEBHOOK_SECRET": SECRET,
        }
        server = await asyncio.to_thread(lambda: live_server(**settings))
        async with ParleyClient(server.url) as client:
            session = await client.create_session(mode="text")
            said = await client.say(session["id"], "What time is it?")
            assert said["response"] == "It is five."
            await receiver.until(lambda: len(receiver.got) == 1)
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        assert [got.event["type"] for got in receiver.got] == ["tool.ran"]

        again = LiveServer(server.folder, settings, arguments=("--workers", workers))
        try:
            # The dead server's claim runs out half a minute after its time-out.
            await receiver.until(
                lambda: len(receiver.of("tool.ran")) > 1 and bool(receiver.of("session.ended")), within_s=90
            )
            await asyncio.sleep(1)
            # (On a busy machine an answer may come too late: the same is sent again, with the same id.)
            ended = receiver.of("session.ended")[0]
            assert ended.event["data"]["session_id"] == session["id"]
            assert ended.event["data"]["reason"] == "server stopped"
            roles = [message["role"] for message in ended.event["data"]["transcript"]]
            assert roles.count("tool") == 1
            ran = receiver.of("tool.ran")
            assert len(ran) >= 2
            assert {(got.id, got.body) for got in receiver.got} == {
                (ended.id, ended.body),
                (ran[0].id, ran[0].body),
            }
        finally:
            await asyncio.to_thread(again.stop)
