"""The appointment desk's tools over a real calendar: each refusal is a sentence, each effect happens once."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline import plugins
from pipeline.contracts import Caller, Env, ToolContext
from pipeline.tool import as_tools, manners_of
from pipeline.tools.when import find_date
from storage.appointments import Appointments
from storage.database import open_database

SATURDAY = datetime(2026, 11, 21, 12, 0, tzinfo=ZoneInfo("America/New_York"))
MONDAY, TUESDAY = "2026-11-23", "2026-11-24"
SLOTS = ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
TOOLS = {
    *("identify_user", "fetch_available_slots", "book_appointment", "get_user_appointments"),
    *("modify_appointment", "cancel_appointment", "end_conversation"),
}
Result = Mapping[str, Any]


class Line:
    """Somebody on the line: a session with its caller, and its calls by number."""

    def __init__(self, calendar: Appointments, session_id: str, **options: Any) -> None:
        tools = as_tools(plugins.build("tools", "appointments", options, Env()))
        self.tools = {tool.spec.name: tool for tool in tools}
        self.caller, self.session_id, self.count = Caller(), session_id, 0
        self.now, self.language = SATURDAY, "en"
        self.storage = SimpleNamespace(appointments=calendar)

    async def __call__(self, tool: str, key: str = "", **arguments: Any) -> Result:
        self.count += 1
        context = ToolContext(
            self.session_id,
            lambda: self.now,
            self.language,
            key or f"1.{self.count}",
            self.caller,
            self.storage,
        )
        result = await self.tools[tool].run(arguments, context)
        assert json.loads(json.dumps(result)) == result
        return result

    async def no(self, tool: str, **arguments: Any) -> str:
        """Why it is refused."""
        result = await self(tool, **arguments)
        assert result["ok"] is False
        message = str(result["message"])
        assert re.fullmatch(r"[A-Z¿].*[.?]", message)
        return message


@pytest.fixture
async def calendar() -> AsyncIterator[Appointments]:
    database = await open_database("sqlite+aiosqlite:///:memory:")
    yield Appointments(database)
    await database.aclose()


@pytest.fixture
async def ann(calendar: Appointments) -> Line:
    line = Line(calendar, "ann")
    await line("identify_user", phone_number="555-123-4567", name="Ann")
    return line


@pytest.fixture
async def bob(calendar: Appointments) -> Line:
    line = Line(calendar, "bob")
    await line("identify_user", phone_number="555-765-4321")
    return line


def test_there_are_seven_tools_and_only_goodbye_ends_the_talk(calendar: Appointments) -> None:
    tools = Line(calendar, "x").tools
    assert tools.keys() == TOOLS
    assert {name for name, tool in tools.items() if manners_of(tool).terminal} == {"end_conversation"}
    assert not any(manners_of(tool).confirm for tool in tools.values())
    assert all(manners_of(tool).idempotent for tool in tools.values())
    asking = Line(calendar, "x", confirm=True).tools
    assert {name for name, tool in asking.items() if manners_of(tool).confirm} == {"cancel_appointment"}


def test_the_parameters_are_the_contracts(calendar: Appointments) -> None:
    tools = Line(calendar, "x").tools

    def of(name: str) -> tuple[set[str], set[str]]:
        schema = tools[name].spec.parameters
        return set(schema["properties"]), set(schema.get("required", ()))

    assert of("identify_user") == ({"phone_number", "name"}, {"phone_number"})
    assert of("fetch_available_slots") == ({"date"}, {"date"})
    assert of("book_appointment") == ({"date", "time"}, {"date", "time"})
    assert of("get_user_appointments") == (set(), set())
    moved = {"appointment_id", "new_date", "new_time"}
    assert of("modify_appointment") == (moved, moved)
    assert of("cancel_appointment") == ({"appointment_id"}, {"appointment_id"})
    assert of("end_conversation") == ({"reason"}, set())


async def test_a_new_caller_is_known_the_next_time(calendar: Appointments) -> None:
    first, again = Line(calendar, "1"), Line(calendar, "2")
    known = {"ok": True, "phone_number": "5551234567", "name": "Ann"}
    assert await first("identify_user", phone_number="(555) 123-4567", name=" Ann ") == {
        **known,
        "returning": False,
    }
    assert (first.caller.phone, first.caller.name) == ("5551234567", "Ann")
    assert await again("identify_user", phone_number="+1 555 123 4567") == {**known, "returning": True}
    assert again.caller.name == "Ann"


async def test_a_bad_number_is_refused_and_leaves_the_caller_unknown(calendar: Appointments) -> None:
    line = Line(calendar, "1")
    assert "ten digits" in await line.no("identify_user", phone_number="555 1234")
    assert line.caller.phone == ""
    for tool, arguments in {
        "book_appointment": {"date": MONDAY, "time": "10:00"},
        "get_user_appointments": {},
        "modify_appointment": {"appointment_id": "k7m2p9qa", "new_date": MONDAY, "new_time": "10:00"},
        "cancel_appointment": {"appointment_id": "k7m2p9qa"},
    }.items():
        assert "phone number" in await line.no(tool, **arguments)


async def test_booking_takes_the_slot(ann: Line) -> None:
    booked = await ann("book_appointment", date=MONDAY, time="10:00")
    assert re.fullmatch(r"(?=.*[a-z])(?=.*[0-9])[a-z0-9]{8}", booked["appointment_id"])
    assert {**booked, "appointment_id": ""} == {
        "ok": True,
        "appointment_id": "",
        "date": MONDAY,
        "time": "10:00",
        "status": "booked",
        "name": "Ann",
    }
    free = await ann("fetch_available_slots", date=MONDAY)
    assert free == {"ok": True, "date": MONDAY, "slots": [slot for slot in SLOTS if slot != "10:00"]}
    mine = await ann("get_user_appointments")
    plain = {key: value for key, value in booked.items() if key != "ok"}
    assert mine == {"ok": True, "name": "Ann", "appointments": [plain]}


@pytest.mark.parametrize(
    ("date", "time", "language", "slot"),
    [
        ("monday", "two", "en", (MONDAY, "14:00")),
        ("next Monday", "2 pm", "en", (MONDAY, "14:00")),
        ("the twenty fourth", "nine in the morning", "en", (TUESDAY, "09:00")),
        ("Nov 24th", "14:00", "en", (TUESDAY, "14:00")),
        ("tuesday at eleven", "", "en", (TUESDAY, "11:00")),
        ("el martes", "a las tres de la tarde", "es", (TUESDAY, "15:00")),
        ("tomorrow", "15:00", "es", None),  # a Sunday; the model keeps to English
        ("übermorgen", "10:00", "de", (MONDAY, "10:00")),
        ("24 novembre", "10:00", "fr", (TUESDAY, "10:00")),
    ],
)
async def test_days_and_times_may_be_given_as_they_were_said(
    ann: Line, date: str, time: str, language: str, slot: tuple[str, str] | None
) -> None:
    ann.language = language
    result = await ann("book_appointment", date=date, time=time)
    assert (result.get("date"), result.get("time")) == (slot or (None, None))


@pytest.mark.parametrize(
    ("date", "time", "says"),
    [
        ("2026-11-22", "10:00", "weekend"),
        ("2026-11-20", "10:00", "in the past"),
        (MONDAY, "16:00", "on the hour"),
        (MONDAY, "10:30", "on the hour"),
        ("someday", "10:00", "did not understand the day"),
        (MONDAY, "whenever", "did not understand the time"),
        ("2026-02-30", "10:00", "did not understand the day"),
    ],
)
async def test_what_cannot_be_booked_is_refused_in_a_sentence(
    ann: Line, date: str, time: str, says: str
) -> None:
    assert says in await ann.no("book_appointment", date=date, time=time)


async def test_refusals_are_in_the_callers_language(ann: Line) -> None:
    ann.language = "es-ES"
    assert "fin de semana" in await ann.no("book_appointment", date="mañana", time="10:00")
    assert "fin de semana" in await ann.no("fetch_available_slots", date="2026-11-22")
    assert "ya ha pasado" in await ann.no("fetch_available_slots", date="2026-11-20")


async def test_a_taken_slot_is_refused_with_what_is_free(ann: Line, bob: Line) -> None:
    booked = await ann("book_appointment", date=MONDAY, time="10:00")
    message = await bob.no("book_appointment", date=MONDAY, time="10:00")
    assert "already taken" in message
    assert "11 AM" in message
    assert booked["appointment_id"] in await ann.no("book_appointment", date=MONDAY, time="10:00")
    assert booked["appointment_id"] not in message


async def test_of_two_who_ask_at_the_same_instant_one_gets_it(ann: Line, bob: Line) -> None:
    both = await asyncio.gather(*(who("book_appointment", date=MONDAY, time="10:00") for who in (ann, bob)))
    assert sorted(result["ok"] for result in both) == [False, True]


async def test_moving(ann: Line, bob: Line) -> None:
    mine = await ann("book_appointment", date=MONDAY, time="10:00")
    await bob("book_appointment", date=MONDAY, time="11:00")
    code = mine["appointment_id"]
    taken = await ann.no("modify_appointment", appointment_id=code, new_date=MONDAY, new_time="11:00")
    assert "already taken" in taken
    assert (await ann("get_user_appointments"))["appointments"][0]["time"] == "10:00"
    spelled = " ".join(code.upper())
    moved = await ann("modify_appointment", appointment_id=spelled, new_date=TUESDAY, new_time="nine")
    assert moved == {**mine, "date": TUESDAY, "time": "09:00"}
    assert (await ann("fetch_available_slots", date=MONDAY))["slots"] == [s for s in SLOTS if s != "11:00"]


async def test_cancelling(ann: Line) -> None:
    mine = await ann("book_appointment", date=MONDAY, time="10:00")
    code = mine["appointment_id"]
    assert await ann("cancel_appointment", appointment_id=code) == {**mine, "status": "cancelled"}
    assert "already" in await ann.no("cancel_appointment", appointment_id=code)
    assert (await ann("get_user_appointments"))["appointments"] == []
    assert (await ann("fetch_available_slots", date=MONDAY))["slots"] == SLOTS


async def test_nobody_can_touch_what_is_anothers(ann: Line, bob: Line) -> None:
    code = (await ann("book_appointment", date=MONDAY, time="10:00"))["appointment_id"]
    for wrong in (code, "zzzzzzz9", "what?"):
        assert "cannot find" in await bob.no("cancel_appointment", appointment_id=wrong)
        assert "cannot find" in await bob.no(
            "modify_appointment", appointment_id=wrong, new_date=TUESDAY, new_time="10:00"
        )
    assert (await ann("get_user_appointments"))["appointments"][0]["status"] == "booked"


async def test_what_has_begun_is_over(ann: Line) -> None:
    code = (await ann("book_appointment", date=MONDAY, time="10:00"))["appointment_id"]
    ann.now = datetime(2026, 11, 23, 10, 0, tzinfo=ZoneInfo("America/New_York"))
    assert "can no longer" in await ann.no("cancel_appointment", appointment_id=code)
    assert (await ann("get_user_appointments"))["appointments"] == []
    assert (await ann("fetch_available_slots", date="today"))["slots"] == SLOTS[2:]


async def test_a_call_made_again_after_a_crash_has_the_first_result(ann: Line, bob: Line) -> None:
    booked = await ann("book_appointment", key="7.1", date=MONDAY, time="10:00")
    assert await ann("book_appointment", key="7.1", date=MONDAY, time="10:00") == booked
    code = booked["appointment_id"]
    change = {"appointment_id": code, "new_date": TUESDAY, "new_time": "10:00"}
    moved = await ann("modify_appointment", key="8.1", **change)
    cancelled = await ann("cancel_appointment", key="9.1", appointment_id=code)
    await bob("book_appointment", date=TUESDAY, time="10:00")
    assert await ann("modify_appointment", key="8.1", **change) == moved
    assert await ann("cancel_appointment", key="9.1", appointment_id=code) == cancelled
    assert (await ann("get_user_appointments"))["appointments"] == []


async def test_the_business_has_a_time_zone_of_its_own(calendar: Appointments) -> None:
    line = Line(calendar, "1", timezone="Asia/Tokyo")
    await line("identify_user", phone_number="5551234567")
    line.now = datetime(2026, 11, 23, 20, 30, tzinfo=ZoneInfo("America/New_York"))  # 10:30 on Tuesday there
    assert "in the past" in await line.no("book_appointment", date=TUESDAY, time="10:00")
    assert (await line("book_appointment", date="today", time="11:00"))["date"] == TUESDAY


def test_an_unknown_time_zone_stops_the_start() -> None:
    with pytest.raises(plugins.PluginError, match="timezone = 'Mars/Base' is not a time zone"):
        plugins.build("tools", "appointments", {"timezone": "Mars/Base"}, Env())


async def test_goodbye(calendar: Appointments) -> None:
    line = Line(calendar, "1")
    assert await line("end_conversation") == {"ok": True, "status": "ended"}
    assert (await line("end_conversation", reason="done"))["reason"] == "done"


async def test_what_no_language_calls_a_day_is_none() -> None:
    for text, language in (("", "en"), ("two", "fr"), ("x" * 500, "fr"), ("demain", "klingon")):
        assert await find_date(text, SATURDAY, language) is None
