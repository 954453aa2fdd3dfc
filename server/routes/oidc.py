"""Logging in with an account of another server: there and back again. Who comes back is found by the
provider's subject, else by an email that the provider has verified, else is new here."""

import hmac
import logging
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from server.api import Call, Endpoint
from server.limits import Limit
from server.oidc import Attempt, OidcError, Person, Provider
from server.parts import Parts
from server.routes.accounts import Doors
from server.routes.answers import not_found
from server.routes.pages import local_path
from storage.accounts import Taken, User

log = logging.getLogger(__name__)

LOGIN, CALLBACK = "/auth/oidc/login", "/auth/oidc/callback"
COOKIE = "parley_oidc"
COOKIE_S = 600
"""How long somebody may take to log in there."""
ATTEMPTS = Limit("logins elsewhere", "60 per 15 minutes")


class Refused(Exception):
    """Nobody comes in. The text is the reason's name, as the login page is told it."""


class Arrivals:
    """The handlers."""

    def __init__(self, parts: Parts, provider: Provider) -> None:
        self._parts, self._provider, self._doors = parts, provider, Doors(parts)

    async def login(self, call: Call) -> Response:
        onward = local_path(call.request.query_params.get("next"))
        attempt = Attempt.new()
        try:
            response = RedirectResponse(await self._provider.address(attempt), 303)
        except OidcError as error:
            log.error("nobody can log in by OpenID Connect: %s", error)
            return self._back("unreachable")
        value = self._parts.keys.oidc_cookie(attempt.state, attempt.nonce, attempt.verifier, onward)
        response.set_cookie(
            COOKIE, value, COOKIE_S, path=CALLBACK, httponly=True, samesite="lax", secure=self._parts.secure
        )
        return response

    async def callback(self, call: Call) -> Response:
        try:
            user, onward = await self._arrive(call)
        except Refused as refused:
            response = self._back(str(refused))
        else:
            response = await self._doors.let_in(call, user, RedirectResponse(onward, 303))
        response.delete_cookie(COOKIE, CALLBACK, httponly=True, samesite="lax", secure=self._parts.secure)
        return response

    async def _arrive(self, call: Call) -> tuple[User, str]:
        """Who it is, and where they want to go on to."""
        query = call.request.query_params
        began = self._parts.keys.read_oidc_cookie(call.request.cookies.get(COOKIE, ""), COOKIE_S)
        if began is None:
            raise Refused("late")
        attempt, onward = Attempt(*began[:3]), began[3]
        if not hmac.compare_digest(query.get("state", "").encode(), attempt.state.encode()):
            raise Refused("late")
        if query.get("error") or not query.get("code"):
            log.info("a login by OpenID Connect came back without a code: %r", query.get("error"))
            raise Refused("refused")
        try:
            person = await self._provider.person(query["code"], attempt)
        except OidcError as error:
            log.error("a login by OpenID Connect failed: %s", error)
            raise Refused("unreachable") from error
        user = await self._known(person) or await self._new(person)
        if user.is_disabled:
            raise Refused("disabled")
        await self._parts.accounts.logged_in(user.id)
        return await self._parts.administrators.settle(user), local_path(onward)

    async def _known(self, person: Person) -> User | None:
        accounts = self._parts.accounts
        if (user := await accounts.by_oidc(person.subject)) is not None:
            return user
        user = await accounts.by_email(person.email) if person.email else None
        if user is None or user.is_disabled:
            return user
        if user.oidc_subject is not None:
            raise Refused("taken")  # the email went to somebody else there
        values = {"oidc_subject": person.subject, "is_verified": True}
        if not user.is_verified:
            # Whoever made this account has not shown that the email is theirs; now somebody has. So its
            # password and logins end: else they would open the account to two people.
            await accounts.change(user.id, password_hash=None)
            await self._parts.credentials.revoke_all(user.id)
        return await accounts.change(user.id, **values)

    async def _new(self, person: Person) -> User:
        parts = self._parts
        if not parts.config.accounts.registration:
            raise Refused("closed")
        try:
            return await parts.accounts.create(
                email=person.email,
                display_name=person.name,
                is_verified=person.email is not None,
                oidc_subject=person.subject,
                is_admin=parts.administrators.at_registration(person.email or ""),
            )
        except Taken as error:
            raise Refused("taken") from error

    def _back(self, reason: str) -> Response:
        return RedirectResponse(f"/login?{urlencode({'oidc': reason})}", 303)


def routes(parts: Parts) -> list[BaseRoute]:
    """`/auth/oidc/login` and `/auth/oidc/callback`, for browsers only."""
    arrivals = Arrivals(parts, parts.oidc) if parts.oidc else None

    async def login(call: Call) -> Response:
        if arrivals is None:
            raise not_found("There is no such login here.")
        return await arrivals.login(call)

    async def callback(call: Call) -> Response:
        if arrivals is None:
            raise not_found("There is no such login here.")
        return await arrivals.callback(call)

    def get(path: str, handler: Any, summary: str) -> Endpoint:
        return Endpoint(
            "GET",
            path,
            handler,
            summary,
            "Accounts",
            "nobody",
            media="text/html",
            hidden=True,
            limit=ATTEMPTS,
        )

    return parts.gate.routes(
        [
            get(LOGIN, login, "Log in with an account of another server"),
            get(CALLBACK, callback, "Come back from there"),
        ]
    )
