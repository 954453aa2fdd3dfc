"""What is left of a user who has gone: every table and every file is looked through."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import MetaData, select
from sqlalchemy.ext.asyncio import create_async_engine

from server.app import App
from tests.routes.conftest import PASSWORD, Client, signed_up
from tests.routes.talks import SHORT, talk, talking, user_of

EMAIL, NAME, PHONE = "ann.unique@example.org", "Annabel Unique", "5551234567"
SECRET = "the purple elephant sings"


@pytest.fixture
def settings() -> dict[str, str]:
    return SHORT


async def rows_with(database_url: str, words: list[str]) -> dict[str, list[Any]]:
    """Of each table as it really is, the rows in which one of these words stands."""
    engine, tables, found = create_async_engine(database_url), MetaData(), {}
    try:
        async with engine.connect() as connection:
            await connection.run_sync(tables.reflect)
            for table in tables.tables.values():
                columns = [c for c in table.columns if not str(c.name).endswith("_vector")]
                rows = [[*map(str, row)] for row in (await connection.execute(select(*columns))).all()]
                if hits := [row for row in rows if any(word in cell for word in words for cell in row)]:
                    found[table.name] = hits
    finally:
        await engine.dispose()
    return found


def files_with(folder: Path, words: list[str]) -> list[str]:
    """Files with one of these words in their path or their bytes; a database's are looked at as tables."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".db" not in path.name]
    return [
        str(path.relative_to(folder))
        for path in files
        if any(word in str(path.relative_to(folder)) or word.encode() in path.read_bytes() for word in words)
    ]


async def a_life(app: App, browser: httpx2.AsyncClient) -> list[str]:
    """One of everything that a user may have. The ids of what was said."""
    ann = await user_of(app, EMAIL)
    profile = {"display_name": NAME, "phone": PHONE}
    assert (await browser.patch("/api/users/profile", json=profile)).status_code == 200
    wishes = {"favorite_topics": [SECRET], "system_prompt_override": SECRET}
    assert (await browser.put("/api/users/preferences", json=wishes)).status_code == 200
    agent = await browser.post("/agents/", json={"name": SECRET, "initial_prompt": SECRET})
    assert agent.status_code == 201
    old = await talk(app, SECRET, user=ann)
    plan = {"agent_id": agent.json()["id"], "session_prompt": SECRET}
    planned = (await browser.post("/sessions/", json=plan)).json()["id"]
    typed = (await browser.post("/sessions/", json=plan)).json()["id"]
    answer = await browser.post(f"/sessions/{typed}/message", json={"message": SECRET})
    assert answer.status_code == 200
    room = (await browser.post("/session", json={"room": SECRET, "identity": NAME})).json()["session_id"]
    for path, body in (
        (f"/api/users/history/{old}/share", {}),
        ("/api/users/api-keys", {"label": SECRET}),
        ("/voice/text-to-speech", {"text": SECRET}),
        ("/auth/login", {"username": EMAIL, "password": PASSWORD}),
    ):
        answer = await browser.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text
    await app.parts.credentials.mail_key(ann.id, "verify", EMAIL, timedelta(hours=1))
    await app.parts.credentials.mail_key(ann.id, "reset", EMAIL, timedelta(hours=1))
    return [ann.id, old, planned, typed, room, agent.json()["id"]]


async def test_nothing_is_left_of_who_has_gone(
    app: App, client: Client, database_url: str, tmp_path: Path
) -> None:
    await signed_up(client, "admin@example.org")
    browser = await signed_up(client, EMAIL)
    ids = await a_life(app, browser)
    words = [*ids, EMAIL, NAME, PHONE, SECRET]
    ann = await user_of(app, EMAIL)
    async with talking(app, SECRET, user=ann) as session:
        words.append(session.id)
        before = await rows_with(database_url, words)
        wanted = {"users", "credentials", "mail_tokens", "agents", "sessions", "shares", "errands"}
        assert before.keys() >= wanted | {"conversations", "messages", "turns", "requests"}
        assert len(files_with(tmp_path, words)) > 5
        answer = await browser.request("DELETE", "/api/users/me", json={"password": PASSWORD})
        assert answer.status_code == 204
    assert json.dumps(await rows_with(database_url, words), indent=1) == "{}"
    assert files_with(tmp_path, words) == []
