"""People: who may log in, and what they like. A password comes and goes as its hash only."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.schema import adoptions, users
from storage.times import iso

Users = list["User"]


class Taken(Exception):
    """Somebody has this email or username already. `field` says which."""

    def __init__(self, field: str) -> None:
        super().__init__(f"This {field} is taken.")
        self.field = field


class LastAdmin(Exception):
    """Nobody would be left to administer this server."""


@dataclass(frozen=True, slots=True)
class User:
    """One account, as the program uses it."""

    id: str
    email: str | None
    username: str | None
    display_name: str = ""
    password_hash: str | None = field(default=None, repr=False)
    is_admin: bool = False
    is_disabled: bool = False
    is_verified: bool = False
    phone: str | None = None
    preferences: dict[str, Any] = field(default_factory=dict)
    oidc_subject: str | None = None
    created_at: str = ""
    updated_at: str = ""
    last_login_at: str | None = None

    @property
    def owner(self) -> str:
        """The key that this user's talks are stored under."""
        return f"user:{self.id}"

    @property
    def name(self) -> str:
        """What to call them."""
        return self.display_name or self.username or (self.email or "").partition("@")[0]


def email_key(email: str) -> str:
    """An email as it is compared: mail providers tell no letter cases apart in practice."""
    return email.strip().casefold()


class Accounts:
    """The repository of users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        *,
        email: str | None,
        username: str | None = None,
        display_name: str = "",
        password_hash: str | None = None,
        is_admin: bool | None = None,
        is_verified: bool = False,
        oidc_subject: str | None = None,
    ) -> User:
        """A new user. The first one of all is an administrator unless `is_admin` says otherwise. Raises
        `Taken`."""
        now = _now()
        row: dict[str, Any] = {
            "id": secrets.token_hex(12),
            "email": email_key(email) if email else None,
            "username": username,
            "username_key": username.casefold() if username else None,
            "display_name": display_name,
            "password_hash": password_hash,
            "is_disabled": False,
            "is_verified": is_verified,
            "preferences": {},
            "oidc_subject": oidc_subject,
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.write() as connection:
            await self._database.alone(connection, "users")
            if taken := await self._taken(connection, row["email"], row["username_key"]):
                raise Taken(taken)
            if is_admin is None:
                is_admin = not await connection.scalar(select(func.count()).select_from(users))
            try:
                await connection.execute(users.insert().values(**row, is_admin=is_admin))
            except IntegrityError as error:  # another process was quicker
                raise Taken("email" if email else "username") from error
        found = await self.get(row["id"])
        assert found is not None
        return found

    async def _taken(self, connection: AsyncConnection, email: str | None, username_key: str | None) -> str:
        if email and await connection.scalar(select(users.c.id).where(users.c.email == email)):
            return "email"
        query = select(users.c.id).where(users.c.username_key == username_key)
        if username_key and await connection.scalar(query):
            return "username"
        return ""

    async def get(self, user_id: str) -> User | None:
        return await self._one(users.c.id == user_id)

    async def by_email(self, email: str) -> User | None:
        return await self._one(users.c.email == email_key(email))

    async def by_login(self, name: str) -> User | None:
        """By username, or by email where that is what was typed."""
        return await self._one(
            or_(users.c.username_key == name.strip().casefold(), users.c.email == email_key(name))
        )

    async def by_oidc(self, subject: str) -> User | None:
        return await self._one(users.c.oidc_subject == subject)

    async def by_phone(self, phone: str) -> User | None:
        return await self._one(users.c.phone == phone)

    async def list(self, limit: int = 20, offset: int = 0, *, text: str = "") -> tuple[Users, int]:
        """Users by age, and how many there are. `text` is looked for in email, username and name."""
        where = (
            [
                or_(
                    *(
                        c.icontains(text, autoescape=True)
                        for c in (users.c.email, users.c.username, users.c.display_name)
                    )
                )
            ]
            if text
            else []
        )
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.count()).select_from(users).where(*where))
            query = select(users).where(*where).order_by(users.c.created_at, users.c.id)
            found = (await connection.execute(query.limit(limit).offset(offset))).mappings()
            return [_user(row) for row in found], total or 0

    async def change(self, user_id: str, **values: Any) -> User | None:
        """Give columns new values. Raises `Taken`. None if there is no such user."""
        if "email" in values and values["email"] is not None:
            values["email"] = email_key(values["email"])
        if "username" in values:
            values["username_key"] = values["username"].casefold() if values["username"] else None
        statement = update(users).where(users.c.id == user_id).values(**values, updated_at=_now())
        try:
            async with self._database.write() as connection:
                await connection.execute(statement)
        except IntegrityError as error:
            raise Taken("username" if "username" in values else "email") from error
        return await self.get(user_id)

    async def set_role(
        self, user_id: str, *, is_admin: bool | None = None, is_disabled: bool | None = None
    ) -> User | None:
        """What an administrator says of a user; None leaves it. Raises `LastAdmin` if nobody who may say so
        would be left. None if there is no such user."""
        said = {"is_admin": is_admin, "is_disabled": is_disabled}
        values = {name: value for name, value in said.items() if value is not None}
        admins = select(users.c.id).where(users.c.is_admin.is_(True), users.c.is_disabled.is_(False))
        async with self._database.write() as connection:
            found = set(await connection.scalars(admins.with_for_update()))  # as in `leave`
            if found == {user_id} and (is_admin is False or is_disabled):
                raise LastAdmin
            statement = update(users).where(users.c.id == user_id)
            await connection.execute(statement.values(**values, updated_at=_now()))
        return await self.get(user_id)

    async def logged_in(self, user_id: str) -> None:
        """Remember that somebody logged in now."""
        async with self._database.write() as connection:
            await connection.execute(update(users).where(users.c.id == user_id).values(last_login_at=_now()))

    async def adopt(self, guest: str, user_id: str) -> None:
        """Remember for a day, for other workers, that an owner of talks was a guest and is a user now."""
        now = datetime.now(UTC)
        row = {"guest": guest, "user_id": user_id, "created_at": iso(now)}
        async with self._database.write() as connection:
            late = adoptions.c.created_at < iso(now - timedelta(days=1))
            await connection.execute(delete(adoptions).where(late))
            await self._database.upsert(connection, adoptions, [row], ["guest"])

    async def adopted(self, guests: Iterable[str]) -> dict[str, str]:
        """Of those guests: who has become which user."""
        query = select(adoptions.c.guest, adoptions.c.user_id).where(adoptions.c.guest.in_([*guests]))
        async with self._database.read() as connection:
            return {row.guest: row.user_id for row in await connection.execute(query)}

    async def disabled(self, user_ids: Iterable[str]) -> dict[str, bool]:
        """Of those users that there are: whether they are disabled."""
        query = select(users.c.id, users.c.is_disabled).where(users.c.id.in_([*user_ids]))
        async with self._database.read() as connection:
            return {row.id: row.is_disabled for row in await connection.execute(query)}

    async def leave(self, user_id: str, *, may_be_last: bool) -> bool:
        """`delete`, unless others would be left without an administrator. Raises `LastAdmin`.

        `may_be_last`: the last user of all may go, for whoever registers next will be the administrator.
        """
        admins = select(users.c.id).where(users.c.is_admin.is_(True), users.c.is_disabled.is_(False))
        others = select(func.count()).select_from(users).where(users.c.id != user_id)
        async with self._database.write() as connection:
            # Locked, where transactions go on side by side: two administrators may leave at once.
            found = set(await connection.scalars(admins.with_for_update()))
            if found == {user_id} and (not may_be_last or await connection.scalar(others)):
                raise LastAdmin
            gone = await connection.execute(delete(users).where(users.c.id == user_id))
            return bool(gone.rowcount)

    async def delete(self, user_id: str) -> bool:
        """Forget a user with all that hangs on it, except talks: whoever deletes an account deletes those."""
        async with self._database.write() as connection:
            gone = await connection.execute(delete(users).where(users.c.id == user_id))
            return bool(gone.rowcount)

    async def _one(self, condition: Any) -> User | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(users).where(condition))).mappings().first()
            return _user(row) if row else None


def _user(row: RowMapping) -> User:
    return User(**{name: value for name, value in row.items() if name != "username_key"})


def _now() -> str:
    return iso(datetime.now(UTC))
