"""The rules of the calendar."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from pipeline.slots import (
    SLOTS,
    No,
    free_slots,
    is_past,
    local_now,
    read_code,
    read_phone,
    say_day,
    say_time,
    sentence,
    slots_of,
    taken,
    why_not,
)

TUESDAY, SATURDAY, SUNDAY = date(2026, 11, 24), date(2026, 11, 28), date(2026, 11, 29)
NOON = datetime(2026, 11, 24, 12, 0)


@pytest.mark.parametrize(
    "written",
    [
        *("5551234567", "555-123-4567", "(555) 123-4567", "555.123.4567", "555 123 4567", "+1 555 123 4567"),
        *("+15551234567", "1-555-123-4567", "5 5 5 1 2 3 4 5 6 7", "555/123/4567"),
    ],
)
def test_a_phone_number_is_ten_digits_however_it_is_written(written: str) -> None:
    assert read_phone(written) == "5551234567"


@pytest.mark.parametrize(
    "written",
    [
        *("", "555123456", "55512345678", "+4915551234567", "555-CALL-NOW", "555123456x", "two"),
        "٥٥٥١٢٣٤٥٦٧",
    ],
)
def test_what_is_no_phone_number(written: str) -> None:
    assert read_phone(written) is None


def test_a_code_is_read_however_it_was_spelled() -> None:
    assert read_code("k7m2p9qa") == read_code("K 7 M 2 - P 9 Q A") == read_code("K7M2P9QA.") == "k7m2p9qa"
    for wrong in ("", "k7m2p9q", "k7m2p9qaa", "k7m2p9qä"):
        assert read_code(wrong) is None


def test_appointments_are_hourly_on_workdays() -> None:
    assert SLOTS == ("09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00")
    assert slots_of(TUESDAY) == SLOTS
    assert slots_of(SATURDAY) == slots_of(SUNDAY) == ()


@pytest.mark.parametrize(
    ("day", "at", "now", "no"),
    [
        (TUESDAY, "13:00", NOON, None),
        (TUESDAY, "15:00", NOON, None),
        (TUESDAY, "12:00", NOON, No.PAST),  # it begins now
        (TUESDAY, "09:00", NOON, No.PAST),
        (date(2026, 11, 23), "15:00", NOON, No.PAST),
        (date(2026, 11, 22), "15:00", NOON, No.PAST),  # a Sunday, but above all it is over
        (SATURDAY, "10:00", NOON, No.WEEKEND),
        (SUNDAY, "10:30", NOON, No.WEEKEND),
        (TUESDAY, "16:00", NOON, No.HOURS),
        (TUESDAY, "08:00", NOON, No.HOURS),
        (TUESDAY, "13:30", NOON, No.HOURS),
        (TUESDAY, "00:00", NOON, No.HOURS),
    ],
)
def test_what_can_be_booked(day: date, at: str, now: datetime, no: No | None) -> None:
    assert why_not(day, at, now) is no


def test_what_is_free_is_what_nobody_has_and_has_not_begun() -> None:
    assert free_slots(TUESDAY, NOON, {"14:00"}) == ["13:00", "15:00"]
    assert free_slots(date(2026, 11, 25), NOON, set()) == list(SLOTS)
    assert free_slots(SATURDAY, NOON, set()) == free_slots(date(2026, 11, 23), NOON, set()) == []


def test_the_clock_is_the_businesss() -> None:
    now = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
    assert local_now(now, ZoneInfo("Asia/Tokyo")) == datetime(2026, 11, 25, 8, 30)
    assert local_now(now, None) == datetime(2026, 11, 24, 23, 30)
    assert not is_past(date(2026, 11, 25), "09:00", local_now(now, ZoneInfo("Asia/Tokyo")))


def test_days_and_times_are_said_as_people_say_them() -> None:
    assert (say_day(TUESDAY), say_time("14:00"), say_time("09:30")) == (
        "Tuesday, November 24",
        "2 PM",
        "9:30 AM",
    )
    assert (say_day(TUESDAY, "es-MX"), say_time("14:00", "es")) == ("martes 24 de noviembre", "14:00")


@pytest.mark.parametrize("language", ["en", "es", "de"])
@pytest.mark.parametrize("no", list(No))
def test_every_no_is_one_or_two_sentences(no: No, language: str) -> None:
    said = sentence(no, language, day=TUESDAY, at="10:00", code="k7m2p9qa")
    assert said[0] in "¿" or said[0].isupper()
    assert said[-1] in ".?"
    assert "{" not in said


def test_a_taken_slot_says_what_is_free() -> None:
    assert taken("en", TUESDAY, "10:00", ["13:00", "15:00"]) == (
        "Tuesday, November 24 at 10 AM is already taken. Please choose another time. "
        "Still free that day: 1 PM, 3 PM."
    )
    assert taken("es", TUESDAY, "10:00", []).startswith("El martes 24 de noviembre ya no queda nada libre.")
