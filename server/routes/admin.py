"""What administrators see and do: users, sessions, usage. Never what was said by whom: that is asked for one
talk at a time, as its owner asks for it."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from pipeline.session import Session
from server.api import Body, Call, Endpoint
from server.parts import Parts
from server.routes.accounts import Account
from server.routes.answers import Paging, not_found
from server.routes.history import Moment, last_moment
from storage.accounts import LastAdmin, User
from storage.times import iso, parse

DAYS = 30
"""Of usage that are shown when nobody says which."""
NOT_ALLOWED = 1008
NO_USER = "There is no such user."

State = Literal["live", "open", "planned", "over"]


class Search(Paging):
    """Which users."""

    q: str = Field("", max_length=200, description="A part of the email, username or name")


class SeenUser(Account):
    """An account, as administrators see it."""

    is_disabled: bool
    has_password: bool
    last_login_at: str | None
    live_talks: int
    """In the server process that was asked."""


class Users(BaseModel):
    items: list[SeenUser]
    total: int


class Role(Body):
    """Fields that are not given stay as they are."""

    is_disabled: bool | None = Field(None, description="true also ends all logins and live talks")
    is_admin: bool | None = None


class Which(Paging):
    """Whose sessions."""

    user_id: str | None = Field(None, max_length=64)


class SeenSession(BaseModel):
    """A session, as administrators see it."""

    session_id: str | None
    """Not told of a guest's: whoever knows it can read the talk."""
    user_id: str | None
    email: str | None
    agent_id: str | None
    room_name: str | None
    state: State
    """`live` here; `open`: not ended, in another worker or after a crash; `planned`: nobody has come yet."""
    created_at: str
    ended_at: str | None
    turns: int
    duration_seconds: float
    total_cost: float


class SeenSessions(BaseModel):
    items: list[SeenSession]
    total: int
    live: int
    """Talks that go on in the server process that was asked."""
    attached: int
    """Those of them whose client is connected."""


class Span(Paging):
    """Which days; the last 30 if none are named."""

    since: Moment | None = Field(None, alias="from", description="The first day, or time (UTC)")
    until: Moment | None = Field(None, alias="to", description="The last day, or the time before which (UTC)")


class UserDay(BaseModel):
    """What one user did on one day; all guests together have no id."""

    date: str
    user_id: str | None
    email: str | None
    talks: int
    utterances: int
    minutes: float
    cost: float


class Provider(BaseModel):
    """What one provider's model did, and what it cost."""

    stage: str
    provider: str
    model: str
    requests: int
    failed: int
    units: float
    price: float
    wasted: float
    """The part of `price` that went into guesses which nobody heard."""


class UsageOfAll(BaseModel):
    items: list[UserDay]
    total: int
    since: str = Field(alias="from")
    until: str = Field(alias="to")
    providers: list[Provider]


class Desk:
    """Where an administrator sits."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def users(self, call: Call) -> Users:
        query: Search = call.query
        found, total = await self._parts.accounts.list(query.limit, query.offset, text=query.q.strip())
        return Users(items=[self._seen(user) for user in found], total=total)

    async def change(self, call: Call) -> SeenUser:
        """Raises 404, 409."""
        body: Role = call.body
        user_id, parts = call.path["id"], self._parts
        if await parts.accounts.get(user_id) is None:
            raise not_found(NO_USER)
        try:
            user = await parts.accounts.set_role(
                user_id, is_admin=body.is_admin, is_disabled=body.is_disabled
            )
        except LastAdmin as error:
            raise HTTPException(
                409, "Nobody else could administer: this is the last administrator."
            ) from error
        if user is None:
            raise not_found(NO_USER)
        if user.is_disabled:
            await parts.credentials.revoke_all(user.id)
            for session in self._live_of(user):
                await session.end("the account is disabled", NOT_ALLOWED)
        return self._seen(user)

    async def sessions(self, call: Call) -> SeenSessions:
        query: Which = call.query
        rows, total = await self._parts.overview.sessions(query.limit, query.offset, user_id=query.user_id)
        live = list(self._parts.sessions)
        return SeenSessions(
            items=[self._seen_session(row) for row in rows],
            total=total,
            live=len(live),
            attached=sum(session.attached for session in live),
        )

    async def usage(self, call: Call) -> UsageOfAll:
        query: Span = call.query
        until = last_moment(query.until) or iso(datetime.now(UTC) + timedelta(seconds=1))
        end = parse(until)
        assert end is not None
        start = parse(query.since)
        since = iso(start if start else end - timedelta(days=DAYS))
        days, total = await self._parts.overview.days(since, until, query.limit, query.offset)
        sums = await self._parts.usage.by_provider(since, until)
        return UsageOfAll.model_validate(
            {
                "items": [asdict(day) for day in days],
                "total": total,
                "from": since,
                "to": until,
                "providers": [asdict(one) for one in sums],
            }
        )

    def _seen(self, user: User) -> SeenUser:
        known = {name: getattr(user, name) for name in SeenUser.model_fields if hasattr(user, name)}
        has_password = user.password_hash is not None
        return SeenUser(**known, has_password=has_password, live_talks=len(self._live_of(user)))

    def _live_of(self, user: User) -> list[Session]:
        sessions = self._parts.sessions
        return [session for session in sessions if sessions.owner_of(session.id) == user.owner]

    def _seen_session(self, row: dict[str, Any]) -> SeenSession:
        state: State = "open"
        if row["ended_at"]:
            state = "over"
        elif self._parts.sessions.get(row["session_id"]):
            state = "live"
        elif not row["has_begun"]:
            state = "planned"
        known = {name: row[name] for name in SeenSession.model_fields if name in row}
        if row["user_id"] is None:
            known["session_id"] = None
        return SeenSession(**known, state=state, duration_seconds=row["duration_s"])


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/admin`."""
    desk = Desk(parts)

    def get(path: str, handler: Any, summary: str, query: Any, answers: Any) -> Endpoint:
        return Endpoint(
            "GET", path, handler, summary, "Administration", "admin", query=query, answers=answers
        )

    return parts.gate.routes(
        [
            get("/api/admin/users", desk.users, "Everybody with an account", Search, Users),
            Endpoint(
                "PATCH",
                "/api/admin/users/{id}",
                desk.change,
                "Make or unmake an administrator; disable or enable an account",
                "Administration",
                "admin",
                body=Role,
                answers=SeenUser,
                errors=(404, 409),
                example={"is_disabled": True},
            ),
            get("/api/admin/sessions", desk.sessions, "Everybody's sessions", Which, SeenSessions),
            get("/api/admin/usage", desk.usage, "Who talked how much; what providers did", Span, UsageOfAll),
        ]
    )
