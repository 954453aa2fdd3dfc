"""The agent's side of the floor: one reply at a time, from thinking to played out. No clock, no I/O.

    IDLE -> AWAITING_FINAL -> THINKING -> SPEAKING -> DRAINING -> IDLE
             (a final is owed)             (audio leaves) (all sent, still playing)

Every state but IDLE owns one deadline; while the reply is ducked, the user's own deadline stands in for it,
and while the client is lost, the session's resume window.
"""

from enum import Enum

from pipeline.core.endpoint import Timing
from pipeline.core.events import Action, Duck, EndReply, Interrupt, Unduck
from pipeline.core.playout import Playout

DRAIN_GRACE_S = 2.0
"""How long after the computed end of play-out a reporting client is waited for."""
EARLY_S = 0.0005
"""Timers ring early by rounding; that much counts as on time."""


class Reply(Enum):
    IDLE = "idle"
    AWAITING_FINAL = "awaiting_final"
    THINKING = "thinking"
    SPEAKING = "speaking"
    DRAINING = "draining"


class AgentSide:
    """The automaton of the reply that has the floor. `Floor` decides when; this says what follows."""

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.state = Reply.IDLE
        self.reply = 0
        """The reply that has the floor, when `replying`."""
        self.turn = 0
        """The turn that it answers."""
        self.given = False
        """It says a given text: when that fails, nobody apologizes for it."""
        self.playout: Playout | None = None
        """Its play-out, once it has a voice."""
        self.ducked = False
        self.lost = False
        self.deadline: float | None = None

    @property
    def replying(self) -> bool:
        return self.state in (Reply.THINKING, Reply.SPEAKING, Reply.DRAINING)

    def has(self, reply: int) -> bool:
        """Whether that reply has the floor."""
        return reply == self.reply and self.replying

    def is_due(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline - EARLY_S

    # -- before the reply -------------------------------------------------------------------------------

    def await_final(self, now: float, more_s: float = 0.0) -> None:
        """The user is done, but the text is still owed. `more_s`: what a recording may take longer."""
        if self.state is not Reply.AWAITING_FINAL:
            self.state = Reply.AWAITING_FINAL
            self.deadline = now + self.timing.final_timeout_ms / 1000 + more_s

    def stop_waiting(self) -> None:
        """The text is there, or no longer wanted."""
        if self.state is Reply.AWAITING_FINAL:
            self.state, self.deadline = Reply.IDLE, None

    # -- the reply --------------------------------------------------------------------------------------

    def take_floor(self, reply: int, turn: int, now: float, *, given: bool = False) -> None:
        self.state, self.reply, self.turn, self.given = Reply.THINKING, reply, turn, given
        self.playout, self.ducked, self.deadline = None, False, None
        self.on_alive(now)

    def on_alive(self, now: float) -> None:
        if not self.lost:
            self._be_patient(now)

    def on_audio(self, rate_hz: int, samples: int, now: float) -> None:
        if self.playout is None:
            self.playout = Playout(rate_hz)
            if self.ducked:
                self.playout.pause(now)
        self.playout.on_sent(samples, now)
        if self.state is Reply.THINKING:
            self.state = Reply.SPEAKING
        self.on_alive(now)

    def on_generated(self, now: float) -> list[Action]:
        """All of it was sent."""
        self.state = Reply.DRAINING
        return self.end() if self.playout is None else self.drain(now)

    def drain(self, now: float) -> list[Action]:
        """Everything was sent: the reply ends when it has been played."""
        playout = self.playout
        assert playout is not None
        if self.ducked:
            self.deadline = None
            return []
        lead = playout.lead_s(now)
        if playout.all_reported() or (playout.estimated and lead <= EARLY_S):
            return self.end()
        if lead <= EARLY_S and self.is_due(now):
            return self.end()  # the reports stopped short: waited long enough
        self.deadline = now + lead + (0.0 if playout.estimated else DRAIN_GRACE_S)
        return []

    def end(self) -> list[Action]:
        self.state, self.deadline, self.ducked = Reply.IDLE, None, False
        return [EndReply(self.reply, self.turn)]

    def duck(self, now: float) -> list[Action]:
        if not self.replying or self.ducked or not self.timing.duck:
            return []
        self.ducked = True
        if self.playout is not None:
            self.playout.pause(now)
        self.deadline = None
        return [Duck(self.reply)]

    def unduck(self, reason: str, now: float) -> list[Action]:
        if not self.ducked:
            return []
        self.ducked = False
        if self.playout is not None:
            self.playout.resume(now)
        self._be_patient(now)
        drained = self.drain(now) if self.state is Reply.DRAINING else []
        return [Unduck(self.reply, reason), *drained]

    def interrupt(self, reason: str, now: float) -> list[Action]:
        """Stop for good. Nothing happens when no reply has the floor."""
        if not self.replying:
            return []
        playout = self.playout
        if self.state is Reply.DRAINING and playout is not None and playout.all_reported():
            return self.end()  # there is nothing left of it to stop
        heard = playout.heard(now) if playout is not None else 0
        estimated = playout is not None and playout.estimated
        self.state, self.deadline, self.ducked = Reply.IDLE, None, False
        return [Interrupt(self.reply, self.turn, heard, estimated, reason)]

    # -- the client -------------------------------------------------------------------------------------

    def on_lost(self, now: float) -> list[Action]:
        """Nothing plays. What was not heard will be sent again."""
        self.lost = True
        if not self.replying:
            return []
        self.deadline = None
        if self.playout is None:
            return []
        heard = self.playout.heard(now)
        if self.state is Reply.DRAINING and heard >= self.playout.sent:
            return self.end()
        self.state = Reply.SPEAKING
        self.playout.rewind(heard)
        self.playout.pause(now)
        return []

    def on_back(self, now: float) -> None:
        self.lost = False
        if self.replying:
            self._be_patient(now)
            if self.playout is not None and not self.ducked:
                self.playout.resume(now)

    def _be_patient(self, now: float) -> None:
        self.deadline = now + self.timing.reply_timeout_ms / 1000
