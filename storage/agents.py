"""Agents: what a talk is to be like, kept under a name by the user who made it."""

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update

from storage.database import Database
from storage.schema import agents
from storage.times import iso

Row = dict[str, Any]
Rows = list[Row]
Conditions = list[ColumnElement[bool]]

_OURS = {"id", "user_id", "created_at", "updated_at", "deleted_at", "more"}
_COLUMNS = frozenset(c.name for c in agents.columns) - _OURS


class Agents:
    """The repository of agents. Rows are dicts of the columns, with what `more` holds laid beside them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: str, **values: Any) -> Row:
        now = iso(datetime.now(UTC))
        row = {
            **_split(values),
            "id": secrets.token_hex(8),
            "user_id": user_id,
            "created_at": now,
            "updated_at": now,
        }
        row.setdefault("context_prompts", [])
        async with self._database.write() as connection:
            await connection.execute(agents.insert().values(**row))
        found = await self.get(row["id"])
        assert found is not None
        return found

    async def get(self, agent_id: str, *, user_id: str | None = None, deleted: bool = False) -> Row | None:
        """An agent; only if it is that user's, where one is given. `deleted`: also one that was deleted."""
        where: Conditions = [agents.c.id == agent_id]
        if user_id is not None:
            where.append(agents.c.user_id == user_id)
        if not deleted:
            where.append(agents.c.deleted_at.is_(None))
        async with self._database.read() as connection:
            row = (await connection.execute(select(agents).where(and_(*where)))).mappings().first()
            return _joined(row) if row else None

    async def list(self, user_id: str | None, limit: int = 20, offset: int = 0) -> tuple[Rows, int]:
        """A user's agents (None: everybody's), oldest first, and how many there are."""
        where: Conditions = [agents.c.deleted_at.is_(None)]
        if user_id is not None:
            where.append(agents.c.user_id == user_id)
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(agents).where(*where))
            query = select(agents).where(*where).order_by(agents.c.created_at, agents.c.id)
            rows = (await connection.execute(query.limit(limit).offset(offset))).mappings()
            return [_joined(row) for row in rows], total or 0

    async def change(self, agent_id: str, **values: Any) -> Row | None:
        """Give an agent new values; those not given stay."""
        old = await self.get(agent_id)
        if old is None:
            return None
        row = _split(values)
        row["more"] = {**old["more"], **row["more"]}
        statement = update(agents).where(agents.c.id == agent_id)
        async with self._database.write() as connection:
            await connection.execute(statement.values(**row, updated_at=iso(datetime.now(UTC))))
        return await self.get(agent_id)

    async def delete(self, agent_id: str) -> bool:
        """Take it out of every list. The row stays: old conversations name it."""
        statement = update(agents).where(agents.c.id == agent_id, agents.c.deleted_at.is_(None))
        async with self._database.write() as connection:
            gone = await connection.execute(statement.values(deleted_at=iso(datetime.now(UTC))))
            return bool(gone.rowcount)


def _split(values: Row) -> Row:
    """What has a column of its own, and the rest as `more`."""
    row = {name: value for name, value in values.items() if name in _COLUMNS}
    row["more"] = {name: value for name, value in values.items() if name not in _COLUMNS}
    return row


def _joined(row: Any) -> Row:
    return {**row["more"], **dict(row)}
