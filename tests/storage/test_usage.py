"""The ledger: one row for each request, and sums that agree with the files."""

from datetime import UTC, datetime
from typing import Any

import pytest

from storage.conversations import Conversations, row_change
from storage.database import Database
from storage.journal import Entry, Fold
from storage.usage import Usage
from tests.storage.conftest import HEADER, SESSION

LINE: dict[str, Any] = {"provider": "openai", "model": "gpt-4o-mini", "counted": True, "speculative": False}


def talk() -> Fold:
    """Three requests of one turn, one of them a guess that was thrown away, and one failed."""
    fold = Fold()
    fold.add(Entry(0, "open", {"session_id": SESSION, **HEADER}))
    tokens = {"stage": "llm", "unit": "token", "units": 130, "input_tokens": 100, "output_tokens": 30}
    fold.add(
        Entry(
            1000, "cost", {**LINE, **tokens, "price": 0.000033, "turn": 1, "outcome": "ok", "first_ms": 310.5}
        )
    )
    fold.add(Entry(1100, "cost", {**LINE, **tokens, "price": 0.000033, "turn": 1, "speculative": True}))
    fold.add(
        Entry(
            1200,
            "cost",
            {**LINE, "stage": "llm", "price": 0, "turn": 1, "outcome": "failed", "error": "auth"},
        )
    )
    voice = {"stage": "tts", "provider": "elevenlabs", "units": 34, "unit": "character"}
    fold.add(Entry(2000, "cost", {**voice, "price": 0.0017, "turn": 1, "outcome": "cancelled"}))
    return fold


async def test_each_request_is_a_row_and_writing_twice_does_no_harm(database: Database) -> None:
    repository, usage, fold = Conversations(database), Usage(database), talk()
    await repository.save(row_change(SESSION, fold))
    await repository.save(row_change(SESSION, fold))
    rows = await usage.of_session(SESSION)
    assert [row["n"] for row in rows] == [1, 2, 3, 4]
    assert rows[0] | {"session_id": "", "n": 0} == {
        "session_id": "",
        "n": 0,
        "time": "2026-12-26T10:09:01.000Z",
        "turn": 1,
        "stage": "llm",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "units": 130.0,
        "unit": "token",
        "input_tokens": 100,
        "output_tokens": 30,
        "counted": True,
        "price": 0.000033,
        "speculative": False,
        "outcome": "ok",
        "error": "",
        "first_ms": 310.5,
    }
    assert [(row["speculative"], row["outcome"], row["error"]) for row in rows[1:]] == [
        (True, "", ""),
        (False, "failed", "auth"),
        (False, "cancelled", ""),
    ]


async def test_the_rows_of_later_requests_join_those_that_are_there(database: Database) -> None:
    repository, fold = Conversations(database), talk()
    await repository.save(row_change(SESSION, fold))
    fold.rows_of_requests = len(fold.requests)
    fold.add(Entry(3000, "cost", {**LINE, "stage": "llm", "price": 0.5, "turn": 2}))
    change = row_change(SESSION, fold)
    assert list(change.requests) == [5]
    await repository.save(change)
    assert len(await Usage(database).of_session(SESSION)) == 5


async def test_sums_by_provider_agree_with_the_conversation(database: Database) -> None:
    repository, fold = Conversations(database), talk()
    await repository.save(row_change(SESSION, fold))
    sums = await Usage(database).by_provider()
    assert [(s.stage, s.provider, s.model, s.requests, s.failed) for s in sums] == [
        ("llm", "openai", "gpt-4o-mini", 3, 1),
        ("tts", "elevenlabs", "", 1, 0),
    ]
    assert [(s.units, s.price, s.wasted) for s in sums] == [(260, 0.000066, 0.000033), (34, 0.0017, 0.0)]
    row = await repository.get(SESSION)
    assert row is not None
    assert sum(s.price for s in sums) == pytest.approx(row["total_cost"], abs=1e-9)
    assert await Usage(database).by_provider(until="2026-12-26T10:09:01.000Z") == []


async def test_what_was_spent_since_a_moment(database: Database) -> None:
    await Conversations(database).save(row_change(SESSION, talk()))
    usage = Usage(database)
    assert await usage.spent_since(datetime(2026, 12, 26, tzinfo=UTC)) == pytest.approx(0.001766)
    assert await usage.spent_since(datetime(2026, 12, 26, 10, 9, 2, tzinfo=UTC)) == pytest.approx(0.0017)
    assert await usage.spent_since(datetime(2026, 12, 27, tzinfo=UTC)) == 0.0


async def test_a_deleted_conversation_takes_its_requests_along(database: Database) -> None:
    repository = Conversations(database)
    await repository.save(row_change(SESSION, talk()))
    await repository.delete(SESSION)
    assert await Usage(database).of_session(SESSION) == []


async def test_errands_belong_to_no_talk_and_count_all_the_same(database: Database) -> None:
    await Conversations(database).save(row_change(SESSION, talk()))
    usage, before = Usage(database), datetime(2000, 1, 1, tzinfo=UTC)
    spent = await usage.spent_since(before)
    line = {"stage": "tts", "provider": "elevenlabs", "units": 6, "unit": "character", "outcome": "ok"}
    await usage.add_errands([{**line, "price": 0.0003}, {**line, "price": 0.0, "outcome": "failed"}], None)
    await usage.add_errands([], None)
    assert await usage.spent_since(before) - spent == pytest.approx(0.0003)
    sums = {(s.stage, s.requests, s.failed, s.units, s.price) for s in await usage.by_provider()}
    assert ("tts", 3, 1, 46, 0.002) in sums
    assert sum(s.requests for s in await usage.by_provider(until="2000-01-01")) == 0
