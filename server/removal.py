"""When an account goes: its live talks end, and its files and rows go with it, also in other workers. And
when a guest signed up at another worker: the talk he has here becomes his.

The account's row goes first, in one transaction with the look whether that may be: from then on nobody can
log in as that user. What a crash leaves of the rest is found by its missing user and deleted later.
"""

import asyncio
import logging
from collections.abc import Iterable

from sqlalchemy.exc import SQLAlchemyError

from pipeline.session import Session
from server.parts import Parts
from storage.accounts import User

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""How long a talk in another worker may go on after its account was deleted or disabled."""
SWEEP_EVERY = 120
"""Every so many looks, what has no user any more is deleted."""
_USER, _GUEST = "user:", "guest:"


class Removal:
    """Deletes accounts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def remove(self, user: User) -> None:
        """Delete a user with everything. Raises `storage.accounts.LastAdmin`."""
        may_be_last = self._parts.config.accounts.registration
        await self._parts.accounts.leave(user.id, may_be_last=may_be_last)
        await self._end(self._live([user.owner]), "the account was deleted")
        await self._parts.appointments.forget(user.phone, user.id)
        await self._parts.talks.delete_of(user.owner)
        await self._parts.archive.delete_of(user.owner)

    async def follow(self) -> None:
        """Do here, for ever, what follows from accounts that were made, deleted or disabled elsewhere."""
        for look in range(1 << 62):
            try:
                await self.look()
                if look % SWEEP_EVERY == 0:
                    await self._parts.archive.delete_without_user()
            except (SQLAlchemyError, OSError) as error:
                log.error("talks of deleted accounts could not be looked for: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """The same, once."""
        owners = {self._parts.sessions.owner_of(session.id) for session in self._parts.sessions}
        if guests := {owner for owner in owners if owner.startswith(_GUEST)}:
            for guest, user_id in (await self._parts.accounts.adopted(guests)).items():
                self._parts.sessions.adopt(guest, _USER + user_id, user_id)
        ids = {owner.removeprefix(_USER) for owner in owners if owner.startswith(_USER)}
        if not ids:
            return
        disabled = await self._parts.accounts.disabled(ids)
        await self._end(
            self._live(_USER + user_id for user_id, off in disabled.items() if off), "the account is disabled"
        )
        gone = self._live(_USER + user_id for user_id in ids - disabled.keys())
        await self._end(gone, "the account was deleted")
        for session in gone:
            await self._parts.archive.delete(session.id)

    def _live(self, owners: Iterable[str]) -> list[Session]:
        wanted, sessions = set(owners), self._parts.sessions
        return [session for session in sessions if sessions.owner_of(session.id) in wanted]

    async def _end(self, sessions: list[Session], why: str) -> None:
        await asyncio.gather(*(session.end(why, 1008) for session in sessions))
