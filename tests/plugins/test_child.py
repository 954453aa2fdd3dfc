"""The child-process owner: talking, dying, restarting, ending."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from pipeline.child import Child, ChildFailed
from pipeline.worker import Note, Unpacker, pack
from tests.support.echo_worker import DIE, ECHO, HANG, INTERRUPT, PRINT

MODULE = "tests.support.echo_worker"
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module", autouse=True)
def _uvloop_has_run() -> None:
    # libuv opens one pipe per process for signals, at its first use, and keeps it.
    uvloop.run(asyncio.sleep(0))


class Ears:
    """Keeps what a child said, and wakes who waits for it."""

    def __init__(self) -> None:
        self.notes: asyncio.Queue[Note] = asyncio.Queue()
        self.losses: asyncio.Queue[str] = asyncio.Queue()

    def child(self, max_unsent_bytes: int = 1 << 20, **settings: object) -> Child:
        return Child(
            MODULE, settings, self.notes.put_nowait, self.losses.put_nowait, max_unsent_bytes=max_unsent_bytes
        )


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait for something that another process does; there is no event to wait for."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("cut", [1, 2, 5, 9, 10, 1000])
def test_any_split_of_the_same_bytes_gives_the_same_messages(cut: int) -> None:
    data = pack(16, 1, b"one") + pack(17, 2) + pack(18, 3, bytes(500))
    unpacker = Unpacker()
    notes = [n for i in range(0, len(data), cut) for n in unpacker.push(data[i : i + cut])]
    assert notes == [Note(16, 1, b"one"), Note(17, 2, b""), Note(18, 3, bytes(500))]


async def test_messages_go_there_and_back_in_order() -> None:
    ears = Ears()
    child = ears.child(name="echo")
    await child.start()
    assert child.facts == {"name": "echo"}
    for i in range(100):
        assert child.send(ECHO, i, bytes(i * 100))
    assert [await ears.notes.get() for _ in range(100)] == [Note(ECHO, i, bytes(i * 100)) for i in range(100)]
    await child.aclose()
    assert not child.send(ECHO, 1)


async def test_a_child_that_dies_is_reported_once_and_replaced() -> None:
    ears = Ears()
    child = ears.child()
    await child.start()
    first = child.pid
    child.send(DIE)
    await ears.losses.get()
    await eventually(lambda: child.is_running and child.pid != first)
    assert child.send(ECHO, 7, b"again")
    assert await ears.notes.get() == Note(ECHO, 7, b"again")
    assert ears.losses.empty()
    await child.aclose()


async def test_what_is_sent_while_the_replacement_is_still_loading_is_not_lost() -> None:
    ears = Ears()
    child = ears.child()
    await child.start()
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await ears.losses.get()
    await eventually(lambda: child.pid != first)
    assert child.send(ECHO, 1, b"early")
    assert await ears.notes.get() == Note(ECHO, 1, b"early")
    await child.aclose()


async def test_a_child_that_stops_reading_is_killed_and_replaced() -> None:
    ears = Ears()
    child = ears.child(max_unsent_bytes=300_000)
    await child.start()
    first = child.pid
    child.send(HANG)
    sent = 0
    while child.send(ECHO, 1, bytes(50_000)):
        sent += 1
        assert sent < 20
    assert await ears.losses.get() == "it stopped reading"
    await eventually(lambda: child.is_running and child.pid != first)
    await child.aclose()


async def test_a_worker_that_cannot_run_says_why() -> None:
    child = Ears().child(refuse="The model is missing; fetch it.")
    with pytest.raises(ChildFailed, match=r"The model is missing; fetch it\."):
        await child.start()
    await child.aclose()


async def test_a_worker_that_does_not_exist_fails_to_start() -> None:
    child = Child("tests.support.no_such_worker", {}, lambda _: None, lambda _: None)
    with pytest.raises(ChildFailed, match="could not start"):
        await child.start()
    await child.aclose()


async def test_closing_a_child_that_hangs_kills_it() -> None:
    ears = Ears()
    child = ears.child()
    await child.start()
    child.send(ECHO, 1)
    await ears.notes.get()
    child.send(HANG)
    pid = child.pid
    assert pid is not None
    async with asyncio.timeout(5):
        await child.aclose(deadline_s=0.1)
    assert not is_alive(pid)


async def test_closing_while_it_starts_leaves_nothing() -> None:
    child = Ears().child()
    starting = asyncio.create_task(child.start())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await child.aclose()
    assert child.pid is None


async def test_ctrl_c_is_not_for_the_child() -> None:
    ears = Ears()
    child = ears.child()
    await child.start()
    child.send(INTERRUPT, 5)
    assert await ears.notes.get() == Note(ECHO, 5, b"still here")
    assert child.pid is not None
    assert os.getpgid(child.pid) != os.getpgid(0)
    await child.aclose()


async def test_a_library_that_prints_does_not_break_the_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    ears = Ears()
    child = ears.child()
    await child.start()
    child.send(PRINT, 2)
    assert await ears.notes.get() == Note(ECHO, 2, b"printed")
    await child.aclose()
    assert "a library says hello" in capfd.readouterr().err


PARENT = f"""
import asyncio
from pipeline.child import Child
async def main():
    child = Child({MODULE!r}, {{}}, print, print)
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_no_orphan_is_left_when_the_server_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not is_alive(pid))


def test_it_works_under_uvloop_too() -> None:
    async def main() -> None:
        ears = Ears()
        child = ears.child()
        await child.start()
        first = child.pid
        child.send(DIE)
        await ears.losses.get()
        await eventually(lambda: child.is_running and child.pid != first)
        child.send(ECHO, 1, b"uv" * 100_000)
        assert await ears.notes.get() == Note(ECHO, 1, b"uv" * 100_000)
        await child.aclose()

    uvloop.run(main())
