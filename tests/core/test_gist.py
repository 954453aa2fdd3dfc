"""What is told about a talk without a model: appointments, preferences, and a few sentences."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.contracts import Message
from pipeline.gist import QUOTE_CHARS, Summary, as_kept, discussed, person, preferences, summarized, text_of
from pipeline.summary import MOST_CHARS, asked, read

BOOKED = {"ok": True, "appointment_id": "a1b2c3d4", "date": "2026-11-24", "time": "10:00", "status": "booked"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def agent(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def tool(name: str, arguments: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "name": name, "arguments": arguments, "result": result}


def book() -> dict[str, Any]:
    return tool("book_appointment", {"date": "2026-11-24", "time": "10:00"}, BOOKED)


def entry(action: str, date: str, time: str, code: str = "a1b2c3d4") -> dict[str, str]:
    return {"action": action, "date": date, "time": time, "appointment_id": code}


# -- appointments -----------------------------------------------------------------------------------------


def test_appointments_are_what_the_tools_confirmed_in_order() -> None:
    moved = tool(
        "modify_appointment",
        {"appointment_id": "a1b2c3d4", "new_date": "2026-11-25", "new_time": "11:00"},
        {"ok": True, "appointment_id": "a1b2c3d4", "status": "booked"},
    )
    cancelled = tool(
        "cancel_appointment", {"appointment_id": "a1b2c3d4"}, {"ok": True, "status": "cancelled"}
    )
    assert discussed([book(), moved, cancelled]) == (
        entry("booked", "2026-11-24", "10:00"),
        entry("modified", "2026-11-25", "11:00"),
        entry("cancelled", "2026-11-25", "11:00"),
    )


def test_what_was_refused_or_failed_is_no_appointment() -> None:
    refused = tool(
        "book_appointment", {"date": "2026-11-28", "time": "10:00"}, {"ok": False, "message": "No."}
    )
    failed = tool("book_appointment", {"date": "2026-11-28", "time": "10:00"}, {"error": "it broke"})
    claimed = agent("I have booked you in for Saturday at ten.")
    assert discussed([refused, failed, claimed]) == ()


def test_a_call_that_was_made_twice_is_one_appointment() -> None:
    assert discussed([book(), book()]) == (entry("booked", "2026-11-24", "10:00"),)


def test_appointments_that_were_only_looked_up_were_viewed() -> None:
    listed = [
        {"appointment_id": "a1b2c3d4", "date": "2026-11-24", "time": "10:00"},
        {"appointment_id": "zz11yy22", "date": "2026-11-26", "time": "09:00"},
    ]
    looked_up = tool("get_user_appointments", {}, {"ok": True, "appointments": listed})
    assert discussed([looked_up, book()]) == (
        entry("viewed", "2026-11-26", "09:00", "zz11yy22"),
        entry("booked", "2026-11-24", "10:00"),
    )


@pytest.mark.parametrize("result", [None, "text", [], {"ok": True, "appointments": 3}, {"ok": True}])
def test_odd_results_of_tools_are_no_appointments(result: Any) -> None:
    odd = {"role": "tool", "name": "get_user_appointments", "arguments": None, "result": result}
    assert discussed([odd, {"role": "tool"}]) == ()
    assert person([odd]) == ("", "")


def test_who_called_is_what_the_tool_took_not_what_it_refused() -> None:
    refused = tool(
        "identify_user", {"phone_number": "12", "name": "Bob"}, {"ok": False, "message": "Too short."}
    )
    taken = tool("identify_user", {"phone_number": "(555) 123-4567"}, {"ok": True, "name": "Ann"})
    assert person([taken, refused]) == ("Ann", "5551234567")
    assert person([refused]) == ("", "")


# -- preferences ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("I prefer the afternoon.", ("I prefer the afternoon",)),
        ("Yes, but mornings are better for me", ("mornings are better for me",)),
        ("I like tea. I don’t like Mondays!", ("I like tea", "I don't like Mondays")),
        ("Prefiero las tardes, pero los lunes me viene mejor temprano", None),
        ("Me gusta el té", ("Me gusta el té",)),
        ("I would like to book an appointment", ()),
        ("I'd like to cancel. I like that.", ()),
        ("Do I like it?", ()),
        ("book me for ten", ()),
    ],
)
def test_preferences_are_the_users_own_words(said: str, found: tuple[str, ...] | None) -> None:
    if found is None:
        found = ("Prefiero las tardes", "los lunes me viene mejor temprano")
    assert preferences([user(said), agent("I prefer tea myself.")]) == found


def test_a_preference_that_was_repeated_is_one() -> None:
    assert preferences([user("I prefer mornings."), user("i prefer mornings")]) == ("I prefer mornings",)


# -- sentences --------------------------------------------------------------------------------------------


def test_a_talk_without_a_word_says_so_in_its_language() -> None:
    assert text_of([agent("Hello!")]) == "Nothing was said by the user."
    assert text_of([], "es-MX") == "El usuario no dijo nada."


def test_the_text_says_what_was_wanted_what_was_done_and_what_was_left() -> None:
    messages = [
        user("hello"),
        user("I want to book an appointment for tomorrow"),
        tool("identify_user", {"phone_number": "5551234567"}, {"ok": True, "name": "Ann"}),
        book(),
        tool(
            "cancel_appointment", {"appointment_id": "zz"}, {"ok": False, "message": "There is no such code."}
        ),
        agent("Done."),
        user("and what does it cost?"),
    ]
    assert text_of(messages) == (
        "The talk had 3 turns. The caller is Ann. "
        "The user said: “I want to book an appointment for tomorrow”; “and what does it cost?”. "
        "An appointment was booked for 2026-11-24 at 10:00 (code a1b2c3d4). "
        "Not done: There is no such code. Left without an answer: “and what does it cost?”."
    )
    assert "Se reservó una cita para el 2026-11-24 a las 10:00 (código a1b2c3d4)." in text_of(messages, "es")


def test_a_refusal_that_was_made_good_later_is_not_left_open() -> None:
    refused = tool("book_appointment", {"date": "x", "time": "y"}, {"ok": False, "message": "That is taken."})
    assert "taken" not in text_of([user("book me in"), refused, book(), agent("Done.")])
    asked_back = {"ok": False, "needs_confirmation": True, "message": "Are you sure?"}
    assert "sure" not in text_of(
        [user("cancel it"), tool("cancel_appointment", {}, asked_back), agent("Sure?")]
    )


def test_an_answer_that_nobody_heard_is_none() -> None:
    unheard = agent("It costs nothing.", interrupted=True, heard="")
    assert "Left without an answer: “what does it cost?”" in text_of([user("what does it cost?"), unheard])


def test_only_small_words_are_quoted_when_nothing_else_was_said() -> None:
    assert text_of([user("hello"), agent("Hi.")]) == "The talk had one turn. The user said: “hello”."


def test_long_words_are_cut_after_a_word() -> None:
    text = text_of([user("please " * 100), agent("Yes.")])
    assert "please …”" in text
    assert len(text) < QUOTE_CHARS + 80


def test_a_conversation_file_is_summed_up_whatever_it_holds() -> None:
    kept = as_kept({"messages": [user("hola, quiero una cita"), "damage"], "language": "es"})
    assert kept["summary"].startswith("La conversación tuvo un turno.")
    assert as_kept({})["summary"] == "Nothing was said by the user."
    assert as_kept({}).keys() == {"summary", "appointments_discussed", "preferences_mentioned"}


# -- what a model writes ----------------------------------------------------------------------------------

PLAIN = Summary("plain", (entry("booked", "2026-11-24", "10:00"),), ("I like tea",))


@pytest.mark.parametrize(
    ("answer", "text", "liked"),
    [
        (
            '{"summary": "Ann booked.", "preferences_mentioned": ["tea", "tea", 3, ""]}',
            "Ann booked.",
            ("tea",),
        ),
        ('Sure!\n```json\n{"summary": "Ann\nbooked.", "preferences_mentioned": []}\n```', "Ann booked.", ()),
        ('{"note": 1} {"summary": "Ann booked."}', "Ann booked.", ("I like tea",)),
        ("Ann booked an appointment.", "Ann booked an appointment.", ("I like tea",)),
        ('{"summary": "Ann booked. She also ask', "Ann booked.", ("I like tea",)),
        ('{"summary": "Ann bo', "plain", ("I like tea",)),
        ('{"summary": null, "preferences_mentioned": ["x"]}', "plain", ("x",)),
        ("", "plain", ("I like tea",)),
        ("{" * 2000, "plain", ("I like tea",)),
    ],
)
def test_a_models_answer_is_read_as_far_as_it_can_be(answer: str, text: str, liked: tuple[str, ...]) -> None:
    found = read(answer, PLAIN)
    assert (found.text, found.preferences) == (text, liked)


def test_a_model_cannot_invent_appointments() -> None:
    answer = '{"summary": "x.", "appointments_discussed": [{"action": "booked", "appointment_id": "zz"}]}'
    assert read(answer, PLAIN).appointments == PLAIN.appointments


def test_a_model_is_asked_in_the_talks_language_with_what_was_heard() -> None:
    cut = agent("It costs nothing at all.", interrupted=True, heard="It costs nothing")
    prompt = asked([user("¿cuánto cuesta?"), cut, book()], "es", "s1")
    system, transcript = prompt.messages
    assert "in Spanish" in system.content
    assert isinstance(transcript, Message)
    assert transcript.content.splitlines()[:2] == ["user: ¿cuánto cuesta?", "assistant: It costs nothing"]
    assert transcript.content.splitlines()[2].startswith('tool book_appointment {"date": "2026-11-24"')
    assert prompt.tools == ()


def test_a_very_long_talk_is_read_without_its_middle() -> None:
    prompt = asked([user(f"number {i} " * 20) for i in range(500)], "en", "s1")
    text = prompt.messages[1].content
    assert MOST_CHARS <= len(text) <= MOST_CHARS + 10
    assert "number 0 " in text
    assert "number 499 " in text


def test_a_summary_is_told_in_the_names_of_the_wire() -> None:
    told = summarized([user("I prefer tea"), book()]).told()
    assert told["appointments_discussed"] == [entry("booked", "2026-11-24", "10:00")]
    assert told["preferences_mentioned"] == ["I prefer tea"]
