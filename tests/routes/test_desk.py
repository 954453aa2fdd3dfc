"""The appointment desk through the running application, with the offline responder: typed conversations."""

import asyncio
import re
from datetime import date, timedelta

import httpx2
import pytest

from server.app import App
from tests.routes.conftest import Client

ANN, BOB = "5551234567", "5557654321"
CODE = re.compile(r"\b(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{8}\b")


def weekday(number: int) -> str:
    """The date of that day of the week, in the week after next: whatever day it is today."""
    monday = date.today() - timedelta(days=date.today().weekday()) + timedelta(days=14)
    return (monday + timedelta(days=number)).isoformat()


MONDAY, TUESDAY, SATURDAY = weekday(0), weekday(1), weekday(5)


@pytest.fixture
def settings() -> dict[str, str]:
    return {"PARLEY_LLM__PLUGIN": "rules", "PARLEY_TTS__SCRIPTED__MS_PER_CHAR": "1"}


class Caller:
    """Somebody who types."""

    def __init__(self, http: httpx2.AsyncClient, session_id: str) -> None:
        self._http, self.session_id = http, session_id

    async def says(self, *lines: str) -> str:
        """Say them one after the other. What is said back last."""
        told = ""
        for line in lines:
            body = {"session_id": self.session_id, "text": line}
            answer = await self._http.post("/conversation/process", json=body)
            assert answer.status_code == 200, answer.text
            told = answer.json()["response"]
        return told

    async def identified(self, phone: str, name: str) -> None:
        told = await self.says(f"my name is {name}", f"my number is {phone}", "yes")
        assert told.endswith("How can I help?"), told


async def call(http: httpx2.AsyncClient) -> Caller:
    return Caller(http, (await http.post("/conversation/start")).json()["session_id"])


async def free(http: httpx2.AsyncClient, day: str) -> list[str]:
    answer = await http.get("/api/appointments/slots", params={"date": day})
    slots: list[str] = answer.json()["slots"]
    return slots


async def test_a_new_caller_books_then_calls_again_to_move_and_to_cancel(app: App, client: Client) -> None:
    http = client()
    caller = await call(http)
    told = await caller.says("book an appointment", "555 123", "four five six seven", "yes", "Ann")
    assert told == "Thank you, Ann. Which day and time would you like?"
    assert (await caller.says(f"{TUESDAY} at two")).endswith("at 2 PM. Shall I book it?")
    assert "14:00" in await free(http, TUESDAY)
    code = CODE.search(await caller.says("yes"))
    assert code is not None
    assert "14:00" not in await free(http, TUESDAY)
    made = await app.parts.appointments.get(code[0])
    assert made is not None
    assert (made.phone, made.name, made.session_id) == (ANN, "Ann", caller.session_id)
    assert await caller.says("no that's all") == "Goodbye, Ann. Have a nice day."

    again = await call(http)
    told = await again.says("what are my appointments", ANN, "yes")
    assert told.startswith("Welcome back, Ann. You have one appointment:")
    assert code[0] in told
    told = await again.says(f"move it to {MONDAY} at ten", "yes")
    assert told.startswith("Done.")
    assert ("10:00" in await free(http, MONDAY), "14:00" in await free(http, TUESDAY)) == (False, True)
    assert (await again.says(f"cancel {code[0]}")).endswith("Shall I cancel it?")
    assert "is cancelled" in await again.says("yes")
    assert "10:00" in await free(http, MONDAY)


async def test_what_cannot_be_booked_is_refused_and_nothing_is_booked(app: App, client: Client) -> None:
    http = client()
    await app.parts.appointments.book(BOB, TUESDAY, "14:00")
    caller = await call(http)
    assert "I need ten digits" in await caller.says("book an appointment", "12345")
    await caller.says(ANN, "yes", "Ann")
    assert "weekend" in await caller.says(f"{SATURDAY} at ten")
    assert "past" in await caller.says("yesterday at ten")
    told = await caller.says(f"{TUESDAY} at two")
    assert "2 PM is not free" in told
    assert "3 PM. What time would you like?" in told
    told = await caller.says("never mind", "cancel zzzzzz99")
    assert told == "You have no appointments. Is there anything else?"
    assert [one.phone for one in (await app.parts.appointments.list())[0]] == [BOB]


async def test_of_two_who_say_yes_at_the_same_instant_one_gets_the_slot(app: App, client: Client) -> None:
    callers = [await call(client()) for _ in range(2)]
    for caller, phone, name in zip(callers, (ANN, BOB), ("Ann", "Bob"), strict=True):
        await caller.identified(phone, name)
        assert (await caller.says(f"book {TUESDAY} at two")).endswith("Shall I book it?")
    told = await asyncio.gather(*(caller.says("yes") for caller in callers))
    assert sorted("You're booked" in one for one in told) == [False, True]
    lost = next(one for one in told if "You're booked" not in one)
    assert "already taken" in lost
    assert lost.endswith("What time would you like?")
    assert len((await app.parts.appointments.list())[0]) == 1


async def test_goodbye_ends_the_talk(app: App, client: Client) -> None:
    http = client()
    caller = await call(http)
    assert await caller.says("goodbye") == "Goodbye. Have a nice day."
    async with asyncio.timeout(20):
        while app.sessions.get(caller.session_id) is not None:
            await asyncio.sleep(0.05)
    body = {"session_id": caller.session_id, "text": "hello?"}
    assert (await http.post("/conversation/process", json=body)).status_code == 409
