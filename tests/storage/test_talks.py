"""Sessions made over REST, as they age: given to users, ended by others' hands, forgotten."""

from typing import Any

import pytest

from storage.conversations import Conversations, RowChange
from storage.database import Database
from storage.talks import Talks

GUESTS, USERS, ENDED = (f"20261226_10090{n}_k3v9x2m8q7w4f5h6t2r9" for n in range(3))
BEGAN = "2026-12-26T10:09:00.000Z"
LATER = "2026-12-26T12:00:00.000Z"


async def talk(database: Database, session_id: str, end_time: str | None) -> None:
    """What is stored of a talk."""
    row = {"session_id": session_id, "owner": None, "user_id": None, "agent_id": None, "start_time": BEGAN}
    more: dict[str, Any] = {
        "end_time": end_time,
        "duration_s": 1.0,
        "mode": None,
        "language": None,
        "config": {},
        "turns": 1,
    }
    rest = {"summary": "", "total_cost": 0.0, "end_reason": None}
    await Conversations(database).save(RowChange(session_id, {**row, **more, **rest}))


async def test_a_session_whose_talk_was_ended_by_others_is_over(database: Database) -> None:
    talks = Talks(database)
    for session_id, end_time in ((GUESTS, LATER), (USERS, None)):
        await talks.create(session_id, None, started_at=BEGAN)
        await talk(database, session_id, end_time)
    await talks.create(ENDED, None)  # nobody has come to it
    await talks.settle()
    found = [await talks.get(session_id) for session_id in (GUESTS, USERS, ENDED)]
    assert [(row["is_active"], row["ended_at"]) for row in found if row] == [
        (False, LATER),
        (True, None),
        (True, None),
    ]


async def test_the_first_end_counts(database: Database) -> None:
    talks = Talks(database)
    await talks.create(ENDED, None)
    await talks.ended(ENDED, BEGAN)
    await talks.ended(ENDED, LATER)
    row = await talks.get(ENDED)
    assert row is not None
    assert row["ended_at"] == BEGAN


@pytest.mark.parametrize("guests_only", [True, False])
async def test_old_sessions_are_forgotten_but_not_those_that_go_on(
    database: Database, guests_only: bool
) -> None:
    talks = Talks(database)
    over = {"created_at": BEGAN, "started_at": BEGAN, "ended_at": BEGAN}
    await talks.create(GUESTS, "guest:1", **over)
    await talks.create(USERS, "user:1", user_id="1", **over)
    await talks.create(ENDED, None, created_at=BEGAN, started_at=BEGAN)  # goes on
    await talks.purge(BEGAN, guests_only=guests_only)
    assert (await talks.list(None))[1] == 3
    await talks.purge(LATER, guests_only=guests_only)
    kept = {row["id"] for row in (await talks.list(None))[0]}
    assert kept == ({USERS, ENDED} if guests_only else {ENDED})


async def test_what_a_guest_has_going_becomes_the_users(database: Database) -> None:
    talks = Talks(database)
    for session_id in (GUESTS, ENDED):
        await talks.create(session_id, "guest:1")
    await talks.ended(ENDED, LATER)
    await talks.adopt("guest:1", "user:1", "1")
    assert [row["id"] for row in (await talks.list("user:1"))[0]] == [GUESTS]
    assert [row["id"] for row in (await talks.list("guest:1"))[0]] == [ENDED]
