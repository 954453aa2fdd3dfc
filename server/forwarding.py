"""An HTTP request about a live session, answered by the worker whose session it is.

    client --> worker 2: not mine --unix socket--> worker 0: 421, not mine either
                                  --unix socket--> worker 1: mine, 200 --> client
    nobody has it live: worker 2 answers from what is stored

Requests carry the caller's own credentials along, so the other worker judges for itself who may do what.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import h11
from starlette.responses import Response

from server.api import Call
from server.sessions import Sessions
from server.workers import CONNECT_S, FORWARDED, SHOWN, Place, is_forwarded

log = logging.getLogger(__name__)

NOT_MINE = 421
ANSWER_S = 90.0
"""Longer than any handler waits for a reply."""
SOON_S = 3.0
"""For what is answered at once: a worker that takes longer has more trouble than this question."""


class Forwarder:
    """Finds the worker that has a session. One per process."""

    def __init__(self, place: Place, sessions: Sessions) -> None:
        self._place, self._sessions = place, sessions

    async def answer(self, call: Call) -> Response | None:
        """Another worker's answer; None when it is to be given here."""
        named = call.form.get("session_id") or getattr(call.body, "session_id", None)
        session_id = str(call.path.get("session_id") or named or "")
        if not session_id or self._sessions.get(session_id) is not None:
            return None
        if is_forwarded(call.request.scope):
            return Response(status_code=NOT_MINE)
        for index in self._place.others(self._place.index):
            if (found := await self._ask(index, call)) is not None:
                return found
        return None

    async def others(self, call: Call) -> dict[int, Response | None]:
        """What every other worker answers to the same request; None of one that does not."""
        indexes = [*self._place.others(self._place.index)]
        answers = await asyncio.gather(*(self._ask(index, call, SOON_S) for index in indexes))
        return dict(zip(indexes, answers, strict=True))

    @property
    def index(self) -> int:
        """Which worker this is."""
        return self._place.index

    async def _ask(self, index: int, call: Call, answer_s: float = ANSWER_S) -> Response | None:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_unix_connection(self._place.path(index))
        except (OSError, TimeoutError) as error:
            log.warning("worker %d cannot be reached: %s", index, error)
            return None
        try:
            async with asyncio.timeout(answer_s):
                return await _exchange(reader, writer, call)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            log.warning("worker %d did not answer: %s", index, error)
            return None
        finally:
            writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Call
) -> Response | None:
    wire = h11.Connection(h11.CLIENT)
    for part in _request(call, *await _body(call)):
        writer.write(wire.send(part) or b"")
    await writer.drain()
    status, headers, data = 0, list[tuple[bytes, bytes]](), b""
    while True:
        event: Any = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status, headers = event.status_code, list(event.headers)
        elif isinstance(event, h11.Data):
            data += event.data
        else:
            return None if status == NOT_MINE else Response(data, status, _kept(headers))


async def _body(call: Call) -> tuple[bytes, bytes]:
    """What the request carries, and of which kind."""
    if not call.form:
        json = b"" if call.body is None else call.body.model_dump_json(exclude_unset=True).encode()
        return b"application/json", json
    boundary = secrets.token_hex(16).encode()
    body = bytearray()
    for name, value in call.form.items():
        body += b'--%b\r\nContent-Disposition: form-data; name="%b"' % (boundary, name.encode())
        if isinstance(value, str):
            body += b"\r\n\r\n" + value.encode()
        else:
            await value.seek(0)
            body += b'; filename="upload"\r\n\r\n' + await value.read()
        body += b"\r\n"
    return b"multipart/form-data; boundary=" + boundary, bytes(body + b"--" + boundary + b"--\r\n")


def _request(call: Call, kind: bytes, body: bytes) -> Iterator[h11.Event]:
    request = call.request
    headers = [(name, value) for name, value in request.headers.raw if name in (*SHOWN, b"host", b"origin")]
    headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    # That the page may do this has been checked here.
    headers += [(b"sec-fetch-site", b"same-origin"), (b"connection", b"close"), (FORWARDED, b"1")]
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    yield h11.Request(method=request.method, target=target, headers=headers)
    yield h11.Data(data=body)
    yield h11.EndOfMessage()


def _kept(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers that say something about the answer; the rest this worker makes itself."""
    kept = (b"content-type", b"retry-after", b"www-authenticate")
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in kept}
