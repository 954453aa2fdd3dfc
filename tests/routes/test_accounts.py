"""Registering, logging in and out: for browsers and programs, over the same accounts."""

import pytest

from server.app import App
from server.auth import LOGIN_COOKIE
from tests.routes.conftest import PASSWORD, Client, bearer, signed_up

ANN = {"email": "ann@example.org", "password": PASSWORD}


async def test_registering_logs_in_at_once(client: Client) -> None:
    browser = client()
    answer = await browser.post("/api/auth/register", json={**ANN, "display_name": "Ann"})
    assert answer.status_code == 201
    cookie = answer.headers["set-cookie"]
    assert f"{LOGIN_COOKIE}=" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    me = await browser.get("/api/auth/me")
    assert me.status_code == 200
    assert (me.json()["email"], me.json()["display_name"]) == ("ann@example.org", "Ann")
    assert not {"password", "password_hash"} & me.json().keys()


async def test_the_first_account_is_the_administrators(client: Client) -> None:
    first, second = await signed_up(client), await signed_up(client, "bob@example.org")
    assert (await first.get("/api/auth/me")).json()["is_admin"] is True
    assert (await second.get("/api/auth/me")).json()["is_admin"] is False


async def test_logging_in_with_any_letter_case_and_out_again(client: Client) -> None:
    await signed_up(client)
    browser = client()
    assert (await browser.get("/api/auth/me")).status_code == 401
    answer = await browser.post("/api/auth/login", json={"email": "ANN@Example.org", "password": PASSWORD})
    assert answer.status_code == 200
    cookie = browser.cookies[LOGIN_COOKIE]
    assert (await browser.get("/api/auth/me")).status_code == 200
    assert (await browser.post("/api/auth/logout")).status_code == 200
    thief = client()
    thief.cookies.set(LOGIN_COOKIE, cookie)  # kept from before the logout
    assert (await thief.get("/api/auth/me")).status_code == 401


async def test_a_program_registers_logs_in_and_uses_its_token(client: Client) -> None:
    program = await bearer(client)
    me = await program.get("/auth/me")
    assert (me.status_code, me.json()["username"]) == (200, "bob")
    assert (await program.get("/api/auth/me")).status_code == 200  # the same accounts
    assert (await program.post("/auth/logout")).status_code == 200
    assert (await program.get("/auth/me")).status_code == 401


async def test_a_programs_login_answers_the_contracts_fields(client: Client) -> None:
    await bearer(client)
    answer = await client().post("/auth/login", json={"username": "BOB", "password": PASSWORD})
    assert answer.json().keys() == {"access_token", "token_type"}
    assert answer.json()["token_type"] == "bearer"


async def test_an_account_of_a_program_logs_in_from_a_browser(client: Client) -> None:
    await bearer(client)
    answer = await client().post("/api/auth/login", json={"email": "bob@example.org", "password": PASSWORD})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "too short"),
        ("x" * 129, "too long"),
        ("1234567890", "all digits"),
        ("Password123", "too common"),
        ("annabel and ann", "email"),
    ],
)
async def test_a_bad_password_is_refused_with_the_reason(client: Client, password: str, why: str) -> None:
    answer = await client().post("/api/auth/register", json={**ANN, "password": password})
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@example.org", "ann@example", "a b@example.org", "ann\n@x.org"]
)
async def test_what_is_no_email_is_refused(client: Client, email: str) -> None:
    answer = await client().post("/api/auth/register", json={**ANN, "email": email})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 422),
        ('{"email": "ann@example.org"}', 422),
        ('{"email": "ann@example.org", "password": "a long and odd sentence", "is_admin": true}', 422),
        ("[" * 100_000, 400),
        ("x" * (2 << 20), 413),
    ],
)
async def test_a_body_that_is_not_right_is_refused(client: Client, body: str, status: int) -> None:
    answer = await client().post(
        "/api/auth/register", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


async def test_a_form_is_no_json(client: Client) -> None:
    assert (await client().post("/api/auth/login", data=ANN)).status_code == 415


async def test_an_email_or_username_is_used_once(client: Client) -> None:
    await bearer(client)
    taken = {"username": "Bob", "email": "bobby@example.org", "password": PASSWORD}
    assert (await client().post("/auth/register", json=taken)).status_code == 409
    taken = {"email": "BOB@example.org", "password": PASSWORD}
    assert (await client().post("/api/auth/register", json=taken)).status_code == 409


async def test_unknown_users_and_wrong_passwords_sound_the_same(client: Client) -> None:
    await signed_up(client)
    wrong = await client().post("/api/auth/login", json={**ANN, "password": "something else"})
    unknown = await client().post("/api/auth/login", json={**ANN, "email": "eve@example.org"})
    assert (wrong.status_code, wrong.text) == (unknown.status_code, unknown.text)
    assert wrong.status_code == 401


async def test_too_many_failed_logins_are_stopped_also_for_the_right_password(client: Client) -> None:
    await signed_up(client)
    for _ in range(10):
        answer = await client().post("/api/auth/login", json={**ANN, "password": "something else"})
        assert answer.status_code == 401
    answer = await client().post("/api/auth/login", json=ANN)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 900


async def test_registrations_of_an_address_are_limited(client: Client) -> None:
    for n in range(20):
        await signed_up(client, f"ann{n}@example.org")
    answer = await client().post("/api/auth/register", json={**ANN, "email": "late@example.org"})
    assert answer.status_code == 429


async def test_another_sites_page_cannot_use_the_cookie(client: Client) -> None:
    browser = await signed_up(client)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://other.parley.test"},
    ):
        assert (await browser.post("/api/auth/logout", headers=headers)).status_code == 403
    ours = {"Origin": "http://parley.test", "Sec-Fetch-Site": "same-origin"}
    assert (await browser.post("/api/auth/logout", headers=ours)).status_code == 200


@pytest.mark.parametrize("token", ["x", "", "InRva2VuIg.AAAA", "Bearer"])
async def test_a_made_up_token_is_nobodys(client: Client, token: str) -> None:
    program = client()
    answer = await program.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


class TestClosed:
    """A server that makes no new accounts."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__REGISTRATION": "false"}

    async def test_registration_can_be_turned_off(self, client: Client) -> None:
        assert (await client().post("/api/auth/register", json=ANN)).status_code == 403


async def test_a_disabled_user_is_out_at_once(app: App, client: Client) -> None:
    browser = await signed_up(client)
    accounts = app.parts.accounts
    user = await accounts.by_email("ann@example.org")
    assert user is not None
    await accounts.change(user.id, is_disabled=True)
    assert (await browser.get("/api/auth/me")).status_code == 401
    assert (await client().post("/api/auth/login", json=ANN)).status_code == 401
