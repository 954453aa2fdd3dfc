"""The floor: events in, actions out. No loop, no clock."""

from collections.abc import Iterable

from pipeline.core import events as act
from pipeline.core.agent import Reply
from pipeline.core.endpoint import Timing
from pipeline.core.events import Action
from pipeline.core.floor import Floor, User


class Talk:
    """Feeds a floor frame by frame and keeps its own time."""

    def __init__(self, timing: Timing | None = None, *, hold_to_talk: bool = False) -> None:
        self.floor = Floor(timing or Timing(), hold_to_talk=hold_to_talk)
        self.now = 100.0
        self.did: list[Action] = []

    def take(self, actions: Iterable[Action]) -> list[Action]:
        new = list(actions)
        self.did += new
        return new

    def frames(self, speech: bool, ms: int) -> list[Action]:
        new: list[Action] = []
        for _ in range(ms // 20):
            self.now += 0.02
            new += self.take(self.floor.on_frame(speech, self.now))
        return new

    def speak(self, ms: int) -> list[Action]:
        return self.frames(True, ms)

    def quiet(self, ms: int) -> list[Action]:
        return self.frames(False, ms)

    def wait(self, ms: int) -> list[Action]:
        """No audio at all: only the timer rings."""
        new: list[Action] = []
        until = self.now + ms / 1000
        while (wake := self.floor.wake_at()) is not None and wake <= until:
            self.now = max(self.now, wake)
            new += self.take(self.floor.on_wake(self.now))
        self.now = until
        return new

    def text(self, text: str, utterance: int = 1, *, settled: bool = True, **more: object) -> list[Action]:
        return self.take(
            self.floor.on_transcript(utterance, text, self.now, settled=settled, **more)  # type: ignore[arg-type]
        )

    def reply_speaks(self, ms: int, rate_hz: int = 24_000) -> int:
        """The committed reply hands over audio. Returns its number."""
        reply = self.floor.current
        self.take(self.floor.on_audio(reply, rate_hz, ms * rate_hz // 1000, self.now))
        return reply


def kinds(actions: Iterable[Action]) -> list[str]:
    return [type(a).__name__ for a in actions]


def answered(timing: Timing | None = None) -> tuple[Talk, int]:
    """A talk whose first turn is being answered aloud with ten seconds of audio."""
    talk = Talk(timing)
    talk.speak(600)
    talk.quiet(100)
    talk.text("what time is it")
    talk.quiet(400)
    assert talk.floor.reply is Reply.THINKING
    return talk, talk.reply_speaks(10_000)


def test_a_turn_is_guessed_at_in_its_pause_and_released_at_its_end() -> None:
    talk = Talk()
    started = talk.speak(600)
    assert kinds(started) == ["SpeechStarted", "StartUtterance"]
    assert started[0] == act.SpeechStarted(at_ms=0)
    assert kinds(talk.quiet(100)) == ["SettleUtterance"]
    assert talk.text("what time is it") == [act.StartReply(1, 1, "what time is it", held=True)]
    ended = talk.quiet(400)
    assert kinds(ended) == ["SpeechStopped", "CloseUtterance", "CommitTurn", "ReleaseReply"]
    commit = ended[2]
    assert isinstance(commit, act.CommitTurn)
    assert (commit.turn, commit.text, commit.reason) == (1, "what time is it", "500 ms of silence")
    assert (commit.start_ms, commit.end_ms) == (0, 600)
    assert round((commit.ended_at - commit.speech_ended_at) * 1000) == 500


def test_the_end_of_a_turn_waits_for_a_slow_recognizer_and_no_longer_than_its_deadline() -> None:
    talk = Talk(Timing(final_timeout_ms=1000))
    talk.speak(600)
    assert kinds(talk.quiet(500)) == ["SettleUtterance", "SpeechStopped", "FinishUtterance"]
    assert talk.floor.reply is Reply.AWAITING_FINAL
    talk.text("what time is it", settled=False)
    assert talk.floor.reply is Reply.AWAITING_FINAL
    assert kinds(talk.wait(1000)) == ["CloseUtterance", "CommitTurn", "StartReply"]
    assert talk.floor.turn == 1


def test_a_recognizer_that_never_says_anything_gets_an_apology_not_silence() -> None:
    talk = Talk(Timing(final_timeout_ms=1000))
    talk.speak(600)
    talk.quiet(500)
    assert kinds(talk.wait(1000)) == ["CloseUtterance", "Apologize"]
    assert talk.floor.idle


def test_noise_that_is_recognized_as_nothing_makes_no_turn() -> None:
    talk = Talk()
    talk.speak(400)
    talk.quiet(100)
    talk.text("")
    assert kinds(talk.quiet(400)) == ["SpeechStopped", "CloseUtterance"]
    assert talk.floor.turn == 0
    assert talk.floor.idle


def test_speech_again_discards_the_guess_and_joins_the_turn() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(200)
    talk.text("book a room")
    assert kinds(talk.speak(60)) == ["DiscardReply"]
    talk.speak(400)
    talk.quiet(160)
    assert talk.text("book a room for tomorrow") == [
        act.StartReply(2, 1, "book a room for tomorrow", held=True)
    ]
    assert talk.quiet(340)[-1] == act.ReleaseReply(2, 1)


def test_a_click_in_the_pause_does_not_restart_the_silence() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(200)
    talk.text("book a room")
    talk.speak(40)
    assert "CommitTurn" in kinds(talk.quiet(260))


def test_an_unfinished_sentence_holds_the_turn_open_and_never_longer_than_max_silence() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(100)
    talk.text("and so my fellow", complete=0.0, why="ends in 'fellow'")
    assert "CommitTurn" not in kinds(talk.quiet(1380))
    ended = talk.quiet(20)
    commit = next(a for a in ended if isinstance(a, act.CommitTurn))
    assert commit.reason == "1500 ms of silence: held open, ends in 'fellow'"


def test_a_recognizer_sure_of_the_end_ends_the_turn_at_min_silence() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(100)
    talk.text("yes", complete=0.95, why="sure")
    assert "CommitTurn" in kinds(talk.quiet(200))


def test_an_opinion_that_grows_in_the_pause_ends_the_turn_and_was_not_waited_for_as_a_text() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(100)
    talk.text("what time is it", complete=0.1, why="more is expected")
    settled_at = talk.now
    assert "CommitTurn" not in kinds(talk.quiet(700))
    ended = talk.text("what time is it", complete=1.0, why="an end was heard")
    commit = next(a for a in ended if isinstance(a, act.CommitTurn))
    assert (commit.reason, commit.settled_at) == ("800 ms of silence: an end was heard", settled_at)
    assert kinds(ended)[-1] == "ReleaseReply"


def test_an_opinion_that_falls_in_the_pause_holds_the_turn_open() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(100)
    talk.text("what time is it", complete=0.6)
    talk.quiet(300)
    assert talk.text("what time is it", complete=0.0, why="more is expected") == []
    assert "CommitTurn" not in kinds(talk.quiet(1080))
    assert "CommitTurn" in kinds(talk.quiet(20))


def test_an_end_that_was_heard_in_mid_speech_ends_nothing() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(100)
    talk.text("what time is it", complete=0.5)
    talk.speak(200)
    assert "CommitTurn" not in kinds(talk.text("what time is it", complete=1.0))
    assert "CommitTurn" not in kinds(talk.speak(400))


def test_a_microphone_that_stops_sending_is_silent_by_the_clock() -> None:
    talk = Talk()
    talk.speak(600)
    assert kinds(talk.wait(400)) == ["SettleUtterance"]
    talk.text("what time is it")
    assert "CommitTurn" in kinds(talk.wait(150))


def test_a_microphone_that_stops_in_a_click_is_silent_too() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(200)
    talk.text("what time is it")
    talk.speak(20)
    assert "CommitTurn" in kinds(talk.wait(1000))


def test_two_short_blips_are_no_utterance() -> None:
    talk = Talk()
    assert talk.speak(100) == []
    talk.quiet(240)
    assert talk.speak(100) == []
    talk.quiet(240)
    assert talk.floor.user is User.QUIET


def test_speaking_over_a_reply_ducks_it_at_once_and_interrupts_it_once() -> None:
    talk, reply = answered()
    talk.quiet(1000)
    assert talk.speak(40) == [act.Duck(reply)]
    actions = talk.speak(260)
    assert kinds(actions) == ["SpeechStarted", "StartUtterance", "Interrupt"]
    interrupt = actions[-1]
    assert isinstance(interrupt, act.Interrupt)
    assert interrupt.reason == "300 ms of speech"
    assert interrupt.estimated
    assert interrupt.heard_samples == round(1.04 * 24_000)  # play-out stopped at the duck
    assert kinds(talk.speak(1000)) == []


def test_a_cough_ducks_and_the_reply_goes_on_where_it_stopped() -> None:
    talk, reply = answered()
    talk.quiet(1000)
    talk.speak(80)
    actions = talk.quiet(400)
    assert actions == [act.Unduck(reply, "too short to be speech")]
    assert talk.floor.reply is Reply.SPEAKING
    assert talk.floor.playout is not None
    # it played until the second voiced frame, and again after the 200 ms of silence that made it nothing
    assert talk.floor.playout.heard(talk.now) == round((1.0 + 0.04 + 0.2) * 24_000)


def test_a_backchannel_is_dropped_and_the_reply_goes_on() -> None:
    talk, reply = answered()
    talk.quiet(1000)
    talk.speak(200)
    talk.quiet(100)
    assert talk.text("uh huh okay", 2) == []
    assert talk.quiet(200) == [act.Unduck(reply, "it did not go on")]
    assert kinds(talk.quiet(200)) == ["SpeechStopped", "CloseUtterance"]
    assert talk.floor.turn == 1


def test_two_recognized_words_interrupt_even_when_they_were_short() -> None:
    talk, _ = answered()
    talk.quiet(1000)
    talk.speak(220)
    talk.quiet(100)
    actions = talk.text("please stop", 2)
    assert kinds(actions) == ["Interrupt", "StartReply"]
    assert "CommitTurn" in kinds(talk.quiet(400))


def test_reported_playback_is_believed_over_the_clock() -> None:
    talk, reply = answered()
    talk.quiet(1000)
    talk.take(talk.floor.on_playback(reply, 640, talk.now))
    talk.speak(300)
    interrupt = next(a for a in talk.did if isinstance(a, act.Interrupt))
    assert not interrupt.estimated
    assert interrupt.heard_samples == round(0.640 * 24_000)


def test_a_reply_ends_when_it_was_played_out() -> None:
    talk, reply = answered()
    assert talk.take(talk.floor.on_generated(reply, talk.now)) == []
    assert talk.floor.reply is Reply.DRAINING
    assert talk.quiet(9_000) == []
    assert talk.wait(1001) == [act.EndReply(reply, 1)]
    assert talk.floor.idle


def test_a_reporting_client_ends_the_reply_with_its_last_report() -> None:
    talk, reply = answered()
    talk.floor.on_generated(reply, talk.now)
    talk.quiet(10_200)
    assert talk.take(talk.floor.on_playback(reply, 9_900, talk.now)) == []
    assert talk.take(talk.floor.on_playback(reply, 10_000, talk.now)) == [act.EndReply(reply, 1)]


def test_a_client_that_stops_reporting_does_not_hold_the_floor_forever() -> None:
    talk, reply = answered()
    talk.floor.on_generated(reply, talk.now)
    talk.quiet(100)
    talk.floor.on_playback(reply, 100, talk.now)
    assert act.EndReply(reply, 1) in talk.wait(13_000)


def test_a_reply_that_fails_before_a_sound_is_apologized_for() -> None:
    talk = Talk()
    talk.take(talk.floor.on_text("hello", talk.now))
    reply = talk.floor.current
    assert kinds(talk.take(talk.floor.on_reply_failed(reply, "llm", talk.now))) == ["EndReply", "Apologize"]
    assert talk.floor.idle


def test_a_reply_without_a_sign_of_life_expires() -> None:
    talk = Talk(Timing(reply_timeout_ms=5000))
    talk.take(talk.floor.on_text("hello", talk.now))
    assert kinds(talk.wait(5001)) == ["Expire"]


def test_a_typed_message_takes_the_floor_from_a_reply_and_from_an_utterance() -> None:
    talk, _ = answered()
    talk.quiet(500)
    actions = talk.take(talk.floor.on_text("never mind", talk.now))
    assert kinds(actions) == ["Interrupt", "CommitTurn", "StartReply"]
    talk2 = Talk()
    talk2.speak(400)
    actions = talk2.take(talk2.floor.on_text("never mind", talk2.now))
    assert kinds(actions) == ["SpeechStopped", "CloseUtterance", "CommitTurn", "StartReply"]


def test_hold_to_talk_ends_with_the_button_and_ignores_the_detector() -> None:
    talk = Talk(hold_to_talk=True)
    assert talk.speak(1000) == []
    assert kinds(talk.take(talk.floor.on_press(talk.now))) == ["SpeechStarted", "StartUtterance"]
    talk.speak(500)
    assert talk.quiet(2000) == []
    assert kinds(talk.take(talk.floor.on_release(talk.now))) == ["SpeechStopped", "FinishUtterance"]
    actions = talk.text("book a room", settled=False, final=True)
    assert kinds(actions) == ["CloseUtterance", "CommitTurn", "StartReply"]
    commit = actions[1]
    assert isinstance(commit, act.CommitTurn)
    assert commit.reason == "the talk button was released"
    assert round((commit.ended_at - commit.speech_ended_at) * 1000) == 2000


def test_pressing_the_button_interrupts_at_once() -> None:
    talk = Talk(hold_to_talk=True)
    talk.take(talk.floor.on_text("hello", talk.now))
    talk.reply_speaks(5000)
    talk.now += 1
    assert kinds(talk.take(talk.floor.on_press(talk.now))) == ["Interrupt", "SpeechStarted", "StartUtterance"]


def test_a_button_held_for_ever_is_let_go_for_the_user() -> None:
    talk = Talk(hold_to_talk=True)
    talk.take(talk.floor.on_press(talk.now))
    assert "SpeechStopped" in kinds(talk.wait(121_000))


def test_speech_while_a_final_is_owed_joins_the_same_turn() -> None:
    talk = Talk()
    talk.speak(600)
    talk.quiet(500)
    assert talk.floor.reply is Reply.AWAITING_FINAL
    talk.speak(600)
    assert talk.text("book a room", 1, settled=False, final=True) == []
    talk.quiet(100)
    talk.text("for tomorrow", 2)
    ended = talk.quiet(400)
    commit = next(a for a in ended if isinstance(a, act.CommitTurn))
    assert (commit.turn, commit.text) == (1, "book a room for tomorrow")


def test_a_lost_client_hears_the_rest_when_it_is_back() -> None:
    talk, reply = answered()
    talk.floor.on_generated(reply, talk.now)
    talk.now += 2
    assert talk.take(talk.floor.on_lost(talk.now)) == []
    playout = talk.floor.playout
    assert playout is not None
    assert playout.sent == 48_000
    talk.now += 30
    assert talk.floor.wake_at() is None  # the session's resume window owns the waiting
    talk.floor.on_back(talk.now)
    talk.reply_speaks(8000)
    talk.floor.on_generated(reply, talk.now)
    assert talk.wait(8001) == [act.EndReply(reply, 1)]


def test_the_end_of_a_session_keeps_what_was_understood() -> None:
    talk = Talk()
    talk.speak(600)
    talk.text("book a ro", settled=False)
    actions = talk.take(talk.floor.on_close("ended", talk.now))
    assert kinds(actions) == ["SpeechStopped", "FinishUtterance", "CloseUtterance", "CommitTurn"]


# -- clients that keep the conversation themselves ------------------------------------------------------


def test_a_turn_that_is_not_to_be_answered_is_only_written_down() -> None:
    talk = Talk()
    talk.floor.answers = False
    talk.speak(600)
    talk.quiet(200)
    assert "StartReply" not in kinds(talk.text("book a room"))  # nor guessed at
    did = talk.quiet(1500)
    assert "CommitTurn" in kinds(did)
    assert "StartReply" not in kinds(did)
    assert talk.floor.idle
    assert kinds(talk.take(talk.floor.on_respond(talk.now))) == ["StartReply"]


def test_an_answer_that_is_asked_for_early_waits_for_the_words() -> None:
    talk = Talk(hold_to_talk=True)
    talk.floor.answers = False
    talk.take(talk.floor.on_press(talk.now))
    talk.speak(600)
    talk.take(talk.floor.on_release(talk.now))
    assert talk.take(talk.floor.on_respond(talk.now)) == []
    assert talk.floor.asked
    did = talk.text("book a room", settled=False, final=True)
    assert kinds(did) == ["CloseUtterance", "CommitTurn", "StartReply"]
    assert not talk.floor.asked


def test_an_answer_that_is_asked_for_comes_even_if_nothing_was_understood() -> None:
    talk = Talk(hold_to_talk=True)
    talk.floor.answers = False
    talk.take(talk.floor.on_press(talk.now))
    talk.speak(600)
    talk.take(talk.floor.on_release(talk.now))
    talk.take(talk.floor.on_respond(talk.now))
    assert kinds(talk.text("", settled=False, final=True)) == ["CloseUtterance", "StartReply"]


def test_asking_while_a_reply_is_still_played_ends_it_as_heard() -> None:
    talk = Talk()
    talk.take(talk.floor.on_text("hello", talk.now))
    first = talk.reply_speaks(3000)
    talk.take(talk.floor.on_generated(first, talk.now))
    ended, started = talk.take(talk.floor.on_respond(talk.now))
    assert ended == act.EndReply(first, 1)
    assert isinstance(started, act.StartReply)


def test_the_client_may_cut_speech_off_or_take_it_back() -> None:
    talk = Talk()
    talk.speak(600)
    assert kinds(talk.take(talk.floor.on_cut_off(talk.now))) == ["SpeechStopped", "FinishUtterance"]
    assert "CommitTurn" in kinds(talk.text("book a room", settled=False, final=True))
    other = Talk()
    other.speak(600)
    assert kinds(other.take(other.floor.on_forget(other.now))) == ["SpeechStopped", "CloseUtterance"]
    assert other.floor.idle
    assert other.take(other.floor.on_cut_off(other.now)) == []


def test_a_client_that_cannot_pause_is_not_ducked() -> None:
    talk = Talk(Timing(duck=False))
    talk.take(talk.floor.on_text("hello", talk.now))
    talk.reply_speaks(3000)
    assert "Duck" not in kinds(talk.speak(100))
    assert "Interrupt" in kinds(talk.speak(400))
