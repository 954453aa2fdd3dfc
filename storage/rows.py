"""Brings rows to the database while talks go on: the latest change of each session, one after the other.

The files are the truth, so a database that fails costs nothing but lateness: what could not be written is
tried again with the next change, and a last time when the session or the archive closes.
"""

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from storage.conversations import Conversations, RowChange

log = logging.getLogger(__name__)


class RowKeeper:
    """Used on the event loop only. What waits is bounded by the number of sessions, not of changes."""

    def __init__(self, repository: Conversations | None) -> None:
        self._repository = repository
        self._due: dict[str, RowChange] = {}
        self._gone: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def change(self, change: RowChange) -> None:
        """Have rows written soon."""
        if self._repository is None or change.session_id in self._gone:
            return
        self._due[change.session_id] = change.after(self._due.get(change.session_id))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        while self._due:
            if not await self.flush(next(iter(self._due))):
                return  # tried again with the next change

    async def flush(self, session_id: str) -> bool:
        """Write what is due of one session now. False if the database would not take it."""
        async with self._lock:
            change = self._due.pop(session_id, None)
            if change is None or self._repository is None:
                return True
            try:
                await self._repository.save(change)
            except BaseException as error:  # whoever waited for it may have been cancelled: it is still due
                newer = self._due.get(session_id)
                self._due[session_id] = newer.after(change) if newer else change
                if not isinstance(error, (SQLAlchemyError, OSError)):
                    raise
                log.error("%s: rows could not be written: %s", session_id, error)
                return False
            return True

    def forget(self, session_id: str) -> None:
        """The session is being deleted: write nothing more of it."""
        self._gone.add(session_id)
        self._due.pop(session_id, None)

    def forgotten(self, session_id: str) -> None:
        """It has been deleted."""
        self._gone.discard(session_id)

    async def aclose(self) -> None:
        """Write what is due, once more, and stop."""
        if self._task is not None:
            await self._task
        for session_id in list(self._due):
            await self.flush(session_id)
        self._due.clear()
