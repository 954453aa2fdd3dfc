"""What other servers were told, or could not be: for administrators. Never what was in it."""

from typing import Literal

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from server.api import Call, Endpoint
from server.parts import Parts
from server.routes.answers import Paging, not_found
from storage.deliveries import DELIVERED, Row

State = Literal["waiting", "delivered", "dead"]


class Which(Paging):
    """Which deliveries."""

    state: State | None = Field(None, description="Only these; `dead`: what could not be delivered")


class SeenDelivery(BaseModel):
    """Something that a receiver was to be told."""

    id: str
    """The `webhook-id` that it was sent with."""
    receiver: str
    event: str
    state: State
    attempts: int
    created_at: str
    due_at: str
    """When it is sent next, while it waits."""
    ended_at: str | None
    status: int | None
    """The last answer's HTTP status; null if there was none."""
    error: str
    """Why the last attempt came to nothing."""


class SeenReceiver(BaseModel):
    """Who is told."""

    name: str
    host: str
    """The rest of an address may be a secret."""
    events: list[str]
    is_off: bool
    """It answered 410 Gone. Sending one of its deliveries again turns it on."""
    waiting: int
    delivered: int
    dead: int


class SeenWebhooks(BaseModel):
    items: list[SeenDelivery]
    total: int
    receivers: list[SeenReceiver]


class Board:
    """What hangs out for administrators to see."""

    def __init__(self, parts: Parts) -> None:
        self._courier = parts.courier

    async def webhooks(self, call: Call) -> SeenWebhooks:
        query: Which = call.query
        deliveries = self._courier.deliveries
        rows, total = await deliveries.list(query.state, query.limit, query.offset)
        counts, off = await deliveries.counts(), await deliveries.off()
        receivers = [
            SeenReceiver(
                name=name,
                host=target.host,
                events=list(target.events),
                is_off=name in off,
                **{state: counts.get(name, {}).get(state, 0) for state in ("waiting", "delivered", "dead")},
            )
            for name, target in sorted(self._courier.targets.items())
        ]
        return SeenWebhooks(items=[_seen(row) for row in rows], total=total, receivers=receivers)

    async def again(self, call: Call) -> SeenDelivery:
        """Raises 404, 409."""
        row = await self._courier.deliveries.again(call.path["id"])
        if row is None:
            raise not_found("There is no such delivery.")
        if row["state"] == DELIVERED:
            raise HTTPException(409, "It was delivered already, and what was in it is forgotten.")
        return _seen(row)


def _seen(row: Row) -> SeenDelivery:
    return SeenDelivery(**{name: row[name] for name in SeenDelivery.model_fields})


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/admin/webhooks`."""
    board = Board(parts)
    return parts.gate.routes(
        [
            Endpoint(
                "GET",
                "/api/admin/webhooks",
                board.webhooks,
                "What other servers were told, or could not be",
                "Administration",
                "admin",
                query=Which,
                answers=SeenWebhooks,
            ),
            Endpoint(
                "POST",
                "/api/admin/webhooks/{id}/retry",
                board.again,
                "Send a delivery once more",
                "Administration",
                "admin",
                answers=SeenDelivery,
                errors=(404, 409),
            ),
        ]
    )
