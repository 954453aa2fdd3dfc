"""Accounts: registering, logging in and out, for browsers (`/api/auth`, a cookie) and for programs (`/auth`,
a bearer token). The same accounts behind both."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server import passwords
from server.api import Body, Call, Endpoint, unauthorized
from server.auth import GUEST_COOKIE, LOGIN_COOKIE
from server.limits import Limit
from server.parts import Parts
from storage.accounts import Taken, User, email_key
from storage.credentials import Kind

LOGINS_OF_ACCOUNT = Limit("failed logins of an account", "10 per 15 minutes")
LOGINS_OF_ADDRESS = Limit("failed logins of an address", "50 per 15 minutes")
REGISTRATIONS = Limit("registrations", "20 per hour")
WRONG = "The email or the password is wrong."


def _email(text: str) -> str:
    """What a mail server could take; whether somebody reads it only a mail can tell."""
    name, at, domain = text.strip().rpartition("@")
    plain = text.isprintable() and " " not in text.strip()
    if not (at and name and "." in domain.strip(".") and plain) or len(text) > 320:
        raise ValueError("must be an email address, such as ann@example.org")
    return email_key(text)


Email = Annotated[str, AfterValidator(_email)]
Username = Annotated[str, Field(min_length=2, max_length=64, pattern=r"^[\w.\-]+$")]
Password = Annotated[str, Field(max_length=1024)]


class Register(Body):
    """A new account, from a browser."""

    email: Email
    password: Password
    display_name: str | None = Field(None, max_length=200)


class Login(Body):
    email: str = Field(max_length=320)
    password: Password


class ProgramRegister(Body):
    """A new account, from a program."""

    username: Username
    email: Email
    password: Password


class ProgramLogin(Body):
    username: str = Field(max_length=320, description="The username, or the email")
    password: Password


class Account(BaseModel):
    """An account, as its owner sees it."""

    id: str
    email: str | None
    username: str | None
    display_name: str
    is_admin: bool
    is_verified: bool
    created_at: str


class Token(BaseModel):
    access_token: str
    token_type: str = "bearer"


def account_of(user: User) -> Account:
    return Account(**{name: getattr(user, name) for name in Account.model_fields})


class Doors:
    """Logging in and out, for routes of every kind."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lifetime = timedelta(days=parts.config.accounts.session_days)

    async def register(
        self, call: Call, email: str, password: str, *, username: str | None = None, name: str = ""
    ) -> User:
        """A new account. Raises 403, 409, 422, 429."""
        if not self._parts.config.accounts.registration:
            raise HTTPException(403, "New accounts are not made here; ask whoever runs this server.")
        try:
            passwords.check(password, email, username)
        except passwords.BadPassword as error:
            raise HTTPException(422, str(error)) from error
        await self._parts.limiter.hit(REGISTRATIONS, call.address)
        hashed = await self._parts.hashes.make(password)
        try:
            user = await self._parts.accounts.create(
                email=email,
                username=username,
                display_name=name,
                password_hash=hashed,
                is_admin=self._parts.administrators.at_registration(email),
            )
        except Taken as taken:
            raise HTTPException(409, f"There is an account with this {taken.field} already.") from taken
        self._parts.letters.welcome(call.request, user)
        return user

    async def login(self, call: Call, name: str, password: str) -> User:
        """Who it is. It takes as long for a name that nobody has. Raises 401, 429."""
        limiter, account = self._parts.limiter, name.strip().casefold()
        await limiter.check(LOGINS_OF_ACCOUNT, account)
        await limiter.check(LOGINS_OF_ADDRESS, call.address)
        user = await self._parts.accounts.by_login(name)
        right = await self._parts.hashes.matches(password, user.password_hash if user else None)
        if user is None or not right or user.is_disabled:
            await limiter.hit(LOGINS_OF_ACCOUNT, account)
            await limiter.hit(LOGINS_OF_ADDRESS, call.address)
            raise unauthorized(WRONG)
        await limiter.forget(LOGINS_OF_ACCOUNT, account)
        if user.password_hash and self._parts.hashes.is_outdated(user.password_hash):
            renewed = await self._parts.hashes.make(password)
            await self._parts.accounts.change(user.id, password_hash=renewed)
        await self._parts.accounts.logged_in(user.id)
        return user

    async def confirm(self, call: Call, password: str) -> User:
        """The caller, who has typed the password once more. Raises 403, 429."""
        user, limiter = call.who.user, self._parts.limiter
        assert user is not None
        account = f"user:{user.id}"
        await limiter.check(LOGINS_OF_ACCOUNT, account)
        await limiter.check(LOGINS_OF_ADDRESS, call.address)
        if not await self._parts.hashes.matches(password, user.password_hash):
            await limiter.hit(LOGINS_OF_ACCOUNT, account)
            await limiter.hit(LOGINS_OF_ADDRESS, call.address)
            raise HTTPException(403, "The password is wrong.")
        await limiter.forget(LOGINS_OF_ACCOUNT, account)
        return user

    async def token(self, call: Call, user: User, kind: Kind) -> str:
        """A new login of that user, labelled with the program that asks."""
        label = "".join(c for c in call.request.headers.get("user-agent", "") if c.isprintable())[:200]
        key = await self._parts.credentials.create(user.id, kind, self._lifetime, label)
        return self._parts.keys.login_token(key)

    async def set_cookie(self, call: Call, user: User, response: Response) -> None:
        """Give a browser a new login."""
        response.set_cookie(
            LOGIN_COOKIE,
            await self.token(call, user, "cookie"),
            max_age=int(self._lifetime.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=self._parts.secure,
        )

    async def let_in(self, call: Call, user: User, response: Response, *, is_new: bool = False) -> Response:
        """Give a browser the cookie of a new login; the talk it has as a guest becomes the user's.

        Who has just signed up (`is_new`) gets the browser's ended talks too. Who only logs in does not:
        others may have talked in that browser before.
        """
        await self.set_cookie(call, user, response)
        guest = self._parts.keys.guest(call.request.scope)
        if guest.known:
            self._parts.sessions.adopt(guest.owner, user.owner, user.id)
            await self._parts.accounts.adopt(guest.owner, user.id)
            await self._parts.talks.adopt(guest.owner, user.owner, user.id)
            if is_new:
                await self._keep_ended(guest.owner, user)
        return response

    async def _keep_ended(self, guest: str, user: User) -> None:
        for session_id in await self._parts.conversations.of_owner(guest, ended=True):
            if await self._parts.archive.give(session_id, user.owner, user.id):
                await self._parts.talks.give([session_id], user.owner, user.id)

    async def logout(self, call: Call, response: Response) -> Response:
        if call.who.key:
            await self._parts.credentials.revoke(call.who.key)
        response.delete_cookie(LOGIN_COOKIE, httponly=True, samesite="lax", secure=self._parts.secure)
        response.delete_cookie(GUEST_COOKIE, httponly=True, samesite="lax", secure=self._parts.secure)
        return response


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/auth` and `/auth`."""
    doors = Doors(parts)

    async def register(call: Call) -> Response:
        body: Register = call.body
        user = await doors.register(call, body.email, body.password, name=(body.display_name or "").strip())
        response = JSONResponse(account_of(user).model_dump(), 201)
        return await doors.let_in(call, user, response, is_new=True)

    async def login(call: Call) -> Response:
        user = await doors.login(call, call.body.email, call.body.password)
        return await doors.let_in(call, user, JSONResponse(account_of(user).model_dump()))

    async def logout(call: Call) -> Response:
        return await doors.logout(call, JSONResponse({"detail": "You are logged out."}))

    async def me(call: Call) -> Account:
        assert call.who.user is not None
        return account_of(call.who.user)

    async def program_register(call: Call) -> Account:
        body: ProgramRegister = call.body
        return account_of(await doors.register(call, body.email, body.password, username=body.username))

    async def program_login(call: Call) -> Token:
        user = await doors.login(call, call.body.username, call.body.password)
        return Token(access_token=await doors.token(call, user, "bearer"))

    def post(path: str, handler: Any, summary: str, needs: Any = "nobody", **more: Any) -> Endpoint:
        return Endpoint("POST", path, handler, summary, "Accounts", needs, **more)

    def get(path: str, handler: Any, summary: str) -> Endpoint:
        return Endpoint("GET", path, handler, summary, "Accounts", "user", answers=Account)

    secret = "a long and odd sentence"
    ann: dict[str, Any] = {"email": "ann@example.org", "password": secret}
    program: dict[str, Any] = {"username": "ann", "password": secret}
    browsers = {"answers": Account, "example": ann}
    new = {"status": 201, "errors": (403, 409)}
    return parts.gate.routes(
        [
            post("/api/auth/register", register, "Make an account", body=Register, **browsers, **new),
            post("/api/auth/login", login, "Log in: sets the cookie", body=Login, errors=(401,), **browsers),
            post("/api/auth/logout", logout, "Log out: this login is over"),
            get("/api/auth/me", me, "Who am I?"),
            post(
                "/auth/register",
                program_register,
                "Make an account",
                body=ProgramRegister,
                answers=Account,
                example={**program, "email": "ann@example.org"},
                **new,
            ),
            post(
                "/auth/login",
                program_login,
                "Log in: answers a bearer token",
                body=ProgramLogin,
                answers=Token,
                example=program,
                errors=(401,),
            ),
            post("/auth/logout", logout, "End this bearer token"),
            get("/auth/me", me, "Who am I?"),
        ]
    )
