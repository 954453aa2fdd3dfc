"""A talk as text, SRT and WebVTT."""

import re
from itertools import pairwise
from typing import Any

from server.subtitles import LINE_CHARS, Cue, cues, srt_of, text_of, vtt_of

TALK: dict[str, Any] = {
    "start_time": "2026-12-26T10:09:00.000Z",
    "summary": "About tea.",
    "messages": [
        {"role": "assistant", "content": "Hello!", "start_ms": 0, "end_ms": 900},
        {"role": "user", "content": "tea\n& <milk>", "start_ms": 1000, "end_ms": 3_661_001},
        {"role": "tool", "name": "kettle", "arguments": {}, "result": {}},
        {
            "role": "assistant",
            "content": "One cup or two?",
            "interrupted": True,
            "heard": "One cup",
            "start_ms": 3_662_000,
            "end_ms": 3_662_500,
        },
        {"role": "user", "content": "typed", "type": "text"},
        {"role": "assistant", "content": "never heard", "interrupted": True, "heard": ""},
    ],
}


def test_the_text_has_all_that_was_said_and_heard() -> None:
    assert text_of(TALK).splitlines() == [
        "Talk of 2026-12-26T10:09:00.000Z",
        "",
        "Agent: Hello!",
        "User: tea & <milk>",
        "[kettle]",
        "Agent: One cup —",
        "User: typed",
        "",
        "Summary: About tea.",
    ]


def test_srt_has_what_sounded_in_its_time() -> None:
    assert srt_of(TALK) == (
        "1\n00:00:00,000 --> 00:00:00,900\nAgent: Hello!\n\n"
        "2\n00:00:01,000 --> 01:01:01,001\nUser: tea & <milk>\n\n"
        "3\n01:01:02,000 --> 01:01:02,500\nAgent: One cup\n"
    )


def test_vtt_names_the_voices_and_escapes() -> None:
    lines = vtt_of(TALK).splitlines()
    assert lines[:4] == ["WEBVTT", "", "00:00:00.000 --> 00:00:00.900", "<v Agent>Hello!"]
    assert "<v User>tea &amp; &lt;milk&gt;" in lines


def test_a_talk_without_sound_has_no_cues() -> None:
    typed = {"messages": [{"role": "user", "content": "typed"}]}
    assert srt_of(typed) == ""
    assert vtt_of(typed) == "WEBVTT\n"


def long_message(**more: Any) -> dict[str, Any]:
    content = " ".join(f"word{n:03}" for n in range(40))
    return {"role": "assistant", "content": content, "start_ms": 1000, "end_ms": 21_000, **more}


def test_a_long_message_is_shown_in_pieces_without_gaps() -> None:
    found = cues({"messages": [long_message()]})
    assert len(found) == 4
    assert all(len(cue.text) <= LINE_CHARS for cue in found)
    assert " ".join(cue.text for cue in found) == long_message()["content"]
    assert (found[0].start_ms, found[-1].end_ms) == (1000, 21_000)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(found))


def test_pieces_begin_with_their_words() -> None:
    content = long_message()["content"]
    starts = [match.start() for match in re.finditer(r"\S+", content)]
    words = [[start, start + 7, 100 * n] for n, start in enumerate(starts)]
    found = cues({"messages": [long_message(words=words)]})
    second = int(found[1].text[4:7])
    assert found[1].start_ms == 1000 + 100 * second


def test_a_word_longer_than_a_line_stays_whole() -> None:
    word = "x" * 200
    message = {"role": "user", "content": f"a {word} b", "start_ms": 0, "end_ms": 0}
    assert [cue.text for cue in cues({"messages": [message]})] == ["a", word, "b"]
    assert cues({"messages": [{**message, "content": "a"}]}) == [Cue(0, 1, "User", "a")]
