"""The virtual clock: waiting is free, times are exact, and a standstill is reported."""

import asyncio
import time

import pytest

from tests.support.virtual import Deadlock, VirtualLoop, run


def test_an_hour_of_waiting_takes_no_time_and_ends_exactly() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        await asyncio.sleep(0.25)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert run(main()) == 3600.25
    assert time.monotonic() - started < 5


def test_equal_deadlines_run_in_the_order_they_were_set() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(50):
            loop.call_at(1.0, seen.append, number)
        await asyncio.sleep(1.0)
        return seen

    assert run(main()) == list(range(50))


def test_a_timeout_fires_at_its_deadline() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 1.5


def test_a_cancelled_timer_is_not_jumped_to() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.sleep(7)
        return asyncio.get_running_loop().time()

    assert run(main()) == 7.0


def test_a_standstill_names_who_waits_and_for_what() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"(?s)deadlock: nothing scheduled.*main.*test_virtual"):
        run(main())


def test_a_standstill_that_not_even_cancelling_ends_is_still_reported() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()
                raise

    with pytest.raises(Deadlock, match="stubborn"):
        run(stubborn())


def test_what_the_coroutine_raises_comes_out() -> None:
    async def main() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main())


def test_threads_and_sockets_are_refused() -> None:
    async def thread() -> None:
        await asyncio.to_thread(print)

    async def connect() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    with pytest.raises(RuntimeError, match="thread"):
        run(thread())
    with pytest.raises(RuntimeError, match="socket"):
        run(connect())


@pytest.mark.virtual_clock
async def test_a_marked_test_runs_on_the_virtual_loop() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    begin = loop.time()
    await asyncio.sleep(86_400)
    assert loop.time() - begin == 86_400


async def test_an_unmarked_test_runs_on_a_real_loop() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)
