"""One session's conversation with a speech-to-speech model: when it is open, who is heard, what is answered.

Synchronous but for one task, which opens the talk and reads its events. A talk that fails hands everything
that is under way to the three stages and rests; the next turn after its rest opens another one, which is told
the history. It decides nothing about turns: the floor does, through `open`, `maker`, `on_cut` and the others.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.chain import Chain, Member, Report, SttChain, SttUtterance
from pipeline.chain.member import ignore, now
from pipeline.contracts import (
    Asked,
    Ended,
    Expected,
    Failure,
    ProviderError,
    Said,
    Sounded,
    SttError,
    Talk,
    TalkEngine,
    TalkError,
    TalkEvent,
    TalkSetup,
    ToolCall,
    Understood,
    Used,
)
from pipeline.duplex.ears import UNWRITTEN, Heard, Utterance
from pipeline.duplex.maker import DuplexMaker
from pipeline.duplex.stream import Stream
from pipeline.reply import Host, Maker, Reply
from pipeline.request import Outcome, Request

log = logging.getLogger(__name__)

TURNS_KEPT = 3
"""Of so many turns a late transcript still corrects the text."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a model is waited for, in seconds: for its first sign of life, and between two."""

    first_s: float = 5.0
    stall_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session lends to its conversation with a model."""

    setup: Callable[[], TalkSetup]
    is_replying: Callable[[], bool]
    is_spoken: Callable[[], bool]
    """Replies are wanted aloud."""
    next_turn: Callable[[], int]
    spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
    report: Callable[[ProviderError, str], None]
    correct: Callable[[int, str], None]
    """The text of a turn is known better now."""
    charge: Callable[[Request, int], None]


class Duplex:
    """Satisfies `ears.Ears`, and makes replies."""

    def __init__(
        self, chain: Chain[TalkEngine], recognizers: SttChain, patience: Patience, terms: Terms
    ) -> None:
        self._chain, self._recognizers, self._terms = chain, recognizers, terms
        self._member: Member[TalkEngine] = chain.members[0]
        self.name, self.rate_hz = self._member.name, self._member.engine.rate_hz
        self.first_s, self.stall_s, self.spawn = patience.first_s, patience.stall_s, terms.spawn
        self._talk: Talk | None = None
        self._task: asyncio.Task[None] | None = None
        """Opens the talk and reads it."""
        self._is_stale = False
        """The talk knows something else than it should."""
        self._later: list[Callable[[Talk], object]] = []
        """To be told to the talk that is being opened."""
        self._attempt = 0
        """Counts the failures: what belongs to an attempt that has failed cannot fail once more."""
        self._numbers = 0
        self._utterances: dict[int, Utterance] = {}
        """Those that the model hears or owes a text."""
        self._heard: list[Utterance] = []
        """Finished, of the turn that is not committed yet."""
        self._turns: dict[int, list[Utterance]] = {}
        self._streams: dict[int, Stream] = {}
        self._pending: Stream | None = None
        """The answer to what was said last, before the floor has asked for a reply."""
        self._replies: dict[int, Stream] = {}
        """By the session's own reply numbers."""

    # -- what the session does -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """The talk will be needed soon: have it open."""
        if self._task is None and self._may_ask():
            self._task = self._terms.spawn(self._converse())

    def open(
        self,
        language: str = "",
        hints: Sequence[str] = (),
        report: Report = ignore,
        *,
        thrifty: bool = False,
        expected: Expected | None = None,
    ) -> Heard:
        """An utterance begins; an answer that nobody has heard yet is not wanted any more."""
        self._withdraw()

        def recognizers() -> SttUtterance:
            return self._recognizers.open(language, hints, report, thrifty=thrifty, expected=expected)

        if not self._may_ask(thrifty=thrifty):
            return recognizers()
        self._renew_if_old()
        held = self._terms.is_replying()
        utterance = Utterance(self._next_number(), self, recognizers, self.first_s, held=held)
        engine = self._member.engine
        if engine.ear_model:
            utterance.request = Request("stt", self.name, engine.ear_model, now(), charged=True)
        self._utterances[utterance.number] = utterance
        if self._talk is None:
            self.prepare()
        elif not held:
            utterance.attach(self._talk)
        return utterance

    def on_dropped(self, heard: Heard) -> None:
        """An utterance was nothing, after all."""
        if not isinstance(heard, Utterance):
            return
        if heard in self._heard:
            self._heard.remove(heard)
            self._withdraw()
        self._forget(heard)
        if self._talk is not None and heard.is_attached:
            self._talk.drop(heard.number)
        heard.detach()

    def on_commit(self, turn: int) -> None:
        """What was heard since the last turn is a turn's text."""
        self._turns[turn], self._heard = self._heard, []
        for old in [t for t in self._turns if t <= turn - TURNS_KEPT]:
            for utterance in self._turns.pop(old):
                self._forget(utterance)

    def maker(self, reply: Reply, host: Host, stages: Maker) -> "Maker | DuplexMaker":
        """Who makes a reply: the model, or the three stages, when it is not to be asked now."""
        stream, self._pending = self._pending, None
        if stages.canned or reply.held:
            if stream is not None:
                self._cut(stream, 0.0, "")
            return stages
        if stream is None:
            if not self._may_ask(thrifty=stages.thrifty):
                return stages
            stream = self._say(reply.question)
        stream.turn = reply.turn
        reply.requests += stream.bill
        stream.bill = reply.requests
        self._replies[reply.number] = stream
        return DuplexMaker(reply, host, stages, stream, self)

    def on_cut(self, reply: Reply, heard_ms: float, heard_text: str) -> None:
        """A reply was interrupted: the model is to remember what was heard of it."""
        stream = self._replies.pop(reply.number, None)
        if stream is not None:
            self._cut(stream, heard_ms, heard_text)
        elif heard_text:
            self._remember(heard_text)
        self._release()

    def on_said(self, reply: Reply) -> None:
        """A reply was heard to its end."""
        if self._replies.pop(reply.number, None) is None and reply.text:
            self._remember(reply.text)
        self._renew_if_old()
        self._release()

    def instruct(self, instructions: str) -> None:
        """The system prompt has changed."""

        def tell(talk: Talk) -> None:
            if not talk.instruct(instructions):
                self._is_stale = True

        self._tell(tell)
        self._renew_if_old()

    def renew(self, instructions: str) -> None:
        """Somebody else talks: go on with another talk, for the voice and the tools cannot change within one,
        as soon as nothing is lost with this one."""

        def tell(talk: Talk) -> None:
            talk.instruct(instructions)
            self._is_stale = True

        self._tell(tell)
        self._renew_if_old()

    def close(self) -> None:
        """The session is over."""
        for stream in self._streams.values():
            self._settle_bill(stream, Outcome.CANCELLED)
        self._hang_up()

    # -- what utterances and replies ask (ears.Listener, maker.Model) --------------------------------------

    def on_finished(self, utterance: Utterance) -> None:
        self._heard.append(utterance)
        self._pending = stream = self._new_stream()
        stream.heard_ms = utterance.audio_ms
        utterance.release()
        utterance.reply = stream.number
        if self._talk is not None:
            utterance.attach(self._talk)
            self._talk.finish(utterance.number, stream.number)

    def on_unanswered(self, utterance: Utterance) -> None:
        message = f"{self.name} gave no sign of life within {self.first_s:g} s"
        self._fail(TalkError(message, Failure.TIMEOUT))
        utterance.fall_back()

    def answer(self, stream: Stream, results: Sequence[tuple[ToolCall, str]]) -> None:
        """What the tools said that a reply has asked for."""
        if self._talk is None or (stream.ended and not stream.is_cut):
            return
        if not stream.is_cut and stream.request is None:
            self._new_request(stream)
        self._talk.answer(stream.number, results, go_on=not stream.is_cut)

    def on_broken(self, stream: Stream, error: TalkError) -> None:
        """A reply could not be made, or not to its end: that is a reason not to ask the model again soon."""
        if stream.attempt == self._attempt:
            self._fail(error)

    def on_worked(self) -> None:
        self._member.worked()

    async def write_down(self, turn: int) -> None:
        """Have the recognizers write down what the model understood and did not write: whoever answers in
        its place needs the words."""
        for utterance in self._turns.get(turn, ()):
            if utterance.written or utterance.text:
                continue
            try:
                utterance.understand(await utterance.recognize(), final=True)
                for request in utterance.extra_bill:
                    self._terms.charge(request, turn)
            except SttError as error:
                log.warning("nobody could write down turn %d: %s", turn, error)
        self._correct(turn)

    # -- the talk ------------------------------------------------------------------------------------------

    def _may_ask(self, *, thrifty: bool = False) -> bool:
        if self._talk is not None:
            return not thrifty or self._member.free
        return self._member.is_rested(now()) and (not thrifty or self._member.free)

    async def _converse(self) -> None:
        """Open a talk and read it until it is over."""
        talk: Talk | None = None
        try:
            talk = await self._member.engine.open(self._setup())
            self._talk, self._is_stale = talk, False
            self._catch_up(talk)
            async for event in talk.events():
                self._on(event)
                if self._talk is not talk:
                    return  # what it said was that it has failed
            raise TalkError(f"{self.name} ended the talk", Failure.TRANSIENT)
        except TalkError as error:
            if talk is not None and not self._is_busy():
                log.info("%s hung up between two turns: %s", self.name, error)
                self._hang_up()
            else:
                self._fail(error)
        finally:
            if talk is not None:
                await talk.aclose()

    def _setup(self) -> TalkSetup:
        """With the history; a typed message that is about to be asked is not history yet."""
        setup = self._terms.setup()
        history = setup.history
        asked = [s for s in self._streams.values() if s.question and s.is_running]
        if asked and history and history[-1].role == "user" and history[-1].content == asked[-1].question:
            history = history[:-1]
        return replace(setup, history=history)

    def _catch_up(self, talk: Talk) -> None:
        """Tell a new talk what has happened while it was being opened."""
        later, self._later = self._later, []
        for tell in later:
            tell(talk)
        for utterance in list(self._utterances.values()):
            if utterance.settled or utterance.is_held or not utterance.is_at_model:
                continue
            utterance.attach(talk)
            if utterance.finished:
                talk.finish(utterance.number, utterance.reply)
                if utterance.reply not in self._streams or self._streams[utterance.reply].is_cut:
                    talk.cut(utterance.reply, 0.0, "")
        for stream in self._streams.values():
            if stream.question and stream.is_running:
                talk.say(stream.question, stream.number)

    def _is_busy(self) -> bool:
        """Something would be lost with the talk."""
        waiting = any(u.is_at_model and not u.settled for u in self._utterances.values())
        return waiting or any(s.is_running for s in self._streams.values())

    def _renew_if_old(self) -> None:
        """Go on with another talk, which is told the history, when nobody notices."""
        if self._talk is not None and (self._is_stale or self._talk.is_old) and not self._is_busy():
            self._hang_up()
            self.prepare()

    def _hang_up(self) -> None:
        """Let go of the talk: its task closes it."""
        task, self._task, self._talk = self._task, None, None
        self._later.clear()
        for utterance in self._utterances.values():
            utterance.detach()
        for stream in [s for s in self._streams.values() if s.is_cut]:
            self._settle_bill(self._streams.pop(stream.number), Outcome.CANCELLED)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _fail(self, error: TalkError) -> None:
        """The model has failed: everything that is under way goes to the stages."""
        if self._task is None:
            return  # it has failed already
        self._attempt += 1
        self._hang_up()
        self._chain.failed(self._member, error)
        self._terms.report(error, self.name)
        for stream in list(self._streams.values()):
            self._settle_bill(stream, Outcome.CANCELLED if stream.is_cut else Outcome.FAILED, error.kind)
            stream.end(error)
        self._streams.clear()
        if not any(u.settled for u in self._heard):
            self._pending = None
        for utterance in list(self._utterances.values()):
            if utterance in self._heard and not utterance.settled:
                self._heard.remove(utterance)
            utterance.fall_back()
        self._utterances.clear()

    def _tell(self, tell: Callable[[Talk], object]) -> None:
        """To the talk that is open, or is being opened."""
        if self._talk is not None:
            tell(self._talk)
        elif self._task is not None:
            self._later.append(tell)

    def _remember(self, text: str) -> None:
        self._tell(lambda talk: talk.remember(text))

    # -- asking --------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _new_stream(self, question: str = "") -> Stream:
        stream = Stream(self._next_number(), self._attempt, question)
        self._streams[stream.number] = stream
        self._new_request(stream)
        return stream

    def _new_request(self, stream: Stream) -> None:
        """It is charged when the model has counted it, or has ended without: `charged` keeps others from
        doing so before."""
        stream.request = Request("talk", self.name, self._member.model, now(), charged=True)
        stream.bill.append(stream.request)

    def _say(self, text: str) -> Stream:
        """Something was typed, or was understood by a recognizer."""
        self._renew_if_old()
        stream = self._new_stream(text)
        if self._talk is not None:
            self._talk.say(text, stream.number)
        else:
            self.prepare()
        return stream

    def _cut(self, stream: Stream, heard_ms: float, heard_text: str) -> None:
        stream.is_cut = True
        number = stream.number
        if self._talk is not None:
            self._talk.cut(number, heard_ms, heard_text)

    def _withdraw(self) -> None:
        if self._pending is not None:
            self._cut(self._pending, 0.0, "")
            self._pending = None

    def _release(self) -> None:
        """The reply that had the floor is over: what was said meanwhile is no backchannel."""
        for utterance in self._utterances.values():
            if utterance.is_held:
                utterance.release()
                if self._talk is not None:
                    utterance.attach(self._talk)

    def _forget(self, utterance: Utterance) -> None:
        self._utterances.pop(utterance.number, None)

    # -- what comes ----------------------------------------------------------------------------------------

    def _on(self, event: TalkEvent) -> None:
        match event:
            case Understood():
                self._on_understood(event)
            case Said(reply, text):
                self._on_piece(reply, text)
            case Sounded(reply, pcm):
                self._on_piece(reply, pcm)
            case Asked(reply):
                self._on_piece(reply, event)
            case Used(reply):
                self._on_used(event)
            case Ended():
                self._on_ended(event)

    def _on_ended(self, event: Ended) -> None:
        stream, error = self._streams.pop(event.reply, None), event.error
        if stream is None:
            return
        if stream.is_cut:
            self._settle_bill(stream, Outcome.CANCELLED)
            stream.end()
            return
        if error is None and not stream.begun:
            error = TalkError(f"{self.name} answered nothing", Failure.EMPTY)
        outcome = Outcome.OK if error is None else Outcome.FAILED
        self._settle_bill(stream, outcome, error.kind if error is not None else "")
        stream.end(error)
        if error is not None:
            self._fail(error)

    def _on_understood(self, event: Understood) -> None:
        utterance = self._utterances.get(event.utterance)
        if utterance is None:
            return
        utterance.understand(event.text, final=event.final)
        turn = self._turn_of(utterance)
        if turn and (event.final or not self._member.engine.tells_final):
            self._correct(turn)
        if not event.final:
            return
        self._forget(utterance)
        if (request := utterance.request) is not None:
            utterance.request = None
            request.audio_ms = utterance.audio_ms
            if event.usage is not None:
                request.count(event.usage)
            self._charge(request, Outcome.OK, turn)

    def _on_piece(self, reply: int, piece: str | bytes | Asked) -> None:
        stream = self._streams.get(reply)
        if stream is None or stream.is_cut:
            return
        if stream.request is not None:
            stream.request.answered(now())
        stream.put(piece)
        if not isinstance(piece, str) or not self._terms.is_spoken():
            for utterance in self._heard:  # nobody is to wait for the text when the answer is there
                utterance.settle_now()

    def _on_used(self, event: Used) -> None:
        stream = self._streams.get(event.reply)
        request = stream.request if stream is not None else None
        if request is None:  # it came late, of a reply that is over
            request = Request("talk", self.name, self._member.model, now(), charged=True)
        request.count(event.usage)
        cancelled = stream is None or stream.is_cut
        turn = stream.turn if stream is not None else 0
        if stream is not None:
            stream.request = None
        self._charge(request, Outcome.CANCELLED if cancelled else Outcome.OK, turn)

    def _settle_bill(self, stream: Stream, outcome: Outcome, error: str = "") -> None:
        """A request that the model did not count is charged by what went over the wire."""
        request, stream.request = stream.request, None
        if request is None:
            return
        engine = self._member.engine
        request.input_audio_tokens = stream.heard_ms * engine.input_tokens_per_s // 1000
        request.output_audio_tokens = stream.made_bytes * engine.output_tokens_per_s // (2 * engine.rate_hz)
        self._charge(request, outcome, stream.turn, error)

    def _charge(self, request: Request, outcome: Outcome, turn: int, error: str = "") -> None:
        request.end(outcome, error)
        request.charged = False
        self._terms.charge(request, turn or self._terms.next_turn())

    def _turn_of(self, utterance: Utterance) -> int:
        return next((t for t, spoken in self._turns.items() if utterance in spoken), 0)

    def _correct(self, turn: int) -> None:
        text = " ".join(u.best_text for u in self._turns.get(turn, ()) if u.best_text)
        if text and text != UNWRITTEN:
            self._terms.correct(turn, text)
