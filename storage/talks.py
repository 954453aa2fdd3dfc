"""Sessions made over REST, ahead of or beside a talk: who they belong to, which room and agent, how they are.

A row here is a plan and a state; what was said is in the conversation of the same id.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, delete, func, select, update

from storage.database import Database
from storage.schema import conversations, sessions
from storage.times import iso

Row = dict[str, Any]
Rows = list[Row]


class Talks:
    """The repository of sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, session_id: str, owner: str | None, **values: Any) -> Row:
        row: Row = {
            "id": session_id,
            "owner": owner,
            "conversation_context": {},
            "context_prompts": [],
            "more": {},
            "is_active": True,
            "created_at": iso(datetime.now(UTC)),
            **values,
        }
        async with self._database.write() as connection:
            await connection.execute(sessions.insert().values(**row))
        found = await self.get(session_id)
        assert found is not None
        return found

    async def get(self, session_id: str) -> Row | None:
        async with self._database.read() as connection:
            row = (
                (await connection.execute(select(sessions).where(sessions.c.id == session_id)))
                .mappings()
                .first()
            )
            return dict(row) if row else None

    async def of_room(self, room_name: str, owner: str | None = None) -> Row | None:
        """The latest session of a room, of that owner's where one is given."""
        where = [sessions.c.room_name == room_name]
        if owner is not None:
            where.append(sessions.c.owner == owner)
        query = (
            select(sessions).where(and_(*where)).order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query.limit(1))).mappings().first()
            return dict(row) if row else None

    async def list(self, owner: str | None, limit: int = 20, offset: int = 0) -> tuple[Rows, int]:
        """An owner's sessions (None: everybody's), latest first, and how many there are."""
        where = [] if owner is None else [sessions.c.owner == owner]
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(sessions).where(*where))
            query = (
                select(sessions).where(*where).order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
            )
            rows = (await connection.execute(query.limit(limit).offset(offset))).mappings()
            return [dict(row) for row in rows], total or 0

    async def change(self, session_id: str, **values: Any) -> Row | None:
        async with self._database.write() as connection:
            await connection.execute(update(sessions).where(sessions.c.id == session_id).values(**values))
        return await self.get(session_id)

    async def claim(self, session_id: str, time: str) -> bool:
        """Begin a session that nobody has come to: true for one caller alone, whichever process asks."""
        where = and_(
            sessions.c.id == session_id, sessions.c.started_at.is_(None), sessions.c.ended_at.is_(None)
        )
        async with self._database.write() as connection:
            taken = await connection.execute(update(sessions).where(where).values(started_at=time))
            return bool(taken.rowcount)

    async def unclaim(self, session_id: str, time: str) -> None:
        """Give back what was claimed at that time: it could not be opened."""
        where = and_(sessions.c.id == session_id, sessions.c.started_at == time)
        async with self._database.write() as connection:
            await connection.execute(update(sessions).where(where).values(started_at=None))

    async def ended(self, session_id: str, time: str) -> None:
        """The talk is over; the first end counts."""
        statement = update(sessions).where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
        async with self._database.write() as connection:
            await connection.execute(statement.values(is_active=False, ended_at=time))

    async def give(self, session_ids: Sequence[str], owner: str, user_id: str) -> None:
        """Sessions are somebody's from now on."""
        statement = update(sessions).where(sessions.c.id.in_(session_ids))
        async with self._database.write() as connection:
            await connection.execute(statement.values(owner=owner, user_id=user_id))

    async def delete_of(self, owner: str) -> None:
        """Forget all sessions of an owner."""
        async with self._database.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.owner == owner))

    async def adopt(self, owner: str, new_owner: str, user_id: str) -> None:
        """A guest logged in: the sessions that the guest has going are the user's from now on."""
        statement = update(sessions).where(sessions.c.owner == owner, sessions.c.is_active)
        async with self._database.write() as connection:
            await connection.execute(statement.values(owner=new_owner, user_id=user_id))

    async def settle(self) -> None:
        """Sessions whose talk was ended by others (after a crash, say) are over too."""
        talk = conversations.c
        over = (
            select(talk.end_time)
            .where(talk.session_id == sessions.c.id, talk.end_time.is_not(None))
            .scalar_subquery()
        )
        statement = update(sessions).where(sessions.c.is_active, over.is_not(None))
        async with self._database.write() as connection:
            await connection.execute(statement.values(is_active=False, ended_at=over))

    async def purge(self, before: str, *, guests_only: bool) -> None:
        """Forget the sessions that were made before an ISO time, were opened and are not going on."""
        where = [sessions.c.created_at < before, sessions.c.started_at.is_not(None)]
        where.append(sessions.c.ended_at.is_not(None))
        if guests_only:
            where.append(sessions.c.user_id.is_(None))
        async with self._database.write() as connection:
            await connection.execute(delete(sessions).where(*where))

    async def purge_unopened(self, before: str, *, guests: bool, rooms_only: bool) -> None:
        """Forget the guests' or the users' sessions that were made before an ISO time and that nobody has
        come to; `rooms_only`: those that were made by asking for a room's token."""
        whose = sessions.c.user_id.is_(None) if guests else sessions.c.user_id.is_not(None)
        where = [sessions.c.created_at < before, sessions.c.started_at.is_(None), whose]
        if rooms_only:
            where.append(sessions.c.participant.is_not(None))
        async with self._database.write() as connection:
            await connection.execute(delete(sessions).where(*where))

    async def delete(self, session_id: str) -> bool:
        async with self._database.write() as connection:
            gone = await connection.execute(delete(sessions).where(sessions.c.id == session_id))
            return bool(gone.rowcount)
