"""The one socket loop: plain ASGI, below Starlette, because every frame of every microphone passes here.

    receive --> codec --> session.hear / session.do                             (this task, no await between)
    session.outbox --> codec.encode --> send, each batch under a deadline       (one sender task)

It owns what all sockets share: who may come in, message sizes, write deadlines, close codes. It knows no
storage. A socket that dies detaches its session; only `end`, the session itself or the registry ends one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

from pipeline.outbox import Event, Outbox
from pipeline.session import Session
from server.wire.common import Outgoing
from server.wire.realtime.codec import Realtime
from server.wire.voice import BadMessage, TooBig, Voice

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WRITE_S = 5.0
"""How long one write may take before the client counts as gone: a phone changing cells needs seconds."""
NOT_ALLOWED, TOO_BIG, TAKEN_OVER = 1008, 1009, 1008


class Encoder(Protocol):
    """The sending half of a codec."""

    def encode(self, item: Event | bytes) -> Iterable[Outgoing]:
        """What the session says, as messages."""


Hello = Callable[[Event], Iterable[Event]]
"""Makes of what `Session.attach` tells the first events, for the client alone."""
Listener = Callable[[Receive], Awaitable[tuple[int, str]]]
"""Takes messages until the client goes, or must go. Returns the close code to send, 0 for none, and why."""


async def refuse(
    receive: Receive, send: Send, code: int, reason: str, first: Iterable[Outgoing] = (), protocol: str = ""
) -> None:
    """Accept and close: a browser is told the code only after the handshake."""
    if not await accepted(receive, send, protocol):
        return
    for message in first:
        await send(message)
    await send({"type": "websocket.close", "code": code, "reason": reason})


async def accepted(receive: Receive, send: Send, protocol: str = "") -> bool:
    """Accept the handshake, as speaking that subprotocol; False when the client is gone already."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return False
    await send({"type": "websocket.accept", **({"subprotocol": protocol} if protocol else {})})
    return True


Arrange = Callable[[Event], Awaitable[Event]]
"""Makes of a `start` what the session is to do. Raises `BadMessage`."""


async def serve(
    receive: Receive,
    send: Send,
    session: Session,
    encoder: Encoder,
    hello: Hello,
    listener: Listener,
    protocol: str = "",
) -> None:
    """Talk to one client until its socket or the session ends. The handshake is still to be accepted."""
    if not await accepted(receive, send, protocol):
        return
    sender: asyncio.Task[None] | None = None
    taken = asyncio.Event()

    def kick() -> None:
        taken.set()
        if sender is not None:
            sender.cancel()

    for event in hello(session.attach(kick)):
        for message in encoder.encode(event):
            await send(message)
    sender = asyncio.create_task(_drain(send, session, encoder))
    try:
        code, reason = await _listen(receive, session, listener, sender)
    finally:
        session.detach(kick)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    if taken.is_set():
        code, reason = TAKEN_OVER, "taken over by another connection"
    if code:
        await _quietly(send, {"type": "websocket.close", "code": code, "reason": reason})


async def _listen(
    receive: Receive, session: Session, listener: Listener, sender: "asyncio.Task[None]"
) -> tuple[int, str]:
    """Take messages until the client goes, or we do. Returns the close code to send, 0 for none."""
    receiving = asyncio.ensure_future(listener(receive))
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


async def take(receive: Receive, session: Session, codec: Voice, arrange: Arrange) -> tuple[int, str]:
    """A `Listener` for our own wire. `arrange` completes a `start`."""
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


async def take_realtime(receive: Receive, session: Session, codec: Realtime) -> tuple[int, str]:
    """A `Listener` for OpenAI's wire. With its client the session is over: there is no coming back."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            session.end_soon("the client hung up", 1000)
            return 0, ""
        text = message.get("text")
        if text is None:
            codec.refuse_binary()
            continue
        try:
            await codec.take(text)
        except Exception as error:  # noqa: BLE001 - a bug: this session ends, saved whole
            session.fail(error)


async def _drain(send: Send, session: Session, encoder: Encoder) -> None:
    """Send what the outbox holds, until it is closed and empty or the client stops reading."""
    outbox = session.outbox
    while await outbox.wait():
        item = None
        try:
            async with asyncio.timeout(WRITE_S):
                while (item := outbox.take()) is not None:
                    for message in encoder.encode(item):
                        await send(message)
        except (TimeoutError, OSError) as error:
            if isinstance(item, dict):
                outbox.put_back(item)
            log.info("session %s: the client is gone (%s)", session.id, type(error).__name__)
            return


async def watch(receive: Receive, send: Send, first: list[Event], outbox: Outbox) -> None:
    """Show a session's events to somebody who only watches."""
    if not await accepted(receive, send):
        return
    codec = Voice()
    for event in first:
        await send(*codec.encode(event))

    async def gone() -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def show() -> None:
        while await outbox.wait():
            async with asyncio.timeout(WRITE_S):
                while (item := outbox.take()) is not None:
                    await send(*codec.encode(item))

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
