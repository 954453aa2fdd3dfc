"""The one socket loop: plain ASGI, below Starlette, because every frame of every microphone passes here.

    receive --> codec.audio / codec.decode --> session.hear / session.do        (this task, no await between)
    session.outbox --> codec.encode --> send, each batch under a deadline       (one sender task)

It owns what all sockets share: who may come in, message sizes, write deadlines, close codes. It knows no
storage. A socket that dies detaches its session; only `end`, the session itself or the registry ends one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from pipeline.outbox import Event, Outbox
from pipeline.session import Session
from server.wire.voice import BadMessage, TooBig, Voice

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WRITE_S = 5.0
"""How long one write may take before the client counts as gone: a phone changing cells needs seconds."""
NOT_ALLOWED, TOO_BIG, TAKEN_OVER = 1008, 1009, 1008


class Socket(Protocol):
    """What a codec must do; see `server.wire.voice.Voice`."""

    def audio(self, data: bytes) -> bytes: ...
    def decode(self, text: str) -> Event: ...
    def encode(self, item: Event | bytes) -> dict[str, Any]: ...


async def refuse(receive: Receive, send: Send, code: int, reason: str) -> None:
    """Accept and close: a browser is told the code only after the handshake."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": reason})


Arrange = Callable[[Event], Awaitable[Event]]
"""Makes of a `start` what the session is to do. Raises `BadMessage`."""


async def as_it_is(event: Event) -> Event:
    """An `Arrange` that adds nothing."""
    return event


async def serve(
    receive: Receive,
    send: Send,
    session: Session,
    codec: Voice,
    connected: Callable[[Event], Event],
    arrange: Arrange = as_it_is,
) -> None:
    """Talk to one client until its socket or the session ends. The handshake is still to be accepted.

    `connected` completes the first message, `arrange` a `start`.
    """
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    sender: asyncio.Task[None] | None = None
    taken = asyncio.Event()

    def kick() -> None:
        taken.set()
        if sender is not None:
            sender.cancel()

    await send(codec.encode(connected(session.attach(kick))))
    sender = asyncio.create_task(_drain(send, session, codec))
    try:
        code, reason = await _listen(receive, session, codec, sender, arrange)
    finally:
        session.detach(kick)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    if taken.is_set():
        code, reason = TAKEN_OVER, "taken over by another connection"
    if code:
        await _quietly(send, {"type": "websocket.close", "code": code, "reason": reason})


async def _listen(
    receive: Receive, session: Session, codec: Voice, sender: "asyncio.Task[None]", arrange: Arrange
) -> tuple[int, str]:
    """Take messages until the client goes, or we do. Returns the close code to send, 0 for none."""
    receiving = asyncio.ensure_future(_take(receive, session, codec, arrange))
    try:
        await asyncio.wait((receiving, sender), return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            return receiving.result()
        if sender.cancelled() or not session.ended:
            return 0, ""  # taken over, or the client does not read
        return session.close_code, ""
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)


async def _take(receive: Receive, session: Session, codec: Voice, arrange: Arrange) -> tuple[int, str]:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return 0, ""
        try:
            data = message.get("bytes")
            if data is not None:
                _hear(session, codec.audio(data))
                continue
            text = message.get("text")
            assert text is not None
            event = codec.decode(text)
            if event["type"] == "start":
                event = await arrange(event)
        except TooBig:
            return TOO_BIG, "message too big"
        except BadMessage as error:
            session.outbox.put({"type": "error", "code": error.code, "message": str(error), "fatal": False})
            continue
        try:
            _act(session, codec, event)
        except Exception as error:  # noqa: BLE001 - a bug: this session ends, saved whole
            session.fail(error)


def _hear(session: Session, pcm: bytes) -> None:
    """Microphone audio: the hot path."""
    try:
        session.hear(pcm)
    except Exception as error:  # noqa: BLE001 - a bug: this session ends, saved whole
        session.fail(error)


def _act(session: Session, codec: Voice, event: Event) -> None:
    match event["type"]:
        case "audio":
            _hear(session, event["pcm"])
        case "end":
            session.end_soon("ended by the client", 1000)
        case "start":
            session.do(event)
            codec.follow(session.setup.input_rate_hz, base64_mode=session.setup.base64)
        case _:
            session.do(event)


async def _drain(send: Send, session: Session, codec: Socket) -> None:
    """Send what the outbox holds, until it is closed and empty or the client stops reading."""
    outbox = session.outbox
    while await outbox.wait():
        item = None
        try:
            async with asyncio.timeout(WRITE_S):
                while (item := outbox.take()) is not None:
                    await send(codec.encode(item))
        except (TimeoutError, OSError) as error:
            if isinstance(item, dict):
                outbox.put_back(item)
            log.info("session %s: the client is gone (%s)", session.id, type(error).__name__)
            return


async def watch(receive: Receive, send: Send, first: list[Event], outbox: Outbox) -> None:
    """Show a session's events to somebody who only watches."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    codec = Voice()
    for event in first:
        await send(codec.encode(event))

    async def gone() -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def show() -> None:
        while await outbox.wait():
            async with asyncio.timeout(WRITE_S):
                while (item := outbox.take()) is not None:
                    await send(codec.encode(item))

    tasks = [asyncio.ensure_future(gone()), asyncio.ensure_future(show())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not tasks[0].done() or tasks[0].cancelled():
        await _quietly(send, {"type": "websocket.close", "code": 1000, "reason": ""})


async def _quietly(send: Send, message: Message) -> None:
    """Send to a socket that may be gone already."""
    try:
        async with asyncio.timeout(WRITE_S):
            await send(message)
    except (OSError, RuntimeError, TimeoutError):
        log.debug("the socket was closed already")
