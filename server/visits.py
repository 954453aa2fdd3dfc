"""A recorded turn over HTTP: the recording goes into a live session, the answer's text and sound come out.

It is handed over by a client like any other, so that recognition, answer, files and rows are a talk's; and so
it finds the line busy while somebody else is connected. (Typed turns need no client: `server.exchange`.)
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.contracts import FRAME_BYTES, INPUT_RATE_HZ
from pipeline.core.endpoint import CATCH_UP
from pipeline.outbox import Event
from pipeline.session import Session

TURN_S = 60.0
"""How long a turn may take; the deadlines of the chains are shorter, but tools may be run in between."""
SLICE_BYTES = 6400
"""200 ms, which the detector judges in about 1 ms."""
OVER = "The session has ended."


class VisitError(Exception):
    """The turn came to nothing. The text is a sentence for whoever asked."""


class LineBusy(VisitError):
    """Somebody else is in the session, or it does not allow this kind of turn."""


class NothingHeard(VisitError):
    """There were no words in the recording."""


class NoAnswer(VisitError):
    """The providers failed, or took too long."""


@dataclass(slots=True)
class Answer:
    """A turn and what was said back."""

    heard: str = ""
    """What the user said."""
    text: str = ""
    pcm: bytearray | bytes = b""
    """s16le mono; empty when the answer is in writing only."""
    rate_hz: int = 0


async def play(session: Session, pcm: bytes) -> Answer:
    """A recorded turn, s16le mono 16 kHz, at most two minutes. Raises `VisitError`."""
    if session.ended:
        raise LineBusy(OVER)
    if session.attached:
        raise LineBusy("Somebody is connected to this session; only one can be.")
    if session.setup.channels == "text":
        raise LineBusy("This session is in writing only.")
    loop = asyncio.get_running_loop()
    pcm += bytes(-len(pcm) % FRAME_BYTES)  # a rest would wait for the next recording
    seconds = len(pcm) / 2 / INPUT_RATE_HZ
    async with _line(session), _patience(TURN_S + CATCH_UP * seconds):
        began = loop.time()
        session.do({"type": "talk.begin"})
        for at in range(0, len(pcm), SLICE_BYTES):
            session.hear(pcm[at : at + SLICE_BYTES])
            await asyncio.sleep(0)
        session.minutes.timeline.skip(seconds - (loop.time() - began))
        session.do({"type": "talk.end"})
        turn = _Turn(session)
        answer = await turn.answer()
        if answer.rate_hz:
            played_s = len(answer.pcm) / 2 / answer.rate_hz
            session.minutes.timeline.skip(played_s - (loop.time() - turn.sound_at))
    await session.minutes.recorder.flush()  # whoever reads the talk next finds the turn there
    return answer


@asynccontextmanager
async def _line(session: Session) -> AsyncGenerator[None, None]:
    """Be the session's client for a turn, with a button to hold. Another client takes the place away."""
    task, had_button, taken = asyncio.current_task(), session.floor.hold_to_talk, False
    assert task is not None

    def kick() -> None:
        nonlocal taken
        taken = True
        task.cancel()  # at once: what the session sends from now on is the other's

    session.attach(kick)
    session.hold_to_talk(True)
    while session.outbox.take() is not None:
        pass  # from before: who comes later is told the whole story anyway
    try:
        yield
    except asyncio.CancelledError:
        if not taken or task.uncancel():
            raise
        raise LineBusy("Another client has taken over this session.") from None
    finally:
        session.hold_to_talk(had_button)
        session.detach(kick)


@asynccontextmanager
async def _patience(seconds: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise NoAnswer("There was no answer in time. Try again.") from error


class _Turn:
    """Reads a session's events until a turn is answered."""

    def __init__(self, session: Session) -> None:
        self._session, self._answer = session, Answer()
        self._turn = 0
        self._is_sorry = self._is_mute = False
        """The model failed, and an apology takes its place; no voice says the answer."""
        self._response_id = ""
        self._pcm = bytearray()
        self._is_sound_ours = False
        self.sound_at = 0.0
        """When its sound began, by the loop's clock."""

    async def answer(self) -> Answer:
        """Wait until it was said to its end. What has been taken counts as played at once."""
        answer, over = self._answer, False
        while not over:
            item = await self._next()
            if isinstance(item, bytes):
                if self._is_sound_ours:
                    self._pcm += item
                    self._report()
                continue
            self._read(item)
            match item["type"]:
                case "audio.begin":
                    self._is_sound_ours = self._is_mine(item)
                    if self._is_sound_ours:
                        answer.rate_hz = item["rate"]
                        self.sound_at = asyncio.get_running_loop().time()
                case "audio.end":
                    over = self._is_mine(item)
                case "interrupted" if self._is_mine(item):
                    over, answer.text = True, answer.text or item["heard_text"]
                case "turn.metrics":
                    over = item["turn"] == self._turn and bool(answer.text)
                case "agent_response" | "error" if self._is_sorry and self._is_mute:
                    over = bool(answer.text)  # an apology has no metrics
        answer.pcm = self._pcm
        return answer

    def _is_mine(self, event: Event) -> bool:
        return bool(self._response_id) and event["response_id"] == self._response_id

    def _read(self, event: Event) -> None:
        match event["type"]:
            case "transcription" if event["final"] and not self._turn:
                self._turn, self._answer.heard = event["turn"], event["text"]
            case "response.begin" if self._turn and event["turn"] == self._turn:
                self._response_id = event["response_id"]
            case "agent_response" if event["final"] and self._is_mine(event):
                self._answer.text = event["text"]
            case "error" if event["code"] == "nothing_heard":
                raise NothingHeard("No words were recognized in this recording.")
            case "error" if event["code"] == "wrong_mode":
                raise LineBusy(event["message"])
            case "error" if event["code"] in ("stt_failed", "internal"):
                raise NoAnswer(event["message"])
            case "error":
                self._is_sorry |= event["code"] == "llm_failed"
                self._is_mute |= event["code"] == "tts_failed"
            case "ended":
                raise LineBusy(OVER)

    def _report(self) -> None:
        played_ms = len(self._pcm) / 2 * 1000 / self._answer.rate_hz
        self._session.do({"type": "playback", "response_id": self._response_id, "played_ms": played_ms})

    async def _next(self) -> Event | bytes:
        while True:
            if not await self._session.outbox.wait():
                raise LineBusy(OVER)
            item = self._session.outbox.take()
            if item is not None:
                return item
