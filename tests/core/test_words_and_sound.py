"""Text cut into segments, mapped to sound, cut to what was heard; spans that tile; the one time line."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.dialogue import Dialogue, Mark, SpeechMap
from pipeline.core.latency import TurnClock
from pipeline.core.messages import ToolCall
from pipeline.core.playout import Playout
from pipeline.core.segment import LONGEST_CHARS, Segment, Segmenter, speakable
from pipeline.timeline import TimeLine

prose = st.text(alphabet="abc DEF.,!?;:\n\"')3*_é¿ñ🙂", max_size=400)


def cut(text: str, step: int) -> list[Segment]:
    segmenter = Segmenter()
    segments = []
    for i in range(0, len(text), step):
        segments += segmenter.push(text[i : i + step])
    return segments + segmenter.flush()


@given(prose, st.integers(1, 40))
def test_segments_tile_the_reply(text: str, step: int) -> None:
    segments = cut(text, step)
    assert "".join(s.text for s in segments) == text
    assert all(text[s.start : s.end] == s.text for s in segments)
    assert all(len(s.text) <= LONGEST_CHARS + step for s in segments)


def test_the_first_segment_may_end_at_a_comma_and_the_others_are_sentences() -> None:
    text = "As far as I can see from here, it is nine. The train, which is late, comes at ten. Anything else?"
    assert [s.text for s in cut(text, 4)] == [
        "As far as I can see from here,",
        " it is nine.",
        " The train, which is late, comes at ten.",
        " Anything else?",
    ]


def test_numbers_and_titles_do_not_end_a_sentence() -> None:
    assert len(cut("It costs 3.50 at Dr. Smith's.", 1)) == 1
    assert len(cut("Mr. Bean paid 3. Then he left.", 3)) == 2


@given(prose)
def test_what_is_spoken_has_the_length_of_what_is_written(text: str) -> None:
    assert len(speakable(text)) == len(text)


def test_markup_and_emoji_are_not_spoken() -> None:
    assert speakable("**Yes** 🙂 see [this](http://a.b/c)").split() == ["Yes", "see", "this"]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 900)), max_size=12), st.floats(0, 12_000))
def test_heard_text_is_a_prefix_that_only_grows_and_ends_at_a_word(
    words: list[tuple[int, int]], heard_ms: float
) -> None:
    text, said, at = "", SpeechMap(), 0.0
    for letters, ms in words:
        start = len(text)
        text += ("x" * letters) + " "
        said.add(Mark(start, len(text), at, at + ms))
        at += ms
    heard = said.heard_text(text, heard_ms)
    assert text.startswith(heard)
    assert not heard or heard[-1] == " " or text[len(heard)] == " "
    assert heard.startswith(said.heard_text(text, heard_ms / 2))
    assert said.heard_text(text, at) == text


def test_half_a_word_played_counts_as_heard() -> None:
    said = SpeechMap([Mark(0, 11, 0, 1100)])
    assert said.heard_text("hello there", 200) == ""
    assert said.heard_text("hello there", 300) == "hello"
    assert said.heard_text("hello there", 1099) == "hello there"


@given(st.lists(st.floats(0, 1e5) | st.none(), min_size=5, max_size=5))
def test_the_spans_of_a_turn_add_up(moments: list[float | None]) -> None:
    first, ended, settled, token, audio = moments
    clock = TurnClock(1, "", first or 0.0, ended or 0.0, settled or 0.0)
    clock.first_token_at, clock.first_audio_at = token, audio
    spans = clock.spans()
    whole = spans.pop("voice_to_voice_ms")
    assert sum(spans.values()) == whole
    assert min(spans.values()) >= 0


steps = st.lists(
    st.tuples(st.sampled_from(["send", "wait", "pause", "resume", "report"]), st.integers(0, 2000)),
    max_size=40,
)


@given(steps)
def test_nobody_hears_what_was_not_sent_and_runs_tile_what_was_heard(schedule: list[tuple[str, int]]) -> None:
    playout, now = Playout(16_000), 10.0
    for what, value in schedule:
        match what:
            case "send":
                playout.on_sent(value * 16, now)
            case "wait":
                now += value / 1000
            case "pause":
                playout.pause(now)
            case "resume":
                playout.resume(now)
            case "report":
                playout.report(value, now)
        assert 0 <= playout.heard(now) <= playout.sent
        assert playout.lead_s(now) >= 0
    heard, at = 0, 0.0
    for run in playout.heard_runs(now):
        assert run.offset == heard
        assert run.at >= at - 0.01
        heard, at = run.offset + run.count, run.at + run.count / 16_000
    assert heard <= playout.heard(now)


def test_steady_sound_is_contiguous_whatever_its_jitter_and_a_gap_is_silence() -> None:
    line = TimeLine()
    assert line.place(320, 5.02) == 0
    assert [line.place(320, 5.02 + late) for late in (0.02, 0.15, 0.16, 0.17)] == [320, 640, 960, 1280]
    assert line.place(320, 7.02) == 2 * 16_000  # two seconds after the first sample
    assert line.of_input_ms(0) == 0
    assert line.of_input_ms(100) == 32_000


def test_the_model_is_reminded_of_what_was_heard_and_of_every_tool() -> None:
    dialogue = Dialogue("Be kind.")
    dialogue.user("hello")
    dialogue.assistant("Hello! How")
    dialogue.user("the time")
    dialogue.assistant("", [ToolCall("a", "clock", {})])
    dialogue.tool(ToolCall("a", "clock", {}), {"ok": True})
    dialogue.assistant("")
    prompt = dialogue.prompt("and the date")
    assert [m.role for m in prompt] == ["system", "user", "assistant", "user", "assistant", "tool", "user"]
    assert prompt[2].content == "Hello! How"
