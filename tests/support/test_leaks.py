"""The leak check sees what a careless test leaves, and nothing where nothing is left."""

import asyncio
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.leaks import Snapshot, settled


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE_S", 0.1)


async def test_a_forgotten_task_is_named_with_its_place() -> None:
    before = Snapshot.take()
    task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    left = await settled(before)
    assert len(left) == 1
    assert left[0].startswith("task forgotten:")
    task.cancel()
    assert await settled(before) == []


async def test_a_forgotten_thread_is_named() -> None:
    before = Snapshot.take()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    thread.start()
    assert await settled(before) == ["thread forgotten"]
    stop.set()
    thread.join()
    assert await settled(before) == []


async def test_a_forgotten_child_is_shown_with_its_command() -> None:
    before = Snapshot.take()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    left = await settled(before)
    assert any(line.startswith(f"child process {child.pid}:") and "input()" in line for line in left)
    await child.communicate(b"\n")
    assert await settled(before) == []


async def test_a_forgotten_socket_is_shown_with_its_addresses() -> None:
    before = Snapshot.take()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (line,) = await settled(before)
        assert "AF_INET" in line
        assert f"('127.0.0.1', {port})" in line
    assert await settled(before) == []


async def test_a_forgotten_file_is_shown_with_its_path(tmp_path: Path) -> None:
    before = Snapshot.take()
    with (tmp_path / "notes.txt").open("w"):
        (line,) = await settled(before)
        assert line.endswith("/notes.txt")
    assert await settled(before) == []


async def test_what_is_just_ending_gets_time_to_end() -> None:
    before = Snapshot.take()
    ending = threading.Timer(0.05, lambda: None)
    ending.start()
    assert await settled(before) == []


async def test_the_loops_own_executor_is_no_leak() -> None:
    before = Snapshot.take()
    await asyncio.to_thread(lambda: None)
    assert await settled(before) == []


@pytest.mark.virtual_clock
@pytest.mark.usefixtures("no_leaks")
async def test_it_works_under_the_virtual_clock() -> None:
    await asyncio.sleep(1)


@pytest.mark.usefixtures("no_leaks")
async def test_a_clean_test_passes_the_fixture() -> None:
    reader, writer = await _talk_to_yourself()
    assert await reader.readexactly(2) == b"hi"
    writer.close()
    await writer.wait_closed()


async def _talk_to_yourself() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    server.close()
    return reader, writer
