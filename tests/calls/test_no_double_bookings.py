"""A hunt: callers who want the same slots, interrupt at random and lose their connection while they book.

Real tools, the real offline responder and a real database; only recognizer and voice are scripted, so that a
reply of ten words plays for a quarter of a second. The seed is fixed, the order of things on a shared machine
is not: what is asserted holds for every order.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import chain, plugins
from pipeline.contracts import Env
from pipeline.llm import rules
from pipeline.questions import asked_for
from pipeline.tool import as_tools
from storage.appointments import Appointments
from storage.database import Database, open_database
from tests.support.call import SILENT, VOICED, Call, open_call

pytestmark = pytest.mark.usefixtures("no_leaks")

CALLERS = 8
DISTURBANCES = 200
TURNS = 22
DAYS = ("tuesday", "wednesday", "thursday", "friday")
HOURS = ("9", "10", "11")
"""Fewer slots a round than callers."""
CODE = re.compile(r"confirmation code is (\w{8})")


@dataclass
class Hunt:
    """What happened in all calls."""

    chance: random.Random
    disturbances: int = 0
    agreed: int = 0
    confirmed: dict[str, set[str]] = field(default_factory=dict)
    """Phone -> codes that the tools answered to its caller's talk."""
    told: dict[str, set[str]] = field(default_factory=dict)
    """Phone -> codes that were said."""


class Booker:
    """Types what is asked for, and is a nuisance."""

    def __init__(self, call: Call, phone: str, day: str, hunt: Hunt) -> None:
        self.call, self.phone, self.day, self.hunt = call, phone, day, hunt
        self.hour = hunt.chance.choice(HOURS)

    async def talk(self) -> None:
        said = f"I want an appointment on {self.day} at {self.hour} am"
        for _ in range(TURNS):
            reply = await self._say(said)
            if "booked for" in reply and self.hunt.chance.random() < 0.7:
                break
            said = self._answer(reply)
        await self.call.end()
        results = [e["result"] for e in self.call.of("tool.result") if "result" in e]
        codes = {r["appointment_id"] for r in results if r.get("ok") and r.get("status") == "booked"}
        self.hunt.confirmed[self.phone] = codes
        spoken = " ".join(e["text"] for e in self.call.of("agent_response") if e["final"])
        self.hunt.told[self.phone] = set(CODE.findall(spoken))

    def _answer(self, reply: str) -> str:
        kind = asked_for(reply, "en")
        if kind == "digits":
            return self.phone
        if kind == "name":
            return "my name is Ann"
        if kind == "yes_no":
            if "Shall I book" in reply:
                self.hunt.agreed += 1
            return "yes"
        self.hour = self.hunt.chance.choice(HOURS)
        return (
            f"{self.day} at {self.hour} am"
            if kind
            else f"book an appointment on {self.day} at {self.hour} am"
        )

    async def _say(self, text: str) -> str:
        """Type it, listen, or not."""
        since = len(self.call.events)
        self.call.do("text_message", message=text)
        for _ in range(self.hunt.chance.choice((0, 0, 1, 1, 2))):
            await asyncio.sleep(self.hunt.chance.uniform(0, 0.15))
            self._disturb(text)
        for _ in range(60):
            await asyncio.sleep(0.025)
            if self.call.session.floor.idle:
                break
        heard = [e for e in self.call.events[since:] if e["type"] == "agent_response" and e["final"]]
        return str(heard[-1]["text"]) if heard else ""

    def _disturb(self, text: str) -> None:
        self.hunt.disturbances += 1
        match self.hunt.chance.choice(("interrupt", "voice", "lost", "again")):
            case "interrupt":
                self.call.do("interrupt")
            case "voice":  # 400 ms at once, as after a stall of the network
                for frame in (*[VOICED] * 20, *[SILENT] * 40):
                    self.call.session.hear(frame)
            case "lost":
                self.call.drop()
                self.call.attach()
            case "again":
                self.call.do("text_message", message=text)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url)
    yield database
    await database.aclose()


async def test_no_slot_and_no_wish_is_booked_twice_whatever_the_callers_do(database: Database) -> None:
    calendar, hunt = Appointments(database), Hunt(random.Random(5))
    made = plugins.build("tools", "appointments", {}, Env())
    tools = {tool.spec.name: tool for tool in as_tools(made)}
    mind = rules.create(rules.Options(), Env())
    for number in range(len(DAYS)):
        if hunt.disturbances >= DISTURBANCES:
            break
        await asyncio.gather(
            *(one_call(calendar, tools, mind, hunt, number * CALLERS + caller) for caller in range(CALLERS))
        )
        await check(calendar, hunt)
    assert hunt.disturbances >= DISTURBANCES
    assert sum(map(len, hunt.confirmed.values())) >= len(HOURS)


async def one_call(calendar: Appointments, tools: Any, mind: Any, hunt: Hunt, number: int) -> None:
    call = await open_call(
        stt={"text": "um wait", "final_ms": 10},
        tts={"first_byte_ms": 5, "speed": 100.0, "ms_per_char": 3},
        minds=[chain.Member("rules", mind)],
        tools=tools,
        tool_storage=SimpleNamespace(appointments=calendar),
        session_id=f"20261121_120000_{number:020d}",
    )
    call.do("start")
    await Booker(call, f"555123{number:04d}", DAYS[number // CALLERS], hunt).talk()


async def check(calendar: Appointments, hunt: Hunt) -> None:
    """Every row is what a tool answered in its caller's own talk, every code that was said is a row, and no
    slot is taken twice."""
    rows, total = await calendar.list(100, 0)
    assert total == len(rows)
    slots = [(row.date, row.time) for row in rows if row.status == "booked"]
    assert len(set(slots)) == len(slots)
    booked = {row.id: row.phone for row in rows}
    answered = {code: phone for phone, codes in hunt.confirmed.items() for code in codes}
    assert booked == answered
    assert all(codes <= hunt.confirmed[phone] for phone, codes in hunt.told.items())
    assert len(booked) <= hunt.agreed
