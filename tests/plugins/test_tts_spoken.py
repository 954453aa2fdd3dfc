"""Finding the words of a text in what a vendor says it spoke: pure, no vendor."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contracts import SpokenWord
from pipeline.tts.spoken import Samples, WordTimes, sendable

TEXT = "You have 3 appointments, Dr. Who."


def told(text: str, *words: tuple[str, int, int], audio_ms: float = 10_000) -> dict[str, tuple[int, int]]:
    times = WordTimes(text)
    for word, start_ms, end_ms in words:
        times.say(word, start_ms, end_ms)
    return {text[w.start : w.end]: (w.start_ms, w.end_ms) for w in times.finish(audio_ms)}


def test_words_keep_the_times_and_the_punctuation_they_have() -> None:
    assert told("Well, go on.", ("Well,", 0, 300), ("go", 400, 500), ("on.", 500, 800)) == {
        "Well,": (0, 300),
        "go": (400, 500),
        "on.": (500, 800),
    }


def test_a_number_that_is_spelled_out_has_the_time_of_its_words() -> None:
    assert told(
        "pay $5.50 now",
        ("pay", 0, 100),
        ("five", 100, 200),
        ("dollars", 200, 300),
        ("fifty", 300, 400),
        ("now", 450, 600),
    ) == {"pay": (0, 100), "$5.50": (100, 400), "now": (450, 600)}


def test_several_words_that_the_vendor_says_otherwise_share_the_time_between() -> None:
    assert told(
        "a 12 34 b", ("a", 0, 100), ("twelve", 100, 200), ("thirtyfour", 200, 300), ("b", 300, 400)
    ) == {
        "a": (0, 100),
        "12": (100, 200),
        "34": (200, 300),
        "b": (300, 400),
    }


def test_the_last_word_may_be_said_otherwise() -> None:
    assert told("room 7", ("room", 0, 100), ("seven", 100, 300)) == {"room": (0, 100), "7": (100, 300)}


def test_a_word_that_comes_in_parts_is_one() -> None:
    assert told("日本 café", ("日", 0, 100), ("本", 100, 200), ("caf", 200, 300), ("é", 300, 350)) == {
        "日本": (0, 200),
        "café": (200, 350),
    }


def test_two_words_that_come_as_one_share_its_time_by_their_letters() -> None:
    assert told("New York", ("New York", 0, 700)) == {"New": (0, 300), "York": (300, 700)}


def test_a_word_that_the_vendor_adds_is_nobodys() -> None:
    assert told("go on", ("um", 0, 100), ("go", 100, 200), ("a", 200, 250), ("on", 250, 300)) == {
        "go": (100, 200),
        "on": (250, 300),
    }


def test_words_without_any_time_are_left_out() -> None:
    assert told("one two three", ("one", 0, 100)) == {"one": (0, 100)}


def test_a_word_is_told_when_its_sound_is_out_and_never_later_than_the_end() -> None:
    times = WordTimes("one two three")
    for index, word in enumerate(("one", "two", "three")):
        times.say(word, index * 100, index * 100 + 100)
    assert times.take(99) == []
    assert times.take(100) == [SpokenWord(0, 3, 0, 100)]
    assert times.finish(250) == [SpokenWord(4, 7, 100, 200), SpokenWord(8, 13, 200, 250)]


@given(
    text=st.text(max_size=60),
    said=st.lists(st.tuples(st.text(max_size=8), st.integers(0, 3000), st.integers(0, 3000)), max_size=30),
    audio_ms=st.integers(0, 3000),
)
def test_whatever_a_vendor_tells_times_are_in_order_and_in_bounds(
    text: str, said: list[tuple[str, int, int]], audio_ms: int
) -> None:
    times = WordTimes(text)
    for name, start_ms, end_ms in said:
        times.say(name, start_ms, end_ms)
    words = times.finish(audio_ms)
    for word in words:
        assert 0 <= word.start < word.end <= len(text)
        assert text[word.start : word.end].strip() == text[word.start : word.end]
        assert 0 <= word.start_ms <= word.end_ms <= audio_ms
    for earlier, later in itertools.pairwise(words):
        assert earlier.end <= later.start
        assert earlier.end_ms <= later.start_ms + 1


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("  Hi   there \n", "Hi there"),
        ("<b>Hi</b> **you** 👋 \x00 there", "Hi you there"),
        ("👋", ""),
        ("3 < 5 & 7 > 6", "3 < 5 & 7 > 6"),
    ],
)
def test_only_what_has_a_sound_is_sent(text: str, sent: str) -> None:
    assert sendable(text) == sent


def test_samples_cut_in_two_are_joined_and_counted() -> None:
    samples = Samples(1000)
    assert [samples.push(b"abc"), samples.push(b""), samples.push(b"d"), samples.push(b"e")] == [
        b"ab",
        b"",
        b"cd",
        b"",
    ]
    assert samples.ms == 2
