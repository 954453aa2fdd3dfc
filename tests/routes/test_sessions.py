"""Sessions over REST: made ahead, joined, talked in by text, changed in mid-talk, ended, deleted."""

import asyncio
from typing import Any

import httpx2
import pytest

from server.app import App
from server.exchange import MOST_CHARS
from server.plans import MOST_PROMPT_CHARS
from server.wire.voice import MAX_PROMPT_CHARS, MAX_TEXT_CHARS
from tests.routes.conftest import Client, bearer, signed_up
from tests.routes.test_agents import made as an_agent

FIELDS = {
    *("id", "session_id", "user_id", "agent_id", "room_name", "mode", "session_prompt"),
    *("conversation_context", "context_prompts", "is_active", "created_at", "ended_at"),
}
REPLY = "All right. I will do that for you now."


@pytest.fixture
def settings() -> dict[str, str]:
    return {"PARLEY_LLM__SCRIPTED__TEXT": REPLY, "PARLEY_LLM__SCRIPTED__FIRST_TOKEN_MS": "5"}


async def made(who: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A session that was just made."""
    answer = await who.post("/sessions/", json=fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def said(who: httpx2.AsyncClient, session_id: str, text: str = "book a room") -> dict[str, Any]:
    answer = await who.post(f"/sessions/{session_id}/message", json={"message": text})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def prompt_of(app: App, session_id: str) -> str:
    """What the model of a live session is told about itself."""
    live = app.sessions.get(session_id)
    assert live is not None
    return live.dialogue.system_prompt


# -- making and reading ---------------------------------------------------------------------------------


async def test_a_session_is_made_with_the_contracts_fields(client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann)
    context = {"age": 41}
    session = await made(
        ann, agent_id=agent["id"], mode="text", session_prompt="P", conversation_context=context
    )
    assert session.keys() == FIELDS
    assert session["id"] == session["session_id"]
    assert len(session["id"]) == 36
    assert (session["agent_id"], session["mode"], session["session_prompt"]) == (agent["id"], "text", "P")
    assert session["conversation_context"] == context
    assert (session["is_active"], session["ended_at"]) == (True, None)
    assert session["user_id"]
    assert (await ann.get(f"/sessions/{session['id']}")).json() == session


async def test_a_users_session_is_the_users_alone(client: Client) -> None:
    ann, bob = await signed_up(client), await bearer(client)
    session_id = (await made(bob))["id"]
    for who in (client(), await signed_up(client, "carl@example.org")):
        path = f"/sessions/{session_id}"
        assert (await who.get(path)).status_code == 404
        assert (await who.put(path, json={"mode": "text"})).status_code == 404
        assert (await who.delete(path)).status_code == 404
        assert (await who.put(f"{path}/prompt", json={"new_prompt": "x"})).status_code == 404
        for act, body in (("join", None), ("start", None), ("end", None), ("message", {"message": "hi"})):
            assert (await who.post(f"{path}/{act}", json=body)).status_code == 404
    assert (await ann.get(f"/sessions/{session_id}")).status_code == 200  # the administrator
    assert (await ann.post(f"/sessions/{session_id}/end")).status_code == 404  # who looks, but does not act
    assert (await bob.get("/sessions/")).json()["total"] == 1


async def test_a_guests_session_is_its_id_and_in_no_list(client: Client) -> None:
    session = await made(client())
    assert session["user_id"] is None
    stranger = client()
    assert (await stranger.get("/sessions/")).json() == {"items": [], "total": 0}
    assert (await said(stranger, session["id"]))["response"] == REPLY
    assert (await stranger.post(f"/sessions/{session['id']}/end")).json()["is_active"] is False
    assert (await stranger.delete(f"/sessions/{session['id']}")).status_code == 204
    assert (await stranger.get(f"/sessions/{session['id']}")).status_code == 404
    assert (await stranger.get(f"/api/conversation/{session['id']}")).status_code == 404


async def test_sessions_are_listed_newest_first(client: Client) -> None:
    ann = await signed_up(client)
    ids = [(await made(ann, session_prompt=str(n)))["id"] for n in range(3)]
    page = (await ann.get("/sessions/?limit=2")).json()
    assert page["total"] == 3
    assert len(page["items"]) == 2
    assert {item["id"] for item in page["items"]} <= set(ids)


async def test_somebody_elses_agent_is_no_agent(client: Client) -> None:
    ann, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    agent = await an_agent(ann)
    assert (await bob.post("/sessions/", json={"agent_id": agent["id"]})).status_code == 404
    assert (await client().post("/sessions/", json={"agent_id": agent["id"]})).status_code == 404


@pytest.mark.parametrize("wrong", [{"mode": "loud"}, {"nonsense": 1}, {"session_prompt": 3}])
async def test_what_is_wrong_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    assert (await client().post("/sessions/", json=wrong)).status_code == 422


@pytest.mark.parametrize("context", ["NaN", '"\\ud800"', "7", '"' + "x" * 40_000 + '"'])
async def test_a_context_that_no_model_can_be_told_is_refused(client: Client, context: str) -> None:
    body = (
        f'{{"conversation_context": {{"it": {context}}}}}'
        if context != "7"
        else '{"conversation_context": 7}'
    )
    answer = await client().post("/sessions/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "conversation_context" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["nonsense", "20200101_000000_aaaaaaaaaaaaaaaaaaaa", "..%2f..%2fetc"])
async def test_what_is_no_session_is_404(client: Client, name: str) -> None:
    assert (await client().get(f"/sessions/{name}")).status_code == 404
    assert (await client().post(f"/sessions/{name}/message", json={"message": "hi"})).status_code == 404


# -- talking --------------------------------------------------------------------------------------------


async def test_a_message_is_answered_with_the_replys_text_and_the_talk_is_kept(client: Client) -> None:
    ann = await signed_up(client)
    session_id = (await made(ann))["id"]
    first = await said(ann, session_id)
    assert first == {
        "session_id": session_id,
        "turn": 1,
        "message": "book a room",
        "response": REPLY,
        "response_id": first["response_id"],
        "interrupted": False,
    }
    assert (await said(ann, session_id, "and another"))["turn"] == 2
    ended = (await ann.post(f"/sessions/{session_id}/end")).json()
    assert ended["is_active"] is False
    assert ended["ended_at"] >= ended["created_at"]
    talk = (await ann.get(f"/api/conversation/{session_id}")).json()
    assert [m["role"] for m in talk["messages"]] == ["user", "assistant"] * 2
    assert [m["content"] for m in talk["messages"]][1::2] == [REPLY] * 2
    assert not any(m.get("interrupted") for m in talk["messages"])
    assert talk["user_id"] == ended["user_id"]
    assert (await client().get(f"/api/conversation/{session_id}")).status_code == 404


async def test_messages_of_one_session_wait_for_each_other(client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    answers = await asyncio.gather(*(said(guest, session_id, f"number {n}") for n in range(4)))
    assert sorted(a["turn"] for a in answers) == [1, 2, 3, 4]
    assert {a["response"] for a in answers} == {REPLY}
    assert not any(a["interrupted"] for a in answers)


async def test_an_ended_session_says_so(client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    await said(guest, session_id)
    path = f"/sessions/{session_id}"
    once = (await guest.post(f"{path}/end")).json()
    assert (await guest.post(f"{path}/end")).json() == once
    for act, body in (("message", {"message": "hi"}), ("start", None), ("join", None)):
        answer = await guest.post(f"{path}/{act}", json=body)
        assert (answer.status_code, answer.json()) == (409, {"detail": "This session has ended."})
    assert (await guest.put(path, json={"mode": "text"})).status_code == 409
    assert (await guest.put(f"{path}/prompt", json={"new_prompt": "x"})).status_code == 409
    assert (await guest.get(path)).status_code == 200


async def test_a_session_that_nobody_came_to_can_be_ended_and_deleted(client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    assert (await guest.post(f"/sessions/{session_id}/end")).json()["is_active"] is False
    assert (await guest.delete(f"/sessions/{session_id}")).status_code == 204


async def test_a_talk_that_ended_by_itself_goes_on_over_rest(app: App, client: Client) -> None:
    guest = client()
    session_id = (await made(guest))["id"]
    await said(guest, session_id, "the first")
    live = app.sessions.get(session_id)
    assert live is not None
    await live.end("idle", 4408)
    assert (await settled(guest, session_id))["is_active"] is False
    again = await said(guest, session_id, "the second")
    assert again["turn"] == 2
    assert (await guest.get(f"/sessions/{session_id}")).json()["is_active"] is True
    assert len(app.sessions) == 1
    await guest.post(f"/sessions/{session_id}/end")
    talk = (await guest.get(f"/api/conversation/{session_id}")).json()
    assert [m["content"] for m in talk["messages"]][::2] == ["the first", "the second"]
    assert talk["end_reason"] == "ended over REST"


async def settled(who: httpx2.AsyncClient, session_id: str) -> dict[str, Any]:
    """The session, once its row says that it is over."""
    async with asyncio.timeout(5):
        while (found := (await who.get(f"/sessions/{session_id}")).json())["is_active"]:
            await asyncio.sleep(0.01)
    return dict(found)


async def test_deleting_a_live_session_ends_it_and_leaves_nothing(app: App, client: Client) -> None:
    ann = await signed_up(client)
    session_id = (await made(ann))["id"]
    await said(ann, session_id)
    assert (await ann.delete(f"/sessions/{session_id}")).status_code == 204
    assert len(app.sessions) == 0
    assert not app.archive.json_path(session_id).exists()
    assert (await ann.get(f"/sessions/{session_id}")).status_code == 404
    assert (await ann.get("/sessions/")).json()["total"] == 0


# -- prompts --------------------------------------------------------------------------------------------


async def test_the_model_is_told_agent_session_and_context_in_order(app: App, client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann)
    session_id = (
        await made(
            ann,
            agent_id=agent["id"],
            session_prompt="The caller is Ann.",
            conversation_context={"ship": "Berta"},
            context_prompts=["It is stormy."],
        )
    )["id"]
    await ann.post(f"/sessions/{session_id}/start")
    assert prompt_of(app, session_id).split("\n\n") == [
        "You are a pirate.",
        "The caller is Ann.",
        "The ship is called Anna.",
        "It is stormy.",
        'What is known so far: {"ship": "Berta"}',
    ]


async def test_the_prompt_is_replaced_in_mid_talk_and_the_agent_stays(app: App, client: Client) -> None:
    ann = await signed_up(client)
    session_id = (await made(ann, agent_id=(await an_agent(ann))["id"], session_prompt="Old."))["id"]
    await said(ann, session_id)
    answer = await ann.put(f"/sessions/{session_id}/prompt", json={"new_prompt": "New."})
    assert (answer.status_code, answer.json()["session_prompt"]) == (200, "New.")
    told = prompt_of(app, session_id)
    assert ("Old." in told, "New." in told, "You are a pirate." in told) == (False, True, True)
    await ann.put(f"/sessions/{session_id}", json={"conversation_context": "He is in a hurry."})
    told = prompt_of(app, session_id)
    assert ("He is in a hurry." in told, "New." in told) == (True, True)


async def test_a_prompt_that_is_changed_before_the_talk_counts(app: App, client: Client) -> None:
    guest = client()
    session_id = (await made(guest, session_prompt="Old."))["id"]
    assert (await guest.put(f"/sessions/{session_id}/prompt", json={"new_prompt": "New."})).status_code == 200
    await guest.post(f"/sessions/{session_id}/start")
    assert prompt_of(app, session_id) == "New."


async def test_preferences_hold_where_no_agent_says_otherwise(app: App, client: Client) -> None:
    ann = await signed_up(client)
    me = (await ann.get("/api/auth/me")).json()
    await app.parts.accounts.change(
        me["id"],
        preferences={
            "preferred_voice": "es",
            "preferred_language": "es",
            "system_prompt_override": "Be brief.",
            "favorite_topics": ["sailing"],
            "speech_speed": 1.5,
        },
    )
    plain, agent = await made(ann), await an_agent(ann, voice="en-gb")
    with_agent = await made(ann, agent_id=agent["id"])
    for session in (plain, with_agent):
        await ann.post(f"/sessions/{session['id']}/start")
    live = app.sessions.get(plain["id"])
    assert live is not None
    assert (live.setup.voice, live.setup.language, live.setup.speed) == ("es", "es", 1.5)
    assert live.setup.prompt == "Be brief.\n\nThe user likes to talk about: sailing."
    live = app.sessions.get(with_agent["id"])
    assert live is not None
    assert (live.setup.voice, live.setup.language, live.setup.agent_name) == ("en-gb", "es", "Pirate")
    assert live.setup.prompt.startswith("You are a pirate.")


async def test_an_agent_brings_its_tools_turn_taking_and_greeting(app: App, client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann, tools=[], turn={"stop_ms": 900}, greeting="Ahoy!", providers={"llm": "no"})
    session_id = (await made(ann, agent_id=agent["id"]))["id"]
    await said(ann, session_id)
    live = app.sessions.get(session_id)
    assert live is not None
    assert live.floor.timing.stop_ms == 900
    assert live.setup.greeting == "Ahoy!"
    assert app.parts.engines.tools
    assert live.setup.tools == []


async def test_a_deleted_agents_talks_stay_readable_and_its_sessions_go_on(client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann)
    old, waiting = await made(ann, agent_id=agent["id"]), await made(ann, agent_id=agent["id"])
    await said(ann, old["id"])
    await ann.post(f"/sessions/{old['id']}/end")
    assert (await ann.delete(f"/agents/{agent['id']}")).status_code == 204
    talk = await ann.get(f"/api/conversation/{old['id']}")
    assert (talk.status_code, talk.json()["agent_id"]) == (200, agent["id"])
    assert (await ann.get(f"/sessions/{old['id']}")).json()["agent_id"] == agent["id"]
    assert (await said(ann, waiting["id"]))["response"] == REPLY


# -- modes ----------------------------------------------------------------------------------------------


async def test_nothing_can_be_typed_in_a_voice_session(client: Client) -> None:
    guest = client()
    session_id = (await made(guest, mode="voice"))["id"]
    answer = await guest.post(f"/sessions/{session_id}/message", json={"message": "hi"})
    assert answer.status_code == 409
    assert "voice only" in answer.json()["detail"]
    assert (await guest.put(f"/sessions/{session_id}", json={"mode": "both"})).json()["mode"] == "both"
    assert (await said(guest, session_id))["response"] == REPLY


async def test_an_agent_that_cannot_hear_makes_no_voice_session(client: Client) -> None:
    ann = await signed_up(client)
    agent = await an_agent(ann, voice_enabled=False)
    answer = await ann.post("/sessions/", json={"agent_id": agent["id"], "mode": "voice"})
    assert answer.status_code == 422
    session_id = (await made(ann, agent_id=agent["id"], mode="both"))["id"]
    assert (await ann.put(f"/sessions/{session_id}", json={"mode": "voice"})).status_code == 422


# -- ways in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["join", "start"])
async def test_joining_and_starting_answer_the_way_in(app: App, client: Client, act: str) -> None:
    ann = await signed_up(client)
    session_id = (await made(ann))["id"]
    answer = await ann.post(f"/sessions/{session_id}/{act}")
    assert answer.status_code == 200
    entrance = answer.json()
    assert entrance.keys() == FIELDS | {"ws_url", "token", "expires_at"}
    assert entrance["ws_url"] == f"ws://parley.test/ws/voice?session_id={session_id}"
    assert (app.sessions.get(session_id) is not None) is (act == "start")
    program = client()
    program.headers["Authorization"] = f"Bearer {entrance['token']}"
    assert (await program.get(f"/sessions/{session_id}")).status_code == 200
    other = (await made(ann))["id"]
    assert (await program.get(f"/sessions/{other}")).status_code == 404
    assert (await program.post(f"/sessions/{other}/message", json={"message": "hi"})).status_code == 404


async def test_a_late_token_opens_nothing_but_goes_on_with_what_it_opened(app: App, client: Client) -> None:
    ann = await signed_up(client)
    new, begun = await made(ann), await made(ann)
    await said(ann, begun["id"])
    for session, status in ((new, 404), (begun, 200)):
        program = client()
        token = app.parts.keys.room_token(session["id"], "ann", -1)
        program.headers["Authorization"] = f"Bearer {token}"
        answer = await program.post(f"/sessions/{session['id']}/message", json={"message": "hi"})
        assert answer.status_code == status, answer.text


class TestWithoutGuests:
    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__GUESTS": "false"}

    async def test_strangers_make_no_sessions_and_tokens_only_talk_in_theirs(self, client: Client) -> None:
        assert (await client().post("/sessions/", json={})).status_code == 401
        ann = await signed_up(client)
        session_id = (await made(ann))["id"]
        program = client()
        token = (await ann.post(f"/sessions/{session_id}/join")).json()["token"]
        program.headers["Authorization"] = f"Bearer {token}"
        assert (await program.post("/sessions/", json={})).status_code == 401
        assert (
            await program.post(f"/sessions/{session_id}/message", json={"message": "hi"})
        ).status_code == 200


async def test_a_guest_who_signs_up_keeps_the_session(client: Client) -> None:
    browser = client()
    await browser.get("/chat")
    session_id = (await made(browser))["id"]
    await said(browser, session_id)
    answer = await browser.post(
        "/api/auth/register", json={"email": "ann@example.org", "password": "a long and odd sentence"}
    )
    assert answer.status_code == 201
    assert (await browser.get("/sessions/")).json()["items"][0]["id"] == session_id
    assert (await client().get(f"/sessions/{session_id}")).status_code == 404


# -- who is connected -----------------------------------------------------------------------------------


async def test_status_counts_everybody_and_names_only_ones_own(client: Client) -> None:
    ann, bob = await signed_up(client), await bearer(client)
    session_id = (await made(ann))["id"]
    await said(ann, session_id)
    for who, own in ((ann, [session_id]), (bob, []), (client(), [])):
        status = (await who.get("/ws/status")).json()
        assert (status["active_sessions"], status["active_connections"]) == (1, 0)
        assert [s["session_id"] for s in status["sessions"]] == own


async def test_disconnecting_ends_a_live_session_of_ones_own(app: App, client: Client) -> None:
    ann, bob = await signed_up(client), await bearer(client)
    session_id = (await made(ann))["id"]
    path = f"/ws/disconnect/{session_id}"
    assert (await ann.post(path)).status_code == 404  # not live yet
    await said(ann, session_id)
    assert (await bob.post(path)).status_code == 404
    answer = await ann.post(path)
    assert (answer.status_code, answer.json()) == (200, {"session_id": session_id, "disconnected": True})
    assert len(app.sessions) == 0
    assert (await ann.get(f"/sessions/{session_id}")).json()["is_active"] is False


def test_messages_and_prompts_may_be_as_long_as_at_the_socket() -> None:
    assert (MOST_CHARS, MOST_PROMPT_CHARS) == (MAX_TEXT_CHARS, MAX_PROMPT_CHARS)
