"""Where sessions are found, opened and gone on with: what sockets and HTTP share.

A session id may name a live talk, one that was made ahead over REST and nobody has come to, or one that is
over. Whoever knows the id of a guest's may do with it what they like; a user's wants the user, or a room's
token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.session import Session
from server.auth import Principal
from server.plans import Plans
from server.sessions import Draining, Elsewhere, Full, Sessions
from storage.archive import Archive
from storage.conversations import Conversations
from storage.ids import started_at, valid_session_id
from storage.talks import Talks
from storage.times import iso

Row = Mapping[str, Any]

OPENING_S = 2.0
"""How long whoever claimed a session may need until it is live; on a quiet machine milliseconds."""
GOES_ON = ("idle", "the connection was lost", "server stopped", "not resumed", "closed")
"""How a talk ends that nobody wanted to end: it may be gone on with."""


class Unknown(Exception):
    """There is no such session, or it is somebody else's."""


class Over(Exception):
    """The session has ended, for good."""


@dataclass(frozen=True, slots=True)
class Lobby:
    """Finds sessions by their ids. Methods raise `Unknown` before they say anything else, and `Elsewhere`
    when somebody else is just opening the session: ask again in a moment, the other workers too."""

    sessions: Sessions
    plans: Plans
    talks: Talks
    archive: Archive
    conversations: Conversations

    async def find(self, session_id: str, who: Principal, *, to_act: bool = False) -> Row:
        """A session as `storage.talks` has it, if it is theirs to see; with `to_act`, to use."""
        row = await self._row(session_id) if valid_session_id(session_id) else None
        if row is None:
            raise Unknown
        user_id = row["user_id"]
        live = self.sessions.get(session_id)
        if live is not None:
            user_id = user_of(self.sessions.owner_of(live.id)) or user_id
        may = who.may_act(session_id, user_id) if to_act else who.may_see(session_id, row["owner"], user_id)
        if not may:
            raise Unknown
        if to_act and live is None and self._is_opening(row):
            raise Elsewhere
        return row

    async def come_in(self, session_id: str, who: Principal) -> Session:
        """The live session, opened if it was made ahead: by one of all who come to it at the same moment.
        Raises `Unknown`, `Elsewhere`, `Over`, `Full`, `Draining`."""
        row = await self.find(session_id, who, to_act=True)
        if live := self.sessions.get(session_id):
            return live
        if row["ended_at"] or row["started_at"] or self.sessions.is_ending(session_id):
            raise Over
        if who.is_late:
            raise Unknown
        plan, now = await self.plans.made(row), _now()
        if not await self.talks.claim(session_id, now):
            raise Elsewhere
        try:
            return self.sessions.open(plan)
        except (Full, Draining):
            await self.talks.unclaim(session_id, now)
            raise

    async def go_on(self, session_id: str, who: Principal) -> Session:
        """The same, for who comes by REST: a talk that ended by itself goes on where it stopped."""
        try:
            session = await self.come_in(session_id, who)
        except Over:
            session = await self._take_up(session_id)
        session.visit()
        return session

    async def end(self, session_id: str, reason: str) -> None:
        """End a session, live or not. Returns when it is written."""
        if live := self.sessions.get(session_id):
            await live.end(reason)
        await self.talks.ended(session_id, _now())

    async def _take_up(self, session_id: str) -> Session:
        if self.sessions.is_ending(session_id):
            raise Over  # how it ended is not in its row yet
        stored = await self.conversations.get(session_id)
        if stored is None or stored["end_reason"] not in (None, *GOES_ON):
            raise Over
        left = await self.archive.take_up(session_id, self.sessions.resume_s)
        if live := self.sessions.get(session_id):
            return live  # somebody else was quicker
        if left is None or self.sessions.is_ending(session_id):
            raise Over
        session = self.sessions.restore(left)
        if session is None:
            raise Full
        session.visit()  # before its clock finds that everybody has been gone for long
        await self.talks.change(session_id, is_active=True, ended_at=None)
        return session

    def _is_opening(self, row: Row) -> bool:
        """Somebody has claimed this session, which is not live here, a moment ago."""
        if not row["started_at"] or row["ended_at"] or self.sessions.is_ending(row["id"]):
            return False
        return bool(row["started_at"] > iso(datetime.now(UTC) - timedelta(seconds=OPENING_S)))

    async def _row(self, session_id: str) -> Row | None:
        """The stored session; of a talk that began at a socket, as it would be stored."""
        if found := await self.talks.get(session_id):
            return found
        live, stored = self.sessions.get(session_id), await self.conversations.get(session_id)
        if live is None and stored is None:
            return None
        known = stored or {}
        owner = self.sessions.owner_of(session_id) if live else known["owner"] or ""
        began = started_at(session_id)
        created_at = known.get("start_time") or (iso(began) if began else _now())
        return {
            "id": session_id,
            "owner": owner or None,
            "user_id": user_of(owner) or known.get("user_id"),
            "agent_id": live.setup.agent_id if live else known.get("agent_id"),
            "room_name": None,
            "mode": live.setup.channels if live else "both",
            "session_prompt": None,
            "conversation_context": {},
            "context_prompts": [],
            "is_active": live is not None,
            "created_at": created_at,
            "started_at": created_at,
            "ended_at": None if live else known.get("end_time"),
        }


def user_of(owner: str) -> str | None:
    """The user that an owner's key names, if it names one."""
    kind, _, user_id = owner.partition(":")
    return user_id if kind == "user" else None


def _now() -> str:
    return iso(datetime.now(UTC))
