"""Routes WebSocket handshakes to sessions: who may come in, to which session, with which codec."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from pipeline.outbox import Event
from pipeline.session import Session
from server.auth import Keys, Principal, origin_allowed
from server.sessions import Draining, Full, Sessions
from server.wire.serve import NOT_ALLOWED, refuse, serve, watch
from server.wire.voice import Voice

PATHS = ("/ws/voice", "/ws/transcript/{session_id}", "/ws/voice-agent/{session_id}", "/ws/{session_id}")
"""Every WebSocket path, as documented."""

GOING_AWAY, TRY_LATER = 1001, 1013
_PATH = re.compile(r"/ws/(?:(?P<voice>voice)|transcript/(?P<watch>[^/]+)|(?:voice-agent/)?(?P<join>[^/]+))")


class Refused(Exception):
    """The handshake is answered with a close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Sockets:
    """The WebSocket half of the application."""

    def __init__(
        self,
        sessions: Sessions,
        keys: Keys,
        allowed_origins: Sequence[str],
        public_url: str,
        *,
        guests: bool,
    ) -> None:
        self._sessions, self._keys = sessions, keys
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
            if not origin_allowed(scope, self._allowed_origins, self._public_url):
                raise Refused(NOT_ALLOWED, "this origin is not allowed")
            principal = self._keys.principal(scope)
            query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode("latin-1")).items()}
            if match["watch"]:
                await self._watch(self._joined(match["watch"], principal), receive, send)
                return
            session = self._session(
                query | ({"session_id": match["join"]} if match["join"] else {}), principal
            )
        except Refused as refused:
            await refuse(receive, send, refused.code, refused.reason)
            return
        codec = Voice(base64_mode=bool(match["join"]))
        await serve(receive, send, session, codec, lambda more: self._connected(session, codec, more))

    def _session(self, query: dict[str, str], principal: Principal) -> Session:
        """The session that a handshake asks for, or a new one."""
        if "resume" in query:
            token = self._keys.read_resume_token(query["resume"])
            session = self._sessions.get(token[0]) if token else None
            if session is None:
                raise Refused(NOT_ALLOWED, "this talk can no longer be resumed")
            return session
        if "session_id" in query:
            return self._joined(query["session_id"], principal)
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

    def _joined(self, session_id: str, principal: Principal) -> Session:
        """A live session by its id: for a guest's, the id is the key."""
        session = self._sessions.get(session_id)
        if session is None:
            raise Refused(NOT_ALLOWED, "there is no such live session")
        del principal  # accounts will look whose it is
        return session

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
