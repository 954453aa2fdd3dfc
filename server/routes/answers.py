"""What routes have in common: JSON errors, list limits, names from outside."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MOST_ITEMS = 100
FEW_ITEMS = 20


def problem(_request: Request, error: Exception) -> Response:
    """Every HTTP error as `{"detail": "…"}`."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


def not_found(what: str = "There is nothing here.") -> HTTPException:
    return HTTPException(404, what)


def page(request: Request) -> tuple[int, int]:
    """(limit, offset) of a list. Raises 422."""
    return _number(request, "limit", FEW_ITEMS, 1, MOST_ITEMS), _number(request, "offset", 0, 0, 10**9)


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise HTTPException(422, f"{name} must be a whole number from {least} to {most}.")
    return int(text)


def items(found: list[dict[str, Any]], total: int) -> JSONResponse:
    return JSONResponse({"items": found, "total": total})
