"""A talk at the other end of a socket: the part that is the same for every speech-to-speech vendor.

A vendor's file says what its messages mean (`Wire`); this file sends them in order, cuts the microphone's
frames into messages of a sensible size, and turns a lost socket into one typed error.

    begin, feed, finish, say, cut ... ──> Wire ──> out ──> _write ──> line
    events <── Wire.heard <── line
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from pipeline import lines, vendor
from pipeline.contracts import Failure, TalkError, TalkEvent, TalkSetup, ToolCall
from pipeline.lines import Line, LineLost, Message

MOST_BYTES = 100 * 32
"""Audio of one message, 100 ms: what OpenAI's and Google's own examples send, and few enough messages."""
READY_S = 5.0
"""From the open socket to a talk that is set up."""


class Wire(Protocol):
    """What a talk looks like in a vendor's messages. No I/O: what is to be sent is put into `out`."""

    out: list[Message]
    ready: bool
    """The vendor has taken the set-up."""
    leaving: bool
    """The vendor said that it will hang up soon."""

    def open(self, setup: TalkSetup) -> None: ...
    def begin(self, utterance: int) -> None: ...

    def audio(self, pcm: bytes, *, last: bool) -> None:
        """s16le mono 16 kHz, at most 100 ms (more after a wait). `last`: the utterance has no more."""

    def finish(self, utterance: int, reply: int) -> None: ...
    def drop(self, utterance: int) -> None: ...
    def say(self, text: str, reply: int) -> None: ...
    def answer(self, reply: int, results: Sequence[tuple[ToolCall, str]], *, go_on: bool) -> None: ...
    def cut(self, reply: int, heard_ms: float, heard_text: str) -> None: ...
    def remember(self, text: str) -> None: ...
    def instruct(self, instructions: str) -> bool: ...

    def heard(self, message: Message) -> Sequence[TalkEvent]:
        """What a message says. Raises `TalkError` when it says that the talk is over."""

    def lost(self, lost: LineLost) -> TalkError:
        """What it means that the vendor hung up like this."""


class LiveTalk:
    """One socket of a vendor. Satisfies `Talk`. Made by `open_live`."""

    def __init__(self, who: str, line: Line, wire: Wire, lives_s: float) -> None:
        self._who, self._line, self._wire = who, line, wire
        loop = asyncio.get_running_loop()
        self._old_at = loop.time() + lives_s
        self._loop = loop
        self._audio = bytearray()
        self._wake = asyncio.Event()
        self._writer = loop.create_task(self._write())

    @property
    def is_old(self) -> bool:
        return self._wire.leaving or self._loop.time() >= self._old_at

    def begin(self, utterance: int) -> None:
        self._audio.clear()
        self._wire.begin(utterance)
        self._flush()

    def feed(self, pcm: bytes) -> None:
        self._audio += pcm
        if len(self._audio) >= MOST_BYTES:
            self._send_audio(last=False)

    def finish(self, utterance: int, reply: int) -> None:
        self._send_audio(last=True)
        self._wire.finish(utterance, reply)
        self._flush()

    def drop(self, utterance: int) -> None:
        self._audio.clear()
        self._wire.drop(utterance)
        self._flush()

    def say(self, text: str, reply: int) -> None:
        self._wire.say(text, reply)
        self._flush()

    def answer(self, reply: int, results: Sequence[tuple[ToolCall, str]], *, go_on: bool) -> None:
        self._wire.answer(reply, results, go_on=go_on)
        self._flush()

    def cut(self, reply: int, heard_ms: float, heard_text: str) -> None:
        self._wire.cut(reply, heard_ms, heard_text)
        self._flush()

    def remember(self, text: str) -> None:
        self._wire.remember(text)
        self._flush()

    def instruct(self, instructions: str) -> bool:
        done = self._wire.instruct(instructions)
        self._flush()
        return done

    async def events(self) -> AsyncGenerator[TalkEvent, None]:
        try:
            while True:
                for event in self._wire.heard(await self._line.receive()):
                    yield event
                self._flush()
        except LineLost as lost:
            raise self._why(lost) from lost

    async def aclose(self) -> None:
        self._writer.cancel()
        with suppress(asyncio.CancelledError, LineLost):
            await self._writer
        await self._line.close()

    # -- inside --------------------------------------------------------------------------------------------

    async def set_up(self, setup: TalkSetup) -> None:
        """Tell the vendor what the talk begins with, and wait until it agrees."""
        self._wire.open(setup)
        self._flush()
        try:
            async with asyncio.timeout(READY_S):
                while not self._wire.ready:
                    self._wire.heard(await self._line.receive())
        except TimeoutError as error:
            raise TalkError(f"{self._who} was not ready within {READY_S:g} s", Failure.TIMEOUT) from error
        except LineLost as lost:
            raise self._why(lost) from lost
        self._flush()

    def _why(self, lost: LineLost) -> TalkError:
        if self._writer.done() and not self._writer.cancelled():
            error = self._writer.exception()
            if isinstance(error, LineLost) and not lost.code:
                lost = error  # the writer knew first, and better
        return self._wire.lost(lost)

    def _send_audio(self, *, last: bool) -> None:
        pcm = bytes(self._audio)
        self._audio.clear()
        self._wire.audio(pcm, last=last)
        self._flush()

    def _flush(self) -> None:
        if self._wire.out:
            self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                messages, self._wire.out = self._wire.out, []
                for message in messages:
                    await self._line.send(message)
        except LineLost:
            await self._line.close()  # wakes the reader, which tells what happened
            raise


async def dial_with_key(who: str, variable: str, url: str, headers: Mapping[str, str]) -> Line:
    """A socket that needs a key. Raises `TalkError`; when the key is refused, it names the variable."""
    try:
        return await lines.dial(TalkError, who, url, headers)
    except TalkError as error:
        if error.kind is not Failure.AUTH:
            raise
        raise TalkError(f"{error}; the key is taken from {variable}", Failure.AUTH) from error


async def open_live(
    who: str, dial: Callable[[], Awaitable[Line]], wire: Wire, setup: TalkSetup, lives_s: float
) -> LiveTalk:
    """Open a socket and set the talk up. Raises `TalkError`."""
    talk = LiveTalk(who, await dial(), wire, lives_s)
    try:
        await talk.set_up(setup)
    except BaseException:
        await talk.aclose()
        raise
    return talk


async def probe_live(dial: Callable[[], Awaitable[Line]], wire: Wire, who: str) -> None:
    """Whether the vendor would take a talk: open one, and hang up. Costs nothing. Raises `TalkError`."""
    await (await open_live(who, dial, wire, TalkSetup(), 60.0)).aclose()


def wrong_message(who: str, message: Message) -> TalkError:
    """The error for a message that is not what the vendor documents."""
    words = message if isinstance(message, str) else f"{len(message)} bytes"
    return TalkError(f"{who} sent what it should not: {vendor.short(words)}", Failure.TRANSIENT)
