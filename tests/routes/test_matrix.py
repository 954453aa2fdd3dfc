"""Who may do what: every route as everybody, each answer from the table below. A route without a row fails.

The things that a row names are the user's. The columns are walked in their order, so the user, who may delete
them, comes last; each row has people and things of its own.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import httpx2
import pytest

from pipeline.core.audio import write_wav
from server.app import App
from server.auth import GUEST_COOKIE
from storage.accounts import User
from tests.routes.conftest import PASSWORD
from tests.routes.talks import SHORT, talk

PEOPLE = ("nobody", "wrong", "disabled", "guest", "other", "admin", "user")
"""Without anything; with a made-up token; with the token of an account that is disabled; a browser that has
talked without an account; another user; an administrator; whose things they are."""

EVERYBODY = "200 200 200 200 200 200 200"
MAKES = "201 201 201 201 201 201 201"
USERS = "401 401 401 401 200 200 200"
ADMINS = "401 401 401 401 403 200 403"
TALKERS = "200 401 401 200 200 200 200"
MINE = "401 401 401 401 404 404 200"
MY_TALK = "404 404 404 404 404 200 200"
MY_SESSION = "404 401 401 404 404 404 200"
NEW = "new{n}@example.org"
WAV = ("a.wav", write_wav(b"\x10\x27" * 16_000, 16_000), "audio/wav")


@dataclass(frozen=True)
class Row:
    """What the people in their order are answered, and what they ask. `{…}` names a thing: see `Things`."""

    answers: str
    at: str = ""
    json: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    file: str = "audio_file"
    """The form's field that the recording goes into."""
    accept: str = "*/*"


def of(*changed: str, rule: str = USERS) -> str:
    """A rule in which the answer to who may is another."""
    was, now = changed
    return rule.replace(was, now)


TABLE: dict[str, Row] = {
    # pages and documentation
    **{f"GET {path}": Row(EVERYBODY) for path in ("/", "/chat", "/docs", "/redoc")},
    **{f"GET {path}": Row(EVERYBODY) for path in ("/docs/websocket", "/openapi.json", "/asyncapi.json")},
    **{
        f"GET {path}": Row(of("401", "303"))
        for path in ("/profile", "/history", "/agents", "/sessions", "/appointments")
    },
    "GET /analytics": Row(of("401", "303")),
    **{f"GET {path}": Row("200 200 200 200 303 303 303") for path in ("/login", "/signup")},
    **{f"GET {path}": Row(EVERYBODY) for path in ("/forgot", "/reset", "/verify")},
    "GET /logout": Row("303 303 303 303 200 200 200"),
    "POST /logout": Row(of("200", "303", rule=EVERYBODY)),
    "GET /history/{session_id}": Row("303 303 303 303 404 404 200", "/history/{talk}"),
    "GET /share/{key}": Row(EVERYBODY, "/share/{share}"),
    "GET /share/{key}/audio/{filename}": Row(EVERYBODY, "/share/{share}/audio/conversation.mp3"),
    # operations
    "GET /health": Row(EVERYBODY),
    "GET /metrics": Row("401 401 401 401 401 401 401"),  # from elsewhere, and no token is set
    "GET /api/voices": Row(EVERYBODY),
    "GET /ws/status": Row(EVERYBODY),
    # accounts
    "POST /api/auth/register": Row(MAKES, json={"email": NEW, "password": PASSWORD}),
    "POST /auth/register": Row(MAKES, json={"username": "new{n}", "email": NEW, "password": PASSWORD}),
    "POST /api/auth/login": Row(EVERYBODY, json={"email": "{email}", "password": PASSWORD}),
    "POST /auth/login": Row(EVERYBODY, json={"username": "{email}", "password": PASSWORD}),
    "POST /api/auth/logout": Row(EVERYBODY),
    "POST /auth/logout": Row(EVERYBODY),
    "GET /api/auth/me": Row(USERS),
    "GET /auth/me": Row(USERS),
    "GET /api/users/profile": Row(USERS),
    "PATCH /api/users/profile": Row(USERS, json={"display_name": "A"}),
    "PUT /api/users/preferences": Row(USERS, json={"favorite_topics": ["tea"]}),
    "POST /api/users/change-password": Row(
        USERS, json={"current_password": PASSWORD, "new_password": "another long and odd one"}
    ),
    "GET /api/users/export": Row(USERS),
    "DELETE /api/users/me": Row(of("200", "204"), json={"password": PASSWORD}),
    "GET /api/users/logins": Row(USERS),
    "DELETE /api/users/logins": Row(of("200", "204")),
    "DELETE /api/users/logins/{login_id}": Row(of("200", "204", rule=MINE), "/api/users/logins/{login}"),
    "GET /api/users/api-keys": Row(USERS),
    "POST /api/users/api-keys": Row(of("200", "201"), json={"label": "radio"}),
    "DELETE /api/users/api-keys/{key_id}": Row(of("200", "204", rule=MINE), "/api/users/api-keys/{api_key}"),
    "POST /api/auth/verify/request": Row(USERS),
    "POST /api/auth/verify": Row(of("200", "404", rule=EVERYBODY), json={"key": "made up"}),
    "POST /api/auth/reset/request": Row(EVERYBODY, json={"email": "{email}"}),
    "POST /api/auth/reset": Row(
        of("200", "404", rule=EVERYBODY), json={"key": "made up", "new_password": "a long and odd one"}
    ),
    # an account of another server: none is set here
    "GET /auth/oidc/login": Row(of("200", "404", rule=EVERYBODY)),
    "GET /auth/oidc/callback": Row(of("200", "404", rule=EVERYBODY)),
    # administration
    "GET /admin": Row("303 303 303 303 404 200 404"),
    "GET /api/admin/users": Row(ADMINS),
    "PATCH /api/admin/users/{id}": Row(ADMINS, "/api/admin/users/{user_id}", json={"is_disabled": False}),
    "GET /api/admin/sessions": Row(ADMINS),
    "GET /api/admin/usage": Row(ADMINS),
    "GET /api/admin/webhooks": Row(ADMINS),
    "POST /api/admin/webhooks/{id}/retry": Row(
        of("200", "404", rule=ADMINS), "/api/admin/webhooks/made_up/retry"
    ),
    # analytics
    "GET /api/analytics": Row(USERS),
    "GET /api/analytics.csv": Row(USERS, query={"table": "turns"}),
    # agents
    "POST /agents/": Row(of("200", "201"), json={"name": "A", "initial_prompt": "Be brief."}),
    "GET /agents/": Row(USERS),
    "GET /agents/{agent_id}": Row(MINE, "/agents/{agent}"),
    "PUT /agents/{agent_id}": Row(MINE, "/agents/{agent}", json={"name": "B"}),
    "DELETE /agents/{agent_id}": Row(of("200", "204", rule=MINE), "/agents/{agent}"),
    # appointments
    "POST /api/appointments": Row(
        of("200", "201", rule=TALKERS),
        json={"phone_number": "5551234567", "date": "{workday}", "time": "10:00"},
    ),
    "GET /api/appointments": Row(USERS),
    "GET /api/appointments/slots": Row(EVERYBODY, query={"date": "2030-01-07"}),
    "GET /api/appointments/{appointment_id}": Row(
        "401 401 401 401 404 200 200", "/api/appointments/{appointment}"
    ),
    "PATCH /api/appointments/{appointment_id}": Row(
        "401 401 401 401 404 200 200", "/api/appointments/{appointment}", json={"date": "{workday}"}
    ),
    "DELETE /api/appointments/{appointment_id}": Row(
        "401 401 401 401 404 204 204", "/api/appointments/{appointment}"
    ),
    # sessions
    "POST /sessions/": Row(of("200", "201", rule=TALKERS), json={"mode": "text"}),
    "GET /sessions/": Row(TALKERS),
    "GET /sessions/{session_id}": Row("404 401 401 404 404 200 200", "/sessions/{session}"),
    "PUT /sessions/{session_id}": Row(MY_SESSION, "/sessions/{session}", json={"mode": "text"}),
    "DELETE /sessions/{session_id}": Row(of("200", "204", rule=MY_SESSION), "/sessions/{session}"),
    "POST /sessions/{session_id}/join": Row(MY_SESSION, "/sessions/{session}/join"),
    "POST /sessions/{session_id}/start": Row(MY_SESSION, "/sessions/{session}/start"),
    "POST /sessions/{session_id}/message": Row(
        MY_SESSION, "/sessions/{session}/message", json={"message": "Hello."}
    ),
    "POST /sessions/{session_id}/end": Row(MY_SESSION, "/sessions/{session}/end"),
    "PUT /sessions/{session_id}/prompt": Row(
        MY_SESSION, "/sessions/{session}/prompt", json={"new_prompt": "Be brief."}
    ),
    "POST /ws/disconnect/{session_id}": Row(MY_SESSION, "/ws/disconnect/{live}"),
    # rooms
    "GET /token": Row(TALKERS, query={"room": "r{n}", "identity": "a"}),
    "POST /token": Row(TALKERS, json={"room_name": "r{n}", "participant_name": "a"}),
    "POST /session": Row(of("200", "201", rule=TALKERS), json={"room": "r{n}", "identity": "a"}),
    "DELETE /session/{session_id}": Row(of("200", "204", rule=MY_SESSION), "/session/{session}"),
    "GET /summary/{room:path}": Row("404 401 401 404 404 200 200", "/summary/{talk}"),
    # speech
    "POST /voice/speech-to-text": Row(TALKERS, form={}),
    "POST /voice/text-to-speech": Row(TALKERS, json={"text": "Hi."}),
    "POST /voice-agent/process": Row(MY_SESSION, form={"session_id": "{session}"}),
    "POST /conversation/start": Row(of("200", "201", rule=TALKERS)),
    "POST /conversation/process": Row(MY_SESSION, json={"session_id": "{session}", "text": "Hello."}),
    # OpenAI's clients: where guests are allowed, any key is a guest's
    "GET /v1/models": Row(EVERYBODY),
    "POST /v1/audio/speech": Row(EVERYBODY, json={"model": "tts-1", "input": "Hi.", "voice": "alloy"}),
    "POST /v1/audio/transcriptions": Row(EVERYBODY, form={"model": "whisper-1"}, file="file"),
    # stored conversations
    "GET /api/conversations": Row(EVERYBODY),
    "GET /api/conversation/{session_id}": Row(MY_TALK, "/api/conversation/{talk}"),
    "GET /api/download/{session_id}": Row(MY_TALK, "/api/download/{talk}"),
    "GET /api/audio/{session_id}": Row(MY_TALK, "/api/audio/{talk}"),
    "GET /api/audio/{session_id}/{filename}": Row(MY_TALK, "/api/audio/{talk}/conversation.mp3"),
    "GET /api/users/history": Row(USERS),
    "GET /api/users/history/{session_id}": Row(MINE, "/api/users/history/{talk}"),
    "DELETE /api/users/history/{session_id}": Row(of("200", "204", rule=MINE), "/api/users/history/{talk}"),
    "GET /api/users/history/{session_id}/export": Row(MINE, "/api/users/history/{talk}/export"),
    "POST /api/users/history/{session_id}/share": Row(
        of("200", "201", rule=MINE), "/api/users/history/{talk}/share", json={"hours": 1}
    ),
    "DELETE /api/users/history/{session_id}/share": Row(
        of("200", "204", rule=MINE), "/api/users/history/{talk}/share"
    ),
}


def workday(number: int) -> str:
    """Another one for each number, far ahead."""
    return (date(2100, 1, 4) + timedelta(7 * number)).isoformat()  # Mondays


class Cast:
    """The people of one row, and the user's things."""

    count = itertools.count()

    def __init__(self, app: App, password_hash: str) -> None:
        self._app, self._hash = app, password_hash
        self.number = next(self.count)
        self.headers: dict[str, dict[str, str]] = {
            "nobody": {},
            "wrong": {"Authorization": "Bearer made.up"},
            "guest": {"Cookie": f"{GUEST_COOKIE}={app.parts.keys.new_guest_cookie()}"},
        }
        self.things: dict[str, str] = {}

    async def arrive(self, wanted: str) -> None:
        """Everybody has an account, and the user what the row speaks of."""
        parts = self._app.parts
        people = {name: await self._person(name) for name in ("disabled", "other", "admin", "user")}
        await parts.accounts.change(people["disabled"].id, is_disabled=True)
        user = people["user"]
        row = await parts.talks.create(parts.sessions.new_id(), user.owner, user_id=user.id, mode="both")
        agent = await parts.agents.create(user.id, name="A", initial_prompt="Be brief.")
        self.things = {
            "session": row["id"],
            "agent": agent["id"],
            "email": user.email or "",
            "user_id": user.id,
        }
        me = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self._app),
            base_url="http://parley.test",
            headers=self.headers["user"],
        )
        async with me:
            if "{login}" in wanted or "{api_key}" in wanted:
                await parts.credentials.create(user.id, "bearer", timedelta(days=1))
                logins = (await me.get("/api/users/logins")).json()["items"]
                self.things["login"] = next(one["id"] for one in logins if not one["is_current"])
                made = await me.post("/api/users/api-keys", json={"label": "x"})
                self.things["api_key"] = made.json()["id"]
            if "{talk}" in wanted or "{share}" in wanted:
                self.things["talk"] = await talk(self._app, "Hello.", user=user)
                key, _ = await parts.credentials.share(user.id, self.things["talk"], timedelta(hours=1))
                self.things["share"] = key
            if "{appointment}" in wanted:
                booked = await parts.appointments.book(
                    "5550000000", workday(self.number), "09:00", user_id=user.id
                )
                assert booked is not None
                self.things["appointment"] = booked.id
            if "{live}" in wanted:
                await me.post(f"/sessions/{row['id']}/start")
                self.things["live"] = row["id"]

    async def _person(self, name: str) -> User:
        parts = self._app.parts
        user = await parts.accounts.create(
            email=f"{name}{self.number}@example.org", username=None, display_name="", password_hash=self._hash
        )
        await parts.accounts.change(user.id, is_admin=name == "admin")
        key = await parts.credentials.create(user.id, "bearer", timedelta(days=1))
        self.headers[name] = {"Authorization": f"Bearer {parts.keys.login_token(key)}"}
        return user

    def fill(self, value: Any, number: int) -> Any:
        """The value with the things' names in place of their placeholders."""
        if isinstance(value, str):
            for name, thing in {**self.things, "n": str(number), "workday": workday(number)}.items():
                value = value.replace(f"{{{name}}}", thing)
            return value
        if isinstance(value, Mapping):
            return {key: self.fill(one, number) for key, one in value.items()}
        return [self.fill(one, number) for one in value] if isinstance(value, list) else value


@pytest.fixture
def settings() -> dict[str, str]:
    return {**SHORT, "PARLEY_PIPELINE__GREETING": ""}


async def test_every_route_has_a_row(app: App) -> None:
    routes = {f"{e.method} {e.path}" for e in app.parts.gate.endpoints}
    assert routes - TABLE.keys() == set()
    assert TABLE.keys() - routes == set()


@pytest.mark.slow
async def test_every_route_lets_in_who_may(app: App) -> None:
    password_hash = await app.parts.hashes.make(PASSWORD)
    first = await app.parts.accounts.create(  # the first account is an administrator's: nobody of ours
        email="first@example.org", username=None, display_name="", password_hash=None
    )
    assert first.is_admin
    wrong: list[str] = []
    for name, row in TABLE.items():
        cast = Cast(app, password_hash)
        await cast.arrive(f"{row.at}{row.json}{row.form}")
        for person, expected in zip(PEOPLE, row.answers.split(), strict=True):
            answer = await ask(app, cast, person, name, row)
            if answer.status_code != int(expected):
                wrong.append(f"{name} as {person}: {answer.status_code}, not {expected}: {answer.text[:90]}")
    assert not wrong, "\n" + "\n".join(wrong)


async def ask(app: App, cast: Cast, person: str, name: str, row: Row) -> httpx2.Response:
    """One cell of the table. Every request has an address of its own: the limits are not asked here."""
    number = next(Cast.count)
    transport = httpx2.ASGITransport(app=app, client=(f"198.18.{number // 250}.{number % 250}", 5000))
    method, _, path = name.partition(" ")
    async with httpx2.AsyncClient(transport=transport, base_url="http://parley.test") as client:
        return await client.request(
            method,
            cast.fill(row.at or path, number),
            json=cast.fill(row.json, number),
            params=cast.fill(row.query, number),
            data=None if row.form is None else cast.fill(row.form, number),
            files=None if row.form is None else {row.file: WAV},
            headers={"Accept": row.accept, **cast.headers[person]},
        )
