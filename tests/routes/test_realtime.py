"""`/v1/realtime` through the application: who may come in, the `openai` package's client, what is kept."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import soundfile

from server.app import App, running
from server.config import load
from tests.routes.conftest import SCRIPTED, Client, bearer, signed_up
from tests.routes.test_agents import made as an_agent
from tests.support.live import LiveServer
from tests.support.socket import Socket, connected

URL = "/v1/realtime?model=gpt-realtime"
REPLY = "All right. I will do that for you now."


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "PARLEY_LLM__SCRIPTED__TEXT": REPLY,
        "PARLEY_LLM__SCRIPTED__FIRST_TOKEN_MS": "5",
        "PARLEY_TTS__SCRIPTED__FIRST_BYTE_MS": "5",
        "PARLEY_TTS__SCRIPTED__SPEED": "100",
    }


async def answered(ws: Socket, text: str = "hi") -> dict[str, Any]:
    """Write something; the response, done."""
    content = [{"type": "input_text", "text": text}]
    await ws.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    await ws.send("response.create")
    done: dict[str, Any] = (await ws.until("response.done"))[-1]["response"]
    return done


async def test_a_users_talk_is_in_the_users_history(app: App, client: Client) -> None:
    ann = await signed_up(client)
    key = (await ann.post("/api/users/api-keys", json={"label": "my program"})).json()["key"]
    async with connected(app, URL, {"Authorization": f"Bearer {key}"}) as ws:
        created = await ws.event()
        assert created["type"] == "session.created"
        assert created["session"]["model"] == "gpt-realtime"
        done = await answered(ws, "Book it.")
        assert done["output"][0]["content"][0]["transcript"] == REPLY
    session_id = created["session"]["id"]
    async with asyncio.timeout(5):
        while not (talk := (await ann.get(f"/api/conversation/{session_id}")).json()).get("end_time"):
            await asyncio.sleep(0.02)
    assert [(m["role"], m["content"]) for m in talk["messages"]] == [
        ("user", "Book it."),
        ("assistant", REPLY),
    ]
    assert (await client().get(f"/api/conversation/{session_id}")).status_code == 404
    assert app.sessions.get(session_id) is None


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer sk-whatever"}])
async def test_any_other_key_is_a_guest(app: App, header: Mapping[str, str]) -> None:
    async with connected(app, URL, header) as ws:
        session_id = (await ws.event())["session"]["id"]
        assert (await answered(ws))["status"] == "completed"
        assert app.sessions.owner_of(session_id) == ""


async def test_a_browser_shows_its_key_in_a_subprotocol(app: App, client: Client) -> None:
    program = await bearer(client)
    token = program.headers["Authorization"].removeprefix("Bearer ")
    protocols = ["realtime", f"openai-insecure-api-key.{token}", "openai-agents-sdk.0.20.0"]
    async with connected(app, URL, protocols=protocols) as ws:
        session_id = (await ws.event())["session"]["id"]
        assert ws.protocol == "realtime"
        assert app.sessions.owner_of(session_id).startswith("user:")


async def test_other_peoples_pages_come_in_only_if_they_may(app: App) -> None:
    async with connected(app, URL, {"Origin": "https://elsewhere.example"}) as ws:
        assert (await ws.event())["type"] == "error"
        assert await ws.closed() == 1008


@pytest.mark.parametrize("key", ["", "sk-wrong"])
async def test_without_guests_a_key_is_needed(tmp_path: Path, key: str, settings: dict[str, str]) -> None:
    header = {"Authorization": f"Bearer {key}"} if key else {}
    config = load(None, {**SCRIPTED, **settings, "PARLEY_ACCOUNTS__GUESTS": "false"}, tmp_path)
    async with running(config) as app, connected(app, URL, header) as ws:
        error = (await ws.event())["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert await ws.closed() == 3000


async def test_a_full_house_says_so(tmp_path: Path, settings: dict[str, str]) -> None:
    config = load(None, {**SCRIPTED, **settings, "PARLEY_SERVER__MAX_SESSIONS": "1"}, tmp_path)
    async with running(config) as app, connected(app, URL) as first:
        await first.event()
        async with connected(app, URL) as second:
            assert (await second.event())["error"]["type"] == "server_error"
            assert await second.closed() == 1013


async def test_the_model_may_be_an_agent_of_the_users(app: App, client: Client) -> None:
    ann = await bearer(client)
    agent = await an_agent(ann, voice="nicole", initial_prompt="You sell pizza.")
    headers = {"Authorization": ann.headers["Authorization"]}
    async with connected(app, f"/v1/realtime?model={agent['id']}", headers) as ws:
        session = (await ws.event())["session"]
        live = app.sessions.get(session["id"])
        assert live is not None
        assert live.setup.agent_id == agent["id"]
        assert session["audio"]["output"]["voice"] == "nicole"
        await ws.send("session.update", session={"type": "realtime", "instructions": "Be kind."})
        await ws.until("session.updated")
        assert live.dialogue.system_prompt.startswith("You sell pizza.\n\nBe kind.")
    async with connected(app, "/v1/realtime?agent_id=nobodys", headers) as ws:
        assert await ws.closed() == 1008


async def test_binary_messages_are_refused_and_the_talk_goes_on(app: App) -> None:
    async with connected(app, URL) as ws:
        await ws.sound(bytes(640))
        error = (await ws.until("error"))[-1]["error"]
        assert error["code"] == "invalid_event"
        assert (await answered(ws))["status"] == "completed"


# -- the package's own client, over a real socket -------------------------------------------------------


@pytest.fixture
def live(live_server: Any) -> LiveServer:
    server: LiveServer = live_server(
        PARLEY_STT__PLUGIN='["scripted"]',
        PARLEY_LLM__PLUGIN='["scripted"]',
        PARLEY_TTS__PLUGIN='["scripted"]',
        PARLEY_LLM__SCRIPTED__TEXT=REPLY,
        PARLEY_LLM__SCRIPTED__TOOL="weather",
        PARLEY_LLM__SCRIPTED__TOOL_ARGUMENTS='{place = "Rome"}',
    )
    return server


@asynccontextmanager
async def talking(live: LiveServer) -> AsyncIterator[Any]:
    client = openai.AsyncOpenAI(api_key="any", base_url=f"{live.url}/v1")
    async with client, client.realtime.connect(model="gpt-realtime") as connection:
        yield connection


async def until(connection: Any, kind: str, within_s: float = 20) -> list[Any]:
    events: list[Any] = []
    async with asyncio.timeout(within_s):
        while not events or events[-1].type != kind:
            events.append(await connection.recv())
    return events


def of(events: Sequence[Any], kind: str) -> list[Any]:
    return [event for event in events if event.type == kind]


async def test_the_package_talks_and_is_heard(live: LiveServer) -> None:
    """Real speech at the pace of a microphone, the answer's sound, and a tool that the client runs."""
    sound, rate_hz = soundfile.read(
        Path(__file__).parents[1] / "data" / "goforward.wav", dtype="int16", always_2d=True
    )
    assert rate_hz == 16_000
    async with talking(live) as connection:
        created = (await until(connection, "session.created"))[-1]
        weather = {
            "type": "function",
            "name": "weather",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        }
        ear = {"format": {"type": "audio/pcm", "rate": 16_000}, "transcription": {"model": "any"}}
        await connection.session.update(
            session={"type": "realtime", "tools": [weather], "audio": {"input": ear}}
        )
        await until(connection, "session.updated")

        async def speak() -> None:
            pcm = sound.tobytes() + bytes(32_000 * 60)
            for at in range(0, len(pcm), 3200):
                await connection.input_audio_buffer.append(
                    audio=base64.b64encode(pcm[at : at + 3200]).decode()
                )
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        try:
            asked = await until(connection, "response.done")
            completed = of(asked, "conversation.item.input_audio_transcription.completed")[0]
            assert completed.transcript == "what can you do for me today"
            call = asked[-1].response.output[0]
            assert (call.name, json.loads(call.arguments)) == ("weather", {"place": "Rome"})
            output = {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "clear"}'}
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            answer = await until(connection, "response.done")
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        pcm = b"".join(base64.b64decode(e.delta) for e in of(answer, "response.output_audio.delta"))
        assert len(pcm) > 24_000 * 2
        assert answer[-1].response.status == "completed"
        said = of(answer, "response.output_audio_transcript.done")[0].transcript
        assert said == REPLY
        item_id = of(answer, "response.output_item.done")[0].item.id
        await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=300)
        await until(connection, "conversation.item.truncated")
        session_id = created.session.to_dict()["id"]
    path = live.folder / "conversations" / f"{session_id}.json"
    async with asyncio.timeout(10):
        while not path.exists() or not (stored := json.loads(path.read_text())).get("end_time"):
            await asyncio.sleep(0.1)
    spoken = stored["messages"][-1]
    assert (spoken["heard_ms"], spoken["interrupted"]) == (300, True)
    assert REPLY.startswith(spoken["heard"])
    assert stored["messages"][1]["result"] == {"sky": "clear"}
