"""Random schedules of everything that can happen to a floor; what must hold after each step."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import events as act
from pipeline.core.agent import Reply
from pipeline.core.endpoint import Timing
from pipeline.core.events import Action
from pipeline.core.floor import Floor, User

RATE = 24_000
TEXTS = ["", "yes", "book a room", "for tomorrow please", "uh huh"]


@dataclass
class World:
    """Everything outside the floor, obeying its actions, checking them as they come."""

    floor: Floor
    now: float = 50.0
    open_utterances: set[int] = field(default_factory=set)
    voice: int | None = None
    held: int | None = None
    ducked: bool = False
    lost: bool = False
    turn: int = 0
    started: int = 0
    speaking: bool = False

    def obey(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self._obey(action)
        self.check()

    def _obey(self, action: Action) -> None:
        match action:
            case act.StartUtterance():
                assert action.utterance not in self.open_utterances
                self.open_utterances.add(action.utterance)
            case act.SettleUtterance() | act.FinishUtterance():
                assert action.utterance in self.open_utterances
            case act.CloseUtterance():
                self.open_utterances.remove(action.utterance)
            case act.SpeechStarted():
                assert not self.speaking
                self.speaking = True
            case act.SpeechStopped():
                assert self.speaking
                self.speaking = False
            case act.CommitTurn():
                assert action.turn == self.turn + 1, "turns are counted without gaps"
                assert action.text
                assert action.speech_ended_at <= action.ended_at <= self.now + 1e-6
                self.turn = action.turn
            case act.StartReply():
                assert action.reply > self.started
                self.started = action.reply
                if action.held:
                    assert self.held is None, "one guess at a time"
                    self.held = action.reply
                else:
                    self._gets_voice(action.reply)
            case act.ReleaseReply():
                assert self.held == action.reply
                self.held = None
                self._gets_voice(action.reply)
            case act.DiscardReply():
                assert self.held == action.reply
                self.held = None
            case act.Interrupt() | act.EndReply():
                assert self.voice == action.reply, "a reply ends once"
                self.voice, self.ducked = None, False
                if isinstance(action, act.Interrupt):
                    assert action.heard_samples >= 0
            case act.Duck():
                assert self.voice == action.reply
                assert not self.ducked
                self.ducked = True
            case act.Unduck():
                assert self.voice == action.reply
                assert self.ducked
                self.ducked = False
            case act.Apologize():
                self.obey(self.floor.on_say(action.turn, "sorry", self.now))
            case act.Expire():
                self.obey(self.floor.on_reply_failed(action.reply, "llm", self.now))

    def _gets_voice(self, reply: int) -> None:
        assert self.voice is None, "never two voices at once"
        self.voice = reply

    def check(self) -> None:
        floor = self.floor
        if not floor.idle and not self.lost and not (floor.hold_to_talk and floor.user is not User.QUIET):
            assert floor.wake_at() is not None, f"silent with no deadline: {floor.user} {floor.reply}"
        if floor.playout is not None and self.voice is not None:
            assert 0 <= floor.playout.heard(self.now) <= floor.playout.sent

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(200):
            wake = self.floor.wake_at()
            if wake is None or wake > until:
                break
            self.now = max(self.now, wake)
            self.obey(self.floor.on_wake(self.now))
        else:
            raise AssertionError("the floor wakes without end")
        self.now = until


frames = st.tuples(st.sampled_from(["speech", "quiet"]), st.integers(1, 60))
transcripts = st.tuples(st.sampled_from(["partial", "settled", "final", "deaf"]), st.sampled_from(TEXTS))
others = st.tuples(
    st.sampled_from(
        ["audio", "generated", "playback", "failed", "typed", "stop", "press", "release", "lost", "wait"]
    ),
    st.integers(0, 40),
)
by_items = st.tuples(st.sampled_from(["respond", "told", "cut off", "forget", "answers"]), st.integers(0, 1))
"""What a client does that keeps the conversation itself."""
steps = st.lists(st.one_of(frames, frames, transcripts, others, by_items), max_size=60)


@settings(max_examples=1000, deadline=None)
@given(steps, st.booleans(), st.integers(0, 100), st.sampled_from([0.1, 0.5, 0.95]))
def test_whatever_happens_the_floor_keeps_its_promises(
    schedule: list[tuple[str, int | str]], hold: bool, barge: int, complete: float
) -> None:
    timing = Timing(barge_in_ms=barge * 20, final_timeout_ms=1000, reply_timeout_ms=5000)
    world = World(Floor(timing, hold_to_talk=hold))
    for kind, value in schedule:
        step(world, kind, value, complete)
    if world.lost:
        world.lost = False
        world.floor.on_back(world.now)
    world.obey(world.floor.on_release(world.now))
    world.pass_time(60)
    assert world.floor.idle, f"stuck: {world.floor.user} {world.floor.reply}"
    world.obey(world.floor.on_close("ended", world.now))
    assert not world.open_utterances
    assert world.voice is None
    assert world.held is None
    assert not world.speaking


def step(world: World, kind: str, value: int | str, complete: float) -> None:
    floor = world.floor
    match kind, value:
        case (("speech" | "quiet"), int()):
            for _ in range(0 if world.lost else value):
                world.now += 0.02
                world.obey(floor.on_frame(kind == "speech", world.now))
        case (("partial" | "settled" | "final"), str()):
            for utterance in sorted(world.open_utterances):
                final, settled = kind == "final", kind == "settled"
                world.obey(
                    floor.on_transcript(
                        utterance, value, world.now, final=final, settled=settled, complete=complete
                    )
                )
        case "deaf", str():
            for utterance in sorted(world.open_utterances):
                world.obey(floor.on_recognizer_failed(utterance, world.now))
        case "audio", int() if not world.lost and not floor.ducked and floor.reply is not Reply.DRAINING:
            world.obey(floor.on_audio(floor.current, RATE, value * RATE // 10, world.now))
        case "generated", int() if not world.lost:
            world.obey(floor.on_generated(floor.current, world.now))
        case "playback", int() if not world.lost:
            world.obey(floor.on_playback(floor.current, value * 100, world.now))
        case "failed", int():
            world.obey(floor.on_reply_failed(world.held or floor.current, "llm", world.now))
        case "typed", int() if not world.lost:
            world.obey(floor.on_text("typed", world.now))
        case "stop", int():
            world.obey(floor.on_interrupt(world.now))
        case "press", int() if floor.hold_to_talk and not world.lost:
            world.obey(floor.on_press(world.now))
        case "release", int():
            world.obey(floor.on_release(world.now))
        case "lost", int():
            world.lost = not world.lost
            if world.lost:
                world.obey(floor.on_lost(world.now))
            else:
                floor.on_back(world.now)
                world.check()
        case "respond", int() if floor.reply in (Reply.IDLE, Reply.DRAINING, Reply.AWAITING_FINAL):
            if not world.lost:
                world.obey(floor.on_respond(world.now))
        case "told", int():
            world.obey((floor.on_told("told", world.now),))
        case "cut off", int() if not world.lost:
            world.obey(floor.on_cut_off(world.now))
        case "forget", int() if not world.lost:
            world.obey(floor.on_forget(world.now))
        case "answers", int():
            floor.answers = bool(value)
        case "wait", int():
            world.pass_time(value / 10)
        case _:
            pass
