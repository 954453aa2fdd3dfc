"""The shell of every streaming recognizer, over a vendor in memory that counts bytes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pipeline.contracts import Failure, SttError, Transcript
from pipeline.lines import Line, LineLost, Lines, Message
from pipeline.stt.live import MOST_BYTES, LiveUtterance, Step, Wire

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.virtual_clock]

PIECE = bytes(640)


@dataclass
class Place:
    """A vendor that answers "settle" and "finish" with the number of bytes it has heard, and anything else
    with nothing. Its lines can be told to break."""

    lines: "list[Socket]" = field(default_factory=list)
    refuses: SttError | None = None
    breaks: "list[int | None]" = field(default_factory=list)
    """After how many messages each line breaks."""

    async def connect(self, key: str) -> Line:
        del key
        await asyncio.sleep(0.1)
        if self.refuses is not None:
            raise self.refuses
        self.lines.append(Socket(self.breaks.pop(0) if self.breaks else None))
        return self.lines[-1]


class Socket:
    """One line to it."""

    def __init__(self, breaks: int | None) -> None:
        self.came: list[Message] = []
        self.is_open = True
        self.code = 1006
        self.deaf = False
        self._breaks = breaks
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()

    @property
    def heard(self) -> int:
        return sum(len(m) for m in self.came if isinstance(m, bytes))

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)
        if not self.is_open or self.deaf:
            raise LineLost(0, "it takes no more data")
        self.came.append(message)
        if len(self.came) == self._breaks:
            self.hang_up()
        elif message in ("settle", "finish"):
            self.say(f"{message} {self.heard}")

    async def receive(self) -> Message:
        message = await self._answers.get()
        if message is None:
            raise LineLost(self.code, "it hung up")
        return message

    def say(self, message: Message) -> None:
        self._answers.put_nowait(message)

    def hang_up(self) -> None:
        self.is_open = False
        self._answers.put_nowait(None)

    async def close(self) -> None:
        if self.is_open:
            self.hang_up()


class Plain:
    """A `Wire` that sends everything as it is."""

    def begin(self) -> Sequence[Step]:
        return ("begin",)

    def audio(self, pcm: bytes) -> Sequence[Step]:
        return (pcm,)

    def settle(self, silence_ms: int) -> Sequence[Step]:
        del silence_ms
        return ("settle",)

    def finish(self, silence_ms: int) -> Sequence[Step]:
        del silence_ms
        return ("finish",)

    def heard(self, message: Message) -> Sequence[Transcript]:
        assert isinstance(message, str)
        kind, text = message.split()
        return (Transcript(text, final=kind == "finish", settled=kind == "settle"),)

    def lost(self, lost: LineLost) -> SttError | None:
        return SttError("it was our fault", Failure.BAD_REQUEST) if lost.code == 1008 else None


class Knowing(Plain):
    """Knows the final by itself."""

    def finish(self, silence_ms: int) -> Sequence[Step]:
        del silence_ms
        return ("goodbye", Transcript("known", final=True))


class Polite(Plain):
    """Can go on over the same line."""

    def leave(self) -> Sequence[Message] | None:
        return ("leave",)


class Stage:
    """The place, the lines to it, and utterances over them."""

    def __init__(self, wire: type[Wire] = Plain, **place: object) -> None:
        self.place = Place(**place)  # type: ignore[arg-type]
        self.lines = Lines(self.place.connect)
        self._wire = wire

    def open(self) -> LiveUtterance:
        return LiveUtterance("Somebody", self.lines, "key", lambda _: self._wire())

    @property
    def sockets(self) -> list[Socket]:
        return self.place.lines


async def rest_of(utterance: LiveUtterance) -> list[str]:
    async with asyncio.timeout(10):
        return [f"{t.text}{'.' if t.final else ''}" async for t in utterance.transcripts()]


async def settled() -> None:
    await asyncio.sleep(1)


async def test_audio_and_orders_are_sent_in_the_order_they_came() -> None:
    stage = Stage()
    utterance = stage.open()
    utterance.feed(PIECE)
    utterance.feed(PIECE)
    utterance.settle(100)
    utterance.feed(PIECE)
    utterance.finish(300)
    assert await rest_of(utterance) == ["1280", "1920."]
    assert stage.sockets[0].came == ["begin", 2 * PIECE, "settle", PIECE, "finish"]
    await utterance.aclose()
    await stage.lines.aclose()


async def test_what_is_fed_over_time_is_sent_over_time() -> None:
    stage = Stage()
    utterance = stage.open()
    for number in range(1, 4):
        utterance.feed(PIECE)
        await settled()
        assert stage.sockets[0].heard == number * 640
    await utterance.aclose()
    await stage.lines.aclose()


async def test_much_audio_at_once_goes_in_messages_of_100_ms() -> None:
    stage = Stage()
    utterance = stage.open()
    utterance.feed(bytes(3 * MOST_BYTES + 2))
    await settled()
    sizes = [len(m) for m in stage.sockets[0].came if isinstance(m, bytes)]
    assert sizes == [MOST_BYTES, MOST_BYTES, MOST_BYTES, 2]
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_warm_line_that_is_dead_costs_nothing_of_the_utterance() -> None:
    stage = Stage(breaks=[1])  # with the first message
    utterance = stage.open()
    utterance.feed(PIECE)
    utterance.settle(100)
    utterance.feed(PIECE)
    utterance.finish(100)
    assert (await rest_of(utterance))[-1] == "1280."
    assert stage.sockets[1].came == ["begin", PIECE, "settle", PIECE, "finish"]
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_line_that_breaks_later_is_replaced_and_told_everything_again() -> None:
    stage = Stage(breaks=[4])
    utterance = stage.open()
    reading = asyncio.create_task(rest_of(utterance))
    for _ in range(3):
        utterance.feed(PIECE)
        await settled()
    utterance.feed(PIECE)
    utterance.finish(0)
    assert await reading == ["2560."]
    assert [s.heard for s in stage.sockets] == [3 * 640, 4 * 640]
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_line_that_takes_nothing_is_replaced_too() -> None:
    stage = Stage()
    utterance = stage.open()
    await settled()
    stage.sockets[0].deaf = True
    utterance.feed(PIECE)
    utterance.finish(0)
    assert await rest_of(utterance) == ["640."]
    assert len(stage.sockets) == 2
    assert not stage.sockets[0].is_open
    await utterance.aclose()
    await stage.lines.aclose()


async def test_two_lost_lines_are_a_failure() -> None:
    stage = Stage(breaks=[1, 2])
    utterance = stage.open()
    utterance.feed(PIECE)
    with pytest.raises(SttError, match=r"Somebody cannot be reached: .*it hung up") as caught:
        await rest_of(utterance)
    assert caught.value.kind is Failure.TRANSIENT
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_close_code_that_says_why_is_not_tried_again() -> None:
    stage = Stage()
    utterance = stage.open()
    await settled()
    stage.sockets[0].code = 1008
    stage.sockets[0].hang_up()
    with pytest.raises(SttError, match="our fault") as caught:
        await rest_of(utterance)
    assert (caught.value.kind, len(stage.sockets)) == (Failure.BAD_REQUEST, 1)
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_refusal_comes_out_as_it_is() -> None:
    stage = Stage(refuses=SttError("no more of that", Failure.QUOTA, retry_after_s=9))
    utterance = stage.open()
    utterance.feed(PIECE)
    with pytest.raises(SttError, match="no more of that") as caught:
        await rest_of(utterance)
    assert (caught.value.kind, caught.value.retry_after_s) == (Failure.QUOTA, 9)
    await utterance.aclose()
    await stage.lines.aclose()


async def test_partials_that_nobody_read_in_time_make_room_for_newer_ones() -> None:
    stage = Stage()
    utterance = stage.open()
    await settled()
    for number in range(5):
        stage.sockets[0].say(f"partial {number}")
    await settled()
    utterance.finish(0)
    await settled()
    assert await rest_of(utterance) == ["0."]
    await utterance.aclose()
    await stage.lines.aclose()


async def test_partials_on_their_way_are_seen_before_the_final() -> None:
    stage = Stage()
    utterance = stage.open()
    stream = aiter(utterance.transcripts())
    await settled()
    stage.sockets[0].say("partial one")
    assert (await anext(stream)).text == "one"
    utterance.finish(0)
    assert (await anext(stream)).final
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_message_that_makes_no_sense_is_the_vendors_failure() -> None:
    stage = Stage()
    utterance = stage.open()
    await settled()
    stage.sockets[0].say("nonsense without end")
    with pytest.raises(SttError, match="sent what it should not: nonsense") as caught:
        await rest_of(utterance)
    assert caught.value.kind is Failure.TRANSIENT
    assert not stage.sockets[0].is_open
    await utterance.aclose()
    await stage.lines.aclose()


async def test_a_bug_in_a_wire_ends_the_talk_and_not_the_vendor() -> None:
    class Broken(Plain):
        def audio(self, pcm: bytes) -> Sequence[Step]:
            raise ZeroDivisionError(len(pcm))

    stage = Stage(Broken)
    utterance = stage.open()
    utterance.feed(PIECE)
    with pytest.raises(ZeroDivisionError):
        await rest_of(utterance)
    await utterance.aclose()
    await stage.lines.aclose()


async def test_what_is_known_without_the_vendor_is_said_and_the_line_kept() -> None:
    stage = Stage(Knowing)
    for _ in range(2):
        utterance = stage.open()
        utterance.feed(PIECE)
        utterance.finish(0)
        assert await rest_of(utterance) == ["known."]
        await utterance.aclose()
    assert [s.came for s in stage.sockets] == [["begin", PIECE, "goodbye"] * 2]
    await stage.lines.aclose()


async def test_a_line_serves_one_utterance_after_the_other() -> None:
    stage = Stage()
    for number in range(1, 4):
        utterance = stage.open()
        utterance.feed(PIECE)
        utterance.finish(0)
        assert await rest_of(utterance) == [f"{number * 640}."]
        await utterance.aclose()  # at once, as a session does
    assert len(stage.sockets) == 1
    await stage.lines.aclose()
    assert not stage.sockets[0].is_open


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.2])
async def test_an_utterance_left_at_any_time_hangs_up(after_s: float) -> None:
    stage = Stage()
    utterance = stage.open()
    reading = asyncio.create_task(rest_of(utterance))
    await asyncio.sleep(after_s)
    utterance.feed(PIECE)
    utterance.settle(0)
    await utterance.aclose()
    assert [text for text in await reading if text.endswith(".")] == []
    await settled()
    assert not any(s.is_open for s in stage.sockets)
    await stage.lines.aclose()


async def test_nothing_is_read_after_it_was_closed() -> None:
    stage = Stage()
    utterance = stage.open()
    await utterance.aclose()
    utterance.feed(PIECE)
    utterance.finish(0)
    assert await rest_of(utterance) == []
    await stage.lines.aclose()


async def test_a_line_left_politely_is_used_again() -> None:
    stage = Stage(Polite)
    utterance = stage.open()
    utterance.feed(PIECE)
    utterance.settle(0)
    await settled()
    await utterance.aclose()
    again = stage.open()
    again.finish(0)
    assert await rest_of(again) == ["640."]
    assert [s.came for s in stage.sockets] == [["begin", PIECE, "settle", "leave", "begin", "finish"]]
    await again.aclose()
    await stage.lines.aclose()


async def test_a_line_that_cannot_be_left_politely_is_hung_up() -> None:
    stage = Stage(Polite)
    utterance = stage.open()
    await settled()
    stage.sockets[0].deaf = True
    await utterance.aclose()
    await settled()
    assert not stage.sockets[0].is_open
    await stage.lines.aclose()


async def test_closing_the_lines_ends_the_utterances() -> None:
    stage = Stage(Polite)
    talking = stage.open()
    talking.feed(PIECE)
    await settled()
    opening = stage.open()
    await stage.lines.aclose()
    assert await rest_of(opening) == []
    assert await rest_of(talking) == []
    assert not any(s.is_open for s in stage.sockets)
