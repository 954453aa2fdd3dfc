"""A caller who types to the offline responder at an appointment desk with its real tools and a calendar."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.contracts import Caller, Env, Message, Prompt, Tool, ToolCall, ToolContext
from pipeline.llm.rules import RulesResponder
from pipeline.tools import appointments, clock
from storage.appointments import Appointments
from storage.database import open_database

NOW = datetime(2026, 11, 21, 15, 5, tzinfo=UTC)
"""A Saturday afternoon."""
MONDAY, TUESDAY, WEDNESDAY, FRIDAY = "2026-11-23", "2026-11-24", "2026-11-25", "2026-11-27"
ANN = "5551234567"


class Desk:
    """One call. `say` answers what is said back, once no tool is wanted any more."""

    def __init__(
        self, calendar: Appointments, language: str = "en", greeting: str = "Hello!", timezone: str = ""
    ) -> None:
        self.calendar, self.language = calendar, language
        self.responder = RulesResponder(now=lambda: NOW)
        env = Env(language=language)
        seven = appointments.create(appointments.Options(timezone=timezone), env)
        made = [*seven, clock.create(clock.Options(), env)]
        self.tools: dict[str, Tool] = {tool.spec.name: tool for tool in made}
        self.caller = Caller()
        self.messages: list[Message] = [Message("assistant", greeting)]
        self.calls: list[ToolCall] = []
        self.results: list[dict[str, Any]] = []

    def prompt(self) -> Prompt:
        specs = tuple(tool.spec for tool in self.tools.values())
        return Prompt(tuple(self.messages), specs, self.language)

    async def say(self, text: str, heard: str | None = None) -> str:
        """Say something. `heard`: all that is heard of the reply, when it is interrupted."""
        self.messages.append(Message("user", text))
        before = len(self.calls)
        while isinstance(answer := self.responder.answer(self.prompt()), ToolCall):
            assert len(self.calls) < before + 5, "it goes in circles"
            await self.run(answer)
        reply = answer if heard is None else heard
        if reply:
            self.messages.append(Message("assistant", reply))
        return answer

    async def run(self, call: ToolCall) -> None:
        self.calls.append(call)
        key = f"{len(self.calls)}"
        storage = SimpleNamespace(appointments=self.calendar)
        context = ToolContext("s", lambda: NOW, self.language, key, self.caller, storage)
        result = dict(await self.tools[call.name].run(call.arguments, context))
        self.results.append(result)
        told = json.dumps(result, ensure_ascii=False)
        self.messages.append(Message("assistant", "", (call,)))
        self.messages.append(Message("tool", told, tool_call_id=call.id, name=call.name))

    async def identify(self, name: str = "Ann") -> None:
        """Who calls has said so."""
        await self.say(f"my name is {name}")
        await self.say("my phone number is 555 123 4567")
        assert await self.say("yes") == f"Thank you, {name}. How can I help?"

    async def booked(self) -> list[tuple[str, str, str]]:
        """(phone, date, time) of all that is booked."""
        found, _ = await self.calendar.list(100)
        return [(one.phone, one.date, one.time) for one in found]


@asynccontextmanager
async def calendar_in(folder: Path) -> AsyncIterator[Appointments]:
    database = await open_database(f"sqlite+aiosqlite:///{folder / 'desk.db'}")
    try:
        yield Appointments(database)
    finally:
        await database.aclose()
