"""What recording costs: a frame on the event loop, a second of talk on the writer's thread, a minute of MP3.

python -m bench.recorder [sessions] [seconds]
"""

import asyncio
import resource
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from storage import sound
from storage.archive import Archive
from storage.ids import new_session_id
from storage.journal import Placed, Run
from storage.recorder import Recorder
from storage.spool import Piece, Spool

FRAME = bytes(640)
REPLY = bytes(960 * 2)  # 40 ms at 24 kHz


def per_frame(rounds: int = 500_000) -> float:
    """Microseconds of one `user_audio` call, its share of handing over included."""

    async def nothing(_recorder: Recorder) -> None: ...

    def submit(recorder: Recorder, _batch: object, sound_bytes: int, _sync: bool) -> None:
        recorder.written += sound_bytes

    recorder = Recorder("bench", submit, nothing, nothing, nothing, print)
    feed, began = recorder.user_audio, time.perf_counter()
    for position in range(0, rounds * 320, 320):
        feed(position, FRAME)
        if position % 16_000 == 0:
            recorder.hand_over()
    return (time.perf_counter() - began) / rounds * 1e6


async def per_second(folder: Path, sessions: int, seconds: int) -> tuple[float, float]:
    """CPU milliseconds of the loop's and the writer's thread per session and second of talk, user and agent
    both speaking all the time, with 20 journal lines a second and a turn every five."""
    archive = Archive(folder / "conversations", folder / "audio_files")
    await archive.start()
    header = {"start_time": "2026-12-26T10:09:00.000Z"}
    ids = [new_session_id(datetime.now(UTC)) for _ in range(sessions)]
    recorders = [archive.open(session_id, header, print) for session_id in ids]
    writer = next(thread for thread in threading.enumerate() if thread.name == "parley-writer")
    assert writer.ident is not None
    clock = time.pthread_getcpuclockid(writer.ident)
    began, began_there = time.thread_time(), time.clock_gettime(clock)
    for second in range(seconds):
        for recorder in recorders:
            for frame in range(50):
                recorder.user_audio(second * 16_000 + frame * 320, FRAME)
            for piece in range(25):
                at = second * 24_000 + piece * 960
                recorder.agent_audio("r", 24_000, at, REPLY, at * 2 // 3)
            for line in range(20):
                recorder.record("in", second * 1000 + line * 50, {"vad": [1, 12, 0, 4], "size": 640})
            if second % 5 == 4:
                recorder.record("message", second * 1000, {"n": second, "role": "user", "content": "x" * 80})
                recorder.record("turn", second * 1000, {"turn": second // 5, "stt_ms": 100, "cost": {}})
                recorder.sync()
            else:
                recorder.hand_over()
        while any(recorder.behind_bytes for recorder in recorders):
            await asyncio.sleep(0.01)
    here, there = time.thread_time() - began, time.clock_gettime(clock) - began_there
    await archive.aclose()
    return here / sessions / seconds * 1000, there / sessions / seconds * 1000


def per_minute(folder: Path, minutes: int = 2) -> dict[str, float]:
    """CPU seconds of rendering a minute of each kind of file, out of noise that is as hard as sound gets."""
    spool, rng = Spool(folder / "spool.pcm"), np.random.default_rng(1)
    for second in range(60 * minutes):
        user = (rng.standard_normal(16_000) * 2000 * (second % 8 < 4)).astype("<i2").tobytes()
        agent = (rng.standard_normal(24_000) * 2000 * (second % 8 >= 4)).astype("<i2").tobytes()
        spool.append([Piece("", 16_000, second * 16_000, second * 16_000, user)])
        spool.append([Piece("r", 24_000, second * 24_000, 0, agent)])
    placed = Placed("r", "0001_agent.mp3", 24_000, (Run(0, 60 * minutes * 24_000, 0),))
    renderings = {
        "NNNN_user.mp3": sound.render_utterance(folder / "u.mp3", spool, 0, 60 * minutes * 16_000),
        "NNNN_agent.mp3": sound.render_reply(folder / "a.mp3", spool, placed),
        "conversation.mp3": sound.render_conversation(folder / "c.mp3", spool, [placed]),
    }
    costs: dict[str, float] = {}
    for name, steps in renderings.items():
        began, longest = time.thread_time(), 0.0
        step_began = time.perf_counter()
        for _ in steps:
            longest = max(longest, time.perf_counter() - step_began)
            step_began = time.perf_counter()
        costs[name] = (time.thread_time() - began) / minutes
        print(f"  {name:<18} {costs[name]:6.2f} s CPU a minute, longest step {longest * 1000:.0f} ms")
    return costs


def main() -> None:
    sessions, seconds = (int(text) for text in (*sys.argv[1:], "100", "20")[:2])
    print(f"user_audio           {per_frame():6.2f} us a frame")
    with tempfile.TemporaryDirectory() as name:
        here, there = asyncio.run(per_second(Path(name), sessions, seconds))
        print(
            f"{sessions} sessions: loop {here:.3f} ms, writer {there:.3f} ms CPU per session-second (no MP3)"
        )
        per_minute(Path(name))
    print(f"peak memory          {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:6.0f} MiB")


if __name__ == "__main__":
    main()
