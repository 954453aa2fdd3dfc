"""Speaks to an avatar in a LiveKit room: the agent's sound goes to it as byte streams, one per reply.

That is how LiveKit's own agents feed the avatars of every vendor that joins such a room: topic
`lk.audio_stream` with the attributes `sample_rate` and `num_channels`, and the remote call `lk.clear_buffer`
to make it stop (https://github.com/livekit/agents, livekit-agents/livekit/agents/voice/avatar). Tokens are
https://docs.livekit.io/frontends/reference/tokens-grants: made here, because they are small.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipeline.contracts import AvatarError

TOPIC = "lk.audio_stream"
CLEAR = "lk.clear_buffer"
MOST_WAITING = 1200
"""Pieces (of at most 100 ms) that wait to be sent: two minutes, far more than a session sends ahead."""
RPC_S = 2.0


@dataclass(frozen=True, slots=True)
class Signer:
    """A LiveKit project's key, which signs what lets somebody into a room."""

    key: str
    secret: str

    def token(
        self, identity: str, room: str, ttl_s: int, *, grants: dict[str, Any], claims: dict[str, Any]
    ) -> str:
        """A JWT (HS256, RFC 7515). Nothing in it may tell who talks: LiveKit logs names."""
        now = int(time.time())
        body = {
            "iss": self.key,
            "sub": identity,
            "nbf": now - 10,
            "exp": now + ttl_s,
            "video": {"roomJoin": True, "room": room, **grants},
            **claims,
        }
        head = {"alg": "HS256", "typ": "JWT"}
        signed = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (head, body))
        mac = hmac.new(self.secret.encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{_base64(mac)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class _Begin:
    rate_hz: int


class _Finish: ...


class _Clear: ...


Item = _Begin | bytes | _Finish | _Clear


class Room:
    """One talk's room, with us and the avatar in it."""

    def __init__(self, rtc: ModuleType, avatar: str) -> None:
        """`rtc` is `livekit.rtc`; `avatar` is how the avatar is called in the room."""
        self._rtc, self._avatar = rtc, avatar
        self._failures = (rtc.ConnectError, rtc.RpcError, rtc.StreamError, RuntimeError, OSError)
        self._room: Any = None
        self._waiting: deque[Item] = deque()
        self._more, self._changed = asyncio.Event(), asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def join(self, url: str, token: str) -> None:
        """Raises `AvatarError`."""
        room = self._room = self._rtc.Room()
        for event in ("participant_connected", "track_published"):
            room.on(event, lambda *_: self._changed.set())
        room.on("participant_disconnected", self._on_left)
        room.on("disconnected", lambda *_: self._lose("the room was closed"))
        try:
            await room.connect(url, token, self._rtc.RoomOptions(auto_subscribe=False))
        except self._failures as error:
            raise AvatarError(f"the LiveKit room cannot be entered: {error}") from error

    async def await_avatar(self) -> None:
        """Until the avatar is there and shows a picture. From then on it is spoken to."""
        while not self._is_there():
            self._changed.clear()
            await self._changed.wait()
        self._sender = asyncio.create_task(self._send())

    def _is_there(self) -> bool:
        participant = self._room.remote_participants.get(self._avatar)
        tracks = participant.track_publications.values() if participant is not None else ()
        return any(track.kind == self._rtc.TrackKind.KIND_VIDEO for track in tracks)

    def put(self, item: Item) -> None:
        """Send this next. Never blocks."""
        if isinstance(item, _Clear):
            self._waiting.clear()
        if len(self._waiting) >= MOST_WAITING:
            self._lose("it takes the sound too slowly")
            return
        self._waiting.append(item)
        self._more.set()

    def begin(self, rate_hz: int) -> None:
        self.put(_Begin(rate_hz))

    def finish(self) -> None:
        self.put(_Finish())

    def clear(self) -> None:
        self.put(_Clear())

    async def lost(self) -> None:
        """Until the avatar or the room is gone. Raises `AvatarError`."""
        await asyncio.shield(self._lost)

    async def aclose(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._room is not None:
            with suppress(*self._failures):
                await self._room.disconnect()
        if self._lost.done() and not self._lost.cancelled():
            self._lost.exception()  # looked at, whether anybody waited or not
        self._lost.cancel()

    # -- sending -------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        writer: Any = None
        try:
            while True:
                await self._more.wait()
                while self._waiting:
                    writer = await self._one(self._waiting.popleft(), writer)
                self._more.clear()
        except self._failures as error:
            self._lose(str(error) or type(error).__name__)

    async def _one(self, item: Item, writer: Any) -> Any:
        """Send one item. Returns the stream that is open now, if any."""
        if isinstance(item, bytes):
            if writer is not None:
                await writer.write(item)
            return writer
        if writer is not None:
            await writer.aclose()
        me = self._room.local_participant
        if isinstance(item, _Begin):
            return await me.stream_bytes(
                "reply",
                topic=TOPIC,
                destination_identities=[self._avatar],
                attributes={"sample_rate": str(item.rate_hz), "num_channels": "1"},
            )
        if isinstance(item, _Clear):
            await me.perform_rpc(
                destination_identity=self._avatar, method=CLEAR, payload="", response_timeout=RPC_S
            )
        return None

    def _on_left(self, participant: Any) -> None:
        if participant.identity == self._avatar:
            self._lose("it left the room")

    def _lose(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_exception(AvatarError(why))
