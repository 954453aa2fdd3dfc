"""Who has the floor: the turn-taking state machine. No clock, no I/O: events in, actions out.

Two coupled automata and a turn number.

    user   QUIET -> ONSET -> SPEAKING <-> PAUSE -> QUIET
    reply  IDLE -> AWAITING_FINAL -> THINKING -> SPEAKING -> DRAINING -> IDLE

One turn, open microphone, speculation on:

    user     ....SSSSSSSSSSSSSSSS.........................SSSSSSSS
                 ^start          ^pause   ^endpoint        ^onset ^barge-in
    text         partials        settled
    reply                        [held: thinks ahead]released: speaking |interrupted
                                 StartReply  CommitTurn         Duck  Interrupt

Joint rules, settled after every input:

* user ONSET or more, reply not idle: duck. Enough voice (`barge_in_ms`) or words (`barge_in_words`):
  interrupt. Silence first: unduck; the words, if any, were a backchannel and are dropped.
* user PAUSE with a settled text, reply idle: answer it in a held reply. Speech again: discard it.
* user QUIET with a settled text: commit; the held reply is released if it answers just that text.
* user SPEAKING while a final is owed: the same turn goes on, the texts join.

Every state but QUIET/IDLE owns a deadline (`wake_at`): nobody waits for something that may never come.
"""

from dataclasses import dataclass, field
from enum import Enum

from pipeline.core.endpoint import FADE_MS, FRAME_MS, PAUSE_MS, Edge, Endpointer, Timing
from pipeline.core.events import (
    NOTHING,
    Action,
    Actions,
    Apologize,
    CloseUtterance,
    CommitTurn,
    DiscardReply,
    Duck,
    EndReply,
    Expire,
    FinishUtterance,
    Interrupt,
    ReleaseReply,
    SettleUtterance,
    SpeechStarted,
    SpeechStopped,
    StartReply,
    StartUtterance,
    Unduck,
)
from pipeline.core.playout import Playout

UNDUCK_MS = 300
"""Silence after which a duck was nothing: longer than the gaps inside a word, too short to be noticed."""
MIC_GRACE_S = 0.25
"""How late microphone audio may be before the wall clock counts as silence: covers an ordinary Wi-Fi stall."""
DRAIN_GRACE_S = 2.0
"""How long after the computed end of play-out a reporting client is waited for."""
MAX_UTTERANCE_MS = 120_000
"""An utterance is cut here: something that never pauses is not talking to us."""
MAX_GUESSES = 5
"""Speculations per turn; each costs a request."""
GUESS_STEP_MS = 50
"""Each speculation waits that much longer than the one before: who pauses often is thinking."""
BACKCHANNELS = frozenset(
    "mhm mm hm hmm huh uh um ah oh aha yeah yep yes okay ok right sure really wow".split()
    + "si sí ajá vale claro ya genau ja stimmt oui d'accord".split()
)
"""Words that say "I am listening", not "let me speak": no evidence of a barge-in."""
UNFINISHED = 0.4
"""A verdict below this holds the turn open: the surer, the longer, to `max_silence_ms` at 0."""
FINISHED = 0.9
"""A verdict from this on ends it at `min_silence_ms`."""


class User(Enum):
    QUIET = "quiet"
    ONSET = "onset"
    SPEAKING = "speaking"
    PAUSE = "pause"


class Reply(Enum):
    IDLE = "idle"
    AWAITING_FINAL = "awaiting_final"
    THINKING = "thinking"
    SPEAKING = "speaking"
    DRAINING = "draining"


@dataclass(slots=True)
class Heard:
    """What is known of one utterance."""

    text: str = ""
    ready: bool = False  # settled or final, with no speech since
    ready_at: float = 0.0
    failed: bool = False  # by every recognizer there is
    complete: float = 0.5
    why: str = ""


@dataclass(slots=True)
class Guess:
    """A held reply and the text that it answers."""

    reply: int
    text: str


@dataclass(slots=True)
class Draft:
    """The user's turn in the making: one utterance, or several joined."""

    utterances: dict[int, Heard] = field(default_factory=dict)
    start_frame: int = 0
    ended_at: float = 0.0
    reason: str = ""
    guesses: int = 0

    def text(self) -> str:
        return " ".join(h.text for h in self.utterances.values() if h.text)

    def ready(self) -> bool:
        return all(h.ready for h in self.utterances.values())


class Floor:
    """Decides whose turn it is. One per session; every method returns what is to be done, in order."""

    def __init__(self, timing: Timing, *, hold_to_talk: bool = False, turn: int = 0) -> None:
        self.timing = timing
        self.hold_to_talk = hold_to_talk
        self.turn = turn
        """The last turn that was committed."""
        self.user = User.QUIET
        self.reply = Reply.IDLE
        self.current = 0
        """The reply that has the floor, when `reply` is THINKING or later."""
        self.playout: Playout | None = None
        """Play-out of the current reply, once it has a voice."""
        self.ducked = False
        self.guess: Guess | None = None
        self._ears = Endpointer(timing.start_ms)
        self._draft = Draft()
        self._utterance = 0
        self._replies = 0
        self._reply_turn = 0
        self._said = False
        """The current reply is a given text: when that fails, nobody apologizes for it."""
        self._last_audio = 0.0
        self._speech_at = 0.0
        self._deadline: float | None = None
        self._pressed = False
        self._lost = False

    @property
    def pressed(self) -> bool:
        """The talk button is down."""
        return self._pressed

    @property
    def replying(self) -> bool:
        """A reply has the floor."""
        return self._is_replying()

    def is_settled(self, utterance: int) -> bool:
        """The utterance's text covers everything that was said so far, or it is gone."""
        heard = self._draft.utterances.get(utterance)
        return heard is None or heard.ready

    @property
    def idle(self) -> bool:
        """Nobody has the floor, and nothing is owed."""
        return self.user is User.QUIET and self.reply is Reply.IDLE

    # -- the microphone ---------------------------------------------------------------------------------

    def on_frame(self, speech: bool, now: float) -> Actions:
        """One 20 ms frame of microphone audio, judged. `now` is when its last sample came in."""
        if self.hold_to_talk:
            if speech and self._pressed:
                self._speech_at = now
            self._ears.frame += 1
            return NOTHING
        ears = self._ears
        edge = ears.push(speech)
        self._last_audio = now
        if self.user is User.QUIET and not speech:
            return NOTHING
        if speech and not ears.in_blip:
            self._speech_at = now
        return self._on_edge(edge, now)

    def on_press(self, now: float) -> Actions:
        """The talk button went down: the user has the floor at once."""
        if self._pressed:
            return NOTHING
        self._pressed = True
        actions: list[Action] = []
        if self.reply is not Reply.IDLE and self.reply is not Reply.AWAITING_FINAL:
            actions += self._interrupt("the talk button was pressed", now)
        self._ears.begin()
        self._speech_at = now
        actions += self._start_utterance(now)
        self._deadline = now + MAX_UTTERANCE_MS / 1000
        return tuple(actions)

    def on_release(self, now: float) -> Actions:
        """The talk button went up: the turn is over."""
        if not self._pressed:
            return NOTHING
        self._pressed = False
        if self.user is not User.SPEAKING:
            return NOTHING
        self._ears.end_frame = self._ears.frame
        return tuple(self._end_of_speech("the talk button was released", now))

    # -- the recognizer ---------------------------------------------------------------------------------

    def on_transcript(
        self,
        utterance: int,
        text: str,
        now: float,
        *,
        final: bool = False,
        settled: bool = False,
        complete: float = 0.5,
        why: str = "",
    ) -> Actions:
        """What an utterance's text is by now. `complete` and `why` are a turn detector's verdict on the
        whole turn's text. A late one, of an utterance that is gone, changes nothing."""
        heard = self._draft.utterances.get(utterance)
        if heard is None or heard.failed or (heard.ready and not final and not settled):
            return NOTHING
        if settled and not final and self.user is User.SPEAKING and utterance == self._utterance:
            settled = False  # it was asked for in a pause that is over
        heard.text, heard.complete, heard.why = text, complete, why
        if final or settled:
            heard.ready, heard.ready_at = True, now
        actions: list[Action] = []
        if self._is_replying():
            words = sum(w not in BACKCHANNELS for w in self._draft.text().lower().split())
            enough = self.user in (User.SPEAKING, User.PAUSE) and words >= self.timing.barge_in_words
            if enough:
                actions += self._interrupt(f"{words} words were recognized", now)
        if not self._is_replying():
            actions += self._settle(now)
        return tuple(actions)

    def on_recognizer_failed(self, utterance: int, now: float) -> Actions:
        """Every recognizer has failed on this utterance. What was understood so far has to do."""
        heard = self._draft.utterances.get(utterance)
        if heard is None:
            return NOTHING
        heard.ready, heard.ready_at, heard.failed = True, now, True
        return tuple(self._settle(now))

    # -- the reply --------------------------------------------------------------------------------------

    def on_alive(self, reply: int, now: float) -> None:
        """The reply gave a sign of life: a token, a segment, a tool at work."""
        if reply == self.current and self._is_replying() and not self._lost:
            self._deadline = now + self.timing.reply_timeout_ms / 1000

    def on_audio(self, reply: int, rate_hz: int, samples: int, now: float) -> Actions:
        """Audio of the reply was handed to the client."""
        if reply != self.current or not self._is_replying():
            return NOTHING
        if self.playout is None:
            self.playout = Playout(rate_hz)
            if self.ducked:
                self.playout.pause(now)
        self.playout.on_sent(samples, now)
        if self.reply is Reply.THINKING:
            self.reply = Reply.SPEAKING
        self.on_alive(reply, now)
        return NOTHING

    def on_generated(self, reply: int, now: float) -> Actions:
        """The reply is complete, and all of its audio (if any) was handed to the client."""
        if reply != self.current or not self._is_replying():
            return NOTHING
        self.reply = Reply.DRAINING
        if self.playout is None:
            return tuple(self._end_reply())
        return tuple(self._drain(now))

    def on_playback(self, reply: int, played_ms: float, now: float) -> Actions:
        """The client reports how much of the reply it has played."""
        if reply != self.current or self.playout is None:
            return NOTHING
        self.playout.report(played_ms, now)
        if self.reply is Reply.DRAINING:
            return tuple(self._drain(now))
        return NOTHING

    def on_reply_failed(self, reply: int, stage: str, now: float) -> Actions:
        """The reply cannot go on. If nothing of it was said, the user is told so."""
        if self.guess is not None and reply == self.guess.reply:
            self.guess = None
            return (DiscardReply(reply, f"{stage} failed"),)
        if reply != self.current or not self._is_replying():
            return NOTHING
        if self.playout is not None:
            return self.on_generated(reply, now)  # what was sent is still being played
        apology = [] if self._said else [Apologize(self._reply_turn, stage)]
        return (*self._end_reply(), *apology)

    # -- typed and told -----------------------------------------------------------------------------------

    def on_text(self, text: str, now: float) -> Actions:
        """A typed user turn. It takes the floor from everything else."""
        actions: list[Action] = []
        if self._is_replying():
            actions += self._interrupt("a message was typed", now)
        actions += self._drop("a message was typed instead")
        self.turn += 1
        frame_ms = self._ears.frame * FRAME_MS
        actions.append(CommitTurn(self.turn, text, "typed", now, now, now, frame_ms, frame_ms, typed=True))
        actions.append(self._start_reply(text, now))
        return tuple(actions)

    def on_say(self, turn: int, text: str, now: float) -> Actions:
        """Say a given text (the greeting, an apology) if nobody has the floor."""
        if self.reply is not Reply.IDLE or self._draft.utterances:
            return NOTHING
        action = self._start_reply(text, now, turn=turn)
        self._said = True
        return (action,)

    def on_interrupt(self, now: float) -> Actions:
        """The client asks the agent to stop now."""
        if not self._is_replying():
            return NOTHING
        return tuple(self._interrupt("the client asked for it", now))

    def on_close(self, reason: str, now: float) -> Actions:
        """The session ends here: a reply is cut to what was heard, words already understood are kept."""
        actions: list[Action] = []
        if self._is_replying():
            actions += self._interrupt(reason, now)
        if self.user is User.SPEAKING or self.user is User.PAUSE:
            actions += self._end_of_speech(reason, now)
        for heard in self._draft.utterances.values():
            heard.ready = True
        actions += self._commit(now, answer=False)
        return tuple(actions)

    def on_lost(self, now: float) -> Actions:
        """The client's socket is gone: nothing plays, and the microphone is silent."""
        self._pressed, self._lost = False, True
        actions: list[Action] = []
        if self._is_replying():
            self._deadline = None  # it can wait for the client; the session's resume window bounds that
            if self.playout is not None:
                heard = self.playout.heard(now)
                if self.reply is Reply.DRAINING and heard >= self.playout.sent:
                    actions += self._end_reply()
                else:
                    self.reply = Reply.SPEAKING
                    self.playout.rewind(heard)
                    self.playout.pause(now)
        if self.hold_to_talk and self.user is User.SPEAKING:
            actions += self._end_of_speech("the connection was lost", now)
        return tuple(actions)

    def on_back(self, now: float) -> None:
        """The client is back and will be sent what it has not heard."""
        self._lost = False
        if self._is_replying():
            self._deadline = now + self.timing.reply_timeout_ms / 1000
            if self.playout is not None and not self.ducked:
                self.playout.resume(now)

    # -- time ---------------------------------------------------------------------------------------------

    def wake_at(self) -> float | None:
        """When `on_wake` must be called, if nothing else happens before."""
        wake = self._deadline
        if self.user is not User.QUIET and not self.hold_to_talk:
            stalled = self._last_audio + max(MIC_GRACE_S, self._missing_ms() / 1000)
            wake = stalled if wake is None else min(wake, stalled)
        return wake

    def on_wake(self, now: float) -> Actions:
        """Time has passed."""
        actions: list[Action] = []
        if self.user is not User.QUIET and not self.hold_to_talk:
            late_ms = (now - self._last_audio) * 1000
            if late_ms + 0.5 >= MIC_GRACE_S * 1000:
                actions += self._silence(self._ears.silence_ms + late_ms + 0.5, now)  # a timer rings early
        if self._deadline is None or now < self._deadline - 0.0005:
            return tuple(actions)
        if self.hold_to_talk and self.user is User.SPEAKING:
            return self.on_release(now)
        if self.reply is Reply.AWAITING_FINAL:
            for heard in self._draft.utterances.values():
                if not heard.ready:
                    heard.ready, heard.ready_at, heard.failed = True, now, True
            actions += self._settle(now)
        elif self.reply is Reply.DRAINING:
            actions += self._drain(now)
        elif self._is_replying():
            actions.append(Expire(self.current, self._reply_turn))
            self._deadline = now + self.timing.reply_timeout_ms / 1000
        return tuple(actions)

    # -- inside: the user ---------------------------------------------------------------------------------

    def _on_edge(self, edge: Edge, now: float) -> Actions:
        ears = self._ears
        if edge is Edge.NONE:
            if self.user is User.PAUSE and not ears.speaking and not ears.in_blip:
                return tuple(self._silence(ears.silence_ms, now))
            if self.user is User.SPEAKING:
                return self._still_speaking(now)
            if self.user is User.QUIET and ears.speaking:
                self.user = User.ONSET
            return NOTHING
        if edge is Edge.ONSET:
            self.user = User.ONSET
            return tuple(self._duck(now))
        if edge is Edge.START:
            actions = self._duck(now)
            return (*actions, *self._start_utterance(now))
        if edge is Edge.FADE:
            self.user = User.QUIET
            return tuple(self._unduck("too short to be speech", now))
        if edge is Edge.PAUSE:
            return self._pause(now)
        self.user = User.SPEAKING  # RESUME
        self._speech_at = now
        actions = self._discard("the user went on speaking")
        current = self._draft.utterances.get(self._utterance)
        if current is not None and not current.failed:
            current.ready = False
        return (*actions, *self._duck(now), *self._still_speaking(now))

    def _still_speaking(self, now: float) -> Actions:
        ears = self._ears
        if self._is_replying() and ears.voiced_ms >= self.timing.barge_in_ms:
            return tuple(self._interrupt(f"{ears.voiced_ms} ms of speech", now))
        if (ears.frame - ears.onset_frame) * FRAME_MS >= MAX_UTTERANCE_MS:
            return tuple(self._end_of_speech(f"{MAX_UTTERANCE_MS // 1000} s without a pause", now))
        return NOTHING

    def _start_utterance(self, now: float) -> list[Action]:
        self.user = User.SPEAKING
        self._utterance += 1
        onset = self._ears.onset_frame
        if not self._draft.utterances:
            self._draft = Draft(start_frame=onset)
        elif self.reply is Reply.AWAITING_FINAL:
            self.reply, self._deadline = Reply.IDLE, None  # the same turn goes on
        self._draft.utterances[self._utterance] = Heard()
        prefix = 0 if self.hold_to_talk else self.timing.prefix_ms // FRAME_MS
        actions: list[Action] = [
            SpeechStarted(onset * FRAME_MS),
            StartUtterance(self._utterance, max(0, onset - prefix), self.turn + 1),
        ]
        if self._is_replying() and self._ears.voiced_ms >= self.timing.barge_in_ms:
            actions = [*self._interrupt(f"{self._ears.voiced_ms} ms of speech", now), *actions]
        return actions

    def _pause(self, now: float) -> Actions:
        self.user = User.PAUSE
        silence = self._ears.silence_ms
        return (
            SettleUtterance(self._utterance, silence),
            *self._silence(silence, now),
        )

    def _silence(self, silence_ms: float, now: float) -> list[Action]:
        """The microphone has been silent that long, by samples or by the clock."""
        actions: list[Action] = []
        if self.user is User.ONSET:
            if silence_ms >= FADE_MS:
                self._ears.reset()
                self.user = User.QUIET
                return self._unduck("too short to be speech", now)
            return actions
        if self.user is User.SPEAKING:  # the microphone stopped sending in mid-speech
            self._ears.fall_silent()
            self.user = User.PAUSE
            actions.append(SettleUtterance(self._utterance, round(silence_ms)))
        if self._is_replying():
            if silence_ms >= min(UNDUCK_MS, self.timing.stop_ms):
                actions += self._unduck("it did not go on", now)
            if silence_ms >= self.timing.stop_ms:
                actions += self._drop("a backchannel or noise during the reply")
            return actions
        limit, why = self._limit()
        if silence_ms >= limit:
            return [*actions, *self._end_of_speech(f"{round(silence_ms)} ms of silence{why}", now)]
        return [*actions, *self._speculate(silence_ms)]

    def _limit(self) -> tuple[int, str]:
        """The silence that ends this turn, and why if it is not `stop_ms`."""
        timing = self.timing
        last = self._draft.utterances.get(self._utterance)
        if last is not None and last.ready and last.text:
            if last.complete < UNFINISHED:
                longest = max(timing.stop_ms, timing.max_silence_ms)
                doubt = min(1.0, (UNFINISHED - last.complete) / UNFINISHED)
                held = timing.stop_ms + round((longest - timing.stop_ms) * doubt)
                return held, f": held open, {last.why}"
            if last.complete >= FINISHED:
                return min(timing.stop_ms, timing.min_silence_ms), f": {last.why}"
        return timing.stop_ms, ""

    def _missing_ms(self) -> float:
        """How much more silence would change anything."""
        silence = self._ears.silence_ms
        if self.user is User.ONSET:
            return FADE_MS - silence
        if self.user is User.SPEAKING:
            return PAUSE_MS - silence
        if self._is_replying() and self.ducked:
            return UNDUCK_MS - silence
        return self._limit()[0] - silence

    def _end_of_speech(self, reason: str, now: float) -> list[Action]:
        """The endpoint: the user is done. Commit if the text is there, else wait for it."""
        ears = self._ears
        self.user = User.QUIET
        self._draft.ended_at, self._draft.reason = now, reason
        actions: list[Action] = [SpeechStopped(ears.end_frame * FRAME_MS)]
        silence = max(0, round((now - self._speech_at) * 1000))
        ears.reset()
        if not self._draft.utterances[self._utterance].ready:
            actions.append(FinishUtterance(self._utterance, silence))
        return [*actions, *self._settle(now)]

    # -- inside: the turn -----------------------------------------------------------------------------------

    def _settle(self, now: float) -> list[Action]:
        """Bring user and reply together after something changed."""
        draft = self._draft
        if not draft.utterances or self._is_replying():
            return []
        if self.user is User.PAUSE:
            late_ms = (now - self._last_audio) * 1000
            silence = self._ears.silence_ms + (late_ms if late_ms >= MIC_GRACE_S * 1000 else 0)
            return [*self._speculate(silence), *self._endpoint_if_due(silence, now)]
        if self.user is User.SPEAKING or (self.user is User.ONSET and self.reply is not Reply.AWAITING_FINAL):
            return []
        if not draft.ready():
            if self.reply is not Reply.AWAITING_FINAL:
                self.reply = Reply.AWAITING_FINAL
                self._deadline = now + self.timing.final_timeout_ms / 1000
            return []
        return self._commit(now)

    def _endpoint_if_due(self, silence_ms: float, now: float) -> list[Action]:
        """A verdict may have moved the limit below the silence there already is."""
        limit, why = self._limit()
        if silence_ms < limit or self._ears.in_blip:
            return []
        return self._end_of_speech(f"{round(silence_ms)} ms of silence{why}", now)

    def _speculate(self, silence_ms: float) -> list[Action]:
        """Answer the text so far, held back. Who pauses often is guessed at later and later."""
        draft = self._draft
        if not self.timing.speculate or self.hold_to_talk or not draft.ready():
            return []
        text = draft.text()
        actions: list[Action] = []
        if self.guess is not None:
            if self.guess.text == text:
                return []
            actions += self._discard("the text changed")
        wait_ms = PAUSE_MS + GUESS_STEP_MS * draft.guesses
        if not text or draft.guesses >= MAX_GUESSES or silence_ms < wait_ms:
            return actions
        draft.guesses += 1
        self._replies += 1
        self.guess = Guess(self._replies, text)
        return [*actions, StartReply(self._replies, self.turn + 1, text, held=True)]

    def _commit(self, now: float, *, answer: bool = True) -> list[Action]:
        draft, text = self._draft, self._draft.text()
        self._draft, self.reply, self._deadline = Draft(), Reply.IDLE, None
        closes: list[Action] = [
            CloseUtterance(u, bool(h.text), "" if h.text else "nothing was recognized")
            for u, h in draft.utterances.items()
        ]
        if not text:
            closes += self._discard("nothing was recognized")
            if answer and any(h.failed for h in draft.utterances.values()):
                closes.append(Apologize(self.turn + 1, "stt"))
            return closes
        self.turn += 1
        commit = CommitTurn(
            self.turn,
            text,
            draft.reason,
            min(self._speech_at, draft.ended_at),
            draft.ended_at,
            max(h.ready_at for h in draft.utterances.values()),
            draft.start_frame * FRAME_MS,
            max(self._ears.end_frame, draft.start_frame) * FRAME_MS,
        )
        if not answer:
            return [*closes, commit, *self._discard("the session ended")]
        if self.guess is not None and self.guess.text == text:
            guess, self.guess = self.guess, None
            self._take_floor(guess.reply, self.turn, now)
            return [*closes, commit, ReleaseReply(guess.reply, self.turn)]
        return [*closes, commit, *self._discard("the text changed"), self._start_reply(text, now)]

    def _drop(self, reason: str) -> list[Action]:
        """Forget the utterance in progress."""
        draft, was = self._draft, self.user
        self._draft, self.user = Draft(), User.QUIET
        if self.reply is Reply.AWAITING_FINAL:
            self.reply, self._deadline = Reply.IDLE, None
        actions: list[Action] = []
        if was in (User.SPEAKING, User.PAUSE):
            actions.append(SpeechStopped(self._ears.end_frame * FRAME_MS))
        self._ears.reset()
        actions += [CloseUtterance(u, False, reason) for u in draft.utterances]
        return [*actions, *self._discard(reason)]

    # -- inside: the reply ----------------------------------------------------------------------------------

    def _is_replying(self) -> bool:
        return self.reply in (Reply.THINKING, Reply.SPEAKING, Reply.DRAINING)

    def _start_reply(self, text: str, now: float, turn: int | None = None) -> Action:
        self._replies += 1
        self._take_floor(self._replies, self.turn if turn is None else turn, now)
        return StartReply(self.current, self._reply_turn, text, held=False)

    def _take_floor(self, reply: int, turn: int, now: float) -> None:
        self.reply, self.current, self._reply_turn = Reply.THINKING, reply, turn
        self.playout, self.ducked, self._said = None, False, False
        self._deadline = now + self.timing.reply_timeout_ms / 1000

    def _duck(self, now: float) -> list[Action]:
        if not self._is_replying() or self.ducked:
            return []
        self.ducked = True
        if self.playout is not None:
            self.playout.pause(now)
        self._deadline = None  # the user's own deadline ends the duck
        return [Duck(self.current)]

    def _unduck(self, reason: str, now: float) -> list[Action]:
        if not self.ducked:
            return []
        self.ducked = False
        if self.playout is not None:
            self.playout.resume(now)
        self._deadline = now + self.timing.reply_timeout_ms / 1000
        drained = self._drain(now) if self.reply is Reply.DRAINING else []
        return [Unduck(self.current, reason), *drained]

    def _interrupt(self, reason: str, now: float) -> list[Action]:
        playout = self.playout
        if self.reply is Reply.DRAINING and playout is not None and playout.all_reported():
            return self._end_reply()  # there is nothing left of it to stop
        heard = playout.heard(now) if playout is not None else 0
        estimated = playout is not None and playout.estimated
        self.reply, self._deadline, self.ducked = Reply.IDLE, None, False
        return [Interrupt(self.current, self._reply_turn, heard, estimated, reason)]

    def _drain(self, now: float) -> list[Action]:
        """Everything was sent: the reply ends when it has been played."""
        playout = self.playout
        assert playout is not None
        if self.ducked:
            self._deadline = None
            return []
        lead = playout.lead_s(now)
        if playout.all_reported() or (playout.estimated and lead <= 0.0005):
            return self._end_reply()
        if lead <= 0.0005 and self._deadline is not None and now >= self._deadline - 0.0005:
            return self._end_reply()  # the reports stopped short: waited long enough
        self._deadline = now + lead + (0.0 if playout.estimated else DRAIN_GRACE_S)
        return []

    def _end_reply(self) -> list[Action]:
        self.reply, self._deadline, self.ducked = Reply.IDLE, None, False
        return [EndReply(self.current, self._reply_turn)]

    def _discard(self, reason: str) -> list[Action]:
        if self.guess is None:
            return []
        guess, self.guess = self.guess, None
        return [DiscardReply(guess.reply, reason)]
