"""Rooms without LiveKit: tokens, sessions, summaries; and which other sites' pages may ask."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from server.app import App
from tests.routes.conftest import Client, bearer, signed_up

ROOM = {"room_name": "kitchen", "participant_name": "Ann Lee"}


async def opened(app: App, url: str) -> list[dict[str, Any]]:
    """What a client is sent that opens the address and goes again."""
    split = urlsplit(url)
    scope = {
        "type": "websocket",
        "path": split.path,
        "query_string": split.query.encode(),
        "headers": [(b"host", b"parley.test")],
        "client": ("203.0.113.7", 5000),
    }
    incoming: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1001},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def said(sent: list[dict[str, Any]]) -> dict[str, Any]:
    """The server's first JSON message."""
    found: dict[str, Any] = json.loads(next(m["text"] for m in sent if "text" in m))
    return found


def code(sent: list[dict[str, Any]]) -> int:
    return next((m["code"] for m in sent if m["type"] == "websocket.close"), 0)


async def test_a_token_opens_its_session_and_reads_what_becomes_of_it(app: App, client: Client) -> None:
    program = await bearer(client)
    answer = await program.post("/token", json=ROOM)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["room_name"], found["participant_name"]) == ("kitchen", "Ann Lee")
    assert found["url"].startswith("ws://parley.test/ws/voice?token=")
    assert parse_qs(urlsplit(found["url"]).query)["token"] == [found["token"]]
    left_s = (datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 3500 < left_s <= 3601

    connected = said(await opened(app, found["url"]))
    assert (connected["type"], connected["session_id"]) == ("connected", found["session_id"])

    guest = client()  # without any cookie: the token is all it has
    guest.headers["Authorization"] = f"Bearer {found['token']}"
    text = {"session_id": found["session_id"], "text": "hello"}
    assert (await guest.post("/conversation/process", json=text)).status_code == 200
    answer = await guest.get("/summary/kitchen")
    assert answer.status_code == 200, answer.text
    summary = answer.json()
    assert [line["role"] for line in summary["transcript"]] == ["user", "assistant"]
    assert (summary["session_id"], summary["user_name"]) == (found["session_id"], "Ann Lee")
    assert (await guest.get("/summary/garden")).status_code == 404

    assert (await guest.delete(f"/session/{found['session_id']}")).status_code == 204
    assert (await guest.get(f"/api/conversation/{found['session_id']}")).status_code == 200
    after = (await program.get("/summary/kitchen")).json()
    assert "“hello”" in after["summary"]
    assert after["cost_breakdown"]["total_cost"] == 0.0
    assert after["duration_seconds"] > 0
    assert {*after} >= {"appointments_discussed", "preferences_mentioned", "user_phone", "transcript"}
    assert code(await opened(app, found["url"])) == 1008  # the room is closed


async def test_a_second_participant_comes_into_the_same_session(app: App, client: Client) -> None:
    program = await bearer(client)
    first = (await program.get("/token?room=kitchen&identity=ann&name=Ann")).json()
    second = (await program.get("/token?room=kitchen&identity=ben")).json()
    assert (first["participant_name"], second["participant_name"]) == ("Ann", "ben")
    assert first["session_id"] == second["session_id"]
    assert first["token"] != second["token"]
    said(await opened(app, first["url"]))
    assert (await program.get("/token?room=kitchen&identity=ben")).json()["session_id"] == first["session_id"]
    session = app.sessions.get(first["session_id"])
    assert session is not None
    await session.end("over")
    third = (await program.get("/token?room=kitchen&identity=ann")).json()
    assert third["session_id"] != first["session_id"]


async def test_rooms_of_one_name_are_not_shared_by_strangers(client: Client) -> None:
    ann, bob = await signed_up(client), await bearer(client)
    stranger, other = client(), client()
    ids = [(await who.post("/token", json=ROOM)).json()["session_id"] for who in (ann, bob, stranger, other)]
    assert len(set(ids)) == 4
    again = (await stranger.post("/token", json=ROOM)).json()["session_id"]
    assert again not in ids  # nobody can tell that it is the same stranger
    assert (await stranger.get("/summary/kitchen")).status_code == 404
    assert (await bob.get(f"/summary/{ids[0]}")).status_code == 404
    assert (await ann.get("/summary/kitchen")).json()["session_id"] == ids[0]
    assert (await bob.delete(f"/session/{ids[0]}")).status_code == 404
    await stranger.get("/")  # the page gives a cookie: now it has rooms of its own
    mine = (await stranger.post("/token", json=ROOM)).json()["session_id"]
    assert (await stranger.post("/token", json=ROOM)).json()["session_id"] == mine
    assert (await stranger.get("/summary/kitchen")).json()["session_id"] == mine


async def test_a_session_is_made_with_its_prompt(app: App, client: Client) -> None:
    browser = client()
    body = {"room": "Küche 7/b", "identity": "ann", "system_prompt": "You are a cook."}
    answer = await browser.post("/session", json=body)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    said(await opened(app, found["url"]))
    session = app.sessions.get(found["session_id"])
    assert session is not None
    assert "You are a cook." in session.dialogue.system_prompt
    browser.headers["Authorization"] = f"Bearer {found['token']}"
    answer = await browser.get("/summary/K%C3%BCche%207%2Fb")
    assert (answer.status_code, answer.json()["room_name"]) == (200, "Küche 7/b")
    assert answer.json()["user_name"] == "ann"
    assert (await client().delete(f"/session/{found['session_id']}")).status_code == 204
    assert session.ended


async def test_a_token_is_for_one_session_alone(app: App, client: Client) -> None:
    program = await bearer(client)
    mine = (await program.post("/token", json=ROOM)).json()
    other = (await program.post("/token", json={**ROOM, "room_name": "garden"})).json()
    thief = client()
    thief.headers["Authorization"] = f"Bearer {mine['token']}"
    assert (await thief.get("/summary/garden")).status_code == 404
    assert (await thief.get(f"/summary/{other['session_id']}")).status_code == 404
    assert (await thief.delete(f"/session/{other['session_id']}")).status_code == 404
    assert (await thief.get("/auth/me")).status_code == 401
    forged = mine["token"][:-2] + "xx"
    assert code(await opened(app, f"ws://parley.test/ws/voice?token={forged}")) == 1008
    address = f"ws://parley.test/ws/voice?token={mine['token']}&session_id={other['session_id']}"
    assert code(await opened(app, address)) == 1008
    late = app.parts.keys.room_token(mine["session_id"], "ann", -1)
    assert code(await opened(app, f"ws://parley.test/ws/voice?token={late}")) == 1008


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("room=kitchen", "identity is missing"),
        ("identity=ann", "room is missing"),
        ("room=%20&identity=ann", "room must have at least 1"),
        (f"room={'x' * 129}&identity=ann", "room must have at most 128"),
        ("room=a%00b&identity=ann", "control characters"),
        ("room=a&identity=ann%0d%0a", "control characters"),
    ],
)
async def test_odd_names_are_refused(client: Client, query: str, says: str) -> None:
    answer = await client().get(f"/token?{query}")
    if says == "control characters" and query.endswith("%0a"):
        assert answer.json()["identity"] == "ann"  # what is only around a name does not belong to it
        return
    assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.text


# -- other sites' pages ---------------------------------------------------------------------------------

NAMED, OTHER = "https://shop.example", "https://evil.example"


def preflight(
    origin: str, method: str = "POST", headers: str = "authorization,content-type"
) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


class TestNamedOrigins:
    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_SERVER__ALLOWED_ORIGINS": f'["{NAMED}"]'}

    async def test_a_named_origin_may_ask_with_its_cookie(self, client: Client) -> None:
        answer = await client().options("/token", headers=preflight(NAMED))
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == NAMED
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert {"POST", "DELETE"} <= {
            m.strip() for m in answer.headers["access-control-allow-methods"].split(",")
        }
        assert answer.headers["x-content-type-options"] == "nosniff"  # ours are on it too
        answer = await client().post("/token", json=ROOM, headers={"Origin": NAMED})
        assert answer.headers["access-control-allow-origin"] == NAMED
        assert "Origin" in answer.headers["vary"]
        refused = await client().post("/token", json={}, headers={"Origin": NAMED})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (422, NAMED)

    async def test_others_may_not(self, client: Client) -> None:
        answer = await client().options("/token", headers=preflight(OTHER))
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers
        answer = await client().get("/health", headers={"Origin": OTHER})
        assert "access-control-allow-origin" not in answer.headers
        odd = await client().options("/token", headers=preflight(NAMED, headers="x-evil"))
        assert odd.status_code == 400


class TestEverybody:
    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_SERVER__ALLOWED_ORIGINS": '["*"]'}

    async def test_any_page_may_ask_but_not_as_somebody(self, client: Client) -> None:
        answer = await client().options("/token", headers=preflight(OTHER))
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        browser = await signed_up(client)
        answer = await browser.get("/api/auth/me", headers={"Origin": OTHER})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        headers = {"Origin": OTHER, "Sec-Fetch-Site": "same-site"}
        answer = await browser.post("/session", json={"room": "a", "identity": "b"}, headers=headers)
        assert answer.status_code == 403


async def test_without_origins_nothing_is_shared(client: Client) -> None:
    answer = await client().options("/token", headers=preflight(NAMED))
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
