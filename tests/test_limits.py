"""Limits: what counts, for how long, and that counting stays cheap however many come."""

import threading

import pytest

from server import limits
from server.limits import Limit, Limiter, TooOften

TWICE = Limit("tries", "2 per minute")


class Clock:
    """What the limiter takes for the time."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.time", clock.time)
    return clock


async def refused(limiter: Limiter, who: str) -> int:
    with pytest.raises(TooOften) as refusal:
        await limiter.hit(TWICE, who)
    return refusal.value.retry_after_s


async def test_a_window_moves(clock: Clock) -> None:
    limiter = Limiter()
    await limiter.hit(TWICE, "ann")
    clock.now += 40
    await limiter.hit(TWICE, "ann")
    assert await refused(limiter, "ann") == 20
    await limiter.hit(TWICE, "bob")  # counted by himself
    clock.now += 21
    await limiter.check(TWICE, "ann")
    await limiter.hit(TWICE, "ann")  # the first was a minute ago; the second was not
    assert await refused(limiter, "ann") == 39


async def test_what_is_refused_does_not_count(clock: Clock) -> None:
    limiter = Limiter()
    for _ in range(2):
        await limiter.hit(TWICE, "ann")
    for _ in range(10):
        clock.now += 1
        await refused(limiter, "ann")
    clock.now += 51
    await limiter.hit(TWICE, "ann")


async def test_who_is_forgotten_begins_anew(clock: Clock) -> None:  # noqa: ARG001
    limiter = Limiter()
    for _ in range(2):
        await limiter.hit(TWICE, "ann")
    await limiter.forget(TWICE, "ann")
    await limiter.hit(TWICE, "ann")


async def test_a_crowd_is_neither_kept_nor_looked_through(clock: Clock) -> None:
    memory = limits._Memory()
    threads = threading.active_count()
    for number in range(1000):
        assert await memory.acquire_entry(f"visitor {number}", 2, 60)
    assert threading.active_count() == threads
    clock.now += 61
    for _ in range(600):
        await memory.acquire_entry("ann", 1000, 60)
    assert set(memory.events) == {"ann"}
