"""One reply: tokens -> tools -> segments -> speech, and its audio until it has been heard.

    responder --tokens--> Segmenter --(2)--> synthesizer --say--> waiting --pump--> client
                                                                   held, ducked, lost: it waits here

It decides nothing about turns. Whether audio may leave is the session's business (`say` is its one gate);
this file only produces it, in two tasks that end together, and remembers what sounds when.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.chain import GUESSED_CHARS_PER_S, LlmChain, Report, TtsChain
from pipeline.contracts import (
    LlmError,
    Message,
    Prompt,
    SpeechRequest,
    SpokenWord,
    ToolCall,
    ToolSpec,
    TtsError,
)
from pipeline.core.dialogue import Mark, SpeechMap
from pipeline.core.segment import Segment, Segmenter, speakable
from pipeline.core.spelling import Spelled, spell
from pipeline.request import Request

SEGMENTS_AHEAD = 2
"""Segments that may wait for the voice: enough that it never starves, little enough to waste."""
MOST_TOOL_STEPS = 5
"""Rounds of tool calls in one reply; a model that asks for more is going in circles."""
MOST_WAITING_MS = 2000
"""Audio that may wait to be sent before the voice is made to wait."""


class Host(Protocol):
    """What a reply may ask of its session."""

    def prompt(self, reply: "Reply") -> Prompt: ...
    def on_token(self, reply: "Reply", text: str) -> None: ...
    def on_text_complete(self, reply: "Reply") -> None: ...
    def say_pcm(self, reply: "Reply", pcm: bytes) -> None: ...
    def on_mark(self, reply: "Reply", mark: Mark) -> None: ...
    def on_failed(self, reply: "Reply", error: LlmError | TtsError) -> None: ...
    def on_generated(self, reply: "Reply") -> None: ...
    async def settle(self, reply: "Reply") -> None: ...
    def is_lent(self, reply: "Reply", call: ToolCall) -> bool: ...
    def lend(self, reply: "Reply", call: ToolCall) -> None: ...
    def run_tool(self, reply: "Reply", call: ToolCall, *, quiet: bool) -> AsyncGenerator[str, None]: ...


@dataclass(slots=True)
class Voice:
    """How a reply is to sound. `rate_hz` 0 = in writing only."""

    rate_hz: int
    voice: str = ""
    language: str = "en"
    speed: float = 1.0
    pitch: float = 1.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants of one reply, in place of what holds for the talk. None = as that."""

    instructions: str | None = None
    messages: tuple[Message, ...] | None = None
    """What the model is to be told was said."""
    tools: tuple[ToolSpec, ...] | None = None
    spoken: bool | None = None
    voice: str = ""


@dataclass(slots=True)
class Chunk:
    """Reply audio with the sample it starts at."""

    offset: int
    pcm: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.pcm) // 2


@dataclass(slots=True)
class Reply:
    """The state of one reply, and the tasks that make it."""

    number: int
    turn: int
    response_id: str
    question: str
    held: bool
    voice: Voice
    text: str = ""
    shown: int = 0
    """Characters of `text` that the client has been sent."""
    said: SpeechMap = field(default_factory=SpeechMap)
    waiting: deque[Chunk] = field(default_factory=deque)
    """Audio made, not yet sent."""
    unheard: deque[Chunk] = field(default_factory=deque)
    """Audio sent, not yet known to be heard: sent again after a lost connection."""
    made: int = 0
    """Samples made."""
    archived: int = 0
    """Samples handed to the recorder."""
    begun: bool = False
    """`response.begin` was sent."""
    audio_begun: bool = False
    complete: bool = False
    """All text is there."""
    finished: bool = False
    """All text and audio is there."""
    metered: bool = False
    """`turn.metrics` was sent."""
    message: int = 0
    """Its number in the minutes, once it is written down."""
    trouble: dict[str, object] = field(default_factory=dict)
    """An error that the client is to be told of once the reply has the floor."""
    measured: bool = False
    """The length of its whole sound was journalled."""
    cut: bool = False
    """It was interrupted."""
    closed: bool = False
    """`audio.end` was sent, or the reply was cut: nothing more goes out."""
    wish: Wish = field(default_factory=Wish)
    placed: dict[str, Any] = field(default_factory=dict)
    """Where what was heard of it lies, as the journal was told."""
    kind: str = ""
    """"welcome" or "apology" for what no model said."""
    is_last: bool = False
    """A tool has ended the talk: it is over when this was played."""
    requests: list[Request] = field(default_factory=list)
    """What was asked of whom to make it: for the bill."""
    first_token_at: float | None = None
    first_audio_at: float | None = None
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    speaking: "_Words | None" = None
    """The segment whose audio is not complete."""

    def __post_init__(self) -> None:
        self.room.set()

    def answered_by(self) -> dict[str, str]:
        """Which plug-in answered last, by stage."""
        return {r.stage: r.plugin for r in self.requests if r.first_ms is not None}

    def heard_text(self, samples: int) -> str:
        """The prefix of the text that those samples carried."""
        if self.speaking is not None:
            self.speaking.guess()
        return self.said.heard_text(self.text, self.ms(samples))

    def text_reached(self, samples: int) -> int:
        """How much of the text sounds up to there, its last word or segment whole."""
        at_ms = self.ms(samples)
        for mark in self.said.marks:
            if at_ms <= mark.end_ms:
                return mark.end
        return self.speaking.end if self.speaking is not None else len(self.text)

    def ms(self, samples: int) -> float:
        return samples * 1000 / self.voice.rate_hz if self.voice.rate_hz else 0.0

    @property
    def waiting_ms(self) -> float:
        return self.ms(self.waiting[-1].end - self.waiting[0].offset) if self.waiting else 0.0

    def keep(self, pcm: bytes) -> None:
        """Audio has been made: it waits to be sent."""
        self.waiting.append(Chunk(self.made, pcm))
        self.made += len(pcm) // 2
        if self.waiting_ms > MOST_WAITING_MS:
            self.room.clear()

    def take(self, most_samples: int) -> Chunk | None:
        """The next audio to send, at most that long."""
        if not self.waiting:
            return None
        chunk = self.waiting.popleft()
        if chunk.end - chunk.offset > most_samples:
            self.waiting.appendleft(Chunk(chunk.offset + most_samples, chunk.pcm[most_samples * 2 :]))
            chunk = Chunk(chunk.offset, chunk.pcm[: most_samples * 2])
        self.unheard.append(chunk)
        if self.waiting_ms <= MOST_WAITING_MS:
            self.room.set()
        return chunk

    def forget_heard(self, samples: int) -> None:
        """Audio up to there will never be needed again."""
        while self.unheard and self.unheard[0].end <= samples:
            self.unheard.popleft()

    def rewind(self, samples: int) -> None:
        """Everything after that sample must be sent again."""
        while self.unheard:
            chunk = self.unheard.pop()
            if chunk.end <= samples:
                break
            if chunk.offset < samples:
                chunk = Chunk(samples, chunk.pcm[(samples - chunk.offset) * 2 :])
            self.waiting.appendleft(chunk)
        self.unheard.clear()

    def drop_audio(self) -> None:
        self.waiting.clear()
        self.unheard.clear()


@dataclass(slots=True)
class Maker:
    """Makes one reply. `run` is its task's body; cancelling that task ends everything it started."""

    reply: Reply
    host: Host
    llm: LlmChain
    tts: TtsChain
    report: Report
    canned: str = ""
    """Text to say as it is, instead of asking a model."""
    thrifty: bool = False
    """A budget is spent: ask those that cost nothing first."""

    async def run(self) -> None:
        segments: asyncio.Queue[Segment | None] = asyncio.Queue(SEGMENTS_AHEAD)
        failed: LlmError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(segments))
                group.create_task(self._speak(segments))
        except* LlmError as errors:
            failed = next(e for e in errors.exceptions if isinstance(e, LlmError))
        if failed is not None:
            self.host.on_failed(self.reply, failed)
        else:
            self.host.on_generated(self.reply)

    async def _write(self, segments: "asyncio.Queue[Segment | None]") -> None:
        segmenter = Segmenter()
        async for token in self._tokens():
            self.reply.text += token
            self.host.on_token(self.reply, token)
            for segment in segmenter.push(token):
                await segments.put(segment)
        self.host.on_text_complete(self.reply)
        for segment in segmenter.flush():
            await segments.put(segment)
        await segments.put(None)

    async def _tokens(self) -> AsyncGenerator[str, None]:
        """The reply's text, with the tools it asks for run in between."""
        if self.canned:
            yield self.canned
            return
        await self.host.settle(self.reply)
        for _ in range(MOST_TOOL_STEPS):
            calls: list[ToolCall] = []
            said = len(self.reply.text)
            tokens = self.llm.tokens(
                self.host.prompt(self.reply), self.report, self.reply.requests, thrifty=self.thrifty
            )
            async with aclosing(tokens) as stream:
                async for _, piece in stream:
                    if isinstance(piece, str):
                        yield piece
                    elif isinstance(piece, ToolCall):
                        calls.append(piece)
            if not calls:
                return
            theirs = [call for call in calls if self.host.is_lent(self.reply, call)]
            await self.reply.committed.wait()  # a guess may think, not act
            for call in theirs:
                self.host.lend(self.reply, call)
            for call in (c for c in calls if c not in theirs):
                quiet = len(self.reply.text) > said
                async with aclosing(self.host.run_tool(self.reply, call, quiet=quiet)) as meanwhile:
                    async for words in meanwhile:
                        gap = " " if self.reply.text and not self.reply.text[-1].isspace() else ""
                        yield f"{gap}{words} "
            if theirs or (self.reply.is_last and self.reply.text.strip()):
                return  # the client answers, or goodbye was said
        raise LlmError(f"the model asked for tools {MOST_TOOL_STEPS} times in a row")

    async def _speak(self, segments: "asyncio.Queue[Segment | None]") -> None:
        mute = self.reply.voice.rate_hz == 0
        index = 0
        while (segment := await segments.get()) is not None:
            if mute:
                continue
            try:
                await self._say(segment, index)
            except TtsError as error:
                mute = True  # the rest goes on in writing
                self.host.on_failed(self.reply, error)
            index += 1

    async def _say(self, segment: Segment, index: int) -> None:
        reply = self.reply
        voice = reply.voice
        spelled = spell(speakable(segment.text))
        request = SpeechRequest(
            spelled.text,
            voice.voice,
            voice.language,
            voice.speed,
            voice.pitch,
            reply.response_id,
            index,
        )
        base = reply.made
        words = reply.speaking = _Words(reply, segment, spelled, base, self.host.on_mark)
        speech = self.tts.speak(request, voice.rate_hz, self.report, reply.requests, thrifty=self.thrifty)
        async with aclosing(speech) as stream:
            async for _, piece in stream:
                if isinstance(piece, bytes):
                    if piece:
                        self.host.say_pcm(reply, piece)
                        await reply.room.wait()
                elif isinstance(piece, SpokenWord):
                    words.add(piece)
        words.close(reply.ms(reply.made))
        reply.speaking = None


class _Words:
    """Maps a segment's text to its audio: by the voice's own word times, or as one stretch."""

    def __init__(
        self,
        reply: Reply,
        segment: Segment,
        spelled: Spelled,
        base: int,
        on_mark: Callable[[Reply, Mark], None],
    ) -> None:
        self._reply, self._segment, self._on_mark = reply, segment, on_mark
        self._spelled = spelled
        self._base_ms = reply.ms(base)
        self._end = segment.start
        self._end_ms = self._base_ms

    @property
    def end(self) -> int:
        """Of the segment, in the reply's text."""
        return self._segment.end

    def add(self, word: SpokenWord) -> None:
        end = min(self._segment.start + self._spelled.written(word.end), self._segment.end)
        if end > self._end:
            self._mark(Mark(self._end, end, self._base_ms + word.start_ms, self._base_ms + word.end_ms))

    def close(self, end_ms: float) -> None:
        """The segment's audio is complete: whatever no word covered belongs to its end."""
        if self._end < self._segment.end:
            self._mark(Mark(self._end, self._segment.end, self._end_ms, max(self._end_ms, end_ms)))

    def guess(self) -> None:
        """The audio was cut short: assume an ordinary pace for what no word covers."""
        left = self._segment.end - self._end
        self.close(self._end_ms + left * 1000 / GUESSED_CHARS_PER_S)

    def _mark(self, mark: Mark) -> None:
        self._end, self._end_ms = mark.end, mark.end_ms
        self._reply.said.add(mark)
        self._on_mark(self._reply, mark)
