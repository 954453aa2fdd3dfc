"""The calendar over HTTP, by the same rules as the agent's tools.

A user's own appointments are those of the phone number on their profile and those they booked themselves.
"""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from pipeline import slots
from pipeline.slots import No, sentence
from server.api import Body, Call, Endpoint
from server.limits import Limit
from server.parts import Parts
from server.routes.answers import Paging, not_found
from storage.appointments import Appointment as Row

GUESTS = Limit("appointments booked by guests", "200 per hour")
NO_APPOINTMENT = "There is no such appointment."

Status = Literal["booked", "cancelled"]


def _date(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a date, YYYY-MM-DD")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ValueError("must be a date that the calendar has") from error


def _time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text, re.ASCII):
        raise ValueError("must be a time, HH:MM")
    return text


def _phone(text: str) -> str:
    found = slots.read_phone(text)
    if found is None:
        raise ValueError(f"must be a phone number of {slots.PHONE_DIGITS} digits")
    return found


Day = Annotated[str, AfterValidator(_date), Field(description="YYYY-MM-DD")]
Time = Annotated[str, AfterValidator(_time), Field(description="HH:MM, when it begins")]
Phone = Annotated[str, Field(max_length=40), AfterValidator(_phone)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class Booking(Body):
    """What is asked for."""

    phone_number: Phone
    name: Name = Field("", description="Left out: the one on the profile")
    date: Day
    time: Time


class Move(Body):
    """The new slot; what is not given stays."""

    date: Day | None = None
    time: Time | None = None


class When(BaseModel):
    """Which day."""

    date: Day


class Which(Paging):
    """Which appointments."""

    since: Day | None = Field(None, alias="from", description="The first day")
    until: Day | None = Field(None, alias="to", description="The last day")
    status: Status | Literal["all"] = "booked"


class Appointment(BaseModel):
    """An appointment; `id` and `appointment_id`, the confirmation code, are the same."""

    id: str
    appointment_id: str
    phone_number: str
    name: str
    date: str
    time: str
    status: Status
    created_at: str
    updated_at: str


class Page(BaseModel):
    """Some appointments of all, by their time."""

    items: list[Appointment]
    total: int


class Free(BaseModel):
    """What can be booked on a day."""

    date: str
    slots: list[str]


def appointment_of(row: Row) -> Appointment:
    """An appointment as those see it whose it is."""
    status: Any = row.status
    return Appointment(
        id=row.id,
        appointment_id=row.id,
        phone_number=row.phone,
        name=row.name,
        date=row.date,
        time=row.time,
        status=status,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


class Desk:
    """What is done with the calendar."""

    def __init__(self, parts: Parts) -> None:
        self._calendar, self._limiter = parts.appointments, parts.limiter
        timezone = parts.config.tools.options_of("appointments").get("timezone")
        self._zone = ZoneInfo(timezone) if timezone else None

    def _now(self) -> datetime:
        return slots.local_now(datetime.now().astimezone(), self._zone)

    async def book(self, call: Call) -> Appointment:
        body, user = call.body, call.who.user
        if user is None:
            await self._limiter.hit(GUESTS, call.address)
        self._refuse(body.date, body.time)
        # Not the name that the calendar knows: who only knows a number must not learn whose it is.
        name = body.name or (user.display_name if user else "")
        made = await self._calendar.book(
            body.phone_number, body.date, body.time, name=name, user_id=user.id if user else None
        )
        if made is None:
            raise await self._taken(body.date, body.time)
        await self._calendar.remember(body.phone_number, body.name)
        return appointment_of(made)

    async def list(self, call: Call) -> Page:
        query, user = call.query, call.who.user
        assert user is not None
        rows, total = await self._calendar.list(
            query.limit,
            query.offset,
            phone=None if user.is_admin else user.phone,
            user_id=None if user.is_admin else user.id,
            since=query.since or "",
            until=query.until or "",
            status=None if query.status == "all" else query.status,
        )
        return Page(items=[appointment_of(row) for row in rows], total=total)

    async def one(self, call: Call) -> Appointment:
        return appointment_of(await self._own(call))

    async def move(self, call: Call) -> Appointment:
        row, body = await self._own(call), call.body
        self._refuse_over(row)
        day, at = body.date or row.date, body.time or row.time
        self._refuse(day, at)
        try:
            moved = await self._calendar.move(row.id, day, at)
        except LookupError as error:  # cancelled meanwhile
            raise HTTPException(409, sentence(No.CANCELLED)) from error
        if moved is None:
            raise await self._taken(day, at)
        return appointment_of(moved)

    async def cancel(self, call: Call) -> None:
        row = await self._own(call)
        if row.status != "cancelled":
            self._refuse_over(row)
            try:
                await self._calendar.cancel(row.id)
            except LookupError:
                return  # somebody else was quicker

    async def free(self, call: Call) -> Free:
        day = call.query.date
        taken = await self._calendar.taken(day, day)
        free = slots.free_slots(date.fromisoformat(day), self._now(), {time for _, time in taken})
        return Free(date=day, slots=free)

    async def _own(self, call: Call) -> Row:
        user = call.who.user
        assert user is not None
        code = slots.read_code(call.path["appointment_id"])
        row = await self._calendar.get(code) if code else None
        if row is None or not (
            user.is_admin or row.user_id == user.id or (user.phone and row.phone == user.phone)
        ):
            raise not_found(NO_APPOINTMENT)
        return row

    def _refuse(self, day: str, at: str) -> None:
        if no := slots.why_not(date.fromisoformat(day), at, self._now()):
            said = "" if no is No.WEEKEND else at
            raise HTTPException(422, sentence(no, day=date.fromisoformat(day), at=said))

    def _refuse_over(self, row: Row) -> None:
        day = date.fromisoformat(row.date)
        if row.status == "cancelled":
            raise HTTPException(409, sentence(No.CANCELLED))
        if slots.is_past(day, row.time, self._now()):
            raise HTTPException(409, sentence(No.OVER, day=day, at=row.time))

    async def _taken(self, day: str, at: str) -> HTTPException:
        taken = await self._calendar.taken(day, day)
        free = slots.free_slots(date.fromisoformat(day), self._now(), {time for _, time in taken})
        return HTTPException(409, slots.taken("en", date.fromisoformat(day), at, free))


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/appointments`."""
    desk = Desk(parts)

    def route(
        method: Any, path: str, handler: Any, summary: str, needs: Any = "user", **more: Any
    ) -> Endpoint:
        where = f"/api/appointments{path}"
        return Endpoint(method, where, handler, summary, "Appointments", needs, **more)

    example = {"phone_number": "555-123-4567", "name": "Ann", "date": "2026-11-24", "time": "10:00"}
    made = {"body": Booking, "answers": Appointment, "status": 201, "example": example, "errors": (409, 429)}
    moved = {"body": Move, "answers": Appointment, "example": {"time": "11:00"}, "errors": (404, 409)}
    code = "/{appointment_id}"
    return parts.gate.routes(
        [
            route("POST", "", desk.book, "Book an appointment", "anyone", **made),
            route(
                "GET", "", desk.list, "My appointments; an administrator's: all", query=Which, answers=Page
            ),
            route("GET", "/slots", desk.free, "What is free on a day", "nobody", query=When, answers=Free),
            route("GET", code, desk.one, "One appointment", answers=Appointment, errors=(404,)),
            route("PATCH", code, desk.move, "Move an appointment", **moved),
            route("DELETE", code, desk.cancel, "Cancel an appointment", status=204, errors=(404, 409)),
        ]
    )
