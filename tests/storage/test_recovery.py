"""What is left after a server died, and what the next one makes of it."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import soundfile

from storage.archive import Archive
from storage.conversations import Conversations
from storage.database import Database
from storage.journal import HEAD, Entry, encode
from tests.storage.conftest import HEADER, NOW, SESSION, files_below, one_turn, running, say, tone, until

# A server in mid-talk: a finished turn, then sound in real time and a reply that nobody places, until killed.
CHILD = """
import asyncio, sys, time
from pathlib import Path
from tests.storage.conftest import HEADER, SESSION, one_turn, running, say, tone

async def main() -> None:
    async with running(Path(sys.argv[1])) as archive:
        recorder = archive.open(SESSION, HEADER, print)
        position = one_turn(recorder, 1, 0)
        recorder.agent_audio("r2", 24_000, 0, tone(1, 24_000), position)
        began = time.monotonic()
        while True:
            position = say(recorder, position, tone(0.02, 16_000))
            recorder.record("in", position // 16, {"speech": 1})
            print(position, flush=True)
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


@contextmanager
def server(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that talks until it is killed, with -9."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield child
    finally:
        child.kill()
        assert child.stdout is not None
        child.stdout.close()
        child.wait()


def talk_for(child: "subprocess.Popen[str]", seconds: float) -> int:
    """Kill it in mid-talk. Answers the last position that it had recorded."""
    assert child.stdout is not None
    position, until_then = 0, None
    while until_then is None or time.monotonic() < until_then:
        ready, _, _ = select.select([child.stdout], [], [], 20)
        assert ready, "the child says nothing"
        position = int(child.stdout.readline())
        until_then = until_then or time.monotonic() + seconds
    os.kill(child.pid, signal.SIGKILL)
    for line in child.stdout:
        position = int(line) if line.endswith("\n") else position
    return position


@pytest.mark.slow
async def test_a_server_killed_in_mid_talk_loses_a_second_of_sound_and_no_turn(
    tmp_path: Path, database: Database
) -> None:
    with server(tmp_path) as child:
        position = talk_for(child, 2.5)
    assert not archive_files(tmp_path, "conversation.mp3")
    async with running(tmp_path, database=database) as archive:
        later = datetime.now(UTC) + timedelta(seconds=61)
        assert await archive.recover(60, later) == []
        await until(lambda: not archive_files(tmp_path, f"{SESSION}.open"))
        found = await archive.conversation(SESSION)
        assert found is not None
        assert [message["content"] for message in found["messages"]] == ["question 1", "answer 1, and more"]
        assert found["end_reason"] == "server stopped"
        assert found["end_time"] is not None
        files = {file["filename"]: file for file in await archive.audio_files(SESSION)}
        # The reply that nobody placed plays from where it was expected to.
        assert list(files) == ["0001_user.mp3", "0002_agent.mp3", "0003_agent.mp3", "conversation.mp3"]
        assert (files["0003_agent.mp3"]["start_ms"], files["0003_agent.mp3"]["duration_ms"]) == (2500, 1000)
        lost_ms = position / 16 - files["conversation.mp3"]["duration_ms"]
        assert lost_ms <= 1100
    row = await Conversations(database).get(SESSION)
    assert row is not None
    assert (row["end_reason"], row["turns"]) == ("server stopped", 1)


def archive_files(folder: Path, name: str) -> list[str]:
    return [found for found in files_below(folder) if found == name]


@pytest.mark.slow
async def test_a_session_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with server(tmp_path) as child:
        assert child.stdout is not None
        child.stdout.readline()
        await until(lambda: bool(archive_files(tmp_path, f"{SESSION}.json")))
        async with running(tmp_path) as archive:
            assert await archive.recover(0, datetime.now(UTC) + timedelta(hours=1)) == []
            assert archive_files(tmp_path, f"{SESSION}.open")
            assert child.poll() is None


async def crashed(folder: Path) -> None:
    """A talk whose server went away without closing it."""
    async with running(folder) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        position = one_turn(recorder, 1, 0)
        say(recorder, position, tone(0.5, 16_000))
    age(folder, NOW)


def age(folder: Path, when: datetime) -> None:
    """As if nobody had written to the files since."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (when.timestamp(), when.timestamp()))


async def test_a_session_goes_on_after_a_restart_within_the_window(tmp_path: Path) -> None:
    await crashed(tmp_path)
    async with running(tmp_path) as archive:
        (left,) = await archive.recover(60, NOW + timedelta(seconds=10))
        assert left.session_id == SESSION
        assert left.header["owner"] == "guest:1"
        assert left.expires_at == NOW + timedelta(seconds=62.5)
        assert (left.last_at_ms, left.last_position) == (2500, 48_000)
        assert (left.next_message, left.next_turn, left.next_file) == (3, 2, 3)
        assert len(left.conversation["messages"]) == 2
        recorder = archive.open(SESSION, left.header, pytest.fail)
        recorder.record("resume", 11_000, {})
        one_turn(recorder, 2, 160_000)
        recorder.record("end", 13_000, {"time": "2026-12-26T10:09:13.000Z", "reason": "client"})
        await recorder.close()
        found = await archive.conversation(SESSION)
        assert found is not None
        assert [len(found["messages"]), len(found["turns"]), found["duration_seconds"]] == [4, 2, 13]
        files = [(file["filename"], file["end_ms"]) for file in await archive.audio_files(SESSION)]
        assert files[-2:] == [("0004_agent.mp3", 12_500), ("conversation.mp3", 12_500)]
        heard, rate = soundfile.read(archive.audio_path(SESSION, "conversation.mp3"))
        assert abs(heard[int(2.6 * rate) : int(2.9 * rate), 0]).max() > 0.3  # from before the crash
        assert abs(heard[int(4 * rate) : int(9 * rate)]).max() < 0.01  # the time that nobody was there
        assert abs(heard[int(10.2 * rate) : int(10.8 * rate), 0]).max() > 0.3


@pytest.mark.parametrize(
    ("made", "played_ms", "heard"),
    [
        (None, 1000, "Of what was"),  # the rest's length is not known: fifteen characters a second
        (96_000, 1000, "Of what was made"),  # a quarter of it
        (96_000, 2000, "Of what was made by then, the half"),
        (48_000, 2000, None),  # all
    ],
)
async def test_of_a_reply_in_the_making_no_more_counts_as_heard_than_was_sent(
    tmp_path: Path, made: int | None, played_ms: int, heard: str | None
) -> None:
    text = "Of what was made by then, the half has been sent, and nobody knows."
    async with running(tmp_path) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        recorder.record("message", 0, {"n": 1, "role": "assistant", "content": text, "response_id": "r1"})
        recorder.agent_audio("r1", 24_000, 0, tone(2, 24_000), 0)
        if made:
            recorder.record("made", 100, {"response_id": "r1", "samples": made})
        recorder.record("playback", played_ms, {"response_id": "r1", "played_ms": played_ms})
    age(tmp_path, NOW)
    async with running(tmp_path) as archive:
        (left,) = await archive.recover(60, NOW + timedelta(seconds=10))
        (message,) = left.conversation["messages"]
        assert message.get("heard") == heard
        assert message.get("interrupted", False) is (heard is not None)


async def test_a_session_that_nobody_comes_back_to_is_finished(tmp_path: Path) -> None:
    await crashed(tmp_path)
    async with running(tmp_path) as archive:
        await archive.recover(60, NOW + timedelta(seconds=10))
        await archive.finish(SESSION)
        await archive.finish(SESSION)
        found = await archive.conversation(SESSION)
        assert found is not None
        assert (found["end_reason"], found["duration_seconds"]) == ("not resumed", 2.5)
        assert (await archive.audio_files(SESSION))[-1]["duration_ms"] == 3000
    async with running(tmp_path) as archive:
        assert await archive.recover(60, NOW + timedelta(seconds=10)) == []


async def test_a_corrupt_journal_never_stops_a_start(tmp_path: Path) -> None:
    await crashed(tmp_path)
    folder = tmp_path / "conversations"
    names = [SESSION[:-1] + letter for letter in "abcd"]
    (folder / f"{names[0]}.journal").write_bytes(os.urandom(5000))
    (folder / f"{names[1]}.journal").write_bytes(b"")
    (folder / f"{names[2]}.journal").mkdir()
    (folder / f"{names[3]}.journal").write_bytes(encode(Entry(0, "journal", {"version": 99})))
    (folder / "x.journal").write_bytes(HEAD)
    (folder / f"{SESSION[:-1]}e.open").write_text("../../etc/passwd")
    async with running(tmp_path) as archive:
        (left,) = await archive.recover(60, NOW + timedelta(seconds=10))
        assert left.session_id == SESSION
    kept = sorted(path.name for path in folder.iterdir())
    for name in names[:3]:
        assert f"{name}.journal.broken" in kept
    assert f"{names[3]}.journal" in kept
    assert f"{SESSION[:-1]}e.open" not in kept


async def test_rendering_that_a_stop_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """The journal has its end, the marker is still there."""
    await crashed(tmp_path)
    journal = tmp_path / "conversations" / f"{SESSION}.journal"
    with journal.open("ab") as file:
        file.write(encode(Entry(3000, "end", {"time": "2026-12-26T10:09:03.000Z", "reason": "client"})))
    async with running(tmp_path) as archive:
        assert await archive.recover(60, NOW) == []
        await until(lambda: not archive_files(tmp_path, f"{SESSION}.open"))
        found = await archive.conversation(SESSION)
        assert found is not None
        assert found["end_reason"] == "client"
        assert len(await archive.audio_files(SESSION)) == 3


async def test_without_a_journal_a_crash_leaves_nothing_behind_but_what_was_written(tmp_path: Path) -> None:
    async with running(tmp_path, journal_enabled=False) as archive:
        one_turn(archive.open(SESSION, HEADER, pytest.fail), 1, 0)
    async with running(tmp_path, journal_enabled=False) as archive:
        assert await archive.recover(60, NOW) == []
        assert archive_files(tmp_path, "spool.pcm") == []
        assert await archive.conversation(SESSION)


async def test_going_on_with_an_ended_talk_keeps_its_recording(archive: Archive) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    one_turn(recorder, 1, 0)
    await recorder.close()
    before = archive.audio_path(SESSION, "conversation.mp3").read_bytes()
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    recorder.record("resume", 9_000, {})
    recorder.record("message", 9_000, {"n": 9, "role": "user", "content": "one more thing"})
    recorder.record("end", 9_500, {"time": "2026-12-26T10:09:09.500Z", "reason": "again"})
    await recorder.close()
    found = await archive.conversation(SESSION)
    assert found is not None
    assert (len(found["messages"]), found["end_reason"]) == (3, "again")
    assert archive.audio_path(SESSION, "conversation.mp3").read_bytes() == before
    assert len(await archive.audio_files(SESSION)) == 3


async def test_a_suspended_talk_is_written_whole_and_can_still_be_gone_on_with(tmp_path: Path) -> None:
    """A deploy: the old server writes everything, the next one takes up the same session."""
    async with running(tmp_path) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        one_turn(recorder, 1, 0)
        await recorder.suspend()
        assert (await archive.audio_files(SESSION))[-1]["duration_ms"] == 2500
    age(tmp_path, NOW)
    async with running(tmp_path) as archive:
        (left,) = await archive.recover(60, NOW + timedelta(seconds=10))
        recorder = archive.open(SESSION, left.header, pytest.fail)
        one_turn(recorder, left.next_turn, left.last_position)
        await recorder.close()
        assert (await archive.audio_files(SESSION))[-1]["duration_ms"] == 5000
        found = await archive.conversation(SESSION)
        assert found is not None
        assert len(found["messages"]) == 4


async def test_a_talk_that_a_dead_server_left_is_summed_up_once(tmp_path: Path) -> None:
    def summarize(conversation: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"summary": f"{len(conversation['messages'])} messages", "appointments_discussed": []}

    with server(tmp_path) as child:
        talk_for(child, 0.1)
    later = datetime.now(UTC) + timedelta(hours=1)
    async with running(tmp_path, summarize=summarize) as archive:
        await archive.recover(60, later)
    async with running(tmp_path) as archive:
        found = await archive.conversation(SESSION)
        assert found is not None
        assert found["end_reason"] == "server stopped"
        assert found["summary"] == f"{len(found['messages'])} messages"
        assert found["appointments_discussed"] == []


async def test_a_summary_that_cannot_be_made_does_not_keep_a_talk_from_ending(tmp_path: Path) -> None:
    def summarize(conversation: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError(conversation["session_id"])

    with server(tmp_path) as child:
        talk_for(child, 0.1)
    async with running(tmp_path, summarize=summarize) as archive:
        await archive.recover(60, datetime.now(UTC) + timedelta(hours=1))
    async with running(tmp_path) as archive:
        found = await archive.conversation(SESSION)
        assert found is not None
        assert (found["end_reason"], found["summary"]) == ("server stopped", "")
