"""`python -m bench.logins`: whether logins are heard in the talks.

The same talks twice: alone, and while 20 people a second log in, each of which costs the server an Argon2id
hash. The server has one core for everything, unless told otherwise.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx2

from bench.level import PLAIN, PROFILE, Outcome, cores, median, percentile, watch
from bench.load import Load
from bench.served import ROOT, Served

ACCOUNT = {"email": "ann@example.org", "password": "a long and odd sentence"}
SETTINGS = {**PROFILE, **PLAIN, "PARLEY_SERVER__TRUSTED_PROXIES": ["127.0.0.1"]}


async def hammer(port: int, per_second: float) -> None:
    """Log in that often until killed, each time as another browser from another address. Prints how many a
    second got in so far, and with what the others were answered."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        (await http.post("/api/auth/register", json=ACCOUNT)).raise_for_status()
    print("ready", flush=True)
    began, answers = time.monotonic(), Counter[str]()
    async with asyncio.TaskGroup() as group:
        for number in range(10**6):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            group.create_task(login(port, number, answers))
            if number % 20 == 19:
                others = "".join(f" {status}x{n}" for status, n in answers.items() if status != "200")
                print(f"{answers['200'] / (time.monotonic() - began):.1f}{others}", flush=True)


async def login(port: int, number: int, answers: Counter[str]) -> None:
    """One login, by hand: a client library would take more of the processor than the hash."""
    body = json.dumps(ACCOUNT)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    head = f"Host: 127.0.0.1:{port}\r\nX-Forwarded-For: {address}\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /api/auth/login HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
        f"Connection: close\r\n\r\n{body}".encode()
    )
    answer = await reader.read()
    answers[answer[9:12].decode()] += 1
    writer.close()


@contextlib.contextmanager
def logging_in(port: int, per_second: float) -> Iterator["list[str]"]:
    """Logins go on while the block runs; the list then holds how many a second got in."""
    rates: list[str] = []
    if not per_second:
        yield rates
        return
    command = [sys.executable, "-m", "bench.logins", "--hammer", str(port), "--logins", str(per_second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
        assert client.stdout is not None
        client.stdout.readline()
        try:
            yield rates
        finally:
            client.kill()
            rates += client.stdout.read().splitlines()[-1:]


def measure(
    sessions: int, seconds: float, per_second: float, *, all_cores: bool = False
) -> tuple[Outcome, str]:
    server_core, client_core = cores()
    if all_cores:
        server_core = -1
    load = Load(0, sessions, seconds, client_core, speculate=False)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        Served(Path(name), SETTINGS, server_core) as server,
        logging_in(server.port, per_second) as rates,
    ):
        outcome = watch(server, replace(load, port=server.port))
    return outcome, rates[0] if rates else "–"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.logins", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--logins", type=float, default=20.0, help="a second")
    parser.add_argument("--all-cores", action="store_true", help="the server is not kept on one")
    parser.add_argument("--hammer", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.hammer:
        asyncio.run(hammer(given.hammer, given.logins))
        return
    head = "logins a second", "turns", "the server's own, ms", "p99", "voice to voice, ms", "p99", "troubles"
    row(head)
    row(["---"] * len(head))
    for per_second in (0.0, given.logins):
        found, rate = measure(given.sessions, given.seconds, per_second, all_cores=given.all_cores)
        cells = [rate, found.turns]
        for times in (found.own, found.voice_to_voice):
            cells += [f"{median(times):.1f}", f"{percentile(times, 0.99):.1f}"]
        row([*cells, found.failures() or "none"])


def row(cells: Iterable[object]) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
