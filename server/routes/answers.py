"""What routes have in common: JSON errors, list limits."""

from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MOST_ITEMS = 100
FEW_ITEMS = 20


class Paging(BaseModel):
    """Which part of a list."""

    limit: int = Field(FEW_ITEMS, ge=1, le=MOST_ITEMS)
    offset: int = Field(0, ge=0, le=10**9)


class Problem(BaseModel):
    """Every error."""

    detail: str


def problem(_request: Request, error: Exception) -> Response:
    """Every HTTP error as `{"detail": "…"}`."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


def not_found(what: str = "There is nothing here.") -> HTTPException:
    return HTTPException(404, what)


def items(found: list[dict[str, Any]], total: int) -> JSONResponse:
    return JSONResponse({"items": found, "total": total})
