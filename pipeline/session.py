"""The shell of one conversation: takes in what happens, asks the floor, does what it says.

Six verbs: `hear` microphone audio, `say` a given text, `do` what the client asks, `attach` and `detach` a
client, `end`. From the socket to the detector, the recognizer's feed and the floor all is synchronous; so is
a barge-in, from the deciding frame to silence. A session outlives its socket; its tasks are its own, and
none is left when `end` returns. It knows the contracts, never an engine; it knows no socket and no disk.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline.alarm import Alarm
from pipeline.contracts import (
    Expected,
    LlmError,
    ProviderError,
    Recorder,
    SttError,
    TalkSetup,
    ToolContext,
    Transcript,
    TtsError,
    Verdict,
)
from pipeline.core import events as act
from pipeline.core.audio import Framer
from pipeline.core.dialogue import Dialogue
from pipeline.core.endpoint import Timing
from pipeline.core.events import Action, Actions
from pipeline.core.floor import Floor
from pipeline.duplex import Duplex, Terms
from pipeline.gist import summarized
from pipeline.hearing import Hearing
from pipeline.minutes import Minutes
from pipeline.outbox import Event, Outbox
from pipeline.questions import NOTHING, judge, paced, question
from pipeline.reply import Voice, Wish
from pipeline.setup import Engines, Restored, Rules, Setup
from pipeline.speaking import Mouth, Speaking
from pipeline.succession import HANDOVER, NUDGE, Succession, handed_over
from pipeline.summary import Summarizer
from pipeline.timeline import TimeLine
from pipeline.toolbox import Toolbox

log = logging.getLogger(__name__)

GREETING_PATIENCE_S = 1.0
"""How long a new client has to send `start` before it is greeted anyway."""
FAREWELL_S = 2.0
"""How long cancelled tasks may take to give back what they hold."""
ALL_AHEAD_MS = 3_600_000
"""How far ahead of play-out a client is sent sound that keeps the conversation itself: all there is."""
WRITING_S = 8.0
"""How long the end waits for the recorder; it goes on writing in the background after that."""
STAGE_ERRORS: Mapping[str, type[ProviderError]] = {"stt": SttError, "llm": LlmError, "tts": TtsError}


class Session:
    """One conversation. All methods are called on the event loop it was made on."""

    def __init__(
        self,
        session_id: str,
        setup: Setup,
        engines: Engines,
        rules: Rules,
        recorder: Recorder,
        wall: Callable[[], datetime],
        restored: Restored | None = None,
    ) -> None:
        self.id, self.setup = session_id, setup
        self.outbox = Outbox()
        self.on_end: Callable[[Session], None] = lambda _session: None
        self.close_code = 1000
        """With which the client's socket is to be closed once the outbox is empty."""
        self.ended = False
        self.attached_before = restored is not None
        self.suspended = False
        """It ended here only for this server: it may be resumed."""
        self._loop = asyncio.get_running_loop()
        self.engines, self._rules, self._wall = engines.suited(setup), rules, wall
        self._all_engines = engines
        self.avatar_of: Callable[[str], str] = str
        """What a client is told of an agent's wish for an avatar."""
        self._succession = Succession()
        self._tasks: set[asyncio.Task[None]] = set()
        self._observers: set[Outbox] = set()
        self._kick: Callable[[], None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._alarm = Alarm(self._on_time)
        now = self.now()
        started_at = now - (restored.at_s if restored else 0.0)
        timeline = TimeLine(restored.position, now) if restored and restored.position else TimeLine()
        self.dialogue = Dialogue(setup.prompt)
        self.minutes = Minutes(
            recorder, self.dialogue, timeline, rules.tariff, rules.budget, wall, started_at
        )
        if restored:
            self.minutes.restore(restored.conversation, restored.files)
        turn = max((int(m.get("turn") or 0) for m in self.minutes.messages), default=0)
        self.floor = Floor(self.timing(), hold_to_talk=setup.mode == "hold-to-talk", turn=turn)
        self._framer, self._detector = Framer(), engines.vad.open()
        self._judge = engines.turn.open()
        engines = self.engines
        toolbox = self.toolbox = Toolbox(
            engines.tools,
            engines.tool_timeout_s,
            ToolContext(
                session_id,
                wall,
                caller=replace(setup.caller),
                storage=engines.tool_storage,
                hand_over=self.become,
            ),
            lambda: setup.language,
            self.minutes,
            self.emit,
            self.spawn,
            self.now,
        )
        self.duplex = self._make_duplex(toolbox)
        self.hearing = Hearing(
            self.duplex or engines.stt,
            rules.timing,
            self._on_transcript,
            self._on_deaf,
            self._on_stt_failover,
            self.spawn,
        )
        mouth = self._mouth = Mouth(
            self.outbox,
            self.emit,
            self.run,
            self.now,
            self.arm,
            self.spawn,
            self.minutes,
            toolbox,
            engines.llm,
            engines.tts,
            lambda: self.end_soon("the budget is spent", 1000),
            lambda: self.end_soon("goodbye", 1000),
            ALL_AHEAD_MS if setup.by_items else rules.lead_ms,
            session_id,
            self.duplex,
            f"r{round(restored.at_s * 1000)}." if restored else "r",
        )
        self.speaking = Speaking(mouth, lambda: self.floor, self._voice)
        self.speaking.marks, self.hearing.language = setup.marks, setup.language
        self.speaking.tells_end = setup.by_items
        self._frame_at = now
        self._began = restored is not None
        """Something was said by either side, typed or started: too late for `start`."""
        self._greet_at: float | None = None
        self._greeted = restored is not None
        self._active_at = now
        self._lost_at: float | None = now - (restored.gone_s if restored else 0.0)
        self._partial = ""
        self._visited = False
        """It is used over REST: it is not lost for want of a socket."""
        self._told_deaf = False
        self._asked = NOTHING
        """What the turn in the making answers."""
        if restored:
            toolbox.take_up(restored.begun)
        self.arm()

    # -- verbs -----------------------------------------------------------------------------------------------

    def hear(self, pcm: bytes) -> None:
        """Microphone audio, s16le mono 16 kHz, any length. The hot path: no await, no task, no queue."""
        floor = self.floor
        if self.ended or (floor.hold_to_talk and not floor.pressed):
            return
        if self.setup.channels == "text":
            self._refuse_sound()
            return
        now = self.now()
        minutes = self.minutes
        minutes.recorder.user_audio(minutes.timeline.place(len(pcm) // 2, now), pcm)
        behind = len(pcm)
        for frame in self._framer.push(pcm):
            behind -= 640
            at = now - max(0, behind) / 32_000  # when the frame's last sample came in
            if at > self._frame_at:
                self._frame_at = at
            speech = self._detector.is_speech(frame)
            minutes.frame(speech)
            self.hearing.frame(frame)
            actions = floor.on_frame(speech, self._frame_at)
            if actions:
                self.run(actions)
        if not self._alarm.is_set:
            self.arm()

    def say(self, text: str, kind: str = "", turn: int = 0) -> None:
        """Say a given text, if nobody has the floor."""
        self.speaking.say(turn, text, kind)
        self.arm()

    def do(self, event: Event) -> None:
        """What the client asks for: a decoded and checked message of the voice protocol."""
        if self.ended:
            return
        now = self.now()
        match event["type"]:
            case "start":
                self._start(event)
            case "talk.begin" | "talk.end" if not self.floor.hold_to_talk:
                self._wrong_mode(
                    "talk.begin and talk.end are for hold-to-talk; this talk has an open microphone."
                )
            case "talk.begin" if self.setup.channels == "text":
                self._refuse_sound()
            case "talk.begin":
                self._began = True
                self._greeted, self._greet_at = True, None
                self.run(self.floor.on_press(now))
            case "talk.end":
                self.run(self.floor.on_release(now))
            case "text_message" if self.setup.channels == "voice":
                self._wrong_mode("This talk is by voice only: nothing can be typed.")
            case "text_message":
                self._greeted, self._greet_at = True, None
                self._began = self._began or self.attached  # else its first client may still say `start`
                self.run(self.floor.on_text(event["message"], now))
            case "update_prompt":
                self.change(system_prompt=event["prompt"])
                self.emit({"type": "prompt_updated"})
            case "interrupt":
                self.run(self.floor.on_interrupt(now))
            case "playback":
                self.speaking.on_playback(event["response_id"], event["played_ms"])
            case "ping":
                self.outbox.put({"type": "pong"})
            case other:
                raise ValueError(f"unknown event {other!r}")
        self.arm()

    def change(self, **told: Any) -> None:
        """From the next reply on the talk is like that: fields of `Setup`, as `Setup.take` has them."""
        self.setup.take(told)
        self.dialogue.system_prompt = self.setup.prompt
        if self.duplex is not None:
            self.duplex.instruct(self._instructions())
        self.minutes.note("open", self.now(), told)

    def become(self, told: Mapping[str, Any]) -> None:
        """Another agent talks, with what was said so far, once the reply that is being given is over: its
        values in the names of `Setup`. Raises `Refused` with a sentence that the agent can say."""
        self._succession.propose(told, self.setup, self.floor.turn)
        if not self.floor.replying:
            self._take_over()

    def visit(self) -> None:
        """Somebody uses the session over REST. Without a socket it now ends when it is idle, not lost."""
        now = self.now()
        if not self._visited:
            self.minutes.note("resume", now, {})  # it may have been over: now it is not
        self._visited = True
        if self._lost_at is not None:
            self._lost_at = now
        self.arm()

    def greet(self) -> None:
        """Say the greeting now, not only when a client comes; once."""
        self._greet()
        self.arm()

    def hold_to_talk(self, on: bool) -> None:
        """Whether a button says when the user speaks, from the next utterance on: a recording is one
        utterance, whatever pauses it has."""
        self.floor.hold_to_talk = on

    def attach(self, kick: Callable[[], None]) -> Event:
        """A client is there (again). Returns what it must be told first. `kick` makes its socket go away:
        called when another client takes over."""
        now = self.now()
        if self._kick is not None:  # the old client is gone, whether its socket knows it or not
            self._kick()
            self._lose(now)
        resumed = self._greeted or self._began
        self._kick, self._lost_at, self._active_at = kick, None, now
        self.attached_before = True
        self.speaking.attached = True
        self.floor.on_back(now)
        self.engines.prepare()
        if self._rules.questions:
            self.engines.stt.expect(self.engines.phrases)
        self.minutes.note("resume" if resumed else "attach", now, {})
        if not self._greeted and self.setup.greeting:
            self._greet_at = now + GREETING_PATIENCE_S
        self.speaking.pump()
        self.arm()
        if not resumed:
            return {}
        told: Event = {"resumed": True, "messages": [dict(m) for m in self.minutes.messages]}
        reply = self.speaking.in_progress()
        return {**told, "response": reply} if reply else told

    def detach(self, kick: Callable[[], None]) -> None:
        """That client's socket is gone. The session waits for it to come back."""
        if self._kick is not kick or self.ended:
            return
        self._lose(self.now())
        self.minutes.sync()
        self.arm()

    def _wrong_mode(self, message: str) -> None:
        self.emit({"type": "error", "code": "wrong_mode", "message": message, "fatal": False})

    def _refuse_sound(self) -> None:
        """A microphone sends fifty times a second: it is told once."""
        if not self._told_deaf:
            self._told_deaf = True
            self._wrong_mode("This talk is in writing only: sound is not heard.")

    def _lose(self, now: float) -> None:
        self._kick, self._lost_at = None, now
        self.minutes.note("detach", now, {})
        self.run(self.floor.on_lost(now))
        self.speaking.on_lost()

    async def end(self, reason: str, code: int = 1000, *, keep: bool = False) -> None:
        """End the talk and write it down. Returns when nothing of it is left running.

        `keep` leaves it resumable (the server is going down): everything is written, but it is not over.
        """
        if self._ending is None:
            self._ending = self._loop.create_task(self._end(reason, code, keep))
        await asyncio.shield(self._ending)

    # -- for those who watch ---------------------------------------------------------------------------------

    @property
    def resume_window_s(self) -> float:
        """How long a lost client may stay away."""
        return self._rules.resume_s

    @property
    def agent(self) -> Event:
        """Who talks, as clients are told."""
        setup = self.setup
        return {
            "id": setup.agent_id,
            "name": setup.agent_name,
            "voice": setup.voice,
            "language": setup.language,
            "avatar": self.avatar_of(setup.avatar),
        }

    @property
    def attached(self) -> bool:
        return self._kick is not None

    @property
    def task_count(self) -> int:
        return len(self._tasks)

    def emit(self, event: Event) -> None:
        """Tell the client, and everybody who watches."""
        self.outbox.put(event)
        self._show(event)

    def _show(self, event: Event) -> None:
        for observer in self._observers:
            observer.put(event)

    def observe(self) -> Outbox:
        """Watch the events from now on. Give it back with `unobserve`."""
        outbox = Outbox()
        self._observers.add(outbox)
        return outbox

    def unobserve(self, outbox: Outbox) -> None:
        self._observers.discard(outbox)

    def belong_to(self, owner: str, user_id: str) -> None:
        """The talk is somebody's from now on, in the files and rows as well."""
        self.minutes.note("owner", self.now(), {"owner": owner, "user_id": user_id})
        self.minutes.sync()

    def on_trouble(self, sentence: str) -> None:
        """Recording had to stop; the talk goes on."""
        self.emit({"type": "error", "code": "recording_failed", "message": sentence, "fatal": False})

    # -- doing what the floor says ---------------------------------------------------------------------------

    def run(self, actions: Actions) -> None:
        """Do what the floor says, in order."""
        for action in actions:
            self._perform(action)
        if actions:
            self._active_at = self.now()
            self.arm()

    def _perform(self, action: Action) -> None:
        match action:
            case act.SpeechStarted():
                self._greeted, self._greet_at, self._began = True, None, True
                self.emit({"type": "speech.started", "at_ms": action.at_ms})
                self.engines.prepare()
                if self.duplex is not None:
                    self.duplex.prepare()
            case act.SpeechStopped():
                self.emit({"type": "speech.stopped", "at_ms": action.at_ms})
            case act.StartUtterance():
                self._partial = ""
                self.hearing.thrifty = bool(self.minutes.bill.why_spent())
                self._attend()
                self.hearing.start(action.utterance, action.from_frame)
            case act.SettleUtterance():
                self.hearing.settle(action.utterance, action.silence_ms)
            case act.FinishUtterance():
                self.hearing.finish(action.utterance, action.silence_ms)
            case act.CloseUtterance():
                self._close_utterance(action)
            case act.CommitTurn():
                self.commit(action)
            case act.StartReply():
                self.speaking.start(action)
            case act.ReleaseReply():
                self.speaking.release(action.reply)
            case act.DiscardReply():
                self.speaking.discard(action.reply, action.reason)
            case act.Duck():
                self._tell_reply("duck")
                self.minutes.decide(self.now(), "duck", "the user may be barging in")
            case act.Unduck():
                self._tell_reply("unduck")
                self.minutes.decide(self.now(), "unduck", action.reason)
                self.speaking.pump()
            case act.Interrupt():
                self.speaking.interrupt(action)
                self._take_over()
            case act.EndReply():
                self.speaking.end(action.reply)
                self._take_over()
            case act.Apologize():
                self._apologize(action)
            case act.Expire():
                log.warning("session %s turn %d: the reply gave no sign of life", self.id, action.turn)
                self.run(self.floor.on_reply_failed(action.reply, "llm", self.now()))

    def _tell_reply(self, kind: str) -> None:
        if self.speaking.current is not None:
            self.emit({"type": kind, "response_id": self.speaking.current.response_id})

    def _close_utterance(self, action: act.CloseUtterance) -> None:
        transcriber = self.hearing.close(action.utterance)
        if transcriber is None:
            return
        now, turn = self.now(), self.floor.turn + (0 if self.floor.replying else 1)
        self.minutes.bill.charge(transcriber.close_bill(kept=action.kept), turn, now)
        if action.kept:
            return
        if self.duplex is not None:
            self.duplex.on_dropped(transcriber)
        self.minutes.decide(now, "utterance dropped", action.reason)
        if self.floor.hold_to_talk:
            message = "I did not hear anything. Hold the button while you speak."
            self.emit({"type": "error", "code": "nothing_heard", "message": message, "fatal": False})

    def commit(self, action: act.CommitTurn, *, told: bool = False) -> None:
        """A user turn is complete. `told`: the client has written it into the dialogue itself."""
        now, timeline = self.now(), self.minutes.timeline
        self.minutes.decide(now, "endpoint", action.reason, turn=action.turn)
        if action.typed:
            message = {"type": "user_message", "turn": action.turn, "text": action.text}
            if told:
                self.minutes.told(action.turn, action.text, now)
                self._show(message)
            else:
                self.minutes.user(action.turn, action.text, now, None)
                self.emit(message)
        else:
            span = (timeline.of_input_ms(action.start_ms), timeline.of_input_ms(action.end_ms))
            self.minutes.user(action.turn, action.text, now, span)
            final = {"turn": action.turn, "text": action.text, "final": True}
            self.emit({"type": "transcription", **final})
        if self.duplex is not None and not action.typed:
            self.duplex.on_commit(action.turn)
        self.speaking.on_commit(action, "" if action.typed else self.hearing.heard_by)
        self.minutes.sync()

    def _apologize(self, action: act.Apologize) -> None:
        error = STAGE_ERRORS[action.stage]
        self.minutes.decide(self.now(), "apology", f"{action.stage} failed", turn=action.turn)
        self.say(error.default_user_message, "apology", action.turn)

    # -- what comes back -------------------------------------------------------------------------------------

    def _on_transcript(self, utterance: int, transcript: Transcript) -> None:
        now, text = self.now(), transcript.text.strip()
        complete, why = 0.5, ""
        if transcript.settled or transcript.final:
            verdict = self._verdict(utterance, text, transcript.language or self.setup.language)
            complete, why = verdict.complete, verdict.reason
            if transcript.complete is not None:
                complete = transcript.complete
                why = "the recognizer heard the end" if complete > 0.5 else "the recognizer expects more"
        said = {
            "utterance": utterance,
            "text": text,
            "final": transcript.final,
            "settled": transcript.settled,
        }
        self.minutes.note("transcript", now, said)
        actions = self.floor.on_transcript(
            utterance,
            text,
            now,
            final=transcript.final,
            settled=transcript.settled,
            complete=complete,
            why=why,
        )
        self.run(actions)
        late = transcript.final or (self.floor.is_settled(utterance) and not transcript.settled)
        so_far = self.floor.user_text
        if text and so_far != self._partial and not late and not self.floor.replying:
            self._partial = so_far
            self.emit({"type": "transcription", "turn": self.floor.turn + 1, "text": so_far, "final": False})
        self.arm()

    def _attend(self) -> None:
        """What the agent was heard to ask decides how the answer is listened to and waited for."""
        if not self._rules.questions:
            return
        asked = question(self.speaking.heard_last(), self.setup.language)
        self.hearing.expected = Expected(asked.kind, self.engines.phrases)
        self.floor.retime(paced(self.timing(), asked.kind))
        if asked.kind and asked != self._asked:
            told = {"expected": asked.kind, **({"count": asked.count} if asked.count else {})}
            self.minutes.decide(self.now(), "question", "the agent asked for it", **told)
        self._asked = asked

    def _verdict(self, utterance: int, text: str, language: str) -> Verdict:
        """Whether the user is done: by what was asked, else by the words alone."""
        so_far = " ".join(part for part in (self.floor.said_before(utterance), text) if part)
        answer = judge(self._asked, so_far, language) if text else None
        return answer or self._judge.judge(text, language)

    def _on_deaf(self, utterance: int, error: SttError) -> None:
        message = error.user_message
        self.emit({"type": "error", "code": "stt_failed", "message": message, "fatal": False})
        self.run(self.floor.on_recognizer_failed(utterance, self.now()))

    def _on_stt_failover(self, error: ProviderError, plugin: str) -> None:
        numbers = {"plugin": plugin, "error": str(error)}
        self.minutes.decide(self.now(), "stt failover", str(error.kind), **numbers)
        self.speaking.note_failover(error, plugin)

    def _on_talk_failover(self, error: ProviderError, plugin: str) -> None:
        numbers = {"plugin": plugin, "error": str(error)}
        self.minutes.decide(self.now(), "talk failover", str(error.kind), **numbers)
        self.speaking.note_failover(error, plugin)

    def _on_correction(self, turn: int, text: str) -> None:
        """A model has written down later what it had understood."""
        if self.minutes.correct(turn, text, self.now()):
            corrected = {"turn": turn, "text": text, "final": True, "corrected": True}
            self.emit({"type": "transcription", **corrected})

    # -- set-up ----------------------------------------------------------------------------------------------

    def _start(self, event: Event) -> None:
        setup = self.setup
        if self._began:
            message = "start must come before anything was said, typed or started."
            self.emit({"type": "error", "code": "too_late", "message": message, "fatal": False})
            return
        self._began = True
        setup.take(event)
        self.dialogue.system_prompt = setup.prompt
        self.hearing.language = setup.language
        self.speaking.marks = setup.marks
        self._suit()
        if self.floor.idle:
            self.floor = Floor(
                self.timing(),
                hold_to_talk=setup.mode == "hold-to-talk",
                turn=self.floor.turn,
                frame=self.hearing.frames,
            )
        else:  # a message that came over REST is being answered
            self.floor.hold_to_talk = setup.mode == "hold-to-talk"
        self.minutes.note("open", self.now(), setup.told())
        self._greet()

    def _suit(self) -> None:
        """Ask whom the agent prefers, let it use its tools alone."""
        engines = self.engines = self._all_engines.suited(self.setup)
        self._mouth.llm, self._mouth.tts = engines.llm, engines.tts
        self.toolbox.tools = engines.tools
        if self.duplex is None:
            self.hearing.engine = engines.stt

    def _take_over(self) -> None:
        """Whoever the talk was handed over to talks from here on, and begins by itself."""
        told = self._succession.take()
        if told is None:
            return
        setup, old = self.setup, self.setup.agent_name
        setup.become(told)
        self.dialogue.system_prompt = setup.prompt
        self.dialogue.note(handed_over(old, setup.agent_name))
        self.hearing.language = setup.language
        self._suit()
        self.floor.retime(self.timing())
        if self.duplex is not None:
            self.duplex.renew(self._instructions())
        self.minutes.note("open", self.now(), told)
        self.minutes.sync()
        self.emit({"type": "agent.changed", "agent": self.agent})
        if self._ending is not None:
            return
        if setup.greeting:
            self.say(setup.greeting, "welcome", self.floor.turn)
        else:
            self.speaking.go_on(self.floor.turn, HANDOVER, NUDGE)

    def _instructions(self) -> str:
        """All that the model is told, but what was said."""
        return "\n\n".join(m.content for m in self.dialogue.prompt() if m.role == "system")

    def timing(self) -> Timing:
        """The pauses of this talk: the server's, its agent's, its client's."""
        return replace(self._rules.timing, **self.setup.turn, duck=not self.setup.by_items)

    def _greet(self) -> None:
        self._greet_at = None
        if self._greeted:
            return
        if self.duplex is not None:
            self.duplex.prepare()
        self._greeted = True
        self._began = self._began or self.attached  # else its first client may still say `start`
        if self.setup.greeting:
            self.say(self.setup.greeting, "welcome")

    def _make_duplex(self, toolbox: Toolbox) -> Duplex | None:
        engines = self.engines
        if engines.talk is None:
            return None

        def setup() -> TalkSetup:
            history = tuple(m for m in self.dialogue.prompt() if m.role != "system")
            told = self.setup
            return TalkSetup(
                self._instructions(), history, toolbox.specs, told.language, told.voice, is_spoken()
            )

        def is_spoken() -> bool:
            return self._voice(Wish()).rate_hz > 0

        terms = Terms(
            setup,
            lambda: self.floor.replying,
            is_spoken,
            lambda: self.floor.turn + 1,
            self.spawn,
            self._on_talk_failover,
            self._on_correction,
            lambda request, turn: self.minutes.bill.charge([request], turn, self.now()),
        )
        return Duplex(engines.talk, engines.stt, engines.talk_patience, terms)

    def _voice(self, wish: Wish) -> Voice:
        setup = self.setup
        # A reply that nobody can hear is given in writing: waiting for a listener it would never end.
        unheard = self._visited and not self.attached
        spoken = setup.is_spoken if wish.spoken is None else wish.spoken
        rate = 0 if unheard or not spoken else setup.output_rate_hz
        return Voice(rate, wish.voice or setup.voice, setup.language, setup.speed, setup.pitch)

    @property
    def _away_s(self) -> float:
        return max(self._rules.resume_s, self._rules.idle_s if self._visited else 0.0)

    # -- time ------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Session time, seconds."""
        return self._loop.time()

    def arm(self) -> None:
        """Set the alarm to the next moment at which something is due."""
        if self._ending is not None:
            return
        moments = [self.floor.wake_at(), self.speaking.pump_at, self._greet_at]
        if self._lost_at is not None:
            moments.append(self._lost_at + self._away_s)
        elif self.floor.idle:
            moments.append(self._active_at + self._rules.idle_s)
        self._alarm.set(min((m for m in moments if m is not None), default=None))

    def _on_time(self) -> None:
        now = self.now()
        try:
            if self._greet_at is not None and now >= self._greet_at - 0.0005:
                self._greet()
            self.run(self.floor.on_wake(now))
            if self.speaking.pump_at is not None and now >= self.speaking.pump_at - 0.0005:
                self.speaking.pump()
            if self._lost_at is not None:
                if now >= self._lost_at + self._away_s - 0.0005:
                    self.end_soon("idle" if self._visited else "the connection was lost", 1001)
            elif self.floor.idle and now >= self._active_at + self._rules.idle_s - 0.0005:
                self.end_soon("idle", 4408)
        except Exception as error:  # noqa: BLE001 - a bug: this session ends, saved whole
            self.fail(error)
        self.arm()

    # -- tasks and the end -----------------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of this session's: awaited at its end, and a bug in it ends the session."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """A bug: this session ends, saved whole; the others go on."""
        log.error("session %s turn %d: a bug", self.id, self.floor.turn, exc_info=error)
        if self._ending is None:
            message = "Something broke on the server; the talk is saved."
            self.emit({"type": "error", "code": "internal", "message": message, "fatal": True})
            self.end_soon("error", 1011)

    def end_soon(self, reason: str, code: int) -> None:
        """Begin to end, without waiting for it."""
        if self._ending is None:
            self._ending = self._loop.create_task(self._end(reason, code, keep=False))

    async def _end(self, reason: str, code: int, keep: bool) -> None:
        now = self.now()
        self.speaking.ending = True
        try:
            self.run(self.floor.on_close(reason, now))
        except Exception as error:  # a bug must not keep the talk from being written
            log.error("session %s turn %d: a bug while ending", self.id, self.floor.turn, exc_info=error)
        self.ended, self.close_code = True, code
        self._alarm.set(None)
        self.hearing.close_all()
        self.speaking.cancel_all()
        if self.duplex is not None:
            self.duplex.close()
        await self._await_tasks()
        self.suspended = keep
        if keep:
            self.minutes.note("detach", self.now(), {"reason": reason})
            await self._write(keep=True)
        else:
            self.emit(await self._conclude(reason))
            await self._write(keep=False)
            self.emit({"type": "ended", "session_id": self.id, "reason": reason})
        self.outbox.close()
        for observer in self._observers:
            observer.close()
        self.on_end(self)

    async def _conclude(self, reason: str) -> Event:
        """Sum the talk up and write its end down: what its client is told."""
        minutes, over_at, now = self.minutes, self._wall(), self.now()
        plain = summarized(minutes.messages, self.setup.language)
        minutes.sum_up(plain, now)
        minutes.sync()  # a model may take its time: nothing waits for it that could be lost
        model = Summarizer(self.engines.llm, self.id, [])
        thrifty = bool(minutes.bill.why_spent())
        summary = await model.better(plain, minutes.messages, self.setup.language, thrifty=thrifty)
        minutes.bill.charge(model.bill, 0, self.now())
        if summary != plain:
            minutes.sum_up(summary, self.now())
        minutes.end(self.now(), reason, over_at)
        return {
            "type": "summary",
            "session_id": self.id,
            **summary.told(),
            "cost_breakdown": minutes.bill.totals,
            "duration_seconds": round(minutes.elapsed_s(now), 3),
        }

    async def _write(self, *, keep: bool) -> None:
        recorder = self.minutes.recorder
        try:
            async with asyncio.timeout(WRITING_S):
                await (recorder.suspend() if keep else recorder.close())
        except TimeoutError:
            log.warning("session %s: still writing after %g s; it goes on behind", self.id, WRITING_S)

    async def _await_tasks(self) -> None:
        """Everything this session started comes to its end here."""
        me = asyncio.current_task()
        tasks = [t for t in self._tasks if t is not me]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=FAREWELL_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=FAREWELL_S)
