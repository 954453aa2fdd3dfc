"""The outbox: what happened is in it once, is claimed by one, and is not lost."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.conversations import Conversations, row_change
from storage.database import Database, open_database
from storage.deliveries import DEAD, DELIVERED, KEPT, WAITING, Deliveries
from storage.happenings import SESSION_ENDED, TOOL_RAN
from storage.journal import Entry, Fold
from storage.times import iso

SESSION = "20261226_100900_k3v9x2m8q7w4f5h6t2r9"
START = datetime(2026, 12, 26, 10, 9, tzinfo=UTC)
BOTH = {"a": ("address", (SESSION_ENDED, TOOL_RAN))}


class Clock:
    def __init__(self) -> None:
        self.now = START + timedelta(minutes=5)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


def talk(*, ended: bool = True) -> Fold:
    """A talk in which a tool ran."""
    fold = Fold()
    opening = {"session_id": SESSION, "owner": "user:7", "user_id": "7", "agent_id": None}
    fold.add(Entry(0, "open", {**opening, "start_time": iso(START)}))
    fold.add(Entry(1000, "message", {"n": 1, "role": "user", "content": "¿Qué hora es? \0", "turn": 1}))
    tool: dict[str, Any] = {"role": "tool", "name": "clock", "arguments": {}, "result": {"ok": True}}
    fold.add(Entry(1500, "message", {"n": 2, **tool, "key": "1.1", "time": iso(START)}))
    fold.add(Entry(2000, "message", {"n": 3, "role": "assistant", "content": "Five.", "turn": 1}))
    if ended:
        end(fold)
    return fold


def end(fold: Fold, after_s: int = 60) -> None:
    fold.add(
        Entry(after_s * 1000 - 1, "summary", {"summary": "It was five.", "preferences_mentioned": ["tea"]})
    )
    time = iso(START + timedelta(seconds=after_s))
    fold.add(Entry(after_s * 1000, "end", {"time": time, "reason": "ended by the client"}))


async def saved(
    database: Database, clock: Clock, fold: Fold, subscriptions: Any = BOTH
) -> tuple[Deliveries, Conversations]:
    deliveries = Deliveries(database, subscriptions, clock)
    conversations = Conversations(database, deliveries)
    await conversations.save(row_change(SESSION, fold))
    return deliveries, conversations


async def states(deliveries: Deliveries) -> list[tuple[str, str]]:
    rows, _ = await deliveries.list(None, 100, 0)
    return sorted((row["event"], row["state"]) for row in rows)


async def test_a_talk_that_is_saved_is_to_be_told(database: Database) -> None:
    deliveries, _ = await saved(database, Clock(), talk())
    tool, ended = sorted(await deliveries.claim("a", 10, 30), key=lambda one: one.event, reverse=True)
    told = json.loads(tool.body)
    assert (told["type"], told["timestamp"]) == ("tool.ran", iso(START))
    assert told["data"] == {
        "session_id": SESSION,
        "user_id": "7",
        "agent_id": None,
        "turn": 1,
        "key": "1.1",
        "name": "clock",
        "arguments": {},
        "result": {"ok": True},
    }
    told = json.loads(ended.body)
    data = told["data"]
    assert (told["type"], told["timestamp"]) == ("session.ended", data["end_time"])
    assert (data["session_id"], data["user_id"], data["reason"]) == (SESSION, "7", "ended by the client")
    assert data["duration_seconds"] == 60
    assert data["summary"] == {
        "summary": "It was five.",
        "appointments_discussed": [],
        "preferences_mentioned": ["tea"],
    }
    assert data["cost_breakdown"]["total_cost"] == 0
    assert [m["role"] for m in data["transcript"]] == ["user", "tool", "assistant"]
    assert data["transcript"][0]["content"].startswith("¿Qué hora es?")
    assert "owner" not in data


async def test_what_is_saved_twice_is_told_once(database: Database) -> None:
    clock, fold = Clock(), talk(ended=False)
    deliveries, conversations = await saved(database, clock, fold)
    assert await states(deliveries) == [("tool.ran", WAITING)]
    end(fold)
    await conversations.save(row_change(SESSION, fold))
    await conversations.save(row_change(SESSION, fold))
    assert await states(deliveries) == [("session.ended", WAITING), ("tool.ran", WAITING)]
    for one in await deliveries.claim("a", 10, 30):
        await deliveries.delivered(one, 200)
    await conversations.save(row_change(SESSION, fold))
    assert await states(deliveries) == [("session.ended", DELIVERED), ("tool.ran", DELIVERED)]


async def test_a_talk_that_is_gone_on_with_ends_twice(database: Database) -> None:
    fold = talk()
    deliveries, conversations = await saved(database, Clock(), fold)
    fold.add(Entry(70_000, "resume", {}))
    await conversations.save(row_change(SESSION, fold))
    end(fold, after_s=120)
    await conversations.save(row_change(SESSION, fold))
    assert [event for event, _ in await states(deliveries)] == ["session.ended"] * 2 + ["tool.ran"]


async def test_only_what_is_wanted_is_put_in(database: Database) -> None:
    wanted = {"a": ("x", (SESSION_ENDED,)), "b": ("y", (TOOL_RAN,)), "c": ("z", ())}
    deliveries, _ = await saved(database, Clock(), talk(), wanted)
    rows, total = await deliveries.list(None, 10, 0)
    assert total == 2
    assert {(row["receiver"], row["event"]) for row in rows} == {("a", SESSION_ENDED), ("b", TOOL_RAN)}
    assert len({row["id"] for row in rows}) == 2


async def test_nothing_is_put_in_when_the_talk_could_not_be_saved(database: Database) -> None:
    deliveries = Deliveries(database, BOTH, Clock())
    change = row_change(SESSION, talk())
    change.requests[1] = {"session_id": SESSION, "n": 1, "stage": None, "provider": "x"}
    with pytest.raises(Exception, match=r"(?i)null"):
        await Conversations(database, deliveries).save(change)
    assert await states(deliveries) == []


async def test_old_journals_are_no_news(database: Database) -> None:
    clock = Clock()
    clock.pass_by(days=KEPT.days + 1)
    deliveries, _ = await saved(database, clock, talk())
    assert await states(deliveries) == []


async def test_workers_share_what_there_is(database_url: str) -> None:
    clock, fold = Clock(), talk()
    for n in range(3, 23):
        tool = {"role": "tool", "name": "clock", "arguments": {"n": n}, "result": {}, "key": f"2.{n}"}
        fold.add(Entry(1600 + n, "message", {"n": n, **tool, "time": iso(START)}))
    databases = [await open_database(database_url) for _ in range(4)]
    try:
        workers = [Deliveries(one, BOTH, clock) for one in databases]
        await Conversations(databases[0], workers[0]).save(row_change(SESSION, fold))
        claims = [worker.claim("a", 3, 30) for _ in range(4) for worker in workers]
        claimed = [one.id for some in await asyncio.gather(*claims) for one in some]
        rest = [one.id for worker in workers for one in await worker.claim("a", 50, 30)]
        assert len(claimed) > 3
        assert len(claimed + rest) == len({*claimed, *rest}) == 22
    finally:
        for one in databases:
            await one.aclose()


async def test_what_a_dead_worker_had_claimed_is_claimed_again(database: Database) -> None:
    clock = Clock()
    deliveries, _ = await saved(database, clock, talk())
    first = await deliveries.claim("a", 10, 30)
    assert await deliveries.claim("a", 10, 30) == []
    assert await deliveries.next_due("a") == clock.now + timedelta(seconds=30)
    clock.pass_by(seconds=30)
    assert await deliveries.claim("a", 10, 30) == first


async def test_what_was_not_taken_comes_later_and_then_is_dead(database: Database) -> None:
    clock = Clock()
    deliveries, _ = await saved(database, clock, talk(), {"a": ("x", (TOOL_RAN,))})
    (one,) = await deliveries.claim("a", 10, 30)
    await deliveries.postpone(one, clock.now + timedelta(seconds=5), 500, "answered 500")
    assert await deliveries.claim("a", 10, 30) == []
    assert await deliveries.next_due("a") == clock.now + timedelta(seconds=5)
    clock.pass_by(seconds=5)
    (one,) = await deliveries.claim("a", 10, 30)
    assert one.attempts == 1
    await deliveries.give_up(one, None, "no answer")
    assert await deliveries.next_due("a") is None
    rows, total = await deliveries.list(DEAD, 10, 0)
    assert (total, rows[0]["attempts"], rows[0]["status"], rows[0]["error"]) == (1, 2, None, "no answer")
    assert "body" not in rows[0]
    again = await deliveries.again(one.id)
    assert again is not None
    assert (again["state"], again["attempts"]) == (WAITING, 0)
    (same,) = await deliveries.claim("a", 10, 30)
    assert (same.id, same.body) == (one.id, one.body)
    await deliveries.delivered(same, 204)
    kept = await deliveries.again(one.id)
    assert kept is not None
    assert (kept["state"], kept["body"]) == (DELIVERED, "")
    assert await deliveries.again("msg_made_up") is None


async def test_who_wants_no_more_is_told_no_more_until_it_moves_or_is_turned_on(database: Database) -> None:
    clock, fold = Clock(), talk(ended=False)
    deliveries, conversations = await saved(database, clock, fold)
    end(fold)
    await conversations.save(row_change(SESSION, fold))
    one, _ = await deliveries.claim("a", 2, 30)
    await deliveries.turn_off(one, 410, "answered 410")
    assert await deliveries.off() == {"a"}
    assert {state for _, state in await states(deliveries)} == {DEAD}
    fold.add(Entry(70_000, "resume", {}))
    end(fold, after_s=120)
    await conversations.save(row_change(SESSION, fold))
    assert await deliveries.counts() == {"a": {DEAD: 2}}
    moved = Deliveries(database, {"a": ("elsewhere", (SESSION_ENDED,))}, clock)
    assert await moved.off() == frozenset()
    await deliveries.again(one.id)
    assert await deliveries.off() == frozenset()
    await conversations.save(row_change(SESSION, fold))
    assert await deliveries.counts() == {"a": {DEAD: 1, WAITING: 2}}


async def test_what_nobody_will_ever_send_is_dead_and_what_is_old_is_forgotten(database: Database) -> None:
    clock = Clock()
    await saved(database, clock, talk())
    later = Deliveries(database, {"b": ("y", (TOOL_RAN,))}, clock)
    await later.forget_strangers()
    assert {state for _, state in await states(later)} == {DEAD}
    clock.pass_by(days=KEPT.days, seconds=1)
    await later.forget_strangers()
    assert await states(later) == []


async def test_a_talk_that_is_deleted_is_told_to_nobody(database: Database) -> None:
    deliveries, conversations = await saved(database, Clock(), talk())
    await conversations.delete(SESSION)
    assert await states(deliveries) == []
