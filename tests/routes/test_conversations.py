"""Stored conversations over HTTP: who sees what, and the sound with ranges."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.support.live import LiveServer

STRANGER = "20200101_000000_aaaaaaaaaaaaaaaaaaaa"


async def talk(server: LiveServer, cookie: str = "") -> str:
    """One short talk with sound; returns its id."""
    headers = {"Cookie": cookie} if cookie else {}
    async with connect(server.ws, additional_headers=headers) as ws:
        session_id: str = json.loads(await ws.recv())["session_id"]
        await ws.send(json.dumps({"type": "text_message", "message": "hello"}))
        await until(ws, "audio.begin")
        await asyncio.sleep(0)  # the reply has begun to play: what was heard of it is kept
        await until(ws, "turn.metrics")
        await ws.send(json.dumps({"type": "end"}))
        await until(ws, "ended")
    return session_id


async def until(ws: Any, kind: str) -> None:
    async with asyncio.timeout(30):
        while True:
            data = await ws.recv()
            if isinstance(data, str) and json.loads(data)["type"] == kind:
                return


@pytest.fixture
def http(scripted_server: LiveServer) -> Any:
    with httpx2.Client(base_url=scripted_server.url) as client:
        yield client


async def test_a_visitor_sees_his_own_talks_listed_and_a_stranger_none(
    scripted_server: LiveServer, http: httpx2.Client
) -> None:
    page = http.get("/")
    assert page.status_code == 200
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    mine = await talk(scripted_server, cookie.split(";")[0])
    await talk(scripted_server)
    listed = http.get("/api/conversations").json()
    assert [item["session_id"] for item in listed["items"]] == [mine]
    assert listed["total"] == 1
    assert "owner" not in listed["items"][0]
    with httpx2.Client(base_url=scripted_server.url) as stranger:
        assert stranger.get("/api/conversations").json() == {"items": [], "total": 0}
        forged = {"Cookie": "parley_guest=forged"}
        assert stranger.get("/api/conversations", headers=forged).json()["total"] == 0


async def test_the_id_is_the_key_to_transcript_and_sound(
    scripted_server: LiveServer, http: httpx2.Client
) -> None:
    session_id = await talk(scripted_server)
    conversation = http.get(f"/api/conversation/{session_id}").json()
    assert [m["role"] for m in conversation["messages"]] == ["user", "assistant"]
    download = http.get(f"/api/download/{session_id}")
    assert download.headers["content-type"].startswith("application/json")
    assert f"{session_id}.json" in download.headers["content-disposition"]
    assert download.json() == conversation
    sounds = http.get(f"/api/audio/{session_id}").json()
    names = [item["filename"] for item in sounds["items"]]
    assert names == ["0001_agent.mp3", "conversation.mp3"]
    assert set(sounds["items"][0]) == {"filename", "role", "start_ms", "end_ms", "duration_ms", "bytes"}
    whole = http.get(f"/api/audio/{session_id}/conversation.mp3")
    assert whole.headers["content-type"] == "audio/mpeg"
    assert whole.headers["accept-ranges"] == "bytes"
    assert len(whole.content) == sounds["items"][1]["bytes"]
    part = http.get(f"/api/audio/{session_id}/conversation.mp3", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole.content[10:20]
    beyond = http.get(f"/api/audio/{session_id}/conversation.mp3", headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    "path",
    [
        f"/api/conversation/{STRANGER}",
        f"/api/download/{STRANGER}",
        f"/api/audio/{STRANGER}",
        f"/api/audio/{STRANGER}/conversation.mp3",
        "/api/conversation/..%2F..%2Fetc%2Fpasswd",
        "/api/audio/x/conversation.mp3",
        f"/api/audio/{STRANGER}/..%2Fspool.pcm",
        f"/api/audio/{STRANGER}/spool.pcm",
        "/static/../server/app.py",
        "/static/%2e%2e/config.toml",
        "/nothing",
    ],
)
def test_what_is_not_there_is_404_with_a_sentence(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["detail"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "offset=-1", "limit="])
def test_a_wrong_limit_is_422(http: httpx2.Client, query: str) -> None:
    answer = http.get(f"/api/conversations?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{query.partition('=')[0]} must be ")


def test_health_names_each_stages_plug_in(http: httpx2.Client) -> None:
    health = http.get("/health").json()
    assert health["status"] == "ok"
    assert {stage: s["plugin"] for stage, s in health["stages"].items()} == {
        "stt": "scripted",
        "llm": "scripted",
        "tts": "scripted",
        "vad": "webrtc",
        "turn": "words",
    }


def test_every_answer_carries_the_security_headers(http: httpx2.Client) -> None:
    for path in ("/", "/login", "/static/main.js", "/health", "/nothing"):
        headers = http.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_wrong_methods_are_refused_in_json(http: httpx2.Client) -> None:
    answer = http.post("/health")
    assert answer.status_code == 405
    assert answer.json()["detail"]
