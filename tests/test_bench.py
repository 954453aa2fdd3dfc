"""The benchmark measures something: a run of seconds. How fast the server is is no test's business."""

from bench.level import PLAIN, ZERO, measure
from bench.load import Load


def test_two_callers_are_answered_and_counted() -> None:
    load = Load(port=0, sessions=2, seconds=6.0, spread_s=0.1, settle_s=0.0, speculate=False, work_ms=0.0)
    found = measure(load, {**PLAIN, **ZERO})
    assert (found.turns, found.missed, found.errors, found.lost) == (2, 0, 0, 0)
    assert len(found.voice_to_voice) == 2
    assert min(found.voice_to_voice) > 400  # the silence that ends a turn, less what a busy machine shifts
    assert found.cpu_ms > 0
