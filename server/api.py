"""What every route owes, done once: who is asking, may they, is the body right, what is said when it is not.

A route is an `Endpoint`: a handler with the shapes of what goes in and comes out. From the same list come
Starlette's routes, `/openapi.json`, and the test that walks them all. Handlers get a `Call` and answer with
a model, a dict, a Starlette response, or nothing.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server import forms
from server.auth import API_KEY_PATHS, Identity, Principal, from_our_pages
from server.forms import Form
from server.forms import Part as Part
from server.limits import Limit, Limiter, TooOften
from server.sessions import LOOK_AGAIN_S, LOOKS, Elsewhere
from server.workers import is_forwarded

Needs = Literal["nobody", "anyone", "user", "admin"]
"""Who may call: whoever comes; whoever may talk here (guests, if they may); users; administrators."""
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
M = TypeVar("M", bound=BaseModel)
Entrance = Callable[[Request], Awaitable[Response]]

MOST_JSON_BYTES = 1 << 20
WRITES = Limit("writes", "240 per minute")
"""Of one user or address: far above what a person does, below what hurts."""
WRONG_TOKEN = "This token is not valid (any more): log in again."
API_KEY_HERE = f"An API key is good under {API_KEY_PATHS} only: log in, and send the access token."
SAFE = ("GET", "HEAD", "OPTIONS")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The character NUL in JSON, where it can only be written like this."""


class Body(BaseModel):
    """Base of what comes in: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: Method
    path: str
    handler: "Callable[[Call], Awaitable[Any]]"
    summary: str
    tag: str
    needs: Needs = "user"
    body: type[BaseModel] | None = None
    body_required: bool = True
    form: tuple[Part, ...] = ()
    form_bytes: int = 1 << 20
    """The most that the whole form may have."""
    query: type[BaseModel] | None = None
    answers: Any = None
    """The shape of the answer: a model, or any type that pydantic knows; None = no JSON."""
    media: str | tuple[str, ...] = "application/json"
    """Of an answer that is not JSON; several, if the request chooses."""
    status: int = 200
    errors: tuple[int, ...] = ()
    """Which it may answer beside those that follow from the rest."""
    also: tuple[int, ...] = ()
    """Statuses whose answer is like the ordinary one: 206, a part of it; 503 of a health check."""
    limit: Limit | None = None
    """A rule of its own, counted by address."""
    example: Mapping[str, Any] | None = None
    """Of the body."""
    at_session: bool = False
    """It is about the session that it names: answered by the worker where that one is live."""
    hidden: bool = False
    """Not in the documentation: pages and the like."""


@dataclass(slots=True)
class Call:
    """One request, checked."""

    request: Request
    who: Principal
    body: Any = None
    query: Any = None
    form: Form = field(default_factory=dict)
    """Its files are closed when the handler has answered."""

    @property
    def path(self) -> Mapping[str, str]:
        """What the path's placeholders stand for."""
        return self.request.path_params

    @property
    def address(self) -> str:
        """Where it came from."""
        return self.request.client.host if self.request.client else ""


@dataclass(slots=True)
class Gate:
    """What all routes share: it lets calls in, or says why not."""

    identity: Identity
    limiter: Limiter
    guests: bool
    allowed_origins: Sequence[str] = ()
    public_url: str = ""
    elsewhere: "Callable[[Call], Awaitable[Response | None]] | None" = None
    """Asks the other workers, where there are any; see `server.forwarding`."""
    endpoints: list[Endpoint] = field(default_factory=list)

    def routes(self, endpoints: Iterable[Endpoint]) -> list[BaseRoute]:
        """Starlette's routes for these; they are remembered for the documentation."""
        paths: dict[str, dict[str, Entrance]] = {}
        for endpoint in endpoints:
            self.endpoints.append(endpoint)
            paths.setdefault(endpoint.path, {})[endpoint.method] = self._entrance(endpoint)
        return [
            Route(path, _by_method(entrances), methods=list(entrances)) for path, entrances in paths.items()
        ]

    def _entrance(self, endpoint: Endpoint) -> Entrance:
        async def enter(request: Request) -> Response:
            try:
                call = await self._let_in(endpoint, request)
                try:
                    return await self._answered(endpoint, call)
                finally:
                    await forms.close(call.form)
            except TooOften as error:
                headers = {"Retry-After": str(error.retry_after_s)}
                raise HTTPException(429, str(error), headers) from error

        return enter

    async def _answered(self, endpoint: Endpoint, call: Call) -> Response:
        asked = self.elsewhere if endpoint.at_session else None
        for _ in range(LOOKS):
            if asked is not None and (answer := await asked(call)) is not None:
                return answer
            try:
                return _answer(endpoint, await endpoint.handler(call))
            except Elsewhere:  # nothing has been done yet
                await asyncio.sleep(LOOK_AGAIN_S)
        raise HTTPException(503, "This session is just being opened. Try again.", {"Retry-After": "1"})

    async def _let_in(self, endpoint: Endpoint, request: Request) -> Call:
        who = await self.identity.of(request.scope)
        if who.is_wrong and self.guests and request.url.path.startswith(API_KEY_PATHS):
            who = Principal()  # OpenAI's clients always send a key, be it made up
        if who.via == "cookie" and request.method not in SAFE:
            self._refuse_other_pages(request)
        self._refuse_who_may_not(endpoint.needs, who)
        call = Call(request, who)
        counted = is_forwarded(request.scope)  # by the worker that it came in by
        if endpoint.limit is not None and not counted:
            await self.limiter.hit(endpoint.limit, call.address)
        if request.method not in SAFE and not counted:
            await self.limiter.hit(WRITES, who.owner or call.address)
        if endpoint.query is not None:
            call.query = _checked(endpoint.query, dict(request.query_params))
        if endpoint.body is not None:
            call.body = await _body(endpoint, request)
        if endpoint.form:
            call.form = await forms.read(request, endpoint.form, endpoint.form_bytes)
        return call

    def _refuse_other_pages(self, request: Request) -> None:
        """A cookie comes along whoever's page sends the request, so what it may do must come from ours."""
        if not from_our_pages(request.scope, self.allowed_origins, self.public_url):
            raise HTTPException(403, "This request does not come from a page of this server.")

    def _refuse_who_may_not(self, needs: Needs, who: Principal) -> None:
        if needs == "nobody":
            return
        if who.is_wrong:
            raise unauthorized(API_KEY_HERE if who.is_api_key else WRONG_TOKEN)
        if needs == "anyone" and not (self.guests or who.user or who.session_id):
            raise unauthorized("Log in first: guests are not allowed here.")
        if needs in ("user", "admin") and who.user is None:
            raise unauthorized("Log in first.")
        if needs == "admin" and not (who.user and who.user.is_admin):
            raise HTTPException(403, "This is for administrators.")


def _by_method(entrances: Mapping[str, Entrance]) -> Entrance:
    """One route for a path's methods: so that a wrong one is told all that there are."""

    async def enter(request: Request) -> Response:
        return await entrances["GET" if request.method == "HEAD" else request.method](request)

    return enter


def unauthorized(why: str) -> HTTPException:
    return HTTPException(401, why, {"WWW-Authenticate": "Bearer"})


def _answer(endpoint: Endpoint, answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=endpoint.status)
    if isinstance(answer, BaseModel):
        return Response(answer.model_dump_json(by_alias=True), endpoint.status, media_type="application/json")
    return JSONResponse(answer, endpoint.status)


async def _body(endpoint: Endpoint, request: Request) -> Any:
    assert endpoint.body is not None
    raw = await limited_body(request, MOST_JSON_BYTES)
    if not raw and not endpoint.body_required:
        return endpoint.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "The body must be JSON, with Content-Type: application/json.")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "The body is not JSON.") from error
    if _NUL.search(raw):  # PostgreSQL has no such text, and nobody has a use for it
        raise HTTPException(422, "Text must not contain the character NUL.")
    return _checked(endpoint.body, data, strict=True)  # JSON has numbers and booleans of its own


async def limited_body(request: Request, most_bytes: int) -> bytes:
    """The body, if it is not longer than that. Raises 413."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise HTTPException(413, f"The body is too big: at most {most_bytes} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def _checked(model: type[M], data: Any, *, strict: bool = False) -> M:
    """The data as a model. Raises 422 with one sentence for each thing that is wrong."""
    try:
        return model.model_validate(data, strict=strict)
    except ValidationError as error:
        raise HTTPException(422, "; ".join(_sentences(error))) from error


def _sentences(error: ValidationError) -> list[str]:
    found = []
    for one in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in one["loc"])
        saying = _SAYINGS.get(one["type"])
        what = saying.format(**one.get("ctx", {})) if saying else one["msg"].removeprefix("Value error, ")
        found.append(f"{where} {what}" if where and saying else f"{where}: {what}" if where else what)
    return found


_SAYINGS = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this request",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "does not look right",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
}
"""pydantic's error types in the words of our other errors."""
