"""Who is connected: `/ws/status`, and hanging up: `/ws/disconnect/{session_id}`."""

from typing import Any

from pydantic import BaseModel
from starlette.routing import BaseRoute

from pipeline.setup import Channels
from server.api import Call, Endpoint
from server.lobby import Unknown
from server.parts import Parts
from server.routes.answers import not_found

NOT_LIVE = "There is no such live session."


class Connection(BaseModel):
    """A live session of whoever asks."""

    session_id: str
    connected: bool
    channels: Channels
    agent_id: str | None


class Status(BaseModel):
    """How many sockets and live sessions this server has; with `--workers`, the worker that answers."""

    status: str
    active_connections: int
    active_sessions: int
    max_sessions: int
    sessions: list[Connection]


class Disconnected(BaseModel):
    session_id: str
    disconnected: bool


def routes(parts: Parts) -> list[BaseRoute]:
    """The HTTP routes under `/ws`."""
    sessions = parts.sessions

    async def status(call: Call) -> Status:
        live = list(sessions)
        own = [s for s in live if call.who.known and sessions.owner_of(s.id) == call.who.owner]
        return Status(
            status="draining" if sessions.draining else "ok",
            active_connections=sum(s.attached for s in live),
            active_sessions=len(live),
            max_sessions=parts.config.server.max_sessions,
            sessions=[
                Connection(
                    session_id=s.id,
                    connected=s.attached,
                    channels=s.setup.channels,
                    agent_id=s.setup.agent_id,
                )
                for s in own
            ],
        )

    async def disconnect(call: Call) -> Disconnected:
        session_id = call.path["session_id"]
        try:
            await parts.lobby.find(session_id, call.who, to_act=True)
        except Unknown:
            raise not_found(NOT_LIVE) from None
        if sessions.get(session_id) is None:
            raise not_found(NOT_LIVE)
        await parts.lobby.end(session_id, "disconnected over HTTP")
        return Disconnected(session_id=session_id, disconnected=True)

    def route(method: Any, path: str, handler: Any, summary: str, needs: Any, **more: Any) -> Endpoint:
        return Endpoint(method, path, handler, summary, "Connections", needs, **more)

    hangs_up = {"answers": Disconnected, "errors": (404,), "at_session": True}
    return parts.gate.routes(
        [
            route("GET", "/ws/status", status, "Who is connected", "nobody", answers=Status),
            route(
                "POST",
                "/ws/disconnect/{session_id}",
                disconnect,
                "End a live session and close its socket",
                "anyone",
                **hangs_up,
            ),
        ]
    )
