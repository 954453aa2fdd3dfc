"""Other servers are told what happened: whole talks, over real HTTP, to receivers well and unwell."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from pipeline.contracts import MissingKey, ParleyError
from server.app import App, running
from server.check import check
from server.config import Config, ConfigError, load
from server.terminal import Terminal
from server.webhooks import Courier, subscriptions, targets
from storage.conversations import Conversations, row_change
from storage.database import Database, open_database
from storage.deliveries import Deliveries
from tests.routes.conftest import SCRIPTED, Client, signed_up
from tests.routes.talks import SHORT, talk, user_of
from tests.storage.test_deliveries import SESSION, Clock
from tests.storage.test_deliveries import talk as a_talk
from tests.support.receiver import OTHER_SECRET, SECRET, Answer, Receiver

TOOL = {"PARLEY_LLM__SCRIPTED__TOOL": "clock"}


@pytest_asyncio.fixture
async def receiver(no_leaks: None) -> AsyncIterator[Receiver]:
    del no_leaks
    async with Receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture
async def settings(receiver: Receiver) -> dict[str, str]:
    hook = {"PARLEY_WEBHOOKS__URLS": receiver.url, "WEBHOOK_SECRET": SECRET}
    return {**SHORT, **TOOL, "PARLEY_PIPELINE__GREETING": "", **hook}


# -- whole talks ----------------------------------------------------------------------------------------


async def test_a_receiver_is_told_of_tools_and_of_the_end(
    receiver: Receiver, app: App, client: Client
) -> None:
    await signed_up(client)
    user = await user_of(app)
    session_id = await talk(app, "¿Qué hora es?", user=user)
    await receiver.until(lambda: len(receiver.got) == 2)
    (ran,), (ended,) = receiver.of("tool.ran"), receiver.of("session.ended")
    data = ran.event["data"]
    assert (data["session_id"], data["name"], data["arguments"]) == (session_id, "clock", {})
    assert data["result"]["ok"] is True
    assert (data["turn"], data["user_id"]) == (1, user.id)
    data = ended.event["data"]
    assert (data["session_id"], data["reason"], data["user_id"]) == (session_id, "over", user.id)
    assert [m["role"] for m in data["transcript"]] == ["user", "tool", "assistant"]
    assert data["transcript"][0]["content"] == "¿Qué hora es?"
    assert data["summary"]["summary"]
    assert {"total_cost", "llm_cost"} <= data["cost_breakdown"].keys()
    assert data["duration_seconds"] > 0
    assert ran.id != ended.id
    assert ran.headers["content-type"] == "application/json"
    stored = await app.archive.conversation(session_id)
    assert stored is not None
    assert data["end_time"] == stored["end_time"]
    assert data["summary"]["summary"] == stored["summary"]


async def test_what_could_not_be_told_is_told_by_the_next_start(
    receiver: Receiver, tmp_path: Path, database_url: str, settings: dict[str, str]
) -> None:
    receiver.answers = [Answer(hangs=True), Answer(hangs=True)]
    config = load(None, {**SCRIPTED, "PARLEY_STORAGE__URL": database_url, **settings}, tmp_path)
    async with running(config) as app:
        await talk(app, "Hello.", guest="guest:1")
        await receiver.until(lambda: len(receiver.got) == 2)
    first = {got.id for got in receiver.got}
    database = await open_database(database_url)
    try:
        # The dead worker's claim runs out after 40 s; here the clock says that it has.
        clock = Clock()
        clock.now = datetime.now().astimezone() + timedelta(minutes=2)
        found = targets(config)
        receiver.checked = False
        courier = Courier(found, Deliveries(database, subscriptions(found), clock), clock)
        assert await courier.deliver(found[0]) == 2
        assert await courier.deliver(found[0]) == 0
        await courier.aclose()
    finally:
        await database.aclose()
    assert {got.id for got in receiver.got[2:]} == first
    assert {got.body for got in receiver.got[2:]} == {got.body for got in receiver.got[:2]}


async def test_administrators_see_what_is_dead_and_send_it_again(
    receiver: Receiver, app: App, client: Client
) -> None:
    admin = await signed_up(client)
    receiver.answers = [Answer(200), Answer(410)]
    await talk(app, "Hello.", guest="guest:1")
    name = next(iter(app.parts.courier.targets))
    await _dead(app, 1)
    answer = await admin.get("/api/admin/webhooks?state=dead")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["total"], found["items"][0]["status"]) == (1, 410)
    (told,) = found["receivers"]
    assert (told["name"], told["host"], told["is_off"], told["dead"]) == (name, "127.0.0.1", True, 1)
    assert "hook" not in answer.text  # nor what was said, nor whose it is
    assert "Hello" not in answer.text
    assert "session_id" not in answer.text
    dead = found["items"][0]["id"]
    before = len(receiver.got)
    again = await admin.post(f"/api/admin/webhooks/{dead}/retry")
    assert (again.status_code, again.json()["state"], again.json()["attempts"]) == (200, "waiting", 0)
    await receiver.until(lambda: len(receiver.got) == before + 1)
    assert receiver.got[-1].id == dead
    await _dead(app, 0)
    assert (await admin.post(f"/api/admin/webhooks/{dead}/retry")).status_code == 409
    assert (await admin.post("/api/admin/webhooks/msg_x/retry")).status_code == 404
    found = (await admin.get("/api/admin/webhooks")).json()
    assert (found["total"], found["receivers"][0]["is_off"]) == (2, False)


async def _dead(app: App, wanted: int) -> None:
    async def is_so() -> bool:
        counts = await app.parts.courier.deliveries.counts()
        states = next(iter(counts.values()), {})
        return states.get("dead", 0) == wanted and not states.get("waiting", 0)

    async with asyncio.timeout(15):
        while not await is_so():
            await asyncio.sleep(0.02)


async def test_a_receiver_that_hangs_delays_no_talk(receiver: Receiver, app: App) -> None:
    receiver.answers = [Answer(hangs=True) for _ in range(100)]
    await talk(app, "Hello.", guest="guest:1")
    await receiver.until(lambda: len(receiver.got) == 2)
    async with asyncio.timeout(10):
        for _ in range(3):
            await talk(app, "Hello again.", guest="guest:1")


# -- attempts, by a clock that is told ------------------------------------------------------------------


class Post:
    """A talk that was saved, a receiver, and a clock."""

    def __init__(self, courier: Courier, clock: Clock, receiver: Receiver) -> None:
        self.courier, self.clock, self.receiver = courier, clock, receiver
        self.target = next(iter(courier.targets.values()))

    async def go(self, *answers: Answer) -> dict[str, Any]:
        """Send what is due. The delivery then."""
        self.receiver.answers = [*answers]
        await self.courier.deliver(self.target)
        rows, _ = await self.courier.deliveries.list(None, 10, 0)
        (row,) = rows
        return row

    def wait_s(self, row: dict[str, Any]) -> float:
        return (datetime.fromisoformat(row["due_at"]) - self.clock.now).total_seconds()


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url)
    yield database
    await database.aclose()


@pytest_asyncio.fixture
async def post(receiver: Receiver, database: Database, tmp_path: Path) -> AsyncIterator[Post]:
    made = await _post(receiver, database, tmp_path)
    yield made
    await made.courier.aclose()


async def _post(receiver: Receiver, database: Database, folder: Path, **more: str) -> Post:
    receiver.checked = False
    hook = {"PARLEY_WEBHOOKS__A__URL": receiver.url, "PARLEY_WEBHOOKS__EVENTS": "tool.ran", **more}
    found = targets(load(None, {**SCRIPTED, **hook, "WEBHOOK_SECRET": SECRET}, folder))
    clock = Clock()
    deliveries = Deliveries(database, subscriptions(found), clock)
    courier = Courier(found, deliveries, clock, chance=lambda: 0.5)
    await Conversations(database, deliveries).save(row_change(SESSION, a_talk()))
    return Post(courier, clock, receiver)


async def test_pauses_grow_until_it_is_given_up(post: Post) -> None:
    pauses = []
    for _ in range(9):
        row = await post.go(Answer(500, body=b"no\n database"))
        assert (row["state"], row["status"], row["error"]) == ("waiting", 500, "answered 500: no database")
        pauses.append(post.wait_s(row))
        assert await post.courier.deliver(post.target) == 0
        post.clock.pass_by(seconds=pauses[-1])
    assert pauses == [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600]
    row = await post.go(Answer(500))
    assert (row["state"], row["attempts"]) == ("dead", 10)
    assert len({got.id for got in post.receiver.got}) == 1
    assert len(post.receiver.got) == 10
    assert len({got.headers["webhook-timestamp"] for got in post.receiver.got}) == 10


@pytest.mark.parametrize(
    ("answer", "status", "error", "wait_s"),
    [
        (Answer(429, {"Retry-After": "120"}), 429, "answered 429", 120),
        (Answer(503, {"Retry-After": "1"}), 503, "answered 503", 5),
        (Answer(503, {"Retry-After": "99999999"}), 503, "answered 503", 86_400),
        (Answer(429, {"Retry-After": "Sat, 26 Dec 2026 10:15:00 GMT"}), 429, "answered 429", 60),
        (Answer(302, {"Location": "/elsewhere"}), 302, "redirects are not followed", 5),
        (Answer(404), 404, "answered 404", 5),
        (Answer(500, body=b"x" * 1_000_000), 500, "answered 500: xxx", 5),
    ],
)
async def test_a_refusal_is_tried_again(
    post: Post, answer: Answer, status: int, error: str, wait_s: float
) -> None:
    row = await post.go(answer)
    assert (row["state"], row["status"], post.wait_s(row)) == ("waiting", status, wait_s)
    assert error in row["error"]
    assert len(row["error"]) < 300
    assert len(post.receiver.got) == 1


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_success_is_one(post: Post, status: int) -> None:
    row = await post.go(Answer(status))
    assert (row["state"], row["status"], row["error"]) == ("delivered", status, "")


async def test_no_answer_and_nobody_there(receiver: Receiver, database: Database, tmp_path: Path) -> None:
    post = await _post(receiver, database, tmp_path, PARLEY_WEBHOOKS__A__TIMEOUT_MS="200")
    row = await post.go(Answer(hangs=True))
    assert (row["state"], row["status"], row["error"]) == ("waiting", None, "no answer within 0.2 s")
    await receiver.__aexit__()
    post.clock.pass_by(seconds=5)
    row = await post.go()
    assert (row["attempts"], row["status"]) == (2, None)
    assert row["error"].startswith("cannot be reached")
    await receiver.__aenter__()
    post.clock.pass_by(seconds=20)
    assert (await post.go())["state"] == "delivered"
    await post.courier.aclose()


async def test_pauses_are_spread(post: Post) -> None:
    pauses = [post.courier._pause_s(1, None)]
    for chance in (0.0, 1.0):
        post.courier._chance = iter([chance]).__next__
        pauses.append(post.courier._pause_s(1, None))
    assert pauses == [5, 4, 6]


async def test_while_a_secret_is_changed_both_are_good(tmp_path: Path) -> None:
    config = configured(tmp_path, WEBHOOK_SECRET=f"{SECRET} {OTHER_SECRET}")
    assert len(targets(config)[0].signers) == 2
    now = datetime.now().astimezone()
    signatures = " ".join(one.sign("msg_1", now, "{}") for one in targets(config)[0].signers)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp()))}
    for secret in (SECRET, OTHER_SECRET):
        assert Webhook(secret).verify("{}", {**headers, "webhook-signature": signatures}) == {}


# -- the configuration ----------------------------------------------------------------------------------

TWO = """
[webhooks]
urls = ["https://example.org/hook"]
[webhooks.crm]
url = "https://crm.example.org/x"
events = ["session.ended"]
secret_variable = "CRM_SECRET"
tries = 3
"""


def configured(folder: Path, toml: str = TWO, **keys: str) -> Config:
    (folder / "config.toml").write_text(toml, "utf-8")
    return load(None, {**SCRIPTED, "CRM_SECRET": OTHER_SECRET, **keys}, folder)


def test_each_receiver_has_its_own_or_the_common_settings(tmp_path: Path) -> None:
    plain, crm = targets(configured(tmp_path, WEBHOOK_SECRET=SECRET, PARLEY_WEBHOOKS__CRM__TIMEOUT_MS="500"))
    assert plain.name.startswith("example.org-")
    assert (plain.events, plain.timeout_s, plain.tries) == (("session.ended", "tool.ran"), 10, 10)
    assert (crm.name, crm.events, crm.timeout_s, crm.tries) == ("crm", ("session.ended",), 0.5, 3)
    assert "example.org" not in repr(crm)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "[webhooks] secret_variable names WEBHOOK_SECRET, which is not set"),
        (
            {"WEBHOOK_SECRET": "hunter2"},
            "[webhooks] secret_variable names WEBHOOK_SECRET, which holds no secret",
        ),
        ({"WEBHOOK_SECRET": "whsec_aGk="}, "which holds no secret for webhooks"),
        ({"WEBHOOK_SECRET": SECRET, "CRM_SECRET": ""}, "[webhooks.crm] secret_variable names CRM_SECRET"),
    ],
)
async def test_without_a_secret_nothing_starts(tmp_path: Path, keys: dict[str, str], why: str) -> None:
    config = configured(tmp_path, **keys)
    with pytest.raises((MissingKey, ParleyError)) as caught:
        async with running(config):
            pass
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)
    out = io.StringIO()
    assert not await check(config, Terminal(out))
    assert why in out.getvalue()


async def test_the_check_names_the_receivers(tmp_path: Path) -> None:
    out = io.StringIO()
    await check(configured(tmp_path, WEBHOOK_SECRET=SECRET), Terminal(out))
    assert "ready: crm.example.org is told session.ended" in out.getvalue()


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('[webhooks]\nurls = ["ftp://u:hunter2@x"]\n', "[webhooks] urls must be a URL"),
        ('[webhooks.a]\nurl = "hunter2"\n', "[webhooks.a] url must be a URL"),
        ("[webhooks.a]\ntries = 3\n", "[webhooks.a] url must be a URL"),
        ('[webhooks]\nurls = ["https://x"]\nevents = ["session.end"]\n', "did you mean 'session.ended'?"),
        ('[webhooks.a]\nurl = "https://x"\nevents = ["tool"]\n', "names 'tool', which never happens"),
        ('[webhooks.a]\nulr = "https://x"\n', "[webhooks.a] ulr is not a key; did you mean 'url'?"),
        ('[webhooks.a]\nurl = "https://x"\ntries = 0\n', "[webhooks.a] tries = 0 must be from 1 to 100"),
        ('[webhooks.a]\nsecret = "hunter2"\n', "is a secret and is not read from here"),
        ('[webhooks."a b"]\nurl = "https://x"\n', "is a name of at most 64 letters"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, toml: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, toml)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
