"""Agents: made, listed, read, changed and deleted by the user whose they are."""

from typing import Any

import httpx2
import pytest

from tests.routes.conftest import Client, bearer, signed_up

FIELDS = {
    *("id", "name", "initial_prompt", "context_prompts", "voice_enabled", "text_enabled", "response_type"),
    *("voice", "language", "created_at", "updated_at"),
}
PIRATE = {
    "name": "Pirate",
    "initial_prompt": "You are a pirate.",
    "context_prompts": ["The ship is called Anna."],
    "voice_enabled": True,
    "text_enabled": True,
    "response_type": "both",
}


async def made(who: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """An agent that was just made."""
    answer = await who.post("/agents/", json={**PIRATE, **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_agent_is_made_with_the_contracts_fields_and_no_others(client: Client) -> None:
    ann = await signed_up(client)
    agent = await made(ann)
    assert agent.keys() == FIELDS
    assert {key: agent[key] for key in PIRATE} == PIRATE
    assert (agent["voice"], agent["language"]) == (None, None)
    assert (await ann.get(f"/agents/{agent['id']}")).json() == agent


async def test_only_the_name_is_needed(client: Client) -> None:
    program = await bearer(client)
    answer = await program.post("/agents/", json={"name": "Plain"})
    assert answer.status_code == 201
    agent = answer.json()
    assert (agent["initial_prompt"], agent["context_prompts"], agent["response_type"]) == ("", [], "both")
    assert (agent["voice_enabled"], agent["text_enabled"]) == (True, True)


async def test_a_user_sees_changes_and_deletes_only_their_own(client: Client) -> None:
    ann, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    agent = await made(bob)
    path = f"/agents/{agent['id']}"
    assert (await ann.get(path)).status_code == 404
    assert (await ann.put(path, json={"name": "Mine"})).status_code == 404
    assert (await ann.delete(path)).status_code == 404
    assert (await ann.get("/agents/")).json() == {"items": [], "total": 0}
    assert (await bob.get(path)).json() == agent


async def test_put_changes_what_it_is_given_and_keeps_the_rest(client: Client) -> None:
    ann = await signed_up(client)
    agent = await made(ann, voice="en-gb", greeting="Ahoy!")
    answer = await ann.put(f"/agents/{agent['id']}", json={"language": "es", "voice": None})
    assert answer.status_code == 200
    changed = answer.json()
    assert changed == {**agent, "language": "es", "voice": None, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] >= agent["updated_at"]
    gone = (await ann.put(f"/agents/{agent['id']}", json={"greeting": None})).json()
    assert "greeting" not in gone


async def test_a_deleted_agent_is_nowhere_any_more(client: Client) -> None:
    ann = await signed_up(client)
    path = f"/agents/{(await made(ann))['id']}"
    assert (await ann.delete(path)).status_code == 204
    assert (await ann.delete(path)).status_code == 404
    assert (await ann.get(path)).status_code == 404
    assert (await ann.get("/agents/")).json()["total"] == 0
    assert (await ann.post("/sessions/", json={"agent_id": path.rpartition("/")[2]})).status_code == 404


async def test_agents_are_listed_oldest_first_in_pages(client: Client) -> None:
    ann = await signed_up(client)
    names = [(await made(ann, name=f"Agent {n}"))["name"] for n in range(3)]
    page = (await ann.get("/agents/?limit=2&offset=1")).json()
    assert page["total"] == 3
    assert [agent["name"] for agent in page["items"]] == names[1:]


async def test_guests_have_no_agents(client: Client) -> None:
    assert (await client().post("/agents/", json=PIRATE)).status_code == 401
    assert (await client().get("/agents/")).status_code == 401


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"name": " "}, "name"),
        ({"nonsense": 1}, "nonsense"),
        ({"response_type": "loud"}, "response_type"),
        ({"context_prompts": "one"}, "context_prompts"),
        ({"voice_enabled": False, "text_enabled": False}, "cannot both be false"),
        ({"turn": {"stop_ms": -1}}, "turn.stop_ms"),
        ({"speed": 9}, "speed"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(client: Client, wrong: dict[str, Any], word: str) -> None:
    ann = await signed_up(client)
    answer = await ann.post("/agents/", json={**PIRATE, **wrong})
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


async def test_an_agent_cannot_be_made_mute_in_two_steps(client: Client) -> None:
    ann = await signed_up(client)
    agent = await made(ann, voice_enabled=False)
    answer = await ann.put(f"/agents/{agent['id']}", json={"text_enabled": False})
    assert answer.status_code == 422


async def test_tools_turn_taking_and_providers_are_kept_and_shown(client: Client) -> None:
    ann = await signed_up(client)
    more = {"tools": ["get_time"], "turn": {"stop_ms": 900}, "providers": {"llm": "rules"}, "speed": 1.25}
    agent = await made(ann, **more)
    assert {key: agent[key] for key in more} == more
    assert agent.keys() == FIELDS | more.keys()
