"""Sessions over REST: made ahead of a talk, joined, talked in by text, changed in mid-talk, ended.

A guest's session is its id: whoever knows it may do everything here. A user's wants that user.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute

from pipeline.setup import Channels
from server.api import Body, Call, Endpoint, unauthorized
from server.exchange import MOST_CHARS
from server.lobby import Unknown
from server.parts import Parts
from server.plans import MOST_PROMPT_CHARS, NoAgent, channels_of, of_row
from server.routes.agents import NO_AGENT, Prompt, Prompts
from server.routes.answers import Paging, not_found
from server.routes.turns import HAS_ENDED, NO_SESSION, live, typed
from storage.times import iso

TOKEN_S = 3600
"""How long a token opens a session that nobody has come to yet."""


def _tellable(context: Any) -> Any:
    """JSON that a model can be told and a database takes: no NaN, no half characters, not too long."""
    try:
        told = json.dumps(context, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError("holds what is not JSON: NaN, half a character, or too deep") from error
    if len(told) > MOST_PROMPT_CHARS:
        raise ValueError(f"is longer than {MOST_PROMPT_CHARS} bytes of JSON")
    return context


Context = dict[str, Any] | list[Any] | str
GivenContext = Annotated[Context, AfterValidator(_tellable)]


class NewSession(Body):
    agent_id: str | None = Field(None, max_length=64)
    mode: Channels = "both"
    session_prompt: Prompt | None = None
    conversation_context: GivenContext | None = Field(
        None, description="What the agent is to know from before"
    )
    context_prompts: Prompts | None = None
    room_name: str | None = Field(None, min_length=1, max_length=200)


class SessionChange(Body):
    """What is given is changed, all else stays."""

    mode: Channels | None = None
    session_prompt: Prompt | None = None
    conversation_context: GivenContext | None = None
    context_prompts: Prompts | None = None
    room_name: str | None = Field(None, min_length=1, max_length=200)


class Message(Body):
    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARS)]


class NewPrompt(Body):
    new_prompt: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_PROMPT_CHARS)
    ]


class Session(BaseModel):
    """A session. `id` and `session_id` are the same."""

    id: str
    session_id: str
    user_id: str | None
    agent_id: str | None
    room_name: str | None
    mode: Channels
    session_prompt: str | None
    conversation_context: Context
    context_prompts: list[str]
    is_active: bool
    created_at: str
    ended_at: str | None


class Entrance(Session):
    """A session and how to get into it: `ws_url` with `?token=` or, for programs, the token as bearer."""

    ws_url: str
    token: str
    expires_at: str


class SessionPage(BaseModel):
    items: list[Session]
    total: int


class Reply(BaseModel):
    """What the agent answered."""

    session_id: str
    turn: int
    message: str
    response: str
    response_id: str
    interrupted: bool


def session_of(row: Any) -> dict[str, Any]:
    """A session's row as it is shown."""
    shown = {name: row[name] for name in Session.model_fields if name != "session_id"}
    return {**shown, "session_id": row["id"]}


def ws_url(request: Request, public_url: str, session_id: str) -> str:
    """Where the session's socket is, as the caller sees this server."""
    base = public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"
    return f"ws{base.removeprefix('http')}/ws/voice?session_id={session_id}"


class _Routes:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._lobby = parts, parts.lobby

    # -- making, reading, deleting -------------------------------------------------------------------------

    async def create(self, call: Call) -> Session:
        body, who = call.body, call.who
        if who.user is None and not self._parts.gate.guests:
            raise unauthorized("Log in first: guests are not allowed here.")  # a room's token is for a room
        if body.agent_id:
            try:
                agent = await self._parts.plans.agent(who, body.agent_id)
            except NoAgent:
                raise not_found(NO_AGENT) from None
            _refuse_silence(agent, body.mode)
        row = await self._parts.talks.create(
            self._parts.sessions.new_id(),
            who.owner or None,
            user_id=who.user.id if who.user else None,
            agent_id=body.agent_id or None,
            **_values(body, "mode", "session_prompt", "conversation_context", "context_prompts", "room_name"),
        )
        return Session(**session_of(row))

    async def listed(self, call: Call) -> SessionPage:
        if call.who.user is None:  # a guest's session is in no list
            return SessionPage(items=[], total=0)
        rows, total = await self._parts.talks.list(call.who.owner, call.query.limit, call.query.offset)
        return SessionPage(items=[Session(**session_of(row)) for row in rows], total=total)

    async def one(self, call: Call) -> Session:
        return Session(**session_of(await self._found(call, to_act=False)))

    async def change(self, call: Call) -> Session:
        row = dict(await self._found(call))
        if row["ended_at"]:
            raise HTTPException(409, HAS_ENDED)
        agent = await self._agent(row)
        new = _values(call.body, *SessionChange.model_fields)
        if agent is not None:
            _refuse_silence(agent, new.get("mode", row["mode"]))
        row |= new
        if session := self._parts.sessions.get(row["id"]):
            told = of_row(row, await self._parts.plans.context(row)) if _says_more(new) else {}
            if "mode" in new:
                told["channels"] = channels_of(agent, new["mode"]) if agent else new["mode"]
            session.change(**told)
        if new:
            await self._parts.talks.change(row["id"], **new)
        return Session(**session_of(row))

    async def delete(self, call: Call) -> None:
        """The session with all that was said in it."""
        session_id = (await self._found(call))["id"]
        if session := self._parts.sessions.get(session_id):
            await session.end("deleted")
        await self._parts.archive.delete(session_id)
        await self._parts.talks.delete(session_id)

    # -- talking -------------------------------------------------------------------------------------------

    async def join(self, call: Call) -> Entrance:
        row = await self._found(call)
        if row["ended_at"]:
            raise HTTPException(409, HAS_ENDED)
        return self._entrance(call, row)

    async def start(self, call: Call) -> Entrance:
        session = await live(self._lobby, call.path["session_id"], call)
        return self._entrance(call, await self._lobby.find(session.id, call.who, to_act=True))

    async def message(self, call: Call) -> Reply:
        session = await live(self._lobby, call.path["session_id"], call)
        answer = await typed(session, call.body.message)
        return Reply(
            session_id=session.id,
            turn=answer.turn,
            message=call.body.message,
            response=answer.text,
            response_id=answer.response_id,
            interrupted=answer.interrupted,
        )

    async def end(self, call: Call) -> Session:
        session_id = (await self._found(call))["id"]
        await self._lobby.end(session_id, "ended over REST")
        return Session(**session_of(await self._lobby.find(session_id, call.who)))

    async def prompt(self, call: Call) -> Session:
        row = dict(await self._found(call))
        if row["ended_at"]:
            raise HTTPException(409, HAS_ENDED)
        row["session_prompt"] = call.body.new_prompt
        if session := self._parts.sessions.get(row["id"]):
            session.do({"type": "update_prompt", "prompt": call.body.new_prompt})
        await self._parts.talks.change(row["id"], session_prompt=call.body.new_prompt)
        return Session(**session_of(row))

    # -- inside --------------------------------------------------------------------------------------------

    async def _found(self, call: Call, *, to_act: bool = True) -> Any:
        try:
            return await self._lobby.find(call.path["session_id"], call.who, to_act=to_act)
        except Unknown:
            raise not_found(NO_SESSION) from None

    async def _agent(self, row: Any) -> Any:
        return await self._parts.agents.get(row["agent_id"], deleted=True) if row["agent_id"] else None

    def _entrance(self, call: Call, row: Any) -> Entrance:
        who, session_id = call.who, row["id"]
        name = who.participant or (who.user.name if who.user else "guest")
        return Entrance(
            **session_of(row),
            ws_url=ws_url(call.request, self._parts.config.server.public_url, session_id),
            token=self._parts.keys.room_token(session_id, name, TOKEN_S),
            expires_at=iso(datetime.fromtimestamp(datetime.now(UTC).timestamp() + TOKEN_S, UTC)),
        )


def _refuse_silence(agent: Any, mode: Any) -> None:
    if channels_of(agent, mode) is None:
        raise HTTPException(422, f"mode {mode!r} leaves nothing of what this agent can do")


def _says_more(new: dict[str, Any]) -> bool:
    return bool(new.keys() & {"session_prompt", "conversation_context", "context_prompts"})


def _values(body: Body, *names: str) -> dict[str, Any]:
    """What was said of these, in the repository's names; null takes back what may be absent."""
    said = body.model_dump(exclude_unset=True, include=set(names))
    empty: dict[str, Any] = {"conversation_context": {}, "context_prompts": []}
    filled = {name: empty.get(name) if value is None else value for name, value in said.items()}
    return {name: value for name, value in filled.items() if name != "mode" or value is not None}


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/sessions/`."""
    handlers = _Routes(parts)

    def route(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        named = {"errors": (404,), "at_session": True} if "{" in path else {}
        options = {"answers": Session, **named, **more}
        return Endpoint(method, f"/sessions/{path}", handler, summary, "Sessions", "anyone", **options)

    def act(name: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return route("POST", f"{{session_id}}/{name}", handler, summary, **more)

    busy = {"errors": (404, 409, 503)}
    over = {"errors": (404, 409)}
    new = {"mode": "both", "session_prompt": "The caller is Ann Lee.", "conversation_context": {"age": 41}}
    says = {"body": Message, "answers": Reply, "example": {"message": "Are you open on Friday?"}}
    told = {"body": NewPrompt, "example": {"new_prompt": "Speak like a pirate."}}
    page: dict[str, Any] = {"query": Paging, "answers": SessionPage}
    gone: dict[str, Any] = {"status": 204, "answers": None}
    made: dict[str, Any] = {"body": NewSession, "status": 201, "errors": (404,), "example": new}
    changed: dict[str, Any] = {"body": SessionChange, "example": {"mode": "text"}, **over}
    return parts.gate.routes(
        [
            route("POST", "", handlers.create, "Make a session", **made),
            route("GET", "", handlers.listed, "My sessions, newest first", **page),
            route("GET", "{session_id}", handlers.one, "One session"),
            route("PUT", "{session_id}", handlers.change, "Change a session, also in mid-talk", **changed),
            route("DELETE", "{session_id}", handlers.delete, "Delete a session and what was said", **gone),
            act("join", handlers.join, "Get a token for its socket", answers=Entrance, **over),
            act("start", handlers.start, "Start it, before anybody is connected", answers=Entrance, **busy),
            act("message", handlers.message, "Say something by text, get the reply", **says, **busy),
            act("end", handlers.end, "End it: everything is written when this answers"),
            route("PUT", "{session_id}/prompt", handlers.prompt, "Replace its prompt", **told, **over),
        ]
    )
