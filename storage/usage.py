"""What was asked of providers, and what it cost: sums over the rows of `requests`, and over those of
`errands`, which belong to no talk."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import false, func, insert, select, union_all

from storage.database import Database
from storage.schema import errands, requests
from storage.times import iso

DIGITS = 9
"""What adding floats makes up is cut off behind this digit."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What one provider's model did in a stage, and what it cost."""

    stage: str
    provider: str
    model: str
    requests: int
    failed: int
    units: float
    price: float
    wasted: float
    """The part of `price` that went into guesses which nobody heard."""


class Usage:
    """The repository of requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spent_since(self, time: datetime) -> float:
        """What all talks and errands have cost since then."""
        sums = [select(func.sum(t.c.price)).where(t.c.time >= iso(time)) for t in (requests, errands)]
        async with self._database.read() as connection:
            spent = [await connection.scalar(query) or 0.0 for query in sums]
            return round(sum(spent), DIGITS)

    async def add_errands(self, lines: Iterable[Mapping[str, Any]], user_id: str | None) -> None:
        """Write down requests outside of any talk; the lines are a bill's."""
        now = iso(datetime.now(UTC))
        rows = [_errand(line, user_id, now) for line in lines]
        if rows:
            async with self._database.write() as connection:
                await connection.execute(insert(errands), rows)

    async def of_session(self, session_id: str) -> list[dict[str, Any]]:
        """A session's requests, in order."""
        query = select(requests).where(requests.c.session_id == session_id).order_by(requests.c.n)
        async with self._database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def errands_of(self, user_id: str) -> list[dict[str, Any]]:
        """A user's requests outside of any talk, in order; with the columns of a session's."""
        query = select(errands).where(errands.c.user_id == user_id).order_by(errands.c.time, errands.c.id)
        nothing = dict.fromkeys(column.name for column in requests.columns)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            return [{**nothing, "speculative": False, **row} for row in rows]

    async def by_provider(self, since: str | None = None, until: str | None = None) -> list[Sum]:
        """Sums by stage, provider and model; `since` (included) and `until` (excluded) are ISO times."""
        names = ("time", "stage", "provider", "model", "units", "price", "outcome")
        both = union_all(
            select(*(requests.c[name] for name in names), requests.c.speculative),
            select(*(errands.c[name] for name in names), false().label("speculative")),
        ).subquery()
        r = both.c
        wasted = func.sum(r.price).filter(r.speculative.is_(True))
        failed = func.count().filter(r.outcome == "failed")
        query = select(
            r.stage, r.provider, r.model, func.count(), failed, func.sum(r.units), func.sum(r.price), wasted
        )
        if since is not None:
            query = query.where(r.time >= since)
        if until is not None:
            query = query.where(r.time < until)
        query = query.group_by(r.stage, r.provider, r.model).order_by(r.stage, r.provider, r.model)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).all()
        return [
            Sum(
                stage,
                provider,
                model,
                count,
                bad,
                round(units, 6),
                round(price, DIGITS),
                round(lost or 0.0, DIGITS),
            )
            for stage, provider, model, count, bad, units, price, lost in found
        ]


def _errand(line: Mapping[str, Any], user_id: str | None, time: str) -> dict[str, Any]:
    texts = {name: str(line.get(name) or "") for name in _TEXTS}
    numbers = {name: line.get(name) or 0 for name in ("units", "price", "input_tokens", "output_tokens")}
    row = {"id": secrets.token_hex(16), "user_id": user_id, "time": time, **texts, **numbers}
    return {**row, "counted": bool(line.get("counted")), "first_ms": line.get("first_ms")}


_TEXTS = ("stage", "provider", "model", "unit", "outcome", "error")
