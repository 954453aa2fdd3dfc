"""A speech-to-speech model that says what it was told to, after fixed delays: for tests and benchmarks.

It takes real audio and counts it, but does not listen; its sound is a tone of 40 ms per character. All
waiting goes through the event loop's timers, so under a virtual clock every time is exact.
"""

import asyncio
import math
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.contracts import (
    Asked,
    Ended,
    Env,
    Failure,
    Said,
    Sounded,
    TalkError,
    TalkEvent,
    TalkSetup,
    ToolCall,
    Understood,
    Usage,
    Used,
)

RATE_HZ = 24_000
MS_PER_CHAR = 40
PERIOD = array("h", (round(6000 * math.sin(2 * math.pi * i / 120)) for i in range(120))).tobytes()

Fail = Literal["", "open", "hang", "empty", "mute", "die", "die-while-hearing", "unwritten"]


@dataclass(frozen=True, slots=True)
class Options:
    """[talk.scripted]"""

    text: tuple[str, ...] = ("what can you do for me today",)
    """What is heard; of several texts the next one in each utterance, over and over."""
    reply: tuple[str, ...] = ("I can help you with everyday questions, and quite a few others.",)
    """What is answered, in the same way."""
    open_ms: int = 0
    """Until a talk is open."""
    first_ms: int = 200
    """From the end of an utterance to the answer's first sound."""
    transcript_ms: int = 100
    """From the end of an utterance to its text."""
    word_ms: int = 20
    """Between two words of an answer, which come with their sound."""
    tool: str = ""
    """The first answer asks for this tool, without arguments, before it says anything."""
    fail: Fail = ""
    """How talks fail: "open" (refused), "hang" (no answer ever), "empty" (an answer without anything), "mute"
    (without sound), "die" (the socket dies after `die_words` of an answer), "die-while-hearing" (after half a
    second of an utterance), "unwritten" (utterances are never written down)."""
    die_words: int = 3
    fail_after: int = 0
    """How many answers go well before they fail."""
    lives_s: float = 0.0
    """After how long a talk counts as old; 0 = never."""


def create(options: Options, env: Env) -> "ScriptedTalkEngine":
    """Always possible."""
    del env
    return ScriptedTalkEngine(options)


class ScriptedTalkEngine:
    """The `TalkEngine`. Keeps the talks it opened, for tests to look at."""

    rate_hz = RATE_HZ
    model = "scripted"
    ear_model = ""
    tells_final = True
    input_tokens_per_s = 10
    output_tokens_per_s = 20

    def __init__(self, options: Options) -> None:
        self.options = options
        self.talks: list[ScriptedTalk] = []
        self.answers = 0
        self.tools = 0

    async def warm(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def open(self, setup: TalkSetup) -> "ScriptedTalk":
        if self.options.open_ms:
            await asyncio.sleep(self.options.open_ms / 1000)
        if self.fails("open"):
            raise TalkError("the scripted talk was told not to open", Failure.TRANSIENT)
        talk = ScriptedTalk(self, setup)
        self.talks.append(talk)
        return talk

    def fails(self, *ways: Fail) -> bool:
        """Whether it is time to fail in one of these ways."""
        return self.options.fail in ways and self.answers >= self.options.fail_after


class ScriptedTalk:
    """One `Talk`. `told` is what it was told, in order: for tests."""

    def __init__(self, engine: ScriptedTalkEngine, setup: TalkSetup) -> None:
        self._engine, self.setup = engine, setup
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._loop.time()
        self.told: list[tuple[object, ...]] = []
        self._events: asyncio.Queue[TalkEvent | TalkError] = asyncio.Queue()
        self._timers: deque[asyncio.TimerHandle] = deque()
        self._answering: dict[int, deque[str]] = {}
        self._utterance = self._fed_bytes = 0

    @property
    def is_old(self) -> bool:
        lives_s = self._engine.options.lives_s
        return bool(lives_s) and self._loop.time() >= self._opened_at + lives_s

    def begin(self, utterance: int) -> None:
        self._utterance, self._fed_bytes = utterance, 0
        self.told.append(("begin", utterance))

    def feed(self, pcm: bytes) -> None:
        self._fed_bytes += len(pcm)
        if self._fed_bytes >= 16_000 and self._engine.fails("die-while-hearing"):
            self._die()

    def finish(self, utterance: int, reply: int) -> None:
        self.told.append(("finish", utterance, reply, self._fed_bytes // 32))
        options = self._engine.options
        if not self._engine.fails("unwritten", "hang"):
            text = _nth(options.text, utterance - 1)
            self._in(options.transcript_ms, Understood(utterance, text, final=True))
        self._answer(reply, use_tool=bool(options.tool) and not self._engine.tools)

    def drop(self, utterance: int) -> None:
        self.told.append(("drop", utterance))

    def say(self, text: str, reply: int) -> None:
        self.told.append(("say", text, reply))
        self._answer(reply, use_tool=bool(self._engine.options.tool) and not self._engine.tools)

    def answer(self, reply: int, results: Sequence[tuple[ToolCall, str]], *, go_on: bool) -> None:
        self.told.append(("answer", reply, [(call.name, text) for call, text in results], go_on))
        if go_on:
            self._answer(reply, use_tool=False)

    def cut(self, reply: int, heard_ms: float, heard_text: str) -> None:
        self.told.append(("cut", reply, round(heard_ms), heard_text))
        if self._answering.pop(reply, None) is not None:
            self._events.put_nowait(Used(reply, self._usage("")))
            self._events.put_nowait(Ended(reply))

    def remember(self, text: str) -> None:
        self.told.append(("remember", text))

    def instruct(self, instructions: str) -> bool:
        self.told.append(("instruct", instructions))
        return True

    async def events(self) -> AsyncGenerator[TalkEvent, None]:
        while True:
            event = await self._events.get()
            if isinstance(event, TalkError):
                raise event
            yield event

    async def aclose(self) -> None:
        self.told.append(("aclose",))
        for timer in self._timers:
            timer.cancel()

    # -- inside --------------------------------------------------------------------------------------------

    def _answer(self, reply: int, *, use_tool: bool) -> None:
        engine, options = self._engine, self._engine.options
        if engine.fails("hang"):
            return
        if use_tool:
            engine.tools += 1
            call = ToolCall(f"call-{reply}", options.tool, {})
            self._in(options.first_ms, Used(reply, self._usage("")), Asked(reply, (call,)))
            return
        text = "" if engine.fails("empty") else _nth(options.reply, engine.answers)
        self._answering[reply] = deque(_words(text))
        self._timers.append(self._loop.call_later(options.first_ms / 1000, self._say_next, reply, text, 0))

    def _say_next(self, reply: int, text: str, said: int) -> None:
        words = self._answering.get(reply)
        if words is None:
            return
        engine = self._engine
        if said == engine.options.die_words and engine.fails("die"):
            self._die()
        elif words:
            word = words.popleft()
            self._events.put_nowait(Said(reply, word))
            if not engine.fails("mute"):
                self._events.put_nowait(Sounded(reply, _tone(len(word) * MS_PER_CHAR)))
            wait_s = engine.options.word_ms / 1000
            self._timers.append(self._loop.call_later(wait_s, self._say_next, reply, text, said + 1))
        else:
            del self._answering[reply]
            engine.answers += 1
            self._events.put_nowait(Used(reply, self._usage(text)))
            self._events.put_nowait(Ended(reply))

    def _usage(self, text: str) -> Usage:
        return Usage(
            input_tokens=20,
            output_tokens=len(text.split()),
            input_audio_tokens=self._fed_bytes // 3200,
            output_audio_tokens=len(text) * MS_PER_CHAR // 50,
        )

    def _in(self, delay_ms: int, *events: TalkEvent) -> None:
        def put() -> None:
            for event in events:
                self._events.put_nowait(event)

        self._timers.append(self._loop.call_later(delay_ms / 1000, put))

    def _die(self) -> None:
        self._events.put_nowait(TalkError("the scripted talk was told to die", Failure.TRANSIENT))


def _nth(texts: Sequence[str], index: int) -> str:
    return texts[index % len(texts)] if texts else ""


def _words(text: str) -> list[str]:
    """With their spaces: joined, they are the text."""
    words = text.split(" ")
    return [w + " " * (i < len(words) - 1) for i, w in enumerate(words)] if text else []


def _tone(ms: int) -> bytes:
    size = RATE_HZ * ms // 1000 * 2
    return (PERIOD * (size // len(PERIOD) + 1))[:size]
