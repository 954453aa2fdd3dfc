"""Conversations as rows: for lists, searches and sums. The files remain the whole story."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, update

from storage import search
from storage.database import Database
from storage.deliveries import Deliveries
from storage.happenings import Happening, happenings
from storage.journal import Fold
from storage.schema import conversations, deliveries, messages, requests, turns, users

Row = dict[str, Any]
Rows = list[Row]
Ids = list[str]

_MESSAGE_COLUMNS = ("role", "content", "type", "time", "turn", "start_ms", "end_ms", "audio", "heard")
_SPANS = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms", "voice_to_voice_ms")
_TURN_COLUMNS = ("time", *_SPANS, "reason")
_VOICES = {"tts", "talk"}
"""The stages of which one gave an answer its sound."""
_MOST_WHOLE = 2**31 - 1
"""What an integer column takes in PostgreSQL."""


@dataclass(slots=True)
class RowChange:
    """The rows of one conversation that are not in the database yet, or not as they should be."""

    session_id: str
    conversation: Row
    messages: dict[int, Row] = field(default_factory=dict)
    turns: dict[int, Row] = field(default_factory=dict)
    requests: dict[int, Row] = field(default_factory=dict)
    happened: tuple[Happening, ...] = ()
    """What others may want to be told."""

    def after(self, earlier: "RowChange | None") -> "RowChange":
        """Both changes in one."""
        if earlier is None:
            return self
        return RowChange(
            self.session_id,
            self.conversation,
            {**earlier.messages, **self.messages},
            {**earlier.turns, **self.turns},
            {**earlier.requests, **self.requests},
            (*earlier.happened, *self.happened),
        )


def row_change(session_id: str, fold: Fold) -> RowChange:
    """What changed in a fold since its marks were last cleared, as rows."""
    header = fold.header
    conversation = {
        "session_id": session_id,
        "owner": fold.owner,
        "user_id": _text(header.get("user_id")),
        "agent_id": _text(header.get("agent_id")),
        "start_time": _text(header.get("start_time")) or "",
        "end_time": fold.end_time,
        "duration_s": fold.duration_seconds,
        "mode": _text(header.get("mode")),
        "language": _text(header.get("language")),
        "config": _plain(header.get("config") or {}),
        "turns": len(fold.turns),
        "summary": _text(fold.summary.get("summary")) or "",
        "total_cost": fold.cost_breakdown["total_cost"],
        "end_reason": _text(fold.ending.get("reason")) if fold.ending else None,
    }
    return RowChange(
        session_id,
        _fitting(conversations, conversation),
        {n: _message_row(session_id, n, fold.messages[n]) for n in fold.changed_messages},
        {
            n: _turn_row(session_id, n, fold.turns[n], fold.time_of(fold.answered_ms[n]))
            for n in fold.changed_turns
        },
        {
            n: _request_row(session_id, n, request, fold.time_of(request["at_ms"]))
            for n, request in enumerate(fold.requests[fold.rows_of_requests :], fold.rows_of_requests + 1)
        },
        happenings(session_id, fold, fold.changed_messages),
    )


def _message_row(session_id: str, n: int, message: Mapping[str, Any]) -> Row:
    row: Row = {"session_id": session_id, "n": n}
    for name in _MESSAGE_COLUMNS:
        value = message.get(name)
        row[name] = _whole(value) if name in ("turn", "start_ms", "end_ms") else _text(value)
    row["role"], row["content"] = row["role"] or "", row["content"] or ""
    row["interrupted"] = bool(message.get("interrupted"))
    more = {
        key: value for key, value in message.items() if key not in _MESSAGE_COLUMNS and key != "interrupted"
    }
    return _fitting(messages, {**row, "more": _plain(more)})


def _turn_row(session_id: str, n: int, turn: Mapping[str, Any], time: str | None) -> Row:
    row: Row = {"session_id": session_id, "turn": n, "time": _text(turn.get("time")) or time}
    for name in _SPANS:
        value = turn.get(name)
        row[name] = float(value) if isinstance(value, int | float) else None
    row["reason"] = _text(turn.get("reason"))
    row["speculated"], row["interrupted"] = bool(turn.get("speculated")), bool(turn.get("interrupted"))
    row["spoken"] = row["reason"] != "typed" and bool(_VOICES & set(turn.get("plugins") or ()))
    row["cost"] = _plain(turn.get("cost") or {})
    known = {*_TURN_COLUMNS, "turn", "speculated", "interrupted", "cost"}
    row["more"] = _plain({key: value for key, value in turn.items() if key not in known})
    return _fitting(turns, row)


def _request_row(session_id: str, n: int, request: Mapping[str, Any], time: str | None) -> Row:
    row: Row = {"session_id": session_id, "n": n, "time": time, "turn": _whole(request.get("turn"))}
    for name in ("stage", "provider", "model", "unit", "outcome", "error"):
        row[name] = _text(request.get(name)) or ""
    for name in ("units", "price", "first_ms"):
        value = request.get(name)
        row[name] = float(value) if isinstance(value, int | float) else None if name == "first_ms" else 0.0
    for name in ("input_tokens", "output_tokens"):
        row[name] = _whole(request.get(name)) or 0
    row["counted"], row["speculative"] = bool(request.get("counted")), bool(request.get("speculative"))
    return _fitting(requests, row)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object) -> int | None:
    return max(-_MOST_WHOLE, min(round(value), _MOST_WHOLE)) if isinstance(value, int | float) else None


def _plain(value: object) -> Any:
    """Nothing but what JSON columns hold: NaN and infinity are no JSON to PostgreSQL."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


def _fitting(table: Table, row: Row) -> Row:
    """The row with its texts cut to what their columns take: PostgreSQL would refuse it for good, and the
    files hold the whole."""
    for name, most in _lengths(table):
        if row[name] is not None and len(row[name]) > most:
            row[name] = row[name][:most]
    return row


@cache
def _lengths(table: Table) -> list[tuple[str, int]]:
    return [(c.name, n) for c in table.columns if (n := getattr(c.type, "length", None)) is not None]


class Conversations:
    """The repository of conversations."""

    def __init__(self, database: Database, outbox: Deliveries | None = None) -> None:
        self._database, self._outbox = database, outbox

    async def save(self, change: RowChange) -> None:
        """Write changed rows, and what others are to be told of them. Doing it twice does no harm."""
        async with self._database.write() as connection:
            upsert = self._database.upsert
            await upsert(connection, conversations, [change.conversation], ["session_id"])
            await upsert(connection, messages, list(change.messages.values()), ["session_id", "n"])
            await upsert(connection, turns, list(change.turns.values()), ["session_id", "turn"])
            await upsert(connection, requests, list(change.requests.values()), ["session_id", "n"])
            told = await self._outbox.add(connection, change.happened) if self._outbox else 0
        if told and self._outbox:
            self._outbox.on_new()

    async def get(self, session_id: str) -> Row | None:
        """The conversation's own row, with its owner."""
        query = select(conversations).where(conversations.c.session_id == session_id)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).mappings().first()
            return dict(found) if found else None

    async def list(
        self,
        owner: str | None,
        limit: int = 20,
        offset: int = 0,
        *,
        since: str | None = None,
        until: str | None = None,
        text: str | None = None,
    ) -> tuple[Rows, int]:
        """An owner's conversations, latest first, and how many there are in all. None: everybody's.

        `since` (included) and `until` (excluded) are ISO times or dates; `text` is looked for in what was
        said (see `storage.search`) and, as it is, in the summary.
        """
        where = and_(*_conditions(self._database.dialect, owner, since, until, text))
        query = select(conversations).where(where)
        query = query.order_by(conversations.c.start_time.desc(), conversations.c.session_id.desc())
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(conversations).where(where))
            found = await connection.execute(query.limit(limit).offset(offset))
            return [dict(row) for row in found.mappings()], total or 0

    async def found(self, session_ids: Ids, text: str) -> dict[str, str]:
        """Of those conversations in which a text was said: the first message that it was said in."""
        said = search.messages_with(self._database.dialect, text).subquery()
        first = (
            select(said.c.session_id, func.min(said.c.n).label("n"))
            .where(said.c.session_id.in_(session_ids))
            .group_by(said.c.session_id)
            .subquery()
        )
        query = select(messages.c.session_id, messages.c.content).join(
            first, and_(messages.c.session_id == first.c.session_id, messages.c.n == first.c.n)
        )
        async with self._database.read() as connection:
            return {row.session_id: row.content for row in await connection.execute(query)}

    async def of_owner(self, owner: str, *, ended: bool = False) -> Ids:
        """Ids of all of an owner's conversations, oldest first; `ended`: of those that are over."""
        query = select(conversations.c.session_id).where(conversations.c.owner == owner)
        if ended:
            query = query.where(conversations.c.end_time.is_not(None))
        async with self._database.read() as connection:
            return [*await connection.scalars(query.order_by(conversations.c.start_time))]

    async def give(self, session_id: str, owner: str, user_id: str) -> None:
        """A conversation is somebody's from now on."""
        statement = update(conversations).where(conversations.c.session_id == session_id)
        async with self._database.write() as connection:
            await connection.execute(statement.values(owner=owner, user_id=user_id))

    async def without_user(self, limit: int = 500) -> Ids:
        """Ids of conversations of users whose account is gone: a deletion that was cut short."""
        known = select(users.c.id).where(users.c.id == conversations.c.user_id).exists()
        query = select(conversations.c.session_id).where(conversations.c.user_id.is_not(None), ~known)
        async with self._database.read() as connection:
            return [*await connection.scalars(query.limit(limit))]

    async def messages(self, session_id: str) -> Rows:
        """What was said, in order."""
        query = select(messages).where(messages.c.session_id == session_id).order_by(messages.c.n)
        async with self._database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def turns(self, session_id: str) -> Rows:
        """The turns with their times and costs, in order."""
        query = select(turns).where(turns.c.session_id == session_id).order_by(turns.c.turn)
        async with self._database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def started_before(self, time: str, *, guests_only: bool = False, limit: int = 500) -> Ids:
        """Ids of the oldest conversations that began before an ISO time."""
        query = select(conversations.c.session_id).where(conversations.c.start_time < time)
        if guests_only:
            query = query.where(conversations.c.user_id.is_(None))
        query = query.order_by(conversations.c.start_time).limit(limit)
        async with self._database.read() as connection:
            return [*await connection.scalars(query)]

    async def delete(self, session_id: str) -> bool:
        """Forget a conversation. Whether there was one."""
        async with self._database.write() as connection:
            # Named one by one: not every database that a URL may lead to has its foreign keys switched on.
            for table in (messages, turns, requests, deliveries):
                await connection.execute(delete(table).where(table.c.session_id == session_id))
            gone = await connection.execute(
                delete(conversations).where(conversations.c.session_id == session_id)
            )
            return bool(gone.rowcount)


def _conditions(
    dialect: str, owner: str | None, since: str | None, until: str | None, text: str | None
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [conversations.c.session_id.is_not(None)]
    if owner is not None:
        found.append(conversations.c.owner == owner)
    if since is not None:
        found.append(conversations.c.start_time >= since)
    if until is not None:
        found.append(conversations.c.start_time < until)
    if text:
        said = search.messages_with(dialect, text).subquery()
        in_summary = conversations.c.summary.icontains(text.replace("\0", ""), autoescape=True)
        found.append(or_(conversations.c.session_id.in_(select(said.c.session_id)), in_summary))
    return found
