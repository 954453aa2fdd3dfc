"""Who is asking: a principal from the cookie of an HTTP request or a WebSocket handshake, and who may.

So far there are guests only: the page gives its visitor a signed cookie, so that the visitor's own talks can
be listed to him and to nobody else. Works on bare ASGI scopes, so sockets and requests are asked alike.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeSerializer

Scope = Mapping[str, Any]

GUEST_COOKIE = "parley_guest"
GUEST_COOKIE_S = 400 * 24 * 3600  # as long as browsers keep one at most


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `owner` is the key that their talks are stored under; "" for a stranger."""

    owner: str = ""

    @property
    def known(self) -> bool:
        return bool(self.owner)


class Keys:
    """Signs and reads what we hand out. One secret; a salt per purpose, so no token serves for another."""

    def __init__(self, secret: str, worker: int = 0) -> None:
        self._worker = worker
        self._guest = URLSafeSerializer(secret, salt="guest-cookie")
        self._resume = URLSafeSerializer(secret, salt="resume-token")

    def new_guest_cookie(self) -> str:
        return str(self._guest.dumps(secrets.token_urlsafe(18)))

    def principal(self, scope: Scope) -> Principal:
        """The guest whose cookie came along, or a stranger. A forged cookie is a stranger's."""
        cookie = cookies(scope).get(GUEST_COOKIE)
        if cookie is None:
            return Principal()
        try:
            return Principal(f"guest:{self._guest.loads(cookie)}")
        except BadSignature:
            return Principal()

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


def _parts(url: str) -> tuple[str, str]:
    split = urlsplit(url)
    return split.scheme, split.netloc


def _same(scheme: str, netloc: str, other_scheme: str, other_netloc: str) -> bool:
    return scheme == other_scheme and netloc == other_netloc
