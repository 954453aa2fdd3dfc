"""One calendar: what a caller books with the offline responder is taken over HTTP."""

import re

import httpx2
import pytest

from server.app import App
from tests.routes.conftest import Client, signed_up
from tests.routes.test_appointments import ANN, weekday

FIRST_SLOT = "09:00"


@pytest.fixture
def settings() -> dict[str, str]:
    return {"PARLEY_LLM__PLUGIN": "rules", "PARLEY_PIPELINE__GREETING": ""}


class Typed:
    """A talk by typed text over REST."""

    def __init__(self, who: httpx2.AsyncClient) -> None:
        self._who, self._id = who, ""

    async def say(self, text: str) -> str:
        if not self._id:
            self._id = (await self._who.post("/conversation/start", json={})).json()["session_id"]
        body = {"session_id": self._id, "text": text}
        answer = await self._who.post("/conversation/process", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["response"])


async def known(talk: Typed) -> None:
    """Say who calls, and agree to the number that is read back."""
    await talk.say("I want to book an appointment")
    await talk.say("my name is Ann and my number is 555 123 4567")
    await talk.say("yes")


async def test_a_caller_books_what_then_is_taken_over_http(client: Client, app: App) -> None:
    admin = await signed_up(client)
    talk = Typed(client())
    await known(talk)
    await talk.say(weekday())
    said = await talk.say("nine in the morning")
    for _ in range(3):  # it may ask whether that is right
        booked, _total = await app.parts.appointments.list(phone=ANN)
        if booked:
            break
        said = await talk.say("yes")
    assert [(one.date, one.time) for one in booked] == [(weekday(), FIRST_SLOT)]
    assert booked[0].session_id
    assert re.search(booked[0].id, said)
    free = (await client().get("/api/appointments/slots", params={"date": weekday()})).json()["slots"]
    assert FIRST_SLOT not in free
    wanted = {"phone_number": "5550000000", "date": weekday(), "time": FIRST_SLOT}
    assert (await client().post("/api/appointments", json=wanted)).status_code == 409
    seen = (await admin.get(f"/api/appointments/{booked[0].id}")).json()
    assert (seen["phone_number"], seen["status"]) == (ANN, "booked")
