"""A typed turn from outside a socket: the message goes in, the reply's text comes out.

Whoever is connected to the session hears the reply as well. Messages of one session wait for each other, so
that none cuts the reply to another one off.
"""

import asyncio
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from pipeline.outbox import Outbox
from pipeline.session import Session

ANSWER_S = 60.0
"""The longest wait for a reply's text: tools may run, and a chain may ask several models."""

MOST_CHARS = 8_000
"""Of a message: as the socket takes it."""

_queues: "WeakKeyDictionary[Session, asyncio.Lock]" = WeakKeyDictionary()


class ByVoiceOnly(Exception):
    """Nothing can be typed in this session."""


class EndedMeanwhile(Exception):
    """The session ended before the reply was there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply."""

    turn: int
    response_id: str
    text: str
    interrupted: bool = False
    """Somebody spoke or typed before it was whole: `text` is what there was."""


async def ask(session: Session, message: str, within_s: float = ANSWER_S) -> Answer:
    """Say something and wait for the reply's text. Raises `ByVoiceOnly`, `EndedMeanwhile`, TimeoutError."""
    if session.setup.channels == "voice":
        raise ByVoiceOnly
    async with asyncio.timeout(within_s), _queues.setdefault(session, asyncio.Lock()):
        if session.ended:
            raise EndedMeanwhile
        session.visit()
        outbox = session.observe()
        try:
            session.do({"type": "text_message", "message": message})
            answer = await _answer(outbox)
        finally:
            session.unobserve(outbox)
            session.visit()  # being idle begins with the reply, not with the question
        await session.minutes.recorder.flush()  # whoever reads the talk next finds the turn there
        return answer


async def _answer(outbox: Outbox) -> Answer:
    turn, response_id, text = 0, "", ""
    while await outbox.wait():
        event = outbox.take()
        assert isinstance(event, dict)
        kind = event["type"]
        if kind == "user_message" and not turn:
            turn = event["turn"]  # ours: it is sent before anything else can happen
        elif not turn:
            continue
        elif kind == "response.begin" and event["turn"] == turn:
            response_id, text = event["response_id"], ""
        elif kind == "agent_response" and event["turn"] == turn:
            if event["final"]:
                return Answer(turn, event["response_id"], event["text"])
            text += event["text"]
        elif kind == "interrupted" and event["response_id"] == response_id:
            return Answer(turn, response_id, text, interrupted=True)
    raise EndedMeanwhile
