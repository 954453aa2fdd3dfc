"""Sums over talks: right, the same on both databases, and only over the talks that were asked for."""

from typing import Any

import pytest
from sqlalchemy import text

from storage.accounts import Accounts
from storage.agents import Agents
from storage.analytics import Analytics, Report
from storage.conversations import Conversations, row_change
from storage.database import Database
from storage.journal import Entry, Fold
from storage.migrations import m0007_spoken
from storage.overview import Overview
from storage.tallies import Scope, outcome
from storage.usage import Usage

ALL = Scope("2026-12-01", "2027-01-01")
VOICES = {"stt": "whisper", "llm": "rules", "tts": "espeak"}
RULES = {"stage": "llm", "provider": "openai", "model": "m", "unit": "token", "units": 10, "outcome": "ok"}


class Story:
    """A talk to be stored."""

    def __init__(self, session_id: str, start: str, **header: Any) -> None:
        self.session_id, self.fold, self._n = session_id, Fold(), 0
        self.fold.add(Entry(0, "open", {"session_id": session_id, "start_time": start, **header}))

    def message(self, **data: Any) -> None:
        self._n += 1
        self.fold.add(Entry(self._n, "message", {"n": self._n, "content": "x", **data}))

    def turn(self, turn: int, *spans: int, reason: str | None = "500 ms of silence", **more: Any) -> None:
        names = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms")
        times = {**dict(zip(names, spans, strict=True)), "voice_to_voice_ms": sum(spans)}
        said = {"start_ms": 1000 * turn, "end_ms": 1000 * turn + 500, "audio": f"{turn:04d}_user.mp3"}
        self.message(role="user", turn=turn, **({} if reason == "typed" else said))
        entry = {"turn": turn, **times, "reason": reason, "plugins": VOICES, **more}
        self.fold.add(Entry(self._n, "turn", entry))

    def cost(self, price: float, turn: int = 1, **line: Any) -> None:
        self.fold.add(Entry(self._n, "cost", {**RULES, "price": price, "turn": turn, **line}))

    def tool(self, name: str, result: Any) -> None:
        self.message(role="tool", name=name, arguments={}, result=result)

    async def save(self, database: Database, seconds: int = 60) -> None:
        self.fold.add(Entry(seconds * 1000, "summary", {"summary": ""}))
        await Conversations(database).save(row_change(self.session_id, self.fold))


async def report(database: Database, scope: Scope = ALL) -> Report:
    return await Analytics(database).report(scope)


async def test_nothing_is_nothing(database: Database) -> None:
    found = await report(database)
    assert (found.days, found.providers, found.tools, found.slowest) == ([], [], [], [])
    assert found.latency == {
        "spoken_turns": 0,
        "p50_ms": None,
        "p90_ms": None,
        "p99_ms": None,
        "stages_ms": None,
        "dominant": None,
    }
    assert (found.totals["talks"], found.totals["minutes"], found.totals["cost"]) == (0, 0.0, 0.0)


async def test_percentiles_are_times_that_there_were(database: Database) -> None:
    story = Story("a", "2026-12-02T10:00:00.000Z")
    for turn in range(1, 101):
        story.turn(turn, 500, 10, turn, 10)  # 521 to 620 ms
    story.turn(101, 9000, 0, 0, 0, reason="typed")
    story.turn(102, 9000, 0, 0, 0, plugins={"stt": "whisper", "llm": "rules"})  # answered in writing
    await story.save(database)
    one = Story("b", "2026-12-03T10:00:00.000Z")
    one.turn(1, 100, 20, 3000, 80)
    await one.save(database)
    found = await report(database)
    first, second = found.days
    assert (first["date"], first["turns"], first["spoken_turns"]) == ("2026-12-02", 102, 100)
    assert (first["p50_ms"], first["p90_ms"], first["p99_ms"]) == (570, 610, 619)
    assert first["stages_ms"] == {"endpoint": 500, "stt": 10, "llm": 50.5, "tts": 10}
    assert first["dominant"] == "endpoint"
    assert (second["p50_ms"], second["p99_ms"], second["dominant"]) == (3200, 3200, "llm")
    assert (found.latency["spoken_turns"], found.latency["p50_ms"]) == (101, 571)
    assert (found.latency["p90_ms"], found.latency["p99_ms"]) == (611, 620)
    assert found.latency["stages_ms"]["endpoint"] == pytest.approx(50_100 / 101, abs=0.1)


async def test_the_slowest_turns_say_where_to_hear_them(database: Database) -> None:
    user = await Accounts(database).create(email="ann@example.org")
    story = Story("a", "2026-12-02T10:00:00.000Z", owner=user.owner, user_id=user.id)
    for turn in range(1, 13):
        story.turn(turn, 100, 10, 1000 * turn if turn % 2 else 10, 10)
    await story.save(database)
    slowest = (await report(database)).slowest
    assert len(slowest) == 10
    assert [row["turn"] for row in slowest[:3]] == [11, 9, 7]
    assert (slowest[0]["session_id"], slowest[0]["start_ms"]) == ("a", 11_000)
    assert (slowest[0]["audio"], slowest[0]["dominant"]) == ("0011_user.mp3", "llm")
    assert (slowest[0]["voice_to_voice_ms"], slowest[0]["user_id"]) == (11_120, user.id)
    assert slowest[-1]["dominant"] == "endpoint"


async def test_what_was_cut_refused_or_failed_is_counted(database: Database) -> None:
    story = Story("a", "2026-12-02T10:00:00.000Z")
    story.message(role="assistant", type="welcome", interrupted=True, heard="")
    story.message(role="assistant", turn=1, interrupted=True, heard="x")
    story.message(role="assistant", turn=2, interrupted=True, heard="x", ended=True)  # they hung up
    story.message(role="assistant", turn=3, type="apology")
    for result in ({"ok": True}, {"now": "9:00"}, ["a", "list"], "text", None, {"ok": "perhaps"}):
        story.tool("clock", result)
        assert outcome(result) == "ok"
    for became, said in {
        "refused": {"ok": False, "message": "That slot is taken."},
        "asked": {"ok": False, "needs_confirmation": True, "message": "Are you sure?"},
        "failed": {"ok": False, "error": "book took longer than 5 s"},
        "ok": {"ok": True},
    }.items():
        story.tool("book", said)
        assert outcome(said) == became
    await story.save(database)
    found = await report(database)
    assert (found.totals["interruptions"], found.totals["failed_turns"]) == (2, 1)
    assert (found.totals["tool_calls"], found.totals["tools_failed"]) == (10, 1)
    assert found.tools == [
        {"name": "clock", "calls": 6, "ok": 6, "refused": 0, "asked": 0, "failed": 0, "success": 1.0},
        {"name": "book", "calls": 4, "ok": 1, "refused": 1, "asked": 1, "failed": 1, "success": 0.3333},
    ]


async def test_costs_are_the_ledgers_whichever_way_they_are_summed(database: Database) -> None:
    people = [await Accounts(database).create(email=f"{name}@example.org") for name in ("ann", "bob")]
    agent = await Agents(database).create(people[0].id, name="Dentist")
    for n in range(6):
        user, used = people[n % 2], agent["id"] if n < 2 else None
        header = {"owner": user.owner, "user_id": user.id, "agent_id": used}
        story = Story(f"s{n}", f"2026-12-{1 + n // 2:02d}T23:59:00.000Z", **header)
        story.cost(0.0001 * (n + 1), turn=1)
        story.cost(0.1 / 3, turn=2, stage="tts", provider="elevenlabs", model="", unit="character")
        story.cost(0.01, turn=2, speculative=True)
        story.cost(0.0, turn=2, outcome="failed", error="quota")
        await story.save(database, seconds=100)  # past midnight: still that day's
    line = {"stage": "tts", "provider": "elevenlabs", "units": 6, "unit": "character", "price": 0.5}
    await Usage(database).add_errands([line], people[0].id)
    whole = Scope("2000", "2999")
    found, ledger = await report(database, whole), await Usage(database).by_provider()
    sums = [
        (row["stage"], row["provider"], row["model"], row["requests"], row["failed"])
        for row in found.providers
    ]
    assert sums == [(s.stage, s.provider, s.model, s.requests, s.failed) for s in ledger]
    for row, one in zip(found.providers, ledger, strict=True):
        assert (row["cost"], row["wasted"]) == pytest.approx((one.price, one.wasted), abs=1e-8)
    assert found.totals["cost"] == pytest.approx(sum(s.price for s in ledger), abs=1e-8)
    assert sum(found.totals["cost_by_stage"].values()) == pytest.approx(found.totals["cost"], abs=1e-8)
    assert sum(day["cost"] for day in found.days) == pytest.approx(found.totals["cost"], abs=1e-8)
    assert sum(row["cost"] for row in found.agents) == pytest.approx(found.totals["cost"] - 0.5, abs=1e-8)
    assert sum(row["cost"] for row in found.users) == pytest.approx(found.totals["cost"] - 0.5, abs=1e-8)
    assert {row["name"]: row["talks"] for row in found.agents} == {"Dentist": 2, None: 4}
    assert [row["email"] for row in found.users] == ["bob@example.org", "ann@example.org"]
    assert [(row["session_id"], row["turn"]) for row in found.dearest] == [
        *((f"s{n}", 2) for n in range(6)),
        *((f"s{n}", 1) for n in range(5, 1, -1)),
    ]
    assert found.dearest[0]["cost"] == pytest.approx(0.1 / 3 + 0.01, abs=1e-8)
    assert [row["session_id"] for row in found.dearest_talks][:2] == ["s5", "s4"]
    # Each user's are theirs alone, with their errands; an agent has none.
    for user, errand in zip(people, (0.5, 0.0), strict=True):
        mine = await report(database, Scope("2000", "2999", user.owner, user.id))
        row = next(row for row in found.users if row["user_id"] == user.id)
        assert mine.totals["cost"] == pytest.approx(row["cost"] + errand, abs=1e-8)
        assert mine.totals["talks"] == 3
        assert {r["user_id"] for r in (*mine.dearest, *mine.dearest_talks)} == {user.id}
    his = await report(database, Scope("2000", "2999", people[1].owner, people[1].id, agent["id"]))
    assert (his.totals["talks"], len(his.dearest_talks)) == (1, 1)
    assert his.totals["cost"] == pytest.approx(0.0002 + 0.1 / 3 + 0.01, abs=1e-8)


async def test_days_and_minutes_agree_with_the_overview(database: Database) -> None:
    for n in range(5):
        story = Story(f"s{n}", f"2026-12-0{1 + n}T10:00:00.000Z")
        story.turn(1, 1, 1, 1, 1)
        await story.save(database, seconds=10 * n)
    await Story("early", "2026-11-30T23:59:59.999Z").save(database)
    scope = Scope("2026-12-01", "2026-12-05T00:00:00.000Z")
    found = await report(database, scope)
    days, _ = await Overview(database).days(scope.since, scope.until, 100)
    seen = [(day["date"], day["talks"], day["turns"], day["minutes"]) for day in found.days]
    assert seen == [(day.date, day.talks, day.utterances, day.minutes) for day in reversed(days)]
    assert len(seen) == 4
    assert (found.totals["talks"], found.totals["minutes"]) == (4, 1.0)


async def test_the_turns_one_by_one(database: Database) -> None:
    for n in (1, 2):
        story = Story(f"s{n}", f"2026-12-0{n}T10:00:00.000Z")
        story.turn(1, 100, 10, 10, 10)
        story.turn(2, 0, 0, 10, 10, reason="typed")
        story.cost(0.25, turn=1)
        story.cost(0.5, turn=1, stage="tts")
        await story.save(database)
    rows = [row async for part in Analytics(database).turns(ALL, 3) for row in part]
    assert [(row["session_id"], row["turn"], row["cost"]) for row in rows] == [
        ("s2", 1, 0.75),
        ("s2", 2, 0.0),
        ("s1", 1, 0.75),
    ]
    assert [row["spoken"] for row in rows] == [True, False, True]
    assert {row["time"][:19] for row in rows} == {"2026-12-02T10:00:00", "2026-12-01T10:00:00"}


async def test_older_turns_are_marked_when_the_database_is_brought_up_to_date(database: Database) -> None:
    story = Story("a", "2026-12-02T10:00:00.000Z")
    story.turn(1, 100, 10, 10, 10)
    story.turn(2, 100, 10, 10, 10, plugins={"talk": "gemini-live"})
    story.turn(3, 100, 10, 10, 10, plugins={"llm": "rules"})
    story.turn(4, 0, 0, 10, 10, reason="typed")
    story.turn(5, 0, 0, 10, 10, reason=None)
    await story.save(database)
    async with database.write() as connection:
        for name in ("messages_of_tools", "messages_cut", "messages_of_apology"):
            await connection.execute(text(f"DROP INDEX {name}"))
        await connection.execute(text("ALTER TABLE turns DROP COLUMN spoken"))
        await connection.run_sync(m0007_spoken.apply)
    marked = {row["turn"]: row["spoken"] for row in await Conversations(database).turns("a")}
    assert marked == {1: True, 2: True, 3: False, 4: False, 5: True}
