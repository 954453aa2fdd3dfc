"""From nothing to the first answered word, with the embedded default: no key, no network."""

import asyncio
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.served import ROOT, Served, children, memory_kib
from server.client import Audio, Event, VoiceClient

LOUD = 1000
CLIP = ROOT / "tests" / "data" / "goforward.wav"


@dataclass(frozen=True, slots=True)
class Startup:
    """Times in seconds, memory in MiB."""

    import_s: float
    """`import server.app` in a fresh interpreter."""
    ready_s: float
    """From the command to the line that says where to look."""
    answered_s: float
    """From the end of the first spoken sentence to the first sound of the answer: the first turn there is."""
    again_s: float
    """The same, in the second session."""
    heard: str
    server_mib: float
    engines_mib: float
    """Memory of the engines' processes: recognizers and voices."""


def measure() -> Startup:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import server.app"], check=True, cwd=ROOT)
    import_s = time.monotonic() - began
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        Served(Path(name), {"PARLEY_PIPELINE__GREETING": ""}) as server,
    ):
        rss = server.memory_kib()["rss"]
        engines = sum(memory_kib(pid)["private"] for pid in children(server.pid))
        first, heard = asyncio.run(_ask(server.port))
        second, _ = asyncio.run(_ask(server.port))
        return Startup(import_s, server.ready_s, first, second, heard, rss / 1024, engines / 1024)


async def _ask(port: int) -> tuple[float, str]:
    """Say the clip; (time to the answer, what was understood)."""
    with wave.open(str(CLIP)) as wav:
        samples = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
    loud = np.flatnonzero(np.abs(samples) > LOUD)
    pcm = samples[: int(loud[-1])].tobytes()  # the recording ends in half a second of room
    async with await VoiceClient.connect(f"ws://127.0.0.1:{port}") as call:
        ended: list[float] = []
        speaking = asyncio.create_task(_speak(call, pcm, ended))
        heard = ""
        try:
            async with asyncio.timeout(30):
                async for event in call:
                    if isinstance(event, Event) and event.type == "transcription" and event.data["final"]:
                        heard = event.data["text"]
                    if isinstance(event, Audio):
                        return event.at_s - (ended[0] if ended else event.at_s), heard
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    raise RuntimeError("the server did not answer")


async def _speak(call: VoiceClient, pcm: bytes, ended: list[float]) -> None:
    """The clip in real time, then silence."""
    clock = asyncio.get_running_loop().time
    began = clock()
    for frame in range(10_000):
        piece = pcm[frame * 640 : (frame + 1) * 640].ljust(640, b"\0")
        await call.send_audio(piece)
        if (frame + 1) * 640 >= len(pcm) and not ended:
            ended.append(clock())
        await asyncio.sleep(max(0.0, began + (frame + 1) * 0.02 - clock()))
