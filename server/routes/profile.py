"""What a user sees and changes of their own account: profile, preferences, password; taking everything along,
and leaving."""

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from pipeline.slots import PHONE_DIGITS, read_phone
from server import passwords
from server.api import Body, Call, Endpoint
from server.auth import GUEST_COOKIE, LOGIN_COOKIE
from server.limits import Limit
from server.parts import Parts
from server.removal import Removal
from server.routes.accounts import Account, Doors, Email, Password, Token, Username, account_of
from server.takeout import takeout
from storage.accounts import LastAdmin, Taken, User

EXPORTS = Limit("exports of everything", "6 per hour")
MOST_PROMPT_CHARS = 32_000  # as on the voice socket

Text = Annotated[str, Field(max_length=200)]
Speed = Annotated[float, Field(ge=0.5, le=2.0, allow_inf_nan=False)]


def _phone(text: str) -> str:
    """A phone number as appointments know it: ten digits, however it was written."""
    found = read_phone(text)
    if found is None:
        raise ValueError(f"must be a phone number of {PHONE_DIGITS} digits")
    return found


def _language(text: str) -> str:
    if not text.replace("-", "").replace("_", "").isalnum():
        raise ValueError("must be a language, such as en or es-MX")
    return text


Phone = Annotated[str, Field(max_length=40), AfterValidator(_phone)]
Language = Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_language)]


class Preferences(BaseModel):
    """What the next talks of a user are to be like. null: as the server has it."""

    preferred_voice: str | None = None
    preferred_language: str | None = None
    favorite_topics: list[str] = []
    system_prompt_override: str | None = None
    speech_speed: float | None = None
    speech_pitch: float | None = None


class Profile(Account):
    """An account with all that its owner may change."""

    phone: str | None
    has_password: bool
    preferences: Preferences


class ProfileChange(Body):
    """Fields that are not given stay as they are."""

    display_name: Text | None = None
    username: Username | None = None
    phone: Phone | None = Field(None, validation_alias=AliasChoices("phone", "phone_number"))
    email: Email | None = None
    current_password: Password | None = Field(None, description="Needed to change the email")


class PreferencesChange(Body):
    """Fields that are not given stay as they are; null takes one back."""

    preferred_voice: Text | None = None
    preferred_language: Language | None = None
    favorite_topics: list[Annotated[str, Field(max_length=100)]] | None = Field(None, max_length=50)
    system_prompt_override: str | None = Field(None, max_length=MOST_PROMPT_CHARS)
    speech_speed: Speed | None = Field(None, description="1 is the voice's own")
    speech_pitch: Speed | None = Field(None, description="1 is the voice's own")


class PasswordChange(Body):
    current_password: Password
    new_password: Password


class Renewed(BaseModel):
    """The login that takes the place of the old one: `access_token` for a program, a cookie for a browser."""

    detail: str = "The password is changed; everybody else is logged out."
    access_token: str | None = None
    token_type: str | None = None


class Leaving(Body):
    """The password; of an account without one (it logs in elsewhere), its email."""

    password: Password | None = None
    email: str | None = Field(None, max_length=320)


def preferences_of(user: User) -> Preferences:
    """Only what there is: the defaults say the rest."""
    return Preferences.model_validate(user.preferences)


def profile_of(user: User) -> Profile:
    return Profile(
        **account_of(user).model_dump(),
        phone=user.phone,
        has_password=user.password_hash is not None,
        preferences=preferences_of(user),
    )


class Own:
    """What users do to their own accounts."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._doors = parts, Doors(parts)
        self._removal = Removal(parts)

    async def profile(self, call: Call) -> Profile:
        return profile_of(_user(call))

    async def change(self, call: Call) -> Profile:
        body: ProfileChange = call.body
        user, values = _user(call), body.model_dump(exclude_unset=True, exclude={"current_password"})
        if values.get("email") and values["email"] != user.email:
            await self._doors.confirm(call, body.current_password or "")
            values["is_verified"] = False
        elif "email" in values and values["email"] is None and user.email:
            raise HTTPException(422, "email cannot be taken away: logins and mails need it")
        if "username" in values and values["username"] is None and not user.email:
            raise HTTPException(422, "username cannot be taken away: nothing else is there to log in with")
        if "display_name" in values:
            values["display_name"] = (values["display_name"] or "").strip()
        if phone := values.get("phone"):
            other = await self._parts.accounts.by_phone(phone)
            if other is not None and other.id != user.id:  # whose it is sees its appointments
                raise HTTPException(409, "There is an account with this phone already.")
        try:
            changed = await self._parts.accounts.change(user.id, **values) if values else user
        except Taken as taken:
            raise HTTPException(409, f"There is an account with this {taken.field} already.") from taken
        if changed is not None and changed.email != user.email:
            self._parts.letters.welcome(call.request, changed)
        return profile_of(changed or user)

    async def prefer(self, call: Call) -> Preferences:
        body: PreferencesChange = call.body
        user, given = _user(call), body.model_dump(exclude_unset=True)
        if given.get("favorite_topics"):
            topics = (topic.strip() for topic in given["favorite_topics"])
            given["favorite_topics"] = [*dict.fromkeys(topic for topic in topics if topic)]
        for name in ("preferred_voice", "system_prompt_override"):
            if name in given:
                given[name] = (given[name] or "").strip() or None
        kept = {**user.preferences, **given}
        wanted = {name: value for name, value in kept.items() if value not in (None, [])}
        changed = await self._parts.accounts.change(user.id, preferences=wanted)
        return preferences_of(changed or user)

    async def change_password(self, call: Call) -> Response:
        body: PasswordChange = call.body
        user = await self._confirm(call, body.current_password)
        try:
            passwords.check(body.new_password, user.email, user.username)
        except passwords.BadPassword as error:
            raise HTTPException(422, str(error)) from error
        hashed = await self._parts.hashes.make(body.new_password)
        await self._parts.accounts.change(user.id, password_hash=hashed)
        await self._parts.credentials.revoke_all(user.id)
        if call.who.via == "cookie":
            response = JSONResponse(Renewed().model_dump())
            await self._doors.set_cookie(call, user, response)
            return response
        token = Token(access_token=await self._doors.token(call, user, "bearer"))
        return JSONResponse(Renewed(**token.model_dump()).model_dump())

    async def export(self, call: Call) -> Response:
        user = _user(call)
        await self._parts.limiter.hit(EXPORTS, user.id)
        name = f'attachment; filename="parley-{user.created_at[:10]}.zip"'
        headers = {"Content-Disposition": name, "Cache-Control": "private, no-store"}
        profile = profile_of(user).model_dump()
        return StreamingResponse(
            takeout(self._parts, user, profile), media_type="application/zip", headers=headers
        )

    async def leave(self, call: Call) -> Response:
        body: Leaving = call.body
        user = _user(call)
        if user.password_hash is not None:
            await self._confirm(call, body.password or "")
        elif not user.email or (body.email or "").strip().casefold() != user.email:
            raise HTTPException(403, "This account has no password: type its email to confirm.")
        try:
            await self._removal.remove(user)
        except LastAdmin as error:
            why = "You are the only administrator: make somebody else one before you go."
            raise HTTPException(409, why) from error
        response = Response(status_code=204)
        for cookie in (LOGIN_COOKIE, GUEST_COOKIE):
            response.delete_cookie(cookie, httponly=True, samesite="lax", secure=self._parts.secure)
        return response

    async def _confirm(self, call: Call, password: str) -> User:
        if _user(call).password_hash is None:
            raise HTTPException(409, "This account has no password: it logs in elsewhere.")
        return await self._doors.confirm(call, password)


def _user(call: Call) -> User:
    assert call.who.user is not None
    return call.who.user


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/users` that are about the account itself."""
    own = Own(parts)

    def route(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint(method, f"/api/users/{path}", handler, summary, "Profile", "user", **more)

    secret = "a long and odd sentence"
    new = {"current_password": secret, "new_password": "an even longer sentence"}
    wishes = {"preferred_language": "es", "favorite_topics": ["chess"], "speech_speed": 1.2}
    return parts.gate.routes(
        [
            route("GET", "profile", own.profile, "My profile", answers=Profile),
            route(
                "PATCH",
                "profile",
                own.change,
                "Change my profile",
                body=ProfileChange,
                answers=Profile,
                errors=(403, 409),
                example={"display_name": "Ann", "phone": "555-123-4567"},
            ),
            route(
                "PUT",
                "preferences",
                own.prefer,
                "Change what my next talks are like",
                body=PreferencesChange,
                answers=Preferences,
                example=wishes,
            ),
            route(
                "POST",
                "change-password",
                own.change_password,
                "Change my password: every other login and API key is over",
                body=PasswordChange,
                answers=Renewed,
                errors=(403, 409),
                example=new,
            ),
            route(
                "GET",
                "export",
                own.export,
                "Everything of mine, as a ZIP",
                media="application/zip",
                errors=(429,),
            ),
            route(
                "DELETE",
                "me",
                own.leave,
                "Delete my account with everything in it",
                body=Leaving,
                status=204,
                errors=(403, 409),
                example={"password": secret},
            ),
        ]
    )
