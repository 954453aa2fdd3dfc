"""The tools of the appointment desk: who calls, what is free, book, look up, move, cancel, say goodbye.

The calendar is `context.storage.appointments`; its rules are in `pipeline.slots`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Protocol
from zoneinfo import ZoneInfo

from pipeline import slots
from pipeline.contracts import Env, Tool, ToolContext
from pipeline.slots import (
    No,
    free_slots,
    is_past,
    local_now,
    read_code,
    read_phone,
    sentence,
    slots_of,
    why_not,
)
from pipeline.tool import FunctionTool, Refused, tool
from pipeline.tools.appointments_phrases import AVAILABLE, BOOK, CANCEL, GOODBYE, MOVE, VIEW
from pipeline.tools.when import find_date
from pipeline.when import read_time

LONGEST_NAME = 200
MOST_TOLD = 100
"""Appointments of one caller: more than anybody has."""
WAIT = {"en": "One moment, please.", "es": "Un momento, por favor."}
DAY_HINT = "The day as YYYY-MM-DD, or in the caller's words"
TIME_HINT = "When it begins as HH:MM, 24 hours, or in the caller's words"
CODE_HINT = "The confirmation code: 8 letters and digits"


@dataclass(frozen=True, slots=True)
class Options:
    """`[tools.appointments]`."""

    timezone: str = ""
    """The business's time zone, such as "Europe/Madrid"; "" = the server's own."""
    confirm: bool = False
    """Ask before an appointment is cancelled."""

    def __post_init__(self) -> None:
        _zone(self.timezone)


class Booked(Protocol):
    """An appointment, as the calendar has it."""

    @property
    def id(self) -> str: ...
    @property
    def phone(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def date(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def status(self) -> str: ...


class Calendar(Protocol):
    """What is asked of the storage. `call` says which call this is, so that it is done once."""

    def book(
        self,
        phone: str,
        date: str,
        time: str,
        *,
        name: str = "",
        user_id: str | None = None,
        session_id: str | None = None,
        call: tuple[str, str] | None = None,
    ) -> Awaitable[Booked | None]:
        """None if the slot is taken."""

    def move(
        self, appointment_id: str, date: str, time: str, *, call: tuple[str, str] | None = None
    ) -> Awaitable[Booked | None]:
        """None if the new slot is taken. Raises LookupError for what is not booked."""

    def cancel(self, appointment_id: str, *, call: tuple[str, str] | None = None) -> Awaitable[Booked]:
        """Raises LookupError for what is not booked."""

    def done(self, call: tuple[str, str]) -> Awaitable[Booked | None]:
        """What came of a call that was made before."""

    def get(self, appointment_id: str) -> Awaitable[Booked | None]: ...

    def list(
        self, limit: int = 20, offset: int = 0, *, phone: str | None = None, since: str = ""
    ) -> Awaitable[tuple[Sequence[Booked], int]]: ...

    def taken(self, since: str, until: str) -> Awaitable[set[tuple[str, str]]]: ...

    def caller(self, phone: str) -> Awaitable[str | None]: ...

    def remember(self, phone: str, name: str = "") -> Awaitable[None]: ...


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # as in the tool `clock`
        raise ValueError(
            f"timezone = {name!r} is not a time zone; write one such as 'Europe/Madrid'"
        ) from error


@dataclass(frozen=True, slots=True)
class Desk:
    """One call at the desk: the context, seen the way the tools need it."""

    context: ToolContext
    now: datetime
    """The business's local time, without a zone."""

    @property
    def calendar(self) -> Calendar:
        found: Calendar = self.context.storage.appointments
        return found

    @property
    def call(self) -> tuple[str, str] | None:
        """What keeps an effect from happening twice."""
        return (self.context.session_id, self.context.key) if self.context.key else None

    def refused(self, no: No, **about: Any) -> Refused:
        return Refused(sentence(no, self.context.language, **about))

    @property
    def phone(self) -> str:
        """Who calls. Raises `Refused`."""
        if not self.context.caller.phone:
            raise self.refused(No.CALLER)
        return self.context.caller.phone

    async def day(self, text: str) -> date:
        """Raises `Refused`."""
        found = await find_date(text, self.now, self.context.language)
        if found is None:
            raise self.refused(No.DATE)
        return found

    async def slot(self, day_text: str, time_text: str) -> tuple[date, str]:
        """A day and a time at which something could be booked. Raises `Refused`."""
        day = await self.day(day_text)
        time = read_time(time_text, self.context.language) or read_time(time_text, "en")
        if time is None:  # "tomorrow at two" may be all in the first
            time = read_time(day_text, self.context.language)
        if time is None:
            raise self.refused(No.TIME)
        at = time.strftime("%H:%M")
        if no := why_not(day, at, self.now):
            raise self.refused(no, day=day, at="" if no is No.WEEKEND else at)
        return day, at

    async def free(self, day: date) -> list[str]:
        booked = await self.calendar.taken(day.isoformat(), day.isoformat())
        return free_slots(day, self.now, {time for _, time in booked})

    async def taken(self, day: date, at: str) -> Refused:
        """Why the caller cannot have a slot: because they have it, or somebody else does."""
        said = day.isoformat()
        mine, _ = await self.calendar.list(MOST_TOLD, 0, phone=self.phone, since=said)
        for one in mine:
            if (one.date, one.time) == (said, at):
                return self.refused(No.YOURS, day=day, at=at, code=one.id)
        return Refused(slots.taken(self.context.language, day, at, await self.free(day)))

    async def done(self) -> dict[str, str] | None:
        """The result of this very call, if it was made before a crash."""
        found = await self.calendar.done(self.call) if self.call else None
        return _told(found) if found else None

    async def own(self, code_text: str) -> Booked:
        """The caller's appointment with that code, if it is still to come. Raises `Refused`."""
        phone, code = self.phone, read_code(code_text)
        found = await self.calendar.get(code) if code else None
        if found is None or found.phone != phone:
            raise self.refused(No.UNKNOWN, code=code or code_text.strip()[:40])
        day = date.fromisoformat(found.date)
        if found.status != "booked":
            raise self.refused(No.CANCELLED)
        if is_past(day, found.time, self.now):
            raise self.refused(No.OVER, day=day, at=found.time)
        return found


def _told(one: Booked) -> dict[str, str]:
    return {
        "appointment_id": one.id,
        "date": one.date,
        "time": one.time,
        "status": one.status,
        "name": one.name,
    }


def create(options: Options, env: Env) -> Sequence[Tool]:  # noqa: ARG001  (no key is needed)
    """The seven tools."""
    return _tools(options)


@cache
def _tools(options: Options) -> Sequence[Tool]:
    zone = _zone(options.timezone)

    def at_desk(context: ToolContext) -> Desk:
        return Desk(context, local_now(context.now(), zone))

    identify, goodbye = _people(at_desk)
    bookings = _bookings(at_desk, confirm=options.confirm)
    return (identify, *(one.in_timezone(options.timezone) for one in bookings), goodbye)


def _people(at_desk: Callable[[ToolContext], Desk]) -> tuple[Tool, Tool]:
    @tool(idempotent=True, speaks_while_running=WAIT)
    async def identify_user(
        context: ToolContext,
        phone_number: Annotated[str, "Ten digits"],
        name: Annotated[str, "The caller's name, if it was said"] = "",
    ) -> Mapping[str, Any]:
        """Say who is calling, by phone number. Needed before anything is booked, looked up or changed."""
        desk = at_desk(context)
        phone = read_phone(phone_number)
        if phone is None:
            raise desk.refused(No.PHONE)
        name = " ".join(name.split())[:LONGEST_NAME]
        known = await desk.calendar.caller(phone)
        await desk.calendar.remember(phone, name)
        context.caller.phone, context.caller.name = phone, name or known or ""
        return {"phone_number": phone, "name": context.caller.name, "returning": known is not None}

    @tool(terminal=True, idempotent=True, phrases=GOODBYE)
    async def end_conversation(
        reason: Annotated[str, "Why it ends, in a few words"] = "",
    ) -> Mapping[str, Any]:
        """End the conversation, when the caller has said goodbye or wants nothing more."""
        return {"status": "ended", **({"reason": reason} if reason else {})}

    return identify_user, end_conversation


def _bookings(at_desk: Callable[[ToolContext], Desk], *, confirm: bool) -> list[FunctionTool]:
    @tool(idempotent=True, speaks_while_running=WAIT, phrases=AVAILABLE)
    async def fetch_available_slots(
        context: ToolContext, date: Annotated[str, DAY_HINT]
    ) -> Mapping[str, Any]:
        """Which appointments are free on a day."""
        desk = at_desk(context)
        day = await desk.day(date)
        if day < desk.now.date():
            raise desk.refused(No.PAST, day=day)
        if not slots_of(day):
            raise desk.refused(No.WEEKEND, day=day)
        return {"date": day.isoformat(), "slots": await desk.free(day)}

    @tool(idempotent=True, speaks_while_running=WAIT, phrases=BOOK)
    async def book_appointment(
        context: ToolContext, date: Annotated[str, DAY_HINT], time: Annotated[str, TIME_HINT]
    ) -> Mapping[str, Any]:
        """Book an appointment for the caller. Tell them the confirmation code (appointment_id)."""
        desk, caller = at_desk(context), context.caller
        if done := await desk.done():
            return done
        phone = desk.phone
        day, at = await desk.slot(date, time)
        made = await desk.calendar.book(
            phone,
            day.isoformat(),
            at,
            name=caller.name,
            user_id=caller.user_id,
            session_id=context.session_id,
            call=desk.call,
        )
        if made is None:
            raise await desk.taken(day, at)
        return _told(made)

    @tool(idempotent=True, speaks_while_running=WAIT, phrases=VIEW)
    async def get_user_appointments(context: ToolContext) -> Mapping[str, Any]:
        """The caller's appointments that are still to come."""
        desk = at_desk(context)
        since = desk.now.date().isoformat()
        found, _ = await desk.calendar.list(MOST_TOLD, 0, phone=desk.phone, since=since)
        coming = [one for one in found if not is_past(date.fromisoformat(one.date), one.time, desk.now)]
        return {"name": context.caller.name, "appointments": [_told(one) for one in coming]}

    @tool(idempotent=True, speaks_while_running=WAIT, phrases=MOVE)
    async def modify_appointment(
        context: ToolContext,
        appointment_id: Annotated[str, CODE_HINT],
        new_date: Annotated[str, DAY_HINT],
        new_time: Annotated[str, TIME_HINT],
    ) -> Mapping[str, Any]:
        """Move one of the caller's appointments to another day or time."""
        desk = at_desk(context)
        if done := await desk.done():
            return done
        found = await desk.own(appointment_id)
        day, at = await desk.slot(new_date, new_time)
        try:
            moved = await desk.calendar.move(found.id, day.isoformat(), at, call=desk.call)
        except LookupError:  # cancelled meanwhile
            raise desk.refused(No.CANCELLED) from None
        if moved is None:
            raise await desk.taken(day, at)
        return _told(moved)

    @tool(idempotent=True, speaks_while_running=WAIT, phrases=CANCEL)
    async def cancel_appointment(
        context: ToolContext, appointment_id: Annotated[str, CODE_HINT]
    ) -> Mapping[str, Any]:
        """Cancel one of the caller's appointments."""
        desk = at_desk(context)
        if done := await desk.done():
            return done
        found = await desk.own(appointment_id)
        try:
            return _told(await desk.calendar.cancel(found.id, call=desk.call))
        except LookupError:
            raise desk.refused(No.CANCELLED) from None

    cancelling: FunctionTool = cancel_appointment.with_manners(confirm=confirm)
    return [fetch_available_slots, book_appointment, get_user_appointments, modify_appointment, cancelling]
