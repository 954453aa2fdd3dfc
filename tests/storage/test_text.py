"""Text from outside that a database might choke on."""

import json

import pytest

from storage.accounts import Accounts
from storage.agents import Agents
from storage.conversations import Conversations, row_change
from storage.credentials import Credentials
from storage.database import Database
from storage.journal import Entry, Fold
from storage.schema import storable

ODD = [
    "a\0b",
    "half \ud83d of a pair",
    "\udc00",
    "two halves \ud83d\ude00 are one",
    "ñ 我 🎈",
    "' \\ % _ \u2028 \"",
]


@pytest.mark.parametrize("odd", ODD)
async def test_odd_text_is_stored_and_found_again(database: Database, odd: str) -> None:
    accounts, agents = Accounts(database), Agents(database)
    user = await accounts.create(email="ann@example.org", username=odd, display_name=odd)
    assert user.username == user.display_name == storable(odd)
    assert (await accounts.by_login(odd)) == user
    assert (await accounts.list(text=odd))[1] == 1
    changed = await accounts.change(user.id, preferences={"favorite_topics": [odd]})
    assert changed is not None
    same = json.loads(json.dumps(odd))  # JSON can tell all of it
    assert changed.preferences == {"favorite_topics": [same]}
    agent = await agents.create(user.id, name=odd, initial_prompt=odd, context_prompts=[odd], extra=odd)
    assert (agent["name"], agent["context_prompts"], agent["extra"]) == (storable(odd), [same], same)


def test_only_what_cannot_be_stored_is_replaced() -> None:
    assert [storable(odd) for odd in ODD] == [
        "a\ufffdb",
        "half \ufffd of a pair",
        "\ufffd",
        "two halves 😀 are one",
        *ODD[4:],
    ]


async def test_a_search_for_odd_text_finds_nobody_and_no_key_is_good(database: Database) -> None:
    accounts, credentials = Accounts(database), Credentials(database)
    await accounts.create(email="ann@example.org", username="ann")
    for odd in ("ann\0", "\0", "ann\ud800"):
        assert await accounts.by_login(odd) is None
        assert await accounts.by_email(odd) is None
        assert (await accounts.list(text=odd))[1] == 0
        assert await credentials.user_of(odd) is None
        assert await credentials.take_mail_key(odd, "reset") is None


async def test_a_talk_with_odd_and_long_values_reaches_the_database(database: Database) -> None:
    rows, state = Conversations(database), Fold()
    long = "x" * 1000
    state.add(
        Entry(0, "open", {"owner": "guest:1", "start_time": "2026-12-01", "language": long, "mode": long})
    )
    state.add(
        Entry(1, "message", {"n": 1, "role": long, "content": "a\0b\ud800", "audio": long, "type": "é" * 70})
    )
    state.add(
        Entry(2, "message", {"n": 2, "role": "tool", "name": "t", "result": {"x": float("nan"), "y": "\0"}})
    )
    state.add(Entry(3, "turn", {"turn": 1, "time": long, "stt_ms": 3, "cost": {"stt": float("inf")}}))
    request = {"stage": long, "provider": long, "error": long, "unit": long, "input_tokens": 1 << 40}
    state.add(Entry(4, "cost", {**request, "turn": 1, "price": 0.5}))
    await rows.save(row_change("s", state))
    row = await rows.get("s")
    assert row is not None
    assert (len(row["language"]), row["total_cost"]) == (32, 0.5)
    first, second = await rows.messages("s")
    assert (len(first["role"]), len(first["audio"]), first["type"]) == (32, 32, "é" * 64)
    assert second["more"]["result"]["x"] is None
