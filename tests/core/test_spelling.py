"""Confirmation codes are spelled out in what is spoken, and stay whole in what is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.spelling import Spelled, spell


def test_a_code_is_spelled_character_by_character() -> None:
    assert spell("Your code is k3x9m2q7.").text == "Your code is K, 3, X, 9, M, 2, Q, 7."
    assert spell("k3x9m2q7 and 2a2b2c2d").text == "K, 3, X, 9, M, 2, Q, 7 and 2, A, 2, B, 2, C, 2, D"


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "12345678", "K3X9M2Q7", "k3x9m2q", "k3x9m2q7t", "k3x9-m2q7", "a-k3x9m2q7", "_k3x9m2q7"],
)
def test_nothing_else_is(text: str) -> None:
    assert spell(text) == Spelled(text)


def test_a_code_counts_as_said_when_its_last_character_is() -> None:
    spelled = spell("It is k3x9m2q7, Ann.")
    ends = {word: spelled.text.index(word) + len(word) for word in ("It", "K,", "Q,", "7,", "Ann.")}
    assert {word: spelled.written(end) for word, end in ends.items()} == {
        "It": 2,
        "K,": 6,
        "Q,": 6,
        "7,": len("It is k3x9m2q7,"),
        "Ann.": len("It is k3x9m2q7, Ann."),
    }


@given(st.lists(st.sampled_from(["k3x9m2q7", "a2b3c4d5", "hello", "8", ", ", " ", "."])))
def test_places_in_the_spoken_text_lead_in_order_through_the_written_one(parts: list[str]) -> None:
    text = " ".join(parts)
    spelled = spell(text)
    places = [spelled.written(offset) for offset in range(len(spelled.text) + 1)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, len(text))
