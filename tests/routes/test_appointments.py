"""Appointments over HTTP: the same rules as the agent's, and to everybody their own."""

import asyncio
import re
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from server.app import App
from tests.routes.conftest import Client, bearer, signed_up

ANN, BOB = "5551234567", "5557654321"


def weekday(ahead: int = 0) -> str:
    """A day that is sure to come, and is no weekend: the Monday after next, or so many workdays later."""
    today = datetime.now().astimezone().date()
    monday = today + timedelta(14 - today.weekday())
    return (monday + timedelta(ahead // 5 * 7 + ahead % 5)).isoformat()


def wanted(**more: Any) -> dict[str, Any]:
    return {"phone_number": "(555) 123-4567", "date": weekday(), "time": "10:00", **more}


async def booked(who: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await who.post("/api/appointments", json=wanted(**more))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def with_phone(client: Client, email: str, phone: str) -> httpx2.AsyncClient:
    who = await signed_up(client, email)
    answer = await who.patch("/api/users/profile", json={"phone_number": phone})
    assert answer.json()["phone"] == phone
    return who


@pytest.fixture
async def admin(client: Client) -> httpx2.AsyncClient:
    """The first account is an administrator's."""
    return await signed_up(client, "admin@example.org")


async def test_what_is_booked_has_a_code_and_is_found_by_it(client: Client) -> None:
    ann = await signed_up(client)
    made = await booked(ann, name=" Ann ")
    assert re.fullmatch(r"(?=.*[a-z])(?=.*[0-9])[a-z0-9]{8}", made["appointment_id"])
    assert made["id"] == made["appointment_id"]
    assert (made["phone_number"], made["name"], made["status"]) == (ANN, "Ann", "booked")
    assert (made["date"], made["time"]) == (weekday(), "10:00")
    assert (await ann.get(f"/api/appointments/{made['id']}")).json() == made
    assert (await ann.get("/api/appointments")).json() == {"items": [made], "total": 1}


async def test_free_slots_are_told_to_everybody(client: Client, admin: httpx2.AsyncClient) -> None:
    nobody = client()
    whole = [f"{hour:02d}:00" for hour in range(9, 16)]
    query = {"date": weekday()}
    answer = await nobody.get("/api/appointments/slots", params=query)
    assert answer.json() == {"date": weekday(), "slots": whole}
    made = await booked(admin)
    assert "10:00" not in (await nobody.get("/api/appointments/slots", params=query)).json()["slots"]
    await admin.delete(f"/api/appointments/{made['id']}")
    assert (await nobody.get("/api/appointments/slots", params=query)).json()["slots"] == whole
    saturday = (date.fromisoformat(weekday()) + timedelta(5)).isoformat()
    for day in (saturday, "2020-01-06"):
        assert (await nobody.get("/api/appointments/slots", params={"date": day})).json()["slots"] == []
    for bad in ({}, {"date": "tomorrow"}, {"date": "2026-02-30"}, {"date": "20261124"}):
        assert (await nobody.get("/api/appointments/slots", params=bad)).status_code == 422


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phone_number": "12345"}, "10 digits"),
        ({"phone_number": "555123456x"}, "10 digits"),
        ({"date": "next monday"}, "YYYY-MM-DD"),
        ({"date": "2026-02-30"}, "calendar"),
        ({"date": "2020-01-06"}, "in the past"),
        ({"date": "2030-01-05"}, "weekend"),
        ({"time": "10:30"}, "on the hour"),
        ({"time": "08:00"}, "on the hour"),
        ({"time": "16:00"}, "on the hour"),
        ({"time": "9:00"}, "HH:MM"),
        ({"color": "red"}, "not a field"),
        ({"date": None}, "must be text"),
    ],
)
async def test_what_cannot_be_booked_is_refused_with_a_reason(
    client: Client, change: dict[str, Any], says: str
) -> None:
    answer = await client().post("/api/appointments", json=wanted(**change))
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


async def test_a_taken_slot_is_409_and_says_what_is_free(client: Client) -> None:
    ann, guest = await signed_up(client), client()
    await booked(ann)
    answer = await guest.post("/api/appointments", json=wanted(phone_number=BOB))
    assert answer.status_code == 409
    assert "already taken" in answer.json()["detail"]
    assert "11 AM" in answer.json()["detail"]


async def test_of_many_who_ask_at_once_one_gets_the_slot(client: Client) -> None:
    guests = [client() for _ in range(12)]
    answers = await asyncio.gather(
        *(
            guest.post("/api/appointments", json=wanted(phone_number=f"55500000{n:02d}"))
            for n, guest in enumerate(guests)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11


async def test_users_see_their_own_and_administrators_all(client: Client, admin: httpx2.AsyncClient) -> None:
    ann = await with_phone(client, "ann@example.org", ANN)
    bob = await with_phone(client, "bob@example.org", BOB)
    called = await booked(client(), time="09:00")  # somebody with Ann's number, by telephone perhaps
    for_carl = await booked(bob, phone_number="5550000000", time="11:00")
    assert [one["id"] for one in (await ann.get("/api/appointments")).json()["items"]] == [called["id"]]
    assert [one["id"] for one in (await bob.get("/api/appointments")).json()["items"]] == [for_carl["id"]]
    everything = (await admin.get("/api/appointments")).json()
    assert [one["id"] for one in everything["items"]] == [called["id"], for_carl["id"]]
    path = f"/api/appointments/{called['id']}"
    assert (await admin.get(path)).status_code == 200
    assert (await bob.get(path)).status_code == 404
    assert (await bob.patch(path, json={"time": "12:00"})).status_code == 404
    assert (await bob.delete(path)).status_code == 404
    assert (await client().get(path)).status_code == 401
    assert (await client().get("/api/appointments")).status_code == 401
    assert (await ann.get("/api/appointments/slotless")).status_code == 404
    assert (await ann.get("/api/appointments/NOT%20A%20CODE")).status_code == 404


@pytest.mark.usefixtures("admin")
async def test_moving_and_cancelling(client: Client) -> None:
    ann = await signed_up(client)
    mine, other = await booked(ann), await booked(client(), phone_number=BOB, time="11:00")
    path = f"/api/appointments/{mine['id']}"
    taken = await ann.patch(path, json={"time": other["time"]})
    assert taken.status_code == 409
    assert (await ann.get(path)).json() == mine
    assert (await ann.patch(path, json={"time": "16:00"})).status_code == 422
    moved = await ann.patch(path, json={"date": weekday(1), "time": "15:00"})
    assert moved.status_code == 200
    assert (moved.json()["date"], moved.json()["time"], moved.json()["id"]) == (
        *(weekday(1), "15:00"),
        mine["id"],
    )
    assert (await ann.delete(path)).status_code == 204
    assert (await ann.delete(path)).status_code == 204
    assert (await ann.get(path)).json()["status"] == "cancelled"
    assert (await ann.patch(path, json={"time": "09:00"})).status_code == 409
    assert (await ann.get("/api/appointments")).json()["total"] == 0
    assert (await ann.get("/api/appointments", params={"status": "all"})).json()["total"] == 1


async def test_what_has_been_can_no_longer_be_changed(client: Client, app: App) -> None:
    ann = await signed_up(client)
    user = await app.parts.accounts.by_email("ann@example.org")
    assert user is not None
    past = await app.parts.appointments.book(ANN, "2020-01-06", "10:00", user_id=user.id)
    assert past is not None
    path = f"/api/appointments/{past.id}"
    assert (await ann.patch(path, json={"date": weekday()})).status_code == 409
    assert (await ann.delete(path)).status_code == 409


async def test_lists_are_cut_by_day_and_page(client: Client) -> None:
    ann = await bearer(client)
    made = [await booked(ann, date=weekday(n), time="09:00") for n in (2, 0, 1)]
    by_time = [made[1]["id"], made[2]["id"], made[0]["id"]]

    async def ids(**query: Any) -> list[str]:
        return [one["id"] for one in (await ann.get("/api/appointments", params=query)).json()["items"]]

    assert await ids() == by_time
    assert await ids(limit=1, offset=1) == by_time[1:2]
    assert await ids(**{"from": weekday(1)}) == by_time[1:]
    assert await ids(to=weekday(1)) == by_time[:2]
    assert await ids(status="cancelled") == []
    assert (await ann.get("/api/appointments", params={"from": "x"})).status_code == 422


async def test_a_guest_is_not_told_whose_number_it_is(client: Client) -> None:
    ann = await signed_up(client)
    await booked(ann, name="Ann")
    assert (await booked(client(), time="11:00"))["name"] == ""


async def test_the_name_left_out_is_the_profiles(client: Client) -> None:
    ann = await signed_up(client)
    await ann.patch("/api/users/profile", json={"display_name": "Ann Lee"})
    assert (await booked(ann))["name"] == "Ann Lee"


async def test_who_deletes_the_account_leaves_the_calendar(client: Client, admin: httpx2.AsyncClient) -> None:
    ann = await with_phone(client, "ann@example.org", ANN)
    made = await booked(ann, name="Ann")
    takeout = await ann.get("/api/users/export")
    assert b"appointments.json" in takeout.content
    answer = await ann.request("DELETE", "/api/users/me", json={"password": "a long and odd sentence"})
    assert answer.status_code == 204
    left = (await admin.get(f"/api/appointments/{made['id']}")).json()
    assert (left["name"], left["phone_number"], left["status"]) == ("", "", "cancelled")
    await booked(client())  # it is free


class TestTimeZone:
    """The business is where it is, wherever the server stands."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        # 14 hours ahead of UTC: there it is tomorrow already for most of the day.
        return {"PARLEY_TOOLS__APPOINTMENTS__TIMEZONE": "Pacific/Kiritimati"}

    async def test_today_is_the_business_s(self, client: Client) -> None:
        there = datetime.now(ZoneInfo("Pacific/Kiritimati"))
        query = {"date": there.date().isoformat()}
        free = (await client().get("/api/appointments/slots", params=query)).json()["slots"]
        hours = range(9, 16) if there.weekday() < 5 else ()
        assert free == [f"{hour:02d}:00" for hour in hours if hour > there.hour]
