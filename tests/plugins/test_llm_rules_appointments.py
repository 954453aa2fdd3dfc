"""The offline responder at the appointment desk, with the real tools over a real calendar."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from time import thread_time

import pytest

from pipeline.contracts import Message, ToolCall
from pipeline.llm.rules_appointments_english import ENGLISH
from pipeline.llm.rules_appointments_hear import listen
from pipeline.llm.rules_appointments_next import next_step
from pipeline.llm.rules_appointments_read import read
from pipeline.llm.rules_appointments_spanish import SPANISH
from pipeline.llm.rules_appointments_state import Appointment, News, Setting, State, Task
from pipeline.llm.rules_appointments_words import KINDS, Ask
from storage.appointments import Appointments
from tests.support.desk import ANN, FRIDAY, MONDAY, NOW, TUESDAY, WEDNESDAY, Desk, calendar_in

OTHER = "5550001111"
CODE = re.compile(r"\b(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{8}\b")


@pytest.fixture
async def calendar(tmp_path: Path) -> AsyncIterator[Appointments]:
    async with calendar_in(tmp_path) as found:
        yield found


@pytest.fixture
def desk(calendar: Appointments) -> Desk:
    return Desk(calendar)


def called(desk: Desk) -> list[str]:
    return [call.name for call in desk.calls]


# -- the checklist of the domain ------------------------------------------------------------------------


async def test_a_new_caller_books_an_appointment(desk: Desk) -> None:
    assert await desk.say("I'd like to book an appointment") == (
        "For that I need your phone number. What is your phone number, please?"
    )
    assert await desk.say("five five five one two three four five six seven") == (
        "5 5 5, 1 2 3, 4 5 6 7. Is that right?"
    )
    assert await desk.say("yes") == "And what is your name?"
    assert await desk.say("it's Maria Lopez") == "Thank you, Maria Lopez. Which day and time would you like?"
    told = await desk.say("on tuesday")
    assert told.startswith("On Tuesday, November 24 I have 9 AM, 10 AM, 11 AM, 12 PM, 1 PM, 2 PM and 3 PM.")
    assert await desk.say("two o'clock") == "Tuesday, November 24 at 2 PM. Shall I book it?"
    assert await desk.booked() == []
    told = await desk.say("yes please")
    [made] = (await desk.calendar.list(10))[0]
    assert (made.phone, made.name, made.date, made.time) == (ANN, "Maria Lopez", TUESDAY, "14:00")
    assert told == (
        f"You're booked for Tuesday, November 24 at 2 PM. Your confirmation code is {made.id}. "
        "Is there anything else?"
    )
    assert await desk.say("no that's all") == "Goodbye, Maria Lopez. Have a nice day."
    assert called(desk)[-1] == "end_conversation"


async def test_everything_may_be_said_at_once(desk: Desk) -> None:
    said = "hi my name is Sam, my number is 555 123 4567 and I want to book tomorrow week at two"
    assert await desk.say(said) == "5 5 5, 1 2 3, 4 5 6 7. Is that right?"
    assert desk.calls == []


async def test_a_known_caller_is_greeted_by_name_and_sees_what_is_booked(desk: Desk) -> None:
    await desk.calendar.remember(ANN, "Ann")
    made = await desk.calendar.book(ANN, TUESDAY, "14:00")
    assert made is not None
    await desk.say("what are my appointments")
    await desk.say("5551234567")
    assert await desk.say("yes that's right") == (
        f"Welcome back, Ann. You have one appointment: Tuesday, November 24 at 2 PM, code {made.id}. "
        "Is there anything else?"
    )


async def test_a_caller_moves_the_only_appointment(desk: Desk) -> None:
    made = await desk.calendar.book(ANN, TUESDAY, "14:00")
    assert made is not None
    await desk.identify()
    assert await desk.say("I need to reschedule my appointment") == (
        "Your appointment is on Tuesday, November 24 at 2 PM. Which day and time would you like?"
    )
    assert await desk.say("friday at three") == (
        "Friday, November 27 at 3 PM instead of Tuesday, November 24 at 2 PM. Shall I move it?"
    )
    assert await desk.booked() == [(ANN, TUESDAY, "14:00")]
    told = await desk.say("yes")
    assert told.startswith("Done. Your appointment is now on Friday, November 27 at 3 PM.")
    assert made.id in told
    assert await desk.booked() == [(ANN, FRIDAY, "15:00")]


async def test_which_one_to_move_and_where_to_may_be_said_at_once(desk: Desk) -> None:
    await desk.calendar.book(ANN, TUESDAY, "14:00")
    await desk.calendar.book(ANN, WEDNESDAY, "09:00")
    await desk.identify()
    told = await desk.say("I want to move my Wednesday appointment to Friday at ten")
    assert told == "Friday, November 27 at 10 AM instead of Wednesday, November 25 at 9 AM. Shall I move it?"
    await desk.say("sure")
    assert await desk.booked() == [(ANN, TUESDAY, "14:00"), (ANN, FRIDAY, "10:00")]


async def test_a_caller_cancels_after_saying_yes_to_it(desk: Desk) -> None:
    made = await desk.calendar.book(ANN, TUESDAY, "14:00")
    assert made is not None
    await desk.identify()
    asked = f"Tuesday, November 24 at 2 PM, code {made.id}. Shall I cancel it?"
    assert await desk.say("cancel my appointment please") == asked
    assert await desk.say("no") == "All right, I leave it as it is. Is there anything else?"
    assert await desk.booked() == [(ANN, TUESDAY, "14:00")]
    assert await desk.say("cancel it") == asked
    assert await desk.say("yes") == (
        "Your appointment on Tuesday, November 24 at 2 PM is cancelled. Is there anything else?"
    )
    assert await desk.booked() == []


@pytest.mark.parametrize(
    "said", ["wednesday", "the one on wednesday", "the last one", "nine", "{code}", "{spelled}"]
)
async def test_which_one_to_cancel_can_be_said_in_many_ways(desk: Desk, said: str) -> None:
    await desk.calendar.book(ANN, TUESDAY, "14:00")
    made = await desk.calendar.book(ANN, WEDNESDAY, "09:00")
    assert made is not None
    await desk.identify()
    assert (await desk.say("cancel my appointment")).endswith("Which one do you mean?")
    spelled = " ".join(made.id)
    told = await desk.say(said.format(code=made.id, spelled=spelled))
    assert told == f"Wednesday, November 25 at 9 AM, code {made.id}. Shall I cancel it?"


async def test_an_unknown_code_is_asked_for_again(desk: Desk) -> None:
    made = await desk.calendar.book(ANN, TUESDAY, "14:00")
    assert made is not None
    await desk.identify()
    assert await desk.say("cancel the appointment zzzzzz99") == (
        "I find no appointment of yours with the code zzzzzz99. What is the confirmation code?"
    )
    told = await desk.say(" ".join(made.id))
    assert told == f"Tuesday, November 24 at 2 PM, code {made.id}. Shall I cancel it?"
    assert await desk.booked() == [(ANN, TUESDAY, "14:00")]


async def test_what_is_free_needs_no_phone_number(desk: Desk) -> None:
    await desk.calendar.book(OTHER, TUESDAY, "10:00")
    told = await desk.say("what times are free on tuesday?")
    assert told == (
        "On Tuesday, November 24 I have 9 AM, 11 AM, 12 PM, 1 PM, 2 PM and 3 PM. "
        "Would you like to book one of them?"
    )
    assert called(desk) == ["fetch_available_slots"]
    assert await desk.say("no thanks") == "All right, not then. Is there anything else?"


async def test_asking_for_one_time_leads_to_booking_it(desk: Desk) -> None:
    assert await desk.say("are you free on tuesday at two?") == (
        "Tuesday, November 24 at 2 PM is free. Would you like to book it?"
    )
    await desk.say("yes")
    await desk.say("5551234567")
    await desk.say("yes")
    assert await desk.say("Sam") == "Thank you, Sam. Tuesday, November 24 at 2 PM. Shall I book it?"
    await desk.say("yes")
    assert await desk.booked() == [(ANN, TUESDAY, "14:00")]


async def test_a_bad_phone_number_is_not_taken(desk: Desk) -> None:
    await desk.say("book an appointment")
    assert await desk.say("12345") == "1 2 3, 4 5. I need ten digits. What are the other 5 digits?"
    told = await desk.say("555 123 4567 89")
    assert told == "That was 12 digits, and I need ten. What is your phone number, please?"
    assert desk.calls == []
    assert await desk.say("5551234567") == "5 5 5, 1 2 3, 4 5 6 7. Is that right?"


async def test_a_taken_slot_is_refused_and_the_free_ones_are_named(desk: Desk) -> None:
    await desk.calendar.book(OTHER, TUESDAY, "14:00")
    await desk.identify()
    assert await desk.say("book tuesday at two") == (
        "2 PM is not free on Tuesday, November 24. I have 9 AM, 10 AM, 11 AM, 12 PM, 1 PM and 3 PM. "
        "What time would you like?"
    )
    assert await desk.say("three") == "Tuesday, November 24 at 3 PM. Shall I book it?"


async def test_a_slot_that_is_taken_meanwhile_is_refused_by_the_tool(desk: Desk) -> None:
    await desk.identify()
    assert (await desk.say("book tuesday at two")).endswith("Shall I book it?")
    await desk.calendar.book(OTHER, TUESDAY, "14:00")
    told = await desk.say("yes")
    assert told == (
        "Tuesday, November 24 at 2 PM is already taken. Please choose another time. "
        "Still free that day: 9 AM, 10 AM, 11 AM, 12 PM, 1 PM, 3 PM. What time would you like?"
    )
    assert await desk.booked() == [(OTHER, TUESDAY, "14:00")]
    await desk.say("at nine")
    await desk.say("yes")
    assert await desk.booked() == [(ANN, TUESDAY, "09:00"), (OTHER, TUESDAY, "14:00")]


@pytest.mark.parametrize(
    ("said", "why"),
    [("saturday at ten", "weekend"), ("yesterday at ten", "past"), ("2026-11-02 at ten", "past")],
)
async def test_a_day_that_cannot_be_had_is_asked_for_again(desk: Desk, said: str, why: str) -> None:
    await desk.identify()
    told = await desk.say(f"book an appointment {said}")
    assert why in told
    assert told.endswith("Which other day would you like?")
    assert await desk.say("then monday") == "Monday, November 23 at 10 AM. Shall I book it?"
    assert await desk.booked() == []


async def test_tomorrow_is_where_the_business_is(calendar: Appointments) -> None:
    desk = Desk(calendar, timezone="Pacific/Kiritimati")  # Sunday morning, while it is Saturday here
    await desk.identify()
    assert await desk.say("book tomorrow at ten") == "Monday, November 23 at 10 AM. Shall I book it?"


@pytest.mark.parametrize("said", ["goodbye", "bye bye", "okay goodbye then"])
async def test_goodbye_ends_the_conversation(desk: Desk, said: str) -> None:
    assert await desk.say(said) == "Goodbye. Have a nice day."
    assert called(desk) == ["end_conversation"]


async def test_all_of_it_in_spanish(calendar: Appointments) -> None:
    desk = Desk(calendar, "es-MX")
    await desk.say("quiero reservar una cita")
    assert await desk.say("cinco cinco cinco, uno dos tres") == (
        "5 5 5, 1 2 3. Necesito diez cifras. ¿Cuáles son las otras 4 cifras?"
    )
    assert await desk.say("cuatro cinco seis siete") == "5 5 5, 1 2 3, 4 5 6 7. ¿Es correcto?"
    assert await desk.say("sí") == "¿Y cómo se llama?"
    assert await desk.say("me llamo Pepe") == "Gracias, Pepe. ¿Qué día y a qué hora le gustaría?"
    assert await desk.say("el martes a las dos") == "El martes 24 de noviembre, a las 14:00. ¿La reservo?"
    assert "Su código de confirmación es" in await desk.say("sí, por favor")
    assert await desk.say("cambia mi cita al miércoles a las once") == (
        "El miércoles 25 de noviembre, a las 11:00, en lugar del martes 24 de noviembre, a las 14:00. "
        "¿La cambio?"
    )
    await desk.say("sí")
    assert await desk.booked() == [(ANN, WEDNESDAY, "11:00")]
    assert (await desk.say("cancela mi cita")).endswith("¿La cancelo?")
    await desk.say("sí")
    assert await desk.booked() == []
    assert await desk.say("no gracias") == "Adiós, Pepe. Que tenga un buen día."


# -- phone numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "read_back"),
    [
        ("no, it's 556 123 4567", "5 5 6, 1 2 3, 4 5 6 7"),
        ("no, it's five five six", "5 5 6, 1 2 3, 4 5 6 7"),
        ("no the last four are nine nine nine eight", "5 5 5, 1 2 3, 9 9 9 8"),
        ("the last digit is eight", "5 5 5, 1 2 3, 4 5 6 8"),
        ("no not 123, 124", "5 5 5, 1 2 4, 4 5 6 7"),
        ("the area code is six oh six", "6 0 6, 1 2 3, 4 5 6 7"),
    ],
)
async def test_the_number_can_be_corrected(desk: Desk, said: str, read_back: str) -> None:
    await desk.say("book an appointment")
    await desk.say("5551234567")
    assert await desk.say(said) == f"{read_back}. Is that right?"
    await desk.say("yes")
    assert desk.caller.phone == re.sub(r"\D", "", read_back)


async def test_a_plain_no_takes_the_number_from_the_start(desk: Desk) -> None:
    await desk.say("book an appointment")
    await desk.say("555 123 4567")
    told = await desk.say("no that's wrong")
    assert told == "Sorry. Let's take the number again. What is your phone number, please?"
    assert await desk.say("5559876543") == "5 5 5, 9 8 7, 6 5 4 3. Is that right?"


# -- what goes wrong by voice ---------------------------------------------------------------------------


async def test_a_yes_to_a_question_that_was_not_heard_books_nothing(desk: Desk) -> None:
    await desk.identify()
    await desk.say("book tuesday at two", heard="Tuesday, November")
    assert await desk.say("yes") == "Tuesday, November 24 at 2 PM. Shall I book it?"
    assert await desk.booked() == []
    await desk.say("yes")
    assert await desk.booked() == [(ANN, TUESDAY, "14:00")]


async def test_a_yes_that_was_cut_off_before_the_tool_ran_has_to_be_said_again(desk: Desk) -> None:
    await desk.identify()
    await desk.say("book tuesday at two")
    desk.messages.append(Message("user", "yes"))  # and on they spoke: no tool ran, no reply was heard
    assert await desk.say("hold on") != ""
    assert await desk.booked() == []


async def test_a_booking_is_told_until_its_code_was_heard(desk: Desk) -> None:
    await desk.identify()
    await desk.say("book tuesday at two")
    await desk.say("yes", heard="")
    [made] = (await desk.calendar.list(10))[0]
    assert made.id in await desk.say("hello?", heard="You're booked for Tuesday")
    assert made.id in await desk.say("yes")
    assert made.id not in await desk.say("thanks")
    assert await desk.booked() == [(ANN, TUESDAY, "14:00")]
    assert called(desk).count("book_appointment") == 1


async def test_small_talk_in_between_leads_back_to_the_question(desk: Desk) -> None:
    await desk.identify()
    await desk.say("book an appointment")
    told = await desk.say("how are you")
    assert told.endswith("Which day and time would you like?")
    told = await desk.say("what time is it")
    assert "3:05 PM" in told
    assert told.endswith("Which day and time would you like?")
    told = await desk.say("purple elephants")
    assert told == "Sorry, I didn't get that. Which day and time would you like?"
    assert await desk.say("tuesday at two") == "Tuesday, November 24 at 2 PM. Shall I book it?"


async def test_it_can_be_asked_to_say_it_again(desk: Desk) -> None:
    await desk.identify()
    told = await desk.say("book an appointment on tuesday")
    assert await desk.say("say that again please") == told
    assert await desk.say("never mind") == "Okay, we leave it. Is there anything else?"


async def test_a_tool_that_fails_is_tried_again_when_the_caller_wants(desk: Desk) -> None:
    desk.messages += [
        Message("user", "what is free on tuesday"),
        Message("assistant", "", (ToolCall("1", "fetch_available_slots", {"date": TUESDAY}),)),
        Message("tool", '{"ok": false, "error": "broken"}', tool_call_id="1", name="fetch_available_slots"),
    ]
    told = desk.responder.answer(desk.prompt())
    assert told == "I'm sorry, that didn't work just now. Shall I try again?"
    desk.messages.append(Message("assistant", told))
    assert "9 AM" in await desk.say("yes")


LINES = (
    *("book an appointment", "tuesday at two", "wednesday", "at ten", "saturday", "yes", "yes", "yes", "no"),
    *("555", "123 4567", "5551234567", "no the last four are 9999", "Ann", "cancel my appointment", "hello"),
    *("move it to friday at three", "what is free on monday", "what are my appointments", "never mind", ""),
    *(
        "say that again",
        "how are you",
        "what time is it",
        "zzzzzz99",
        "goodbye",
        "any of them",
        "two",
        "okay",
    ),
    *("the first one", "that's all", "mumble"),
)
NO_CONSENT = ("", "no", "never mind", "mumble", "hello", "how are you", "say that again", "what time is it")
RIGHT = {
    Ask.PHONE: "5551234567",
    Ask.REST: "5551234567",
    Ask.NAME: "Ann",
    Ask.DATE: "wednesday",
    Ask.OTHER_DATE: "wednesday",
    Ask.TIME: "any of them",
    Ask.WHEN: "tuesday at two",
    Ask.WHICH: "the first one",
    Ask.CODE: "the first one",
    Ask.OPEN: "book an appointment",
    Ask.MORE: "move it to friday at three",
}
"""What a caller who knows what they want says to a question; else it is yes."""


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_done_but_what_was_read_back_and_agreed_to(desk: Desk, seed: int) -> None:
    """Callers who say anything at any time, and interrupt: every effect was read back whole and followed by
    a yes, every reply says something, and no reply uses more tools than a reply may."""
    random = Random(seed)
    setting = Setting("en", NOW.date())
    for _ in range(60):
        asked = next_step(read(desk.messages, setting), setting).ask
        line = RIGHT.get(asked, "yes") if random.random() < 0.6 else random.choice(LINES)
        heard_before = desk.messages[-1].content
        before = len(desk.calls)
        places = {a.id: setting.slot(a.date, a.time) for a in (await desk.calendar.list(100))[0]}
        reply = await desk.say(line, heard=None if random.random() < 0.7 else "")
        if random.random() < 0.3 and desk.messages[-1].content == reply:  # cut off in the middle
            desk.messages[-1] = Message("assistant", reply[: random.randrange(len(reply))])
        assert reply.strip()
        made = desk.calls[before:]
        assert len(made) < 5
        for call in made:
            given = dict(call.arguments)
            if call.name == "identify_user" and not desk.caller.name:
                continue
            if call.name == "book_appointment":
                wanted = setting.slot(given["date"], given["time"])
            elif call.name == "modify_appointment":
                wanted = setting.slot(given["new_date"], given["new_time"])
            elif call.name == "cancel_appointment":
                wanted = places[given["appointment_id"]]
            else:
                continue
            assert wanted in heard_before, (line, heard_before)
            assert line not in NO_CONSENT
    assert "book_appointment" in called(desk)
    slots = [(day, time) for _, day, time in await desk.booked()]
    assert len(slots) == len(set(slots))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(
            (said, True)
            for said in ("yes", "yes please", "that's right", "that is correct", "okay book it", "sure")
        ),
        *((said, True) for said in ("no problem", "why not", "yeah do that", "go ahead", "correct")),
        *(
            (said, False)
            for said in ("no", "know", "no thanks", "that's wrong", "yes no wait", "okay wait", "don't")
        ),
        *(
            (said, None)
            for said in ("what time is it", "good morning", "please tell me the price", "maybe", "")
        ),
        *((said, None) for said in ("is it far", "I think we could perhaps do that one of these days")),
    ],
)
def test_consent_is_not_guessed(said: str, meant: bool | None) -> None:
    assert listen(said, Ask.BOOK_OK, Setting("en", NOW.date())).yes is meant


# -- the reader -----------------------------------------------------------------------------------------


def test_what_is_known_is_read_from_the_messages_alone() -> None:
    setting = Setting("en", NOW.date())
    messages = [
        Message("assistant", "Hello!"),
        Message("user", "book an appointment on tuesday at two"),
        Message("assistant", "For that I need your phone number. What is your phone number, please?"),
        Message("user", "five five five"),
    ]
    known = State(Task.BOOK, Ask.PHONE, digits="555", date=TUESDAY, time="14:00")
    assert read(messages, setting) == known
    messages += [
        Message("assistant", "5 5 5. I need ten digits. What are the other 7 digits?"),
        Message("user", "won to three for five six seven"),
    ]
    known = State(Task.BOOK, Ask.REST, digits=ANN, date=TUESDAY, time="14:00")
    assert read(messages, setting) == known
    messages += [Message("assistant", "5 5 5, 1 2 3, 4 5 6 7. Is that right?"), Message("user", "yes")]
    known = State(Task.BOOK, Ask.PHONE_OK, heard=True, agreed=True, digits=ANN, date=TUESDAY, time="14:00")
    assert read(messages, setting) == known
    messages += [
        Message("assistant", "", (ToolCall("1", "identify_user", {"phone_number": ANN}),)),
        Message(
            "tool", '{"ok": true, "name": "Ann", "returning": true}', tool_call_id="1", name="identify_user"
        ),
    ]
    known = replace(
        known,
        agreed=False,
        digits="",
        phone=ANN,
        name="Ann",
        registered="Ann",
        news=(News("Welcome back, Ann."),),
    )
    assert read(messages, setting) == known


def test_a_result_that_comes_late_is_understood_all_the_same() -> None:
    appointment = {"appointment_id": "k3x9m2q7", "date": MONDAY, "time": "09:00"}
    told = json.dumps({"ok": True, "appointments": [appointment]})
    messages = [
        Message("user", "what are my appointments"),
        Message("user", "hello?"),
        Message("assistant", "", (ToolCall("1", "get_user_appointments", {}),)),
        Message("tool", told, tool_call_id="1", name="get_user_appointments"),
    ]
    assert read(messages, Setting("en", NOW.date())).appointments == (
        Appointment("k3x9m2q7", MONDAY, "09:00"),
    )


def test_every_question_is_asked_in_both_languages_and_has_a_kind() -> None:
    assert set(ENGLISH.asks) == set(SPANISH.asks) == set(KINDS) == set(Ask)
    assert set(ENGLISH.said) == set(SPANISH.said)
    for wording in (ENGLISH, SPANISH):
        assert all(question.endswith(("?", ".")) for asked in wording.asks.values() for question in asked)


async def test_it_answers_at_once_also_late_in_a_long_talk(desk: Desk) -> None:
    await desk.identify()
    for _ in range(20):
        await desk.say("what is free on tuesday")
        await desk.say("no thanks")
    started = thread_time()
    for _ in range(10):
        desk.responder.answer(desk.prompt())
    assert (thread_time() - started) / 10 < 0.02, "it would hold up the loop"
