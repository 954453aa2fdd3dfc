"""Routes WebSocket handshakes to sessions: who may come in, to which session, with which codec."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pipeline.outbox import Event
from pipeline.session import Session
from server.auth import API_KEY_PATHS, Identity, Keys, Principal, origin_allowed
from server.lobby import Lobby, Over, Unknown, user_of
from server.plans import NoAgent, Plan, of_agent
from server.sessions import LOOK_AGAIN_S, LOOKS, Draining, Elsewhere, Full
from server.wire.realtime.codec import Realtime
from server.wire.realtime.terms import Terms
from server.wire.realtime.told import told_alone
from server.wire.serve import NOT_ALLOWED, Receive, refuse, serve, take, take_realtime, watch
from server.wire.voice import BadMessage, Voice
from server.workers import Place, forward, is_forwarded

REALTIME_PATH = "/v1/realtime"
PATHS = (
    *("/ws/voice", "/ws/transcript/{session_id}", "/ws/voice-agent/{session_id}", "/ws/{session_id}"),
    REALTIME_PATH,
)
"""Every WebSocket path, as documented."""

REALTIME = "realtime"
"""The subprotocol that browsers are answered,"""
KEY_IN = "openai-insecure-api-key."
"""and how the one with their key begins."""
BAD_KEY = 3000
"""The close code for it, as OpenAI has it."""
EXPIRES_S = 24 * 3600
"""Of a session, as its client is told; nothing is done about it."""

GOING_AWAY, TRY_LATER = 1001, 1013
_PATH = re.compile(r"/ws/(?:(?P<voice>voice)|transcript/(?P<watch>[^/]+)|(?:voice-agent/)?(?P<join>[^/]+))")
_NO_GUESTS = "guests are not allowed here: sign in first"
_API_KEY = f"an API key is good under {API_KEY_PATHS} only: log in, and send the access token"
_GONE = "there is no such live session"


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
    resumed: bool = False
    """By its resume token, which opens it whoever shows it."""
    watch: bool = False
    """Only to look on: nothing is opened for that."""


class Sockets:
    """The WebSocket half of the application."""

    def __init__(
        self,
        lobby: Lobby,
        keys: Keys,
        identity: Identity,
        place: Place,
        allowed_origins: Sequence[str],
        public_url: str,
        *,
        guests: bool,
    ) -> None:
        self._lobby, self._keys, self._identity, self._place = lobby, keys, identity, place
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
        if scope["path"] == REALTIME_PATH:
            await self._realtime(scope, receive, send)
            return
        match = _PATH.fullmatch(scope["path"])
        try:
            if match is None:
                raise Refused(NOT_ALLOWED, "there is no such socket")
            if not is_forwarded(scope) and not origin_allowed(scope, self._allowed_origins, self._public_url):
                raise Refused(NOT_ALLOWED, "this origin is not allowed")
            query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode("latin-1")).items()}
            who = await self._identity.of(scope, query.get("token", ""))
            if who.is_wrong:
                raise Refused(
                    NOT_ALLOWED, _API_KEY if who.is_api_key else "this token is not valid (any more)"
                )
            wanted = self._wanted(match, query, who)
            if wanted is None:
                session = await self._new(query, who)
            elif found := await self._found(wanted, who, scope, receive, send):
                session = found
            else:
                return
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

        async def arrange(start: Event) -> Event:
            return await self._arranged(start, session, who)

        def connected(more: Event) -> tuple[Event]:
            return (self._connected(session, codec, more),)

        async def listener(receive: Receive) -> tuple[int, str]:
            return await take(receive, session, codec, arrange)

        await serve(receive, send, session, codec, connected, listener)

    async def _realtime(self, scope: Any, receive: Any, send: Any) -> None:
        """OpenAI's wire: a new session for each socket. Browsers bring their key in a subprotocol."""
        offered = [str(name) for name in scope.get("subprotocols") or ()]
        protocol = REALTIME if REALTIME in offered else ""
        key = next((name.removeprefix(KEY_IN) for name in offered if name.startswith(KEY_IN)), "")
        try:
            if not is_forwarded(scope) and not origin_allowed(scope, self._allowed_origins, self._public_url):
                raise Refused(NOT_ALLOWED, "this origin is not allowed")
            who = await self._identity.of(scope, key)
            if who.is_wrong or who.session_id:
                who = Principal()  # any other key is a guest's
            if not self._guests and not who.user:
                refusal = "invalid_request_error.invalid_api_key"
                wrong = told_alone("invalid_api_key", "This API key is not valid here (any more).")
                await refuse(receive, send, BAD_KEY, refusal, [wrong], protocol)
                return
            query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode("latin-1")).items()}
            session = self._enter(await self._plan_realtime(query, who))
        except Refused as refused:
            wrong = told_alone("server_error", f"{refused}".capitalize() + ".")
            await refuse(receive, send, refused.code, str(refused), [wrong], protocol)
            return
        setup = session.setup
        expires_at = int(time.time()) + EXPIRES_S
        terms = Terms(session.id, query.get("model") or "parley", expires_at, session.floor.timing)
        terms.begin(transcribes=query.get("intent") == "transcription", voice=setup.voice, speed=setup.speed)
        codec = Realtime(session, terms)

        async def listener(receive: Receive) -> tuple[int, str]:
            return await take_realtime(receive, session, codec)

        await serve(receive, send, session, codec, codec.begin, listener, protocol)

    async def _plan_realtime(self, query: dict[str, str], who: Principal) -> Plan:
        """`model` may be one of the user's agents; any other name is this server."""
        plans = self._lobby.plans
        try:
            plan = await plans.new(who, query.get("agent_id") or query.get("model", ""))
        except NoAgent:
            if query.get("agent_id"):
                raise Refused(NOT_ALLOWED, "there is no such agent of yours") from None
            plan = await plans.new(who)
        plan.setup.by_items, plan.setup.greeting = True, ""
        return plan

    def _wanted(self, match: "re.Match[str]", query: dict[str, str], who: Principal) -> "Wanted | None":
        """The session that is asked for; None for a new one."""
        if "resume" in query and not match["watch"]:
            token = self._keys.read_resume_token(query["resume"])
            if token is None:
                raise Refused(NOT_ALLOWED, "this is not a resume token of ours")
            return Wanted(*token, resumed=True)
        session_id = match["watch"] or match["join"] or query.get("session_id") or who.session_id
        return Wanted(session_id, self._place.index, watch=bool(match["watch"])) if session_id else None

    async def _found(
        self, wanted: Wanted, who: Principal, scope: Any, receive: Any, send: Any
    ) -> Session | None:
        """That session, opened if nobody has come to it yet; None when another worker has served the socket.
        Of workers that are asked for it at the same moment, one opens it and the others find it there."""
        forwarded = is_forwarded(scope)
        for _ in range(LOOKS):
            if found := self._live(wanted, who):
                return found
            if not forwarded and await forward(self._place, wanted.worker, scope, receive, send):
                return None
            if forwarded or wanted.resumed or wanted.watch:
                raise Refused(NOT_ALLOWED, "this talk can no longer be resumed" if wanted.resumed else _GONE)
            try:
                return await self._opened(wanted.session_id, who)
            except Elsewhere:
                await asyncio.sleep(LOOK_AGAIN_S)
        raise Refused(TRY_LATER, "this session is just being opened, try again")

    def _live(self, wanted: Wanted, who: Principal) -> Session | None:
        """That session, if it is live in this process."""
        sessions = self._lobby.sessions
        session = sessions.get(wanted.session_id)
        if session is None or wanted.resumed:
            return session
        if not who.may_act(session.id, user_of(sessions.owner_of(session.id))):
            raise Refused(NOT_ALLOWED, _GONE)
        self._refuse_strangers(who)
        return session

    async def _opened(self, session_id: str, who: Principal) -> Session:
        """A session that was made ahead, and that nobody has come to yet."""
        self._refuse_strangers(who)
        try:
            return await self._lobby.come_in(session_id, who)
        except (Unknown, Over):
            raise Refused(NOT_ALLOWED, _GONE) from None
        except Full:
            raise Refused(TRY_LATER, "all lines are busy, try again later") from None
        except Draining:
            raise Refused(GOING_AWAY, "the server is restarting") from None

    async def _new(self, query: dict[str, str], who: Principal) -> Session:
        self._refuse_strangers(who)
        try:
            return self._enter(await self._lobby.plans.new(who, query.get("agent_id", "")))
        except NoAgent:
            raise Refused(NOT_ALLOWED, "there is no such agent of yours") from None

    def _enter(self, plan: Plan) -> Session:
        try:
            return self._lobby.sessions.open(plan)
        except Full:
            raise Refused(TRY_LATER, "all lines are busy, try again later") from None
        except Draining:
            raise Refused(GOING_AWAY, "the server is restarting") from None

    def _refuse_strangers(self, who: Principal) -> None:
        if not (self._guests or who.user or who.session_id):
            raise Refused(NOT_ALLOWED, _NO_GUESTS)

    async def _arranged(self, start: Event, session: Session, who: Principal) -> Event:
        """A `start` with what its agent brings along; what it says itself counts more."""
        agent_id = start.pop("agent_id", "")
        if not agent_id:
            return start
        try:
            agent = await self._lobby.plans.agent(who, agent_id)
        except NoAgent:
            raise BadMessage("There is no such agent of yours.", "no_agent") from None
        return {**of_agent(agent, session.setup), **start}

    def _connected(self, session: Session, codec: Voice, more: Event) -> Event:
        setup, figures = session.setup, self._lobby.sessions.figures
        return {
            "type": "connected",
            "session_id": session.id,
            "mode": setup.mode,
            "agent": session.agent,
            "channels": setup.channels,
            "input_rate": codec.input_rate,
            "output_rate": setup.output_rate_hz,
            "resume_token": self._keys.resume_token(session.id),
            "resume_window_s": session.resume_window_s,
            **figures.told(session.id),
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
