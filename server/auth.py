"""Who is asking: a principal from an HTTP request or a WebSocket handshake, and which pages may ask.

    Authorization: Bearer …   a program's login or API key, or a room's token
    cookie parley_login       a browser's login
    cookie parley_guest       a visitor: so that his own talks can be listed to him and to nobody else

Every login is signed, which turns away made-up ones without a look into the database, and has a row there,
so that a logout or a new password ends it. Works on bare ASGI scopes: sockets and requests are asked alike.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeSerializer, URLSafeTimedSerializer

from storage.accounts import Accounts, User
from storage.credentials import Credentials

Scope = Mapping[str, Any]

GUEST_COOKIE = "parley_guest"
GUEST_COOKIE_S = 400 * 24 * 3600  # as long as browsers keep one at most
LOGIN_COOKIE = "parley_login"
API_KEY_PREFIX = "pk-"
API_KEY_PATHS = "/v1/"
"""Where an API key is good."""


Via = Literal["", "guest", "cookie", "bearer", "token"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `owner` is the key that their talks are stored under; "" for a stranger."""

    owner: str = ""
    user: User | None = None
    via: Via = ""
    """How they showed who they are."""
    key: str = ""
    """Of the login that was shown: what a logout revokes."""
    session_id: str = ""
    """With a room's token: the one session that it opens."""
    participant: str = ""
    is_late: bool = False
    """The room's token opens nothing any more; what it opened, it goes on with."""
    is_wrong: bool = False
    """They showed something that is not good here (any more)."""
    is_api_key: bool = False
    """That something is an API key."""

    @property
    def known(self) -> bool:
        return bool(self.owner)

    def may_see(self, session_id: str, owner: str | None, user_id: str | None) -> bool:
        """Whether a conversation is theirs to see. A guest's is everybody's who knows its id; a user's is
        the user's, an administrator's, and whose room token opens it."""
        if user_id is None or self.session_id == session_id:
            return True
        me = self.user
        return me is not None and (me.id == user_id or self.owner == owner or me.is_admin)

    def may_act(self, session_id: str, user_id: str | None) -> bool:
        """Whether they may speak in a session, change or end it: an administrator only looks."""
        if self.session_id:
            return self.session_id == session_id
        return user_id is None or (self.user is not None and self.user.id == user_id)


@dataclass(frozen=True, slots=True)
class RoomToken:
    """What a room's token says."""

    session_id: str
    participant: str
    expires_at: int
    """Unix seconds: until then it opens the session, and from then on it only goes on with it."""

    @property
    def is_late(self) -> bool:
        return time.time() > self.expires_at


class Keys:
    """Signs and reads what we hand out. One secret; a salt per purpose, so no token serves for another."""

    def __init__(self, secret: str, worker: int = 0) -> None:
        self._worker = worker
        self._guest = URLSafeSerializer(secret, salt="guest-cookie")
        self._login = URLSafeSerializer(secret, salt="login")
        self._room = URLSafeSerializer(secret, salt="room-token")
        self._resume = URLSafeSerializer(secret, salt="resume-token")
        self._oidc = URLSafeTimedSerializer(secret, salt="oidc-login")

    def new_guest_cookie(self) -> str:
        return str(self._guest.dumps(secrets.token_urlsafe(18)))

    def guest(self, scope: Scope) -> Principal:
        """The guest whose cookie came along, or a stranger. A forged cookie is a stranger's."""
        cookie = cookies(scope).get(GUEST_COOKIE)
        if cookie is None:
            return Principal()
        try:
            return Principal(f"guest:{self._guest.loads(cookie)}", via="guest")
        except BadSignature:
            return Principal()

    def login_token(self, key: str) -> str:
        """What a browser or a program carries; `key` is the credential's."""
        return str(self._login.dumps(key))

    def api_key(self, key: str) -> str:
        """The same, in the form that OpenAI's clients expect of a key."""
        return API_KEY_PREFIX + self.login_token(key)

    def read_login_token(self, token: str) -> str | None:
        """The credential's key, or None for a token that is not ours."""
        try:
            return str(self._login.loads(token.removeprefix(API_KEY_PREFIX)))
        except BadSignature:
            return None

    def room_token(self, session_id: str, participant: str, lifetime_s: int) -> str:
        """Opens one session, for `lifetime_s`; then it still goes on with it."""
        return str(self._room.dumps([session_id, participant, int(time.time()) + lifetime_s]))

    def read_room_token(self, token: str) -> RoomToken | None:
        try:
            session_id, participant, expires_at = self._room.loads(token)
            return RoomToken(str(session_id), str(participant), int(expires_at))
        except (BadSignature, ValueError, TypeError):
            return None

    def oidc_cookie(self, *values: str) -> str:
        """What a login elsewhere began with."""
        return str(self._oidc.dumps(values))

    def read_oidc_cookie(self, text: str, max_age_s: int) -> tuple[str, ...] | None:
        """The same, or None for what is not ours or too old."""
        try:
            return tuple(map(str, self._oidc.loads(text, max_age=max_age_s)))
        except BadSignature:
            return None

    def resume_token(self, session_id: str) -> str:
        """Opens `/ws/voice?resume=…`. Names the worker whose session it is."""
        return str(self._resume.dumps([session_id, self._worker]))

    def read_resume_token(self, token: str) -> tuple[str, int] | None:
        """(session id, worker), or None for a token that is not ours."""
        try:
            session_id, worker = self._resume.loads(token)
        except (BadSignature, ValueError, TypeError):
            return None
        return str(session_id), int(worker)


class Identity:
    """Finds out who is asking."""

    def __init__(self, keys: Keys, accounts: Accounts, credentials: Credentials) -> None:
        self._keys, self._accounts, self._credentials = keys, accounts, credentials

    async def of(self, scope: Scope, token: str = "") -> Principal:
        """The principal of a request or handshake; `token` is one that came some other way, as in a query.

        What a bearer shows counts alone: a wrong one is not made up for by a cookie.
        """
        scheme, _, bearer = header(scope, b"authorization").partition(" ")
        if not token and scheme.lower() == "bearer":
            token = bearer.strip()
        if token:
            return await self._of_token(token, scope["path"])
        cookie = cookies(scope).get(LOGIN_COOKIE)
        if cookie and (key := self._keys.read_login_token(cookie)) is not None:
            found = await self._of_login(key, "cookie", scope["path"])
            if found is not None:
                return found
        return self._keys.guest(scope)

    async def _of_token(self, token: str, path: str) -> Principal:
        if (room := self._keys.read_room_token(token)) is not None:
            return Principal(
                via="token",
                session_id=room.session_id,
                participant=room.participant,
                is_late=room.is_late,
            )
        key = self._keys.read_login_token(token)
        found = await self._of_login(key, "bearer", path) if key is not None else None
        return found or Principal(is_wrong=True, is_api_key=token.startswith(API_KEY_PREFIX))

    async def _of_login(self, key: str, via: Via, path: str) -> Principal | None:
        user_id, kind = await self._credentials.login(key) or ("", "")
        if kind == "api_key" and not path.startswith(API_KEY_PATHS):
            return None  # it lies about in other programs' settings: it talks, and does nothing else
        user = await self._accounts.get(user_id) if user_id else None
        return Principal(user.owner, user, via, key) if user else None


def header(scope: Scope, name: bytes) -> str:
    """The first header of that (lower-case) name, or ""."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""


def cookies(scope: Scope) -> dict[str, str]:
    """The cookies that came along."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(header(scope, b"cookie"))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


def origin_allowed(scope: Scope, allowed: Sequence[str], public_url: str) -> bool:
    """Whether a browser's page may use us: our own, or one that the owner named. Programs send no Origin."""
    origin = header(scope, b"origin").rstrip("/")
    if not origin or "*" in allowed:
        return True
    if origin in {o.rstrip("/") for o in allowed}:
        return True
    asked = urlsplit(origin)
    if public_url and _same(asked.scheme, asked.netloc, *_parts(public_url)):
        return True
    return asked.netloc != "" and asked.netloc == header(scope, b"host")


def from_our_pages(scope: Scope, allowed: Sequence[str], public_url: str) -> bool:
    """Whether a request with a cookie was sent by a page that may: Sec-Fetch-Site says so in every browser
    of today, Origin in those before. A program that sends neither has no other people's cookies."""
    if header(scope, b"sec-fetch-site") in ("same-origin", "none"):
        return True
    if header(scope, b"sec-fetch-site") and not header(scope, b"origin"):
        return False
    named = [origin for origin in allowed if origin != "*"]  # who lets everybody in means nobody's cookie
    return origin_allowed(scope, named, public_url)


def _parts(url: str) -> tuple[str, str]:
    split = urlsplit(url)
    return split.scheme, split.netloc


def _same(scheme: str, netloc: str, other_scheme: str, other_netloc: str) -> bool:
    return scheme == other_scheme and netloc == other_netloc
