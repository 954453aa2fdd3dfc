"""A session's mouth: its replies, from the first token to the last sample heard.

It does what the floor decides about replies and lets audio out through one gate, `pump`: only audio of the
reply that has the floor, that is not held, not ducked, not ahead of play-out by more than the lead, and
while somebody is there to hear it. Everything else waits, or was dropped with its reply.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pipeline.budget import last_words
from pipeline.chain import LlmChain, TtsChain
from pipeline.contracts import LlmError, Prompt, ProviderError, ToolCall, TtsError
from pipeline.core.dialogue import Mark
from pipeline.core.events import Actions, CommitTurn, Interrupt, StartReply
from pipeline.core.floor import Floor
from pipeline.core.latency import TurnClock
from pipeline.duplex import Duplex
from pipeline.minutes import Minutes
from pipeline.outbox import Event, Outbox
from pipeline.reply import Maker, Reply, Voice, Wish
from pipeline.toolbox import Spawn, Toolbox

CHUNK_MS = 100
"""The longest binary message: small enough to be purged in time, large enough to be cheap."""
FAREWELL = "farewell"
"""The kind of a reply after which the talk ends."""
MOST_RECENT = 8
"""Replies that are remembered after they are over: a client that stops one says so within a second."""
REFILL_MS = 250
"""How far the lead may fall before more is sent: fewer, larger wake-ups."""


@dataclass(slots=True)
class Mouth:
    """What a session lends to its replies."""

    outbox: Outbox
    emit: Callable[[Event], None]
    run: Callable[[Actions], None]
    now: Callable[[], float]
    arm: Callable[[], None]
    spawn: Spawn
    minutes: Minutes
    toolbox: Toolbox
    llm: LlmChain
    tts: TtsChain
    on_farewell: Callable[[], None]
    """The talk's last words were said: its budget is spent."""
    on_goodbye: Callable[[], None]
    """A tool has ended the talk, and the caller let the goodbye be said."""
    lead_ms: int
    session_id: str
    duplex: Duplex | None = None
    """The model that hears and speaks by itself, if there is one."""
    reply_prefix: str = "r"
    """Of response ids: another one after a crash, so that none is used twice in a session."""


class Speaking:
    """The replies of one session: at most one that has the floor, at most one held guess."""

    def __init__(self, mouth: Mouth, floor: Callable[[], Floor], voice: Callable[[Wish], Voice]) -> None:
        self._mouth, self._floor, self._voice = mouth, floor, voice
        self._replies: dict[int, Reply] = {}
        self._canned: tuple[str, str] = ("", "")
        self._clock: TurnClock | None = None
        self.current: Reply | None = None
        self._played: Reply | None = None
        """The last reply, when it ended by the clock and its client may still report so."""
        self._told_spent = False
        self._failovers: list[dict[str, str]] = []
        """Of the turn that is to come."""
        self.pump_at: float | None = None
        """When play-out will have made room for more."""
        self.attached = False
        self.wish = Wish()
        """What is asked of the next reply that is not a guess."""
        self.tells_end = False
        """The client is told by `response.end` when all of a reply was sent."""
        self.recent: deque[Reply] = deque(maxlen=MOST_RECENT)
        """The last replies that are over."""
        self.marks = False
        """The client asked for `audio.mark`."""
        self.ending = False
        """The talk is over: what is cut from now on, nobody has interrupted."""

    # -- what the floor decided --------------------------------------------------------------------------

    def say(self, turn: int, text: str, kind: str) -> None:
        """Say a text that no model made, if the floor is free."""
        self._canned = (text, kind)
        self._mouth.run(self._floor().on_say(turn, text, self._mouth.now()))
        self._canned = ("", "")

    def go_on(self, turn: int, kind: str, nudge: str) -> None:
        """Let the agent say something by itself, if the floor is free. `nudge`: for a model that only speaks
        when it is spoken to."""
        self._canned = ("", kind)
        self._mouth.run(self._floor().on_say(turn, nudge, self._mouth.now(), given=False))
        self._canned = ("", "")

    def on_commit(self, commit: CommitTurn, heard_by: str) -> None:
        """A user turn is complete. `heard_by` is the recognizer, "" for what was typed."""
        self._clock = TurnClock(
            commit.turn, commit.reason, commit.speech_ended_at, commit.ended_at, commit.settled_at
        )
        self._clock.plugins = {"stt": heard_by} if heard_by else {}
        self._clock.failovers, self._failovers = self._failovers, []

    def note_failover(self, error: ProviderError, plugin: str) -> None:
        """Somebody failed in the turn that is to come."""
        self._failovers.append(_failover(error, plugin))

    def start(self, action: StartReply) -> None:
        text, kind = self._canned
        spent = self._why_spent()
        if spent and not text and self._mouth.minutes.bill.ends_talks:
            text, kind = last_words(self._voice(Wish()).language), FAREWELL
        response_id = f"{self._mouth.reply_prefix}{action.reply}"
        wish = Wish()
        if not action.held:
            wish, self.wish = self.wish, wish
        voice = self._voice(wish)
        reply = Reply(
            action.reply, action.turn, response_id, action.text, action.held, voice, wish=wish, kind=kind
        )
        self._replies[reply.number] = reply
        mouth = self._mouth
        maker = Maker(
            reply, self, mouth.llm, mouth.tts, self._report(reply), canned=text, thrifty=bool(spent)
        )
        if not action.held:
            self._open(reply)
        if mouth.duplex is not None:
            reply.task = mouth.spawn(mouth.duplex.maker(reply, self, maker).run())
        else:
            reply.task = mouth.spawn(maker.run())

    def release(self, number: int) -> None:
        reply = self._replies[number]
        reply.held = False
        if self._clock is not None:
            self._clock.speculated = True
        self._open(reply)
        if reply.text:
            self._show(reply)
        if reply.complete:
            self.on_text_complete(reply)
        self.pump()

    def discard(self, number: int, reason: str) -> None:
        reply = self._replies.pop(number)
        self._cancel(reply)
        now = self._mouth.now()
        self._mouth.minutes.decide(now, "speculation discarded", reason)
        self._mouth.minutes.bill.charge(reply.requests, reply.turn, now, discarded=True)

    def interrupt(self, action: Interrupt) -> None:
        """Barge-in: one synchronous pass from the decision to silence."""
        reply = self._replies.pop(action.reply)
        reply.cut = True
        mouth, now = self._mouth, self._mouth.now()
        self._cancel(reply)
        mouth.outbox.purge_audio()
        heard_ms = round(reply.ms(action.heard_samples))
        heard_text = reply.heard_text(action.heard_samples)
        extra = {"estimated": True} if action.estimated else {}
        told = {"heard_ms": heard_ms, "heard_text": heard_text, "reason": action.reason, **extra}
        mouth.emit({"type": "interrupted", "response_id": reply.response_id, **told})
        mouth.minutes.decide(now, "interruption", action.reason, heard_ms=heard_ms)
        playout = self._floor().playout
        runs = playout.heard_runs(now) if playout is not None else []
        ended = {"ended": True} if self.ending else {}
        mouth.minutes.agent(reply, now, heard_text, runs, {"heard_ms": heard_ms, **extra, **ended})
        if mouth.duplex is not None:
            mouth.duplex.on_cut(reply, heard_ms, heard_text)
        self._settle_bill(reply, now, interrupted=True)
        self._closed(reply)

    def end(self, number: int) -> None:
        """The reply was played to its end, as far as is known."""
        reply = self._replies.pop(number)
        now = self._mouth.now()
        self._finish_sending(reply)
        playout = self._floor().playout
        runs = playout.heard_runs(now) if playout is not None else []
        self._mouth.minutes.agent(reply, now, None, runs, {})
        self._played = None
        if playout is not None and reply.turn and not reply.kind:
            if playout.all_reported():
                self._meter(reply, now, played=True)
            else:
                self._played = reply
        if self._mouth.duplex is not None:
            self._mouth.duplex.on_said(reply)
        self._settle_bill(reply, now)
        self._cancel(reply)
        self._closed(reply)
        if reply.is_last:
            self._mouth.on_goodbye()

    def cancel_all(self) -> None:
        for reply in self._replies.values():
            self._cancel(reply)

    def heard_last(self) -> str:
        """What the agent was heard to say last: of a reply that sounds, the part that has been played."""
        reply, playout = self.current, self._floor().playout
        if reply is not None and playout is not None:
            heard = reply.heard_text(playout.heard(self._mouth.now()))
            if heard:
                return heard
        return self._mouth.minutes.heard_last()

    # -- the client ----------------------------------------------------------------------------------------

    def on_playback(self, response_id: str, played_ms: float) -> None:
        reply, floor = self.current, self._floor()
        if reply is None or reply.response_id != response_id:
            self._on_late_playback(response_id, played_ms)
            return
        now = self._mouth.now()
        self._mouth.minutes.note("playback", now, {"response_id": response_id, "played_ms": played_ms})
        if floor.playout is not None:
            actions = floor.on_playback(reply.number, played_ms, now)
            reply.forget_heard(floor.playout.heard(now))
            self._mouth.run(actions)
        self.pump()

    def _on_late_playback(self, response_id: str, played_ms: float) -> None:
        """A report about a reply that was taken as played already, by the clock."""
        reply = self._played
        if reply is not None and reply.response_id == response_id and played_ms + 2 >= reply.ms(reply.made):
            self._played = None
            self._meter(reply, self._mouth.now(), played=True)

    def known(self, response_id: str) -> Reply | None:
        """The reply of that name, as long as it is remembered."""
        replies = (self.current, *self.recent)
        return next((r for r in replies if r is not None and r.response_id == response_id), None)

    def is_cut(self, response_id: str) -> bool:
        """That reply was interrupted lately, or would be now."""
        reply = self.known(response_id)
        return reply is not None and (reply.cut or reply is self.current)

    def reheard(self, response_id: str, played_ms: float) -> str | None:
        """The client has stopped playing a reply there, and knows it better than we: of one that goes on, or
        is over. Returns what was heard; None for a reply in writing, or not known (any more)."""
        mouth, now, reply = self._mouth, self._mouth.now(), self.known(response_id)
        if reply is None or not reply.voice.rate_hz:
            return None
        samples = min(round(played_ms * reply.voice.rate_hz / 1000), reply.made)
        heard = reply.heard_text(samples)
        if reply is self.current:
            self.on_playback(response_id, played_ms)
            mouth.run(self._floor().on_interrupt(now))
        elif heard != reply.text:
            mouth.minutes.reheard(reply, heard, round(reply.ms(samples)), now)
            mouth.minutes.sync()
        return heard

    def on_lost(self) -> None:
        """Nobody is there: take back what was sent and not heard. Call after `floor.on_lost`."""
        self.attached = False
        self.pump_at = None
        self._mouth.outbox.purge_audio()
        reply, playout = self.current, self._floor().playout
        if reply is not None and playout is not None:
            reply.rewind(playout.sent)
            reply.closed = reply.audio_begun = False

    def in_progress(self) -> Event | None:
        """What a client that comes back must know of the reply that has the floor."""
        reply = self.current
        if reply is None:
            return None
        self._mouth.outbox.drop_deltas(reply.response_id)  # `text` has them
        return {
            "response_id": reply.response_id,
            "turn": reply.turn,
            "text": reply.text[: reply.shown],
            "final": reply.complete,
        }

    # -- what a reply tells us (reply.Host) ------------------------------------------------------------------

    def prompt(self, reply: Reply) -> Prompt:
        guess = reply.question if reply.held else None
        mouth, wish = self._mouth, reply.wish
        messages = mouth.minutes.dialogue.prompt(guess, wish.instructions)
        if wish.messages is not None:
            messages = (*(m for m in messages[:1] if m.role == "system"), *wish.messages)
        if working := mouth.toolbox.at_work():
            last = messages[-1:] if messages and messages[-1].role == "user" else ()
            messages = (*messages[: len(messages) - len(last)], *working, *last)
        tools = mouth.toolbox.specs if wish.tools is None else wish.tools
        return Prompt(messages, tools, reply.voice.language, mouth.session_id)

    def on_token(self, reply: Reply, text: str) -> None:  # noqa: ARG002 - it is in reply.text already
        if not self._is_wanted(reply):
            return
        now = self._mouth.now()
        if reply.first_token_at is None:
            reply.first_token_at = now
        if not reply.held:
            self._floor().on_alive(reply.number, now)
            self._show(reply)

    def on_text_complete(self, reply: Reply) -> None:
        reply.complete = True
        if not reply.held and reply.text and self._is_wanted(reply):
            self._mouth.minutes.agent_said(reply, self._mouth.now())
            self._mouth.minutes.sync()
            self._mouth.emit(
                {
                    "type": "agent_response",
                    "turn": reply.turn,
                    "response_id": reply.response_id,
                    "text": reply.text,
                    "final": True,
                }
            )

    def say_pcm(self, reply: Reply, pcm: bytes) -> None:
        if not self._is_wanted(reply):
            return
        reply.keep(pcm)
        if reply is self.current:
            self.pump()

    def on_mark(self, reply: Reply, mark: Mark) -> None:
        if reply is self.current and self.marks and reply.audio_begun:
            self._mark(reply, mark)

    def on_failed(self, reply: Reply, error: LlmError | TtsError) -> None:
        """The chain is at its end. A lost voice goes on in writing; a lost mind apologizes."""
        if not self._is_wanted(reply):
            return
        mouth = self._mouth
        trouble = {"code": f"{error.stage}_failed", "message": error.user_message, "fatal": False}
        if reply.held:
            reply.trouble = trouble  # nobody knows of this reply yet
        else:
            mouth.emit({"type": "error", **trouble})
        if isinstance(error, LlmError):
            mouth.run(self._floor().on_reply_failed(reply.number, error.stage, mouth.now()))

    def on_generated(self, reply: Reply) -> None:
        reply.finished = True
        if reply is self.current:
            self.pump()

    async def settle(self, reply: Reply) -> None:  # noqa: ARG002 - whoever asks
        """Wait a moment for what an earlier reply has begun: the model is to know how it went."""
        await self._mouth.toolbox.settle()

    def is_lent(self, reply: Reply, call: ToolCall) -> bool:
        own = reply.wish.tools
        return self._mouth.toolbox.is_lent(call) if own is None else call.name in {tool.name for tool in own}

    def lend(self, reply: Reply, call: ToolCall) -> None:
        self._mouth.toolbox.lend(call, reply.turn)

    async def run_tool(self, reply: Reply, call: ToolCall, *, quiet: bool) -> AsyncGenerator[str, None]:
        """Run a call. Yields what is to be said meanwhile."""
        async with aclosing(self._mouth.toolbox.run(call, reply.turn, quiet=quiet)) as signs:
            async for sign in signs:
                self._floor().on_alive(reply.number, self._mouth.now())
                if sign is True:
                    reply.is_last = True
                elif sign:
                    yield sign

    # -- the gate ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Let out whatever may leave now."""
        reply, floor = self.current, self._floor()
        self.pump_at = None
        if reply is None or reply.held or not (self.attached or not reply.voice.rate_hz):
            return  # (what is only written waits for nobody)
        now = self._mouth.now()
        if reply.finished and reply.made and not reply.measured:
            reply.measured = True
            self._mouth.minutes.note("made", now, {"response_id": reply.response_id, "samples": reply.made})
        if not floor.ducked:
            self._send_audio(reply, floor, now)
        if reply.finished and not reply.waiting and not reply.closed:
            self._finish_sending(reply)
            self._mouth.run(floor.on_generated(reply.number, now))
        self._mouth.arm()

    def _send_audio(self, reply: Reply, floor: Floor, now: float) -> None:
        rate_hz = reply.voice.rate_hz
        if floor.playout is not None:
            reply.forget_heard(floor.playout.heard(now))
        while reply.waiting:
            lead_ms = floor.playout.lead_s(now) * 1000 if floor.playout is not None else 0.0
            if lead_ms >= self._mouth.lead_ms:
                self.pump_at = now + (lead_ms - self._mouth.lead_ms + REFILL_MS) / 1000
                return
            chunk = reply.take(rate_hz * CHUNK_MS // 1000)
            assert chunk is not None
            if not reply.audio_begun:
                self._begin_audio(reply, chunk.offset, now)
            self._mouth.outbox.audio(chunk.pcm)
            floor.on_audio(reply.number, rate_hz, chunk.end - chunk.offset, now)
            self._archive(reply, floor, chunk.offset, chunk.pcm, now)

    def _begin_audio(self, reply: Reply, offset: int, now: float) -> None:
        reply.audio_begun = True
        if reply.first_audio_at is None:
            reply.first_audio_at = now
        begin: Event = {"type": "audio.begin", "response_id": reply.response_id, "rate": reply.voice.rate_hz}
        if offset:
            begin["offset_ms"] = round(reply.ms(offset))
        self._mouth.emit(begin)
        if self.marks:
            for mark in reply.said.marks:
                self._mark(reply, mark)

    def _archive(self, reply: Reply, floor: Floor, offset: int, pcm: bytes, now: float) -> None:
        """Spool what leaves for the first time, placed where it will play if all goes well."""
        skip = reply.archived - offset
        if skip > 0:
            pcm, offset = pcm[skip * 2 :], offset + skip
        if not pcm or floor.playout is None:
            return
        reply.archived = offset + len(pcm) // 2
        ahead = floor.playout.lead_s(now) - (len(pcm) // 2) / reply.voice.rate_hz
        minutes = self._mouth.minutes
        position = minutes.timeline.at(now + max(0.0, ahead))
        minutes.recorder.agent_audio(reply.response_id, reply.voice.rate_hz, offset, pcm, position)

    def _finish_sending(self, reply: Reply) -> None:
        if reply.closed:
            return
        reply.closed = True
        if self.tells_end:
            self._mouth.outbox.put({"type": "response.end", "response_id": reply.response_id})
        if reply.audio_begun:
            duration = round(reply.ms(reply.made))
            self._mouth.emit({"type": "audio.end", "response_id": reply.response_id, "duration_ms": duration})
        if reply.turn and not reply.kind and not reply.metered:
            self._meter(reply, self._mouth.now())
        else:
            self._mouth.minutes.sync()

    # -- inside --------------------------------------------------------------------------------------------

    def _is_wanted(self, reply: Reply) -> bool:
        """Not cut or discarded meanwhile: a cancelled task may have a step left."""
        return self._replies.get(reply.number) is reply

    def _open(self, reply: Reply) -> None:
        """The reply has the floor: the client may see and hear it."""
        self.current = reply
        reply.begun = True
        self._mouth.emit({"type": "response.begin", "turn": reply.turn, "response_id": reply.response_id})
        if reply.trouble:
            self._mouth.emit({"type": "error", **reply.trouble})
        reply.committed.set()

    def _show(self, reply: Reply) -> None:
        delta, reply.shown = reply.text[reply.shown :], len(reply.text)
        self._mouth.emit(
            {
                "type": "agent_response",
                "turn": reply.turn,
                "response_id": reply.response_id,
                "text": delta,
                "final": False,
            }
        )

    def _mark(self, reply: Reply, mark: Mark) -> None:
        self._mouth.emit(
            {
                "type": "audio.mark",
                "response_id": reply.response_id,
                "text_start": mark.start,
                "text_end": mark.end,
                "start_ms": round(mark.start_ms),
            }
        )

    def _meter(self, reply: Reply, now: float, **more: Any) -> None:
        clock = self._clock
        if clock is None or clock.turn != reply.turn:
            return
        reply.metered = True
        self._charge(reply, now)
        # A turn that is answered in pieces (the client runs a tool between) was answered with the first.
        if clock.first_token_at is None:
            clock.first_token_at = reply.first_token_at
        if clock.first_audio_at is None:
            clock.first_audio_at = reply.first_audio_at
        clock.plugins |= reply.answered_by()
        metrics = self._mouth.minutes.turn(clock, now, **more)
        self._mouth.minutes.sync()  # what the client is told has happened must survive a crash
        self._mouth.emit({"type": "turn.metrics", **metrics})

    def _settle_bill(self, reply: Reply, now: float, *, interrupted: bool = False) -> None:
        self._charge(reply, now)
        if interrupted and reply.turn and not reply.kind and not reply.metered:
            self._meter(reply, now, interrupted=True)
        self._mouth.minutes.sync()

    def _charge(self, reply: Reply, now: float) -> None:
        self._mouth.minutes.bill.charge(reply.requests, reply.turn, now)

    def _closed(self, reply: Reply) -> None:
        self.current = None
        self.recent.append(reply)
        if reply.kind == FAREWELL:
            self._mouth.on_farewell()

    def _why_spent(self) -> str:
        """Which budget is spent; said once, to the client and the journal."""
        why = self._mouth.minutes.bill.why_spent()
        if why and not self._told_spent:
            self._told_spent = True
            what = "goodbye" if self._mouth.minutes.bill.ends_talks else "downgrade"
            self._mouth.minutes.decide(self._mouth.now(), f"budget spent: {what}", why)
            message = "The budget for this talk is spent."
            self._mouth.emit({"type": "error", "code": "budget_spent", "message": message, "fatal": False})
        return why

    def _cancel(self, reply: Reply) -> None:
        reply.drop_audio()
        if reply.task is not None and reply.task is not asyncio.current_task():
            reply.task.cancel()

    def _report(self, reply: Reply) -> Callable[[ProviderError, str], None]:
        def report(error: ProviderError, plugin: str) -> None:
            now = self._mouth.now()
            numbers = {"plugin": plugin, "error": str(error), "reply": reply.number}
            self._mouth.minutes.decide(now, f"{error.stage} failover", str(error.kind), **numbers)
            if not reply.held and self._clock is not None and self._clock.turn == reply.turn:
                self._clock.failovers.append(_failover(error, plugin))
            else:
                self.note_failover(error, plugin)

        return report


def _failover(error: ProviderError, plugin: str) -> dict[str, str]:
    return {"stage": error.stage, "plugin": plugin, "kind": str(error.kind)}
