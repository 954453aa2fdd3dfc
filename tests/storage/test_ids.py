"""Names of sessions and sound files, and times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from storage.ids import checked_sound_file, new_session_id, role_of, started_at, valid_session_id
from storage.times import iso, parse

WHEN = datetime(2026, 12, 26, 10, 9, 0, 123_456, UTC)


def test_a_new_id_says_when_and_carries_a_hundred_bits() -> None:
    name = new_session_id(WHEN, bytes(range(13)))
    assert name == "20261226_100900_aaaqeayeaudaocajbifq"
    assert valid_session_id(name)
    assert started_at(name) == WHEN.replace(microsecond=0)
    assert len({new_session_id(WHEN) for _ in range(1000)}) == 1000


def test_the_time_in_an_id_is_utc() -> None:
    berlin = WHEN.astimezone(timezone(timedelta(hours=1)))
    assert new_session_id(berlin, bytes(13)).startswith("20261226_100900_")


def test_the_contracts_own_example_is_valid() -> None:
    assert valid_session_id("20261226_100900_k3v9x2m8q7w4f5h6t2r9")
    assert not valid_session_id(None)


def test_sound_files_have_three_kinds_of_names() -> None:
    names = ("0001_user.mp3", "0002_agent.mp3", "conversation.mp3")
    assert [role_of(checked_sound_file(name)) for name in names] == ["user", "agent", "conversation"]
    for wrong in (
        "1_user.mp3",
        "0001_user.wav",
        "spool.pcm",
        "../0001_user.mp3",
        "0001_user.mp3\n",
        "٠٠٠١_user.mp3",
    ):
        with pytest.raises(ValueError):
            checked_sound_file(wrong)


def test_times_are_written_in_one_way_and_read_in_any() -> None:
    assert iso(WHEN) == "2026-12-26T10:09:00.123Z"
    assert parse("2026-12-26T11:09:00.123456+01:00") == WHEN
    assert parse("2026-12-26T10:09:00") == WHEN.replace(microsecond=0)
    assert parse("yesterday") is None
    assert parse(None) is None
