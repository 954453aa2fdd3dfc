"""`python -m bench`: what Parley costs and how much time it adds, with providers of known delays.

    python -m bench                              everything, about ten minutes
    python -m bench --only load --levels 1,100   just that
    python -m bench --seconds 60                 longer windows, steadier numbers

The server runs on one core, the load client on another. Prints Markdown; bench/README.md explains it.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bench import startup
from bench.level import PLAIN, ZERO, cores, measure, median, percentile
from bench.load import Load
from bench.served import SERVE

LEVELS = (1, 10, 50, 100, 150)
PARTS = ("start", "single", "load", "idle")


def say(line: str = "") -> None:
    print(line, flush=True)


def table(*head: str) -> None:
    say("| " + " | ".join(head) + " |")
    say("|" + " --- |" * len(head))


def row(*cells: object) -> None:
    say("| " + " | ".join(str(c) for c in cells) + " |")


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range, or – for nothing."""
    if not values:
        return "–"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def tails(values: Sequence[float], digits: int = 0) -> str:
    """Median / 99th percentile."""
    return f"{median(values):.{digits}f} / {percentile(values, 0.99):.{digits}f}" if values else "–"


def start(seconds: float) -> None:
    del seconds
    found = startup.measure()
    say("## From nothing to the first word (embedded default)\n")
    table("import", "ready", "first answer after", "second session's", "server", "its engines")
    row(
        f"{found.import_s:.2f} s",
        f"{found.ready_s:.2f} s",
        f"{found.answered_s * 1000:.0f} ms",
        f"{found.again_s * 1000:.0f} ms",
        f"{found.server_mib:.0f} MiB",
        f"{found.engines_mib:.0f} MiB",
    )


def single(seconds: float) -> None:
    """One caller: latency without load."""
    say("## One caller (ms: median, range)\n")
    table(
        "configuration",
        "turns",
        "voice to voice",
        "server's own",
        "VAD tail",
        "duck",
        "interrupted",
        "failures",
    )
    base = Load(port=0, sessions=1, seconds=max(seconds, 30) * 4, spread_s=0)
    one("as peers (500 ms, one after the other)", replace(base, turns=4, speculate=False), PLAIN)
    zero = replace(base, turns=4, speculate=False, work_ms=0.0)
    one("the same, providers without delay", zero, PLAIN | ZERO)
    one("default (thinks ahead)", replace(base, turns=4), {})
    barge = replace(base, seconds=40.0, barge_every=1)
    one("default, every reply talked over", barge, {})
    quick = {"PARLEY_TURN__BARGE_IN_MS": "200"}
    one("barge_in_ms = 200, every reply talked over", barge, quick)


def one(name: str, load: Load, settings: dict[str, str]) -> None:
    found = measure(load, settings)
    row(
        name,
        found.turns,
        spread(found.voice_to_voice),
        spread(found.own, 1),
        spread(found.tail),
        spread(found.duck),
        spread(found.interrupted),
        found.failures() or "none",
    )


def load(seconds: float, levels: Sequence[int], reports: bool) -> None:
    """Talking sessions, more and more."""
    say("## Talking sessions on one core (default configuration)\n")
    table(
        "N",
        "voice to voice ms, median / p99",
        "server's own ms",
        "turns",
        "failures",
        "CPU ms per session-second",
        "of it the loop",
        "server's share of its core",
        "others' share",
        "client late p99 ms",
        "KiB per session",
    )
    for sessions in levels:
        window = seconds if sessions > 1 else max(seconds, 40.0)
        found = measure(Load(port=0, sessions=sessions, seconds=window, reports=reports), {})
        row(
            sessions,
            tails(found.voice_to_voice),
            tails(found.own, 1),
            found.turns,
            found.failures() or "none",
            f"{found.cpu_ms:.2f}",
            f"{found.loop_ms:.2f}",
            f"{found.busy:.2f}",
            f"{found.neighbour:.2f}",
            f"{found.client_late_p99_ms:.1f}",
            f"{found.rss_kib:.0f}",
        )


def idle(seconds: float) -> None:
    """Sessions in which nobody says anything."""
    say("## Quiet sessions\n")
    table(
        "what", "N", "CPU ms per session-second", "others' share of the core", "KiB per session", "failures"
    )
    for name, sessions, window, command in (
        ("connected, microphone off", 200, 0.0, SERVE),
        ("microphone on, silence", 100, seconds / 2, SERVE),
        ("floor: a server that throws everything away", 100, seconds / 2, ("bench.floor",)),
    ):
        plan = Load(port=0, sessions=sessions, seconds=window, talk=False, spread_s=sessions / 100)
        found = measure(plan, {}, command)
        cpu = f"{found.cpu_ms:.2f}" if window else "–"
        others = f"{found.neighbour:.2f}" if window else "–"
        row(name, sessions, cpu, others, f"{found.rss_kib:.0f}", found.failures() or "none")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What Parley costs.")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part (may be repeated)")
    parser.add_argument("--levels", default=",".join(map(str, LEVELS)), help="numbers of sessions")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time of a level")
    parser.add_argument("--reports", action="store_true", help="callers report play-out as the page does")
    args = parser.parse_args()
    levels = [int(n) for n in args.levels.split(",")]
    parts: dict[str, Callable[[float], None]] = {
        "start": start,
        "single": single,
        "load": lambda seconds: load(seconds, levels, args.reports),
        "idle": idle,
    }
    server, client = cores()
    where = f"server on core {server}, client on core {client}" if server >= 0 else "one core for everything"
    say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {where}, load {os.getloadavg()[0]:.1f} before\n")
    for part in args.only or PARTS:
        parts[part](args.seconds)
        say()
    say(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
