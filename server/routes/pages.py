"""The pages for people: drawn here, filled by scripts from the JSON interface. Here too: who may see which.
The talk page's visitor gets the signed guest cookie that makes his talks his."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from server.api import SAFE, Call, Endpoint
from server.auth import GUEST_COOKIE, GUEST_COOKIE_S, header
from server.pages.render import Renderer
from server.pages.words import STATIC
from server.parts import Parts
from server.routes.accounts import Doors
from server.routes.answers import is_no_route, problem
from server.routes.history import History
from storage.accounts import User

Handler = Callable[[Call], Awaitable[Response]]

_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
SHARED = "/share/{key}"
BESIDE = ("/agents", "/sessions", SHARED)
"""Pages that have an interface under the same address, or but for a slash."""
REASONS = ("late", "refused", "unreachable", "disabled", "closed", "taken")
"""Why a login elsewhere may come to nothing: `/login?oidc=…`, the keys `login.oidc.…`."""


def local_path(text: str | None) -> str:
    """Where to go on to: a path of this server, or the talk page. Browsers read `//host` and `/\\host` as
    another server's address, and drop line breaks before they look."""
    return text if text and _LOCAL.fullmatch(text) else "/chat"


def routes(parts: Parts) -> list[BaseRoute]:
    """The pages, `/static` and the icon."""
    found = parts.gate.routes(_Pages(parts).endpoints())

    async def icon(_request: Request) -> Response:
        return RedirectResponse("/static/icon.svg", 308)

    return [
        *(_Page(r.path, r.endpoint, methods=list(r.methods or ())) for r in found if isinstance(r, Route)),
        Route("/favicon.ico", icon),
        Mount("/static", _Static(directory=STATIC)),
    ]


def on_error(parts: Parts) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Answers errors: with JSON, but whoever follows a wrong link in a browser gets a page."""
    pages = _Pages(parts)

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        by_browser = request.method in SAFE and "text/html" in request.headers.get("accept", "")
        if by_browser and is_no_route(error):
            return pages.missing(request, (await parts.identity.of(request.scope)).user)
        return problem(request, error)

    return answer


class _Page(Route):
    """A page beside an interface of the same name: `POST /agents` is meant for `/agents/`, and a shared link
    shows programs JSON. So a page takes only what is for it, and lets all else pass on."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if self.path == SHARED and "text/html" not in header(scope, b"accept"):
            return Match.NONE, {}
        if self.path in BESIDE and match is Match.PARTIAL:
            return Match.NONE, {}
        return match, child


class _Pages:
    """A method for each page that is more than its template."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._doors, self._history = Doors(parts), History(parts)
        self._render = Renderer(
            registration=parts.config.accounts.registration, mail=parts.letters.reach, secure=parts.secure
        )

    def endpoints(self) -> list[Endpoint]:
        def get(path: str, handler: Handler, summary: str) -> Endpoint:
            return Endpoint("GET", path, handler, summary, "Pages", "nobody", media="text/html", hidden=True)

        return [
            get("/", self._talk, "The talk page"),
            get("/chat", self._talk, "The talk page"),
            get("/login", self._door("login"), "Log in"),
            get("/signup", self._door("signup"), "Make an account"),
            get("/logout", self._logout, "Log out"),
            Endpoint("POST", "/logout", self._log_out, "Log out", "Pages", "nobody", hidden=True),
            get("/profile", self._of_user("profile"), "My account"),
            get("/history", self._of_user("history"), "My talks"),
            get("/history/{session_id}", self._one_talk, "One talk"),
            get("/agents", self._of_user("agents"), "My agents"),
            get("/sessions", self._of_user("sessions"), "My sessions"),
            get("/appointments", self._of_user("appointments"), "The week's appointments"),
            get("/analytics", self._of_user("analytics"), "How my talks went"),
            get("/admin", self._admin, "Users, sessions, usage"),
            get("/forgot", self._plain("forgot"), "I forgot my password"),
            get("/reset", self._plain("reset"), "A new password: where a mail leads to"),
            get("/verify", self._plain("verify"), "This is my email: where a mail leads to"),
            get(SHARED, self._shared, "A talk that somebody shared"),
        ]

    def _page(self, name: str, call: Call, **more: Any) -> Response:
        return self._render.page(name, call.request, call.who.user, **more)

    def missing(self, request: Request, user: User | None) -> Response:
        """There is nothing here."""
        return self._render.page("missing", request, user, status=404)

    def _missing(self, call: Call) -> Response:
        return self.missing(call.request, call.who.user)

    async def _talk(self, call: Call) -> Response:
        agent = None
        user, agent_id = call.who.user, call.request.query_params.get("agent")
        if user is not None and agent_id:
            agent = await self._parts.agents.get(agent_id, user_id=user.id)
        response = self._page("talk", call, agent=agent)
        keys = self._parts.keys
        if user is None and not keys.guest(call.request.scope).known:
            response.set_cookie(
                GUEST_COOKIE,
                keys.new_guest_cookie(),
                max_age=GUEST_COOKIE_S,
                httponly=True,
                samesite="lax",
                secure=self._parts.secure,
            )
        return response

    def _door(self, name: str) -> Handler:
        """Login or sign-up: whoever is in already goes on."""

        async def show(call: Call) -> Response:
            onward = local_path(call.request.query_params.get("next"))
            if call.who.user is not None:
                return RedirectResponse(onward, 303)
            beside = f"?{urlencode({'next': onward})}"
            oidc = self._parts.config.oidc
            elsewhere = oidc.button if oidc.issuer else ""
            trouble = call.request.query_params.get("oidc")
            return self._page(
                name,
                call,
                onward=onward,
                beside=beside,
                elsewhere=elsewhere,
                trouble=trouble if trouble in REASONS else "",
            )

        return show

    def _of_user(self, name: str) -> Handler:
        """A page that needs a login, and is the same for everybody who has one."""

        async def show(call: Call) -> Response:
            if call.who.user is None:
                return _to_login(call.request)
            return self._page(name, call)

        return show

    def _plain(self, name: str) -> Handler:
        """A page that is the same for everybody."""

        async def show(call: Call) -> Response:
            return self._page(name, call)

        return show

    async def _admin(self, call: Call) -> Response:
        if call.who.user is None:
            return _to_login(call.request)
        return self._page("admin", call) if call.who.user.is_admin else self._missing(call)

    async def _logout(self, call: Call) -> Response:
        if call.who.user is None:
            return RedirectResponse("/", 303)
        return self._page("logout", call)

    async def _log_out(self, call: Call) -> Response:
        return await self._doors.logout(call, RedirectResponse("/", 303))

    async def _one_talk(self, call: Call) -> Response:
        if call.who.user is None:
            return _to_login(call.request)
        try:
            talk = await self._history.own(call)
        except HTTPException:
            return self._missing(call)
        return self._page("told", call, session_id=talk["session_id"])

    async def _shared(self, call: Call) -> Response:
        """Whether there is something to show; what it is, the page's script asks at the same address."""
        if await self._parts.credentials.shared_session(call.path["key"]) is None:
            return self._missing(call)
        return self._page("shared", call)


def _to_login(request: Request) -> Response:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?{urlencode({'next': here})}", 303)


class _Static(StaticFiles):
    """The page's files: cached, but asked for again each time, so an upgrade shows at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response
