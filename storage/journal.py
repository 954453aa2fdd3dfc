"""The journal of a session: a JSON line `[at_ms, "kind", {...}]` per thing that happened, only ever appended.

It is the truth; the conversation JSON, the sound files and the rows are folded from it. This file owns the
format and the fold. It never touches sound and never writes.

    [0,"journal",{"version":1}]
    [0,"open",{"session_id":"…","start_time":"…", …}]
    [120,"message",{"n":1,"role":"assistant","content":"Hello!","type":"welcome"}]
    …
    [93110,"end",{"time":"…","reason":"client"}]

A machine that dies leaves a torn last line; a full disk can leave half a line in the middle. Readers skip
what they cannot read, count it, and go on: one bad line never costs the others.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from storage.ids import role_of, valid_sound_file
from storage.times import iso, parse

VERSION = 1
MAX_LINE_BYTES = 4 << 20  # a line longer than this is damage: no entry of ours comes near
SAMPLES_PER_MS = 16

# Facts that one summary may add to the conversation; everything else in it is derived elsewhere.
_DERIVED = frozenset(
    {"type", "session_id", "start_time", "end_time", "user_id", "agent_id", "config", "messages", "turns"}
    | {
        "cost_breakdown",
        "duration_seconds",
        "audio_files",
        "end_reason",
        "mode",
        "language",
        "transcript",
        "caller",
    }
)
_STAGES = ("stt", "llm", "tts")


class Entry(NamedTuple):
    """One line of a journal. `at_ms` is session time."""

    at_ms: int
    kind: str
    data: Mapping[str, Any]


class NewerJournal(ValueError):
    """Written by a later version of this program: left alone rather than misread."""


def encode(entry: Entry) -> bytes:
    """One line, with its end. What JSON cannot hold is written as text: a line is never lost for that."""
    line = json.dumps(tuple(entry), ensure_ascii=False, separators=(",", ":"), default=str)
    return line.encode("utf-8", "backslashreplace") + b"\n"


HEAD = encode(Entry(0, "journal", {"version": VERSION}))


def decode(line: bytes) -> Entry | None:
    """The entry in a line; None if it is damaged."""
    try:
        match json.loads(line):
            case [int() | float() as at_ms, str() as kind, dict() as data]:
                return Entry(int(at_ms), kind, data)
    except (ValueError, RecursionError, OverflowError):
        pass
    return None


@dataclass(slots=True)
class Reading:
    """What reading a journal came upon, beside its entries."""

    lines: int = 0
    damaged: int = 0
    torn: bool = False
    """The last line has no end: whoever appends next must start a new line."""


def read(path: Path, reading: Reading) -> Iterator[Entry]:
    """Yield a journal's entries in order, in small memory. Raises OSError, `NewerJournal`."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            reading.lines += 1
            reading.torn = not line.endswith(b"\n")
            entry = decode(line)
            if entry is None:
                reading.damaged += bool(line.strip())
            elif entry.kind != "journal":
                yield entry
            elif _version(entry) > VERSION:
                raise NewerJournal(f"{path.name} was written by a newer version of Parley")


def _version(entry: Entry) -> int:
    version = entry.data.get("version", VERSION)
    return version if isinstance(version, int) else VERSION


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a reply that was played: `count` samples from `offset`, from time line `position` on."""

    offset: int
    count: int
    position: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of the user's track that is a file of its own. Time line positions."""

    file: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Placed:
    """What was heard of a reply, and where on the time line."""

    reply_id: str
    file: str
    rate_hz: int
    runs: tuple[Run, ...]

    @property
    def start(self) -> int:
        return min(run.position for run in self.runs)

    @property
    def end(self) -> int:
        return max(run.position + -(-run.count * 16_000 // self.rate_hz) for run in self.runs)

    @property
    def samples(self) -> int:
        return sum(run.count for run in self.runs)


@dataclass(slots=True)
class Fold:
    """What a journal amounts to, kept up to date entry by entry. Never raises for what an entry says."""

    header: dict[str, Any] = field(default_factory=dict)
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    turns: dict[int, dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_STAGES, 0.0))
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The bill, a line for each request to a provider."""
    rows_of_requests: int = 0
    """How many of them somebody has made into rows."""
    summary: dict[str, Any] = field(default_factory=dict)
    utterances: dict[str, Utterance] = field(default_factory=dict)
    placed: dict[str, Placed] = field(default_factory=dict)
    """By reply id."""
    settled: set[str] = field(default_factory=set)
    """Replies that something is known about, be it that nothing of them was heard."""
    played_ms: dict[str, float] = field(default_factory=dict)
    """By reply id: the client's last report of how much it had played."""
    made: dict[str, float] = field(default_factory=dict)
    """By reply id: the samples of its whole sound, once all of it was made."""
    begun: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tool calls that have no result yet, by key."""
    caller: dict[str, Any] = field(default_factory=dict)
    """Who talks, as a tool has found out: `phone` and `name`."""
    ending: dict[str, Any] | None = None
    last_at_ms: int = 0
    changed_messages: set[int] = field(default_factory=set)
    """Numbers of messages added or amended since somebody last cleared this; turns likewise."""
    changed_turns: set[int] = field(default_factory=set)
    answered_ms: dict[int, int] = field(default_factory=dict)
    """By turn: when it was first told of, in session time."""

    def add(self, entry: Entry) -> None:
        """Take the next entry. Kinds that this fold does not know are only looked at for their time."""
        self.last_at_ms = max(self.last_at_ms, entry.at_ms)
        data = entry.data
        match entry.kind:
            case "open":
                self.header.update(data)
            case "owner":
                self.header.update({key: data[key] for key in ("user_id", "owner") if key in data})
            case "message":
                self._message(data)
            case "turn":
                self._turn(data, entry.at_ms)
            case "cost":
                self._cost(data, entry.at_ms)
            case "tool":
                self.begun[str(data.get("key"))] = dict(data)
            case "caller":
                self.caller = {key: str(data.get(key) or "") for key in ("phone", "name")}
            case "summary":
                self.summary.update(data)
            case "utterance":
                self._utterance(data)
            case "placed":
                self._placed(data)
            case "playback":
                _raise(self.played_ms, data.get("response_id"), data.get("played_ms"))
            case "made":
                _raise(self.made, data.get("response_id"), data.get("samples"))
            case "end":
                self.ending = dict(data)
            case "resume":
                self.ending = None  # somebody went on with a conversation that had been ended
            case _:
                pass

    def _message(self, data: Mapping[str, Any]) -> None:
        number = data.get("n")
        if not isinstance(number, int):
            number = max(self.messages, default=0) + 1
        message = self.messages.setdefault(number, {})
        self.begun.pop(str(data.get("key")), None)
        for key, value in data.items():
            if key == "n":
                continue
            if value is None and key not in ("result", "content"):
                message.pop(key, None)  # an amendment takes a key back by making it null
            else:
                message[key] = value
        self.changed_messages.add(number)

    def _turn(self, data: Mapping[str, Any], at_ms: int) -> None:
        number = data.get("turn")
        if isinstance(number, int):
            self.answered_ms.setdefault(number, at_ms)
            self.turns.setdefault(number, {}).update(data)
            self.changed_turns.add(number)

    def _cost(self, data: Mapping[str, Any], at_ms: int) -> None:
        stage, price = data.get("stage"), data.get("price")
        if isinstance(stage, str) and isinstance(price, int | float) and math.isfinite(price):
            self.costs[stage] = self.costs.get(stage, 0.0) + price
            self.requests.append({**data, "at_ms": at_ms})

    def _utterance(self, data: Mapping[str, Any]) -> None:
        file, start, end = data.get("file"), data.get("from"), data.get("to")
        if not (isinstance(file, str) and valid_sound_file(file)):
            return
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end:
            self.utterances[file] = Utterance(file, start, end)

    def _placed(self, data: Mapping[str, Any]) -> None:
        reply_id, file, rate_hz, runs = (data.get(key) for key in ("reply_id", "file", "rate_hz", "runs"))
        if not (isinstance(reply_id, str) and isinstance(runs, list) and isinstance(rate_hz, int)):
            return
        self.settled.add(reply_id)
        heard = tuple(
            Run(*run) for run in runs if isinstance(run, list | tuple) and len(run) == 3 and _naturals(*run)
        )
        heard = tuple(run for run in heard if run.count)
        if heard and rate_hz > 0 and isinstance(file, str) and valid_sound_file(file):
            self.placed[reply_id] = Placed(reply_id, file, rate_hz, heard)
        else:
            self.placed.pop(reply_id, None)  # nothing of it was heard after all

    # -- projections ------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self.ending is not None

    @property
    def owner(self) -> str | None:
        """Whose list the conversation belongs in. Not part of the JSON: a guest's is a key."""
        owner = self.header.get("owner")
        return owner if isinstance(owner, str) else None

    @property
    def end_of_sound(self) -> int:
        """Where on the time line the last sound mentioned here ends."""
        ends = [utterance.end for utterance in self.utterances.values()]
        return max([*ends, *(placed.end for placed in self.placed.values())], default=0)

    @property
    def next_file(self) -> int:
        """The first free number for a sound file."""
        names = [*self.utterances, *(placed.file for placed in self.placed.values())]
        names += [m["audio"] for m in self.messages.values() if valid_sound_file(m.get("audio"))]
        return max((int(name[:4]) for name in names if name[:4].isdecimal()), default=0) + 1

    def conversation(self) -> dict[str, Any]:
        """The conversation JSON, as the contract has it."""
        header = self.header
        out: dict[str, Any] = {
            "session_id": header.get("session_id"),
            "start_time": header.get("start_time"),
            "end_time": self.end_time,
            "user_id": header.get("user_id"),
            "agent_id": header.get("agent_id"),
            "mode": header.get("mode"),
            "language": header.get("language"),
            "config": header.get("config") or {},
            "messages": [dict(self.messages[n]) for n in sorted(self.messages)],
            "turns": [dict(self.turns[n]) for n in sorted(self.turns)],
            "summary": self.summary.get("summary") or "",
            "cost_breakdown": self.cost_breakdown,
            "duration_seconds": self.duration_seconds,
            "end_reason": self.ending.get("reason") if self.ending else None,
            "audio_files": self.audio_files(),
        }
        if self.caller:
            out["caller"] = dict(self.caller)
        for key, value in self.summary.items():
            if key not in _DERIVED and key != "summary":
                out[key] = value
        return out

    @property
    def end_time(self) -> str | None:
        if self.ending is None:
            return None
        time = self.ending.get("time")
        return time if isinstance(time, str) else self.last_time

    @property
    def last_time(self) -> str | None:
        """When the last entry was written, by the session's own clock."""
        return self.time_of(self.last_at_ms)

    def time_of(self, at_ms: int) -> str | None:
        """A moment of session time as ISO 8601."""
        start = parse(self.header.get("start_time"))
        return iso(start + timedelta(milliseconds=at_ms)) if start else None

    @property
    def duration_seconds(self) -> float:
        start, end = parse(self.header.get("start_time")), parse(self.end_time)
        if start and end and end >= start:
            return round((end - start).total_seconds(), 3)
        return round(self.last_at_ms / 1000, 3)

    @property
    def cost_breakdown(self) -> dict[str, float]:
        # Nine digits: finer than any price, coarser than what adding floats makes up.
        costs = {f"{stage}_cost": round(cost, 9) for stage, cost in self.costs.items()}
        return {**costs, "total_cost": round(sum(self.costs.values()), 9)}

    def audio_files(self) -> list[dict[str, Any]]:
        """Where each sound file of the session sits on its time line, in order of their numbers."""
        found = [
            (u.file, u.start, u.end, (u.end - u.start) / SAMPLES_PER_MS) for u in self.utterances.values()
        ]
        found += [(p.file, p.start, p.end, p.samples * 1000 / p.rate_hz) for p in self.placed.values()]
        return [
            {
                "filename": file,
                "role": role_of(file),
                "start_ms": round(start / SAMPLES_PER_MS),
                "end_ms": round(end / SAMPLES_PER_MS),
                "duration_ms": round(duration_ms),
            }
            for file, start, end, duration_ms in sorted(found)
        ]


def _raise(most: dict[str, float], key: object, value: object) -> None:
    if isinstance(key, str) and isinstance(value, int | float) and math.isfinite(value):
        most[key] = max(value, most.get(key, 0))


def _naturals(*values: object) -> bool:
    return all(isinstance(value, int) and value >= 0 for value in values)


def as_json(conversation: Mapping[str, Any]) -> bytes:
    """The conversation JSON as a file: a line per message and turn, so that people can read it too.

    (json's own `indent` is ten times slower, and this is done after every turn.)
    """
    lines = []
    for key, value in conversation.items():
        text = _dumps(value)
        if isinstance(value, list) and value:
            text = "[\n  " + ",\n  ".join(map(_dumps, value)) + "\n ]"
        lines.append(f" {_dumps(key)}: {text}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8", "backslashreplace")


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def fold(entries: Iterable[Entry]) -> dict[str, Any]:
    """The conversation JSON that these entries amount to."""
    state = Fold()
    for entry in entries:
        state.add(entry)
    return state.conversation()
