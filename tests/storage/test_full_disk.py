"""What happens when the disk takes no more: real refusals, by a limit on file sizes in a child process."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from storage.ledger import Batch
from storage.recorder import MAX_BEHIND_BYTES, TOO_SLOW, Recorder
from tests.storage.conftest import HEADER, SESSION, one_turn, running, say

# RLIMIT_FSIZE makes every write beyond the limit fail with EFBIG, as a full disk does with ENOSPC.
CHILD = """
import asyncio, json, resource, signal, sys
from pathlib import Path
from tests.storage.conftest import HEADER, SESSION, one_turn, running, say, tone, until

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main() -> None:
    troubles = []
    async with running(Path(sys.argv[1])) as archive:
        recorder = archive.open(SESSION, HEADER, troubles.append)
        position = one_turn(recorder, 1, 0)
        await until(archive.audio_path(SESSION, "0002_agent.mp3").exists)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
        position = one_turn(recorder, 2, position)
        await until(lambda: bool(troubles))
        position = one_turn(recorder, 3, position)
        kept = len(recorder._user) + len(recorder._agent) + sum(len(piece.pcm) for piece in recorder._pieces)
        if sys.argv[3] == "room":
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await recorder.close()
        found = await archive.conversation(SESSION)
        files = [file["filename"] for file in await archive.audio_files(SESSION)]
        print(json.dumps({"troubles": troubles, "kept": kept, "found": found, "files": files}))

asyncio.run(main())
"""


def run(folder: Path, limit: int, end: str) -> dict[str, object]:
    child = [sys.executable, "-c", CHILD, str(folder), str(limit), end]
    done = subprocess.run(child, capture_output=True, text=True, check=True, timeout=60)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_a_full_disk_stops_the_recording_and_says_so_once(tmp_path: Path) -> None:
    answer = run(tmp_path, 140_000, "room")  # the spool is over this after the first turn
    troubles = answer["troubles"]
    assert isinstance(troubles, list)
    assert len(troubles) == 1
    assert troubles[0].startswith("This conversation is no longer being recorded: ")
    assert answer["kept"] == 0
    found = answer["found"]
    assert isinstance(found, dict)
    # There is room again at the end: nothing that was said is missing, and no cost counts twice.
    said = [f"{kind} {turn}" for turn in (1, 2, 3) for kind in ("question", "answer")]
    assert [message["content"].removesuffix(", and more") for message in found["messages"]] == said
    assert found["cost_breakdown"]["total_cost"] == 0.03
    assert found["end_reason"] == "closed"
    assert answer["files"] == ["0001_user.mp3", "0002_agent.mp3", "conversation.mp3"]


@pytest.mark.slow
async def test_what_a_full_disk_refuses_to_the_end_is_finished_at_the_next_start(tmp_path: Path) -> None:
    answer = run(tmp_path, 100, "no room")
    assert len(answer["troubles"]) == 1  # type: ignore[arg-type]
    found = answer["found"]
    assert isinstance(found, dict)
    assert len(found["messages"]) == 2  # the JSON of before: whole, because it is never written in place
    assert (tmp_path / "conversations" / f"{SESSION}.open").exists()


async def test_a_writer_that_lags_drops_sound_and_says_so_once() -> None:
    troubles: list[str] = []
    batches: list[Batch] = []

    async def nothing(recorder: Recorder) -> None:
        recorder.hand_over()

    def hold(_recorder: Recorder, batch: Batch, _bytes: int, _sync: bool) -> None:
        batches.append(batch)  # and `written` never grows

    recorder = Recorder(SESSION, hold, nothing, nothing, nothing, troubles.append)
    second = bytes(32_000)
    position = 0
    for _ in range(2 * MAX_BEHIND_BYTES // len(second)):
        position = say(recorder, position, second)
    recorder.record("message", 1, {"n": 1})
    await recorder.close()
    kept = sum(len(piece.pcm) for batch in batches for piece in batch.pieces)
    assert MAX_BEHIND_BYTES * 0.9 < kept <= MAX_BEHIND_BYTES
    assert troubles == [TOO_SLOW]
    assert batches[-1].entries


async def test_a_folder_that_cannot_be_written_to_costs_the_recording_not_the_talk(tmp_path: Path) -> None:
    troubles: list[str] = []
    async with running(tmp_path) as archive:
        await asyncio.to_thread(
            (tmp_path / "audio_files" / SESSION).write_text, "a file where a folder should be"
        )
        recorder = archive.open(SESSION, HEADER, troubles.append)
        one_turn(recorder, 1, 0)
        await recorder.close()
        found = await archive.conversation(SESSION)
        assert found is not None
        assert len(found["messages"]) == 2
    assert len(troubles) == 1
