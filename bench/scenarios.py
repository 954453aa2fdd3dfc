"""Ten callers ring the appointment desk: does each get what they came for?

    python -m bench.scenarios [--only NAME ...] [--voice VOICE] [--at-once 2] [--keep FOLDER]

Every caller is a synthetic voice at a running server with the embedded default (PocketSphinx, rules,
eSpeak), over
`/ws/voice`, in real time. A caller listens to the end, answers what was asked, says no to what is wrong, and
gives up after a while. Whether it went well is read from the database, never from what was said.

Voices: "flite:slt" and the like where the program flite is installed (Debian has it), else eSpeak's. Prints
Markdown.
"""

import argparse
import asyncio
import json
import re
import shutil
import sqlite3
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from pipeline import plugins
from pipeline.contracts import Env, SpeechRequest
from pipeline.core.audio import read_wav
from pipeline.questions import asked_for
from pipeline.slots import slots_of
from pipeline.when import read_date, read_time
from tests.support.caller import Caller
from tests.support.live import LiveServer

SETTLES_S = 8.0
"""Nobody rings in the second in which a server starts: it has models to make."""
PATIENCE = 14
"""Turns after which a caller hangs up."""
LISTENS_S = 25.0
RATE_HZ = 16_000
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = ("flite:slt", "flite:awb", "flite:rms", "flite:kal16", "espeak:en-us+f3", "espeak:en-us+m3")
PEAK = 0.35
"""How loud a caller is, of full scale; there is a little noise on the line as well."""
NOISE = 0.001

Row = tuple[str, str, str, str]
"""Phone, date, time, status."""


@dataclass(frozen=True)
class Scenario:
    """What a caller wants. Days are counted in business days from today."""

    name: str
    opening: str
    phone: str
    day: int = 1
    time: str = ""
    """The start that is wanted, "HH:MM"."""
    known_at: tuple[int, str] | None = None
    """An appointment that the caller has already: business day, time."""
    also_taken: tuple[tuple[int, str], ...] = ()
    says_first: str = ""
    """A day that is said before the right one, and cannot be had."""
    misspeaks: str = ""
    """A wrong phone number said first, to be corrected."""
    caller_name: str = "Anna"
    books: bool = False
    cancels: bool = False
    """The known appointment is gone at the end."""
    hears: tuple[str, ...] = ()
    """What the agent must have said."""
    accepts_other: bool = False
    """Takes the first time that is offered when the wanted one is taken."""


SCENARIOS = (
    Scenario(
        "new user books, step by step",
        "I would like to book an appointment",
        "5551234567",
        2,
        "10:00",
        books=True,
    ),
    Scenario(
        "new user books in one sentence",
        "Hello, I'd like an appointment {when}",
        "2065550143",
        1,
        "14:00",
        books=True,
    ),
    Scenario(
        "availability, then booking", "What is free on {weekday}?", "4155550199", 3, "09:00", books=True
    ),
    Scenario(
        "returning user looks up",
        "What appointments do I have?",
        "3125550187",
        known_at=(2, "11:00"),
        hears=("one appointment", "11 AM"),
    ),
    Scenario(
        "returning user moves",
        "I would like to move my appointment",
        "6175550122",
        4,
        "13:00",
        known_at=(2, "12:00"),
        books=True,
        cancels=True,
    ),
    Scenario(
        "returning user cancels",
        "Please cancel my appointment",
        "7135550166",
        known_at=(3, "15:00"),
        cancels=True,
    ),
    Scenario(
        "the slot is taken",
        "I need an appointment {when}",
        "9715550138",
        1,
        "10:00",
        also_taken=((1, "10:00"),),
        books=True,
        accepts_other=True,
    ),
    Scenario(
        "a weekend first",
        "I want to book an appointment",
        "8085550174",
        2,
        "09:00",
        says_first="saturday",
        books=True,
    ),
    Scenario(
        "a wrong number, corrected",
        "Can I make an appointment?",
        "5035550191",
        3,
        "11:00",
        misspeaks="5035550119",
        books=True,
    ),
    Scenario("only asks what is free", "What times are free {weekday}?", "2125550155", 4, hears=("I have",)),
)


@dataclass
class Outcome:
    """What came of a call."""

    scenario: Scenario
    voice: str
    success: bool = False
    why: str = ""
    turns: int = 0
    corrections: int = 0
    """Times the caller had to say no."""
    seconds: float = 0.0
    lines: list[tuple[str, str]] = field(default_factory=list)
    session_id: str = ""


# -- voices -----------------------------------------------------------------------------------------------


async def speak(voice: str, text: str, pace: float = 1.0) -> bytes:
    """s16le mono 16 kHz, with a breath before and after. `pace` below 1 is slower."""
    kind, _, name = voice.partition(":")
    if kind == "flite" and shutil.which("flite"):
        pcm, rate_hz = await asyncio.to_thread(_flite, name, text, pace)
    else:
        pcm, rate_hz = await _espeak(name if kind == "espeak" else "en-us+f3", text, pace)
    sound = soxr.resample(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768, rate_hz, RATE_HZ)
    sound = sound * (PEAK / max(1e-6, float(np.abs(sound).max())))
    sound = np.concatenate([np.zeros(RATE_HZ // 5), sound, np.zeros(RATE_HZ // 10)])
    sound = sound + np.random.default_rng(len(sound)).normal(0, NOISE, len(sound))
    return bytes((sound * 32767).astype("<i2").tobytes())


def _flite(name: str, text: str, pace: float) -> tuple[bytes, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.wav"
        subprocess.run(
            [
                "flite",
                "-voice",
                name,
                "--setf",
                f"duration_stretch={1 / pace:g}",
                "-t",
                text,
                "-o",
                str(path),
            ],
            check=True,
        )
        return read_wav(path.read_bytes())


async def _espeak(name: str, text: str, pace: float) -> tuple[bytes, int]:
    engine = plugins.build("tts", "espeak", {}, Env())
    await engine.warm()
    try:
        pieces = engine.speak(SpeechRequest(text, voice=name, speed=0.9 * pace))
        return b"".join([piece async for piece in pieces if isinstance(piece, bytes)]), engine.rate_hz
    finally:
        await engine.aclose()


# -- the person -------------------------------------------------------------------------------------------


class Person:
    """Answers what is asked, and says no to what is wrong."""

    def __init__(self, scenario: Scenario, today: date) -> None:
        self.scenario = scenario
        self.day = business_day(today, scenario.day)
        self.today = today
        self._first_day = scenario.says_first
        self._misspoken = scenario.misspeaks
        self.corrections = 0
        self.done = False
        self._reached = False
        self._last = ""

    def opening(self) -> str:
        self._last = self.scenario.opening.format(when=self.when(), weekday=f"{self.day:%A}")
        return self._last

    def when(self) -> str:
        return f"on {self.day:%A} at {_clock(self.scenario.time)}"

    def answer(self, reply: str) -> str:
        """What to say to that."""
        said = self._answer(reply)
        self._last = said
        return said

    def _answer(self, reply: str) -> str:
        scenario, kind, low = self.scenario, asked_for(reply, "en"), reply.lower()
        self._reached |= any(text in low for text in ("you're booked", "is now on", "is cancelled"))
        if "anything else" in low and (scenario.books or scenario.cancels) and not self._reached:
            return self.opening()  # it was understood as something else
        if "anything else" in low or "nice day" in low or "here to help" in low:
            self.done = True
            return "no thank you, goodbye"
        if kind == "digits":
            return self._number(low)
        if kind == "name":
            return f"my name is {scenario.caller_name}"
        if kind in ("date", "time"):
            if self._first_day:
                day, self._first_day = self._first_day, ""
                return f"on {day}"
            if "which one" in low and scenario.known_at:
                return f"the one on {business_day(self.today, scenario.known_at[0]):%A}"
            both = "day and time" in low
            if kind == "time" and not self._is_offered(low):
                offered = re.search(r"i have (\d+) [ap]m", low)
                return f"at {_clock(offered[1])}" if offered else "the first one"
            return (
                self.when()
                if both
                else f"on {self.day:%A}"
                if kind == "date"
                else f"at {_clock(scenario.time)}"
            )
        if kind == "yes_no":
            return self._agree(reply)
        return self._last  # not understood, or nothing was asked: once more

    def _is_offered(self, low: str) -> bool:
        """The wanted time, unless it was said to be taken and another will do."""
        return not (self.scenario.accepts_other and "not free" in low)

    def _number(self, low: str) -> str:
        number, self._misspoken = self._misspoken or self.scenario.phone, ""
        rest = re.search(r"other (\d+|one|two|three|four|five|six|seven|eight|nine) digit", low)
        if rest:
            count = int(rest[1]) if rest[1].isdecimal() else DIGITS.index(rest[1])
            return _spoken(number[-count:])
        return _spoken(number)

    def _agree(self, reply: str) -> str:
        """Yes, if what was read back is right."""
        scenario = self.scenario
        digits = re.sub(r"\D", "", " ".join(re.findall(r"(?:\d[ ,.]+){6,}\d?", reply + " ")))
        if digits and digits != scenario.phone:
            self.corrections += 1
            return f"no, it is {_spoken(scenario.phone)}"
        if "like to book" in reply:
            return f"yes, at {_clock(scenario.time)}" if scenario.books else "no thank you, goodbye"
        told = reply.split("instead of")[0]
        day, at = read_date(told, self.today), read_time(told)
        if "Shall I cancel" in reply:
            return "yes please" if scenario.cancels and not scenario.books else "no"
        if day and at and scenario.books:
            other = scenario.accepts_other and day == self.day
            if not other and (day, f"{at:%H:%M}") != (self.day, scenario.time):
                self.corrections += 1
                return f"no, {self.when()}"
        return "yes please"


def _clock(at: str) -> str:
    hour = int(at.partition(":")[0] or 9)
    return f"{(*DIGITS, 'ten', 'eleven', 'twelve')[hour if hour <= 12 else hour - 12]} o'clock"


def _spoken(number: str) -> str:
    """Digit by digit, in groups."""
    groups = [number[:3], number[3:6], number[6:]] if len(number) == 10 else [number]
    return ", ".join(" ".join(DIGITS[int(d)] for d in group) for group in groups if group)


def business_day(today: date, count: int) -> date:
    day = today
    while count:
        day += timedelta(days=1)
        count -= bool(slots_of(day))
    return day


# -- a call -----------------------------------------------------------------------------------------------


async def ring(server: LiveServer, scenario: Scenario, voice: str, today: date) -> Outcome:
    """One call from hello to goodbye."""
    outcome, person = Outcome(scenario, voice), Person(scenario, today)
    for day, at in scenario.also_taken:
        await asyncio.to_thread(_seed, server, "9998887777", business_day(today, day), at)
    if scenario.known_at:
        day_of = business_day(today, scenario.known_at[0])
        await asyncio.to_thread(_seed, server, scenario.phone, day_of, scenario.known_at[1])
    began = asyncio.get_running_loop().time()
    async with Caller.dialing(server.ws) as caller:
        outcome.session_id = caller.call.session_id
        await caller.hears("audio.end")
        await caller.is_idle()
        said = person.opening()
        for _ in range(PATIENCE):
            since = len(caller.moments)
            replies = len(caller.replies())
            await caller.pause(400)
            # Who has to say something again says it more slowly.
            before = [line for line, _ in outcome.lines]
            pace = max(0.7, 0.9 ** sum(line.startswith(f"{said}  [") for line in before))
            await caller.play(await speak(voice, said, pace))
            outcome.turns += 1
            reply = await _listen(caller, since, replies)
            heard = [
                m.data["text"]
                for m in caller.moments[since:]
                if m.type == "transcription" and m.data["final"]
            ]
            outcome.lines.append((f"{said}  [{' / '.join(heard)}]", reply))
            if person.done or any(m.type == "ended" for m in caller.moments):
                break
            said = person.answer(reply)
        if not any(m.type == "ended" for m in caller.moments):
            await caller.hang_up()
    outcome.seconds = asyncio.get_running_loop().time() - began
    outcome.corrections = person.corrections
    outcome.why = judge(server, person, outcome)
    outcome.success = not outcome.why
    return outcome


async def _listen(caller: Caller, since: int, replies: int) -> str:
    """Everything that the agent says now; "" when it stays silent."""
    clock = asyncio.get_running_loop().time
    give_up, quiet_since = clock() + LISTENS_S, 0.0
    while clock() < give_up:
        await asyncio.sleep(0.05)
        if any(m.type == "ended" for m in caller.moments):
            break
        # Somebody who heard the end waits a moment: there may be more.
        if len(caller.replies()) > replies and caller.call.player.is_idle and _is_over(caller, since):
            quiet_since = quiet_since or clock()
            if clock() - quiet_since > 0.6:
                break
        else:
            quiet_since = 0.0
    return " ".join(caller.replies()[replies:])


def _is_over(caller: Caller, since: int) -> bool:
    """Every reply that began has ended."""
    begun = [m for m in caller.moments[since:] if m.type == "response.begin"]
    ended = [m for m in caller.moments[since:] if m.type in ("audio.end", "interrupted")]
    return len(ended) >= len(begun)


def _seed(server: LiveServer, phone: str, day: date, at: str) -> None:
    body = json.dumps({"phone_number": phone, "name": "Anna", "date": day.isoformat(), "time": at}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/api/appointments", body, headers)
    with urllib.request.urlopen(request, timeout=20):
        pass


def judge(server: LiveServer, person: Person, outcome: Outcome) -> str:
    """What is wrong in the database; "" when the caller got what they came for, and nobody else anything."""
    scenario = person.scenario
    with sqlite3.connect(server.folder / "parley.db") as database:
        rows: list[Row] = database.execute("select phone, date, time, status from appointments").fetchall()
    others = {"9998887777"} | {scenario.phone}
    strange = [row for row in rows if row[0] not in others]
    own = [(row[1], row[2]) for row in rows if row[0] == scenario.phone and row[3] == "booked"]
    wanted = []
    if scenario.known_at and not scenario.cancels:
        wanted.append(
            (business_day(outcome_day(person), scenario.known_at[0]).isoformat(), scenario.known_at[1])
        )
    if strange:
        return f"booked for another number: {strange}"
    if scenario.accepts_other:
        fine = len(own) == 1 and own[0][0] == person.day.isoformat() and own[0][1] != scenario.time
        return "" if fine else f"has {own}"
    if scenario.books:
        wanted.append((person.day.isoformat(), scenario.time))
    if sorted(own) != sorted(wanted):
        return f"has {own}, wanted {wanted}"
    told = " ".join(reply for _, reply in outcome.lines)
    missing = [text for text in scenario.hears if text.lower() not in told.lower()]
    return f"was not told {missing}" if missing else ""


def outcome_day(person: Person) -> date:
    return person.today


# -- the whole ---------------------------------------------------------------------------------------------


async def run(
    scenarios: Sequence[Scenario], voices: Sequence[str], at_once: int, keep: Path | None
) -> list[Outcome]:
    """Each scenario at a server of its own, so that no caller takes another's slot."""
    gate, today = asyncio.Semaphore(at_once), datetime.now().date()
    outcomes: list[Outcome] = []

    async def one(number: int, scenario: Scenario) -> None:
        async with gate:
            with tempfile.TemporaryDirectory() as folder:
                server = await asyncio.to_thread(
                    LiveServer, Path(folder), {"PARLEY_STT__PLUGIN": '["pocketsphinx"]'}
                )
                try:
                    await asyncio.sleep(SETTLES_S)
                    outcome = await ring(server, scenario, voices[number % len(voices)], today)
                finally:
                    await asyncio.to_thread(server.stop)
                if keep is not None:
                    shutil.copytree(Path(folder) / "audio_files", keep / f"{number + 1}", dirs_exist_ok=True)
                    copied = keep / f"{number + 1}.json"
                    copied.write_bytes(next((Path(folder) / "conversations").glob("*.json")).read_bytes())
            outcomes.append(outcome)
            show(outcome)

    await asyncio.gather(*(one(number, scenario) for number, scenario in enumerate(scenarios)))
    return sorted(outcomes, key=lambda o: scenarios.index(o.scenario))


def show(outcome: Outcome) -> None:
    """How the call went, line by line."""
    print(
        f"\n### {outcome.scenario.name}, {outcome.voice}: {'no: ' + outcome.why if outcome.why else 'yes'}\n"
    )
    for said, reply in outcome.lines:
        print(f"- caller: {said}\n- agent: {reply}", flush=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes in Markdown."""
    rows = [
        "| caller wants | voice | got it | turns | said no | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for o in outcomes:
        got = "yes" if o.success else f"no: {o.why}"
        rows.append(
            f"| {o.scenario.name} | {o.voice} | {got} | {o.turns} | {o.corrections} | {o.seconds:.0f} |"
        )
    won = sum(o.success for o in outcomes)
    return "\n".join([*rows, "", f"{won} of {len(outcomes)} callers got what they came for."])


def main(print_: Callable[[Any], None] = print) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", help="part of a scenario's name")
    parser.add_argument("--voice", action="append", help="such as espeak:en-us+f3 or flite:slt")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="copy recordings and transcripts here")
    chosen = parser.parse_args()
    scenarios = [s for s in SCENARIOS if not chosen.only or any(part in s.name for part in chosen.only)]
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    outcomes = asyncio.run(run(scenarios, chosen.voice or VOICES, chosen.at_once, chosen.keep))
    print_("\n" + table(outcomes))


if __name__ == "__main__":
    main()
