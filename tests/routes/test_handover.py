"""Handing over in the running application: a user's own agents, found by name, and nobody else's."""

import asyncio
from typing import Any

import pytest

from pipeline.session import Session
from server.app import App
from server.plans import Plan
from tests.routes.conftest import Client, signed_up
from tests.routes.talks import user_of
from tests.routes.test_agents import made

ADA = {
    "name": "Ada",
    "initial_prompt": "You are Ada, of the bank.",
    "context_prompts": ["The bank is open."],
    "voice": "en-us+f3",
}


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "PARLEY_LLM__PLUGIN": "rules",
        "PARLEY_TTS__SCRIPTED__MS_PER_CHAR": "5",
        "PARLEY_TOOLS__ENABLED": '["handoff"]',
        "PARLEY_PIPELINE__GREETING": "",
    }


async def say(session: Session, text: str, answers: int) -> list[dict[str, Any]]:
    """Type it; what was said once so many answers have been heard to their end."""
    session.do({"type": "text_message", "message": text})
    async with asyncio.timeout(20):
        while len(heard := [m for m in session.minutes.messages if "audio" in m]) < answers:
            await asyncio.sleep(0.02)
    return [dict(m) for m in heard]


async def test_a_talk_is_handed_over_to_another_agent_of_the_same_user(app: App, client: Client) -> None:
    ann = await signed_up(client)
    topics = {"favorite_topics": ["tea"]}
    assert (await ann.put("/api/users/preferences", json=topics)).status_code == 200
    ada = await made(ann, **ADA)
    user = await user_of(app)
    session = app.sessions.open(Plan(owner=user.owner, user_id=user.id, setup=(await plan(app, user)).setup))
    session.attach(lambda: None)
    goodbye, hello = await say(session, "let me talk to ada please", 2)
    assert goodbye["content"] == "I am handing you over to Ada now."
    assert hello["content"] == "Hello, this is Ada. How can I help you?"
    setup = session.setup
    assert (setup.agent_id, setup.agent_name, setup.voice) == (ada["id"], "Ada", "en-us+f3")
    assert (
        setup.prompt == "You are Ada, of the bank.\n\nThe user likes to talk about: tea.\n\nThe bank is open."
    )
    assert session.agent == {
        "id": ada["id"],
        "name": "Ada",
        "voice": "en-us+f3",
        "language": "en",
        "avatar": app.sessions.figures.name_for(""),
    }
    await session.end("over")
    stored = await app.archive.conversation(session.id)
    assert stored is not None
    assert stored["agent_id"] == ada["id"]
    assert [m.get("type") for m in stored["messages"]][-1] == "handover"


async def plan(app: App, user: Any) -> Plan:
    """A talk that the user begins without an agent, as a handshake makes it."""
    row = {"id": "", "user_id": user.id, "owner": user.owner, "mode": "both", "agent_id": None}
    return await app.parts.plans.made(
        {**row, "context_prompts": [], "conversation_context": {}, "session_prompt": None}
    )


async def test_somebody_elses_agent_cannot_be_found_and_is_not_named(app: App, client: Client) -> None:
    bob = await signed_up(client, "bob@example.org")
    await made(bob, **ADA)
    await signed_up(client)
    user = await user_of(app)
    session = app.sessions.open(Plan(owner=user.owner, user_id=user.id, setup=(await plan(app, user)).setup))
    session.attach(lambda: None)
    (refused,) = await say(session, "let me talk to ada", 1)
    assert refused["content"] == "There is nobody I could hand you over to."
    assert session.setup.agent_id is None
    await session.end("over")


async def test_a_guest_has_nobody_to_be_handed_over_to(app: App, client: Client) -> None:
    await made(await signed_up(client), **ADA)
    session = app.sessions.open(Plan(owner="guest:x"))
    session.attach(lambda: None)
    (refused,) = await say(session, "let me talk to ada", 1)
    assert refused["content"] == "There is nobody I could hand you over to."
    await session.end("over")


async def test_a_deleted_agent_is_gone_and_of_two_with_a_name_the_older_one_is_meant(
    app: App, client: Client
) -> None:
    ann = await signed_up(client)
    gone, first, _ = await made(ann, **ADA), await made(ann, **ADA), await made(ann, **ADA)
    assert (await ann.delete(f"/agents/{gone['id']}")).status_code == 204
    directory = app.parts.engines.tool_storage.directory
    user = await user_of(app)
    assert await directory.names(user.id) == ["Ada", "Ada"]
    found = await directory.find(user.id, "  aDA ")
    assert found["agent_id"] == first["id"]
    assert "language" not in found  # the talk keeps its own
    assert await directory.find(None, "Ada") is None


async def test_a_session_made_ahead_keeps_its_own_context(app: App, client: Client) -> None:
    ann = await signed_up(client)
    first = await made(ann, name="Max", initial_prompt="You are Max.", context_prompts=["At the door."])
    await made(ann, **ADA, language="es")
    body = {"agent_id": first["id"], "session_prompt": "Be brief.", "conversation_context": {"order": 7}}
    session_id = (await ann.post("/sessions/", json=body)).json()["id"]
    directory = app.parts.engines.tool_storage.directory
    found = await directory.find((await user_of(app)).id, "Ada", session_id)
    assert (found["persona"], found["system_prompt"], found["language"]) == (ADA["initial_prompt"], "", "es")
    assert "The bank is open." in found["context"]
    assert '"order": 7' in found["context"]
    assert "door" not in found["context"]
