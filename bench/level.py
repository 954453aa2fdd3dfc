"""One measurement: a fresh server on one core, a load client on another, and what came of it."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.load import Load
from bench.served import ROOT, SERVE, Cpu, Served

PROFILE = {
    "PARLEY_STT__PLUGIN": ["scripted"],
    "PARLEY_LLM__PLUGIN": ["scripted"],
    "PARLEY_TTS__PLUGIN": ["scripted"],
    "PARLEY_PIPELINE__GREETING": "",
    "PARLEY_SERVER__MAX_SESSIONS": "5000",
}
"""The scripted defaults are the profile: STT 100 ms, LLM 200 + 10 a token, TTS 100 ms and 4 x real time."""
ZERO = {
    "PARLEY_STT__SCRIPTED__FINAL_MS": "0",
    "PARLEY_LLM__SCRIPTED__FIRST_TOKEN_MS": "0",
    "PARLEY_LLM__SCRIPTED__TOKEN_MS": "0",
    "PARLEY_TTS__SCRIPTED__FIRST_BYTE_MS": "0",
}
PLAIN = {
    "PARLEY_TURN__SPECULATE": "false",
    "PARLEY_TURN__MIN_SILENCE_MS": "500",
    "PARLEY_TURN__MAX_SILENCE_MS": "500",
}
"""As the other frameworks were measured: half a second of silence, then everything one after the other."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one level showed. Times in ms; lists are of single turns."""

    sessions: int
    seconds: float
    voice_to_voice: list[float]
    own: list[float]
    tail: list[float]
    duck: list[float]
    interrupted: list[float]
    speculated: int
    turns: int
    missed: int
    cut: int
    underruns: int
    stale: int
    false_ducks: int
    errors: int
    lost: int
    cpu_ms: float
    """Of the whole server, per session and second."""
    loop_ms: float
    """Of its event loop's thread."""
    busy: float
    """Share of its core that the server used,"""
    neighbour: float
    """and others."""
    client_cpu: float
    client_late_p99_ms: float
    rss_kib: float
    """Memory that the sessions have taken, per session."""

    def failures(self) -> str:
        """What no user should meet."""
        bad = {
            "missed": self.missed,
            "cut": self.cut,
            "underruns": self.underruns,
            "stale": self.stale,
            "false ducks": self.false_ducks,
            "errors": self.errors,
            "lost": self.lost,
        }
        return ", ".join(f"{count} {what}" for what, count in bad.items() if count)


def cores() -> tuple[int, int]:
    """One core for the server, another for the client; -1 where there are not two."""
    there = sorted(os.sched_getaffinity(0))
    return (there[-1], there[0]) if len(there) > 1 else (-1, -1)


def measure(load: Load, settings: Mapping[str, object], command: Sequence[str] = SERVE) -> Outcome:
    """Run one level. `load.port` and `load.core` are filled in here."""
    server_core, client_core = cores()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        Served(Path(name), {**PROFILE, **settings}, server_core, command) as server,
    ):
        return watch(server, replace(load, port=server.port, core=client_core))


def watch(server: Served, load: Load) -> Outcome:
    before = server.memory_kib()["rss"]
    said: dict[str, dict[str, Any]] = {}
    used: dict[str, Cpu] = {}
    after = before
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load", json.dumps(asdict(load))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as client:
        assert client.stdout is not None
        for line in client.stdout:
            message = json.loads(line)
            said[message["kind"]] = message
            if message["kind"] != "result":
                used[message["kind"]] = server.cpu()
                after = server.memory_kib()["rss"]
    if client.returncode or "result" not in said:
        raise RuntimeError("the load client failed")
    return _outcome(load, said, used["steady"], used["done"], (after - before) / load.sessions)


def _outcome(
    load: Load, said: Mapping[str, Mapping[str, Any]], first: Cpu, last: Cpu, rss_kib: float
) -> Outcome:
    result, done = said["result"], said["done"]
    turns: list[dict[str, Any]] = result["turns"]
    answered = [t for t in turns if t["answered_at"] is not None]
    talked = load.sessions * max(0.001, done["seconds"])
    wall_ms = max(1.0, (last.at_s - first.at_s) * 1000)
    total_ms = last.total - first.total
    return Outcome(
        sessions=load.sessions,
        seconds=done["seconds"],
        voice_to_voice=[(t["answered_at"] - t["spoken_at"]) * 1000 for t in answered],
        own=[t["own_ms"] for t in answered if t["own_ms"] is not None],
        tail=[(t["end_frame"] - t["last_frame"] - 1) * 20.0 for t in answered if t["end_frame"]],
        duck=_since_onset(turns, "duck_at"),
        interrupted=_since_onset(turns, "interrupted_at"),
        speculated=sum(t["speculated"] for t in answered),
        turns=len(turns),
        missed=len(turns) - len(answered),
        cut=sum(t["cut"] for t in turns),
        underruns=result["underruns"],
        stale=result["stale"],
        false_ducks=result["false_ducks"],
        errors=result["errors"],
        lost=result["lost"],
        cpu_ms=total_ms / talked,
        loop_ms=(last.loop - first.loop) / talked,
        busy=total_ms / wall_ms,
        neighbour=max(0.0, (last.core - first.core - total_ms) / wall_ms),
        client_cpu=done["cpu"],
        client_late_p99_ms=result["late_p99_ms"],
        rss_kib=rss_kib,
    )


def _since_onset(turns: Sequence[Mapping[str, Any]], what: str) -> list[float]:
    return [(t[what] - t["barged_at"]) * 1000 for t in turns if t[what] and t["barged_at"]]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
