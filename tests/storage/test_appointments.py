"""The calendar: a slot has one owner, whoever asks at the same instant."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage.accounts import Accounts
from storage.appointments import Appointment, Appointments, new_code
from storage.database import Database, open_database

DAY, OTHER_DAY = "2026-11-24", "2026-11-25"
ANN, BOB = "5551234567", "5557654321"
SESSION = "20261226_100900_k3v9x2m8q7w4f5h6t2r9"


@pytest.fixture
def calendar(database: Database) -> Appointments:
    return Appointments(database)


@pytest.fixture
async def others(database_url: str, database: Database) -> AsyncIterator[list[Appointments]]:
    """The same calendar through engines of their own, as other processes have it."""
    del database  # it has migrated
    found = [await open_database(database_url) for _ in range(4)]
    yield [Appointments(one) for one in found]
    for one in found:
        await one.aclose()


async def book(calendar: Appointments, *args: str, **more: Any) -> Appointment:
    """Book what is known to be free."""
    made = await calendar.book(*args, **more)
    assert made is not None
    return made


def test_codes_are_eight_letters_and_digits_with_some_of_each() -> None:
    codes = {new_code() for _ in range(2000)}
    assert len(codes) == 2000
    assert all(re.fullmatch(r"(?=.*[a-z])(?=.*[0-9])[a-z0-9]{8}", code) for code in codes)


async def test_what_is_booked_is_found_again(calendar: Appointments) -> None:
    made = await book(calendar, ANN, DAY, "09:00", name="Ann", session_id=SESSION)
    assert (made.phone, made.name, made.date, made.time) == (ANN, "Ann", DAY, "09:00")
    assert (made.status, made.session_id, made.user_id) == ("booked", SESSION, None)
    assert await calendar.get(made.id) == made
    assert await calendar.get("zzzzzzz9") is None
    assert await calendar.taken(DAY, DAY) == {(DAY, "09:00")}


async def test_a_slot_is_booked_once_and_free_again_when_cancelled(calendar: Appointments) -> None:
    first = await book(calendar, ANN, DAY, "09:00")
    assert await calendar.book(BOB, DAY, "09:00") is None
    gone = await calendar.cancel(first.id)
    assert gone is not None
    assert gone.status == "cancelled"
    with pytest.raises(LookupError):
        await calendar.cancel(first.id)
    second = await book(calendar, BOB, DAY, "09:00")
    assert second.id != first.id
    again = await calendar.cancel(second.id)  # two cancelled ones may share a slot
    assert again is not None


async def test_moving_frees_the_old_slot(calendar: Appointments) -> None:
    made = await book(calendar, ANN, DAY, "09:00")
    moved = await calendar.move(made.id, OTHER_DAY, "10:00")
    assert moved is not None
    assert (moved.date, moved.time, moved.id) == (OTHER_DAY, "10:00", made.id)
    assert await calendar.taken(DAY, OTHER_DAY) == {(OTHER_DAY, "10:00")}
    same = await calendar.move(made.id, OTHER_DAY, "10:00")
    assert same is not None
    assert same.time == "10:00"


async def test_moving_to_a_taken_slot_changes_nothing(calendar: Appointments) -> None:
    mine = await book(calendar, ANN, DAY, "09:00")
    await calendar.book(BOB, DAY, "10:00")
    assert await calendar.move(mine.id, DAY, "10:00") is None
    assert await calendar.get(mine.id) == mine
    assert await calendar.taken(DAY, DAY) == {(DAY, "09:00"), (DAY, "10:00")}


async def test_a_cancelled_one_cannot_be_moved(calendar: Appointments) -> None:
    made = await book(calendar, ANN, DAY, "09:00")
    await calendar.cancel(made.id)
    for code in (made.id, "zzzzzzz9"):
        with pytest.raises(LookupError):
            await calendar.move(code, DAY, "10:00")


async def test_a_call_made_again_is_answered_and_not_done_again(calendar: Appointments) -> None:
    call = (SESSION, "1.1")
    first = await book(calendar, ANN, DAY, "09:00", call=call)
    assert await calendar.book(ANN, DAY, "09:00", call=call) == first
    assert (await calendar.list())[1] == 1
    moving, cancelling = (SESSION, "2.1"), (SESSION, "3.1")
    moved = await calendar.move(first.id, DAY, "10:00", call=moving)
    assert await calendar.cancel(first.id, call=cancelling) is not None
    await calendar.book(BOB, DAY, "10:00")
    assert await calendar.move(first.id, DAY, "10:00", call=moving) == moved
    again = await calendar.cancel(first.id, call=cancelling)
    assert again is not None
    assert again.status == "cancelled"
    assert await calendar.book(ANN, DAY, "09:00", call=call) == first
    assert await calendar.taken(DAY, DAY) == {(DAY, "10:00")}


async def test_a_refused_call_may_succeed_when_it_is_made_again(calendar: Appointments) -> None:
    call = (SESSION, "1.1")
    other = await book(calendar, BOB, DAY, "09:00")
    assert await calendar.book(ANN, DAY, "09:00", call=call) is None
    await calendar.cancel(other.id)
    assert (await book(calendar, ANN, DAY, "09:00", call=call)).phone == ANN


async def test_lists_are_by_time_and_of_one_caller(calendar: Appointments, database: Database) -> None:
    user = await Accounts(database).create(email="ann@example.org")
    late = await book(calendar, ANN, OTHER_DAY, "09:00")
    early = await book(calendar, ANN, DAY, "15:00")
    for_bob = await book(calendar, BOB, DAY, "09:00", user_id=user.id)
    gone = await book(calendar, ANN, DAY, "10:00")
    await calendar.cancel(gone.id)

    async def ids(**asked: str | None) -> list[str]:
        found, total = await calendar.list(phone=asked.pop("phone", None), **asked)  # type: ignore[arg-type]
        assert total == len(found)
        return [one.id for one in found]

    assert await ids(phone=ANN) == [early.id, late.id]
    assert await ids(phone=ANN, status=None) == [gone.id, early.id, late.id]
    assert await ids(phone=ANN, user_id=user.id) == [for_bob.id, early.id, late.id]
    assert await ids(phone=ANN, since=OTHER_DAY) == [late.id]
    assert await ids(until=DAY) == [for_bob.id, early.id]
    page, total = await calendar.list(1, 1)
    assert ([one.id for one in page], total) == ([early.id], 3)


async def test_callers_are_known_by_their_number(calendar: Appointments) -> None:
    assert await calendar.caller(ANN) is None
    await calendar.remember(ANN)
    assert await calendar.caller(ANN) == ""
    await calendar.remember(ANN, "Ann")
    await calendar.remember(ANN)
    assert await calendar.caller(ANN) == "Ann"


async def test_who_leaves_is_forgotten(calendar: Appointments) -> None:
    mine = await book(calendar, ANN, DAY, "09:00", name="Ann", call=(SESSION, "1.1"))
    theirs = await book(calendar, BOB, DAY, "10:00", call=(SESSION, "1.2"))
    await calendar.remember(ANN, "Ann")
    await calendar.forget(ANN, "nobody")
    left = await calendar.get(mine.id)
    assert left is not None
    assert (left.phone, left.name, left.status) == ("", "", "cancelled")
    assert await calendar.caller(ANN) is None
    assert await calendar.get(theirs.id) == theirs
    fresh = await book(calendar, BOB, DAY, "09:00", call=(SESSION, "1.1"))
    assert fresh.phone == BOB  # nothing of the call was kept
    assert await calendar.book(BOB, DAY, "10:00", call=(SESSION, "1.2")) == theirs


async def _booked(calendar: Appointments, phone: str, time: str) -> Appointment | None:
    return await calendar.book(phone, DAY, time)


async def test_of_twenty_who_ask_at_once_one_gets_the_slot(others: list[Appointments]) -> None:
    for time in ("09:00", "10:00", "11:00"):
        asked = (_booked(others[n % len(others)], f"555000{n:04d}", time) for n in range(20))
        got = [one for one in await asyncio.gather(*asked) if one]
        assert len(got) == 1
        assert [one.id for one in (await others[0].list(status=None))[0] if one.time == time] == [got[0].id]


async def test_of_those_who_move_to_one_slot_at_once_one_gets_it(others: list[Appointments]) -> None:
    times = ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00"]
    mine = [await book(others[0], ANN, DAY, time) for time in times]

    async def move(n: int) -> Appointment | None:
        return await others[n % len(others)].move(mine[n].id, OTHER_DAY, "09:00")

    moved = [one for one in await asyncio.gather(*(move(n) for n in range(len(mine)))) if one]
    assert len(moved) == 1
    left = {(DAY, one.time) for one in mine if one.id != moved[0].id}
    assert await others[0].taken(DAY, OTHER_DAY) == left | {(OTHER_DAY, "09:00")}


async def test_two_who_swap_their_slots_are_refused_and_nobody_waits_forever(
    others: list[Appointments],
) -> None:
    first, second = await book(others[0], ANN, DAY, "09:00"), await book(others[0], BOB, DAY, "10:00")
    for _ in range(5):
        results = await asyncio.gather(
            others[0].move(first.id, DAY, "10:00"),
            others[1].move(second.id, DAY, "09:00"),
        )
        assert [*results] == [None, None]
    assert await others[0].get(first.id) == first


async def test_one_call_made_twice_at_once_books_once(others: list[Appointments]) -> None:
    call = (SESSION, "1.1")
    made = await asyncio.gather(*(book(other, ANN, DAY, "09:00", call=call) for other in others))
    assert len({one.id for one in made}) == 1


async def test_of_processes_that_ask_at_once_one_gets_each_slot(
    database_url: str, calendar: Appointments
) -> None:
    code = f"""
import asyncio, sys
from storage.appointments import Appointments
from storage.database import open_database
async def main():
    database = await open_database("{database_url}")
    calendar = Appointments(database)
    sys.stdin.readline()
    got = []
    for hour in range(9, 16):
        if await calendar.book(sys.argv[1], "{DAY}", f"{{hour:02d}}:00"):
            got.append(str(hour))
    await database.aclose()
    print(" ".join(got))
asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    pipe = asyncio.subprocess.PIPE
    asking = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, f"555000000{n}"), stdin=pipe, stdout=pipe, cwd=root
        )
        for n in range(3)
    ]
    said = await asyncio.gather(*(one.communicate(b"\n") for one in asking))
    got = [hour for out, _ in said for hour in out.decode().split()]
    assert sorted(map(int, got)) == list(range(9, 16))
    assert (await calendar.list())[1] == 7
