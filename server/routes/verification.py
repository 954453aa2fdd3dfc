"""What comes back from mails: an email is verified, a forgotten password is replaced."""

from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from server import passwords
from server.api import Body, Call, Endpoint
from server.limits import Limit, TooOften
from server.parts import Parts
from server.routes.accounts import LOGINS_OF_ACCOUNT, Email, Password
from server.routes.answers import not_found
from storage.accounts import User
from storage.credentials import Purpose

MAILS_OF_ACCOUNT = Limit("mails to an email", "5 per hour")
MAILS_OF_ADDRESS = Limit("mails for an address", "20 per hour")
KEYS_OF_ADDRESS = Limit("keys from mails of an address", "60 per hour")
NO_MAIL = "This server sends no mail: ask whoever runs it."
NO_ROOM = "Too many mails are on their way: try again in a few minutes."
IN_LOG = "This server sends no mail: the link is in its log."
NOT_GOOD = "This link is not good (any more): ask for a new one."


class Told(BaseModel):
    """What happened."""

    detail: str


class Key(Body):
    """The key from a mail's link."""

    key: str = Field(max_length=200)


class Forgotten(Body):
    email: Email


class NewPassword(Key):
    new_password: Password


class Replies:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._letters = parts, parts.letters

    async def ask_to_verify(self, call: Call) -> Told:
        user = call.who.user
        assert user is not None
        if user.email is None:
            raise HTTPException(409, "This account has no email.")
        if user.is_verified:
            return Told(detail="This email is verified already.")
        self._refuse_without_mail()
        await self._parts.limiter.hit(MAILS_OF_ACCOUNT, user.email)
        if not self._letters.verify(call.request, user):
            raise HTTPException(503, NO_ROOM)
        sent = f"A mail with a link is on its way to {user.email}."
        return Told(detail=sent if self._letters.are_sent else IN_LOG)

    async def verify(self, call: Call) -> Told:
        key = call.body.key
        user = await self._user_of(key, "verify")
        if await self._parts.credentials.take_mail_key(key, "verify") is None:
            raise not_found(NOT_GOOD)
        await self._is_verified(user)
        return Told(detail="The email is verified.")

    async def ask_for_password(self, call: Call) -> Told:
        """The same answer whether or not there is such an account."""
        email = call.body.email
        self._refuse_without_mail()
        try:
            await self._parts.limiter.hit(MAILS_OF_ACCOUNT, email)
        except TooOften:
            pass  # not told: the mailbox has what it needs, and a stranger learns nothing
        else:
            if not self._letters.reset(call.request, email):
                raise HTTPException(503, NO_ROOM)
        sent = "If there is an account with this email, a mail with a link is on its way to it."
        return Told(detail=sent if self._letters.are_sent else IN_LOG)

    async def set_password(self, call: Call) -> Told:
        """Every login ends, also those of whoever knew the old password."""
        body: NewPassword = call.body
        user, parts = await self._user_of(body.key, "reset"), self._parts
        try:
            passwords.check(body.new_password, user.email, user.username)
        except passwords.BadPassword as error:
            raise HTTPException(422, str(error)) from error  # the key stays good for a better one
        hashed = await parts.hashes.make(body.new_password)
        if await parts.credentials.take_mail_key(body.key, "reset") is None:
            raise not_found(NOT_GOOD)
        await parts.accounts.change(user.id, password_hash=hashed)
        await parts.credentials.revoke_all(user.id)
        for name in (user.email, user.username):
            if name:
                await parts.limiter.forget(LOGINS_OF_ACCOUNT, name.casefold())
        await self._is_verified(user)  # who has the key has read the mail
        return Told(detail="The password is changed: log in with it.")

    async def _user_of(self, key: str, purpose: Purpose) -> User:
        """Whose key it is. Raises 404, also for a key that was sent to an earlier email."""
        found = await self._parts.credentials.look_at_mail_key(key, purpose)
        user = await self._parts.accounts.get(found[0]) if found else None
        if found is None or user is None or user.is_disabled or user.email != found[1]:
            raise not_found(NOT_GOOD)
        return user

    async def _is_verified(self, user: User) -> None:
        verified = await self._parts.accounts.change(user.id, is_verified=True)
        if verified is not None:
            await self._parts.administrators.settle(verified)

    def _refuse_without_mail(self) -> None:
        if not self._letters.reach:
            raise HTTPException(503, NO_MAIL)


def routes(parts: Parts) -> list[BaseRoute]:
    """`/api/auth/verify` and `/api/auth/reset`."""
    replies = Replies(parts)

    def post(path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        needs = more.pop("needs", "nobody")
        return Endpoint("POST", path, handler, summary, "Accounts", needs, answers=Told, **more)

    key = {"key": "the key from the link"}
    return parts.gate.routes(
        [
            post(
                "/api/auth/verify/request",
                replies.ask_to_verify,
                "Send a link that verifies my email",
                needs="user",
                errors=(409, 503),
            ),
            post(
                "/api/auth/verify",
                replies.verify,
                "Verify an email with the key from the mail",
                body=Key,
                errors=(404,),
                limit=KEYS_OF_ADDRESS,
                example=key,
            ),
            post(
                "/api/auth/reset/request",
                replies.ask_for_password,
                "Send a link for a new password",
                body=Forgotten,
                errors=(503,),
                limit=MAILS_OF_ADDRESS,
                example={"email": "ann@example.org"},
            ),
            post(
                "/api/auth/reset",
                replies.set_password,
                "Set a new password with the key from the mail; all logins end",
                body=NewPassword,
                errors=(404,),
                limit=KEYS_OF_ADDRESS,
                example={**key, "new_password": "a long and odd sentence"},
            ),
        ]
    )
