"""The logins that a user has going, and the API keys."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from server.api import Body, Call, Endpoint
from server.auth import Principal
from server.parts import Parts
from server.routes.answers import not_found
from storage.credentials import LOGINS, Credential, id_of

MOST_KEYS = 50
NO_LOGIN, NO_KEY = "There is no such login.", "There is no such key."


class Login(BaseModel):
    """A login that is good now."""

    id: str
    kind: str
    """cookie (a browser) or bearer (a program)."""
    label: str
    created_at: str
    expires_at: str | None
    is_current: bool


class Logins(BaseModel):
    items: list[Login]
    total: int


class Which(BaseModel):
    others: bool = Field(False, description="true: this login stays")


class ApiKey(BaseModel):
    """An API key, without the key."""

    id: str
    label: str
    created_at: str
    expires_at: str | None


class ApiKeys(BaseModel):
    items: list[ApiKey]
    total: int


class NewKey(Body):
    label: str = Field("", max_length=200)
    days: float | None = Field(None, gt=0, le=3650, description="How long it is good; null: until revoked")


class MadeKey(ApiKey):
    """The only answer that the key is ever in."""

    key: str


def routes(parts: Parts) -> list[BaseRoute]:
    """`/api/users/logins` and `/api/users/api-keys`."""
    credentials = parts.credentials

    async def logins(call: Call) -> Logins:
        current = id_of(call.who.key)
        found = [_login(c, current) for c in await credentials.list(_id(call.who), LOGINS)]
        return Logins(items=found, total=len(found))

    async def end_login(call: Call) -> None:
        if not await credentials.revoke_id(_id(call.who), call.path["login_id"], LOGINS):
            raise not_found(NO_LOGIN)

    async def end_logins(call: Call) -> None:
        but = call.who.key if call.query.others else ""
        await credentials.revoke_all(_id(call.who), but=but, kinds=LOGINS)

    async def keys(call: Call) -> ApiKeys:
        found = [_key(c) for c in await credentials.list(_id(call.who), ("api_key",))]
        return ApiKeys(items=found, total=len(found))

    async def make_key(call: Call) -> MadeKey:
        body: NewKey = call.body
        user_id = _id(call.who)
        if len(await credentials.list(user_id, ("api_key",))) >= MOST_KEYS:
            raise HTTPException(409, f"You have {MOST_KEYS} keys already: revoke one first.")
        lifetime = timedelta(days=body.days) if body.days is not None else None
        key = await credentials.create(user_id, "api_key", lifetime, body.label.strip())
        made = next(c for c in await credentials.list(user_id, ("api_key",)) if c.id == id_of(key))
        return MadeKey(**_key(made).model_dump(), key=parts.keys.api_key(key))

    async def revoke_key(call: Call) -> None:
        if not await credentials.revoke_id(_id(call.who), call.path["key_id"], ("api_key",)):
            raise not_found(NO_KEY)

    def route(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint(method, f"/api/users/{path}", handler, summary, "Logins and API keys", **more)

    gone: dict[str, Any] = {"status": 204, "errors": (404,)}
    return parts.gate.routes(
        [
            route("GET", "logins", logins, "Where I am logged in", answers=Logins),
            route("DELETE", "logins", end_logins, "Log out everywhere", query=Which, status=204),
            route("DELETE", "logins/{login_id}", end_login, "End one login", **gone),
            route("GET", "api-keys", keys, "My API keys", answers=ApiKeys),
            route(
                "POST",
                "api-keys",
                make_key,
                "Make an API key: it is shown this once",
                body=NewKey,
                body_required=False,
                answers=MadeKey,
                status=201,
                errors=(409,),
                example={"label": "kitchen radio", "days": 90},
            ),
            route("DELETE", "api-keys/{key_id}", revoke_key, "Revoke an API key", **gone),
        ]
    )


def _id(who: Principal) -> str:
    assert who.user is not None
    return who.user.id


def _login(found: Credential, current: str) -> Login:
    return Login(
        id=found.id,
        kind=found.kind,
        label=found.label,
        created_at=found.created_at,
        expires_at=found.expires_at,
        is_current=found.id == current,
    )


def _key(found: Credential) -> ApiKey:
    return ApiKey(id=found.id, label=found.label, created_at=found.created_at, expires_at=found.expires_at)
