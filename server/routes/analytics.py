"""How the talks went, for whoever had them: `/api/analytics`, and its tables as CSV. The sums are made in
`storage.analytics`; the page `/analytics` draws them."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from server.api import Call, Endpoint
from server.limits import Limit
from server.parts import Parts
from server.routes.answers import not_found
from server.routes.history import PRIVATE, Moment, last_moment
from storage.tallies import Row, Scope
from storage.times import iso, parse

DAYS = 30
"""The days that are summed up when nobody says which."""
MOST_TURNS = 50_000
"""Lines of one CSV file."""
READING = Limit("analytics", "60 per minute")
"""By address: each reads all the turns that it tells of."""
Table = Literal["days", "providers", "tools", "turns", "agents", "users"]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a text for a formula (OWASP, CSV injection)."""

Stage = Literal["endpoint", "stt", "llm", "tts"]


class Span(BaseModel):
    """Which talks; those of the last 30 days if no days are named."""

    since: Moment | None = Field(None, alias="from", description="The first day, or time (UTC)")
    until: Moment | None = Field(None, alias="to", description="The last day, or the time before which (UTC)")
    user_id: str | None = Field(None, max_length=64, description="Whose; others' for administrators only")
    agent_id: str | None = Field(None, max_length=64, description="With which agent")


class Export(Span):
    table: Table = Field("days", description="Which table")


class Stages(BaseModel):
    """The mean of each span of a turn, in ms; together they are the mean of voice-to-voice."""

    endpoint: float
    stt: float
    llm: float
    tts: float


class Speed(BaseModel):
    """From the user's last sound to the answer's first, of turns spoken by both; null without any."""

    spoken_turns: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    stages_ms: Stages | None
    dominant: Stage | None
    """The stage that took the most of it."""


class Day(Speed):
    """The talks that began on one day (UTC). Days without any are left out."""

    date: str
    talks: int
    turns: int
    minutes: float
    interruptions: int
    failed_turns: int
    tool_calls: int
    tools_failed: int
    cost: float


class Provider(BaseModel):
    """What one provider's model did, and what it cost."""

    stage: str
    provider: str
    model: str
    requests: int
    failed: int
    units: float
    cost: float
    wasted: float
    """The part of `cost` that went into guesses which nobody heard."""


class ToolUse(BaseModel):
    """What became of a tool's calls."""

    name: str
    calls: int
    ok: int
    refused: int
    """Answered with a sentence that says why not."""
    asked: int
    """Not run yet: the caller was asked first."""
    failed: int
    success: float | None
    """The part of those that were run which were `ok`."""


class AgentSum(BaseModel):
    """The talks with one agent; null is Parley itself."""

    agent_id: str | None
    name: str | None
    talks: int
    turns: int
    minutes: float
    cost: float


class UserSum(BaseModel):
    """The talks of one user; null are all guests together."""

    user_id: str | None
    email: str | None
    display_name: str | None
    talks: int
    turns: int
    minutes: float
    cost: float


class Where(BaseModel):
    """A turn, and where to hear it."""

    session_id: str | None
    """Not told of a guest's: whoever knows it can read the talk."""
    user_id: str | None
    turn: int | None
    time: str | None
    start_ms: int | None
    """Where its user begins to speak, on the talk's time line."""
    audio: str | None
    """The file of what the user said: `/api/audio/{session_id}/{audio}`."""


class Slow(Where):
    voice_to_voice_ms: float
    endpoint_ms: float | None
    stt_ms: float | None
    llm_ttft_ms: float | None
    tts_ttfb_ms: float | None
    dominant: Stage


class Dear(Where):
    cost: float


class DearTalk(BaseModel):
    """A talk, and what it cost in all."""

    session_id: str | None
    user_id: str | None
    start_time: str
    turns: int
    minutes: float
    cost: float


class Sums(BaseModel):
    """How the talks of those days went."""

    since: str = Field(alias="from")
    until: str = Field(alias="to")
    talks: int
    turns: int
    """Turns that were answered."""
    minutes: float
    interruptions: int
    """Answers that somebody spoke, typed or clicked into."""
    failed_turns: int
    """Turns that got an apology for an answer."""
    tool_calls: int
    tools_failed: int
    cost: float
    """Of the talks, and of what was asked outside of any (speech in one request)."""
    wasted: float
    cost_by_stage: dict[str, float]
    latency: Speed
    days: list[Day]
    providers: list[Provider]
    tools: list[ToolUse]
    agents: list[AgentSum]
    users: list[UserSum]
    slowest: list[Slow]
    dearest: list[Dear]
    dearest_talks: list[DearTalk]


class Office:
    """Where the sums are asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._analytics = parts.analytics

    async def sums(self, call: Call) -> Sums:
        """Raises 404, 422."""
        scope = await self._scope(call)
        found = asdict(await self._analytics.report(scope))
        for name in ("slowest", "dearest", "dearest_talks"):
            found[name] = [_discreet(row) for row in found[name]]
        totals = found.pop("totals")
        return Sums.model_validate({"from": scope.since, "to": scope.until, **totals, **found})

    async def export(self, call: Call) -> Response:
        """Raises 404, 422."""
        scope, table = await self._scope(call), call.query.table
        parts: AsyncIterator[list[Row]]
        if table == "turns":
            parts = self._analytics.turns(scope, MOST_TURNS)
        else:
            parts = _one(getattr(await self._analytics.report(scope), table))
        name = f"parley-{table}-{scope.since[:10]}-{_last_day(scope.until)}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', **PRIVATE}
        body = b"".join([piece async for piece in _written(table, parts)])
        return Response(body, media_type="text/csv", headers=headers)

    async def _scope(self, call: Call) -> Scope:
        """Which talks are meant, if whoever asks may see them. Raises 404, 422."""
        query, me = call.query, call.who.user
        assert me is not None
        since, until = _days(query)
        if query.user_id is None or query.user_id == me.id:
            whose = me if query.user_id or not me.is_admin else None
        else:
            whose = await self._parts.accounts.get(query.user_id) if me.is_admin else None
            if whose is None:
                raise not_found("There is no such user.")
        if whose is None:
            return Scope(since, until, agent_id=query.agent_id)
        return Scope(since, until, whose.owner, whose.id, query.agent_id)


def _days(query: Span) -> tuple[str, str]:
    until = last_moment(query.until) or iso(datetime.now(UTC) + timedelta(seconds=1))
    end, start = parse(until), parse(query.since)
    assert end is not None
    if start is None:
        last = end - timedelta(microseconds=1)
        start = last.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    if start >= end:
        raise HTTPException(422, "from must be before to")
    return iso(start), iso(end)


def _last_day(until: str) -> str:
    end = parse(until)
    assert end is not None
    return iso(end - timedelta(milliseconds=1))[:10]


def _discreet(row: Row) -> Row:
    """What may be told of a talk that may be a guest's."""
    return row if row["user_id"] is not None else {**row, "session_id": None, "audio": None}


# -- CSV -------------------------------------------------------------------------------------------------

_STAGES = tuple(f"{stage}_mean_ms" for stage in Stages.model_fields)
_SPEED = ("spoken_turns", "p50_ms", "p90_ms", "p99_ms", *_STAGES, "dominant")
_COUNTED = ("interruptions", "failed_turns", "tool_calls", "tools_failed", "cost")
_SPANS = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms", "voice_to_voice_ms")
_KINDS = ("spoken", "speculated", "interrupted", "reason", "cost")
_COLUMNS: Mapping[Table, Sequence[str]] = {
    "days": ("date", "talks", "turns", "minutes", *_SPEED, *_COUNTED),
    "providers": tuple(Provider.model_fields),
    "tools": tuple(ToolUse.model_fields),
    "agents": tuple(AgentSum.model_fields),
    "users": tuple(UserSum.model_fields),
    "turns": ("session_id", "turn", "time", "user_id", "agent_id", *_SPANS, *_KINDS),
}


async def _one(rows: list[Row]) -> AsyncIterator[list[Row]]:
    yield rows


async def _written(table: Table, parts: AsyncIterator[list[Row]]) -> AsyncIterator[bytes]:
    """The table as CSV (RFC 4180), in pieces."""
    columns = _COLUMNS[table]
    yield _lines([columns])
    async for rows in parts:
        yield _lines([[row.get(name) for name in columns] for row in map(_flat, rows)])


def _flat(row: Row) -> Row:
    stages = {f"{stage}_mean_ms": ms for stage, ms in (row.get("stages_ms") or {}).items()}
    return {**_discreet({"user_id": "", **row}), **stages}


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[_harmless(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def _harmless(cell: Any) -> Any:
    """A text that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def routes(parts: Parts) -> list[BaseRoute]:
    """`/api/analytics` and `/api/analytics.csv`."""
    office = Office(parts)

    def get(path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint("GET", path, handler, summary, "Analytics", errors=(404,), limit=READING, **more)

    return parts.gate.routes(
        [
            get("/api/analytics", office.sums, "How the talks went, by day", query=Span, answers=Sums),
            get(
                "/api/analytics.csv",
                office.export,
                "A table of it as CSV",
                query=Export,
                media="text/csv",
            ),
        ]
    )
