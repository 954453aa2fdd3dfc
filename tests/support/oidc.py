"""A real OpenID Connect provider on a local port: discovery, keys, code flow with PKCE, userinfo.

It checks what a provider must check (client, redirect URI, PKCE, that a code is used once). Whoever comes is
logged in as `person` at once. `spoil` makes it lie.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "parley", "between the two of us"


class OidcServer:
    """The provider, and what it is asked."""

    def __init__(self, redirect_uri: str) -> None:
        self.port = 0
        self.redirect_uri = redirect_uri
        self.person: dict[str, Any] = {"sub": "42", "email": "ann@example.org", "email_verified": True}
        self.in_token = True
        """Whether the email is in the ID token; else only userinfo tells it."""
        self.denies = False
        self.spoil: dict[str, Any] = {}
        """Claims that are not as they should be; None leaves one out."""
        self.secret: str | None = SECRET
        self.key = _first_key()
        self.signing: Any = None
        """Another key to sign with than the one that is published."""
        self.algorithm = "RS256"
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: set[str] = set()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        routes = [
            Route("/.well-known/openid-configuration", self._about),
            Route("/keys", self._keys),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/userinfo", self._userinfo),
        ]
        return Starlette(routes=routes)

    async def _about(self, _request: Request) -> Response:
        self.asked.append("about")
        me = self.issuer
        about = {
            "issuer": me,
            "authorization_endpoint": f"{me}/authorize",
            "token_endpoint": f"{me}/token",
            "jwks_uri": f"{me}/keys",
            "userinfo_endpoint": f"{me}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }
        return JSONResponse({**about, **self.spoil.get("about", {})})

    async def _keys(self, _request: Request) -> Response:
        self.asked.append("keys")
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        query = request.query_params
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["redirect_uri"] == self.redirect_uri
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        if self.denies:
            back = {"error": "access_denied", "state": query["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = {"nonce": query["nonce"], "challenge": query["code_challenge"]}
            back = {"code": code, "state": query["state"]}
        return RedirectResponse(f"{self.redirect_uri}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        self.asked.append("token")
        form = await request.form()
        given = self._codes.pop(str(form["code"]), None)
        if not self._is_client(request, str(form.get("client_id"))):
            return JSONResponse({"error": "invalid_client"}, 401)
        challenge = _hash(str(form["code_verifier"]))
        if given is None or given["challenge"] != challenge or form["redirect_uri"] != self.redirect_uri:
            return JSONResponse({"error": "invalid_grant"}, 400)
        access = secrets.token_urlsafe(16)
        self._tokens.add(access)
        return JSONResponse(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": 60,
                "id_token": self._signed(given["nonce"], access),
            }
        )

    def _is_client(self, request: Request, client_id: str) -> bool:
        if self.secret is None:
            return client_id == CLIENT
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        known = base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        return scheme == "Basic" and value == known

    def _signed(self, nonce: str, access: str) -> str:
        now = int(time.time())
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            **(self.person if self.in_token else {"sub": self.person["sub"]}),
            **self.spoil.get("claims", {}),
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.algorithm == "none":
            parts = ({"alg": "none"}, claims)
            return ".".join(_b64(json.dumps(part).encode()) for part in parts) + "."
        key = self.signing or self.key
        header = {"alg": self.algorithm, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=["RS256", "HS256"])

    async def _userinfo(self, request: Request) -> Response:
        self.asked.append("userinfo")
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return JSONResponse({"error": "invalid_token"}, 401)
        return JSONResponse({**self.person, **self.spoil.get("userinfo", {})})

    def sign_with_the_secret(self) -> None:
        """As an attacker does who hopes that the public key or the shared secret is taken for either."""
        self.signing, self.algorithm = OctKey.import_key(SECRET, {"kid": "1"}), "HS256"

    def change_key(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})


@cache
def _first_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})


def _hash(verifier: str) -> str:
    return _b64(hashlib.sha256(verifier.encode()).digest())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@asynccontextmanager
async def oidc_server(redirect_uri: str) -> AsyncIterator[OidcServer]:
    provider = OidcServer(redirect_uri)
    server = uvicorn.Server(
        uvicorn.Config(provider.app(), port=0, lifespan="off", log_config=None, ws="none", loop="asyncio")
    )
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    provider.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.should_exit = True
        await task
