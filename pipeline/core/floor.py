"""Who has the floor: the turn-taking state machine. No clock, no I/O: events in, actions out.

Two coupled automata and a turn number. The agent's is `AgentSide`; the user's, and the rules between the
two, are here.

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

from dataclasses import dataclass
from enum import Enum

from pipeline.core.agent import AgentSide, Reply
from pipeline.core.draft import Draft, Heard
from pipeline.core.endpoint import CATCH_UP, FADE_MS, FRAME_MS, PAUSE_MS, Edge, Endpointer, Timing
from pipeline.core.events import (
    NOTHING,
    Action,
    Actions,
    Apologize,
    CloseUtterance,
    CommitTurn,
    DiscardReply,
    Expire,
    FinishUtterance,
    ReleaseReply,
    SettleUtterance,
    SpeechStarted,
    SpeechStopped,
    StartReply,
    StartUtterance,
)
from pipeline.core.playout import Playout

UNDUCK_MS = 300
"""Silence after which a duck was nothing: longer than the gaps inside a word, too short to be noticed."""
MIC_GRACE_S = 0.25
"""How late microphone audio may be before the clock counts as silence: covers an ordinary Wi-Fi stall."""
MAX_UTTERANCE_MS = 120_000
"""An utterance is cut here: something that never pauses is not talking to us."""


class User(Enum):
    QUIET = "quiet"
    ONSET = "onset"
    SPEAKING = "speaking"
    PAUSE = "pause"


@dataclass(slots=True)
class Guess:
    """A held reply and the text that it answers."""

    reply: int
    text: str


class Floor:
    """Decides whose turn it is. One per session; every method returns what is to be done, in order."""

    def __init__(self, timing: Timing, *, hold_to_talk: bool = False, turn: int = 0, frame: int = 0) -> None:
        """`turn` and `frame` are how many there were before, of a talk that goes on."""
        self.timing = timing
        self.hold_to_talk = hold_to_talk
        self.turn = turn
        """The last turn that was committed."""
        self.user = User.QUIET
        self.pressed = False
        """The talk button is down."""
        self.answers = True
        """Turns are answered by themselves; else when the client asks for it (`on_respond`)."""
        self.asked = False
        """It has asked, and the turn that is to be answered is not settled yet."""
        self._agent = AgentSide(timing)
        self._guess: Guess | None = None
        self._ears = Endpointer(timing.start_ms)
        self._ears.frame = frame
        self._draft = Draft()
        self._utterance = 0
        self._replies = 0
        self._last_audio = 0.0
        self._speech_at = 0.0
        self._pressed_at = 0.0

    @property
    def reply(self) -> Reply:
        return self._agent.state

    @property
    def replying(self) -> bool:
        """A reply has the floor."""
        return self._agent.replying

    @property
    def current(self) -> int:
        """The reply that has the floor, or had it last."""
        return self._agent.reply

    @property
    def playout(self) -> Playout | None:
        """Play-out of the current reply, once it has a voice."""
        return self._agent.playout

    @property
    def ducked(self) -> bool:
        return self._agent.ducked

    @property
    def idle(self) -> bool:
        """Nobody has the floor, and nothing is owed."""
        return self.user is User.QUIET and self._agent.state is Reply.IDLE

    @property
    def user_text(self) -> str:
        """What was understood so far of the turn in the making: all of its utterances."""
        return self._draft.text

    def said_before(self, utterance: int) -> str:
        """What earlier utterances of the turn in the making said."""
        return " ".join(h.text for u, h in self._draft.utterances.items() if u < utterance and h.text)

    def is_settled(self, utterance: int) -> bool:
        """The utterance's text covers everything that was said so far, or it is gone."""
        heard = self._draft.utterances.get(utterance)
        return heard is None or heard.ready

    # -- the microphone ---------------------------------------------------------------------------------

    def on_frame(self, speech: bool, now: float) -> Actions:
        """One 20 ms frame of microphone audio, judged. `now` is when its last sample came in."""
        ears = self._ears
        if self.hold_to_talk:
            if speech and self.pressed:
                self._speech_at = now
            ears.frame += 1
            return NOTHING
        edge = ears.push(speech)
        self._last_audio = now
        if self.user is User.QUIET and not speech:
            return NOTHING
        if speech and not ears.in_blip:
            self._speech_at = now
        return self._on_edge(edge, now)

    def on_press(self, now: float) -> Actions:
        """The talk button went down: the user has the floor at once."""
        if self.pressed or not self.hold_to_talk:
            return NOTHING
        self.pressed = True
        actions = self._agent.interrupt("the talk button was pressed", now)
        self._ears.begin()
        self._speech_at = self._pressed_at = now
        return (*actions, *self._start_utterance())

    def on_release(self, now: float) -> Actions:
        """The talk button went up: the turn is over."""
        if not self.pressed:
            return NOTHING
        self.pressed = False
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
        """What an utterance's text is by now. `complete` and `why` are a turn detector's verdict on it. A
        late one, of an utterance that is gone, changes nothing."""
        heard = self._draft.utterances.get(utterance)
        if heard is None or heard.failed or (heard.ready and not final and not settled):
            return NOTHING
        if settled and not final and self.user is User.SPEAKING and utterance == self._utterance:
            settled = False  # it was asked for in a pause that is over
        is_known = heard.ready and heard.text == text  # then only the opinion about it is new
        heard.text, heard.complete, heard.why = text, complete, why
        if (final or settled) and not is_known:
            heard.settle(now)
        actions: list[Action] = []
        words = self._draft.words
        if self.user in (User.SPEAKING, User.PAUSE) and words >= self.timing.barge_in_words:
            actions += self._agent.interrupt(f"{words} words were recognized", now)
        return (*actions, *self._settle(now))

    def on_recognizer_failed(self, utterance: int, now: float) -> Actions:
        """Every recognizer has failed on this utterance. What was understood so far has to do."""
        heard = self._draft.utterances.get(utterance)
        if heard is None:
            return NOTHING
        heard.fail(now)
        return tuple(self._settle(now))

    # -- the reply --------------------------------------------------------------------------------------

    def on_alive(self, reply: int, now: float) -> None:
        """The reply gave a sign of life: a token, a segment, a tool at work."""
        if self._agent.has(reply):
            self._agent.on_alive(now)

    def on_audio(self, reply: int, rate_hz: int, samples: int, now: float) -> Actions:
        """Audio of the reply was handed to the client."""
        if self._agent.has(reply):
            self._agent.on_audio(rate_hz, samples, now)
        return NOTHING

    def on_generated(self, reply: int, now: float) -> Actions:
        """The reply is complete, and all of its audio (if any) was handed to the client."""
        return tuple(self._agent.on_generated(now)) if self._agent.has(reply) else NOTHING

    def on_playback(self, reply: int, played_ms: float, now: float) -> Actions:
        """The client reports how much of the reply it has played."""
        agent = self._agent
        if reply != agent.reply or agent.playout is None:
            return NOTHING
        agent.playout.report(played_ms, now)
        return tuple(agent.drain(now)) if agent.state is Reply.DRAINING else NOTHING

    def on_reply_failed(self, reply: int, stage: str, now: float) -> Actions:
        """The reply cannot go on. If nothing of it was said, the user is told so."""
        agent = self._agent
        if self._guess is not None and reply == self._guess.reply:
            return tuple(self._discard(f"{stage} failed"))
        if not agent.has(reply):
            return NOTHING
        if agent.playout is not None:
            return tuple(agent.on_generated(now))  # what was sent is still being played
        apology = [] if agent.given else [Apologize(agent.turn, stage)]
        return (*agent.end(), *apology)

    # -- typed and told ---------------------------------------------------------------------------------

    def on_text(self, text: str, now: float) -> Actions:
        """A typed user turn. It takes the floor from everything else."""
        actions = self._agent.interrupt("a message was typed", now)
        actions += self._drop("a message was typed instead")
        self.turn += 1
        ms = self._ears.frame * FRAME_MS
        commit = CommitTurn(self.turn, text, "typed", now, now, now, ms, ms, typed=True)
        return (*actions, commit, self._start_reply(self.turn, text, now))

    def on_say(self, turn: int, text: str, now: float, *, given: bool = True) -> Actions:
        """Say a given text (the greeting, an apology) if nobody has the floor. Not `given`: what the agent
        thinks of by itself."""
        if self._agent.state is not Reply.IDLE or self._draft:
            return NOTHING
        return (self._start_reply(turn, text, now, given=given),)

    def on_respond(self, now: float) -> Actions:
        """The client asks for a reply to what there is, or to the turn that is just being settled. No reply
        may be in the making; one that is still being played counts as heard."""
        if self._agent.state is Reply.AWAITING_FINAL:
            self.asked = True
            return NOTHING
        ended = self._agent.end() if self._agent.replying else []
        return (*ended, self._start_reply(self.turn, "", now))

    def on_told(self, text: str, now: float) -> CommitTurn:
        """The user has written something that nobody has to answer yet."""
        self.turn += 1
        ms = self._ears.frame * FRAME_MS
        return CommitTurn(self.turn, text, "told", now, now, now, ms, ms, typed=True)

    def on_cut_off(self, now: float) -> Actions:
        """The client says that the user is done, whatever the microphone says."""
        if self.hold_to_talk:
            return self.on_release(now)
        if self.user is User.SPEAKING or self.user is User.PAUSE:
            reason = "the client ended the turn"
            return (*self._agent.interrupt(reason, now), *self._end_of_speech(reason, now))
        return NOTHING

    def on_forget(self, now: float) -> Actions:
        """The client takes back what the user has been saying."""
        self.pressed = False
        dropped = self._drop("the client took it back")
        return (*dropped, *self._agent.unduck("the client took it back", now))

    def retime(self, timing: Timing) -> None:
        """Other points on the counters from now on."""
        self.timing = self._agent.timing = timing
        self._ears.start_ms = timing.start_ms

    def on_interrupt(self, now: float) -> Actions:
        """The client asks the agent to stop now."""
        return tuple(self._agent.interrupt("the client asked for it", now))

    def on_close(self, reason: str, now: float) -> Actions:
        """The session ends here: a reply is cut to what was heard, words already understood are kept."""
        actions = self._agent.interrupt(reason, now)
        if self.user is User.SPEAKING or self.user is User.PAUSE:
            actions += self._end_of_speech(reason, now)
        for heard in self._draft.utterances.values():
            heard.ready = True
        return (*actions, *self._commit(now, answer=False))

    def on_lost(self, now: float) -> Actions:
        """The client's socket is gone: nothing plays, and the microphone is silent."""
        self.pressed = False
        actions = self._agent.on_lost(now)
        if self.hold_to_talk and self.user is User.SPEAKING:
            actions += self._end_of_speech("the connection was lost", now)
        return tuple(actions)

    def on_back(self, now: float) -> None:
        """The client is back and will be sent what it has not heard."""
        self._agent.on_back(now)

    # -- time -------------------------------------------------------------------------------------------

    def wake_at(self) -> float | None:
        """When `on_wake` must be called, if nothing else happens before."""
        wake = self._agent.deadline
        if self.user is User.QUIET:
            return wake
        if self.hold_to_talk:
            own = self._speech_at + MAX_UTTERANCE_MS / 1000
        else:
            own = self._last_audio + max(MIC_GRACE_S, self._missing_ms() / 1000)
        return own if wake is None else min(wake, own)

    def on_wake(self, now: float) -> Actions:
        """Time has passed."""
        actions: list[Action] = []
        if self.hold_to_talk:
            if self.user is User.SPEAKING and now >= self._speech_at + MAX_UTTERANCE_MS / 1000:
                return self.on_release(now)
        elif self.user is not User.QUIET:
            late_ms = (now - self._last_audio) * 1000 + 0.5  # a timer rings early
            if late_ms >= MIC_GRACE_S * 1000:
                if self.user is User.PAUSE:
                    self._ears.fall_silent()  # a blip that the microphone did not finish was one
                actions += self._silence(self._ears.silence_ms + late_ms, now)
        agent = self._agent
        if not agent.is_due(now):
            return tuple(actions)
        if agent.state is Reply.AWAITING_FINAL:
            self._draft.fail(now)
            actions += self._settle(now)
        elif agent.state is Reply.DRAINING:
            actions += agent.drain(now)
        elif agent.replying:
            actions.append(Expire(agent.reply, agent.turn))
            agent.on_alive(now)
        return tuple(actions)

    # -- inside: the user -------------------------------------------------------------------------------

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
            return tuple(self._agent.duck(now))
        if edge is Edge.START:
            return (*self._agent.duck(now), *self._start_utterance(), *self._still_speaking(now))
        if edge is Edge.FADE:
            self.user = User.QUIET
            return tuple(self._agent.unduck("too short to be speech", now))
        if edge is Edge.PAUSE:
            self.user = User.PAUSE
            settle = SettleUtterance(self._utterance, ears.silence_ms)
            return (settle, *self._silence(ears.silence_ms, now))
        self.user = User.SPEAKING  # RESUME
        self._speech_at = now
        actions = self._discard("the user went on speaking")
        heard = self._draft.utterances.get(self._utterance)
        if heard is not None and not heard.failed:
            heard.ready = False
        return (*actions, *self._agent.duck(now), *self._still_speaking(now))

    def _still_speaking(self, now: float) -> Actions:
        ears = self._ears
        if ears.voiced_ms >= self.timing.barge_in_ms and self._agent.replying:
            return tuple(self._agent.interrupt(f"{ears.voiced_ms} ms of speech", now))
        if (ears.frame - ears.onset_frame) * FRAME_MS >= MAX_UTTERANCE_MS:
            return tuple(self._end_of_speech(f"{MAX_UTTERANCE_MS // 1000} s without a pause", now))
        return NOTHING

    def _start_utterance(self) -> list[Action]:
        self.user = User.SPEAKING
        self._utterance += 1
        onset = self._ears.onset_frame
        if not self._draft:
            self._draft = Draft(start_frame=onset)
        self._agent.stop_waiting()  # for a final: the same turn goes on
        self._draft.utterances[self._utterance] = Heard()
        prefix = 0 if self.hold_to_talk else self.timing.prefix_ms // FRAME_MS
        start = StartUtterance(self._utterance, max(0, onset - prefix), self.turn + 1)
        return [SpeechStarted(onset * FRAME_MS), start]

    def _silence(self, silence_ms: float, now: float) -> list[Action]:
        """The microphone has been silent that long, by samples or by the clock."""
        agent, actions = self._agent, list[Action]()
        if self.user is User.ONSET:
            if silence_ms < FADE_MS:
                return actions
            self._ears.reset()
            self.user = User.QUIET
            return agent.unduck("too short to be speech", now)
        if self.user is User.SPEAKING:  # the microphone stopped sending in mid-speech
            self._ears.fall_silent()
            self.user = User.PAUSE
            actions.append(SettleUtterance(self._utterance, round(silence_ms)))
        if agent.replying:
            if silence_ms >= min(UNDUCK_MS, self.timing.stop_ms):
                actions += agent.unduck("it did not go on", now)
            if silence_ms >= self.timing.stop_ms:
                actions += self._drop("a backchannel or noise during the reply")
            return actions
        return [*actions, *self._end_if_due(silence_ms, now), *self._speculate(silence_ms)]

    def _end_if_due(self, silence_ms: float, now: float) -> list[Action]:
        limit, why = self._draft.limit(self.timing)
        if silence_ms < limit or self._ears.in_blip:
            return []
        return self._end_of_speech(f"{round(silence_ms)} ms of silence{why}", now)

    def _missing_ms(self) -> float:
        """How much more silence would change anything."""
        silence = self._ears.silence_ms
        if self.user is User.ONSET:
            return FADE_MS - silence
        if self.user is User.SPEAKING:
            return PAUSE_MS - silence
        if self._agent.replying:
            stop = self.timing.stop_ms
            return (min(UNDUCK_MS, stop) if self._agent.ducked else stop) - silence
        return self._draft.limit(self.timing)[0] - silence

    def _end_of_speech(self, reason: str, now: float) -> list[Action]:
        """The endpoint: the user is done. Commit if the text is there, else wait for it."""
        ears = self._ears
        self.user = User.QUIET
        self._draft.ended_at, self._draft.reason = now, reason
        actions: list[Action] = [SpeechStopped(ears.end_frame * FRAME_MS)]
        ears.reset()
        if not self._draft.utterances[self._utterance].ready:
            silence = max(0, round((now - self._speech_at) * 1000))
            actions.append(FinishUtterance(self._utterance, silence))
        return [*actions, *self._settle(now)]

    # -- inside: the turn -------------------------------------------------------------------------------

    def _settle(self, now: float) -> list[Action]:
        """Bring user and reply together after something changed."""
        agent, draft = self._agent, self._draft
        if not draft or agent.replying or self.user is User.SPEAKING:
            return []
        if self.user is User.PAUSE:
            late_ms = (now - self._last_audio) * 1000
            silence = self._ears.silence_ms + (late_ms if late_ms >= MIC_GRACE_S * 1000 else 0)
            return [*self._speculate(silence), *self._end_if_due(silence, now)]
        if draft.ready:
            return self._commit(now)
        agent.await_final(now, self._ahead_s(now))
        return []

    def _ahead_s(self, now: float) -> float:
        """How much longer to wait for a recording, which was handed over faster than it was spoken."""
        if not self.hold_to_talk:
            return 0.0
        heard_s = (self._ears.end_frame - self._ears.onset_frame) * FRAME_MS / 1000
        return CATCH_UP * max(0.0, heard_s - (now - self._pressed_at))

    def _speculate(self, silence_ms: float) -> list[Action]:
        """Answer the text so far, held back. Who pauses often is guessed at later and later."""
        draft = self._draft
        if not self.timing.speculate or self.user is not User.PAUSE or not draft.ready:
            return []
        if not self.answers:
            return []
        text = draft.text
        actions: list[Action] = []
        if self._guess is not None:
            if self._guess.text == text:
                return []
            actions += self._discard("the text changed")
        if not text or not draft.may_guess(silence_ms):
            return actions
        draft.guesses += 1
        self._replies += 1
        self._guess = Guess(self._replies, text)
        return [*actions, StartReply(self._replies, self.turn + 1, text, held=True)]

    def _commit(self, now: float, *, answer: bool = True) -> list[Action]:
        draft, text, guess = self._draft, self._draft.text, self._guess
        asked, self.asked = self.asked, False
        self._draft = Draft()
        self._agent.stop_waiting()
        closes: list[Action] = [
            CloseUtterance(u, bool(h.text), "" if h.text else "nothing was recognized")
            for u, h in draft.utterances.items()
        ]
        if not text:
            if answer and asked:
                return [*closes, self._start_reply(self.turn, "", now)]
            apology = [Apologize(self.turn + 1, "stt")] if answer and self.answers and draft.failed else []
            return [*closes, *self._discard("nothing was recognized"), *apology]
        self.turn += 1
        commit = CommitTurn(
            self.turn,
            text,
            draft.reason,
            min(self._speech_at, draft.ended_at),
            draft.ended_at,
            draft.settled_at,
            draft.start_frame * FRAME_MS,
            max(self._ears.end_frame, draft.start_frame) * FRAME_MS,
        )
        if not answer:
            return [*closes, commit, *self._discard("the session ended")]
        if not (self.answers or asked):
            return [*closes, commit]
        if guess is not None and guess.text == text and not asked:
            self._guess = None
            self._agent.take_floor(guess.reply, self.turn, now)
            return [*closes, commit, ReleaseReply(guess.reply, self.turn)]
        discarded = self._discard("the text changed")
        return [*closes, commit, *discarded, self._start_reply(self.turn, text, now)]

    def _drop(self, reason: str) -> list[Action]:
        """Forget the utterance in progress."""
        draft, was = self._draft, self.user
        self._draft, self.user, self.asked = Draft(), User.QUIET, False
        self._agent.stop_waiting()
        actions: list[Action] = []
        if was in (User.SPEAKING, User.PAUSE):
            actions.append(SpeechStopped(self._ears.end_frame * FRAME_MS))
        self._ears.reset()
        actions += [CloseUtterance(u, False, reason) for u in draft.utterances]
        return [*actions, *self._discard(reason)]

    def _start_reply(self, turn: int, text: str, now: float, *, given: bool = False) -> Action:
        self._replies += 1
        self._agent.take_floor(self._replies, turn, now, given=given)
        return StartReply(self._replies, turn, text, held=False)

    def _discard(self, reason: str) -> list[Action]:
        if self._guess is None:
            return []
        guess, self._guess = self._guess, None
        return [DiscardReply(guess.reply, reason)]
