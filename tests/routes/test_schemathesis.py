"""Every documented route under made-up requests, good and bad, against a really listening server: no 500, no
status or field that `/openapi.json` does not know.

Each request comes from an address and a user of its own turn, as behind a proxy: else the limits would answer
for the routes.
"""

import asyncio
import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from schemathesis.engine import events, from_schema

from server.app import App, running
from server.client import Event, VoiceClient
from server.config import load
from tests.routes.conftest import SCRIPTED

pytestmark = pytest.mark.slow

PEOPLE = 8
"""Who take turns: each may write 240 times a minute."""
EXAMPLES = 3
"""Of each route, beside the boundary cases that schemathesis makes of its schema."""
AT_ONCE = {
    "PARLEY_STT__SCRIPTED__FINAL_MS": "0",
    "PARLEY_LLM__SCRIPTED__TEXT": "All right.",
    "PARLEY_LLM__SCRIPTED__FIRST_TOKEN_MS": "0",
    "PARLEY_LLM__SCRIPTED__TOKEN_MS": "0",
    "PARLEY_TTS__SCRIPTED__FIRST_BYTE_MS": "0",
    "PARLEY_TTS__SCRIPTED__SPEED": "1000",
    "PARLEY_TTS__SCRIPTED__MS_PER_CHAR": "1",
    "PARLEY_PIPELINE__GREETING": "",
}
"""Stages that take no time."""
LONG = 300
"""A limit on a text or list above it is not tried out: making such texts is all that would take time."""
REFUSALS = [400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 503]
NOT_CHECKED = ("positive_data_acceptance", "ensure_resource_availability", "use_after_free")
"""A request of the right shape may be refused (a password that is common, a day that is over), and made-up
ids are 404."""


class Listening:
    """The application on a port, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: Future[tuple[App, int]] = Future()
        self._loop = asyncio.new_event_loop()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.app, port = self._started.result(30)
        self.url = f"http://127.0.0.1:{port}"
        self._turns = itertools.count()
        self._tokens = [self._token(n) for n in range(PEOPLE)]

    def headers(self, *, logged_in: bool, ends_login: bool = False) -> dict[str, str]:
        """Of the next request."""
        turn = next(self._turns)
        found = {"X-Forwarded-For": f"203.0.{turn // 250 % 250}.{turn % 250}"}
        if logged_in:
            token = self._token(turn % PEOPLE) if ends_login else self._tokens[turn % PEOPLE]
            found["Authorization"] = f"Bearer {token}"
        return found

    def _token(self, number: int) -> str:
        async def make() -> str:
            accounts, email = self.app.parts.accounts, f"user{number}@example.org"
            user = await accounts.by_email(email) or await accounts.create(
                email=email, username=None, display_name="", password_hash=None
            )
            key = await self.app.parts.credentials.create(user.id, "bearer", timedelta(days=1))
            return self.app.parts.keys.login_token(key)

        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(30)

    def talk(self) -> str:
        """Have a guest's talk of one typed turn. Returns its id."""

        async def typed() -> str:
            async with await VoiceClient.connect(self.url) as call:
                await call.say("hello")
                async for event in call:
                    if isinstance(event, Event) and event.type == "turn.metrics":
                        await call.end()
                return call.session_id

        return asyncio.run_coroutine_threadsafe(typed(), self._loop).result(60)

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(30)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except BaseException as error:  # noqa: BLE001 - told to whoever waits for the start
                self._started.set_exception(error)

    async def _serve(self) -> None:
        async with running(load(None, {**SCRIPTED, **AT_ONCE}, self._folder)) as app:
            config = uvicorn.Config(
                app,
                port=0,
                lifespan="off",
                log_config=None,
                log_level="error",
                forwarded_allow_ips="127.0.0.1",
                ws="websockets-sansio",
            )
            self._server = uvicorn.Server(config)
            serving = asyncio.create_task(self._server.serve())
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.01)
            self._started.set_result((app, self._server.servers[0].sockets[0].getsockname()[1]))
            await serving


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    server = Listening(tmp_path_factory.mktemp("listening"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def described(listening: Listening) -> dict[str, Any]:
    """The live document. Answers may hold nothing that is not named; some placeholders have examples."""
    document: dict[str, Any] = requests.get(f"{listening.url}/openapi.json", timeout=10).json()
    for one in document["components"]["schemas"].values():
        if "properties" in one:
            one.setdefault("additionalProperties", False)
    _shorten(document)
    there = {"session_id": listening.talk(), "filename": "conversation.mp3"}
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in there:
                    parameter["example"] = there[parameter["name"]]
    return document


def _shorten(schema: Any) -> None:
    if isinstance(schema, dict):
        for key in ("maxLength", "maxItems"):
            if isinstance(schema.get(key), int) and schema[key] > (LONG if key == "maxLength" else 10):
                del schema[key]
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _shorten(inner)


@dataclass
class Walked:
    """What a walk over the routes has seen."""

    answers: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failed: list[str] = field(default_factory=list)


def walk(listening: Listening, document: dict[str, Any], *, logged_in: bool) -> Walked:
    """Ask for everything in the document, with good and bad fields. The limits of each field are tried by who
    is let in: nobody else gets that far."""
    config = schemathesis.Config.from_dict(
        {
            "base-url": listening.url,
            "continue-on-failure": True,
            "generation": {"max-examples": EXAMPLES, "deterministic": True},
            "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": logged_in}},
            "checks": {
                **{name: {"enabled": False} for name in NOT_CHECKED},
                "negative_data_rejection": {"expected-statuses": REFUSALS},
            },
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)

    class Turns:
        def get(self, case: Any, _context: Any) -> dict[str, str]:
            return listening.headers(
                logged_in=logged_in, ends_login="logout" in case.path or case.path.endswith("/logins")
            )

        def set(self, case: Any, data: dict[str, str], _context: Any) -> None:
            case.headers = {**(case.headers or {}), **data}

    schema.auth(cache_by_key=None, refresh_interval=None)(Turns)
    walked = Walked()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            walked.failed.append(str(getattr(event, "value", event)))
        if isinstance(event, events.ScenarioFinished):
            answers = [i.response for i in event.recorder.interactions.values()]
            walked.answers[event.label or ""].update(a.status_code for a in answers if a is not None)
            walked.failed += failures(event)
    return walked


def failures(event: events.ScenarioFinished) -> list[str]:
    """What went wrong in one route, each with the request that shows it."""
    return [
        f"{event.label}: {info.failure.title}\n{info.failure.message}\n{info.code_sample}"
        for checks in event.recorder.checks.values()
        for check in checks
        if (info := check.failure_info) is not None
    ]


@pytest.mark.parametrize("logged_in", [False, True], ids=["nobody", "users"])
def test_no_route_fails_or_answers_what_is_not_documented(
    listening: Listening, described: dict[str, Any], logged_in: bool
) -> None:
    walked = walk(listening, described, logged_in=logged_in)
    assert not walked.failed, "\n\n".join(dict.fromkeys(walked.failed))
    routes = sum(len(operations) for operations in described["paths"].values())
    assert len(walked.answers) == routes
    limited = [route for route, answers in walked.answers.items() if set(answers) <= {405, 429}]
    assert limited == []  # the limits have not answered for a route


def test_the_walk_sees_what_is_wrong(listening: Listening, described: dict[str, Any]) -> None:
    def without(path: str, status: str, **responses: Any) -> dict[str, Any]:
        operation = described["paths"][path]["get"]
        kept = {key: one for key, one in operation["responses"].items() if key != status}
        return {"get": {**operation, "responses": {**kept, **responses}}}

    wrong = {
        "/api/conversations": without("/api/conversations", "422"),
        "/health": without("/health", "200", **{"200": {"description": "", "content": {"text/plain": {}}}}),
    }
    seen = " ".join(walk(listening, {**described, "paths": wrong}, logged_in=True).failed)
    assert "GET /api/conversations: Undocumented status code" in seen
    assert "GET /health: Undocumented Content-Type" in seen
