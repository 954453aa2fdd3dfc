"""Logging in elsewhere: OpenID Connect's code flow with PKCE, for one provider found by its issuer.

    browser ── /auth/oidc/login ──▶ provider, with state, nonce and the hash of a verifier
            ◀── logs in there ──▶
            ── /auth/oidc/callback?code&state ──▶ us ── code, verifier ──▶ provider: a signed ID token

What the login began with travels in a signed cookie, so that a callback counts only in the browser that began
it (OpenID Connect Core 1.0, section 3.1; RFC 7636). Of the provider's word only what its ID token says is
believed; the userinfo endpoint is asked for an email that the token leaves out.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.vendor import http_package, load, trust
from server.sections import Oidc

ASK_S = 10.0
"""How long the provider is waited for."""
KEEP_S = 3600.0
"""How long its description and keys are believed: providers change keys by announcing the new ones first."""
ASK_AGAIN_S = 60.0
"""Keys that are not known are asked for at most this often: made-up tokens must not flood the provider."""
LEEWAY_S = 60  # two clocks
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]
"""Signatures that only the provider can make: never "none", never one with our own secret."""
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class OidcError(Exception):
    """The login cannot be believed, or the provider cannot be asked. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that has begun: what must come back with it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Attempt":
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


@dataclass(frozen=True, slots=True)
class Person:
    """Who the provider says it is."""

    subject: str
    """Of this provider: no other's subject is the same."""
    email: str | None
    """Only one that the provider has verified."""
    name: str


class Provider:
    """The provider. Make one with `create`."""

    def __init__(self, config: Oidc, secret: str, redirect_uri: str, modules: Mapping[str, Any]) -> None:
        self._config, self._secret, self._redirect_uri = config, secret, redirect_uri
        self._client, self._claims = (
            modules["authlib.integrations.httpx_client"],
            modules["authlib.oidc.core"],
        )
        self._jwt, self._jwk = modules["joserfc.jwt"], modules["joserfc.jwk"]
        self._bad_token: type[Exception] = modules["joserfc.errors"].JoseError
        httpx, authlib = http_package(self._client.AsyncOAuth2Client), modules["authlib.common.errors"]
        self._trust = trust(httpx)
        self._unreadable: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL, ValueError)
        shapes = (KeyError, TypeError, AttributeError)  # JSON of another shape than the standard's
        self._unbelievable = (*self._unreadable, *shapes, authlib.AuthlibBaseError, self._bad_token)
        self._about: Mapping[str, Any] = {}
        self._keys: Any = None
        self._read_at = self._keys_read_at = float("-inf")
        self._lock = asyncio.Lock()

    @classmethod
    async def create(cls, config: Oidc, secret: str, redirect_uri: str) -> "Provider":
        """Raises `Unavailable` if the packages for it are not installed."""
        authlib = ("authlib.integrations.httpx_client", "authlib.oidc.core", "authlib.common.errors")
        names = (*authlib, "joserfc.jwt", "joserfc.jwk", "joserfc.errors")
        modules = {name: await load(name, "oidc") for name in names}
        return await asyncio.to_thread(cls, config, secret, redirect_uri, modules)

    async def address(self, attempt: Attempt) -> str:
        """Where the browser logs in. Raises `OidcError`."""
        about = await self._description()
        async with self._http() as http:
            url, _ = http.create_authorization_url(
                about["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url)

    async def person(self, code: str, attempt: Attempt) -> Person:
        """Who has logged in, by the code that came back. Raises `OidcError`."""
        about = await self._description()
        try:
            async with self._http() as http:
                token = await http.fetch_token(
                    about["token_endpoint"], code=code, code_verifier=attempt.verifier
                )
                claims = await self._checked(token, attempt.nonce)
                if "email" not in claims and "email" in self._config.scopes:
                    claims = {**claims, **await self._userinfo(http, claims["sub"], token["access_token"])}
        except self._unbelievable as error:
            raise OidcError(f"the provider's answer cannot be believed: {error!r}") from error
        subject = f"{claims['sub']}@{self._config.issuer}"
        if not isinstance(claims["sub"], str) or not claims["sub"] or len(subject) > 400:
            raise OidcError("the provider gives its users names that cannot be kept")
        email, name = claims.get("email"), claims.get("name") or claims.get("preferred_username")
        sure = claims.get("email_verified") is True and isinstance(email, str) and "@" in email
        return Person(subject, email if sure else None, str(name or "")[:200])

    async def _checked(self, token: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """The claims of the ID token, if it is the provider's, for us, for this login, and still good."""
        signed = token["id_token"]
        try:
            read = self._jwt.decode(signed, await self._key_set(), algorithms=ALGORITHMS)
        except (self._bad_token, ValueError):  # perhaps by a key that is newer than what we know
            read = self._jwt.decode(signed, await self._key_set(newer=True), algorithms=ALGORITHMS)
        claims = self._claims.CodeIDToken(
            read.claims,
            read.header,
            {
                "iss": {"essential": True, "value": self._about["issuer"]},
                "aud": {"essential": True, "value": self._config.client_id},
            },
            {
                "nonce": nonce,
                "client_id": self._config.client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(int(time.time()), LEEWAY_S)
        return dict(claims)

    async def _userinfo(self, http: Any, subject: str, access_token: str) -> Mapping[str, Any]:
        endpoint = self._about.get("userinfo_endpoint")
        if not endpoint:
            return {}
        # Not as the client would send it: it refuses a token that has less than a minute left.
        bearer = {"Authorization": f"Bearer {access_token}"}
        answer = await http.request("GET", endpoint, headers=bearer, withhold_token=True)
        answer.raise_for_status()
        found = answer.json()
        # Core 5.3.2: of anybody else, it must not be used.
        return found if isinstance(found, dict) and found.get("sub") == subject else {}

    async def _description(self) -> Mapping[str, Any]:
        """The provider's own, kept for an hour (OpenID Connect Discovery 1.0, section 4)."""
        async with self._lock:
            if time.monotonic() - self._read_at < KEEP_S:
                return self._about
            issuer = self._config.issuer.rstrip("/")
            found = await self._json(f"{issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != issuer:
                raise OidcError(f"{issuer} describes itself as another issuer: {found.get('issuer')!r}")
            if missing := [name for name in NEEDED if not isinstance(found.get(name), str)]:
                raise OidcError(f"{issuer} does not say its {missing[0]}")
            self._about, self._read_at = found, time.monotonic()
            return found

    async def _key_set(self, *, newer: bool = False) -> Any:
        about = await self._description()
        async with self._lock:
            age_s = time.monotonic() - self._keys_read_at
            if age_s >= KEEP_S or (newer and age_s >= ASK_AGAIN_S):
                self._keys = self._jwk.KeySet.import_key_set(await self._json(about["jwks_uri"]))
                self._keys_read_at = time.monotonic()
            return self._keys

    async def _json(self, url: str) -> dict[str, Any]:
        try:
            async with self._http() as http:
                answer = await http.request("GET", url, withhold_token=True)
                answer.raise_for_status()
                found = answer.json()
        except self._unreadable as error:
            raise OidcError(f"{url} cannot be read: {error!r}") from error
        if not isinstance(found, dict):
            raise OidcError(f"{url} is no JSON object")
        return found

    def _http(self) -> Any:
        known = self._about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        how = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        return self._client.AsyncOAuth2Client(
            client_id=self._config.client_id,
            client_secret=self._secret or None,
            token_endpoint_auth_method=how if self._secret else "none",
            scope=" ".join(self._config.scopes),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            timeout=ASK_S,
            verify=self._trust,
        )
