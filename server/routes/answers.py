"""What routes have in common: JSON errors, list limits."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.auth import API_KEY_PATHS

MOST_ITEMS = 100
FEW_ITEMS = 20
_NO_ROUTE = {
    HTTPStatus.NOT_FOUND.phrase: "There is nothing at {path}.",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "{method} does nothing at {path}.",
}
"""What Starlette says by itself, as sentences."""


class Paging(BaseModel):
    """Which part of a list."""

    limit: int = Field(FEW_ITEMS, ge=1, le=MOST_ITEMS)
    offset: int = Field(0, ge=0, le=10**9)


class Problem(BaseModel):
    """Every error."""

    detail: str


class ClientsError(BaseModel):
    """What OpenAI's clients read of an error."""

    message: str
    type: str
    param: None = None
    code: None = None


class ClientsProblem(Problem):
    """Every error under `/v1`."""

    error: ClientsError


def problem(request: Request, error: Exception) -> Response:
    """Every HTTP error as `{"detail": "…"}`; under `/v1` with what OpenAI's clients read beside it."""
    assert isinstance(error, HTTPException)
    detail = _NO_ROUTE.get(error.detail, error.detail)
    detail = detail.format(method=request.method, path=request.url.path) if detail != error.detail else detail
    found = Problem(detail=detail)
    if request.url.path.startswith(API_KEY_PATHS):
        found = ClientsProblem(
            detail=detail, error=ClientsError(message=detail, type=_kind(error.status_code))
        )
    return JSONResponse(found.model_dump(), error.status_code, headers=error.headers)


def _kind(status: int) -> str:
    """What OpenAI's clients call it."""
    return {401: "authentication_error", 429: "rate_limit_error"}.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )


def is_no_route(error: HTTPException) -> bool:
    """No route has that address, rather than a route nothing to show."""
    return error.detail == HTTPStatus.NOT_FOUND.phrase


def not_found(what: str = "There is nothing here.") -> HTTPException:
    return HTTPException(404, what)


def items(found: list[dict[str, Any]], total: int) -> JSONResponse:
    return JSONResponse({"items": found, "total": total})
