"""What goes on in the whole installation, for whoever runs it: everybody's talks, and who talked how much.

Nothing here says what was said.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, select, union_all

from storage.database import Database
from storage.schema import conversations, messages, sessions, users

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Day:
    """What one user did on one day (UTC). Guests are one user without an id."""

    date: str
    user_id: str | None
    email: str | None
    talks: int
    utterances: int
    minutes: float
    cost: float


class Overview:
    """Reads over all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sessions(
        self, limit: int = 20, offset: int = 0, *, user_id: str | None = None
    ) -> tuple[list[Row], int]:
        """Talks, and sessions that were made ahead and nobody has come to; latest first, and how many."""
        found = union_all(_told(), _planned()).subquery()
        where = [] if user_id is None else [found.c.user_id == user_id]
        named = select(found, users.c.email, users.c.display_name).outerjoin(
            users, users.c.id == found.c.user_id
        )
        query = named.where(*where).order_by(found.c.created_at.desc(), found.c.session_id.desc())
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(found).where(*where))
            rows = (await connection.execute(query.limit(limit).offset(offset))).mappings()
            return [dict(row) for row in rows], total or 0

    async def days(self, since: str, until: str, limit: int = 20, offset: int = 0) -> tuple[list[Day], int]:
        """Sums by day and user, latest day first, and how many there are. ISO times: `since` included,
        `until` not. A talk counts on the day that it began."""
        inside = and_(conversations.c.start_time >= since, conversations.c.start_time < until)
        talks = _talks_of_days(inside)
        sums = (
            select(
                talks.c.day,
                talks.c.user_id,
                func.count().label("talks"),
                func.sum(func.coalesce(talks.c.utterances, 0)).label("utterances"),
                func.sum(talks.c.duration_s).label("seconds"),
                func.sum(talks.c.total_cost).label("cost"),
            )
            .group_by(talks.c.day, talks.c.user_id)
            .subquery()
        )
        query = (
            select(sums, users.c.email)
            .outerjoin(users, users.c.id == sums.c.user_id)
            .order_by(sums.c.day.desc(), sums.c.seconds.desc(), func.coalesce(sums.c.user_id, ""))
        )
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(sums))
            rows = (await connection.execute(query.limit(limit).offset(offset))).mappings()
            return [
                Day(
                    row["day"],
                    row["user_id"],
                    row["email"],
                    row["talks"],
                    int(row["utterances"]),
                    round(row["seconds"] / 60, 2),
                    round(row["cost"], 9),
                )
                for row in rows
            ], total or 0


def _told() -> Any:
    talk = conversations.c
    return select(
        talk.session_id,
        talk.user_id,
        talk.agent_id,
        sessions.c.room_name,
        talk.start_time.label("created_at"),
        talk.end_time.label("ended_at"),
        talk.turns,
        talk.duration_s,
        talk.total_cost,
        literal(True).label("has_begun"),
    ).outerjoin(sessions, sessions.c.id == talk.session_id)


def _planned() -> Any:
    plan = sessions.c
    begun = select(conversations.c.session_id).where(conversations.c.session_id == plan.id).exists()
    return select(
        plan.id,
        plan.user_id,
        plan.agent_id,
        plan.room_name,
        plan.created_at,
        plan.ended_at,
        literal(0),
        literal(0.0),
        literal(0.0),
        literal(False),
    ).where(~begun)


def _talks_of_days(inside: ColumnElement[bool]) -> Any:
    """Each talk with its day and how often its user spoke."""
    said = (
        select(messages.c.session_id, func.count().label("utterances"))
        .join(conversations, conversations.c.session_id == messages.c.session_id)
        .where(inside, messages.c.role == "user")
        .group_by(messages.c.session_id)
        .subquery()
    )
    talk = conversations.c
    return (
        select(
            func.substr(talk.start_time, 1, 10).label("day"),
            talk.user_id,
            talk.duration_s,
            talk.total_cost,
            said.c.utterances,
        )
        .outerjoin(said, said.c.session_id == talk.session_id)
        .where(inside)
        .subquery()
    )
