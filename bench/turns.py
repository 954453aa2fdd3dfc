"""Where turns end and how quickly the agent gives way, on recorded speech with known pauses.

    python -m bench.turns FOLDER [clip ...] [--try "stop_ms=400 min_silence_ms=250" ...] [--cache FILE]

FOLDER holds manifest.json and its 16 kHz WAV files. Each clip is played, between stretches of silence, into a
real session with the default detector, turn rules and recognizer, on a virtual clock: a millisecond is 16
samples of the microphone, and a busy machine changes nothing. What the recognizer takes on an idle machine is
added (`--text-ms`). Prints Markdown. `--try` prints only the sums, with those `Timing` fields changed.

Should the turn end in a gap between two segments of speech?

    over 1.5 s            yes: nobody is waited for longer ([turn] max_silence_ms)
    under 0.5 s           no
    between, in `multi`   yes, where the manifest names the turns
    between, in `pauses`  no: one person goes on with one thought
    between, otherwise    either: a stop between two sentences is both
"""

import argparse
import asyncio
import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from bench.ear import Ear, Memory
from pipeline import chain, plugins
from pipeline.chain import LlmChain, SttChain, TtsChain
from pipeline.contracts import Env
from pipeline.core.audio import read_wav
from pipeline.core.endpoint import Timing
from pipeline.session import Session
from pipeline.setup import Engines, Rules, Setup
from tests.support.call import START, Call, MemoryRecorder
from tests.support.virtual import run

BEFORE_MS = 1000
AFTER_MS = 3000
LONG_MS, SHORT_MS = 1500, 500
EDGE_MS = 250
"""How far the detector's last speech frame may lie from a segment's end and still mean that end."""
FRAME_BYTES = 640
LONG_REPLY = "This is a long story about a ship that went to sea and did not come home. " * 40

Wish = Literal["end", "hold", "either"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class TurnEnd:
    """A turn as it was ended. Times are milliseconds of the clip."""

    text: str
    speech_end_ms: float
    """The last speech frame that the detector saw."""
    decided_ms: float
    reason: str


@dataclass(frozen=True)
class Gap:
    """The pause after a segment; the last one of a clip has no end."""

    clip: str
    start_ms: float
    end_ms: float
    wish: Wish
    ended: TurnEnd | None

    @property
    def is_last(self) -> bool:
        return self.end_ms == float("inf")

    @property
    def length_s(self) -> str:
        return "end" if self.is_last else f"{(self.end_ms - self.start_ms) / 1000:.2f}"

    @property
    def delay_ms(self) -> float:
        """From the last sound of speech to the decision."""
        assert self.ended is not None
        return self.ended.decided_ms - self.start_ms

    @property
    def is_right(self) -> bool:
        return self.wish == "either" or (self.ended is not None) is (self.wish == "end")


@dataclass(frozen=True)
class Played:
    """What one clip did while the agent was silent, and over a reply."""

    row: Row
    gaps: list[Gap]
    inside: list[TurnEnd]
    """Turns that ended in the midst of a segment."""
    turns: list[TurnEnd]
    duck_ms: float | None
    """From the first segment's beginning to the pause of the reply."""
    stop_ms: float | None
    """From there to the interruption."""
    false_ducks: int
    false_stops: int


@dataclass(frozen=True)
class Bench:
    """What all calls share."""

    folder: Path
    ear: Ear
    detector: Any
    timing: Timing


async def open_session(bench: Bench, row: Row, response: Literal["voice", "text"], reply: str) -> Call:
    llm = {"scripted": {"text": (reply,), "first_token_ms": 0, "token_ms": 0}}
    tts = {"scripted": {"speed": 50.0, "first_byte_ms": 0}}
    engines = Engines(
        bench.detector,
        SttChain(chain.Chain("stt", [chain.Member("pocketsphinx", bench.ear)]), 5.0),
        LlmChain(await chain.build("llm", ["scripted"], llm, Env()), 5.0, 5.0),
        TtsChain(await chain.build("tts", ["scripted"], tts, Env()), 5.0, 5.0),
        plugins.build("turn", "words", {}, Env()),
    )
    loop = asyncio.get_running_loop()
    recorder = MemoryRecorder()
    language = row["language"] if row["language"] != "none" else "en"
    session = Session(
        "20261121_120000_aaaaaaaaaaaaaaaaaaaa",
        Setup(greeting="", language=language, response=response),
        engines,
        Rules(timing=bench.timing),
        recorder,
        lambda: START + timedelta(seconds=loop.time()),
    )
    call = Call(session, recorder)
    call.attach()
    call.do("start", language=language)
    return call


async def play(call: Call, pcm: bytes) -> int:
    """Say it, frame by frame. Returns when it began, in milliseconds of the call."""
    start_ms = call.ms
    for at in range(0, len(pcm), FRAME_BYTES):
        await asyncio.sleep(0.02)
        call.session.hear(pcm[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
    return start_ms


async def listen(bench: Bench, row: Row) -> Played:
    """Play a clip into silence, and again over a reply."""
    pcm, _ = read_wav((bench.folder / row["file"]).read_bytes())
    call = await open_session(bench, row, "text", "Yes.")
    await call.quiet(BEFORE_MS)
    start_ms = await play(call, pcm)
    await call.quiet(AFTER_MS)
    await call.end()
    ends = turn_ends(call, start_ms)
    gaps, inside = lay_over(row, ends)

    call = await open_session(bench, row, "voice", LONG_REPLY)
    call.do("text_message", message="Tell me a story.")
    await call.quiet(BEFORE_MS)
    start_ms = await play(call, pcm)
    await call.quiet(500)
    duck_ms, stop_ms, ducks, stops = gave_way(row, call, start_ms)
    await call.end()
    return Played(row, gaps, inside, ends, duck_ms, stop_ms, ducks, stops)


def turn_ends(call: Call, start_ms: int) -> list[TurnEnd]:
    ends: list[TurnEnd] = []
    stopped = 0.0
    reasons = {d["turn"]: d["reason"] for d in call.recorder.of("decision") if d["what"] == "endpoint"}
    for event in call.events:
        if event["type"] == "speech.stopped":
            stopped = event["at_ms"] - start_ms
        elif event["type"] == "transcription" and event["final"]:
            reason = reasons[event["turn"]]
            if reason != "ended by the client":
                ends.append(TurnEnd(event["text"], stopped, event["_ms"] - start_ms, reason))
    return ends


def wish(row: Row, gap_ms: float) -> Wish:
    """What a gap of that clip should do to the turn."""
    if gap_ms > LONG_MS:
        return "end"
    if gap_ms < SHORT_MS:
        return "hold"
    if len(row.get("turns") or ()) == len(row["segments"]):
        return "end"
    return "hold" if row["kind"] == "pauses" else "either"


def lay_over(row: Row, ends: Sequence[TurnEnd]) -> tuple[list[Gap], list[TurnEnd]]:
    """Which turn ended in which gap, and which in the midst of speech."""
    segments = [(a * 1000, b * 1000) for a, b in row["segments"]]
    nexts = [*(start for start, _ in segments[1:]), float("inf")][: len(segments)]
    gaps, used = [], set()
    for (start, end), following in zip(segments, nexts, strict=True):
        edge = max(end - EDGE_MS, (start + end) / 2)
        here = [e for e in ends if edge <= e.speech_end_ms < following]
        used |= {e.decided_ms for e in here}
        kind: Wish = "end" if following == float("inf") else wish(row, following - end)
        gaps.append(Gap(row["file"], end, following, kind, here[0] if here else None))
    return gaps, [e for e in ends if e.decided_ms not in used]


def gave_way(row: Row, call: Call, start_ms: int) -> tuple[float | None, float | None, int, int]:
    """When the reply paused and stopped for the clip's speech, and how often for something else."""
    ducks = [e["_ms"] - start_ms for e in call.of("duck")]
    stops = [e["_ms"] - start_ms for e in call.of("interrupted")]
    if not row["segments"]:
        return None, None, len(ducks), len(stops)
    onset_ms = row["segments"][0][0] * 1000
    early = [d for d in ducks if d < onset_ms]
    if not stops:
        return None, None, len(early), 0
    first = next(d for d in ducks if d >= onset_ms)
    return first - onset_ms, stops[0] - onset_ms, len(early), sum(s < onset_ms for s in stops)


# -- printing -------------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> str:
    """Median, 90th percentile, worst."""
    if len(values) < 2:
        return " / ".join(f"{v:.0f}" for v in values) or "-"
    ninth = statistics.quantiles(values, n=10, method="inclusive")[8]
    return f"{statistics.median(values):.0f} / {ninth:.0f} / {max(values):.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print("|", " | ".join(head), "|")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("|", " | ".join(str(cell) for cell in row), "|")
    print()


def print_gaps(played: Sequence[Played]) -> None:
    rows: list[Sequence[object]] = []
    for one in played:
        for gap in one.gaps:
            ended = ("yes" if gap.ended else "no") + ("" if gap.is_right else " **wrong**")
            delay = f"{gap.delay_ms:.0f}" if gap.ended else ""
            rows.append(
                (gap.clip, gap.length_s, gap.wish, ended, delay, gap.ended.reason if gap.ended else "")
            )
        for end in one.inside:
            where = f"at {end.speech_end_ms / 1000:.2f} s"
            rows.append((one.row["file"], where, "hold", "yes **wrong**", "", end.reason))
    head = ("clip", "gap s", "should the turn end?", "did it?", "after the last sound, ms", "reason given")
    table(head, rows)


def print_barge_in(played: Sequence[Played]) -> None:
    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}"

    head = ("clip", "paused after ms", "stopped after ms", "paused for no speech", "stopped for no speech")
    table(head, [(p.row["file"], ms(p.duck_ms), ms(p.stop_ms), p.false_ducks, p.false_stops) for p in played])


def sums(played: Sequence[Played]) -> list[tuple[str, str]]:
    gaps = [gap for one in played for gap in one.gaps]
    inner, last = [g for g in gaps if not g.is_last], [g for g in gaps if g.is_last]
    hold, end = [g for g in inner if g.wish == "hold"], [g for g in inner if g.wish == "end"]
    either = [g for g in inner if g.wish == "either"]
    cut = [g for g in hold if g.ended]
    speech = [p for p in played if p.gaps]

    def ended(some: Sequence[Gap]) -> str:
        return f"{sum(g.ended is not None for g in some)} of {len(some)}"

    return [
        ("pauses in which the speaker goes on: cut", ended(hold)),
        ("their lengths, s", ", ".join(g.length_s for g in cut) or "-"),
        ("turns ended in the midst of speech", str(sum(len(p.inside) for p in speech))),
        ("pauses that end a turn: ended", ended(end)),
        ("pauses that may do either: ended", ended(either)),
        ("ends of clips: ended", ended(last)),
        ("turns made of no speech", str(sum(len(p.turns) for p in played if not p.gaps))),
        ("last sound to decision, ms", spread([g.delay_ms for g in gaps if g.ended])),
        ("onset to pause of a reply, ms", spread([p.duck_ms for p in played if p.duck_ms is not None])),
        ("onset to its end, ms", spread([p.stop_ms for p in played if p.stop_ms is not None])),
        ("replies not interrupted by speech", str(sum(p.stop_ms is None for p in speech))),
        ("replies paused, stopped by no speech", f"{_all(played, 0)}, {_all(played, 1)}"),
    ]


def _all(played: Sequence[Played], which: int) -> int:
    return sum((p.false_ducks, p.false_stops)[which] for p in played)


def changed(text: str) -> dict[str, int]:
    """ "stop_ms=400 start_ms=120" as `Timing` fields."""
    fields = {key: int(value) for key, value in (part.split("=", 1) for part in text.split())}
    replace(Timing(), **fields)  # type: ignore[arg-type]  # unknown names fail here
    return fields


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", nargs="*", help="only these, without .wav")
    parser.add_argument("--try", dest="trials", type=changed, action="append", default=[], metavar="FIELDS")
    parser.add_argument("--vad", type=json.loads, default={}, help='[vad.webrtc] as JSON: {"mode": 3}')
    parser.add_argument("--text-ms", type=int, default=40, help="from a pause to its text (default 40)")
    parser.add_argument("--cache", type=Path, help="keep what was recognized in this file")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    rows: list[Row] = json.loads((args.folder / "manifest.json").read_text())
    rows = [row for row in rows if not args.clips or Path(row["file"]).stem in args.clips]
    detector = plugins.build("vad", "webrtc", args.vad, Env())
    asyncio.run(detector.warm())
    ear = Ear(Memory(args.cache), args.text_ms)
    columns: list[list[tuple[str, str]]] = []
    for fields in args.trials or [{}]:
        timing = replace(Timing(), **fields)
        bench = Bench(args.folder, ear, detector, timing)
        played = [run(listen(bench, row)) for row in rows]
        ear.memory.save()
        if not args.trials:
            print_gaps(played)
            print_barge_in(played)
        columns.append(sums(played))
    names = [" ".join(f"{k}={v}" for k, v in fields.items()) or "default" for fields in args.trials or [{}]]
    lines = zip(*columns, strict=True)
    table(("", *names), [(cells[0][0], *(value for _, value in cells)) for cells in lines])


if __name__ == "__main__":
    main()
