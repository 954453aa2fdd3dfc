"""A program's side of `/ws/voice`: connect, send speech, read events, and play replies like a real player.

    async with await VoiceClient.connect("ws://127.0.0.1:8000", mode="open-mic") as call:
        await call.send_audio(pcm)            # s16le mono at call.input_rate_hz, any length
        async for event in call:              # Event and Audio, until the session has ended
            ...

`Player` is the loudspeaker: it plays at the speed of the clock, pauses when ducked, drops what an
interruption drops, and what it has played is reported to the server ten times a second. Reading events is
what feeds it, so whoever connects must keep iterating.
"""

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)

from pipeline.contracts import ParleyError
from server.player import Player

REPORT_S = 0.1
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_CLOSED = {
    1001: "The server is shutting down.",
    1008: "The server does not let this client in",
    1009: "The server found a message too big.",
    1013: "The server is full; try again later.",
    4408: "The server closed the session because nothing happened for too long.",
}


class ClientError(ParleyError):
    """The server could not be talked to. One sentence; `code` is the close code or HTTP status, if any."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Event:
    """A JSON message of the server. `at_s` is the loop's time at which it arrived."""

    type: str
    data: Mapping[str, Any]
    at_s: float


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of a reply's sound: s16le mono at `rate_hz`."""

    response_id: str
    pcm: bytes
    rate_hz: int
    at_s: float


class VoiceClient:
    """One session over one WebSocket."""

    def __init__(self, socket: ClientConnection, connected: Mapping[str, Any], in_json: bool) -> None:
        self.connected = connected
        """The server's first message, with the rates that our `start` asked for."""
        self.player = Player()
        self._socket = socket
        self._in_json = in_json
        self._speaking = ""
        self._reporter = asyncio.create_task(self._report(), name="playback reports")

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        token: str = "",
        session_id: str = "",
        agent_id: str = "",
        resume: str = "",
        open_timeout_s: float = OPEN_TIMEOUT_S,
        **start: Any,
    ) -> "VoiceClient":
        """Open a session. `start` holds the fields of the `start` message (mode, voice, language,
        system_prompt, response, input_rate, output_rate, base64). Raises `ClientError`."""
        query = {"token": token, "session_id": session_id, "agent_id": agent_id, "resume": resume}
        address = voice_url(url, {k: v for k, v in query.items() if v})
        ws = await _open(address, open_timeout_s)
        try:
            async with asyncio.timeout(open_timeout_s):
                if not resume:
                    await ws.send(json.dumps({"type": "start", **start}))
                first = _first(await ws.recv(), address)
        except ConnectionClosed as error:
            raise _closed(error) from error
        except TimeoutError as error:
            await _shut(ws)
            raise ClientError(f"{plain(address)} took the connection and then said nothing.") from error
        except BaseException:
            await _shut(ws)
            raise
        if first.get("type") == "error":
            await _shut(ws)
            raise ClientError(str(first.get("message", "The server refused the session.")))
        # `connected` is sent before the server has read `start`: what that asks for is not in it yet.
        rates: dict[str, Any] = {
            k: start[k] for k in ("input_rate", "output_rate") if k in start and not resume
        }
        return cls(ws, {**first, **rates}, bool(start.get("base64")))

    @property
    def session_id(self) -> str:
        return str(self.connected.get("session_id", ""))

    @property
    def input_rate_hz(self) -> int:
        return int(self.connected.get("input_rate", 16_000))

    async def send_audio(self, pcm: bytes) -> None:
        """Microphone audio: s16le mono at the input rate. Raises `ClientError` when the session is gone."""
        if self._in_json:
            sound = base64.b64encode(pcm).decode()
            await self.send("audio_chunk", audio_data=sound, format="pcm")
        else:
            await self._send(pcm)

    async def send(self, type: str, **fields: Any) -> None:
        """Any JSON message of the protocol. Raises `ClientError` when the session is gone."""
        await self._send(json.dumps({"type": type, **fields}))

    async def say(self, text: str) -> None:
        """A typed turn."""
        await self.send("text_message", message=text)

    async def report(self) -> None:
        """Tell how far play-out has come, if it moved. Happens by itself ten times a second."""
        for response_id, played_ms in self.player.reports(asyncio.get_running_loop().time()):
            await self.send("playback", response_id=response_id, played_ms=played_ms)

    async def end(self) -> None:
        """Ask for the end of the session; go on iterating until it comes."""
        await self.send("end")

    async def __aiter__(self) -> AsyncIterator[Event | Audio]:
        """Everything the server sends. Stops after a regular end; raises `ClientError` after any other."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                message = await self._socket.recv()
            except ConnectionClosedOK as error:
                if error.rcvd is not None and error.rcvd.code != 1000:
                    raise _closed(error) from error
                return
            except ConnectionClosed as error:
                raise _closed(error) from error
            now = clock()
            if isinstance(message, bytes):
                yield self._sound(self._speaking, message, now)
                continue
            data = json.loads(message)
            if data.get("type") == "audio_response":
                sound = base64.b64decode(data.get("audio_base64", ""))
                yield self._sound(str(data.get("response_id", "")), sound, now)
                continue
            self._move_player(data, now)
            yield Event(str(data.get("type", "")), data, now)

    async def drop(self) -> None:
        """Lose the connection without a word, as a dead network does (the session can be resumed)."""
        self._reporter.cancel()
        self._socket.transport.abort()
        await self.aclose()

    async def aclose(self) -> None:
        """Give back the socket. The session ends only if `end` was sent before."""
        self._reporter.cancel()
        await asyncio.gather(self._reporter, return_exceptions=True)
        await _shut(self._socket)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _sound(self, response_id: str, pcm: bytes, now: float) -> Audio:
        self.player.feed(response_id, pcm, now)
        reply = self.player.replies.get(response_id)
        return Audio(response_id, pcm, reply.rate_hz if reply else 0, now)

    def _move_player(self, data: Mapping[str, Any], now: float) -> None:
        response_id = str(data.get("response_id", ""))
        match data.get("type"):
            case "audio.begin":
                self._speaking = response_id
                self.player.begin(response_id, int(data["rate"]), now)
            case "audio.end":
                self.player.finish(response_id, now)
            case "duck":
                self.player.duck(now)
            case "unduck":
                self.player.unduck(now)
            case "interrupted":
                self.player.interrupt(response_id, now)

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            try:
                await self.report()
            except ClientError:
                return  # whoever iterates learns of it there


def voice_url(url: str, query: Mapping[str, str]) -> str:
    """The address of the voice socket: `localhost:8000`, `http://…` and `ws://host` are all understood."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ClientError(f"{url} is not an address of a server; write ws://127.0.0.1:8000")
    path = parts.path if parts.path not in ("", "/") else "/ws/voice"
    both = {**dict(parse_qsl(parts.query)), **query}
    return urlunsplit((scheme, parts.netloc, path, urlencode(both), ""))


def plain(address: str) -> str:
    """The address without its query, which may hold a token."""
    return address.partition("?")[0]


async def _open(address: str, timeout_s: float) -> ClientConnection:
    where = plain(address)
    try:
        return await open_socket(
            address,
            compression=None,
            proxy=None,  # speech in real time has no business in a web proxy
            open_timeout=timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
        )
    except InvalidURI as error:
        raise ClientError(f"{where} is not an address of a server; write ws://127.0.0.1:8000") from error
    except InvalidStatus as error:
        raise _refused(where, error.response.status_code) from error
    except InvalidHandshake as error:
        raise ClientError(f"What answers at {where} is not a Parley server.") from error
    except TimeoutError as error:
        raise ClientError(f"{where} did not answer within {timeout_s:g} s.") from error
    except socket.gaierror as error:
        raise ClientError(f"The host of {where} is unknown.") from error
    except ssl.SSLError as error:
        raise ClientError(f"The encryption of {where} cannot be trusted: {error.reason}.") from error
    except OSError as error:
        raise ClientError(
            f"Nobody answers at {where}. Is the server running? Start it: parley serve"
        ) from error


def _refused(where: str, status: int) -> ClientError:
    if status in (401, 403):
        return ClientError(f"{where} does not let this client in ({status}); a token may be needed.", status)
    if status == 503:
        return ClientError(_CLOSED[1013], status)
    return ClientError(f"{where} has no voice socket (it answered {status}).", status)


def _closed(error: ConnectionClosed) -> ClientError:
    if error.rcvd is None:
        return ClientError("The connection to the server was lost.", 1006)
    code, reason = error.rcvd.code, error.rcvd.reason
    sentence = _CLOSED.get(code, f"The server closed the connection (code {code})")
    if not sentence.endswith("."):
        sentence += f": {reason}" if reason else "."
    return ClientError(sentence, code)


def _first(message: str | bytes, address: str) -> Mapping[str, Any]:
    try:
        first = json.loads(message)
    except ValueError:
        first = None
    if not isinstance(first, dict):
        raise ClientError(f"What answers at {plain(address)} is not a Parley server.")
    return first


async def _shut(ws: ClientConnection) -> None:
    await ws.close()
