"""Appointments: slots of a calendar, each given to one caller at most.

Dates and times are text ("2026-11-24", "09:00") of the business's time zone, which this file does not know;
nor does it know which slots there are. That a slot is booked once is a rule of the database itself, so it
holds for any number of processes.
"""

import secrets
import string
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.schema import BOOKED, appointment_effects, appointments, callers
from storage.times import iso

CODE_LENGTH = 8
# Codes are said and heard: no letter or digit that looks or is typed like another.
LETTERS = "".join(c for c in string.ascii_lowercase if c not in "ilo")
DIGITS = "23456789"
_KEPT = timedelta(days=30)
"""How long an effect is remembered: far longer than any talk can be resumed."""


@dataclass(frozen=True, slots=True)
class Appointment:
    """One appointment. `id` is the confirmation code; `status` is booked or cancelled."""

    id: str
    phone: str
    name: str
    date: str
    time: str
    status: str
    user_id: str | None
    session_id: str | None
    created_at: str
    updated_at: str


Call = tuple[str, str]
"""A session's id and a key: which call of a tool this is. Made again, it is answered and not done again."""
Found = list[Appointment]
_Change = Callable[[AsyncConnection], Awaitable[Appointment]]


def new_code() -> str:
    """A confirmation code: letters and digits, at least one of each."""
    while True:
        code = "".join(secrets.choice(LETTERS + DIGITS) for _ in range(CODE_LENGTH))
        if any(c in DIGITS for c in code) and any(c in LETTERS for c in code):
            return code


class Appointments:
    """The repository of appointments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def book(
        self,
        phone: str,
        date: str,
        time: str,
        *,
        name: str = "",
        user_id: str | None = None,
        session_id: str | None = None,
        call: Call | None = None,
    ) -> Appointment | None:
        """Give a slot to a caller. None if somebody has it."""

        async def change(connection: AsyncConnection) -> Appointment:
            now = _now()
            row: dict[str, Any] = {
                "id": await self._free_code(connection),
                "phone": phone,
                "name": name,
                "date": date,
                "time": time,
                "status": "booked",
                "user_id": user_id,
                "session_id": session_id,
                "created_at": now,
                "updated_at": now,
            }
            await connection.execute(insert(appointments).values(**row))
            return Appointment(**row)

        return await self._once(call, change)

    async def move(
        self, appointment_id: str, date: str, time: str, *, call: Call | None = None
    ) -> Appointment | None:
        """Give a booked appointment another slot; its old one is free. None if somebody has the new one, and
        then nothing has changed. Raises LookupError if it is not booked (any more)."""
        return await self._change(appointment_id, call, date=date, time=time)

    async def cancel(self, appointment_id: str, *, call: Call | None = None) -> Appointment:
        """Free its slot. Raises LookupError if it is not booked (any more)."""
        found = await self._change(appointment_id, call, status="cancelled")
        assert found is not None  # nobody can be in the way
        return found

    async def done(self, call: Call) -> Appointment | None:
        """What came of a call that was made before; None if nothing did."""
        async with self._database.read() as connection:
            return await _done(connection, call)

    async def get(self, appointment_id: str) -> Appointment | None:
        async with self._database.read() as connection:
            return await _one(connection, appointments.c.id == appointment_id)

    async def list(
        self,
        limit: int = 20,
        offset: int = 0,
        *,
        phone: str | None = None,
        user_id: str | None = None,
        since: str = "",
        until: str = "",
        status: str | None = "booked",
    ) -> tuple[Found, int]:
        """Appointments by their time, and how many there are.

        With `phone` or `user_id`: those of that number or made by that account; with neither, everybody's.
        `since` and `until` are the first and the last date.
        """
        where = _theirs(phone, user_id)
        if since:
            where.append(appointments.c.date >= since)
        if until:
            where.append(appointments.c.date <= until)
        if status is not None:
            where.append(appointments.c.status == status)
        query = select(appointments).where(and_(True, *where))
        order = (appointments.c.date, appointments.c.time, appointments.c.created_at, appointments.c.id)
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(query.subquery()))
            rows = (await connection.execute(query.order_by(*order).limit(limit).offset(offset))).mappings()
            return [_appointment(row) for row in rows], total or 0

    async def taken(self, since: str, until: str) -> set[tuple[str, str]]:
        """(date, time) of every booked slot from the one date to the other."""
        query = select(appointments.c.date, appointments.c.time).where(
            appointments.c.date.between(since, until), appointments.c.status == "booked"
        )
        async with self._database.read() as connection:
            return {(row.date, row.time) for row in await connection.execute(query)}

    async def caller(self, phone: str) -> str | None:
        """The name that goes with a number ("" if none was given); None if nobody has called from it."""
        query = select(callers.c.name).where(callers.c.phone == phone)
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(query)
            return found

    async def remember(self, phone: str, name: str = "") -> None:
        """Know a caller from now on. An empty name leaves the one that is known."""
        row = {"phone": phone, "name": name, "created_at": _now(), "updated_at": _now()}
        async with self._database.write() as connection:
            await self._database.insert_new(connection, callers, [row], ["phone"])
            if name:
                named = update(callers).where(callers.c.phone == phone, callers.c.name != name)
                await connection.execute(named.values(name=name, updated_at=row["updated_at"]))

    async def forget(self, phone: str | None, user_id: str) -> None:
        """Take a person out of the calendar: what is booked becomes free, the rest says nobody's name."""
        where = and_(True, *_theirs(phone, user_id))
        async with self._database.write() as connection:
            await self._database.alone(connection, "appointments")
            ids = list(await connection.scalars(select(appointments.c.id).where(where)))
            for some in _batches(ids):
                theirs = update(appointments).where(appointments.c.id.in_(some))
                await connection.execute(theirs.values(phone="", name="", status="cancelled", user_id=None))
            if phone:
                await connection.execute(delete(callers).where(callers.c.phone == phone))
            # What was remembered of calls holds copies; whoever has left makes none of them again.
            if ids:
                codes = appointment_effects.c.appointment["id"].as_string()
                for some in _batches(ids):
                    await connection.execute(delete(appointment_effects).where(codes.in_(some)))

    async def _change(self, appointment_id: str, call: Call | None, **values: str) -> Appointment | None:
        booked = and_(appointments.c.id == appointment_id, text(BOOKED))

        async def change(connection: AsyncConnection) -> Appointment:
            statement = update(appointments).where(booked).values(**values, updated_at=_now())
            if not (await connection.execute(statement)).rowcount:
                raise LookupError(appointment_id)
            found = await _one(connection, appointments.c.id == appointment_id)
            assert found is not None
            return found

        return await self._once(call, change)

    async def _once(self, call: Call | None, change: _Change) -> Appointment | None:
        """Make a change and remember that it was made, both or neither. None if the slot is taken."""
        try:
            async with self._database.write() as connection:
                # Two that swap their slots would wait for each other.
                await self._database.alone(connection, "appointments")
                if call is not None and (done := await _done(connection, call)) is not None:
                    return done
                changed = await change(connection)
                if call is not None:
                    await _remember(connection, call, changed)
                return changed
        except IntegrityError:  # the database's own rule
            return None

    async def _free_code(self, connection: AsyncConnection) -> str:
        """A code that no appointment ever had. Others that write wait for us, so it stays free."""
        while True:
            code = new_code()
            if await _one(connection, appointments.c.id == code) is None:
                return code


async def _one(connection: AsyncConnection, where: ColumnElement[bool]) -> Appointment | None:
    row = (await connection.execute(select(appointments).where(where))).mappings().first()
    return _appointment(row) if row else None


async def _done(connection: AsyncConnection, call: Call) -> Appointment | None:
    effects = appointment_effects
    query = select(effects.c.appointment).where(effects.c.session_id == call[0], effects.c.key == call[1])
    row: dict[str, Any] | None = await connection.scalar(query)
    return Appointment(**row) if row else None


async def _remember(connection: AsyncConnection, call: Call, appointment: Appointment) -> None:
    now = datetime.now(UTC)
    old = appointment_effects.c.created_at < iso(now - _KEPT)
    await connection.execute(delete(appointment_effects).where(old))
    row = {"session_id": call[0], "key": call[1], "created_at": iso(now)}
    await connection.execute(insert(appointment_effects).values(**row, appointment=asdict(appointment)))


def _theirs(phone: str | None, user_id: str | None) -> "list[ColumnElement[bool]]":
    found: list[ColumnElement[bool]] = []
    if phone:
        found.append(appointments.c.phone == phone)
    if user_id:
        found.append(appointments.c.user_id == user_id)
    return [or_(*found)] if found else []


def _batches(ids: "list[str]", size: int = 500) -> "list[list[str]]":
    """SQLite takes no more than some thousand values in one statement."""
    return [ids[at : at + size] for at in range(0, len(ids), size)]


def _appointment(row: RowMapping) -> Appointment:
    return Appointment(**row)


def _now() -> str:
    return iso(datetime.now(UTC))
