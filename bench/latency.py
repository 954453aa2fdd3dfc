"""How long a caller waits for an answer: a real server, its embedded default, recorded questions, real time.

    python -m bench.latency FOLDER [clip ...]

FOLDER holds manifest.json and its WAV files; without names the clean clips are asked, one at a time. Two
clocks: the caller's, from the last sound of speech (as the manifest has it) to the first sound of the answer,
and the server's own spans of `turn.metrics`, which begin at the last speech frame that the detector saw.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.turns import AFTER_MS, BEFORE_MS, Row, spread, table
from pipeline.core.audio import read_wav
from tests.support.caller import Caller
from tests.support.live import LiveServer

PARTS = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms", "voice_to_voice_ms")


@dataclass(frozen=True)
class Answer:
    """One question's answer. Milliseconds."""

    clip: str
    heard_ms: float
    metrics: Mapping[str, Any]
    late_ms: float
    """How late this machine sent its worst microphone frame."""


async def ask(server: LiveServer, folder: Path, row: Row) -> Answer | None:
    """Say a clip, wait for the answer to its last turn. None if there was none."""
    pcm, _ = read_wav((folder / row["file"]).read_bytes())
    async with Caller.dialing(server.ws, language=row["language"]) as caller:
        await caller.pause(BEFORE_MS)
        start_ms = await caller.play(pcm)
        await caller.pause(AFTER_MS)
        end_s = caller.sent_at(start_ms + row["segments"][-1][1] * 1000)
        sounds = [m for m in caller.all("sound") if m.at_s > end_s]
        if not sounds:
            return None
        await caller.call.send("interrupt")  # the rest of the answer is of no interest
        metrics = await caller.hears("turn.metrics", lambda d: d["turn"] == len(caller.finals()))
        await caller.hang_up()
        late_ms = caller.lateness_s * 1000
        return Answer(row["file"], (sounds[0].at_s - end_s) * 1000, metrics.data, late_ms)


async def measure(folder: Path, rows: list[Row]) -> None:
    answers = []
    with tempfile.TemporaryDirectory() as place:
        server = LiveServer(Path(place) / "server", {"PARLEY_PIPELINE__GREETING": ""})
        try:
            for row in rows:
                answers.append(await ask(server, folder, row))
        finally:
            server.stop()
    given = [a for a in answers if a is not None]
    lines: list[list[object]] = [
        [a.clip, f"{a.heard_ms:.0f}", *(a.metrics[p] for p in PARTS), f"{a.late_ms:.0f}"] for a in given
    ]
    columns = [[a.heard_ms for a in given], *([a.metrics[p] for a in given] for p in PARTS)]
    lines.append(["median / 90 % / worst", *(spread(column) for column in columns), ""])
    names = [p.removesuffix("_ms") for p in PARTS]
    table(("clip", "heard after ms", *names, "machine late ms"), lines)
    print(f"Not answered: {len(answers) - len(given)} of {len(answers)}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", nargs="*", help="only these, without .wav")
    args = parser.parse_args()
    rows: list[Row] = json.loads((args.folder / "manifest.json").read_text())
    wanted = [r for r in rows if (Path(r["file"]).stem in args.clips if args.clips else r["kind"] == "clean")]
    asyncio.run(measure(args.folder, wanted))


if __name__ == "__main__":
    main()
