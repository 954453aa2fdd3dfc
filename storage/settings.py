"""Small things that the program keeps for itself, such as the secret it signs with."""

from collections.abc import Callable

from sqlalchemy import delete, select

from storage.database import Database
from storage.schema import settings


class Settings:
    """Text by key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> str | None:
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(select(settings.c.value).where(settings.c.key == key))
            return found

    async def get_or_create(self, key: str, factory: Callable[[], str]) -> str:
        """The value; made by `factory` if there is none. Of several processes that ask at once, one makes it
        and all get that one's."""
        if (found := await self.get(key)) is not None:
            return found
        query = select(settings.c.value).where(settings.c.key == key)
        async with self._database.write() as connection:
            if (found := await connection.scalar(query)) is not None:
                return str(found)
            row = {"key": key, "value": factory()}
            await self._database.insert_new(connection, settings, [row], ["key"])
            return str(await connection.scalar(query))

    async def put(self, key: str, value: str) -> None:
        async with self._database.write() as connection:
            await self._database.upsert(connection, settings, [{"key": key, "value": value}], ["key"])

    async def delete(self, key: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(settings).where(settings.c.key == key))
