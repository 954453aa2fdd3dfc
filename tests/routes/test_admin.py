"""What administrators see and do, and that nobody else does."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from server.app import App
from storage.conversations import row_change
from storage.journal import Entry, Fold
from storage.times import iso, parse
from tests.routes.conftest import PASSWORD, Client, bearer, signed_up

GUEST_TALK, BOBS_TALK = "20261226_100900_aaaaaaaaaaaaaaaaaaaa", "20261225_100900_bbbbbbbbbbbbbbbbbbbb"
PATHS = ("/api/admin/users", "/api/admin/sessions", "/api/admin/usage")


async def id_of(browser: httpx2.AsyncClient) -> str:
    user_id: str = (await browser.get("/api/auth/me")).json()["id"]
    return user_id


async def told(app: App, session_id: str, owner: str, user_id: str | None, said: int, seconds: float) -> None:
    """A talk of that owner, as rows."""
    fold = Fold()
    start = f"{session_id[:4]}-{session_id[4:6]}-{session_id[6:8]}T10:09:00.000Z"
    fold.add(Entry(0, "open", {"owner": owner, "user_id": user_id, "start_time": start}))
    for n in range(1, 2 * said, 2):
        fold.add(Entry(n, "message", {"n": n, "role": "user", "content": "secret words"}))
        fold.add(Entry(n, "message", {"n": n + 1, "role": "assistant", "content": "an answer"}))
    line = {"stage": "llm", "provider": "openai", "model": "m", "unit": "token", "units": 10, "turn": 1}
    fold.add(Entry(5, "cost", {**line, "price": 0.25, "outcome": "ok"}))
    began = parse(start)
    assert began is not None
    end = iso(began + timedelta(seconds=seconds))
    fold.add(Entry(round(seconds * 1000), "end", {"time": end, "reason": "ended by the client"}))
    await app.parts.conversations.save(row_change(session_id, fold))


async def test_only_administrators_come_in(client: Client) -> None:
    admin, user = await signed_up(client), await signed_up(client, "bob@example.org")
    change = f"/api/admin/users/{await id_of(user)}"
    for browser, status in ((client(), 401), (user, 403), (admin, 200)):
        answers = [await browser.get(path) for path in PATHS]
        answers.append(await browser.patch(change, json={}))
        assert [answer.status_code for answer in answers] == [status] * 4


async def test_users_are_listed_and_looked_for(client: Client) -> None:
    admin, _ = await signed_up(client), await bearer(client)
    found = (await admin.get("/api/admin/users")).json()
    assert found["total"] == 2
    ann, bob = found["items"]
    assert (ann["email"], ann["is_admin"], ann["is_disabled"]) == ("ann@example.org", True, False)
    assert (bob["username"], bob["has_password"], bob["live_talks"]) == ("bob", True, 0)
    assert bob["last_login_at"] >= bob["created_at"]
    assert not {"password_hash", "preferences", "phone"} & bob.keys()
    found = (await admin.get("/api/admin/users", params={"q": "BOB@"})).json()
    assert ([item["id"] for item in found["items"]], found["total"]) == ([bob["id"]], 1)
    for odd in ("%", "a\0b", "_"):
        assert (await admin.get("/api/admin/users", params={"q": odd})).json()["total"] == 0
    page = (await admin.get("/api/admin/users?limit=1&offset=1")).json()
    assert ([item["id"] for item in page["items"]], page["total"]) == ([bob["id"]], 2)


async def test_a_disabled_user_is_out_everywhere_until_enabled_again(app: App, client: Client) -> None:
    admin, program = await signed_up(client), await bearer(client)
    browser = client()
    login = {"email": "bob@example.org", "password": PASSWORD}
    await browser.post("/api/auth/login", json=login)
    user_id = await id_of(browser)
    answer = await admin.patch(f"/api/admin/users/{user_id}", json={"is_disabled": True})
    assert (answer.status_code, answer.json()["is_disabled"]) == (200, True)
    assert (await browser.get("/api/auth/me")).status_code == 401
    assert (await program.get("/auth/me")).status_code == 401
    assert (await client().post("/api/auth/login", json=login)).status_code == 401
    assert await app.parts.credentials.list(user_id) == []
    await admin.patch(f"/api/admin/users/{user_id}", json={"is_disabled": False})
    assert (await browser.get("/api/auth/me")).status_code == 401  # the old logins are over for good
    assert (await client().post("/api/auth/login", json=login)).status_code == 200


async def test_disabling_ends_live_talks_and_leaves_others(app: App, client: Client) -> None:
    admin, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    made = [(await browser.post("/sessions/", json={})).json()["id"] for browser in (admin, bob)]
    for browser, session_id in zip((admin, bob), made, strict=True):
        assert (await browser.post(f"/sessions/{session_id}/start")).status_code == 200
    assert app.sessions.get(made[1]) is not None
    listed = (await admin.get("/api/admin/sessions")).json()
    assert (listed["live"], {item["state"] for item in listed["items"]}) == (2, {"live"})
    answer = await admin.patch(f"/api/admin/users/{await id_of(bob)}", json={"is_disabled": True})
    assert answer.json()["live_talks"] == 0
    assert app.sessions.get(made[1]) is None
    assert app.sessions.get(made[0]) is not None
    stored = await app.archive.conversation(made[1])
    assert stored is not None
    assert stored["end_reason"] == "the account is disabled"


async def test_the_last_administrator_stays(client: Client) -> None:
    admin, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    me, other = await id_of(admin), await id_of(bob)
    for change in ({"is_admin": False}, {"is_disabled": True}, {"is_admin": True, "is_disabled": True}):
        assert (await admin.patch(f"/api/admin/users/{me}", json=change)).status_code == 409
    await admin.patch(f"/api/admin/users/{other}", json={"is_admin": True})
    assert (await bob.get("/api/admin/users")).status_code == 200
    assert (await bob.patch(f"/api/admin/users/{me}", json={"is_disabled": True})).status_code == 200
    assert (await bob.patch(f"/api/admin/users/{other}", json={"is_admin": False})).status_code == 409


@pytest.mark.parametrize(
    ("user_id", "body", "status"),
    [
        ("nobody", {"is_admin": True}, 404),
        ("a%00b", {"is_admin": True}, 404),
        ("nobody", {"password_hash": "x"}, 422),
        ("nobody", {"is_admin": "perhaps"}, 422),
    ],
)
async def test_what_cannot_be_changed(
    client: Client, user_id: str, body: dict[str, Any], status: int
) -> None:
    admin = await signed_up(client)
    assert (await admin.patch(f"/api/admin/users/{user_id}", json=body)).status_code == status


async def test_sessions_are_listed_without_what_was_said_or_the_keys_of_guests(
    app: App, client: Client
) -> None:
    admin, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    user_id = await id_of(bob)
    await told(app, GUEST_TALK, "guest:1", None, said=1, seconds=30)
    await told(app, BOBS_TALK, f"user:{user_id}", user_id, said=2, seconds=90)
    planned = (await bob.post("/sessions/", json={})).json()["id"]
    answer = await admin.get("/api/admin/sessions")
    found = {item["state"] + str(item["email"]): item for item in answer.json()["items"]}
    assert answer.json()["total"] == 3
    assert found["plannedbob@example.org"]["session_id"] == planned
    assert found["overbob@example.org"]["session_id"] == BOBS_TALK
    assert found["overbob@example.org"]["duration_seconds"] == 90
    assert found["overNone"]["session_id"] is None
    assert GUEST_TALK not in answer.text
    assert "secret words" not in answer.text
    his = (await admin.get("/api/admin/sessions", params={"user_id": user_id, "limit": 1})).json()
    assert (len(his["items"]), his["total"]) == (1, 2)


async def test_usage_is_summed_by_user_and_day_and_by_provider(app: App, client: Client) -> None:
    admin, bob = await signed_up(client), await signed_up(client, "bob@example.org")
    user_id = await id_of(bob)
    await told(app, GUEST_TALK, "guest:1", None, said=1, seconds=30)
    await told(app, BOBS_TALK, f"user:{user_id}", user_id, said=2, seconds=90)
    await told(app, BOBS_TALK.replace("b", "c"), f"user:{user_id}", user_id, said=0, seconds=30)
    answer = await admin.get("/api/admin/usage?from=2026-12-25&to=2026-12-26")
    found = answer.json()
    assert (found["from"], found["to"]) == ("2026-12-25T00:00:00.000Z", "2026-12-27T00:00:00.000Z")
    days = [
        (day["date"], day["email"], day["talks"], day["utterances"], day["minutes"], day["cost"])
        for day in found["items"]
    ]
    assert days == [
        ("2026-12-26", None, 1, 1, 0.5, 0.25),
        ("2026-12-25", "bob@example.org", 2, 2, 2.0, 0.5),
    ]
    assert found["total"] == 2
    assert [(p["provider"], p["requests"], p["price"]) for p in found["providers"]] == [("openai", 3, 0.75)]
    one = (await admin.get("/api/admin/usage?from=2026-12-25&to=2026-12-25")).json()
    assert ([day["date"] for day in one["items"]], one["providers"][0]["requests"]) == (["2026-12-25"], 2)
    assert (await admin.get("/api/admin/usage?from=yesterday")).status_code == 422
    recent = (await admin.get("/api/admin/usage")).json()
    assert recent["to"][:10] >= iso(datetime.now(UTC))[:10]
    assert json.dumps(recent["items"]) == "[]"


class TestNamed:
    """`[accounts] admins`, where no mails are sent."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__ADMINS": '["Boss@example.org"]'}

    async def test_named_accounts_administer_and_the_first_does_not(self, app: App, client: Client) -> None:
        first, boss = await signed_up(client), await signed_up(client, "boss@example.org")
        assert (await first.get("/api/auth/me")).json()["is_admin"] is False
        assert (await boss.get("/api/auth/me")).json()["is_admin"] is True
        await app.parts.accounts.change(await id_of(boss), is_admin=False)
        await app.parts.administrators.settle_all()  # as at the next start
        assert (await boss.get("/api/auth/me")).json()["is_admin"] is True
