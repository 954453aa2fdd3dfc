"""Contexts on lines, with a line that is a list of messages: what no vendor's fake would do."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from pipeline.contracts import TtsError
from pipeline.lines import Line, LineLost, Lines, Message
from pipeline.tts.contexts import Contexts, Piece

pytestmark = pytest.mark.usefixtures("no_leaks")


class ScriptedLine:
    """Says its messages, then nothing."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.sent: list[Message] = []
        self.is_open = True

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def close(self) -> None:
        self.is_open = False


class Echo:
    """A wire on which each message is sound, up to "end"."""

    def __init__(self) -> None:
        self.ended = False

    def begin(self) -> Sequence[Message]:
        return ("begin",)

    def heard(self, message: Message) -> Sequence[Piece]:
        if message == "end":
            self.ended = True
            return ()
        return (bytes.fromhex(str(message)),)

    def cancel(self) -> Sequence[Message]:
        return ("cancel",)

    def lost(self, lost: LineLost) -> TtsError | None:
        del lost
        return None


def contexts_of(*lines: ScriptedLine) -> tuple[Contexts, Lines]:
    left = list(lines)

    async def connect(key: str) -> Line:
        del key
        return left.pop(0)

    pool = Lines(connect)
    return Contexts("Acme", pool), pool


async def spoken(contexts: Contexts) -> list[Piece]:
    async with asyncio.timeout(5):
        return [piece async for piece in contexts.speak("key", Echo)]


async def test_a_message_that_makes_no_sense_is_the_vendors_fault_and_costs_the_line() -> None:
    line = ScriptedLine("0100", "no hex")
    contexts, lines = contexts_of(line)
    with pytest.raises(TtsError, match="Acme sent what makes no sense"):
        await spoken(contexts)
    await contexts.aclose()
    await lines.aclose()
    assert not line.is_open


async def test_closing_in_mid_speech_is_an_error_to_who_listens_and_hangs_up() -> None:
    line = ScriptedLine("0100")
    contexts, lines = contexts_of(line)
    async with aclosing(contexts.speak("key", Echo)) as stream:
        assert await anext(stream) == b"\1\0"
        await contexts.aclose()
        await lines.aclose()
        with pytest.raises(TtsError, match="closed"):
            await anext(stream)
    assert not line.is_open


async def test_a_line_is_lent_again_when_what_was_called_off_has_ended() -> None:
    line = ScriptedLine("0100", "0200", "0300", "end", "0400", "end")
    contexts, lines = contexts_of(line)
    async with aclosing(contexts.speak("key", Echo)) as stream:
        assert await anext(stream) == b"\1\0"
    await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert await spoken(contexts) == [b"\4\0"]
    await contexts.aclose()
    await lines.aclose()
    assert line.sent == ["begin", "begin"]


async def test_what_never_falls_silent_is_hung_up() -> None:
    line, fresh = ScriptedLine("0100"), ScriptedLine("0200", "end")
    contexts, lines = contexts_of(line, fresh)
    async with aclosing(contexts.speak("key", Echo)) as stream:
        assert await anext(stream) == b"\1\0"
    assert await spoken(contexts) == [b"\2\0"]
    async with asyncio.timeout(5):
        while line.is_open:
            await asyncio.sleep(0.02)
    await contexts.aclose()
    await lines.aclose()
    assert line.sent == ["begin", "cancel"]
