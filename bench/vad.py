"""How quickly and how rightly the voice activity detectors answer, on recorded speech with known segments.

    python -m bench.vad FOLDER        # FOLDER holds manifest.json and its WAV files; prints a Markdown table

Onset is counted from the start of a segment to the moment the answer is known: `first` to the first "speech"
frame, `duck` to the second within three (what a barge-in waits for). Tail is from the end of a segment to the
end of the last "speech" frame belonging to it (blinks up to 60 ms bridged); hand-checked segments only,
because the others were drawn with webrtcvad itself. Holes are stretches of at
least 160 ms of "no speech" inside a segment.
"""

import argparse
import asyncio
import json
import statistics
import time
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.contracts import FRAME_BYTES, FRAME_MS, Detector, Env

PAD_MS = 500  # silence round each clip: some are cut tight by their source
BLINK_FRAMES = 3
HOLE_FRAMES = 8

SETTINGS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    *((f"webrtc {m} alone", "webrtc", {"mode": m, "confirm": ""}) for m in (1, 2, 3)),
    ("silero alone", "silero", {}),
    *((f"both, mode {m}", "webrtc", {"mode": m}) for m in (1, 2, 3)),
    ("both, mode 2, hangover 0", "webrtc", {"mode": 2, "hangover_ms": 0}),
    ("both, mode 2, hangover 100", "webrtc", {"mode": 2, "hangover_ms": 100}),
    ("both, mode 2, threshold 0.3", "webrtc", {"mode": 2, "threshold": 0.3, "exit_threshold": 0.3}),
    ("both, mode 2, threshold 0.5", "webrtc", {"mode": 2, "threshold": 0.5}),
)


@dataclass
class Tally:
    """What one setting did on all clips."""

    first_ms: list[float] = field(default_factory=list)
    duck_ms: list[float] = field(default_factory=list)
    tail_ms: list[float] = field(default_factory=list)
    holes: int = 0
    missed: list[str] = field(default_factory=list)
    false_frames: int = 0
    quiet_frames: int = 0
    false_run_ms: int = 0
    breath_run_ms: int = 0
    bump_run_ms: int = 0
    took_us: list[float] = field(default_factory=list)


def frames_of(path: Path) -> list[bytes]:
    """A 16 kHz WAV as 20 ms frames, with silence before and after."""
    with wave.open(str(path)) as wav:
        pcm = wav.readframes(wav.getnframes())
    pad = bytes(FRAME_BYTES * PAD_MS // FRAME_MS)
    pcm = pad + pcm + bytes(-len(pcm) % FRAME_BYTES) + pad
    return [pcm[i : i + FRAME_BYTES] for i in range(0, len(pcm), FRAME_BYTES)]


def judge(detector: Detector, frames: list[bytes], tally: Tally) -> list[bool]:
    answers = []
    for frame in frames:
        begun = time.perf_counter()
        answers.append(detector.is_speech(frame))
        tally.took_us.append((time.perf_counter() - begun) * 1e6)
    return answers


def longest_run(answers: list[bool]) -> int:
    """Length in ms of the longest unbroken run."""
    best = run = 0
    for answer in answers:
        run = run + 1 if answer else 0
        best = max(best, run)
    return best * FRAME_MS


def score_clip(row: Mapping[str, Any], answers: list[bool], tally: Tally) -> None:
    """Add one clip's answers to the tally."""

    def at(seconds: float) -> int:
        return int((seconds * 1000 + PAD_MS) / FRAME_MS)

    if not row["segments"]:
        tally.false_frames += sum(answers)
        tally.quiet_frames += len(answers)
        tally.false_run_ms = max(tally.false_run_ms, longest_run(answers))
    if row["file"].startswith("long_pause_cold"):  # the bump at 5.6 to 6.6 s, between two words
        tally.bump_run_ms = longest_run(answers[at(5.6) : at(6.6)])
    for start_s, end_s in row.get("breaths", ()):
        tally.breath_run_ms = max(tally.breath_run_ms, longest_run(answers[at(start_s) : at(end_s)]))
    hand_checked = row["segments_method"].startswith("hand") if row["segments"] else False
    for index, (start_s, end_s) in enumerate(row["segments"]):
        start, end = at(start_s), at(end_s)
        limit = at(row["segments"][index + 1][0]) if index + 1 < len(row["segments"]) else len(answers)
        heard = [i for i in range(start, end) if answers[i]]
        ducks = [i for i in range(start, end) if answers[i] and sum(answers[max(start, i - 2) : i + 1]) >= 2]
        if not ducks:
            tally.missed.append(f"{row['file']}@{start_s}")
            continue
        start_ms, end_ms = start_s * 1000 + PAD_MS, end_s * 1000 + PAD_MS
        tally.first_ms.append((heard[0] + 1) * FRAME_MS - start_ms)
        tally.duck_ms.append((ducks[0] + 1) * FRAME_MS - start_ms)
        tally.holes += sum(b - a > HOLE_FRAMES for a, b in pairwise(heard))
        if hand_checked:
            last = heard[-1]
            while ahead := [i for i in range(last + 1, min(last + 2 + BLINK_FRAMES, limit)) if answers[i]]:
                last = ahead[-1]
            tally.tail_ms.append((last + 1) * FRAME_MS - end_ms)


async def measure(folder: Path, plugin: str, values: Mapping[str, Any]) -> Tally:
    engine = plugins.build("vad", plugin, values, Env())
    await engine.warm()
    tally = Tally()
    for row in json.loads((folder / "manifest.json").read_text()):
        score_clip(row, judge(engine.open(), frames_of(folder / row["file"]), tally), tally)
    await engine.aclose()
    return tally


def spread(values: list[float]) -> str:
    """Median, 90th percentile, worst."""
    ninth = statistics.quantiles(values, n=10)[8]
    return f"{statistics.median(values):.0f} / {ninth:.0f} / {max(values):.0f}"


HEAD = (
    "| setting | first ms | duck ms | tail ms | holes | missed | non-speech called speech "
    "| longest false run ms | in breaths ms | at the bump ms | us per frame | CPU ms per s | p99 us |"
)


def line(name: str, t: Tally) -> str:
    mean_us = statistics.fmean(t.took_us)
    slow_us = statistics.quantiles(t.took_us, n=100)[98]
    return (
        f"| {name} | {spread(t.first_ms)} | {spread(t.duck_ms)} | {spread(t.tail_ms)} | {t.holes} "
        f"| {len(t.missed)} | {100 * t.false_frames / t.quiet_frames:.1f} % | {t.false_run_ms} "
        f"| {t.breath_run_ms} | {t.bump_run_ms} | {mean_us:.0f} | {mean_us * 50 / 1000:.1f} "
        f"| {slow_us:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-v", "--verbose", action="store_true", help="name the missed segments")
    args = parser.parse_args()
    print(HEAD)
    print("|" + " --- |" * (HEAD.count("|") - 1))
    for name, plugin, values in SETTINGS:
        tally = asyncio.run(measure(args.folder, plugin, values))
        print(line(name, tally), flush=True)
        if args.verbose and tally.missed:
            print("  missed:", *tally.missed)


if __name__ == "__main__":
    main()
