"""The journal's format, what damage costs, and what the fold makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.journal import HEAD, Entry, Fold, NewerJournal, Reading, as_json, decode, encode, fold, read

RUNS = [[0, 2400, 32_000], [2400, 9600, 40_000]]
TALK = [
    Entry(0, "open", {"session_id": "s", "start_time": "2026-12-26T10:09:00.000Z", "user_id": None}),
    Entry(5, "message", {"n": 1, "role": "assistant", "content": "Hello! 好", "type": "welcome"}),
    Entry(900, "in", {"vad": [1, 0]}),
    Entry(1840, "utterance", {"file": "0001_user.mp3", "from": 0, "to": 29_440}),
    Entry(1900, "message", {"n": 2, "role": "user", "content": "hi", "audio": "0001_user.mp3"}),
    Entry(1950, "message", {"n": 4, "role": "assistant", "content": "Well, then"}),
    Entry(1960, "message", {"n": 3, "role": "tool", "name": "now", "arguments": {}, "result": {"ok": 1}}),
    Entry(2600, "placed", {"reply_id": "r", "file": "0002_agent.mp3", "rate_hz": 24_000, "runs": RUNS}),
    Entry(2700, "message", {"n": 4, "interrupted": True, "heard": "Well,", "audio": "0002_agent.mp3"}),
    Entry(2700, "cost", {"stage": "stt", "price": 0.1, "turn": 1}),
    Entry(2700, "cost", {"stage": "llm", "price": 0.2, "turn": 1}),
    Entry(2700, "turn", {"turn": 1, "endpoint_ms": 500, "stt_ms": 80, "cost": {"stt": 0.1}}),
    Entry(2800, "turn", {"turn": 1, "voice_to_voice_ms": 900, "interrupted": True}),
    Entry(2900, "summary", {"summary": "A greeting.", "preferences_mentioned": []}),
    Entry(3000, "end", {"time": "2026-12-26T10:09:03.250Z", "reason": "client"}),
]  # fmt: skip


def write(path: Path, entries: list[Entry]) -> bytes:
    data = HEAD + b"".join(map(encode, entries))
    path.write_bytes(data)
    return data


def test_the_fold_is_exactly_the_contracts_json() -> None:
    assert fold(TALK) == {
        "session_id": "s",
        "start_time": "2026-12-26T10:09:00.000Z",
        "end_time": "2026-12-26T10:09:03.250Z",
        "user_id": None,
        "agent_id": None,
        "mode": None,
        "language": None,
        "config": {},
        "messages": [
            {"role": "assistant", "content": "Hello! 好", "type": "welcome"},
            {"role": "user", "content": "hi", "audio": "0001_user.mp3"},
            {"role": "tool", "name": "now", "arguments": {}, "result": {"ok": 1}},
            {
                "role": "assistant",
                "content": "Well, then",
                "interrupted": True,
                "heard": "Well,",
                "audio": "0002_agent.mp3",
            },
        ],
        "turns": [
            {
                "turn": 1,
                "endpoint_ms": 500,
                "stt_ms": 80,
                "cost": {"stt": 0.1},
                "voice_to_voice_ms": 900,
                "interrupted": True,
            }
        ],
        "summary": "A greeting.",
        "cost_breakdown": {"stt_cost": 0.1, "llm_cost": 0.2, "tts_cost": 0.0, "total_cost": 0.3},
        "duration_seconds": 3.25,
        "end_reason": "client",
        "audio_files": [
            {"filename": "0001_user.mp3", "role": "user", "start_ms": 0, "end_ms": 1840, "duration_ms": 1840},
            {
                "filename": "0002_agent.mp3",
                "role": "agent",
                "start_ms": 2000,
                "end_ms": 2900,
                "duration_ms": 500,
            },
        ],
        "preferences_mentioned": [],
    }


def test_the_file_is_json_and_holds_what_was_folded() -> None:
    found = fold(TALK)
    assert json.loads(as_json(found)) == found


def test_a_conversation_that_goes_on_has_no_end_yet() -> None:
    found = fold(TALK[:-1])
    assert (found["end_time"], found["end_reason"], found["duration_seconds"]) == (None, None, 2.9)


def test_an_end_without_a_time_is_when_the_last_thing_happened() -> None:
    assert fold([*TALK[:-1], Entry(2900, "end", {"reason": "x"})])["end_time"] == "2026-12-26T10:09:02.900Z"


def test_a_conversation_gone_on_with_has_not_ended() -> None:
    found = fold(
        [
            *TALK,
            Entry(9000, "resume", {}),
            Entry(9100, "message", {"n": 5, "role": "user", "content": "again"}),
        ]
    )
    assert found["end_time"] is None
    assert len(found["messages"]) == 5


def test_amending_with_null_takes_a_key_back() -> None:
    found = fold([*TALK, Entry(3100, "message", {"n": 2, "audio": None})])
    assert found["messages"][1] == {"role": "user", "content": "hi"}


def test_a_reply_placed_without_runs_was_not_heard_but_is_settled() -> None:
    state = Fold()
    for entry in [
        *TALK,
        Entry(3100, "placed", {"reply_id": "r", "file": "0002_agent.mp3", "rate_hz": 1, "runs": []}),
    ]:
        state.add(entry)
    assert state.placed == {}
    assert state.settled == {"r"}


def test_a_journal_torn_at_any_byte_keeps_every_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = write(path, TALK)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        reading = Reading()
        found = list(read(path, reading))
        kept = max(0, whole[:cut].count(b"\n") - 1)
        # A line that lacks only its end is whole, too.
        assert found in (TALK[:kept], TALK[: kept + 1])
        assert reading.torn == (cut > 0 and whole[cut - 1 : cut] != b"\n")
        assert reading.damaged <= 1
        fold(found)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 10_000))
def test_garbage_in_the_middle_costs_no_line_but_its_neighbours(junk: bytes, where: int) -> None:
    data = HEAD + b"".join(map(encode, TALK))
    at = where % len(data)
    lines = (data[:at] + junk + data[at:]).splitlines(keepends=True)
    found = [entry for line in lines if (entry := decode(line)) and entry.kind != "journal"]
    lost = [entry for entry in TALK if entry not in found]
    assert len(lost) <= 1
    fold(found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["n", "role", "file", "from", "to", "reply_id", "rate_hz", "runs", "turn", "stage", "price", "time"]
keys = st.sampled_from(KEYS)
kinds = st.sampled_from(["open", "message", "utterance", "placed", "turn", "cost", "summary", "owner", "end"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(kinds, st.dictionaries(keys, json_values, max_size=6)), max_size=8))
def test_the_fold_takes_anything_that_parses(entries: list[tuple[str, dict[str, Any]]]) -> None:
    found = fold(Entry(1, kind, data) for kind, data in entries)
    assert json.loads(as_json(found)).keys() == found.keys()


def test_a_journal_of_a_newer_version_is_not_misread(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(encode(Entry(0, "journal", {"version": 2})))
    with pytest.raises(NewerJournal):
        list(read(path, Reading()))


def test_what_json_cannot_hold_is_written_as_text() -> None:
    entry = decode(encode(Entry(1, "message", {"content": "half a pair \ud800", "result": {1}})))
    assert entry is not None
    assert entry.data["result"] == "{1}"
