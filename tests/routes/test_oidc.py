"""Logging in elsewhere: a real OpenID Connect provider on a local port, and providers that lie."""

import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio
from joserfc.jwk import RSAKey

from pipeline import vendor
from server import oidc
from server.app import App, running
from server.auth import LOGIN_COOKIE
from server.config import load
from server.routes.oidc import COOKIE
from tests.routes.conftest import PASSWORD, SCRIPTED, Client
from tests.support.oidc import CLIENT, SECRET, OidcServer, oidc_server

HOME = "https://parley.test"
ANN = "ann@example.org"


@pytest_asyncio.fixture
async def provider(no_leaks: None) -> AsyncIterator[OidcServer]:
    del no_leaks
    async with oidc_server(f"{HOME}/auth/oidc/callback") as provider:
        yield provider


@pytest_asyncio.fixture
async def app(
    provider: OidcServer, tmp_path: Path, database_url: str, settings: dict[str, str]
) -> AsyncIterator[App]:
    elsewhere = {
        "PARLEY_STORAGE__URL": database_url,
        "PARLEY_SERVER__PUBLIC_URL": HOME,
        "PARLEY_OIDC__ISSUER": provider.issuer,
        "PARLEY_OIDC__CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET": SECRET,
    }
    async with running(load(None, {**SCRIPTED, **elsewhere, **settings}, tmp_path)) as app:
        yield app


def browser_of(client: Client) -> httpx2.AsyncClient:
    browser = client()
    browser.base_url = httpx2.URL(HOME)
    return browser


async def there(browser: httpx2.AsyncClient, onward: str = "/history") -> str:
    """Log in at the provider. Returns where it sends the browser back to."""
    answer = await browser.get("/auth/oidc/login", params={"next": onward})
    assert answer.status_code == 303
    async with httpx2.AsyncClient(verify=vendor.trust(httpx2)) as outside:
        back = await outside.get(answer.headers["location"])
    assert back.status_code == 302
    location: str = back.headers["location"]
    return location


async def log_in(browser: httpx2.AsyncClient, onward: str = "/history") -> str:
    """There and back again. Returns where the browser is sent in the end."""
    answer = await browser.get(await there(browser, onward))
    assert answer.status_code == 303
    assert COOKIE not in browser.cookies
    location: str = answer.headers["location"]
    return location


async def me(browser: httpx2.AsyncClient) -> Any:
    return (await browser.get("/api/auth/me")).json()


async def test_somebody_new_comes_in_and_is_known_next_time(client: Client, provider: OidcServer) -> None:
    provider.person["name"] = "Ann Example"
    browser = browser_of(client)
    assert await log_in(browser) == "/history"
    account = await me(browser)
    assert (account["email"], account["display_name"], account["is_verified"]) == (ANN, "Ann Example", True)
    assert account["is_admin"] is True  # the first account
    provider.person["email"] = "anna@example.org"  # the subject counts, whatever the email is now
    again = browser_of(client)
    await log_in(again, "/chat?agent=1")
    assert (await me(again))["id"] == account["id"]
    assert provider.asked.count("about") == provider.asked.count("keys") == 1
    login = {"email": ANN, "password": ""}
    assert (await client().post("/api/auth/login", json=login)).status_code == 401


async def test_what_the_login_begins_with_is_safe(client: Client) -> None:
    answer = await browser_of(client).get("/auth/oidc/login?next=//evil.example")
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) >= 32
    assert len(query["nonce"][0]) >= 32
    cookie = answer.headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=lax", "Secure", "Path=/auth/oidc/callback", "Max-Age=600"):
        assert word in cookie


async def test_nobody_is_sent_on_to_another_site(client: Client) -> None:
    assert await log_in(browser_of(client), "//evil.example") == "/chat"


async def test_an_email_that_is_only_in_userinfo_is_found_there(client: Client, provider: OidcServer) -> None:
    provider.in_token = False
    browser = browser_of(client)
    await log_in(browser)
    assert (await me(browser))["email"] == ANN
    provider.person = {**provider.person, "sub": "43", "email": "eve@example.org"}
    provider.spoil["userinfo"] = {"sub": "another"}  # must not be used (Core 5.3.2)
    other = browser_of(client)
    await log_in(other)
    assert (await me(other))["email"] is None


async def test_an_email_that_is_not_verified_there_opens_no_account(
    client: Client, provider: OidcServer
) -> None:
    account = {"email": ANN, "password": PASSWORD}
    await client().post("/api/auth/register", json=account)
    for verified in (False, None, "true"):
        provider.person = {"sub": f"of {verified}", "email": ANN, "email_verified": verified}
        browser = browser_of(client)
        await log_in(browser)
        assert (await me(browser))["email"] is None
    assert (await client().post("/api/auth/login", json=account)).status_code == 200


async def test_a_verified_account_is_linked_and_keeps_its_password(app: App, client: Client) -> None:
    account = {"email": ANN, "password": PASSWORD}
    made = (await client().post("/api/auth/register", json=account)).json()
    await app.parts.accounts.change(made["id"], is_verified=True)
    browser = browser_of(client)
    await log_in(browser)
    assert (await me(browser))["id"] == made["id"]
    assert (await client().post("/api/auth/login", json=account)).status_code == 200


async def test_whoever_only_claimed_an_email_loses_the_account_to_its_owner(client: Client) -> None:
    account = {"email": ANN, "password": PASSWORD}
    claimer = browser_of(client)
    made = (await claimer.post("/api/auth/register", json=account)).json()
    owner = browser_of(client)
    await log_in(owner)
    assert (await me(owner))["id"] == made["id"]
    assert (await claimer.get("/api/auth/me")).status_code == 401
    assert (await client().post("/api/auth/login", json=account)).status_code == 401


async def test_an_email_that_went_to_somebody_else_there_is_refused(
    client: Client, provider: OidcServer
) -> None:
    await log_in(browser_of(client))
    provider.person["sub"] = "43"
    browser = browser_of(client)
    assert await log_in(browser) == "/login?oidc=taken"
    assert LOGIN_COOKIE not in browser.cookies


async def test_a_disabled_user_stays_out(app: App, client: Client) -> None:
    browser = browser_of(client)
    await log_in(browser)
    await app.parts.accounts.change((await me(browser))["id"], is_disabled=True)
    assert await log_in(browser_of(client)) == "/login?oidc=disabled"


async def test_a_callback_counts_once_and_only_in_the_browser_that_began(client: Client) -> None:
    browser, thief = browser_of(client), browser_of(client)
    back = await there(browser)
    for other in (thief, client()):
        answer = await other.get(back)
        assert answer.headers["location"] == "/login?oidc=late"
    await there(thief)  # has begun a login of its own, with another state
    assert (await thief.get(back)).headers["location"] == "/login?oidc=late"
    cookies = dict(browser.cookies)
    assert (await browser.get(back)).headers["location"] == "/history"
    browser.cookies.clear()
    browser.cookies.update(cookies)
    assert (await browser.get(back)).headers["location"] == "/login?oidc=unreachable"  # the code is used


async def test_saying_no_there_is_told(client: Client, provider: OidcServer) -> None:
    provider.denies = True
    assert await log_in(browser_of(client)) == "/login?oidc=refused"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": ["another client", "parley"], "azp": "another client"},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"nonce": "of another login"},
        {"nonce": None},
        {"sub": None},
        {"sub": "x" * 500},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"iat": int(time.time()) + 3600},
    ],
    ids=lambda claims: " ".join(claims),  # the values change by the second
)
async def test_a_token_that_is_not_right_lets_nobody_in(
    client: Client, provider: OidcServer, claims: dict[str, Any]
) -> None:
    provider.spoil["claims"] = claims
    browser = browser_of(client)
    assert await log_in(browser) == "/login?oidc=unreachable"
    assert (await browser.get("/api/auth/me")).status_code == 401


@pytest.mark.parametrize("how", ["another key", "none", "the secret"])
async def test_a_signature_of_anybody_else_lets_nobody_in(
    client: Client, provider: OidcServer, how: str
) -> None:
    if how == "another key":
        provider.signing = RSAKey.generate_key(2048, {"kid": "1"})
    elif how == "none":
        provider.algorithm = "none"
    else:
        provider.sign_with_the_secret()
    assert await log_in(browser_of(client)) == "/login?oidc=unreachable"


async def test_a_wrong_secret_of_ours_is_told(client: Client, provider: OidcServer) -> None:
    provider.secret = "changed"
    assert await log_in(browser_of(client)) == "/login?oidc=unreachable"


async def test_new_keys_are_looked_for_but_not_all_the_time(
    client: Client, provider: OidcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log_in(browser_of(client))
    provider.change_key()
    for _ in range(3):
        assert await log_in(browser_of(client)) == "/login?oidc=unreachable"
    assert provider.asked.count("keys") == 1
    monkeypatch.setattr(oidc, "ASK_AGAIN_S", 0.0)
    assert await log_in(browser_of(client)) == "/history"
    assert provider.asked.count("keys") == 2


@pytest.mark.parametrize("part", ["token_endpoint", "jwks_uri"])
async def test_a_provider_whose_parts_are_down_is_told(
    client: Client, provider: OidcServer, part: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    provider.spoil["about"] = {part: f"http://127.0.0.1:{port}/"}
    assert await log_in(browser_of(client)) == "/login?oidc=unreachable"


async def test_a_provider_that_is_another_is_not_believed(client: Client, provider: OidcServer) -> None:
    provider.spoil["about"] = {"issuer": "https://evil.example"}
    answer = await browser_of(client).get("/auth/oidc/login")
    assert answer.headers["location"] == "/login?oidc=unreachable"


class TestClosed:
    """A server that makes no new accounts."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_ACCOUNTS__REGISTRATION": "false"}

    async def test_nobody_new_comes_in(self, client: Client) -> None:
        assert await log_in(browser_of(client)) == "/login?oidc=closed"


class TestWithout:
    """A server without such a login."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"PARLEY_OIDC__ISSUER": ""}

    async def test_there_is_nothing(self, client: Client) -> None:
        for path in ("login", "callback"):
            assert (await client().get(f"/auth/oidc/{path}")).status_code == 404
