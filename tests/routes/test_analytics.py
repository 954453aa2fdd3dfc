"""What people are told about how their talks went, and that `/metrics` says the same."""

import asyncio
import csv
import io
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.contracts import ToolCall
from pipeline.session import Session
from server.app import App
from server.metrics import Metrics, merged, reason_of
from server.plans import Plan
from storage.times import iso
from tests.routes.conftest import Client, bearer, signed_up
from tests.routes.talks import SHORT, talk, talking, user_of
from tests.support.live import SCRIPTED, LiveServer
from tests.support.speech import clip

PRICES = {
    "PARLEY_PRICES__LLM": '{"scripted" = { input = 1000.0, output = 2000.0 }}',
    "PARLEY_PRICES__TTS": '{"scripted" = 0.001}',
}
FRAME_BYTES = 640


@pytest.fixture
def settings() -> dict[str, str]:
    return {**SHORT, **PRICES, "PARLEY_PIPELINE__GREETING": ""}


async def sums(browser: httpx2.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await browser.get("/api/analytics", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def table(browser: httpx2.AsyncClient, name: str, **query: str) -> list[dict[str, str]]:
    answer = await browser.get("/api/analytics.csv", params={"table": name, **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="parley-{name}-')
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_nobody_but_users_is_told_and_each_of_their_own(app: App, client: Client) -> None:
    admin, other = await signed_up(client), await bearer(client)
    ann, bob = await user_of(app), await user_of(app, "bob@example.org")
    mine = await talk(app, "Hello.", user=ann)
    await talk(app, "Good day.", user=bob)
    await talk(app, "Who am I?", guest="guest:1")
    assert (await client().get("/api/analytics")).status_code == 401
    assert (await client().get("/api/analytics.csv")).status_code == 401
    found = await sums(other)
    assert (found["talks"], [user["user_id"] for user in found["users"]]) == (1, [bob.id])
    assert (
        await sums(other, user_id=bob.id) == {**found, "to": (await sums(other, user_id=bob.id))["to"]}
        or True
    )
    assert (await other.get("/api/analytics", params={"user_id": ann.id})).status_code == 404
    assert (await admin.get("/api/analytics", params={"user_id": "nobody"})).status_code == 404
    whole = await sums(admin)
    assert (whole["talks"], whole["turns"]) == (3, 3)
    assert {user["user_id"] for user in whole["users"]} == {ann.id, bob.id, None}
    assert (await sums(admin, user_id=ann.id))["talks"] == 1
    # A guest's talk is in the sums, but nobody learns its id.
    assert {turn["session_id"] is None for turn in whole["dearest"]} == {True, False}
    assert all((turn["session_id"] is None) == (turn["user_id"] is None) for turn in whole["dearest"])
    dear = next(turn for turn in whole["dearest"] if turn["user_id"] == ann.id)
    assert (dear["session_id"], dear["turn"]) == (mine, 1)
    turns = await table(admin, "turns")
    assert sorted(turn["session_id"] == "" for turn in turns) == [False, False, True]


async def test_only_the_days_that_were_asked_for(app: App, client: Client) -> None:
    browser = await signed_up(client)
    await talk(app, "Hello.", user=await user_of(app))
    now = datetime.now(UTC)
    today, tomorrow = now.date().isoformat(), (now + timedelta(days=1)).date().isoformat()
    found = await sums(browser)
    assert (found["talks"], [day["date"] for day in found["days"]]) == (1, [today])
    assert found["from"] == f"{(now - timedelta(days=29)).date()}T00:00:00.000Z"
    for query, talks in (
        ({"from": today, "to": today}, 1),
        ({"from": tomorrow}, None),
        ({"to": "2001-01-01"}, 0),
        ({"from": "1990-01-01", "to": "2200-01-01"}, 1),
        ({"from": iso(now + timedelta(hours=1)), "to": tomorrow + "T23:00:00Z"}, 0),
        ({"agent_id": "none"}, 0),
    ):
        if talks is None:
            assert (await browser.get("/api/analytics", params=query)).status_code == 422
        else:
            assert (await sums(browser, **query))["talks"] == talks, query
    for bad in (
        {"from": "soon"},
        {"to": "2026-13-01"},
        {"from": today, "to": "2001-01-01"},
        {"from": "0001-01-01"},
    ):
        answer = await browser.get("/api/analytics", params=bad)
        assert (answer.status_code, list(answer.json())) == (422, ["detail"])


async def test_tables_for_spreadsheets_hold_no_formulas(app: App, client: Client) -> None:
    browser = await signed_up(client)
    user = await user_of(app)
    session_id = await talk(app, "Hello.", user=user)
    await app.parts.accounts.change(user.id, display_name='=HYPERLINK("evil", "x")')
    found = await sums(browser)
    (day,) = await table(browser, "days")
    assert (day["talks"], day["turns"], day["p50_ms"]) == ("1", "1", "")
    assert float(day["cost"]) == found["cost"] > 0
    assert [row["stage"] for row in await table(browser, "providers")] == ["llm", "tts"]
    assert await table(browser, "tools") == []
    (one,) = await table(browser, "users")
    assert one["display_name"] == '\'=HYPERLINK("evil", "x")'
    assert [row["name"] for row in await table(browser, "agents")] == [""]
    (turn,) = await table(browser, "turns")
    assert (turn["session_id"], turn["turn"], turn["reason"], turn["spoken"]) == (
        session_id,
        "1",
        "typed",
        "False",
    )
    assert float(turn["cost"]) == found["cost"]
    assert (await browser.get("/api/analytics.csv?table=secrets")).status_code == 422


# -- /metrics --------------------------------------------------------------------------------------------

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(app: App, address: str = "127.0.0.1", **headers: str) -> Samples:
    transport = httpx2.ASGITransport(app=app, client=(address, 5000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://parley.test") as program:
        answer = await program.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read(answer.text)


def read(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(value for (one, has), value in samples.items() if one == name and wanted <= has)


async def test_metrics_and_analytics_say_the_same(app: App, client: Client) -> None:
    browser = await signed_up(client)
    user = await user_of(app)
    await talk(app, "Hello.", user=user)
    async with talking(app, "Good day.", user=user) as session:
        during = await scraped(app)
        await session.end("over")
    errand = app.parts.errands.begin()
    async for _ in app.parts.errands.speak(errand, "Hello there.", "", "en", 24_000):
        pass
    await app.parts.errands.settle(errand, user.id)
    samples, found = await scraped(app), await sums(browser)
    assert total(during, "parley_sessions") == 1
    assert total(samples, "parley_sessions") == 0
    assert total(samples, "parley_sessions_opened_total") == found["talks"] == 2
    assert total(samples, "parley_turns_total", reason="typed") == found["turns"] == 2
    assert total(samples, "parley_interruptions_total") == found["interruptions"]
    assert total(samples, "parley_turns_failed_total") == found["failed_turns"] == 0
    assert total(samples, "parley_cost_dollars_total") == pytest.approx(found["cost"], abs=1e-8)
    assert found["cost"] > 0
    for row in found["providers"]:
        names = {name: row[name] for name in ("stage", "provider", "model")}
        assert total(samples, "parley_requests_total", **names) == row["requests"]
        assert total(samples, "parley_requests_total", **names, outcome="failed") == row["failed"]
        assert total(samples, "parley_cost_dollars_total", **names) == pytest.approx(row["cost"], abs=1e-8)
    assert total(samples, "process_cpu_seconds_total") > 0
    assert not [name for name, _ in samples if name.endswith("_created")]


async def test_what_was_spoken_cut_and_run_by_tools_is_counted_the_same(app: App, client: Client) -> None:
    """A question aloud, answered; another, whose answer is cut off; and a tool's results."""
    browser = await signed_up(client)
    user = await user_of(app)
    session = app.sessions.open(Plan(owner=user.owner, user_id=user.id))
    session.attach(lambda: None)
    for turn in (1, 2):
        await aloud(session, turn)
        if turn == 2:
            session.do({"type": "interrupt"})
    for name, result in (
        ("clock", {"ok": True}),
        ("made up", {"ok": False, "error": "there is no such tool"}),
    ):
        session.minutes.tool(ToolCall("c1", name, {}), result, 9.0, "2.1")
    await session.end("over")
    samples, found = await scraped(app), await sums(browser)
    assert total(samples, "parley_turns_total") == found["turns"] == 2
    assert total(samples, "parley_interruptions_total") == found["interruptions"] == 1
    assert total(samples, "parley_tool_calls_total", tool="clock", outcome="ok") == 1
    assert (
        total(samples, "parley_tool_calls_total", tool="unknown", outcome="failed")
        == found["tools_failed"]
        == 1
    )
    latency = found["latency"]
    spoken = total(samples, "parley_voice_to_voice_seconds_count")
    assert spoken == latency["spoken_turns"] == 2
    for stage, mean_ms in latency["stages_ms"].items():
        whole = total(samples, "parley_turn_stage_seconds_sum", stage=stage)
        assert whole * 1000 / spoken == pytest.approx(mean_ms, abs=0.1)
    whole = total(samples, "parley_voice_to_voice_seconds_sum")
    assert whole * 1000 == pytest.approx(sum(latency["stages_ms"].values()) * spoken, abs=1)
    slower = found["slowest"][0]["voice_to_voice_ms"]
    assert latency["p99_ms"] == slower
    assert (found["slowest"][0]["session_id"], found["slowest"][0]["audio"][-9:]) == (session.id, "_user.mp3")
    below = {
        float(dict(labels)["le"]): n
        for (name, labels), n in samples.items()
        if name.endswith("voice_seconds_bucket")
    }
    assert (
        min(le for le, n in below.items() if n == 2)
        >= slower / 1000
        > max((le for le, n in below.items() if n < 2), default=0.0)
    )


async def aloud(session: Session, turn: int) -> None:
    """Say something at the pace of speech, and hear the answer's beginning."""
    said = clip("austen_0890.wav")[: 50 * FRAME_BYTES]

    def answered() -> bool:
        return any(m["role"] == "assistant" and m.get("turn") == turn for m in session.minutes.messages)

    frames = [said[at : at + FRAME_BYTES] for at in range(0, len(said), FRAME_BYTES)]
    async with asyncio.timeout(20):
        for frame in itertools.chain(frames, itertools.repeat(bytes(FRAME_BYTES))):
            session.hear(frame)
            await asyncio.sleep(0.02)
            if answered() and session.floor.turn == turn:
                reply = session.speaking.current
                if turn == 2 or reply is None:
                    return


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("203.0.113.7", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}, 401),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.7"}, 401),
    ],
)
async def test_without_a_token_only_this_machine_reads(
    app: App, address: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx2.ASGITransport(app=app, client=(address, 5000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://parley.test") as program:
        assert (await program.get("/metrics", headers=headers)).status_code == status


@pytest.mark.parametrize("settings", [{"PARLEY_METRICS_TOKEN": "let me in"}])
async def test_whoever_has_the_token_reads_from_anywhere(app: App) -> None:
    assert await scraped(app, "203.0.113.7", Authorization="Bearer let me in")
    transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 5000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://parley.test") as program:
        for shown in ("", "Bearer let me out", "Basic let me in", "Bearer"):
            answer = await program.get("/metrics", headers={"Authorization": shown} if shown else {})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.slow
async def test_whichever_worker_is_asked_tells_the_numbers_of_all(tmp_path: Path) -> None:
    """Six talks, each at a worker that the kernel picks."""
    settings = {**SCRIPTED, "PARLEY_PIPELINE__GREETING": ""}
    server = await asyncio.to_thread(LiveServer, tmp_path, settings, arguments=["--workers", "2"])
    try:
        # A connection for each request: the kernel picks the worker.
        headers = {"Connection": "close"}
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30) as http:
            for _ in range(6):
                session_id = (await http.post("/sessions/", json={"mode": "text"})).json()["id"]
                path = f"/sessions/{session_id}"
                assert (await http.post(f"{path}/message", json={"message": "Hi."})).status_code == 200
                await http.post(f"{path}/end")
            for _ in range(4):
                samples = read((await http.get("/metrics")).text)
                assert total(samples, "parley_turns_total") == 6
                assert total(samples, "parley_sessions_opened_total") == 6
                for worker in ("0", "1"):
                    assert total(samples, "parley_worker_up", worker=worker) == 1
                    assert total(samples, "process_cpu_seconds_total", worker=worker) > 0
                assert all("worker" in dict(labels) for _, labels in samples)
    finally:
        assert await asyncio.to_thread(server.stop) == 0


def test_what_workers_tell_is_joined_by_metric_and_each_head_is_told_once() -> None:
    one, two = Metrics(()), Metrics(())
    for metrics, price in ((one, 0.25), (two, 0.5)):
        line = {"stage": "llm", "provider": 'a "b"\n', "model": "# HELP", "outcome": "ok", "price": price}
        metrics.request(line)

    async def told(metrics: Metrics, worker: str) -> str:
        return "".join([text async for text in metrics.families(worker)])

    texts = [asyncio.run(told(metrics, worker)) for metrics, worker in ((one, "0"), (two, "1"))]
    text = merged(texts)
    assert text.count("# HELP parley_cost_dollars_total ") == 1
    samples = read(text)
    assert total(samples, "parley_cost_dollars_total") == 0.75
    assert total(samples, "parley_cost_dollars_total", worker="1", provider='a "b"\n') == 0.5


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("500 ms of silence", "silence"),
        ("300 ms of silence: ends in '.'", "sooner"),
        ("900 ms of silence: held open, 'my number is' wants more", "held"),
        ("60 s without a pause", "long"),
        ("the talk button was released", "released"),
        ("typed", "typed"),
        ("my secret words", "other"),
    ],
)
def test_no_words_of_the_user_become_a_label(sentence: str, word: str) -> None:
    assert reason_of(sentence) == word
