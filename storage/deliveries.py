"""What is to be told to other servers: an outbox, written in the transaction that writes what happened.

    waiting ──claimed by one worker──▶ told ──▶ delivered
       ▲                                │
       ├── later, a while after ────────┤ not taken
       └── by an administrator ── dead ◀┘ too often, or it wants no more

A claim ends by itself, so that what a dead worker had claimed is sent by another. An id is made from what
happened and for whom: the same thing cannot be in here twice.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.happenings import Happening
from storage.schema import deliveries, receivers
from storage.times import iso, parse

KEPT = timedelta(days=30)
"""How long it is known what was sent, and what could not be. Older happenings are not news: without this, one
whose row is gone would be sent again when its journal is read again."""
WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something to be sent now, by whoever claimed it."""

    id: str
    receiver: str
    event: str
    body: str
    attempts: int
    """Those before."""


class Deliveries:
    """The repository of deliveries. `subscriptions`: receiver -> (a fingerprint of its address, the types of
    happenings that it wants)."""

    def __init__(
        self,
        database: Database,
        subscriptions: Mapping[str, tuple[str, Iterable[str]]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database, self._now = database, now
        self._addresses = {name: address for name, (address, _) in subscriptions.items()}
        self._wanted = {name: frozenset(types) for name, (_, types) in subscriptions.items()}
        self.on_new: Callable[[], None] = lambda: None
        """Called when something was put in, once it is surely there."""

    # -- putting in --------------------------------------------------------------------------------------

    async def add(self, connection: AsyncConnection, happened: Iterable[Happening]) -> int:
        """Put in what the receivers want to know, in the caller's writing transaction. How many that were,
        those included that had been put in before."""
        now = self._now()
        news = [h for h in happened if (when := parse(h.time)) is None or when > now - KEPT]
        off = await self._off(connection) if news else frozenset()
        rows = [
            _row(name, one, iso(now))
            for one in news
            for name, types in self._wanted.items()
            if one.type in types and name not in off
        ]
        await self._database.insert_new(connection, deliveries, rows, ["id"])
        return len(rows)

    # -- sending -----------------------------------------------------------------------------------------

    async def claim(self, receiver: str, most: int, lease_s: float) -> list[Delivery]:
        """Take what is due for a receiver, oldest first: nobody else gets it for the next `lease_s`."""
        now = self._now()
        table = deliveries.c
        due = (
            select(table.id)
            .where(table.receiver == receiver, table.state == WAITING, table.due_at <= iso(now))
            .where(or_(table.claimed_until.is_(None), table.claimed_until <= iso(now)))
            .order_by(table.due_at, table.id)
            .limit(most)
            .with_for_update(skip_locked=True)  # SQLite has one writer at a time, and no such words
        )
        async with self._database.write() as connection:
            ids = [*await connection.scalars(due)]
            if not ids:
                return []
            until = iso(now + timedelta(seconds=lease_s))
            await connection.execute(update(deliveries).where(table.id.in_(ids)).values(claimed_until=until))
            query = select(deliveries).where(table.id.in_(ids)).order_by(table.due_at, table.id)
            rows = (await connection.execute(query)).mappings().all()
        return [Delivery(r["id"], r["receiver"], r["event"], r["body"], r["attempts"]) for r in rows]

    async def next_due(self, receiver: str) -> datetime | None:
        """When there may be something to claim for a receiver."""
        table = deliveries.c
        later = func.greatest if self._database.dialect == "postgresql" else func.max
        moment = later(table.due_at, func.coalesce(table.claimed_until, ""))
        query = select(moment).where(table.receiver == receiver, table.state == WAITING)
        async with self._database.read() as connection:
            return parse(await connection.scalar(query.order_by(moment).limit(1)))

    async def delivered(self, delivery: Delivery, status: int) -> None:
        """It was taken. What was in it is forgotten."""
        values = {"state": DELIVERED, "status": status, "error": "", "body": "", "claimed_until": None}
        await self._set(delivery.id, attempts=delivery.attempts + 1, ended_at=iso(self._now()), **values)

    async def postpone(self, delivery: Delivery, due_at: datetime, status: int | None, error: str) -> None:
        """It was not taken: once more, then."""
        values = {"due_at": iso(due_at), "status": status, "error": error, "claimed_until": None}
        await self._set(delivery.id, attempts=delivery.attempts + 1, **values)

    async def give_up(self, delivery: Delivery, status: int | None, error: str) -> None:
        """It was not taken too often."""
        values = {"state": DEAD, "status": status, "error": error, "claimed_until": None}
        await self._set(delivery.id, attempts=delivery.attempts + 1, ended_at=iso(self._now()), **values)

    async def turn_off(self, delivery: Delivery, status: int, error: str) -> None:
        """Its receiver wants no more of anything: what waits for it is dead, and nothing more is put in."""
        name, now, table = delivery.receiver, iso(self._now()), deliveries.c
        row = {"name": name, "address": self._addresses.get(name, ""), "off_since": now}
        async with self._database.write() as connection:
            await self._database.upsert(connection, receivers, [row], ["name"])
            await connection.execute(
                update(deliveries)
                .where(table.receiver == name, table.state == WAITING)
                .values(state=DEAD, ended_at=now, status=status, error=error, claimed_until=None)
            )
            await connection.execute(
                update(deliveries).where(table.id == delivery.id).values(attempts=delivery.attempts + 1)
            )

    async def forget_strangers(self) -> None:
        """What waits for receivers that are configured no more is dead; what is long over is forgotten."""
        table, now = deliveries.c, self._now()
        error = "no such receiver is configured any more"
        lost = and_(table.state == WAITING, table.receiver.not_in(list(self._wanted)))
        async with self._database.write() as connection:
            await connection.execute(
                update(deliveries).where(lost).values(state=DEAD, ended_at=iso(now), error=error)
            )
            old = and_(table.state != WAITING, table.ended_at < iso(now - KEPT))
            await connection.execute(delete(deliveries).where(old))

    # -- for administrators ------------------------------------------------------------------------------

    async def list(self, state: str | None, limit: int, offset: int) -> tuple[list[Row], int]:
        """Latest first, without what is in them, and how many there are in all."""
        columns = [c for c in deliveries.c if c.name not in ("body", "session_id")]
        where: list[ColumnElement[bool]] = [] if state is None else [deliveries.c.state == state]
        query = select(*columns).where(*where).order_by(deliveries.c.created_at.desc(), deliveries.c.id)
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(deliveries).where(*where))
            found = await connection.execute(query.limit(limit).offset(offset))
            return [dict(row) for row in found.mappings()], total or 0

    async def counts(self) -> dict[str, dict[str, int]]:
        """Receiver -> state -> how many."""
        table = deliveries.c
        query = select(table.receiver, table.state, func.count()).group_by(table.receiver, table.state)
        found: dict[str, dict[str, int]] = {}
        async with self._database.read() as connection:
            for receiver, state, count in await connection.execute(query):
                found.setdefault(receiver, {})[state] = count
        return found

    async def off(self) -> frozenset[str]:
        """The receivers that have said that they want no more."""
        async with self._database.read() as connection:
            return await self._off(connection)

    async def again(self, delivery_id: str) -> Row | None:
        """Have a dead one sent once more (or one that waits, now), and its receiver told of everything again.
        The row as it is then; None if there is none. One that was delivered stays as it is."""
        table, now = deliveries.c, iso(self._now())
        async with self._database.write() as connection:
            query = select(deliveries).where(table.id == delivery_id).with_for_update()
            row = (await connection.execute(query)).mappings().first()
            if row is None:
                return None
            if row["state"] != DELIVERED:
                fresh: Row = {"state": WAITING, "due_at": now, "ended_at": None}
                if row["state"] == DEAD:
                    fresh |= {"attempts": 0, "claimed_until": None}
                await connection.execute(update(deliveries).where(table.id == delivery_id).values(**fresh))
                await connection.execute(delete(receivers).where(receivers.c.name == row["receiver"]))
                row = (await connection.execute(query)).mappings().one()
            found = dict(row)
        self.on_new()
        return found

    # -- the same for all --------------------------------------------------------------------------------

    async def _off(self, connection: AsyncConnection) -> frozenset[str]:
        """A receiver that has moved since is another one."""
        found = await connection.execute(select(receivers.c.name, receivers.c.address))
        return frozenset(name for name, address in found if self._addresses.get(name) == address)

    async def _set(self, delivery_id: str, **values: Any) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(deliveries).where(deliveries.c.id == delivery_id).values(**values)
            )


def _row(receiver: str, one: Happening, now: str) -> Row:
    named = hashlib.sha256(f"{receiver}\n{one.key}".encode()).hexdigest()
    body = json.dumps(
        {"type": one.type, "timestamp": one.time or now, "data": one.data}, ensure_ascii=False, default=str
    )
    return {
        "id": f"msg_{named[:32]}",
        "receiver": receiver,
        "event": one.type,
        "session_id": one.session_id,
        "body": body,
        "state": WAITING,
        "attempts": 0,
        "created_at": now,
        "due_at": now,
        "error": "",
    }
