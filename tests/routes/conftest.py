"""A running application of scripted stages, and browsers and programs that talk to it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from server.app import App, running
from server.config import load

SCRIPTED = {f"PARLEY_{kind}__PLUGIN": "scripted" for kind in ("STT", "LLM", "TTS")}
PASSWORD = "a long and odd sentence"
Client = Callable[[], httpx2.AsyncClient]


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed the same way, with less work: every test makes a few. How much work it is in
    earnest is the business of `tests/core/test_passwords.py`."""
    monkeypatch.setattr("server.passwords.PASSES", 1)
    monkeypatch.setattr("server.passwords.MEMORY_KIB", 64)


@pytest.fixture
def settings() -> dict[str, str]:
    """Environment variables over the scripted stages; a test module may override this fixture."""
    return {}


@pytest_asyncio.fixture
async def app(
    no_leaks: None, tmp_path: Path, database_url: str, settings: dict[str, str]
) -> AsyncIterator[App]:
    """A test that uses it runs twice: on SQLite and on PostgreSQL."""
    del no_leaks
    storage = {"PARLEY_STORAGE__URL": database_url}
    async with running(load(None, {**SCRIPTED, **storage, **settings}, tmp_path)) as app:
        yield app


@pytest_asyncio.fixture
async def client(app: App) -> AsyncIterator[Client]:
    """Makes clients, each with a cookie jar of its own: one is one person's browser."""
    made: list[httpx2.AsyncClient] = []

    def make() -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, client=("203.0.113.7", 5000))
        made.append(httpx2.AsyncClient(transport=transport, base_url="http://parley.test"))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def signed_up(client: Client, email: str = "ann@example.org") -> httpx2.AsyncClient:
    """A browser that has just made an account."""
    browser = client()
    answer = await browser.post("/api/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return browser


async def bearer(client: Client, username: str = "bob") -> httpx2.AsyncClient:
    """A program that has just made an account and logged in."""
    program = client()
    account = {"username": username, "email": f"{username}@example.org", "password": PASSWORD}
    answer = await program.post("/auth/register", json=account)
    assert answer.status_code == 201, answer.text
    answer = await program.post("/auth/login", json={"username": username, "password": PASSWORD})
    program.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return program
