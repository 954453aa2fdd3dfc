"""What was asked of providers, and what it cost: sums over the rows of `requests`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from storage.database import Database
from storage.schema import requests
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
        """What all talks have cost since then."""
        query = select(func.sum(requests.c.price)).where(requests.c.time >= iso(time))
        async with self._database.read() as connection:
            return round(await connection.scalar(query) or 0.0, DIGITS)

    async def of_session(self, session_id: str) -> list[dict[str, Any]]:
        """A session's requests, in order."""
        query = select(requests).where(requests.c.session_id == session_id).order_by(requests.c.n)
        async with self._database.read() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def by_provider(self, since: str | None = None, until: str | None = None) -> list[Sum]:
        """Sums by stage, provider and model; `since` (included) and `until` (excluded) are ISO times."""
        r = requests.c
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
