"""Warm connections: the pool on the virtual clock with lines in memory, the socket on a real port."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from pipeline import lines
from pipeline.contracts import Failure, SttError
from pipeline.lines import Line, LineLost, Lines, Message, dial, greeting

pytestmark = pytest.mark.usefixtures("no_leaks")

OPENING_S = 0.2


class MemoryLine:
    """A line that remembers what it was sent."""

    def __init__(self, *, takes: bool = True) -> None:
        self.sent: list[tuple[float, Message]] = []
        self.is_open = True
        self.takes = takes

    async def send(self, message: Message) -> None:
        if not self.takes:
            await asyncio.sleep(lines.SEND_TIMEOUT_S)
            raise LineLost(0, "it takes no more data")
        self.sent.append((asyncio.get_running_loop().time(), message))

    async def receive(self) -> Message:
        raise AssertionError("nobody reads an idle line")

    async def close(self) -> None:
        await asyncio.sleep(0.1)
        self.is_open = False


class Exchange:
    """Opens lines, each in `OPENING_S`, and fails when it is told to."""

    def __init__(self) -> None:
        self.opened: list[MemoryLine] = []
        self.asked = 0
        self.fails: Exception | None = None

    async def connect(self, key: str) -> MemoryLine:
        assert key == "key"
        self.asked += 1
        await asyncio.sleep(OPENING_S)
        if self.fails is not None:
            raise self.fails
        self.opened.append(MemoryLine())
        return self.opened[-1]


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


virtual = pytest.mark.virtual_clock


@virtual
async def test_a_prepared_line_costs_no_waiting(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.prepare("key")
    await asyncio.sleep(1)
    before = now()
    line = await pool.take("key")
    assert (now(), exchange.opened) == (before, [line])
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_a_line_that_is_being_opened_is_waited_for(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.prepare("key")
    await asyncio.sleep(0.15)
    line = await pool.take("key")
    assert (now(), exchange.asked) == (OPENING_S, 1)
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_who_gives_up_waiting_leaves_the_line_to_the_next(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.prepare("key")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.take("key"), 0.1)
    line = await pool.take("key")
    assert (now(), exchange.asked) == (OPENING_S, 1)
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_a_line_that_opens_as_its_taker_is_cancelled_is_not_lost(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.prepare("key")
    taking = asyncio.create_task(pool.take("key"))
    await asyncio.sleep(OPENING_S - 0.001)
    asyncio.get_running_loop().call_later(0.001, taking.cancel)  # after the opening's own timer
    await asyncio.gather(taking, return_exceptions=True)
    await asyncio.sleep(0.01)
    line = taking.result() if not taking.cancelled() else await pool.take("key")
    assert exchange.opened == [line]
    pool.drop(line)
    await pool.aclose()
    assert not exchange.opened[0].is_open


@virtual
async def test_preparing_twice_opens_no_more_than_are_kept(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, keep=2)
    pool.prepare("key")
    pool.prepare("key")
    await asyncio.sleep(1)
    pool.prepare("key")
    await asyncio.sleep(1)
    assert exchange.asked == 2
    await pool.aclose()
    assert not any(line.is_open for line in exchange.opened)


@virtual
async def test_a_dead_idle_line_is_replaced(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.prepare("key")
    await asyncio.sleep(1)
    exchange.opened[0].is_open = False
    pool.prepare("key")  # it counts for nothing
    await asyncio.sleep(1)
    line = await pool.take("key")
    assert exchange.opened == [exchange.opened[0], line]
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_a_fresh_line_is_not_one_that_lay_idle(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.give_back("key", await pool.take("key"))
    line = await pool.take("key", fresh=True)
    assert line is exchange.opened[1]
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_given_back_lines_are_used_again_up_to_a_number(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, most=2)
    taken = [await pool.take("key") for _ in range(3)]
    for line in taken:
        pool.give_back("key", line)
    await asyncio.sleep(0.2)
    assert [line.is_open for line in exchange.opened] == [True, True, False]
    assert await pool.take("key") is taken[1]
    assert await pool.take("key") is taken[0]
    for line in taken:
        pool.drop(line)
    await pool.aclose()


@virtual
async def test_a_line_that_was_lost_is_not_given_to_the_next(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    line = exchange_line = await pool.take("key")
    exchange.opened[0].is_open = False
    pool.give_back("key", line)
    assert await pool.take("key") is not exchange_line
    pool.drop(exchange.opened[1])
    await pool.aclose()


@virtual
async def test_an_idle_line_is_hung_up_after_a_while(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, idle_s=8.0)
    pool.prepare("key")
    await asyncio.sleep(8.1)
    assert [line.is_open for line in exchange.opened] == [True]
    await asyncio.sleep(4.5)
    assert [line.is_open for line in exchange.opened] == [False]
    await pool.aclose()


@virtual
async def test_beats_keep_an_idle_line_open_until_its_time_is_up(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, idle_s=18.0, beat="still here", beat_s=4.0)
    pool.prepare("key")
    await asyncio.sleep(60)
    beats = [(round(at, 3), message) for at, message in exchange.opened[0].sent]
    assert beats == [(at, "still here") for at in (4.2, 8.2, 12.2, 16.2)]
    assert not exchange.opened[0].is_open
    await pool.aclose()


@virtual
async def test_a_line_that_is_in_use_gets_no_beats(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, beat="still here", beat_s=4.0)
    pool.prepare("key")
    await asyncio.sleep(1)
    line = await pool.take("key")
    await asyncio.sleep(20)
    assert exchange.opened[0].sent == []
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_lines_taken_while_another_one_is_sent_a_beat_are_left_alone(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, keep=2, beat="still here", beat_s=4.0)
    pool.prepare("key")
    await asyncio.sleep(1)
    exchange.opened[0].takes = False  # its beat takes two seconds
    await asyncio.sleep(4)
    line = await pool.take("key")
    assert line is exchange.opened[1]
    await asyncio.sleep(10)
    assert [line.is_open for line in exchange.opened] == [False, True]
    assert exchange.opened[1].sent == []
    pool.drop(line)
    await pool.aclose()


@virtual
async def test_closing_in_the_middle_of_a_beat_hangs_up(exchange: Exchange) -> None:
    pool = Lines(exchange.connect, beat="still here", beat_s=4.0)
    pool.prepare("key")
    await asyncio.sleep(1)
    exchange.opened[0].takes = False
    await asyncio.sleep(4)
    await pool.aclose()
    assert not exchange.opened[0].is_open


@virtual
async def test_closing_while_a_line_is_opened_waits_for_nobody(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    pool.prepare("key")
    taking = asyncio.create_task(pool.take("key"))
    pool.adopt(taking)
    await asyncio.sleep(0.1)
    await pool.aclose()
    assert (now(), exchange.opened, taking.cancelled()) == (0.1, [], True)
    pool.prepare("key")
    assert exchange.asked == 1


@virtual
async def test_a_failure_to_open_shows_when_the_line_is_needed(exchange: Exchange) -> None:
    pool = Lines(exchange.connect)
    exchange.fails = SttError("no", Failure.AUTH)
    pool.prepare("key")
    await asyncio.sleep(1)
    with pytest.raises(SttError, match="no"):
        await pool.take("key")
    pool.prepare("key")
    with pytest.raises(SttError, match="no"):  # also when it is being opened
        await pool.take("key")
    exchange.fails = None
    pool.drop(await pool.take("key"))
    await pool.aclose()


# -- the socket -----------------------------------------------------------------------------------------


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shakes hands, and takes nothing more."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # RFC 6455, 1.3
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n"
    )
    await writer.drain()
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()


async def flood(line: Line) -> None:
    for _ in range(100):
        await line.send(bytes(1 << 20))


@asynccontextmanager
async def deaf_peer() -> AsyncIterator[str]:
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await deaf(reader, writer)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


async def test_a_peer_that_takes_nothing_is_a_lost_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SEND_TIMEOUT_S", 0.1)
    monkeypatch.setattr(lines, "HANG_UP_S", 0.1)
    async with deaf_peer() as url:
        line = await dial(SttError, "Somebody", url)
        with pytest.raises(LineLost, match="takes no more"):
            await flood(line)
        await line.close()
        assert not line.is_open


async def test_a_goodbye_that_is_not_answered_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "HANG_UP_S", 0.1)
    async with deaf_peer() as url:
        line = await dial(SttError, "Somebody", url)
        before = asyncio.get_running_loop().time()
        await line.close()
        assert asyncio.get_running_loop().time() - before < 1
        assert not line.is_open


async def test_a_greeting_that_does_not_come_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "OPEN_TIMEOUT_S", 0.1)
    monkeypatch.setattr(lines, "HANG_UP_S", 0.1)
    async with deaf_peer() as url:
        line = await dial(SttError, "Somebody", url)
        with pytest.raises(SttError, match="no greeting"):
            await greeting(SttError, "Somebody", line)
        assert not line.is_open


async def test_what_is_said_on_both_sides_and_how_it_ended() -> None:
    async def echo(socket: ServerConnection) -> None:
        await socket.send(await socket.recv())
        await socket.close(1011, "enough")

    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        line = await dial(SttError, "Somebody", f"ws://127.0.0.1:{port}", {"X-Key": "k"})
        await line.send(b"\x00\x01")
        assert await line.receive() == b"\x00\x01"
        with pytest.raises(LineLost, match="1011 enough") as lost:
            await line.receive()
        assert (lost.value.code, lost.value.reason) == (1011, "enough")
        with pytest.raises(LineLost):
            await line.send("more")
        await line.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Failure.AUTH), (429, Failure.QUOTA), (400, Failure.BAD_REQUEST), (503, Failure.TRANSIENT)],
)
async def test_a_refused_handshake_says_why(status: int, kind: Failure) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        del request
        response = connection.respond(HTTPStatus(status), "in the vendor's words")
        response.headers["Retry-After"] = "7"
        return response

    async def never(socket: ServerConnection) -> None:
        raise AssertionError(socket)

    async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(SttError, match="in the vendor's words") as caught:
            await dial(SttError, "Somebody", f"ws://127.0.0.1:{port}")
    assert caught.value.kind is kind
    assert caught.value.retry_after_s == (7.0 if kind in (Failure.QUOTA, Failure.TRANSIENT) else None)


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1", "ws://nobody.invalid:80", "http://127.0.0.1:1", "nonsense"]
)
async def test_an_address_where_nobody_can_be_is_unreachable(url: str) -> None:
    with pytest.raises(SttError, match="cannot be reached") as caught:
        await dial(SttError, "Somebody", url)
    assert caught.value.kind is Failure.TRANSIENT
