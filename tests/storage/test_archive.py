"""A conversation from its first entry to its files, rows and end."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline import contracts
from storage.archive import Archive
from storage.conversations import Conversations
from storage.database import Database
from storage.ids import BadName, new_session_id
from storage.journal import Entry, Reading, fold, read
from storage.ledger import Batch, Keeping, Ledger, Outside, Steps
from storage.places import Places
from storage.spool import Piece
from tests.storage.conftest import HEADER, NOW, SESSION, files_below, one_turn, running, say, tone, until


def satisfies_the_contract(archive: Archive) -> contracts.Archive:
    """Checked by mypy: storage imports nothing of the pipeline and still is what it asks for."""
    return archive


async def test_a_finished_talk_has_everything_the_contract_names(archive: Archive, tmp_path: Path) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    position = one_turn(recorder, 1, 0)
    one_turn(recorder, 2, position)
    recorder.record("summary", 5000, {"summary": "Two questions.", "preferences_mentioned": ["tea"]})
    recorder.record("end", 5200, {"time": "2026-12-26T10:09:05.200Z", "reason": "client"})
    await recorder.close()

    found = await archive.conversation(SESSION)
    assert found is not None
    assert found["session_id"] == SESSION
    assert [message["content"] for message in found["messages"]] == [
        "question 1",
        "answer 1, and more",
        "question 2",
        "answer 2, and more",
    ]
    assert found["messages"][1]["audio"] == "0002_agent.mp3"
    assert found["cost_breakdown"] == {"stt_cost": 0, "llm_cost": 0, "tts_cost": 0.02, "total_cost": 0.02}
    assert found["duration_seconds"] == 5.2
    assert (found["end_reason"], found["summary"]) == ("client", "Two questions.")
    assert found["preferences_mentioned"] == ["tea"]
    files = await archive.audio_files(SESSION)
    assert [(f["filename"], f["role"], f["start_ms"], f["end_ms"], f["duration_ms"]) for f in files] == [
        ("0001_user.mp3", "user", 0, 1000, 1000),
        ("0002_agent.mp3", "agent", 1000, 2500, 1500),
        ("0003_user.mp3", "user", 2500, 3500, 1000),
        ("0004_agent.mp3", "agent", 3500, 5000, 1500),
        ("conversation.mp3", "conversation", 0, 5000, 5000),
    ]
    for file in files:
        path = archive.audio_path(SESSION, file["filename"])
        info = soundfile.info(path)
        assert round(info.duration * 1000) == file["duration_ms"]
        assert path.stat().st_size == file["bytes"]
    names = {name for name in files_below(tmp_path) if not name.endswith(".lock")}
    assert names == {f["filename"] for f in files} | {f"{SESSION}.json", f"{SESSION}.journal"}


async def test_after_a_turn_its_files_are_there_while_the_talk_goes_on(archive: Archive) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    one_turn(recorder, 1, 0)
    await until(archive.audio_path(SESSION, "0002_agent.mp3").exists)
    found = await archive.conversation(SESSION)
    assert found is not None
    assert found["end_time"] is None
    assert len(found["messages"]) == 2
    assert fold(read(archive.journal_path(SESSION), Reading())) == found


async def test_who_waits_for_what_is_written_finds_it(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, disk = Conversations(database), threading.Event()

    def slow() -> None:
        disk.wait(20)

    async with running(tmp_path, database=database) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        archive._writer.put(slow)
        recorder.record("message", 10, {"n": 1, "role": "user", "content": "hello", "turn": 1})
        waiting = asyncio.create_task(recorder.flush())
        await asyncio.sleep(0)
        assert not waiting.done()
        disk.set()
        await waiting
        found = await archive.conversation(SESSION)
        assert found is not None
        assert [message["content"] for message in found["messages"]] == ["hello"]
        assert len(await rows.messages(SESSION)) == 1

        monkeypatch.setattr("storage.recorder.FLUSH_S", 0.01)
        disk.clear()
        archive._writer.put(slow)
        await recorder.flush()  # not for ever
        disk.set()


async def test_the_journal_alone_gives_the_same_conversation_again(archive: Archive) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    one_turn(recorder, 1, 0)
    recorder.record("end", 2600, {"time": "2026-12-26T10:09:02.600Z", "reason": "client"})
    await recorder.close()
    again = fold(read(archive.journal_path(SESSION), Reading()))
    found = await archive.conversation(SESSION)
    assert found is not None
    assert found.pop("audio_files")[:2] == again.pop("audio_files")
    assert found == again


async def test_a_talk_without_sound_has_no_folder(archive: Archive, tmp_path: Path) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    recorder.record("message", 10, {"n": 1, "role": "user", "content": "hi", "audio": "0001_user.mp3"})
    recorder.sync()
    await recorder.close()
    await recorder.close()
    assert list((tmp_path / "audio_files").iterdir()) == []
    assert await archive.audio_files(SESSION) == []
    found = await archive.conversation(SESSION)
    assert found is not None
    assert found["messages"] == [{"role": "user", "content": "hi"}]
    assert found["end_reason"] == "closed"


def test_what_was_heard_may_be_known_better_while_it_is_written(tmp_path: Path) -> None:
    """A client that was interrupted says a moment later where it stopped: no file has two writers, in
    whatever order they get on."""
    rate_hz, file = 24_000, "0002_agent.mp3"
    places = Places(tmp_path / "conversations", tmp_path / "audio")
    places.make()
    for number, turns in enumerate(itertools.product((0, 1), repeat=6)):
        session_id = f"20261226_1009{number:02}_k3v9x2m8q7w4f5h6t2r9"
        ledger = Ledger(session_id, Keeping(places, "lock"), Outside(lambda _: None, pytest.fail))
        ledger.begin(HEADER)
        begun: list[Steps] = []
        for heard_s in (9, 3):
            placed = {"reply_id": "r1", "file": file, "rate_hz": rate_hz, "runs": [[0, heard_s * rate_hz, 0]]}
            sound = [Piece("r1", rate_hz, 0, 0, tone(9, rate_hz))] if not begun else []
            ledger.write(Batch([Entry(1000, "placed", placed)], sound))
            begun.append(ledger.project())
            next(begun[-1], None)
        for turn in turns:
            next(begun[turn], None)
        for steps in (*begun, ledger.close()):
            for _ in steps:
                pass
        path = places.sound(session_id, file)
        assert soundfile.info(path).duration == pytest.approx(3, abs=0.001)
        assert files_below(path.parent) == [file, "conversation.mp3"]


async def test_without_a_journal_the_other_files_are_written_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, journal_enabled=False) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        one_turn(recorder, 1, 0)
        await until(archive.json_path(SESSION).exists)
        await recorder.close()
        assert not archive.journal_path(SESSION).exists()
        assert len(await archive.audio_files(SESSION)) == 3
        assert await archive.conversation(SESSION)


async def test_sound_can_be_left_unkept(tmp_path: Path) -> None:
    async with running(tmp_path, keep_audio=False) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        one_turn(recorder, 1, 0)
        await recorder.close()
        found = await archive.conversation(SESSION)
        assert found is not None
        assert [message.get("audio") for message in found["messages"]] == [None, None]
        assert not (tmp_path / "audio_files" / SESSION).exists()


async def test_fifty_talks_at_once_do_not_mix(archive: Archive) -> None:
    ids = [new_session_id(NOW) for _ in range(50)]

    async def talk(number: int, session_id: str) -> None:
        recorder = archive.open(session_id, HEADER, pytest.fail)
        said = {"n": 1, "role": "user", "content": str(number), "audio": "0001_user.mp3"}
        end = say(recorder, 0, tone(0.1 + number / 100, 16_000))
        recorder.record("utterance", 100, {"file": "0001_user.mp3", "from": 0, "to": end})
        recorder.record("message", 100, said)
        recorder.sync()
        await asyncio.sleep(0)
        await recorder.close()

    await asyncio.gather(*(talk(number, session_id) for number, session_id in enumerate(ids)))
    for number, session_id in enumerate(ids):
        found = await archive.conversation(session_id)
        assert found is not None
        assert found["messages"][0]["content"] == str(number)
        assert [f["duration_ms"] for f in found["audio_files"]] == [100 + 10 * number] * 2


async def test_rows_follow_the_turns(tmp_path: Path, database: Database) -> None:
    rows = Conversations(database)
    async with running(tmp_path, database=database) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        position = one_turn(recorder, 1, 0)
        await until(archive.audio_path(SESSION, "0002_agent.mp3").exists)
        one_turn(recorder, 2, position)
        recorder.record("owner", 5000, {"user_id": "7", "owner": "user:7"})
        recorder.record("end", 5200, {"time": "2026-12-26T10:09:05.200Z", "reason": "client"})
        await recorder.close()
        row = await rows.get(SESSION)
        assert row is not None
        assert (row["owner"], row["user_id"], row["turns"], row["duration_s"]) == ("user:7", "7", 2, 5.2)
        assert row["total_cost"] == pytest.approx(0.02)
        assert [message["n"] for message in await rows.messages(SESSION)] == [1, 2, 3, 4]
        assert [turn["endpoint_ms"] for turn in await rows.turns(SESSION)] == [500, 500]
        assert await archive.delete(SESSION)
        assert await rows.get(SESSION) is None
        assert await rows.messages(SESSION) == []


async def test_a_database_that_fails_costs_no_file(tmp_path: Path, database: Database) -> None:
    await database.aclose()
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TABLE turns")
    async with running(tmp_path, database=database) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        one_turn(recorder, 1, 0)
        await recorder.close()
        assert await archive.conversation(SESSION)


async def test_deleting_leaves_nothing_also_in_mid_talk(archive: Archive, tmp_path: Path) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    one_turn(recorder, 1, 0)
    assert await archive.delete(SESSION)
    one_turn(recorder, 2, 40_000)
    await recorder.close()
    assert not await archive.delete(SESSION)
    assert [name for name in files_below(tmp_path) if not name.endswith(".lock")] == []
    assert not (tmp_path / "audio_files" / SESSION).exists()


async def test_purging_spares_the_young_and_those_that_go_on(archive: Archive) -> None:
    old, open_one, young = (f"2025{day}_000000_aaaaaaaaaaaaaaaaaaaa" for day in ("0101", "0102", "1231"))
    for session_id in (old, young):
        await archive.open(session_id, HEADER, pytest.fail).close()
    archive.open(open_one, HEADER, pytest.fail)
    assert await archive.purge(NOW.replace(year=2025, month=6)) == 1
    assert await archive.conversation(old) is None
    assert await archive.conversation(young) is not None


async def test_guests_are_purged_by_their_rows(tmp_path: Path, database: Database) -> None:
    ids = [f"2025010{day}_000000_aaaaaaaaaaaaaaaaaaaa" for day in (1, 2)]
    async with running(tmp_path, database=database) as archive:
        for session_id, user in zip(ids, (None, "7"), strict=True):
            await archive.open(session_id, {**HEADER, "user_id": user}, pytest.fail).close()
        assert await archive.purge(NOW.replace(year=2027), guests_only=True) == 1
        assert await archive.conversation(ids[0]) is None
        assert await archive.conversation(ids[1]) is not None


@pytest.mark.parametrize(
    "hostile",
    [
        *("", ".", "..", "../../etc/passwd", "/etc/passwd", SESSION + "/x", SESSION + "\n", SESSION.upper()),
        *(SESSION[:-1] + "ä", SESSION[:-1], SESSION + "a", "\0" + SESSION[1:], SESSION.replace("_", "/")),
        "２" + SESSION[1:],
    ],
)
async def test_a_hostile_name_reaches_no_path(archive: Archive, hostile: str) -> None:
    for method in (archive.json_path, archive.journal_path):
        with pytest.raises(BadName):
            method(hostile)
    for ask in (archive.conversation, archive.audio_files, archive.delete, archive.finish):
        with pytest.raises(BadName):
            await ask(hostile)
    with pytest.raises(BadName):
        archive.audio_path(SESSION, hostile)
    with pytest.raises(BadName):
        archive.open(hostile, HEADER, pytest.fail)


async def test_a_second_recorder_for_the_same_session_is_refused(archive: Archive) -> None:
    archive.open(SESSION, HEADER, pytest.fail)
    with pytest.raises(ValueError, match="already"):
        archive.open(SESSION, HEADER, pytest.fail)


async def test_closing_leaves_no_thread_and_no_file_open(tmp_path: Path) -> None:
    await asyncio.to_thread(int)  # the loop's own executor thread exists from here on
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    async with running(tmp_path) as archive:
        recorder = archive.open(SESSION, HEADER, pytest.fail)
        one_turn(recorder, 1, 0)
        await recorder.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not [thread for thread in threading.enumerate() if thread.name == "parley-writer"]
    assert threading.active_count() <= threads + 2  # the executor may have grown


async def test_the_files_of_a_conversation_read_as_lines(archive: Archive) -> None:
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    one_turn(recorder, 1, 0)
    await recorder.close()
    text = archive.json_path(SESSION).read_text()
    assert json.loads(text)
    assert max(map(len, text.splitlines())) < 400


async def test_stereo_is_heard_where_it_was_said(archive: Archive) -> None:
    """User left, agent right, also after MP3: what LAME adds at the front is taken off by decoders."""
    recorder = archive.open(SESSION, HEADER, pytest.fail)
    say(recorder, 0, bytes(2 * 32_000) + tone(0.5, 16_000, 500) + bytes(2 * 16_000))
    recorder.agent_audio("r1", 24_000, 0, tone(0.5, 24_000, 900), 16_000)
    placed = {"reply_id": "r1", "file": "0001_agent.mp3", "rate_hz": 24_000, "runs": [[0, 12_000, 16_000]]}
    recorder.record("placed", 1500, placed)
    await recorder.close()
    heard, rate = soundfile.read(archive.audio_path(SESSION, "conversation.mp3"), dtype="float32")
    assert rate == 24_000
    assert len(heard) == 84_000
    for channel, start in ((0, 48_000), (1, 24_000)):
        envelope = np.abs(heard[:, channel])
        loud = np.flatnonzero(envelope > 0.1)
        assert abs(int(loud[0]) - start) < 240  # 10 ms: an MP3 frame rings a little before an onset
        assert abs(int(loud[-1]) - start - 12_000) < 240


def test_a_program_that_only_imports_the_archive_starts_no_thread() -> None:
    code = "import storage.archive, threading; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
