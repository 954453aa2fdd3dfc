"""A recognizer at the other end of a line: the part that is the same for every streaming vendor.

A vendor's file says what its messages mean (`Wire`); this file feeds them, in order, over a warm line, starts
over on a fresh one when the line was lost in mid-utterance, and gives the line back when the utterance ended
cleanly.

    feed ─┐                      ┌─ send ──> line
          ├─> orders ─> _write ──┤
    settle, finish               └─ Wire.audio / settle / finish
    transcripts <── Outlet <── _read <── Wire.heard <── line
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

from pipeline import vendor
from pipeline.contracts import Failure, ProviderError, SttError, Transcript
from pipeline.lines import Line, LineLost, Lines, Message
from pipeline.stt.outlet import Outlet

MOST_BYTES = 100 * 32
"""Audio of one message: vendors want 20 to 250 ms; after a reconnect minutes of it are waiting."""
LINES_PER_UTTERANCE = 2
"""One that was warm and turns out to be dead, and a fresh one."""

Order = tuple[Literal["settle", "finish"], int]
Step = Message | Transcript
"""What is sent to the vendor, or what is known without asking it (a settled text after which only silence
came is the final)."""


class Wire(Protocol):
    """What one utterance looks like in a vendor's messages. Made anew for each try, for the line it goes
    over (which may remember what went over it before); no I/O in it."""

    def begin(self) -> Sequence[Step]:
        """What is sent before any audio."""

    def audio(self, pcm: bytes) -> Sequence[Step]:
        """s16le mono 16 kHz, at most 100 ms (and whatever the vendor needs to hold back of it)."""

    def settle(self, silence_ms: int) -> Sequence[Step]:
        """Ask for what was understood so far to be settled; more audio may follow."""

    def finish(self, silence_ms: int) -> Sequence[Step]:
        """Ask for the rest: no more audio will come."""

    def heard(self, message: Message) -> Sequence[Transcript]:
        """What a message says: the utterance so far, each time the whole. The one that answers `finish` is
        `final`, the one that answers `settle` is `settled`. Raises `SttError`."""

    def lost(self, lost: LineLost) -> SttError | None:
        """What it means that the vendor hung up like this, when its close code says more than that the line
        is gone; None to try again on a fresh line."""


@runtime_checkable
class Leaving(Protocol):
    """A wire whose line can be used again though its utterance was left without a final. That is how most
    of them end: the settled text was the user's turn."""

    def leave(self) -> Sequence[Message] | None:
        """What to send first; None if the line must be hung up."""


class LiveUtterance:
    """One utterance at a streaming vendor. Satisfies `Transcriber`."""

    def __init__(self, who: str, lines: Lines, key: str, wire: Callable[[Line], Wire]) -> None:
        self._who, self._lines, self._key, self._new_wire = who, lines, key, wire
        self._outlet = Outlet()
        self._audio = bytearray()
        """The whole utterance, for another try."""
        self._orders: list[tuple[int, Order]] = []
        """What was asked for, and after how many bytes of audio."""
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        # Not at the end of `_run`: a task that is cancelled at once does not even begin.
        self._task.add_done_callback(lambda _: self._outlet.close_after_all())
        lines.adopt(self._task)

    def feed(self, pcm: bytes) -> None:
        self._audio += pcm
        self._wake.set()

    def settle(self, silence_ms: int) -> None:
        self._orders.append((len(self._audio), ("settle", silence_ms)))
        self._wake.set()

    def finish(self, silence_ms: int) -> None:
        self._orders.append((len(self._audio), ("finish", silence_ms)))
        self._wake.set()

    async def transcripts(self) -> AsyncIterator[Transcript]:
        async for transcript in self._outlet.read():
            yield transcript
        if self._task.done() and not self._task.cancelled():
            self._task.result()  # a bug is not a provider's failure: it ends the talk

    async def aclose(self) -> None:
        if not self._outlet.is_done:  # else the task is about to end, and may still give its line back
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._outlet.close()

    # -- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._try()
        except SttError as error:
            self._outlet.fail(error)
        except ProviderError as error:
            self._outlet.fail(SttError(str(error), error.kind, retry_after_s=error.retry_after_s))
        except LineLost as lost:
            self._outlet.fail(vendor.unreachable(SttError, self._who, lost))

    async def _try(self) -> None:
        for left in reversed(range(LINES_PER_UTTERANCE)):
            line = await self._lines.take(self._key, fresh=left < LINES_PER_UTTERANCE - 1)
            try:
                wire = self._new_wire(line)
                await self._talk(line, wire)
            except LineLost as lost:
                self._lines.drop(line)
                if (meant := wire.lost(lost)) is not None:
                    raise meant from lost
                if not left:
                    raise
            except asyncio.CancelledError:
                await self._leave(line, wire)
                raise
            except BaseException:
                self._lines.drop(line)  # what is still on its way there must not reach the next one
                raise
            else:
                self._lines.give_back(self._key, line)
                return

    async def _leave(self, line: Line, wire: Wire) -> None:
        try:
            last_words = wire.leave() if isinstance(wire, Leaving) else None
            if last_words is not None:
                for message in last_words:
                    await line.send(message)
                self._lines.give_back(self._key, line)
                return
        except LineLost:
            pass
        except BaseException:
            self._lines.drop(line)  # in a hurry
            raise
        self._lines.drop(line)

    async def _talk(self, line: Line, wire: Wire) -> None:
        """Send everything, from the beginning, and read until the final."""
        loop = asyncio.get_running_loop()
        reading = loop.create_task(self._read(line, wire))
        writing = loop.create_task(self._write(line, wire))
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not reading.done():
                stopped = writing.exception()
                if stopped is None:
                    return  # the final was known without the vendor
                if not isinstance(stopped, LineLost):
                    raise stopped
            await reading
        except LineLost:
            if writing.done() and (why := writing.exception()) is not None:
                raise why from None  # it knew first, and better
            raise
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(self, line: Line, wire: Wire) -> None:
        while True:
            message = await line.receive()
            try:
                transcripts = wire.heard(message)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise wrong_message(self._who, message) from error  # not shaped as documented
            for transcript in transcripts:
                self._outlet.put(transcript)
                if transcript.final:
                    return

    async def _write(self, line: Line, wire: Wire) -> None:
        """Send what is asked for as it is asked for. Ends only when there is nothing more to ask."""
        try:
            await self._take(line, wire.begin())
            sent = taken = 0
            while True:
                while sent < len(self._audio) or taken < len(self._orders):
                    until = self._orders[taken][0] if taken < len(self._orders) else len(self._audio)
                    if sent < until:
                        piece = bytes(self._audio[sent : min(until, sent + MOST_BYTES)])
                        sent += len(piece)
                        steps = wire.audio(piece)
                    else:
                        name, silence_ms = self._orders[taken][1]
                        taken += 1
                        steps = wire.settle(silence_ms) if name == "settle" else wire.finish(silence_ms)
                    if await self._take(line, steps):
                        return
                self._wake.clear()
                await self._wake.wait()
        except LineLost:
            await line.close()  # wakes the reader, which tells what happened
            raise

    async def _take(self, line: Line, steps: Sequence[Step]) -> bool:
        """Whether the final was among them."""
        for step in steps:
            if not isinstance(step, Transcript):
                await line.send(step)
                continue
            self._outlet.put(step)
            if step.final:
                return True
        return False


def wrong_message(who: str, message: Message) -> SttError:
    """The error for a message that is not what the vendor documents."""
    words = message if isinstance(message, str) else f"{len(message)} bytes"
    return SttError(f"{who} sent what it should not: {vendor.short(words)}", Failure.TRANSIENT)
