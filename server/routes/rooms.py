"""Rooms: what a client of LiveKit asks its server for. A room is a named session of whoever asks for it; a
token opens that one session at `/ws/voice` and reads what becomes of it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from starlette.routing import BaseRoute

from pipeline.gist import person, summarized
from server.api import Body, Call, Endpoint, unauthorized
from server.limits import Limit
from server.lobby import Unknown
from server.parts import Parts
from server.retention import TOKEN
from server.routes.answers import not_found
from storage.ids import valid_session_id
from storage.times import iso

TOKEN_S = int(TOKEN.total_seconds())
"""How long a token opens a session that nobody has come to yet."""
TOKENS = Limit("room tokens", "60 per minute")
NO_ROOM = "There is no such room."
NO_SESSION = "There is no such session."


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=128),
    AfterValidator(_printable),
]


class TokenQuery(BaseModel):
    """Which room, and who comes into it."""

    room: Name
    identity: Name
    name: Name | None = Field(None, description="How the participant is called; else the identity")


class TokenBody(Body):
    room_name: Name
    participant_name: Name


class RoomBody(Body):
    room: Name
    identity: Name
    system_prompt: str | None = Field(None, max_length=32_000)


class RoomToken(BaseModel):
    """A token for a room, and the socket that it opens: `url` is complete."""

    token: str
    session_id: str
    room_name: str
    participant_name: str
    identity: str
    url: str
    expires_at: str


class Line(BaseModel):
    """Something that was said."""

    role: Literal["user", "assistant"]
    content: str
    time: str | None


class Appointment(BaseModel):
    """An appointment that came up in a talk."""

    action: str = Field(description="booked, modified, cancelled, or viewed: it was only looked up")
    date: str
    time: str
    appointment_id: str


class RoomSummary(BaseModel):
    """What became of a room's latest talk; of one that is going on, what it amounts to so far."""

    type: Literal["summary"] = "summary"
    session_id: str
    room_name: str | None
    summary: str
    appointments_discussed: list[Appointment]
    preferences_mentioned: list[str]
    cost_breakdown: dict[str, float]
    duration_seconds: float
    transcript: list[Line]
    user_name: str | None
    user_phone: str | None


class _Routes:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # -- tokens --------------------------------------------------------------------------------------------

    async def token(self, call: Call) -> RoomToken:
        query = call.query
        return await self._token(call, query.room, query.identity, query.name or query.identity)

    async def token_of_body(self, call: Call) -> RoomToken:
        body = call.body
        return await self._token(call, body.room_name, body.participant_name, body.participant_name)

    async def open(self, call: Call) -> RoomToken:
        """A new session in that room; the tokens that are asked for from now on are for it."""
        self._refuse_strangers(call)
        body = call.body
        row = await self._new(call, body.room, body.identity, body.identity, body.system_prompt)
        return self._answer(call, row, body.identity, body.identity)

    async def _token(self, call: Call, room: str, identity: str, name: str) -> RoomToken:
        """A token for the room's session: the one that is there, else a new one. Who cannot be told from
        others (no login, no cookie) always gets one of his own."""
        self._refuse_strangers(call)
        row = await self._parts.talks.of_room(room, call.who.owner) if call.who.owner else None
        if row is None or row["ended_at"] or not await self._is_open(row):
            row = await self._new(call, room, identity, name, None)
        return self._answer(call, row, identity, name)

    async def _is_open(self, row: Any) -> bool:
        """Nobody has come to it yet, but may, or it is going on, here or at another worker."""
        if not row["started_at"]:  # an older one is forgotten before a new token for it would be dead
            return bool(row["created_at"] > iso(datetime.now(UTC) - TOKEN))
        if self._parts.sessions.get(row["id"]) is not None:
            return True
        talk = await self._parts.conversations.get(row["id"])
        return talk is not None and talk["end_time"] is None

    def _refuse_strangers(self, call: Call) -> None:
        if call.who.user is None and not self._parts.gate.guests:
            raise unauthorized("Log in first: guests are not allowed here.")

    async def _new(self, call: Call, room: str, identity: str, name: str, prompt: str | None) -> Any:
        who = call.who
        return await self._parts.talks.create(
            self._parts.sessions.new_id(),
            who.owner or None,
            user_id=who.user.id if who.user else None,
            room_name=room,
            participant=identity,
            participant_name=name,
            session_prompt=prompt,
        )

    def _answer(self, call: Call, row: Any, identity: str, name: str) -> RoomToken:
        token = self._parts.keys.room_token(row["id"], identity, TOKEN_S)
        url, public = call.request.url, self._parts.config.server.public_url.rstrip("/")
        base = public or f"{url.scheme}://{url.netloc}"
        return RoomToken(
            token=token,
            session_id=row["id"],
            room_name=row["room_name"],
            participant_name=name,
            identity=identity,
            url=f"ws{base.removeprefix('http')}/ws/voice?token={quote(token)}",
            expires_at=iso(datetime.now(UTC) + timedelta(seconds=TOKEN_S)),
        )

    # -- sessions ------------------------------------------------------------------------------------------

    async def close(self, call: Call) -> None:
        """The session ends and nobody can come into it any more. What was said is kept; it is deleted with
        `DELETE /sessions/{session_id}`."""
        try:
            row = await self._parts.lobby.find(call.path["session_id"], call.who, to_act=True)
        except Unknown:
            raise not_found(NO_SESSION) from None
        await self._parts.lobby.end(row["id"], "the room was closed")

    async def summary(self, call: Call) -> RoomSummary:
        """Of the room's latest session: the caller's own, or the one that the token is for. A session id
        does in place of a room's name."""
        row = await self._row(call, call.path["room"])
        session_id = row["id"]
        stored = await self._parts.archive.conversation(session_id) or {}
        live = self._parts.sessions.get(session_id)
        messages = list(live.minutes.messages if live else stored.get("messages", ()))
        name, phone = await self._person(row, messages)
        language = live.setup.language if live else stored.get("language") or "en"
        told = stored if stored.get("summary") and not live else summarized(messages, language).told()
        return RoomSummary(
            session_id=session_id,
            room_name=row["room_name"],
            summary=told["summary"],
            appointments_discussed=told.get("appointments_discussed") or [],
            preferences_mentioned=told.get("preferences_mentioned") or [],
            cost_breakdown=live.minutes.bill.totals if live else stored.get("cost_breakdown") or NO_COST,
            duration_seconds=stored.get("duration_seconds") or 0.0,
            transcript=[
                Line(role=m["role"], content=str(m["content"]), time=m.get("time"))
                for m in messages
                if m["role"] in ("user", "assistant")
            ],
            user_name=name,
            user_phone=phone,
        )

    async def _row(self, call: Call, room: str) -> Any:
        who = call.who
        if valid_session_id(room):
            wanted = room
        elif who.session_id:
            wanted = who.session_id
        else:
            latest = await self._parts.talks.of_room(room, who.owner) if who.owner else None
            wanted = latest["id"] if latest else ""
        try:
            row = await self._parts.lobby.find(wanted, who)
        except Unknown:
            raise not_found(NO_ROOM) from None
        if room not in (row["id"], row["room_name"]):
            raise not_found(NO_ROOM)
        return row

    async def _person(self, row: Any, messages: list[Any]) -> tuple[str | None, str | None]:
        """Name and phone: what the caller told the agent, else what the account says, else the token."""
        name, phone = row.get("participant_name"), None
        if row["user_id"] and (user := await self._parts.accounts.get(row["user_id"])):
            name, phone = user.display_name or name, user.phone
        said_name, said_phone = person(messages)
        return said_name or name, said_phone or phone


NO_COST = {"stt_cost": 0.0, "llm_cost": 0.0, "tts_cost": 0.0, "total_cost": 0.0}


def routes(parts: Parts) -> list[BaseRoute]:
    """`/token`, `/session` and `/summary`."""
    handlers = _Routes(parts)

    def route(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        options: dict[str, Any] = {"needs": "anyone", **more}
        return Endpoint(method, path, handler, summary, "Rooms", **options)

    token: dict[str, Any] = {"answers": RoomToken, "limit": TOKENS, "errors": (401,)}
    asked = {"room_name": "kitchen", "participant_name": "Ann"}
    made = {"room": "kitchen", "identity": "ann", "system_prompt": "You are a cook."}
    ends: dict[str, Any] = {"status": 204, "errors": (404,), "at_session": True}
    return parts.gate.routes(
        [
            route("GET", "/token", handlers.token, "A token for a room", query=TokenQuery, **token),
            route(
                "POST",
                "/token",
                handlers.token_of_body,
                "A token for a room",
                body=TokenBody,
                example=asked,
                **token,
            ),
            route(
                "POST",
                "/session",
                handlers.open,
                "A new session in a room",
                body=RoomBody,
                status=201,
                example=made,
                **token,
            ),
            route("DELETE", "/session/{session_id}", handlers.close, "End a room's session", **ends),
            route(
                "GET",
                "/summary/{room:path}",
                handlers.summary,
                "What became of a room's talk",
                answers=RoomSummary,
                errors=(404,),
            ),
        ]
    )
