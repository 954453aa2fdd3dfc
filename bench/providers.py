"""`python -m bench.providers`: what each vendor's plug-in adds, and what its package costs.

Every plug-in runs against its fake on a local port (tests/support/vendors), which answers at once: the time
to the first piece is then the package's, ours and the fake's own, and nothing of the vendor's. What a
package costs at import is measured in a process of its own. Prints Markdown: docs/plugins/measured.md.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.level import median, percentile
from pipeline.contracts import Message, Prompt, SpeechRequest
from tests.support import llm_cases, stt_cases, tts_cases
from tests.support.speech import clip
from tests.support.vendors.case import VendorCase
from tests.support.vendors.place import KEY

VENDORS: Mapping[str, Mapping[str, VendorCase]] = {
    "stt": stt_cases.VENDORS,
    "llm": llm_cases.VENDORS,
    "tts": tts_cases.VENDORS,
}
SUITES = ("conformance", "troubles")
UNTIL = {
    "stt": "end of speech to final text",
    "llm": "request to first token",
    "tts": "request to first sound",
}
ROOT = Path(__file__).parents[1]


async def first_piece_ms(kind: str, case: VendorCase, rounds: int) -> list[float]:
    """Milliseconds from asking to the first piece (stt: from `finish` to the final), over a warm engine."""
    async with case.open() as (engine, _):
        await one(kind, engine)
        if hasattr(engine, "prepare"):
            engine.prepare()
        await asyncio.sleep(0.2)
        return [await one(kind, engine) for _ in range(rounds)]


async def one(kind: str, engine: Any) -> float:
    if kind == "stt":
        return await one_utterance(engine)
    request = (
        engine.tokens(Prompt((Message("user", "hello"),)))
        if kind == "llm"
        else engine.speak(SpeechRequest("Good morning."))
    )
    began, first = time.perf_counter(), 0.0
    async for piece in request:
        if not first and isinstance(piece, bytes | str):
            first = time.perf_counter()
    return (first - began) * 1000


async def one_utterance(engine: Any) -> float:
    speech = clip("goforward.wav")[: 2400 * 32]
    utterance = engine.open()
    reading = asyncio.create_task(last_of(utterance))
    for at in range(0, len(speech), 3200):
        utterance.feed(speech[at : at + 3200])
        await asyncio.sleep(0.002)  # all of it is there before the end is asked for, as in a talk
    began = time.perf_counter()
    utterance.finish(180)
    ended = await reading
    await utterance.aclose()
    return (ended - began) * 1000


async def last_of(utterance: Any) -> float:
    async for transcript in utterance.transcripts():
        if transcript.final:
            return time.perf_counter()
    raise AssertionError("no final transcript")


IMPORT = """
import asyncio, resource, sys, time
from pipeline import plugins
from pipeline.contracts import Env
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
async def main():
    engine = plugins.build({kind!r}, {plugin!r}, {options!r}, Env({{{variable!r}: {key!r}}}))
    began, before = time.perf_counter(), rss()
    await engine.warm()
    print(time.perf_counter() - began, rss() - before)
    await engine.aclose()
asyncio.run(main())
"""


def warm_cost(case: VendorCase, runs: int) -> tuple[float, float]:
    """Seconds and MiB that loading the plug-in's package takes, in a process of its own: medians."""
    values = {**case.options(_Nowhere()), **case.more}
    code = IMPORT.format(
        kind=case.kind, plugin=case.plugin, options=dict(values), variable=case.variable, key=KEY
    )
    found = []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        found.append([float(n) for n in done.stdout.split()])
    return median([s for s, _ in found]), median([m for _, m in found])


def output_of(code: str) -> list[str]:
    """The words that a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


class _Nowhere:
    """A place where no vendor listens."""

    url, ws_url = "http://127.0.0.1:9", "ws://127.0.0.1:9"


def start_up() -> tuple[float, float, list[str]]:
    """Seconds and MiB of importing the server, and which vendors' packages came along (none should)."""
    code = (
        "import sys, time; t = time.perf_counter(); import server.app; d = time.perf_counter() - t\n"
        "m = int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20\n"
        "names = 'openai anthropic google.genai google.generativeai assemblyai elevenlabs'.split()\n"
        "print(d, m, *(n for n in names if n in sys.modules))"
    )
    seconds, mib, *found = output_of(code)
    return float(seconds), float(mib), found


def passed_cases(kind: str) -> Counter[str]:
    """How many cases of the common suites each plug-in passes, by the name of its case."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        files = [f"tests/plugins/test_{kind}_{suite}.py" for suite in SUITES]
        command = [sys.executable, "-m", "pytest", "-q", *files, f"--junitxml={report}"]
        subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
        tree = ElementTree.parse(report)
    count: Counter[str] = Counter()
    for test in tree.iter("testcase"):
        inside = re.search(r"\[(.*)\]$", test.get("name") or "")
        if len(test):  # it failed, or was skipped
            print("not passed:", test.get("name"), file=sys.stderr)
        elif inside:
            count[case_in(inside.group(1), VENDORS[kind])] += 1
    return count


def case_in(parameters: str, names: Iterable[str]) -> str:
    """Whose case a test's parameters name; of several that fit the longest."""
    fits = [n for n in names if f"-{n}-" in f"-{parameters}-"]
    return max(fits, key=len, default="")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.providers", description=__doc__)
    parser.add_argument("--only", choices=[*VENDORS], help="this kind alone")
    parser.add_argument("--rounds", type=int, default=100, help="requests to each plug-in")
    parser.add_argument("--runs", type=int, default=3, help="processes in which each package is loaded")
    parser.add_argument("--no-tests", action="store_true", help="don't count the cases that pass")
    given = parser.parse_args(arguments)
    seconds, mib, found = start_up()
    packages = ", ".join(found) or "none"
    print(f"Importing the server: {seconds:.2f} s, {mib:.0f} MiB; vendors' packages among it: {packages}.\n")
    for kind, cases in VENDORS.items():
        if given.only not in (None, kind):
            continue
        passed = Counter() if given.no_tests else passed_cases(kind)
        print(f"## {kind}: {UNTIL[kind]}\n")
        print("| plug-in | median ms | p99 ms | package loads in | memory | cases passed |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, case in cases.items():
            times = asyncio.run(first_piece_ms(kind, case, given.rounds))
            load_s, load_mib = warm_cost(case, given.runs)
            print(f"| {name} | {median(times):.1f} | {percentile(times, 0.99):.1f} | {load_s:.2f} s "
                  f"| {load_mib:.0f} MiB | {passed[name] or ''} |", flush=True)  # fmt: skip
        print()


if __name__ == "__main__":
    main()
