"""The load client: many callers in one process, on a core of its own.

    python -m bench.load '{"port": 8000, "sessions": 10, "seconds": 20}'

Prints one JSON line when all callers talk ("steady"), one when the measured time is over ("done"), and one
with what they found ("result"). `bench.level` starts it and watches the server meanwhile.
"""

import asyncio
import gc
import json
import os
import resource
import sys
import time
from array import array
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from bench.caller import PATIENCE_S, Caller, Plan
from bench.speech import load_speech
from pipeline.core.endpoint import Timing

CYCLE_S = 16.0
"""About how long a sentence, its reply and the pause after it last: callers begin spread over it, so that
they never talk in step."""


@dataclass(frozen=True, slots=True)
class Load:
    """One level. `core` < 0 leaves the process where it is."""

    port: int
    sessions: int
    seconds: float
    core: int = -1
    talk: bool = True
    barge_every: int = 0
    reports: bool = False
    work_ms: float = 390.0
    speculate: bool = True
    spread_s: float = CYCLE_S
    settle_s: float = 4.0
    """From the last caller's first frame to the measured time."""
    turns: int = 0
    """End as soon as the only caller has been answered that often."""
    start: dict[str, Any] = field(default_factory=dict)


def say(kind: str, **more: Any) -> None:
    print(json.dumps({"kind": kind, **more}), flush=True)


async def run(load: Load, plan: Plan) -> None:
    lateness: array[float] = array("d")
    callers = await _ring_up(load, plan, lateness)
    await asyncio.sleep(load.settle_s)
    del lateness[:]
    say("steady")
    began, began_cpu = time.monotonic(), time.process_time()
    while (left := began + load.seconds - time.monotonic()) > 0:
        await asyncio.sleep(min(0.2, left))
        if load.turns and sum(t.ended for c in callers for t in c.turns) >= load.turns:
            break
    until = time.monotonic()
    say("done", cpu=(time.process_time() - began_cpu) / (until - began), seconds=until - began)
    late = sorted(lateness)
    if load.talk:
        await asyncio.sleep(PATIENCE_S)
    say(
        "result",
        turns=[asdict(t) for c in callers for t in c.turns if began <= t.spoken_at < until - 0.1],
        underruns=sum(c.underruns for c in callers),
        stale=sum(c.stale for c in callers),
        false_ducks=sum(c.false_ducks for c in callers),
        errors=sum(c.errors for c in callers),
        lost=sum(c.lost for c in callers),
        late_p99_ms=late[int(len(late) * 0.99)] * 1000 if late else 0.0,
        late_max_ms=late[-1] * 1000 if late else 0.0,
    )
    for caller in callers:
        caller.close()


async def _ring_up(load: Load, plan: Plan, lateness: "array[float]") -> list[Caller]:
    """Connect everybody, spread over a cycle."""
    loop, callers = asyncio.get_running_loop(), []
    host = f"127.0.0.1:{load.port}"
    began = time.monotonic()
    for number in range(load.sessions):
        await asyncio.sleep(max(0.0, began + number * load.spread_s / load.sessions - time.monotonic()))
        caller = Caller(plan, host, number, lateness)
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", load.port)  # type: ignore[misc]
        await asyncio.wait_for(caller.connected, 20)
        callers.append(caller)
        if load.seconds:
            caller.begin()
    return callers


def main() -> None:
    load = Load(**json.loads(sys.argv[1]))
    if load.core >= 0:
        os.sched_setaffinity(0, {load.core})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft < load.sessions + 50 else soft, hard))
    speech = load_speech()
    frames = speech.guess_frames(Timing(speculate=load.speculate))
    plan = Plan(speech, load.barge_every, load.reports, load.talk, load.work_ms, frames, load.start)
    gc.collect()
    gc.freeze()  # a collection in the middle of a run would look like the server's delay
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(load, plan))


if __name__ == "__main__":
    main()
