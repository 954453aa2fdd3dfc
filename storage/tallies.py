"""What analytics is made of: parts of queries, and plain numbers from their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, ColumnElement, and_, case, cast, false, func, literal_column, select
from sqlalchemy import String as PlainString

from storage.schema import conversations, errands, messages, requests, turns
from storage.usage import DIGITS

Row = dict[str, Any]

STAGES = ("endpoint", "stt", "llm", "tts")
"""The spans of a turn, in their order."""
SPANS = {"endpoint": "endpoint_ms", "stt": "stt_ms", "llm": "llm_ttft_ms", "tts": "tts_ttfb_ms"}
PERCENTILES = (50, 90, 99)
OUTCOMES = ("ok", "refused", "asked", "failed")
"""What became of a tool's call: done; refused with a sentence; the caller was asked first; an error."""
COUNTS = ("talks", "turns", "interruptions", "failed_turns", "tool_calls", "tools_failed")
LINE = ("stage", "provider", "model", "outcome", "units", "price")
PROVIDER = ("stage", "provider", "model")
SUMMED = ("requests", "failed", "units", "cost", "wasted")
SPOKEN = and_(turns.c.spoken.is_(True), turns.c.voice_to_voice_ms.is_not(None))
TURN = (turns.c.session_id, turns.c.turn, turns.c.time, turns.c.voice_to_voice_ms)

# Written out, not bound: only then do the databases see that their small indexes are meant (m0007_spoken).
WHEN_TOOL: ColumnElement[bool] = literal_column("messages.role = 'tool'", Boolean)
WHEN_CUT: ColumnElement[bool] = literal_column("messages.interrupted", Boolean)
WHEN_APOLOGY: ColumnElement[bool] = literal_column("messages.type = 'apology'", Boolean)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which talks. ISO times: `since` is in it, `until` is not."""

    since: str
    until: str
    owner: str | None = None
    """Whose; None: everybody's."""
    user_id: str | None = None
    """The same, as errands have it."""
    agent_id: str | None = None
    """With which agent; errands have none."""


def talks_of(scope: Scope) -> Any:
    c = conversations.c
    day = func.substr(c.start_time, 1, 10).label("day")
    columns = (c.session_id, c.user_id, c.agent_id, c.start_time, c.turns, c.duration_s, c.total_cost)
    query = select(day, *columns).where(c.start_time >= scope.since, c.start_time < scope.until)
    if scope.owner is not None:
        query = query.where(c.owner == scope.owner)
    if scope.agent_id is not None:
        query = query.where(c.agent_id == scope.agent_id)
    return query.subquery()


def outcome_of() -> ColumnElement[str]:
    """Of a tool's message. Its result is whatever a tool gave back: it is compared as text only."""

    def said(*path: str) -> ColumnElement[str]:
        return cast(messages.c.more[("result", *path)].as_string(), PlainString)

    return case(
        (said("error").is_not(None), "failed"),
        (said("needs_confirmation").in_(("true", "1")), "asked"),
        (said("ok").in_(("false", "0")), "refused"),
        else_="ok",
    )


def outcome(result: object) -> str:
    """The same of a result that is at hand."""
    if not isinstance(result, Mapping):
        return "ok"
    if result.get("error") is not None:
        return "failed"
    if str(result.get("needs_confirmation")).lower() in ("true", "1"):
        return "asked"
    return "refused" if str(result.get("ok")).lower() in ("false", "0") else "ok"


def turns_of(talks: Any) -> Any:
    """The turns of those talks one by one, each with all that was spent on it."""
    c, r = turns.c, requests.c
    spent = select(func.sum(r.price)).where(r.session_id == c.session_id, r.turn == c.turn)
    return (
        select(
            *TURN,
            *(talks.c.user_id, talks.c.agent_id, c.reason, c.speculated, c.interrupted, c.spoken),
            *(c[column] for column in SPANS.values()),
            spent.scalar_subquery().label("cost"),
        )
        .select_from(turns.join(talks, c.session_id == talks.c.session_id))
        .order_by(talks.c.start_time.desc(), c.session_id, c.turn)
    )


def errands_of(scope: Scope) -> Any:
    """Requests that belong to no talk, as if they were a talk's."""
    c = errands.c
    day = func.substr(c.time, 1, 10).label("day")
    query = select(day, false().label("speculative"), *(c[name] for name in LINE))
    query = query.where(c.time >= scope.since, c.time < scope.until)
    return query if scope.owner is None else query.where(c.user_id == scope.user_id)


def sums_of(lines: Any) -> Any:
    """What those requests come to, by day, stage, provider and model."""
    c = lines.subquery().c
    groups = (c.day, c.stage, c.provider, c.model)
    return select(
        *groups,
        func.count().label("requests"),
        func.sum(case((c.outcome == "failed", 1), else_=0)).label("failed"),
        func.sum(c.units).label("units"),
        func.sum(c.price).label("cost"),
        func.sum(case((c.speculative, c.price), else_=0.0)).label("wasted"),
    ).group_by(*groups)


def sums_of_talks(*columns: ColumnElement[Any]) -> Any:
    """The talks of each agent or user, the dearest first."""
    talk: Any = columns[0].table.c
    cost, seconds = func.sum(talk.total_cost), func.sum(talk.duration_s)
    query = select(
        *columns,
        func.count().label("talks"),
        func.sum(talk.turns).label("turns"),
        seconds.label("seconds"),
        cost.label("cost"),
    )
    return query.order_by(cost.desc(), seconds.desc(), func.coalesce(columns[0], ""))


# -- plain numbers ---------------------------------------------------------------------------------------


def plain(rows: list[Row]) -> list[Row]:
    return [
        {
            **row,
            "turns": int(row["turns"]),
            "minutes": minutes_of(row.pop("seconds")),
            "cost": round(row["cost"], DIGITS),
        }
        for row in rows
    ]


def minutes_of(seconds: float) -> float:
    return round(seconds / 60, 2)


def share_of(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole > 0 else None


def speed_of(sums: Row, ranked: Sequence[Row] = ()) -> Row:
    """What is said of the speed of so many spoken turns with these sums, and these times at their ranks."""
    n = sums.get("spoken", 0)
    if not n:
        nothing = dict.fromkeys((f"p{percent}_ms" for percent in PERCENTILES), None)
        return {"spoken_turns": 0, **nothing, "stages_ms": None, "dominant": None}
    at = {row["rank"]: round(row["ms"], 1) for row in ranked}
    stages = {stage: round((sums[stage] or 0.0) / n, 1) for stage in STAGES}
    percentiles = {f"p{percent}_ms": at[(n * percent + 99) // 100] for percent in PERCENTILES}
    return {
        "spoken_turns": n,
        **percentiles,
        "stages_ms": stages,
        "dominant": max(STAGES, key=lambda s: stages[s]),
    }


def totals_of(days: Sequence[Row], providers: Sequence[Row]) -> Row:
    totals: Row = {name: sum(day[name] for day in days) for name in COUNTS}
    stages = sorted({row["stage"] for row in providers})
    by_stage = {s: round(sum(row["cost"] for row in providers if row["stage"] == s), DIGITS) for s in stages}
    return {
        **totals,
        "cost": round(sum(row["cost"] for row in providers), DIGITS),
        "wasted": round(sum(row["wasted"] for row in providers), DIGITS),
        "cost_by_stage": by_stage,
    }
