"""The talk page and its files. The page's visitor gets the signed guest cookie that makes his talks his."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from server.auth import GUEST_COOKIE, GUEST_COOKIE_S
from server.parts import Parts

STATIC = Path(__file__).resolve().parents[2] / "static"


def routes(parts: Parts) -> list[BaseRoute]:
    """`/`, `/chat` and `/static`."""

    async def talk(request: Request) -> Response:
        response = FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
        if not parts.keys.guest(request.scope).known:
            response.set_cookie(
                GUEST_COOKIE,
                parts.keys.new_guest_cookie(),
                max_age=GUEST_COOKIE_S,
                httponly=True,
                samesite="lax",
                secure=parts.secure,
            )
        return response

    async def icon(_request: Request) -> Response:
        return RedirectResponse("/static/icon.svg", 308)

    return [
        Route("/", talk),
        Route("/chat", talk),
        Route("/favicon.ico", icon),
        Mount("/static", _Static(directory=STATIC)),
    ]


class _Static(StaticFiles):
    """The page's files: cached, but asked for again each time, so an upgrade shows at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response
