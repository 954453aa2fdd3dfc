"""What two processes do at the same instant: two engines on one database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from storage.accounts import Accounts, Taken, User
from storage.credentials import Credentials
from storage.database import Database, open_database
from storage.talks import Talks

PLANNED = "20261226_100900_k3v9x2m8q7w4f5h6t2r9"


@pytest.fixture
async def other(database_url: str, database: Database) -> AsyncIterator[Database]:
    del database  # it has migrated
    found = await open_database(database_url)
    yield found
    await found.aclose()


async def test_of_accounts_made_at_once_one_is_the_first(database: Database, other: Database) -> None:
    made = await asyncio.gather(
        *(Accounts((database, other)[n % 2]).create(email=f"{n}@example.org") for n in range(8))
    )
    assert sum(user.is_admin for user in made) == 1


async def test_one_name_goes_to_one_of_two(database: Database, other: Database) -> None:
    async def create(where: Database, n: int) -> User | Taken:
        try:
            return await Accounts(where).create(email=f"{n}@example.org", username="ann")
        except Taken as taken:
            return taken

    found = await asyncio.gather(*(create((database, other)[n % 2], n) for n in range(6)))
    assert [one.field for one in found if isinstance(one, Taken)] == ["username"] * 5


async def test_a_key_from_a_mail_is_good_once(database: Database, other: Database) -> None:
    user = await Accounts(database).create(email="ann@example.org")
    for _ in range(5):
        key = await Credentials(database).mail_key(user.id, "reset", "ann@example.org", timedelta(hours=1))
        taken = await asyncio.gather(
            *(Credentials((database, other)[n % 2]).take_mail_key(key, "reset") for n in range(6))
        )
        assert sorted(taken, key=bool) == [*[None] * 5, (user.id, "ann@example.org")]


async def test_a_planned_session_is_opened_by_one_of_many(database: Database, other: Database) -> None:
    await Talks(database).create(PLANNED, None)
    times = [f"2026-12-26T10:09:00.00{n}Z" for n in range(8)]

    async def claims() -> list[bool]:
        return await asyncio.gather(
            *(Talks((database, other)[n % 2]).claim(PLANNED, time) for n, time in enumerate(times))
        )

    first = await claims()
    assert sorted(first) == [*[False] * 7, True]
    winner = times[first.index(True)]
    loser = next(time for time in times if time != winner)
    await Talks(other).unclaim(PLANNED, loser)  # who did not get it has nothing to give back
    assert not any(await claims())
    await Talks(other).unclaim(PLANNED, winner)
    assert sum(await claims()) == 1
    await Talks(database).change(PLANNED, started_at=None, ended_at=winner)
    assert not any(await claims())  # nobody begins what is over


async def test_a_reading_transaction_sees_one_state(database: Database, other: Database) -> None:
    accounts = Accounts(database)
    await accounts.create(email="ann@example.org")
    async with database.read() as connection:
        before = await connection.run_sync(_count)
        await Accounts(other).create(email="bob@example.org")
        assert await connection.run_sync(_count) == before
    assert (await accounts.list())[1] == before + 1


def _count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM users")).scalar_one())
