"""The judgement of `bench.turns`: which gap a turn ended in, and whether it should have."""

from typing import Any

import pytest

from bench.ear import Ear, Memory
from bench.turns import TurnEnd, lay_over, wish
from tests.support.speech import clip

CLIP: dict[str, Any] = {"file": "a.wav", "kind": "pauses", "segments": [[1.0, 2.0], [2.8, 4.0]]}


def ended(at_ms: float) -> TurnEnd:
    return TurnEnd("words", at_ms, at_ms + 500, "500 ms of silence")


@pytest.mark.parametrize(
    ("kind", "turns", "gap_ms", "wanted"),
    [
        ("pauses", None, 800, "hold"),
        ("pauses", None, 1600, "end"),
        ("pauses", None, 400, "hold"),
        ("telephone", None, 800, "either"),
        ("multi", ["one", "two"], 800, "end"),
    ],
)
def test_what_a_gap_should_do(kind: str, turns: list[str] | None, gap_ms: float, wanted: str) -> None:
    assert wish({**CLIP, "kind": kind, "turns": turns}, gap_ms) == wanted


def test_turns_are_found_in_their_gaps_and_in_the_midst_of_speech() -> None:
    gaps, inside = lay_over(CLIP, [ended(1950), ended(3100), ended(4080)])
    assert [g.is_right for g in gaps] == [False, True]
    assert [g.delay_ms for g in gaps] == [450, 580]
    assert [e.speech_end_ms for e in inside] == [3100]


async def test_the_ear_hears_what_the_server_would_and_only_once() -> None:
    memory = Memory(None)
    texts = []
    for ear in (Ear(memory, 0), Ear(memory, 0)):
        utterance = ear.open()
        utterance.feed(clip("goforward.wav")[: 2400 * 32])
        utterance.finish(100)
        texts.append([t.text async for t in utterance.transcripts()][-1])
        await utterance.aclose()
    assert texts == ["go forward ten meters"] * 2
    assert len(memory.texts) == 1
