"""`parley.client` against a real server; the example of its page; its types and the live description."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import httpx2
import pytest

from parley import client
from parley.client import ClientError, Event, ParleyClient
from pipeline.core.audio import write_wav
from tests.support.live import LiveServer
from tests.support.speech import clip

ROOT = Path(__file__).parent.parent
PASSWORD = "a long and odd sentence"
TYPES = {
    "Account": client.Account,
    "Agent": client.Agent,
    "Session": client.Session,
    "Reply": client.Reply,
    "Transcription": client.Transcription,
    "Voice": client.Voice,
    "Item": client.Talk,
}


def example() -> str:
    text = (ROOT / "docs" / "clients.md").read_text("utf-8")
    found = re.search(r"```python\n(.+?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_its_page_runs(scripted_server: LiveServer, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(example(), "utf-8")
    for _ in range(2):  # the first time it makes the account, the second time it logs in
        ran = subprocess.run(
            [sys.executable, "-W", "error", str(script), scripted_server.url],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        lines = ran.stdout.splitlines()
        assert lines[0].startswith("agent: ")
        assert int(lines[1].split()[1]) > 10_000
        assert "2 turns" in lines[2]


def test_its_types_are_those_of_the_server(scripted_server: LiveServer) -> None:
    document = httpx2.get(f"{scripted_server.url}/openapi.json").json()
    for name, shape in TYPES.items():
        described = document["components"]["schemas"][name]["properties"]
        assert set(get_type_hints(shape)) == set(described), name


async def test_agents_and_sessions_are_made_changed_and_deleted(scripted_server: LiveServer) -> None:
    async with ParleyClient(scripted_server.url) as parley:
        await parley.register("ann", "ann@example.org", PASSWORD)
        assert (await parley.me())["username"] == "ann"
        agent = await parley.create_agent("A", "Be brief.", language="en")
        assert (await parley.change_agent(agent["id"], name="B"))["name"] == "B"
        assert (await parley.agent(agent["id"]))["language"] == "en"
        assert [one["id"] for one in (await parley.agents())["items"]] == [agent["id"]]
        session = await parley.create_session(agent_id=agent["id"], mode="text", session_prompt="It is late.")
        changed = await parley.change_session(session["id"], session_prompt="It is early.")
        assert changed == await parley.session(session["id"])
        assert (await parley.sessions(limit=1))["total"] == 1
        reply = await parley.say(session["id"], "Hello.")
        assert (reply["turn"], reply["interrupted"]) == (1, False)
        assert (await parley.end_session(session["id"]))["is_active"] is False
        assert (await parley.conversation(session["id"]))["messages"][-1]["content"] == reply["response"]
        assert [one["session_id"] async for one in parley.whole_history()] == [session["id"]]
        assert (await parley.history(q="nothing like it"))["items"] == []
        await parley.delete_session(session["id"])
        await parley.delete_agent(agent["id"])
        for gone in (parley.agent(agent["id"]), parley.session(session["id"])):
            with pytest.raises(ClientError) as refused:
                await gone
            assert refused.value.code == 404


async def test_speech_goes_in_and_comes_out(scripted_server: LiveServer) -> None:
    async with ParleyClient(scripted_server.url) as parley:
        wav = write_wav(clip("austen_0890.wav")[: 16_000 * 4], 16_000)
        heard = await parley.transcribe(wav, language="en")
        assert heard["text"] == "what can you do for me today"
        assert heard["duration_seconds"] == pytest.approx(2.0, abs=0.1)
        assert (await parley.speak("Good morning.")).startswith(b"RIFF")
        assert len(await parley.speak("Good morning.", format="mp3")) > 500
        assert (await parley.voices())[0]["id"]
        assert (await parley.health())["status"] == "ok"


async def test_a_guest_talks_and_hears_it_again(scripted_server: LiveServer) -> None:
    async with ParleyClient(scripted_server.url) as parley:
        async with await parley.talk(output_rate=16000) as call:
            await call.say("Hello.")
            async for event in call:
                if isinstance(event, Event) and event.type == "turn.metrics":
                    await call.end()
        assert len(await parley.sound(call.session_id)) > 1000


async def test_what_is_refused_is_a_sentence_with_its_status(scripted_server: LiveServer) -> None:
    async with ParleyClient(scripted_server.url, "made.up") as parley:
        with pytest.raises(ClientError, match="log in again") as refused:
            await parley.me()
        assert refused.value.code == 401
        with pytest.raises(ClientError, match="wrong") as refused:
            await parley.login("nobody", "something else")
        assert refused.value.code == 401
        with pytest.raises(ClientError) as refused:
            await parley.conversation("../../health?x=#y")
        assert refused.value.code == 404


async def test_after_a_logout_the_token_is_dead(scripted_server: LiveServer) -> None:
    async with ParleyClient(scripted_server.url) as parley:
        await parley.register("eve", "eve@example.org", PASSWORD)
        token = parley.token
        await parley.logout()
        assert parley.token == ""
    async with ParleyClient(scripted_server.url, token) as thief:
        with pytest.raises(ClientError):
            await thief.me()


async def test_who_is_not_there_or_not_ours_is_told() -> None:
    async with ParleyClient("http://127.0.0.1:9") as parley:
        with pytest.raises(ClientError, match="Nobody answers") as refused:
            await parley.health()
        assert refused.value.code == 0

    def strange(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(502, text="<html>Bad gateway</html>")

    async with ParleyClient("http://x", transport=httpx2.MockTransport(strange)) as parley:
        with pytest.raises(ClientError, match="error \\(502\\)"):
            await parley.health()

    def slow(request: httpx2.Request) -> Any:
        raise httpx2.ReadTimeout("slow", request=request)

    async with ParleyClient("http://x", transport=httpx2.MockTransport(slow)) as parley:
        with pytest.raises(ClientError, match="too long"):
            await parley.health()
