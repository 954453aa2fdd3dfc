"""The page's modules that know no document: replies, the wire, states, pauses between tries."""

from typing import Any

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

TEXT = "One two three. Four five six."


def heard(page: Page, **reply: Any) -> str:
    """The part of TEXT that counts as heard for a reply in this state."""
    return str(
        page.evaluate(
            """async ({text, fields, marks}) => {
                 const { Reply } = await import("/static/reply.js");
                 const reply = new Reply("r1", 1);
                 reply.say(text, true);
                 marks.forEach(([textStart, textEnd, startMs]) => reply.mark({textStart, textEnd, startMs}));
                 Object.assign(reply, fields);
                 return text.slice(0, reply.heardChars);
               }""",
            {"text": TEXT, "marks": reply.pop("marks", []), "fields": {"hasAudio": True} | reply},
        )
    )


def test_nothing_is_heard_before_the_first_sample(modules: Page) -> None:
    assert heard(modules, hasAudio=False) == ""
    assert heard(modules, playedMs=0) == ""


def test_a_reply_without_a_voice_is_there_to_be_read(modules: Page) -> None:
    assert heard(modules, hasAudio=False, silent=True) == TEXT


def test_without_marks_the_text_is_spread_over_the_audio_to_the_end_of_the_word(modules: Page) -> None:
    assert heard(modules, playedMs=1100, durationMs=2000) == "One two three. Four"
    assert heard(modules, playedMs=2000, durationMs=2000) == TEXT


def test_marks_say_which_words_sound_when(modules: Page) -> None:
    marks = [[0, 14, 0], [15, 29, 5000]]
    assert heard(modules, playedMs=4999, durationMs=6000, marks=marks) == "One two three."
    assert heard(modules, playedMs=5000, durationMs=6000, marks=marks) == "One two three. Four"
    assert heard(modules, playedMs=5600, durationMs=6000, marks=marks) == "One two three. Four five"


def test_a_repeated_mark_replaces_the_first(modules: Page) -> None:
    marks = [[0, 14, 0], [15, 29, 5000], [0, 14, 0], [15, 29, 1000]]
    assert heard(modules, playedMs=999, durationMs=6000, marks=marks) == "One two three."
    assert heard(modules, playedMs=1000, durationMs=6000, marks=marks) == "One two three. Four"


def test_after_an_interruption_the_servers_word_counts(modules: Page) -> None:
    assert heard(modules, playedMs=2000, durationMs=2000, cut={"heardText": "One two"}) == "One two"
    assert heard(modules, playedMs=2000, durationMs=2000, cut={"heardText": ""}) == ""


def test_a_frame_that_is_no_message_is_not_one(modules: Page) -> None:
    got = modules.evaluate(
        """async () => {
             const { decode } = await import("/static/wire.js");
             return ["", "no json", "[]", "null", "3", '{"type":4}', '{"type":"pong"}'].map(decode);
           }"""
    )
    assert got == [None] * 6 + [{"type": "pong"}]


def test_close_codes_mean_what_the_protocol_says(modules: Page) -> None:
    got = modules.evaluate(
        """async () => {
             const { closeMeaning } = await import("/static/wire.js");
             return [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1013, 4408].map((code) => closeMeaning(code));
           }"""
    )
    assert got == ["ended", "lost", "lost", "lost", "refused", "too-big", "lost", "full", "idle"]


def test_tries_are_spread_and_grow_to_five_seconds(modules: Page) -> None:
    got = modules.evaluate(
        """async () => {
             const { backoffMs } = await import("/static/link.js");
             const tries = [[0, 0], [0, 1], [1, 0], [3, 1], [5, 1], [30, 1]];
             return tries.map(([n, chance]) => backoffMs(n, chance));
           }"""
    )
    assert got == [125, 250, 250, 2000, 5000, 5000]


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "listening"),
        ({"mode": "hold-to-talk"}, "ready"),
        ({"hasMic": False}, "typing"),
        ({"muted": True}, "muted"),
        ({"waiting": True}, "thinking"),
        ({"waiting": True, "speaks": True}, "speaking"),
        ({"speaks": True, "userSpeaks": True}, "hearing"),
        ({"speaks": True, "held": True}, "hearing"),
        ({"justInterrupted": True, "userSpeaks": True}, "interrupted"),
        ({"justInterrupted": True, "held": True}, "hearing"),
        ({"phase": "reconnecting", "speaks": True}, "reconnecting"),
        ({"phase": "ended", "waiting": True}, "ended"),
    ],
)
def test_the_state_follows_from_the_facts(modules: Page, facts: dict[str, Any], state: str) -> None:
    plain = {"phase": "live", "mode": "open-mic", "hasMic": True}
    for name in ("muted", "held", "userSpeaks", "waiting", "speaks", "justInterrupted"):
        plain[name] = False
    got = modules.evaluate(
        "async facts => (await import('/static/activity.js')).activity(facts)", {**plain, **facts}
    )
    assert got == state


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("500 ms of silence", "You were silent for 500 ms."),
        (
            "260 ms of silence: ends a sentence",
            "You were silent for 260 ms, which was enough: ends a sentence.",
        ),
        (
            "1500 ms of silence: held open, ends in 'and'",
            "You were silent for 1500 ms. It waited longer than usual: ends in 'and'.",
        ),
        ("the talk button was released", "You let go of the button."),
        ("2 words were recognized", "You said 2 words over it."),
        ("320 ms of speech", "You had spoken over it for 320 ms."),
        ("typed", "You sent a written message."),
        ("a reason from the future", "a reason from the future"),
    ],
)
def test_reasons_are_put_in_plain_words(modules: Page, reason: str, words: str) -> None:
    got = modules.evaluate("async reason => (await import('/static/reasons.js')).plainReason(reason)", reason)
    assert got == words
