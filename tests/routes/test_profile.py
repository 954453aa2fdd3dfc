"""Profile, preferences, password, logins and API keys, taking everything along, leaving."""

import csv
import io
import json
import zipfile
from typing import Any

import httpx2
import pytest

from server.app import App
from server.auth import GUEST_COOKIE, LOGIN_COOKIE
from server.removal import Removal
from tests.routes.conftest import PASSWORD, Client, bearer, signed_up
from tests.routes.talks import SHORT, talk, talking, user_of

NEW = "quite another sentence"


@pytest.fixture
def settings() -> dict[str, str]:
    return SHORT


async def test_a_profile_is_seen_and_changed(client: Client) -> None:
    browser = await signed_up(client)
    found = (await browser.get("/api/users/profile")).json()
    assert (found["email"], found["phone"], found["has_password"]) == ("ann@example.org", None, True)
    assert found["preferences"]["favorite_topics"] == []
    change = {"display_name": " Ann ", "username": "ann", "phone": "+1 (555) 123-4567"}
    answer = await browser.patch("/api/users/profile", json=change)
    assert answer.status_code == 200
    changed = answer.json()
    assert (changed["display_name"], changed["username"], changed["phone"]) == ("Ann", "ann", "5551234567")
    assert (await browser.patch("/api/users/profile", json={})).json() == changed
    cleared = (await browser.patch("/api/users/profile", json={"phone": None})).json()
    assert (cleared["phone"], cleared["username"]) == (None, "ann")


@pytest.mark.parametrize(
    "change",
    [
        {"phone": "12345"},
        {"phone": "５５５１２３４５６７"},
        {"username": "a"},
        {"email": "nonsense"},
        {"email": None},
        {"is_admin": True},
        {"display_name": "x" * 201},
        {"display_name": "a\0b"},
    ],
)
async def test_a_profile_that_cannot_be_is_refused(client: Client, change: dict[str, Any]) -> None:
    browser = await signed_up(client)
    answer = await browser.patch("/api/users/profile", json=change)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


async def test_what_others_have_is_not_to_be_had(client: Client) -> None:
    ann, bob = await signed_up(client), await bearer(client)
    await bob.patch("/api/users/profile", json={"phone": "5551234567"})
    for change in (
        {"username": "BOB"},
        {"phone": "555 123 4567"},
        {"email": "bob@example.org", "current_password": PASSWORD},
    ):
        assert (await ann.patch("/api/users/profile", json=change)).status_code == 409


async def test_another_email_needs_the_password_and_is_not_verified(app: App, client: Client) -> None:
    browser = await signed_up(client)
    await app.parts.accounts.change((await user_of(app)).id, is_verified=True)
    change = {"email": "ann@other.example"}
    assert (await browser.patch("/api/users/profile", json=change)).status_code == 403
    answer = await browser.patch("/api/users/profile", json={**change, "current_password": PASSWORD})
    assert (answer.json()["email"], answer.json()["is_verified"]) == ("ann@other.example", False)


async def test_preferences_are_changed_one_by_one(client: Client) -> None:
    browser = await signed_up(client)
    wishes = {
        "preferred_voice": "en-gb+f2",
        "preferred_language": "es-MX",
        "favorite_topics": ["chess", " tea ", "chess", ""],
        "system_prompt_override": "Be brief.",
        "speech_speed": 1.5,
    }
    answer = await browser.put("/api/users/preferences", json=wishes)
    assert answer.status_code == 200
    kept = {**wishes, "favorite_topics": ["chess", "tea"], "speech_pitch": None}
    assert answer.json() == kept
    answer = await browser.put("/api/users/preferences", json={"speech_speed": None, "speech_pitch": 0.5})
    assert answer.json() == {**kept, "speech_speed": None, "speech_pitch": 0.5}
    assert (await browser.get("/api/users/profile")).json()["preferences"] == answer.json()


@pytest.mark.parametrize(
    "wishes",
    [
        {"speech_speed": 3},
        {"speech_pitch": "high"},
        {"preferred_language": "not a language"},
        {"favorite_topics": ["x" * 101]},
        {"favorite_topics": ["x"] * 51},
        {"system_prompt_override": "x" * 32_001},
        {"colour": "green"},
    ],
)
async def test_preferences_that_cannot_be_are_refused(client: Client, wishes: dict[str, Any]) -> None:
    browser = await signed_up(client)
    assert (await browser.put("/api/users/preferences", json=wishes)).status_code == 422


def cookie_of(browser: httpx2.AsyncClient) -> str:
    return next(c.value or "" for c in browser.cookies.jar if c.name == LOGIN_COOKIE)


async def test_a_new_password_renews_this_login_and_ends_every_other(client: Client) -> None:
    browser = await signed_up(client)
    account = {"email": "ann@example.org", "password": PASSWORD}
    other, program = client(), client()
    await other.post("/api/auth/login", json=account)
    login = {"username": "ann@example.org", "password": PASSWORD}
    token = (await program.post("/auth/login", json=login)).json()["access_token"]
    program.headers["Authorization"] = f"Bearer {token}"
    old = cookie_of(browser)
    change = {"current_password": PASSWORD, "new_password": NEW}
    answer = await browser.post("/api/users/change-password", json=change)
    assert answer.status_code == 200
    assert answer.json()["access_token"] is None
    assert (await browser.get("/api/auth/me")).status_code == 200
    assert (await other.get("/api/auth/me")).status_code == 401
    assert (await program.get("/auth/me")).status_code == 401
    thief = client()
    thief.cookies.set(LOGIN_COOKIE, old)
    assert (await thief.get("/api/auth/me")).status_code == 401
    assert (await client().post("/api/auth/login", json=account)).status_code == 401
    assert (await client().post("/api/auth/login", json={**account, "password": NEW})).status_code == 200


async def test_a_programs_new_password_comes_with_a_new_token(client: Client) -> None:
    program = await bearer(client)
    change = {"current_password": PASSWORD, "new_password": NEW}
    renewed = (await program.post("/api/users/change-password", json=change)).json()
    assert (await program.get("/auth/me")).status_code == 401
    assert renewed["token_type"] == "bearer"
    program.headers["Authorization"] = f"Bearer {renewed['access_token']}"
    assert (await program.get("/auth/me")).status_code == 200


async def test_a_bad_new_password_or_a_wrong_old_one_changes_nothing(client: Client) -> None:
    browser = await signed_up(client)
    wrong = {"current_password": "wrong", "new_password": NEW}
    assert (await browser.post("/api/users/change-password", json=wrong)).status_code == 403
    bad = {"current_password": PASSWORD, "new_password": "12345678"}
    assert (await browser.post("/api/users/change-password", json=bad)).status_code == 422
    assert (await browser.get("/api/auth/me")).status_code == 200


async def test_guessing_the_old_password_is_limited(client: Client) -> None:
    browser = await signed_up(client)
    for _ in range(10):
        wrong = {"current_password": "wrong", "new_password": NEW}
        assert (await browser.post("/api/users/change-password", json=wrong)).status_code == 403
    right = {"current_password": PASSWORD, "new_password": NEW}
    answer = await browser.post("/api/users/change-password", json=right)
    assert answer.status_code == 429
    assert "retry-after" in answer.headers
    assert (await browser.request("DELETE", "/api/users/me", json={"password": PASSWORD})).status_code == 429


async def test_logins_are_listed_and_ended(client: Client) -> None:
    browser = await signed_up(client)
    account = {"email": "ann@example.org", "password": PASSWORD}
    other = client()
    await other.post("/api/auth/login", json=account, headers={"User-Agent": "Kitchen/1.0"})
    found = (await browser.get("/api/users/logins")).json()
    assert found["total"] == 2
    assert [item["is_current"] for item in found["items"]] == [True, False]
    assert found["items"][1]["label"] == "Kitchen/1.0"
    login_id = found["items"][1]["id"]
    stranger = await signed_up(client, "bob@example.org")
    assert (await stranger.delete(f"/api/users/logins/{login_id}")).status_code == 404
    for nonsense in ("%", "_" * 16, "x%00y"):
        assert (await browser.delete(f"/api/users/logins/{nonsense}")).status_code == 404
    assert (await browser.delete(f"/api/users/logins/{login_id}")).status_code == 204
    assert (await other.get("/api/auth/me")).status_code == 401
    await other.post("/api/auth/login", json=account)
    assert (await browser.delete("/api/users/logins?others=true")).status_code == 204
    assert (await other.get("/api/auth/me")).status_code == 401
    assert (await browser.get("/api/auth/me")).status_code == 200
    assert (await browser.delete("/api/users/logins")).status_code == 204
    assert (await browser.get("/api/auth/me")).status_code == 401
    assert (await stranger.get("/api/auth/me")).status_code == 200


async def test_an_api_key_is_shown_once_and_good_only_for_talking(app: App, client: Client) -> None:
    browser = await signed_up(client)
    answer = await browser.post("/api/users/api-keys", json={"label": "radio", "days": 1})
    assert answer.status_code == 201
    made = answer.json()
    assert made["key"].startswith("pk-")
    listed = (await browser.get("/api/users/api-keys")).json()
    assert listed == {"items": [{k: v for k, v in made.items() if k != "key"}], "total": 1}
    assert (await browser.get("/api/users/logins")).json()["total"] == 1
    for key in (made["key"], made["key"].removeprefix("pk-")):
        program = client()
        program.headers["Authorization"] = f"Bearer {key}"
        answer = await program.get("/api/users/profile")
        assert answer.status_code == 401
        assert "API key is good under /v1/ only" in answer.json()["detail"] or key != made["key"]
        assert (await program.get("/health")).status_code == 200
    scope = {"path": "/v1/models", "headers": [(b"authorization", f"Bearer {made['key']}".encode())]}
    assert (await app.parts.identity.of(scope)).user == await user_of(app)
    stranger = await signed_up(client, "bob@example.org")
    assert (await stranger.delete(f"/api/users/api-keys/{made['id']}")).status_code == 404
    assert (await browser.delete(f"/api/users/logins/{made['id']}")).status_code == 404
    assert (await browser.delete(f"/api/users/api-keys/{made['id']}")).status_code == 204
    assert (await app.parts.identity.of(scope)).is_wrong


async def test_api_keys_are_limited_in_number(client: Client) -> None:
    browser = await signed_up(client)
    for _ in range(50):
        assert (await browser.post("/api/users/api-keys")).status_code == 201
    assert (await browser.post("/api/users/api-keys")).status_code == 409


async def test_everything_of_mine_comes_as_a_zip(app: App, client: Client) -> None:
    browser = await signed_up(client)
    await signed_up(client, "bob@example.org")
    ann, bob = await user_of(app), await user_of(app, "bob@example.org")
    mine = await talk(app, "hello", user=ann)
    await talk(app, "not hers", user=bob)
    assert (await browser.post("/voice/text-to-speech", json={"text": "out of any talk"})).status_code == 200
    answer = await browser.get("/api/users/export")
    assert answer.headers["content-type"] == "application/zip"
    assert "attachment" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.testzip() is None
        assert sorted(found.namelist()) == [
            "agents.json",
            "appointments.json",
            f"audio_files/{mine}/0001_agent.mp3",
            f"audio_files/{mine}/conversation.mp3",
            f"conversations/{mine}.json",
            "ledger.csv",
            "profile.json",
            "sessions.json",
        ]
        assert json.loads(found.read("profile.json"))["email"] == "ann@example.org"
        assert "password" not in found.read("profile.json").decode().replace("has_password", "")
        assert json.loads(found.read(f"conversations/{mine}.json"))["messages"][0]["content"] == "hello"
        sound = app.archive.audio_path(mine, "conversation.mp3").read_bytes()
        assert found.read(f"audio_files/{mine}/conversation.mp3") == sound
        rows = [*csv.DictReader(io.StringIO(found.read("ledger.csv").decode()))]
        assert {(row["session_id"], row["stage"]) for row in rows} == {
            (mine, "llm"),
            (mine, "tts"),
            ("", "tts"),
        }


async def test_exports_are_limited(client: Client) -> None:
    browser = await signed_up(client)
    for _ in range(6):
        assert (await browser.get("/api/users/export")).status_code == 200
    assert (await browser.get("/api/users/export")).status_code == 429


async def leave(browser: httpx2.AsyncClient, password: str = PASSWORD) -> httpx2.Response:
    return await browser.request("DELETE", "/api/users/me", json={"password": password})


async def test_leaving_takes_everything_along(app: App, client: Client) -> None:
    await signed_up(client, "admin@example.org")
    browser = await signed_up(client)
    ann = await user_of(app)
    old = await talk(app, "hello", user=ann)
    await browser.post(f"/api/users/history/{old}/share")
    async with talking(app, "I am still here", user=ann) as session:
        assert (await leave(browser, "wrong")).status_code == 403
        answer = await leave(browser)
        assert answer.status_code == 204
        assert f'{LOGIN_COOKIE}=""' in str(answer.headers)
        assert GUEST_COOKIE in str(answer.headers)
        assert session.ended
    left = [path.name for path in app.archive.json_path(old).parent.iterdir() if path.suffix != ".lock"]
    assert left == []
    assert not app.archive.audio_path(old, "conversation.mp3").parent.exists()
    parts = app.parts
    assert await parts.accounts.get(ann.id) is None
    assert await parts.conversations.list(None) == ([], 0)
    assert await parts.usage.of_session(old) == []
    assert await parts.credentials.list(ann.id) == []
    assert (await browser.get("/api/auth/me")).status_code == 401
    answer = await client().post("/api/auth/login", json={"email": ann.email, "password": PASSWORD})
    assert answer.status_code == 401
    assert (await signed_up(client)) is not None  # the email is free again


async def test_the_only_administrator_cannot_leave_the_others_alone(app: App, client: Client) -> None:
    admin = await signed_up(client, "admin@example.org")
    await signed_up(client)
    answer = await leave(admin)
    assert answer.status_code == 409
    assert "administrator" in answer.json()["detail"]
    assert (await admin.get("/api/auth/me")).status_code == 200
    await app.parts.accounts.change((await user_of(app)).id, is_admin=True)
    assert (await leave(admin)).status_code == 204


async def test_the_last_of_all_may_leave_and_the_next_is_administrator(client: Client) -> None:
    assert (await leave(await signed_up(client))).status_code == 204
    next_one = await signed_up(client, "bob@example.org")
    assert (await next_one.get("/api/auth/me")).json()["is_admin"] is True


async def test_an_account_without_password_leaves_by_its_email(app: App, client: Client) -> None:
    browser = await signed_up(client)
    await app.parts.accounts.change((await user_of(app)).id, password_hash=None)
    change = {"current_password": "", "new_password": NEW}
    assert (await browser.post("/api/users/change-password", json=change)).status_code == 409
    assert (await leave(browser, "")).status_code == 403
    answer = await browser.request("DELETE", "/api/users/me", json={"email": "ANN@example.org"})
    assert answer.status_code == 204


async def test_talks_of_who_left_or_was_disabled_elsewhere_end_here(app: App, client: Client) -> None:
    await signed_up(client, "admin@example.org")
    await signed_up(client)
    await signed_up(client, "bob@example.org")
    ann, bob = await user_of(app), await user_of(app, "bob@example.org")
    async with talking(app, "hello", user=ann) as hers, talking(app, "hello", user=bob) as his:
        removal = Removal(app.parts)
        await removal.look()
        assert len(app.sessions) == 2
        await app.parts.accounts.leave(ann.id, may_be_last=True)
        await app.parts.accounts.change(bob.id, is_disabled=True)
        await removal.look()
        assert len(app.sessions) == 0
        assert not app.archive.json_path(hers.id).exists()
        assert app.archive.json_path(his.id).exists()


async def test_what_a_deletion_left_behind_is_swept_up(app: App, client: Client) -> None:
    await signed_up(client)
    user = await user_of(app)
    session_id = await talk(app, "hello", user=user)
    assert await app.archive.delete_without_user() == 0
    await app.parts.accounts.delete(user.id)  # and then the server died
    assert await app.archive.delete_without_user() == 1
    assert not app.archive.json_path(session_id).exists()


class TestClosed:
    """A server that makes no new accounts."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__REGISTRATION": "false"}

    async def test_its_last_administrator_stays(self, app: App, client: Client) -> None:
        hashed = await app.parts.hashes.make(PASSWORD)
        await app.parts.accounts.create(email="ann@example.org", password_hash=hashed)
        browser = client()
        await browser.post("/api/auth/login", json={"email": "ann@example.org", "password": PASSWORD})
        assert (await leave(browser)).status_code == 409


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "profile"),
        ("PATCH", "profile"),
        ("PUT", "preferences"),
        ("POST", "change-password"),
        ("GET", "logins"),
        ("DELETE", "logins"),
        ("GET", "api-keys"),
        ("POST", "api-keys"),
        ("GET", "export"),
        ("DELETE", "me"),
        ("GET", "history"),
    ],
)
async def test_nobody_has_no_profile(client: Client, method: str, path: str) -> None:
    answer = await client().request(method, f"/api/users/{path}", json={} if method != "GET" else None)
    assert answer.status_code == 401
