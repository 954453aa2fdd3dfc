"""The database: opening, migrating, repositories."""

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from storage.conversations import Conversations, row_change
from storage.database import BadDatabaseUrl, Database, open_database
from storage.journal import Entry, Fold
from storage.migrate import DatabaseTooNew, Step, migrate, steps
from storage.schema import metadata
from storage.settings import Settings

FLOAT = {"sqlite": "FLOAT", "postgresql": "DOUBLE PRECISION"}
SEARCHED = {"messages_words"}
"""PostgreSQL's index for full-text search; see m0004."""


async def test_a_fresh_database_has_the_tables_of_the_schema(database: Database) -> None:
    def compare(connection: Connection) -> None:
        found = inspect(connection)
        assert set(found.get_table_names()) >= set(metadata.tables)
        for table in metadata.tables.values():
            columns = {column["name"]: column for column in found.get_columns(table.name)}
            assert columns.keys() == {column.name for column in table.columns}
            for column in table.columns:
                kind = column.type.compile(connection.dialect).replace("FLOAT", FLOAT[database.dialect])
                assert columns[column.name]["type"].compile(connection.dialect) == kind
                assert columns[column.name]["nullable"] == column.nullable
            indexes = [i for i in found.get_indexes(table.name) if "duplicates_constraint" not in i]
            assert {i["name"] for i in indexes} - SEARCHED == {i.name for i in table.indexes}

    async with database.read() as connection:
        await connection.run_sync(compare)


async def test_opening_twice_migrates_once(database: Database) -> None:
    async with database.write() as connection:
        assert await connection.run_sync(migrate) == 0


async def test_a_step_that_fails_takes_all_steps_back(database: Database) -> None:
    def good(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (x INTEGER)"))

    def bad(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE nonsense ("))

    more = [*steps(), Step(len(steps()) + 1, "good", good), Step(len(steps()) + 2, "bad", bad)]
    with pytest.raises(Exception, match="nonsense"):
        async with database.write() as connection:
            await connection.run_sync(migrate, more)
    async with database.read() as connection:
        assert "half" not in await connection.run_sync(lambda c: inspect(c).get_table_names())
        assert await connection.scalar(text("SELECT max(version) FROM schema_version")) == len(steps())


async def test_a_database_of_a_newer_program_is_refused_in_one_sentence(
    database_url: str, database: Database
) -> None:
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO schema_version VALUES (999, 'from the future')"))
    with pytest.raises(DatabaseTooNew, match="version 999"):
        await open_database(database_url)


def test_processes_that_start_together_do_not_collide(empty_database_url: str) -> None:
    code = f"""
import asyncio, os
from storage.database import open_database
from storage.settings import Settings
async def main():
    database = await open_database("{empty_database_url}")
    print(await Settings(database).get_or_create("secret", lambda: str(os.getpid())))
    await database.aclose()
asyncio.run(main())
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    answers = [child.communicate(timeout=60) for child in children]
    assert [error for _, error in answers] == [""] * 4
    assert len({secret for secret, _ in answers}) == 1


@pytest.mark.parametrize("url", ["nonsense", "mysql+aiomysql://x/y", "sqlite+nothing:///x"])
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(BadDatabaseUrl):
        await open_database(url)


async def test_sqlite_is_set_up_for_several_readers_and_one_writer(tmp_path: Path) -> None:
    database = await open_database(f"sqlite+aiosqlite:///{tmp_path}/parley.db")
    async with database.read() as connection:
        pragmas = [
            await connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    assert pragmas == ["wal", 1, 5000, 1]
    await database.aclose()


@pytest.mark.usefixtures("no_leaks")
async def test_who_is_cancelled_while_a_file_is_opened_leaves_none_open(tmp_path: Path) -> None:
    database = await open_database(f"sqlite+aiosqlite:///{tmp_path}/parley.db")
    try:
        for number in range(40):  # cancelled at each moment of the opening, which takes a few milliseconds
            await database.engine.dispose()
            reading = asyncio.create_task(_read(database))
            await asyncio.sleep(number * 0.000_2)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
    finally:
        await database.aclose()


async def _read(database: Database) -> None:
    async with database.read() as connection:
        await connection.exec_driver_sql("SELECT 1")


async def test_a_database_in_memory_works() -> None:
    database = await open_database("sqlite+aiosqlite://")
    secrets = await asyncio.gather(*(Settings(database).get_or_create("k", lambda: "v") for _ in range(10)))
    assert set(secrets) == {"v"}
    await database.aclose()


async def test_a_secret_is_made_once(database: Database) -> None:
    made: list[int] = []

    def factory() -> str:
        made.append(1)
        return f"secret {len(made)}"

    settings = Settings(database)
    found = await asyncio.gather(*(settings.get_or_create("key", factory) for _ in range(20)))
    assert len(set(found)) == 1
    await settings.put("key", "other")
    assert await settings.get("key") == "other"
    await settings.delete("key")
    assert await settings.get("key") is None


def talk(number: int, owner: str, said: str) -> Fold:
    state = Fold()
    state.add(Entry(0, "open", {"owner": owner, "start_time": f"2026-12-{number:02d}T10:00:00.000Z"}))
    state.add(Entry(9, "message", {"n": 1, "role": "user", "content": said, "name": "x"}))
    state.add(Entry(9, "turn", {"turn": 1, "stt_ms": 7, "cost": {"stt": 1}, "plugins": ["a"]}))
    return state


async def test_an_owner_sees_their_own_latest_first(database: Database) -> None:
    rows = Conversations(database)
    for number in range(1, 8):
        fold = talk(number, "user:1" if number % 2 else "user:2", f"said 100% {number}")
        await rows.save(row_change(f"s{number}", fold))
        await rows.save(row_change(f"s{number}", fold))  # twice does no harm
    items, total = await rows.list("user:1", limit=2, offset=1)
    assert [item["session_id"] for item in items] == ["s5", "s3"]
    assert total == 4
    assert (await rows.list(None, limit=100))[1] == 7
    since, until = "2026-12-03", "2026-12-05T11:00:00.000Z"
    assert [r["session_id"] for r in (await rows.list("user:1", since=since, until=until))[0]] == ["s5", "s3"]
    assert [r["session_id"] for r in (await rows.list("user:1", text="100% 3"))[0]] == ["s3"]
    assert (await rows.list("user:1", text="_aid"))[1] == 0
    assert (await rows.messages("s1"))[0]["more"] == {"name": "x"}
    assert (await rows.turns("s1"))[0]["more"] == {"plugins": ["a"]}


async def test_deleting_a_conversation_takes_its_messages_and_turns(database: Database) -> None:
    rows = Conversations(database)
    await rows.save(row_change("s", talk(1, "o", "x")))
    assert await rows.delete("s")
    assert not await rows.delete("s")
    async with database.read() as connection:
        for table in ("messages", "turns", "conversations"):
            assert await connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
