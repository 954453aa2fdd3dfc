"""The registry of live sessions: opens them, finds them again, drains them. One per server process.

A session's tasks belong to the application, not to a socket: a lost socket leaves its session here for
`resume_window_s`. Slots are taken synchronously, so two clients cannot both get the last one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from pipeline.contracts import Archive, Caller
from pipeline.figures import Figures
from pipeline.minutes import iso
from pipeline.session import Session
from pipeline.setup import Engines, Restored, Rules, Setup
from server.plans import Plan

log = logging.getLogger(__name__)

DRAIN_S = 9.0
"""How long a shutdown waits for all sessions to be written. The contract allows ten seconds in all."""


class Full(Exception):
    """No slot is free."""


class Draining(Exception):
    """The server is going down: nobody new is let in."""


class Elsewhere(Exception):
    """The session is just being opened by another task or worker."""


LOOK_AGAIN_S = 0.025
LOOKS = 120
"""Three seconds: longer than an opening lasts."""


class Left(Protocol):
    """A session that a dead server left behind; see `storage.recovery.Unfinished`."""

    @property
    def session_id(self) -> str: ...
    @property
    def conversation(self) -> Mapping[str, Any]: ...
    @property
    def header(self) -> Mapping[str, Any]: ...
    @property
    def expires_at(self) -> datetime: ...
    @property
    def last_at_ms(self) -> int: ...
    @property
    def next_file(self) -> int: ...
    @property
    def last_position(self) -> int: ...
    @property
    def begun(self) -> Sequence[Mapping[str, Any]]: ...


class Sessions:
    """Live sessions by id."""

    def __init__(
        self,
        engines: Engines,
        rules: Rules,
        archive: Archive,
        setup: Setup,
        most: int,
        new_id: Callable[[], str],
        plugins: Mapping[str, str],
    ) -> None:
        self._engines, self._rules, self._archive = engines, rules, archive
        self._setup, self._most, self._new_id, self.plugins = setup, most, new_id, dict(plugins)
        self._live: dict[str, Session] = {}
        self._owners: dict[str, str] = {}
        self.figures = Figures()
        """Who gives sessions their avatars, where those come from elsewhere."""
        self._draining = False
        self._ends: set[asyncio.Task[None]] = set()
        self.on_over: Callable[[str, str], Awaitable[None]] | None = None
        """Told the id of a session that is over for good, and when that was."""
        self.opened = 0
        """Sessions opened since the start."""

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._live.values()))

    @property
    def draining(self) -> bool:
        return self._draining

    def get(self, session_id: str) -> Session | None:
        session = self._live.get(session_id)
        return None if session is None or session.ended else session

    @property
    def resume_s(self) -> float:
        """How long a lost client may stay away."""
        return self._rules.resume_s

    def owner_of(self, session_id: str) -> str:
        return self._owners.get(session_id, "")

    def adopt(self, guest: str, owner: str, user_id: str) -> None:
        """A guest logged in: the talks that the guest has going are the user's from now on."""
        for session_id, session in self._live.items():
            if self._owners.get(session_id) == guest:
                self._owners[session_id] = owner
                session.belong_to(owner, user_id)

    def new_id(self) -> str:
        """A name for a session that is to be opened later."""
        return self._new_id()

    def is_ending(self, session_id: str) -> bool:
        """It has ended, and is being written."""
        return session_id in self._live and self.get(session_id) is None

    def open(self, plan: Plan) -> Session:
        """A new session; the live one, if the planned one is live already. Raises `Full` or `Draining`."""
        if self._draining:
            raise Draining
        if plan.session_id and (live := self.get(plan.session_id)):
            return live
        if len(self._live) >= self._most:
            raise Full
        session_id = plan.session_id or self._new_id()
        header = {
            "session_id": session_id,
            "start_time": iso(_wall()),
            "user_id": plan.user_id,
            "owner": plan.owner or None,
            "config": self.plugins,
            **plan.setup.told(),
        }
        return self._make(session_id, plan.setup, plan.owner, header, None)

    def restore(self, left: Left) -> Session | None:
        """Take up a session of a server that died: its client may come back for what is left of the
        window, then it ends by itself. None when there is no room."""
        if self._draining or left.session_id in self._live or len(self._live) >= self._most:
            return None
        header = left.header
        setup = replace(self._setup)
        setup.take(header)
        left_s = (left.expires_at - _wall()).total_seconds()
        gone_s = max(0.0, self._rules.resume_s - left_s)
        position = left.last_position + int(gone_s * 16_000) if left.last_position else 0
        at_s = left.last_at_ms / 1000 + gone_s
        known = left.conversation.get("caller") or {}
        setup.caller = Caller(known.get("phone", ""), known.get("name", ""), header.get("user_id"))
        files = left.next_file - 1
        restored = Restored(left.conversation, files, position, at_s, gone_s, left.begun)
        return self._make(left.session_id, setup, str(header.get("owner") or ""), header, restored)

    def _make(
        self,
        session_id: str,
        setup: Setup,
        owner: str,
        header: Mapping[str, Any],
        restored: Restored | None,
    ) -> Session:
        live: list[Session] = []
        recorder = self._archive.open(session_id, header, lambda sentence: live[0].on_trouble(sentence))
        session = Session(session_id, setup, self._engines, self._rules, recorder, _wall, restored)
        live.append(session)
        session.avatar_of = self.figures.name_for
        if not setup.by_items:  # who speaks OpenAI's protocol sees no avatar
            self.figures.follow(session_id, setup, session.outbox)
        session.on_end = self._forget
        self._live[session_id], self._owners[session_id] = session, owner
        self.opened += 1
        return session

    def _forget(self, session: Session) -> None:
        self._live.pop(session.id, None)
        self._owners.pop(session.id, None)
        if self.on_over is not None and not session.suspended:
            task = asyncio.ensure_future(self.on_over(session.id, iso(_wall())))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

    async def drain(self) -> None:
        """Close every session's socket with 1001 and write everything; each stays resumable elsewhere."""
        self._draining = True
        sessions = list(self._live.values())
        if not sessions:
            await asyncio.gather(*self._ends, return_exceptions=True)
            return
        log.info("writing %d live session(s) before going down", len(sessions))
        ends = [asyncio.ensure_future(s.end("the server is restarting", 1001, keep=True)) for s in sessions]
        _, late = await asyncio.wait(ends, timeout=DRAIN_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)
        if late:
            log.warning("%d session(s) were not written in time; the next start finishes them", len(late))


def _wall() -> datetime:
    return datetime.now(UTC)
