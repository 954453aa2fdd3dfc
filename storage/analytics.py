"""How the talks went, over days: how many and how long, how fast the answers came, what broke, what it cost.

Everything is summed by the database, from the same rows as every other page: what comes back is a few lines a
day, however many turns there were. A talk counts, with all that happened in it, on the day (UTC) on which it
began; so days add up to the whole, and so do providers. Errands belong to no talk and count on their own day.

Percentiles are by nearest rank: each is the time of a turn that there was.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import FromClause, and_, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.schema import agents, messages, requests, turns, users
from storage.tallies import (
    COUNTS,
    LINE,
    OUTCOMES,
    PERCENTILES,
    PROVIDER,
    SPANS,
    SPOKEN,
    STAGES,
    SUMMED,
    TURN,
    WHEN_APOLOGY,
    WHEN_CUT,
    WHEN_TOOL,
    Row,
    Scope,
    errands_of,
    minutes_of,
    outcome_of,
    plain,
    share_of,
    speed_of,
    sums_of,
    sums_of_talks,
    talks_of,
    totals_of,
    turns_of,
)
from storage.usage import DIGITS

MOST_AT_ONCE = 2
"""Reports of one process: each may keep a core busy for a while, and talks cannot wait."""
MOST_ROWS = 100
"""Of agents and users: the dearest of them."""
FEW = 10
"""Of the slowest and the dearest."""
PART = 40
"""Rows that are made at a time: a millisecond's work."""


@dataclass(slots=True)
class Report:
    """All of it, as plain rows."""

    days: list[Row] = field(default_factory=list)
    latency: Row = field(default_factory=dict)
    providers: list[Row] = field(default_factory=list)
    tools: list[Row] = field(default_factory=list)
    agents: list[Row] = field(default_factory=list)
    users: list[Row] = field(default_factory=list)
    slowest: list[Row] = field(default_factory=list)
    dearest: list[Row] = field(default_factory=list)
    dearest_talks: list[Row] = field(default_factory=list)
    totals: Row = field(default_factory=dict)


class Analytics:
    """The repository of sums."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def report(self, scope: Scope) -> Report:
        """Everything about those talks, from one view of the database."""
        async with self._places, self._database.read() as connection:
            return await _Reading(connection, scope).report()

    async def turns(self, scope: Scope, most: int) -> AsyncGenerator[list[Row], None]:
        """The turns of those talks with what each cost, latest talk first, a few at a time."""
        async with self._places, self._database.read() as connection:
            query = turns_of(talks_of(scope)).limit(most)
            await asyncio.sleep(0)
            found = await connection.stream(query)
            async for rows in found.mappings().partitions(PART):
                yield [{**row, "cost": round(row["cost"] or 0.0, DIGITS)} for row in rows]


class _Reading:
    """One report being made."""

    def __init__(self, connection: AsyncConnection, scope: Scope) -> None:
        self._connection, self._scope = connection, scope
        self._talks = talks_of(scope)
        self._days: dict[str, Row] = {}
        self._seconds = 0.0

    async def report(self) -> Report:
        found = Report()
        await self._count_talks()
        found.latency = await self._speeds()
        await self._count_messages()
        found.tools = await self._tools()
        found.providers = await self._costs()
        found.agents = await self._by_agent()
        found.users = await self._by_user()
        found.slowest = await self._with_sound(await self._slowest())
        found.dearest = await self._with_sound(await self._dearest())
        found.dearest_talks = await self._dearest_talks()
        found.days = [self._days[day] for day in sorted(self._days)]
        for day in found.days:
            day["cost"] = round(day["cost"], DIGITS)
        found.totals = {**totals_of(found.days, found.providers), "minutes": minutes_of(self._seconds)}
        return found

    async def _rows(self, query: Any) -> list[Row]:
        # To make a question, to ask it and to read the answer takes the loop a millisecond each: others may
        # come in between.
        await asyncio.sleep(0)
        found = (await self._connection.execute(query)).mappings()
        await asyncio.sleep(0)
        return [dict(row) for row in found]

    def _day(self, day: str) -> Row:
        if day not in self._days:
            nothing = dict.fromkeys(COUNTS, 0)
            self._days[day] = {"date": day, **nothing, "minutes": 0.0, "cost": 0.0, **speed_of({})}
        return self._days[day]

    # -- counts --------------------------------------------------------------------------------------------

    async def _count_talks(self) -> None:
        t = self._talks.c
        query = select(t.day, func.count().label("talks"), func.sum(t.duration_s).label("seconds"))
        for row in await self._rows(query.group_by(t.day)):
            self._day(row["day"]).update(talks=row["talks"], minutes=minutes_of(row["seconds"]))
            self._seconds += row["seconds"]

    async def _count_messages(self) -> None:
        """Replies that were cut, and turns that ended in an apology. Both have small indexes of their own."""
        t = self._talks.c
        hung_up = messages.c.more["ended"].as_string().is_not(None)
        for name, marked in (
            ("interruptions", and_(WHEN_CUT, ~hung_up)),
            ("failed_turns", WHEN_APOLOGY),
        ):
            query = select(t.day, func.count().label("n")).join(
                messages, messages.c.session_id == t.session_id
            )
            for row in await self._rows(query.where(marked).group_by(t.day)):
                self._day(row["day"])[name] = row["n"]

    async def _tools(self) -> list[Row]:
        t, name = self._talks.c, func.coalesce(messages.c.more["name"].as_string(), "")
        ran = (
            select(t.day, name.label("name"), outcome_of().label("outcome"))
            .join(messages, messages.c.session_id == t.session_id)
            .where(WHEN_TOOL)
            .subquery()
        )
        query = select(ran, func.count().label("n")).group_by(*ran.c)
        tools: dict[str, Row] = {}
        for row in await self._rows(query):
            tool = tools.setdefault(
                row["name"], {"name": row["name"], "calls": 0, **dict.fromkeys(OUTCOMES, 0)}
            )
            tool["calls"] += row["n"]
            tool[row["outcome"]] += row["n"]
            day = self._day(row["day"])
            day["tool_calls"] += row["n"]
            day["tools_failed"] += row["n"] * (row["outcome"] == "failed")
        for tool in tools.values():
            tool["success"] = share_of(tool["ok"], tool["calls"] - tool["asked"])
        return sorted(tools.values(), key=lambda tool: (-tool["calls"], tool["name"]))

    # -- speed ---------------------------------------------------------------------------------------------

    async def _speeds(self) -> Row:
        """How many turns, and how fast: of each day, into its row; of all days together, returned."""
        t, c = self._talks.c, turns.c
        inside = turns.join(self._talks, c.session_id == t.session_id)
        spans = [func.sum(case((SPOKEN, c[span]), else_=0.0)).label(name) for name, span in SPANS.items()]
        spoken = func.sum(case((SPOKEN, 1), else_=0)).label("spoken")
        query = select(t.day, func.count().label("turns"), spoken, *spans).select_from(inside).group_by(t.day)
        days = await self._rows(query)
        ranked: dict[str, list[Row]] = {}
        for row in await self._rows(self._ranked(inside)):
            ranked.setdefault(row["day"], []).append(row)
        for row in days:
            self._day(row["day"]).update(turns=row["turns"], **speed_of(row, ranked.get(row["day"], ())))
        whole = {name: sum(row[name] for row in days) for name in ("spoken", *STAGES)}
        return speed_of(whole, await self._rows(self._ranked(inside, together=True)))

    def _ranked(self, inside: FromClause, *, together: bool = False) -> Any:
        """The times at the percentiles' ranks: of each day, or of all together."""
        c, day = turns.c, literal("") if together else self._talks.c.day
        by = None if together else day
        ranks = (
            select(
                day.label("day"),
                c.voice_to_voice_ms.label("ms"),
                func.row_number().over(partition_by=by, order_by=c.voice_to_voice_ms).label("rank"),
                func.count().over(partition_by=by).label("n"),
            )
            .select_from(inside)
            .where(SPOKEN)
            .subquery()
        )
        r = ranks.c
        picked = [r.rank == (r.n * percent + 99) // 100 for percent in PERCENTILES]
        return select(r.day, r.ms, r.rank).where(or_(*picked))

    async def _slowest(self) -> list[Row]:
        t, c = self._talks.c, turns.c
        query = (
            select(*TURN, t.user_id, *(c[column] for column in SPANS.values()), c.reason)
            .select_from(turns.join(self._talks, c.session_id == t.session_id))
            .where(SPOKEN)
            .order_by(c.voice_to_voice_ms.desc(), c.session_id, c.turn)
            .limit(FEW)
        )
        found = await self._rows(query)
        for row in found:
            row["dominant"] = max(STAGES, key=lambda stage: row[SPANS[stage]] or 0.0)
        return found

    # -- money ---------------------------------------------------------------------------------------------

    async def _costs(self) -> list[Row]:
        """By stage, provider and model; each day's sum goes into its row."""
        c, lines = requests.c, [requests.c[name] for name in LINE]
        asked = select(self._talks.c.day, c.speculative, *lines)
        found = await self._rows(sums_of(asked.join(self._talks, self._talks.c.session_id == c.session_id)))
        if self._scope.agent_id is None:
            found += await self._rows(sums_of(errands_of(self._scope)))
        sums: dict[tuple[str, str, str], Row] = {}
        for row in found:
            day = self._day(row["day"])
            day["cost"] += row["cost"]
            key = (row["stage"], row["provider"], row["model"])
            one = sums.setdefault(key, {**dict(zip(PROVIDER, key, strict=True)), **dict.fromkeys(SUMMED, 0)})
            for name in SUMMED:
                one[name] += row[name] or 0
        for one in sums.values():
            one["units"] = round(one["units"], 6)
            one["cost"], one["wasted"] = round(one["cost"], DIGITS), round(one["wasted"], DIGITS)
        return [sums[key] for key in sorted(sums)]

    async def _by_agent(self) -> list[Row]:
        t = self._talks.c
        query = sums_of_talks(t.agent_id, agents.c.name).outerjoin(agents, agents.c.id == t.agent_id)
        return plain(await self._rows(query.group_by(t.agent_id, agents.c.name).limit(MOST_ROWS)))

    async def _by_user(self) -> list[Row]:
        t = self._talks.c
        query = sums_of_talks(t.user_id, users.c.email, users.c.display_name)
        query = query.outerjoin(users, users.c.id == t.user_id)
        query = query.group_by(t.user_id, users.c.email, users.c.display_name)
        return plain(await self._rows(query.limit(MOST_ROWS)))

    async def _dearest(self) -> list[Row]:
        t, c = self._talks.c, requests.c
        cost = func.sum(c.price)
        query = (
            select(c.session_id, c.turn, t.user_id, func.min(c.time).label("time"), cost.label("cost"))
            .join(self._talks, t.session_id == c.session_id)
            .where(c.price > 0)
            .group_by(c.session_id, c.turn, t.user_id)
            .order_by(cost.desc(), c.session_id, c.turn)
            .limit(FEW)
        )
        return [{**row, "cost": round(row["cost"], DIGITS)} for row in await self._rows(query)]

    async def _dearest_talks(self) -> list[Row]:
        t = self._talks.c
        columns = (t.session_id, t.user_id, t.start_time, t.turns, t.duration_s, t.total_cost.label("cost"))
        query = select(*columns).where(t.total_cost > 0).order_by(t.total_cost.desc(), t.session_id)
        return [
            {**row, "minutes": minutes_of(row.pop("duration_s"))}
            for row in await self._rows(query.limit(FEW))
        ]

    # -- single turns --------------------------------------------------------------------------------------

    async def _with_sound(self, found: list[Row]) -> list[Row]:
        """The same turns, each with where its user begins to speak on the talk's time line, and the file."""
        m = messages.c
        these = [and_(m.session_id == row["session_id"], m.turn == row["turn"]) for row in found]
        said: dict[tuple[str, int], Row] = {}
        if these:
            query = select(m.session_id, m.turn, m.time, m.start_ms, m.audio).where(
                m.role == "user", or_(*these)
            )
            said = {(row["session_id"], row["turn"]): row for row in await self._rows(query)}
        for row in found:
            heard = said.get((row["session_id"], row["turn"]), {})
            row["start_ms"], row["audio"] = heard.get("start_ms"), heard.get("audio")
            row["time"] = row["time"] or heard.get("time")  # older turns have none
        return found
