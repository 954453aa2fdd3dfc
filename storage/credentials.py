"""Logins that are good right now: a row each, so that a logout or a new password ends them.

The key itself is never stored, only its SHA-256: it has 256 random bits, so it needs no slow hash.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from storage.database import Database
from storage.schema import credentials, mail_tokens, shares, users
from storage.times import iso

Kind = Literal["cookie", "bearer", "api_key"]
LOGINS: tuple[Kind, ...] = ("cookie", "bearer")
"""What a person or a program logged in with; an API key is made once and carried about."""
Purpose = Literal["verify", "reset"]
ID_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Credential:
    """A login, as its owner may see it."""

    id: str
    """Not the key, but enough to revoke it by."""
    user_id: str
    kind: str
    label: str
    created_at: str
    expires_at: str | None


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(key: str) -> str:
    """The `Credential.id` of a key."""
    return hash_of(key)[:ID_CHARACTERS]


class Credentials:
    """The repository of credentials, and of the keys that travel by mail or link."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- logins --------------------------------------------------------------------------------------------

    async def create(self, user_id: str, kind: Kind, lifetime: timedelta | None, label: str = "") -> str:
        """A new login. Returns its key, which is nowhere else."""
        key, now = secrets.token_urlsafe(32), datetime.now(UTC)
        row = {
            "key_hash": hash_of(key),
            "user_id": user_id,
            "kind": kind,
            "label": label,
            "created_at": iso(now),
            "expires_at": iso(now + lifetime) if lifetime else None,
        }
        async with self._database.write() as connection:
            await connection.execute(delete(credentials).where(credentials.c.expires_at < iso(now)))
            await connection.execute(credentials.insert().values(**row))
        return key

    async def user_of(self, key: str) -> str | None:
        """Whose login this is: the id of a user who is not disabled, None if it is not good (any more)."""
        found = await self.login(key)
        return found[0] if found else None

    async def login(self, key: str) -> tuple[str, Kind] | None:
        """(user id, kind) of a login that is good; None if it is not (any more)."""
        query = (
            select(credentials.c.user_id, credentials.c.kind)
            .join(users, users.c.id == credentials.c.user_id)
            .where(
                credentials.c.key_hash == hash_of(key),
                users.c.is_disabled.is_(False),
                _good(),
            )
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
            return (row.user_id, row.kind) if row else None

    async def list(self, user_id: str, kinds: Sequence[Kind] = ()) -> list[Credential]:
        """A user's own that are good, oldest first; of those kinds, if any are given."""
        query = select(credentials).where(credentials.c.user_id == user_id, _good())
        if kinds:
            query = query.where(credentials.c.kind.in_(kinds))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(credentials.c.created_at))).mappings()
            return [
                Credential(
                    row["key_hash"][:ID_CHARACTERS],
                    user_id,
                    row["kind"],
                    row["label"],
                    row["created_at"],
                    row["expires_at"],
                )
                for row in rows
            ]

    async def revoke(self, key: str) -> None:
        """Log out."""
        async with self._database.write() as connection:
            await connection.execute(delete(credentials).where(credentials.c.key_hash == hash_of(key)))

    async def revoke_id(self, user_id: str, credential_id: str, kinds: Sequence[Kind]) -> bool:
        """Revoke one of a user's own of those kinds by its `Credential.id`."""
        if not (credential_id.isascii() and credential_id.isalnum()):
            return False  # PostgreSQL would raise for a NUL
        where = and_(
            credentials.c.user_id == user_id,
            credentials.c.kind.in_(kinds),
            func.substr(credentials.c.key_hash, 1, ID_CHARACTERS) == credential_id,
        )
        async with self._database.write() as connection:
            gone = await connection.execute(delete(credentials).where(where))
            return bool(gone.rowcount)

    async def revoke_all(self, user_id: str, *, but: str = "", kinds: Sequence[Kind] = ()) -> None:
        """Log a user out everywhere; `but` is the key of a login that stays. `kinds`: only of those."""
        where = and_(credentials.c.user_id == user_id, credentials.c.key_hash != hash_of(but))
        if kinds:
            where = and_(where, credentials.c.kind.in_(kinds))
        async with self._database.write() as connection:
            await connection.execute(delete(credentials).where(where))

    # -- keys in mails --------------------------------------------------------------------------------------

    async def mail_key(self, user_id: str, purpose: Purpose, email: str, lifetime: timedelta) -> str:
        """A key to put into a mail. Earlier ones for the same purpose become worthless."""
        key = secrets.token_urlsafe(32)
        row = {
            "key_hash": hash_of(key),
            "user_id": user_id,
            "purpose": purpose,
            "email": email,
            "expires_at": iso(datetime.now(UTC) + lifetime),
        }
        where = and_(mail_tokens.c.user_id == user_id, mail_tokens.c.purpose == purpose)
        async with self._database.write() as connection:
            await connection.execute(delete(mail_tokens).where(where))
            await connection.execute(mail_tokens.insert().values(**row))
        return key

    async def look_at_mail_key(self, key: str, purpose: Purpose) -> tuple[str, str] | None:
        """The same as `take_mail_key`, but the key stays good."""
        where = and_(
            mail_tokens.c.key_hash == hash_of(key),
            mail_tokens.c.purpose == purpose,
            mail_tokens.c.expires_at > iso(datetime.now(UTC)),
        )
        async with self._database.read() as connection:
            row = (await connection.execute(select(mail_tokens).where(where))).first()
            return (row.user_id, row.email) if row else None

    async def take_mail_key(self, key: str, purpose: Purpose) -> tuple[str, str] | None:
        """(user id, email) of a key that came back, once; None if it is not good (any more)."""
        where = and_(
            mail_tokens.c.key_hash == hash_of(key),
            mail_tokens.c.purpose == purpose,
            mail_tokens.c.expires_at > iso(datetime.now(UTC)),
        )
        async with self._database.write() as connection:
            # In one statement: of two who come with the same key at once, one gets it.
            taking = delete(mail_tokens).where(where).returning(mail_tokens.c.user_id, mail_tokens.c.email)
            row = (await connection.execute(taking)).first()
            return (row.user_id, row.email) if row else None

    # -- shared talks ---------------------------------------------------------------------------------------

    async def share(self, user_id: str, session_id: str, lifetime: timedelta) -> tuple[str, str]:
        """A link's key that shows one talk to whoever has it, and when it expires."""
        key, now = secrets.token_urlsafe(24), datetime.now(UTC)
        expires_at = iso(now + lifetime)
        row = {
            "key_hash": hash_of(key),
            "session_id": session_id,
            "user_id": user_id,
            "created_at": iso(now),
            "expires_at": expires_at,
            "opened": 0,
        }
        async with self._database.write() as connection:
            await connection.execute(delete(shares).where(shares.c.expires_at < iso(now)))
            await connection.execute(shares.insert().values(**row))
        return key, expires_at

    async def shared_session(self, key: str) -> str | None:
        """Which talk a link's key shows; None if it shows none (any more)."""
        query = (
            select(shares.c.session_id)
            .join(users, users.c.id == shares.c.user_id)
            .where(
                shares.c.key_hash == hash_of(key),
                shares.c.expires_at > iso(datetime.now(UTC)),
                users.c.is_disabled.is_(False),
            )
        )
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(query)
            return found

    async def count_opening(self, key: str) -> None:
        """Somebody has looked at what a link shows."""
        statement = update(shares).where(shares.c.key_hash == hash_of(key))
        async with self._database.write() as connection:
            await connection.execute(statement.values(opened=shares.c.opened + 1))

    async def sharing(self, user_id: str, session_id: str) -> tuple[str | None, int]:
        """When the last of the links to a talk expires, None if there is none; and how often they were
        opened."""
        where = and_(
            shares.c.user_id == user_id,
            shares.c.session_id == session_id,
            shares.c.expires_at > iso(datetime.now(UTC)),
        )
        async with self._database.read() as connection:
            query = select(func.max(shares.c.expires_at), func.sum(shares.c.opened)).where(where)
            until, opened = (await connection.execute(query)).one()
            return until, opened or 0

    async def unshare(self, user_id: str, session_id: str) -> None:
        """End all links to a talk."""
        where = and_(shares.c.user_id == user_id, shares.c.session_id == session_id)
        async with self._database.write() as connection:
            await connection.execute(delete(shares).where(where))


def _good() -> ColumnElement[bool]:
    """That a login has not expired."""
    return or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > iso(datetime.now(UTC)))
