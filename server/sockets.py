"""Routes WebSocket handshakes to sessions: who may come in, to which session, with which codec."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pipeline.outbox import Event
from pipeline.session import Session
from server.auth import Keys, Principal, origin_allowed
from server.sessions import Draining, Full, Sessions
from server.wire.serve import NOT_ALLOWED, refuse, serve, watch
from server.wire.voice import Voice
from server.workers import Place, forward, is_forwarded

PATHS = ("/ws/voice", "/ws/transcript/{session_id}", "/ws/voice-agent/{session_id}", "/ws/{session_id}")
"""Every WebSocket path, as documented."""

GOING_AWAY, TRY_LATER = 1001, 1013
_PATH = re.compile(r"/ws/(?:(?P<voice>voice)|transcript/(?P<watch>[^/]+)|(?:voice-agent/)?(?P<join>[^/]+))")


class Refused(Exception):
    """The handshake is answered with a close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that a handshake asks for."""

    session_id: str
    worker: int
    missing: str
    """What to say when it is nowhere."""


class Sockets:
    """The WebSocket half of the application."""

    def __init__(
        self,
        sessions: Sessions,
        keys: Keys,
        place: Place,
        allowed_origins: Sequence[str],
        public_url: str,
        *,
        guests: bool,
    ) -> None:
        self._sessions, self._keys, self._place = sessions, keys, place
        self._allowed_origins, self._public_url, self._guests = allowed_origins, public_url, guests
        self._open: set[asyncio.Task[Any]] = set()

    async def closed(self, within_s: float) -> None:
        """Wait until every socket has said its last word."""
        if self._open:
            await asyncio.wait(self._open, timeout=within_s)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._serve(scope, receive, send)
        finally:
            self._open.discard(task)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        match = _PATH.fullmatch(scope["path"])
        try:
            if match is None:
                raise Refused(NOT_ALLOWED, "there is no such socket")
            forwarded = is_forwarded(scope)
            if not forwarded and not origin_allowed(scope, self._allowed_origins, self._public_url):
                raise Refused(NOT_ALLOWED, "this origin is not allowed")
            query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode("latin-1")).items()}
            wanted = self._wanted(match, query)
            if wanted is None:
                session = self._new(query, self._keys.guest(scope))
            elif found := self._sessions.get(wanted.session_id):
                session = found
            elif not forwarded and await forward(self._place, wanted.worker, scope, receive, send):
                return
            else:
                raise Refused(NOT_ALLOWED, wanted.missing)
        except Refused as refused:
            await refuse(receive, send, refused.code, refused.reason)
            return
        if match["watch"]:
            await self._watch(session, receive, send)
            return
        if match["join"] and not session.attached_before:
            session.setup.base64 = True  # these paths' default; `start` may say otherwise
        codec = Voice()
        codec.follow(session.setup.input_rate_hz, base64_mode=session.setup.base64)
        await serve(receive, send, session, codec, lambda more: self._connected(session, codec, more))

    def _wanted(self, match: "re.Match[str]", query: dict[str, str]) -> "Wanted | None":
        """The live session that is asked for; None for a new one. A guest's session id is its key."""
        gone = "there is no such live session"
        session_id = match["watch"] or match["join"] or query.get("session_id")
        if "resume" in query and not match["watch"]:
            token = self._keys.read_resume_token(query["resume"])
            if token is None:
                raise Refused(NOT_ALLOWED, "this is not a resume token of ours")
            return Wanted(*token, "this talk can no longer be resumed")
        return Wanted(session_id, self._place.index, gone) if session_id else None

    def _new(self, query: dict[str, str], principal: Principal) -> Session:
        if "token" in query:
            raise Refused(NOT_ALLOWED, "this token is not valid")
        if not self._guests:
            raise Refused(NOT_ALLOWED, "guests are not allowed here: sign in first")
        try:
            return self._sessions.open(principal.owner)
        except Full:
            raise Refused(TRY_LATER, "all lines are busy, try again later") from None
        except Draining:
            raise Refused(GOING_AWAY, "the server is restarting") from None

    def _connected(self, session: Session, codec: Voice, more: Event) -> Event:
        setup = session.setup
        return {
            "type": "connected",
            "session_id": session.id,
            "mode": setup.mode,
            "agent": {"id": None, "name": "Parley", "voice": setup.voice, "language": setup.language},
            "input_rate": codec.input_rate,
            "output_rate": setup.output_rate_hz,
            "resume_token": self._keys.resume_token(session.id),
            "resume_window_s": session.resume_window_s,
            **more,
        }

    async def _watch(self, session: Session, receive: Any, send: Any) -> None:
        outbox = session.observe()
        first: Event = {
            "type": "connected",
            "session_id": session.id,
            "mode": session.setup.mode,
            "messages": [dict(m) for m in session.minutes.messages],
        }
        try:
            await watch(receive, send, [first], outbox)
        finally:
            session.unobserve(outbox)
