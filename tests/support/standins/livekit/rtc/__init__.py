"""As much of `livekit.rtc` 1.2 as speaks to an avatar: the same names and signatures, one room in memory.

`rooms` holds every room that was joined; a test puts the avatar into it and reads what it was sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

rooms: list["Room"] = []
fail_connect = False


class ConnectError(Exception): ...


class RpcError(Exception): ...


class StreamError(ConnectionError): ...


class TrackKind:
    KIND_AUDIO = 1
    KIND_VIDEO = 2


@dataclass
class RoomOptions:
    auto_subscribe: bool = True


@dataclass
class Publication:
    kind: int


@dataclass
class RemoteParticipant:
    identity: str
    track_publications: dict[str, Publication] = field(default_factory=dict)


class ByteStreamWriter:
    def __init__(self, name: str, topic: str, attributes: dict[str, str], to: list[str]) -> None:
        self.name, self.topic, self.attributes, self.to = name, topic, attributes, to
        self.data = bytearray()
        self.closed = False
        self.fails = False

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise StreamError("the stream broke")
        if self.closed:
            raise RuntimeError("Cannot write after stream is closed")
        self.data += data

    async def aclose(self, *, reason: str = "", attributes: dict[str, str] | None = None) -> None:
        del reason, attributes
        if self.closed:
            raise RuntimeError("Stream already closed")
        self.closed = True


class LocalParticipant:
    def __init__(self) -> None:
        self.streams: list[ByteStreamWriter] = []
        self.calls: list[tuple[str, str, str]] = []

    async def stream_bytes(
        self,
        name: str,
        *,
        total_size: int | None = None,
        mime_type: str = "application/octet-stream",
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        destination_identities: list[str] | None = None,
        topic: str = "",
    ) -> ByteStreamWriter:
        del total_size, mime_type, stream_id
        writer = ByteStreamWriter(name, topic, attributes or {}, destination_identities or [])
        self.streams.append(writer)
        return writer

    async def perform_rpc(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None = None,
        max_round_trip_latency: float | None = None,
    ) -> str:
        del response_timeout, max_round_trip_latency
        self.calls.append((destination_identity, method, payload))
        return "ok"


class Room:
    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        del loop
        self.remote_participants: dict[str, RemoteParticipant] = {}
        self.local_participant = LocalParticipant()
        self.url = self.token = ""
        self.left = False
        self._listeners: dict[str, list[Callable[..., Any]]] = {}

    def on(self, event: str, callback: Callable[..., Any] | None = None) -> Callable[..., Any]:
        assert callback is not None
        self._listeners.setdefault(event, []).append(callback)
        return callback

    def emit(self, event: str, *given: Any) -> None:
        for callback in self._listeners.get(event, []):
            callback(*given)

    async def connect(self, url: str, token: str, options: RoomOptions | None = None) -> None:
        del options
        if fail_connect:
            raise ConnectError("engine: signal failure: client error: 401 Unauthorized")
        self.url, self.token = url, token
        rooms.append(self)

    async def disconnect(self, *, reason: int = 1) -> None:
        del reason
        self.left = True

    # what a test does

    def enter(self, identity: str) -> RemoteParticipant:
        """Somebody comes in and shows a picture."""
        participant = RemoteParticipant(identity)
        self.remote_participants[identity] = participant
        self.emit("participant_connected", participant)
        publication = Publication(TrackKind.KIND_VIDEO)
        participant.track_publications["TR_1"] = publication
        self.emit("track_published", publication, participant)
        return participant

    def leave(self, identity: str) -> None:
        self.emit("participant_disconnected", self.remote_participants.pop(identity))
