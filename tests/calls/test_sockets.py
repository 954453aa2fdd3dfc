"""The voice socket of a real server, from outside: messages, close codes, resume, crash, shutdown."""

import asyncio
import base64
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.support.live import SCRIPTED, LiveServer

FAST = SCRIPTED | {
    "PARLEY_LLM__SCRIPTED__TEXT": "All right. I will do that for you now.",
    "PARLEY_LLM__SCRIPTED__FIRST_TOKEN_MS": "20",
    "PARLEY_TTS__SCRIPTED__FIRST_BYTE_MS": "20",
    "PARLEY_PIPELINE__GREETING": "",
}

SCRIPTED_REPLY = "This is a rather long reply, of which not all will be heard before the server is killed."


async def send(ws: ClientConnection, kind: str, **fields: Any) -> None:
    await ws.send(json.dumps({"type": kind, **fields}))


async def until(ws: ClientConnection, kind: str, within_s: float = 15) -> list[dict[str, Any]]:
    """Every event up to the first of a kind; audio counts as {"type": "binary"}."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(within_s):
        while not events or events[-1]["type"] != kind:
            data = await ws.recv()
            events.append(json.loads(data) if isinstance(data, str) else {"type": "binary", "pcm": data})
    return events


async def close_code(ws: ClientConnection, within_s: float = 15) -> int:
    async with asyncio.timeout(within_s):
        try:
            while True:
                await ws.recv()
        except websockets.ConnectionClosed:
            return ws.close_code or 0


async def test_connected_is_first_and_a_typed_turn_is_answered_aloud(scripted_server: LiveServer) -> None:
    async with connect(scripted_server.ws, compression=None) as ws:
        connected = json.loads(await ws.recv())
        assert connected["type"] == "connected"
        assert (connected["mode"], connected["input_rate"], connected["output_rate"]) == (
            "open-mic",
            16000,
            24000,
        )
        assert len(connected["session_id"]) == 36
        assert connected["agent"]["name"]
        assert connected["resume_token"]
        await send(ws, "text_message", message="hi")
        events = await until(ws, "turn.metrics", 30)
        kinds = [e["type"] for e in events]
        assert kinds[0] == "user_message"
        begin, end = kinds.index("audio.begin"), kinds.index("audio.end")
        assert set(kinds[begin + 1 : end]) <= {"binary", "agent_response"}
        assert "binary" not in kinds[:begin] + kinds[end:]
        await send(ws, "end")
        assert [e["type"] for e in await until(ws, "ended")][-2:] == ["summary", "ended"]
        assert await close_code(ws) == 1000


async def test_malformed_messages_get_an_error_each_and_the_session_lives_on(
    scripted_server: LiveServer,
) -> None:
    async with connect(scripted_server.ws) as ws:
        await ws.recv()
        for bad in ("{", "[]", '{"type":"nonsense"}', '{"type":"start","mode":7}'):
            await ws.send(bad)
            error = (await until(ws, "error"))[-1]
            assert error["fatal"] is False
            assert set(error) == {"type", "code", "message", "fatal"}
        await send(ws, "ping")
        assert (await until(ws, "pong"))[-1] == {"type": "pong"}


async def test_a_message_too_big_closes_with_1009(scripted_server: LiveServer) -> None:
    async with connect(scripted_server.ws) as ws:
        await ws.recv()
        await ws.send(bytes(64 * 1024 + 2))
        assert await close_code(ws) == 1009
    async with connect(scripted_server.ws) as ws:
        await ws.recv()
        with suppress(websockets.ConnectionClosed):  # the server need not read it to its end
            await ws.send("x" * (3 * 1024 * 1024))
        assert await close_code(ws) == 1009


@pytest.mark.parametrize(
    "query", ["?resume=nonsense", "?session_id=20200101_000000_aaaaaaaaaaaaaaaaaaaa", "?token=x"]
)
async def test_what_is_not_allowed_closes_with_1008(scripted_server: LiveServer, query: str) -> None:
    async with connect(scripted_server.ws + query) as ws:
        assert await close_code(ws) == 1008


async def test_a_foreign_page_is_not_let_in_and_our_own_is(scripted_server: LiveServer) -> None:
    async with connect(scripted_server.ws, origin="https://evil.example") as ws:  # type: ignore[arg-type]
        assert await close_code(ws) == 1008
    async with connect(scripted_server.ws, origin=scripted_server.url) as ws:  # type: ignore[arg-type]
        assert json.loads(await ws.recv())["type"] == "connected"


async def test_base64_mode_carries_audio_in_json_both_ways(scripted_server: LiveServer) -> None:
    async with connect(scripted_server.ws) as ws:
        await ws.recv()
        await send(ws, "start", base64=True, output_rate=16000, mode="hold-to-talk")
        await send(ws, "text_message", message="hi")
        events = await until(ws, "audio_response")
        assert events[-1]["response_id"] == next(
            e["response_id"] for e in events if e["type"] == "audio.begin" and e["rate"] == 16000
        )
        assert len(base64.b64decode(events[-1]["audio_base64"])) > 0
        assert not any(e["type"] == "binary" for e in events)


async def test_a_watcher_sees_the_transcript_live(scripted_server: LiveServer) -> None:
    async with connect(scripted_server.ws) as ws:
        session_id = json.loads(await ws.recv())["session_id"]
        watch = f"ws://127.0.0.1:{scripted_server.port}/ws/transcript/{session_id}"
        async with connect(watch) as watcher:
            assert json.loads(await watcher.recv())["session_id"] == session_id
            await send(ws, "text_message", message="hi")
            assert (await until(watcher, "agent_response"))[0]["type"] == "user_message"
            await send(ws, "end")
            assert (await until(watcher, "ended"))[-1]["session_id"] == session_id


async def test_a_lost_socket_is_resumed_with_its_history(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(**FAST)
    async with connect(server.ws) as ws:
        connected = json.loads(await ws.recv())
        await send(ws, "text_message", message="book a room")
        await until(ws, "audio.begin")
        ws.transport.abort()
    async with connect(f"{server.ws}?resume={connected['resume_token']}") as ws:
        again = json.loads(await ws.recv())
        assert again["session_id"] == connected["session_id"]
        assert again["resumed"] is True
        assert again["messages"][0]["content"] == "book a room"
        events = await until(ws, "audio.end")
        assert sum(len(e["pcm"]) for e in events if e["type"] == "binary") > 0
        async with connect(f"{server.ws}?resume={connected['resume_token']}") as other:
            assert json.loads(await other.recv())["session_id"] == connected["session_id"]
            assert await close_code(ws) == 1008  # the newer one has taken over


async def test_a_full_server_says_so(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(**FAST, PARLEY_SERVER__MAX_SESSIONS="1")
    async with connect(server.ws) as first:
        await first.recv()
        async with connect(server.ws) as second:
            assert await close_code(second) == 1013
        await send(first, "end")
        await close_code(first)
    async with connect(server.ws) as third:
        assert json.loads(await third.recv())["type"] == "connected"


async def test_an_idle_client_is_closed_with_4408(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(**FAST, PARLEY_SERVER__IDLE_TIMEOUT_S="1")
    async with connect(server.ws) as ws:
        assert (await until(ws, "ended"))[-1]["reason"] == "idle"
        assert await close_code(ws) == 4408


async def test_sigterm_drains_saves_and_lets_the_next_server_resume(
    live_server: Callable[..., LiveServer],
) -> None:
    server = live_server(**FAST)
    async with connect(server.ws) as ws:
        connected = json.loads(await ws.recv())
        await send(ws, "text_message", message="book a room")
        await until(ws, "turn.metrics")
        loop = asyncio.get_running_loop()
        stopping = loop.run_in_executor(None, server.stop)
        assert await close_code(ws) == 1001
        assert await stopping == 0
    saved = json.loads((server.folder / "conversations" / f"{connected['session_id']}.json").read_text())
    assert [m["role"] for m in saved["messages"]] == ["user", "assistant"]
    sounds = {p.name for p in (server.folder / "audio_files" / connected["session_id"]).glob("*.mp3")}
    assert "conversation.mp3" in sounds
    await resume_after(server, connected, live_server)


async def test_kill_9_loses_no_finished_turn_and_the_talk_can_be_resumed(
    live_server: Callable[..., LiveServer],
) -> None:
    server = live_server(**FAST)
    async with connect(server.ws) as ws:
        connected = json.loads(await ws.recv())
        await send(ws, "text_message", message="book a room")
        await until(ws, "turn.metrics")
        await send(ws, "playback", response_id="r1", played_ms=10_000_000)
        await until(ws, "turn.metrics")
        await asyncio.to_thread(wait_for, server, connected["session_id"], ',"turn",{')
        await asyncio.to_thread(server.stop, signal.SIGKILL)
    await resume_after(server, connected, live_server)


async def test_a_reply_that_a_crash_cut_off_is_kept_as_far_as_it_was_heard(
    live_server: Callable[..., LiveServer],
) -> None:
    slow = FAST | {"PARLEY_LLM__SCRIPTED__TEXT": SCRIPTED_REPLY}
    server = live_server(**slow)
    async with connect(server.ws) as ws:
        connected = json.loads(await ws.recv())
        await send(ws, "text_message", message="book a room")
        await until(ws, "audio.begin")
        heard = 0
        while heard < 24 * 1000 * 2:
            heard += sum(len(e.get("pcm", b"")) for e in await until(ws, "binary"))
        await send(ws, "playback", response_id="r1", played_ms=1000)
        await asyncio.to_thread(wait_for, server, connected["session_id"], '"playback"')
        await asyncio.to_thread(server.stop, signal.SIGKILL)
    again = live_server(folder=server.folder, **slow)
    async with connect(f"{again.ws}?resume={connected['resume_token']}") as ws:
        reply = json.loads(await ws.recv())["messages"][1]
        assert (reply["interrupted"], reply["estimated"]) == (True, True)
        assert SCRIPTED_REPLY.startswith(reply["heard"])
        assert 0 < len(reply["heard"]) < len(SCRIPTED_REPLY) / 2
        assert reply["end_ms"] - reply["start_ms"] == 1000
        await send(ws, "text_message", message="thank you")
        assert (await until(ws, "response.begin"))[-1]["response_id"] != "r1"
        await until(ws, "audio.begin")
        await send(ws, "end")
        await until(ws, "ended")
    saved = json.loads((server.folder / "conversations" / f"{connected['session_id']}.json").read_text())
    sounds = [entry["filename"] for entry in saved["audio_files"]]
    assert sounds[0] == reply["audio"] == "0001_agent.mp3"
    assert sounds[-1] == "conversation.mp3"


def wait_for(server: LiveServer, session_id: str, text: str) -> None:
    """Until the journal says so: it is written once a second."""
    journal = server.folder / "conversations" / f"{session_id}.journal"
    until_s = time.monotonic() + 10
    while text not in (journal.read_text() if journal.exists() else ""):
        assert time.monotonic() < until_s
        time.sleep(0.02)


async def resume_after(
    server: LiveServer, connected: dict[str, Any], live_server: Callable[..., LiveServer]
) -> None:
    """A new server in the same folder: the client comes back, goes on, ends; all of it is in the file."""
    again = live_server(folder=server.folder, **FAST)
    async with connect(f"{again.ws}?resume={connected['resume_token']}") as ws:
        back = json.loads(await ws.recv())
        assert back["session_id"] == connected["session_id"]
        assert [m["role"] for m in back["messages"]] == ["user", "assistant"]
        await send(ws, "text_message", message="thank you")
        assert (await until(ws, "user_message"))[-1]["turn"] == 2
        await until(ws, "turn.metrics")
        await send(ws, "end")
        await until(ws, "ended")
    saved = json.loads((server.folder / "conversations" / f"{connected['session_id']}.json").read_text())
    assert [m["role"] for m in saved["messages"]] == ["user", "assistant"] * 2
    assert [t["turn"] for t in saved["turns"]] == [1, 2]
    with sqlite3.connect(server.folder / "parley.db") as db:
        rows = db.execute("select role from messages order by n").fetchall()
    db.close()
    assert [r[0] for r in rows] == ["user", "assistant"] * 2


async def test_twenty_talks_leave_no_task_thread_or_file_behind(
    live_server: Callable[..., LiveServer],
) -> None:
    server = live_server(**FAST, PARLEY_PIPELINE__RESUME_WINDOW_S="0")
    process = Path(f"/proc/{server.process.pid}")

    def open_things() -> tuple[int, int]:
        return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    async def talk(number: int) -> None:
        async with connect(server.ws) as ws:
            await ws.recv()
            await send(ws, "text_message", message="hi")
            await until(ws, "audio.begin")
            if number % 2:
                ws.transport.abort()
            else:
                await send(ws, "end")
                await until(ws, "ended")

    async def all_gone() -> None:
        async with asyncio.timeout(20), httpx2.AsyncClient(base_url=server.url) as http:
            while (health := (await http.get("/health")).json())["sessions"]:
                await asyncio.sleep(0.05)
        assert health["session_tasks"] == 0

    await talk(0)
    await all_gone()
    before = open_things()
    await asyncio.gather(*(talk(n) for n in range(20)))
    await all_gone()
    async with asyncio.timeout(20):  # the threads that wrote the last files may linger for a moment
        while any(now > then for now, then in zip(open_things(), before, strict=True)):
            await asyncio.sleep(0.05)
    assert not list((server.folder / "conversations").glob("*.open"))


async def test_workers_pass_a_socket_on_to_the_one_whose_session_it_is(
    tmp_path: Any, live_server: Callable[..., LiveServer]
) -> None:
    del live_server
    server = LiveServer(tmp_path, FAST, arguments=["--workers", "2"])
    try:
        for _ in range(6):  # the kernel picks the worker: some of these land elsewhere
            async with connect(server.ws) as ws:
                connected = json.loads(await ws.recv())
                await send(ws, "text_message", message="hi")
                await until(ws, "audio.begin")
                ws.transport.abort()
            async with connect(f"{server.ws}?resume={connected['resume_token']}") as ws:
                assert json.loads(await ws.recv())["session_id"] == connected["session_id"]
                await until(ws, "audio.end")
                await send(ws, "end")
                assert await close_code(ws) == 1000
    finally:
        assert await asyncio.get_running_loop().run_in_executor(None, server.stop) == 0


async def test_workers_answer_rest_about_a_session_that_another_one_has(tmp_path: Any) -> None:
    server = await asyncio.to_thread(LiveServer, tmp_path, FAST, arguments=["--workers", "2"])
    try:
        async with httpx2.AsyncClient(base_url=server.url, headers={"Connection": "close"}) as http:
            session_id = (await http.post("/sessions/", json={})).json()["id"]
            async with connect(f"{server.ws}?session_id={session_id}") as ws:
                await ws.recv()
                for turn in range(1, 7):  # each on a connection of its own: the kernel picks the worker
                    answer = await http.post(f"/sessions/{session_id}/message", json={"message": "hi"})
                    assert (answer.status_code, answer.json()["turn"]) == (200, turn), answer.text
                assert (await until(ws, "response.begin"))[-1]["turn"] == 1
                wrong = await http.post("/sessions/20200101_000000_aaaaaaaaaaaaaaaaaaaa/end")
                assert wrong.status_code == 404
                assert (await http.post(f"/sessions/{session_id}/end")).json()["is_active"] is False
                assert await close_code(ws) == 1000
    finally:
        assert await asyncio.to_thread(server.stop) == 0
