"""Dates and times as people say them."""

from datetime import date, datetime, time, timedelta
from time import thread_time

import pytest

from pipeline.when import read_date, read_time

NOW = datetime(2026, 11, 21, 12, 0)
"""A Saturday."""
WEDNESDAY = datetime(2026, 11, 25, 12, 0)


def day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T14:00", "2026-11-24"),
        ("today", "2026-11-21"),
        ("tomorrow", "2026-11-22"),
        ("Tomorrow at two, please.", "2026-11-22"),
        ("the day after tomorrow", "2026-11-23"),
        ("monday", "2026-11-23"),
        ("on Monday at ten", "2026-11-23"),
        ("next monday", "2026-11-23"),
        ("this Friday", "2026-11-27"),
        ("saturday", "2026-11-28"),
        ("Friday of next week", "2026-11-27"),
        ("next week on friday", "2026-11-27"),
        ("Monday the twenty third", "2026-11-23"),
        ("the twenty third", "2026-11-23"),
        ("the 23rd at 10", "2026-11-23"),
        ("twenty third", "2026-11-23"),
        ("the third", "2026-12-03"),
        ("nov 24th", "2026-11-24"),
        ("November twenty fourth", "2026-11-24"),
        ("November the 24th, 2027", "2027-11-24"),
        ("november twenty fourth twenty twenty seven", "2027-11-24"),
        ("the 24th of november", "2026-11-24"),
        ("24 November 2026", "2026-11-24"),
        ("january second", "2027-01-02"),
        ("11/24", "2026-11-24"),
        ("11/24/2026", "2026-11-24"),
        ("24/11/26", "2026-11-24"),
        ("in two weeks", "2026-12-05"),
        ("in a week", "2026-11-28"),
        ("three days from now", "2026-11-24"),
        ("a week from monday", "2026-11-30"),
        ("Could I book the one o'clock next Tuesday instead?", "2026-11-24"),
        ("this afternoon", "2026-11-21"),
        ("yesterday", "2026-11-20"),
        ("february 29", "2028-02-29"),
        ("I may come on may 5", "2027-05-05"),
    ],
)
def test_days_in_english(said: str, meant: str) -> None:
    assert read_date(said, NOW, "en") == day(meant)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("hoy", "2026-11-21"),
        ("mañana", "2026-11-22"),
        ("mañana a las dos", "2026-11-22"),
        ("mañana por la mañana", "2026-11-22"),
        ("pasado mañana", "2026-11-23"),
        ("el lunes", "2026-11-23"),
        ("el próximo lunes", "2026-11-23"),
        ("el lunes que viene a las diez", "2026-11-23"),
        ("el viernes de la próxima semana", "2026-11-27"),
        ("el lunes por la mañana", "2026-11-23"),
        ("el veintitrés", "2026-11-23"),
        ("el 23 a las 10", "2026-11-23"),
        ("el veinticuatro de noviembre", "2026-11-24"),
        ("24 de noviembre de 2026", "2026-11-24"),
        ("el treinta y uno de diciembre", "2026-12-31"),
        ("el primero de diciembre", "2026-12-01"),
        ("24/11", "2026-11-24"),
        ("4/12", "2026-12-04"),
        ("dentro de dos semanas", "2026-12-05"),
        ("en tres días", "2026-11-24"),
    ],
)
def test_days_in_spanish(said: str, meant: str) -> None:
    assert read_date(said, NOW, "es-MX") == day(meant)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "hello",
        "two",
        "at two",
        "ten thirty",
        "the two o'clock",
        "next week",
        "the second one",
        "I may do that",
        "my number is 555 123 4567",
        "november 31",
        "2026-02-30",
    ],
)
def test_what_names_no_day(said: str) -> None:
    assert read_date(said, NOW, "en") is None


def test_in_spanish_the_morning_is_not_tomorrow() -> None:
    assert read_date("por la mañana", NOW, "es") is None


def test_next_friday_is_the_one_of_next_week_and_friday_the_coming_one() -> None:
    assert read_date("next friday", WEDNESDAY, "en") == day("2026-12-04")
    assert read_date("friday", WEDNESDAY, "en") == day("2026-11-27")
    assert read_date("el próximo viernes", WEDNESDAY, "es") == day("2026-11-27")


def test_todays_own_weekday_is_the_one_in_a_week_unless_it_is_this_one() -> None:
    assert read_date("wednesday", WEDNESDAY, "en") == day("2026-12-02")
    assert read_date("this wednesday", WEDNESDAY, "en") == day("2026-11-25")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("14:00", "14:00"),
        ("09:00", "09:00"),
        ("03:00", "03:00"),
        ("2026-11-24T14:00", "14:00"),
        ("2 pm", "14:00"),
        ("2pm", "14:00"),
        ("2 p.m.", "14:00"),
        ("10 am", "10:00"),
        ("12 pm", "12:00"),
        ("12 am", "00:00"),
        ("two", "14:00"),
        ("two o'clock please", "14:00"),
        ("at two", "14:00"),
        ("at nine", "09:00"),
        ("at twelve", "12:00"),
        ("two in the afternoon", "14:00"),
        ("nine in the morning", "09:00"),
        ("seven in the evening", "19:00"),
        ("half past ten", "10:30"),
        ("half ten", "10:30"),
        ("a quarter to three", "14:45"),
        ("ten past two", "14:10"),
        ("ten thirty", "10:30"),
        ("ten oh five", "10:05"),
        ("2:30", "14:30"),
        ("noon", "12:00"),
        ("tomorrow at two", "14:00"),
        ("tomorrow afternoon at three", "15:00"),
        ("tomorrow two", "14:00"),
        ("november 24th at ten", "10:00"),
        ("the twenty third, eleven o'clock", "11:00"),
        ("Monday the 23rd 2 pm", "14:00"),
        ("ten on the twenty third", "10:00"),
        ("I am free at 11", "11:00"),
        ("uh, the one at one please", "13:00"),
        ("let's make it three", "15:00"),
        ("my number is 555 123 4567 and I want 10 am", "10:00"),
    ],
)
def test_times_in_english(said: str, meant: str) -> None:
    assert read_time(said, "en") == time.fromisoformat(meant)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("a las dos", "14:00"),
        ("a la una", "13:00"),
        ("las diez y media", "10:30"),
        ("a las tres menos cuarto", "14:45"),
        ("a las once y cuarto", "11:15"),
        ("las dos de la tarde", "14:00"),
        ("las nueve de la mañana", "09:00"),
        ("mañana a las diez", "10:00"),
        ("mañana por la mañana a las nueve", "09:00"),
        ("el 23 a las 10", "10:00"),
        ("el lunes a las 3 p. m.", "15:00"),
        ("mediodía", "12:00"),
        ("14:00", "14:00"),
        ("dos", "14:00"),
    ],
)
def test_times_in_spanish(said: str, meant: str) -> None:
    assert read_time(said, "es") == time.fromisoformat(meant)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "tomorrow",
        "the twenty third",
        "November 24th",
        "I have two dogs and one cat here",
        "call 5551234567",
        "five five five one two three four five six seven",
        "25:00",
        "in two weeks",
        "good morning",
    ],
)
def test_what_names_no_time(said: str) -> None:
    assert read_time(said, "en") is None


def test_every_day_of_a_year_is_understood_as_it_is_said() -> None:
    today = NOW.date()
    for ahead in range(365):
        there = today + timedelta(ahead)
        assert read_date(there.strftime("%B %d"), today, "en") == there
        assert read_date(there.isoformat(), today, "en") == there


def test_reading_never_blocks_the_loop_for_long() -> None:
    said = "well " * 60 + "tomorrow at two"
    best = min(_seconds(said) for _ in range(5))
    assert best < 0.01  # 0.3 ms for a sentence; the bound allows for a loaded machine


def _seconds(said: str) -> float:
    start = thread_time()
    read_date(said, NOW, "en")
    read_time(said, "en")
    return thread_time() - start
