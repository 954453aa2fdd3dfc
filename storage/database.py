"""The database behind a URL: its engine, reading and writing transactions, what the dialects do not share.

SQLite has one writer at a time. Here its writers queue for a lock of ours, which is fair and costs
microseconds; the file's own lock (waited for by `busy_timeout`) is left for other processes.

PostgreSQL has many, who see what others commit in between: what must not be done twice at once asks for
`alone` first.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from storage.migrate import migrate

BUSY_TIMEOUT_MS = 5_000  # how long one process waits for another's transaction
_WAL_TRIES = 50  # turning WAL on ignores busy_timeout while another process does the same


class BadDatabaseUrl(ValueError):
    """The URL cannot be used. The text is one sentence for whoever wrote it."""


class Database:
    """Hands out transactions. Make one with `open_database`; close it with `aclose`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        self._upserts: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Any] = {}
        self._writer = asyncio.Lock() if self.dialect == "sqlite" else None
        # A database in memory is one connection, so its readers must not come between a writer's statements.
        self._one_connection = self.dialect == "sqlite" and engine.url.database in (None, "", ":memory:")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads: one consistent view."""
        async with AsyncExitStack() as stack:
            if self._writer and self._one_connection:
                await stack.enter_async_context(self._writer)
            connection = await stack.enter_async_context(self.engine.connect())
            if self.dialect == "postgresql":  # its default would show each statement another state
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            await stack.enter_async_context(connection.begin())
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes: committed at the end of the block, rolled back by an exception."""
        async with AsyncExitStack() as stack:
            if self._writer:
                await stack.enter_async_context(self._writer)
            connection = await stack.enter_async_context(self.engine.connect())
            await connection.execution_options(parley_writes=True)
            await stack.enter_async_context(connection.begin())
            yield connection

    async def alone(self, connection: AsyncConnection, what: str) -> None:
        """Let nobody else do the same until this writing transaction ends: to look and then to write."""
        if self.dialect == "postgresql":
            await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))

    async def upsert(
        self,
        connection: AsyncConnection,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        keys: Iterable[str],
    ) -> None:
        """Insert rows, or give those whose `keys` are there already these values. All rows have all keys."""
        if not rows:
            return
        await connection.execute(self._upserting(table, tuple(rows[0]), tuple(keys)), [*map(dict, rows)])

    def _upserting(self, table: Table, columns: tuple[str, ...], keys: tuple[str, ...]) -> Any:
        # Kept, because building it costs more than running it: 1 ms of the event loop at each turn's end.
        known = self._upserts.get((table.name, columns, keys))
        if known is None:
            insert = self._insert(table)
            others = {name: insert.excluded[name] for name in columns if name not in keys}
            known = insert.on_conflict_do_update(index_elements=list(keys), set_=others)
            self._upserts[table.name, columns, keys] = known
        return known

    async def insert_new(
        self,
        connection: AsyncConnection,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        keys: Iterable[str],
    ) -> None:
        """Insert rows; those whose `keys` are there already stay as they are."""
        if rows:
            statement = self._insert(table).on_conflict_do_nothing(index_elements=list(keys))
            await connection.execute(statement, [dict(row) for row in rows])

    def _insert(self, table: Table) -> "sqlite.Insert | postgresql.Insert":
        return postgresql.insert(table) if self.dialect == "postgresql" else sqlite.insert(table)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


async def open_database(url: str) -> Database:
    """Open a database and bring its tables up to date.

    Raises `BadDatabaseUrl`, `migrate.DatabaseTooNew`, OSError (no folder for the file) and SQLAlchemy's
    errors for a server that cannot be reached.
    """
    try:
        engine = _engine(url)
    except ArgumentError as error:
        raise BadDatabaseUrl(f"[storage] url is not a database URL: {error}") from error
    except ModuleNotFoundError as error:
        raise BadDatabaseUrl(f"[storage] url needs a package that is missing: {error.name}") from error
    database = Database(engine)
    try:
        async with database.write() as connection:
            await connection.run_sync(migrate)
    except BaseException:
        await engine.dispose()
        raise
    return database


def _engine(url: str) -> AsyncEngine:
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise BadDatabaseUrl("[storage] url must begin with sqlite+aiosqlite:// or postgresql+asyncpg://")
    if parsed.drivername in ("sqlite", "postgresql"):  # the short names mean blocking drivers: not ours
        parsed = parsed.set(
            drivername={"sqlite": "sqlite+aiosqlite"}.get(parsed.drivername, "postgresql+asyncpg")
        )
    if parsed.get_backend_name() == "postgresql":
        return create_async_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).expanduser().parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(parsed)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions by itself: `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    for attempt in range(_WAL_TRIES):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except Exception as error:  # the driver's own class, whichever driver that is
            if "locked" not in str(error) or attempt == _WAL_TRIES - 1:
                raise
            cursor.execute("SELECT 1")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("parley_writes")
    # IMMEDIATE: a transaction that reads first and writes later would fail instead of waiting its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
