"""Makes one reply from what a speech-to-speech model sends: the sibling of `reply.Maker`.

    Stream ──text──> Pace ──marks──┐
           ──sound─> resampled ────┴──> host (the session's mouth)
           ──calls─> the toolbox ──results──> the model

When the model breaks off, the three stages say the rest: what has text but no sound is spoken by the voice,
what was not thought yet by the language model.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.chain import LOST_THREAD
from pipeline.chain.llm import GO_ON
from pipeline.chain.patience import timed
from pipeline.chain.tts import Resampler
from pipeline.contracts import Asked, Failure, LlmError, Message, Prompt, TalkError, ToolCall
from pipeline.core.segment import Segment, Segmenter
from pipeline.duplex.pace import Pace
from pipeline.duplex.stream import Stream
from pipeline.reply import MOST_TOOL_STEPS, Host, Maker, Reply

MOST_REPLY_S = 300
"""Sound of one reply; a model that talks longer has lost itself."""


class Model(Protocol):
    """What a reply asks of its `Duplex`."""

    name: str
    rate_hz: int
    first_s: float
    stall_s: float
    spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

    def answer(self, stream: Stream, results: Sequence[tuple[ToolCall, str]]) -> None: ...
    def on_broken(self, stream: Stream, error: TalkError) -> None: ...
    def on_worked(self) -> None: ...
    async def write_down(self, turn: int) -> None: ...


@dataclass(slots=True)
class DuplexMaker:
    """`run` is its task's body; cancelling that task ends everything but tools at work."""

    reply: Reply
    host: Host
    stages: Maker
    """Who goes on when the model fails."""
    stream: Stream
    model: Model

    async def run(self) -> None:
        reply, pace = self.reply, Pace(self.reply, self.host.on_mark)
        try:
            await self._listen(pace)
        except TalkError as error:
            self.model.on_broken(self.stream, error)
            await self._hand_over(pace)
            return
        except LlmError as error:
            self.host.on_failed(reply, error)
            return
        pace.close()
        self.model.on_worked()
        self.host.on_text_complete(reply)
        self.host.on_generated(reply)

    async def _listen(self, pace: Pace) -> None:
        reply, name = self.reply, self.model.name
        mute = reply.voice.rate_hz == 0
        resample = Resampler(self.model.rate_hz, reply.voice.rate_hz or self.model.rate_hz)
        pieces = timed(name, self.stream.read(), self.model.first_s, self.model.stall_s, TalkError)
        steps = 0
        async with aclosing(pieces) as stream:
            async for piece in stream:
                if isinstance(piece, str):
                    self._write(piece, pace)
                elif isinstance(piece, bytes):
                    if not mute:
                        self._sound(resample.push(piece))
                else:
                    steps += 1
                    if steps > MOST_TOOL_STEPS:
                        raise LlmError(f"{name} asked for tools {MOST_TOOL_STEPS} times in a row")
                    await self._run_tools(piece)
        if not mute:
            self._sound(resample.push(b"", last=True))
        self._check(mute)

    def _write(self, piece: str, pace: Pace) -> None:
        start = len(self.reply.text)
        self.reply.text += piece
        if self.reply.voice.rate_hz:
            pace.add(start, len(self.reply.text))
        self.host.on_token(self.reply, piece)

    def _sound(self, pcm: bytes) -> None:
        if pcm:
            self.host.say_pcm(self.reply, pcm)
        if self.reply.ms(self.reply.made) > MOST_REPLY_S * 1000:
            raise LlmError(f"{self.model.name} talked for more than {MOST_REPLY_S} s")

    def _check(self, mute: bool) -> None:
        """Success without an answer is a failure."""
        if not self.reply.text and (mute or not self.reply.made):
            raise TalkError(f"{self.model.name} answered nothing", Failure.EMPTY)
        if not mute and not self.reply.made:
            raise TalkError(f"{self.model.name} wrote an answer and did not say it", Failure.EMPTY)

    async def _run_tools(self, asked: Asked) -> None:
        """The results reach the model's memory also when the caller has barged in meanwhile."""

        async def run() -> None:
            results = []
            for call in asked.calls:
                async with aclosing(self.host.run_tool(self.reply, call, quiet=True)) as meanwhile:
                    async for _ in meanwhile:
                        pass  # such a model says by itself what it wants to say
                results.append((call, self._result_of(call)))
            self.model.answer(self.stream, results)

        await asyncio.shield(self.model.spawn(run()))

    def _result_of(self, call: ToolCall) -> str:
        messages = self.host.prompt(self.reply).messages
        found = (m.content for m in reversed(messages) if m.role == "tool" and m.tool_call_id == call.id)
        return next(found, "{}")

    async def _hand_over(self, pace: Pace) -> None:
        reply, stages = self.reply, self.stages
        await self.model.write_down(reply.turn)
        cut = pace.cut() if reply.voice.rate_hz else len(reply.text)
        whole = bool(reply.text) and self.stream.whole
        await Rest(
            reply, stages.host, stages.llm, stages.tts, stages.report, "", stages.thrifty, cut, whole
        ).run()


@dataclass(slots=True)
class Rest(Maker):
    """Says what is left of a reply that a model broke off."""

    cut: int = 0
    """So much of the reply's text has been said."""
    whole: bool = False
    """All of its text is there."""

    async def _write(self, segments: "asyncio.Queue[Segment | None]") -> None:
        segmenter = Segmenter()

        async def put(found: list[Segment]) -> None:
            for segment in found:
                moved = replace(segment, start=segment.start + self.cut, end=segment.end + self.cut)
                await segments.put(moved)

        await put(segmenter.push(self.reply.text[self.cut :]))
        if not self.whole:
            async for token in self._more():
                self.reply.text += token
                self.host.on_token(self.reply, token)
                await put(segmenter.push(token))
        self.host.on_text_complete(self.reply)
        await put(segmenter.flush())
        await segments.put(None)

    async def _more(self) -> AsyncGenerator[str, None]:
        """The answer from its beginning, or from where it broke off."""
        if not self.reply.text:
            async for token in self._tokens():
                yield token
            return
        first = next(self.llm.chain.in_order(thrifty=self.thrifty), None)
        if first is None or not getattr(first.engine, "goes_on", False):
            yield LOST_THREAD
            return
        tokens = self.llm.tokens(self._continued(), self.report, self.reply.requests, thrifty=self.thrifty)
        async with aclosing(tokens) as stream:
            async for _, piece in stream:
                if isinstance(piece, str):
                    yield piece

    def _continued(self) -> Prompt:
        prompt = self.host.prompt(self.reply)
        more = (Message("assistant", self.reply.text), Message("user", GO_ON))
        return replace(prompt, messages=(*prompt.messages, *more), tools=())
