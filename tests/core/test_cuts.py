"""Cutting a recording: at pauses, never in the middle of speech if there is a pause, nothing lost."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.cuts import MARGIN, PIECE, Cutter

S, Q = b"s" * 640, b"q" * 640


def pieces(pattern: str) -> list[int]:
    """The lengths in frames of the pieces of a recording, "s" for speech and "q" for quiet."""
    cutter = Cutter()
    found = [cutter.push(S if c == "s" else Q, c == "s") for c in pattern]
    found.append(cutter.finish())
    return [len(piece.pcm) // 640 for piece in found if piece is not None]


def test_a_short_recording_is_one_piece_without_the_silence_around_it() -> None:
    assert pieces("q" * 100 + "s" * 50 + "q" * 20 + "s" * 10 + "q" * 100) == [MARGIN + 80 + MARGIN]


def test_quiet_and_clicks_are_no_piece() -> None:
    assert pieces("q" * 200) == []
    assert pieces("q" * 50 + "sssss" + "q" * 50) == []


def test_a_long_one_is_cut_in_its_longest_pause() -> None:
    speech = "s" * (PIECE // 2 + 100) + "q" * 20 + "s" * 100 + "q" * 40 + "s" * PIECE
    first, *rest = pieces(speech)
    assert first == PIECE // 2 + 100 + 20 + 100 + MARGIN
    assert sum(rest) >= PIECE


def test_a_piece_knows_where_in_the_recording_it_was() -> None:
    cutter, pattern = Cutter(), "q" * 50 + "s" * PIECE + "q" * PIECE + "s" * 50
    found = [cutter.push(S if c == "s" else Q, c == "s") for c in pattern]
    first, second, last = [piece for piece in (*found, cutter.finish()) if piece is not None]
    assert first.start_ms == (50 - MARGIN) * 20
    assert second.start_ms == PIECE * 20  # the rest of what was cut without a pause
    assert last.start_ms == (50 + PIECE + PIECE - MARGIN) * 20


def test_who_never_pauses_is_cut_anyway() -> None:
    assert pieces("s" * (2 * PIECE + 10)) == [PIECE, PIECE, 10]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, PIECE)), max_size=8))
def test_no_speech_is_lost_but_clicks(runs: list[tuple[bool, int]]) -> None:
    cutter, kept = Cutter(), bytearray()
    spoken = 0
    for speech, length in runs:
        for _ in range(length):
            spoken += speech
            if piece := cutter.push(S if speech else Q, speech):
                kept += piece.pcm
    if last := cutter.finish():
        kept += last.pcm
    assert spoken - kept.count(b"s") // 640 <= 5 * (sum(length for _, length in runs) // (PIECE // 2) + 1)
