"""What kind of answer an agent waits for, from its own words; and when such an answer is finished."""

import pytest

from pipeline.core.endpoint import Timing
from pipeline.questions import Question, asked_for, judge, likely_words, paced, question

ENGLISH = {
    "digits": (
        "For that I need your phone number. What is your phone number, please?",
        "Please tell me your ten-digit phone number.",
        "What are the other 6 digits?",
        "Could you give me your phone number?",
        "May I have your telephone number, please?",
        "And what's the best number to reach you?",
        "Sorry, I need ten digits. What is your phone number, please?",
        "Can I get your zip code?",
        "Could you repeat the last four digits for me?",
        "I'll need your phone number to look that up.",
        "Great! To get started, could you please provide your phone number?",
    ),
    "date": (
        "Which day would you like?",
        "Which day would suit you? You can say tomorrow, or a date.",
        "Sure. When would you like to come in?",
        "Which day and time would you like?",
        "What date works best for you?",
        "Would you prefer Monday or Tuesday?",
        "Thank you, Anna. Which other day would you like?",
        "What is your date of birth?",
        "Which one do you mean? Tell me the day or the code.",
    ),
    "time": (
        "On Tuesday I have nine, ten and two. Which of these times would you like?",
        "What time would you like?",
        "Would you like nine or ten o'clock?",
        "Do you prefer the morning or the afternoon?",
        "And at what time?",
    ),
    "yes_no": (
        "5 5 5, 1 2 3, 4 5 6 7. Is that right?",
        "Is that number right?",
        "Shall I book it? Please say yes or no.",
        "Monday the twenty third at two. Shall I book it?",
        "Would you like to book one of them?",
        "Is there anything else?",
        "Anything else?",
        "So that's tomorrow at ten, correct?",
        "Do you want me to cancel it?",
        "Are you still there?",
        "Your number is 555 123 4567, is that correct?",
        "Would you like me to book that time for you?",
        "Did I get that right?",
    ),
    "code": (
        "What is the confirmation code?",
        "Could you read me the confirmation code?",
        "Do you have the booking code?",
    ),
    "name": (
        "And what is your name?",
        "May I have your name, please?",
        "Who am I speaking with?",
        "Could you spell your last name for me?",
    ),
    "": (
        "Hello! How can I help?",
        "What can I do for you today?",
        "How can I help you today?",
        "Can I help you with anything else?",
        "You're booked for Monday at two. Your confirmation code is k4x9mq2b.",
        "Thank you. Goodbye!",
        "What would you like to talk about?",
        "I think it is going to rain.",
        "Your phone number is 555 123 4567.",
        "Why do you ask?",
        "",
        "...",
    ),
}
SPANISH = {
    "digits": (
        "¿Cuál es su número de teléfono?",
        "¿Me puede dar su número de teléfono, por favor?",
        "Dígame su número de diez cifras.",
        "¿Cuáles son las otras 6 cifras?",
    ),
    "date": (
        "¿Qué día le gustaría?",
        "¿Qué día le viene bien? Puede decir mañana, o una fecha.",
        "¿Cuándo quiere venir?",
        "¿Prefiere el lunes o el martes?",
    ),
    "time": ("¿A qué hora le gustaría?", "¿Cuál de estas horas le gustaría?"),
    "yes_no": (
        "¿Es correcto?",
        "¿La reservo? Diga sí o no, por favor.",
        "¿Algo más?",
        "¿Quiere reservar una de ellas?",
        "Mañana a las diez, ¿verdad?",
    ),
    "code": ("¿Cuál es el código de confirmación?",),
    "name": ("¿Y cómo se llama?", "¿Me puede decir su nombre?"),
    "": ("¿En qué puedo ayudarle?", "Su cita está reservada.", "Hasta luego.", "¿Por qué lo pregunta?"),
}


def cases(language: str, by_kind: dict[str, tuple[str, ...]]) -> list[tuple[str, str, str]]:
    return [(language, kind, text) for kind, texts in by_kind.items() for text in texts]


@pytest.mark.parametrize(("language", "kind", "text"), cases("en", ENGLISH) + cases("es-MX", SPANISH))
def test_the_last_question_tells_what_is_waited_for(language: str, kind: str, text: str) -> None:
    assert asked_for(text, language) == kind


def test_an_unknown_language_asks_for_nothing() -> None:
    assert asked_for("What is your phone number?", "fi") == ""


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("What is your phone number?", 10),
        ("What are the other 6 digits?", 6),
        ("Could you repeat the last four digits?", 4),
        ("What is your zip code?", 0),
    ],
)
def test_how_long_a_number_is(text: str, count: int) -> None:
    assert question(text, "en") == Question("digits", count)


PHONE = Question("digits", 10)


@pytest.mark.parametrize(
    ("said", "complete"),
    [
        ("five five five", 0.0),
        ("my number is five five five one two three", 0.0),
        ("five five five one two three four five six seven", 0.95),
        ("triple five one two three four five six seven", 0.95),
        ("triple five one two three four five six double", 0.0),
        ("555 123 4567", 0.95),
        ("five fifty five one twenty three forty five sixty seven", 0.95),
        ("one five five five one two three four five six", None),  # the 1 of the country
        ("one five five five one two three four five six seven", 0.95),
        ("no that's wrong", None),
        ("five five five sorry", None),
        ("i do not have one", None),
        ("hello", None),
    ],
)
def test_a_number_is_finished_when_it_is_whole(said: str, complete: float | None) -> None:
    verdict = judge(PHONE, said, "en")
    assert (verdict.complete if verdict else None) == complete


def test_a_number_of_unknown_length_is_judged_by_its_words() -> None:
    assert judge(Question("digits", 0), "nine oh two", "en") is None


@pytest.mark.parametrize(
    ("language", "said", "complete"),
    [
        ("en", "yes", 0.95),
        ("en", "um no thank you", 0.95),
        ("en", "Yes, that's right.", 0.95),
        ("en", "no it is", None),
        ("en", "yes but", None),
        ("es", "sí", 0.95),
        ("es", "no, gracias", 0.95),
        ("es", "no es", None),
    ],
)
def test_a_yes_or_no_that_was_asked_for_ends_the_turn(
    language: str, said: str, complete: float | None
) -> None:
    verdict = judge(Question("yes_no"), said, language)
    assert (verdict.complete if verdict else None) == complete


def test_a_number_that_is_read_back_may_be_said_again() -> None:
    asked = question("5 5 5, 1 2 3, 4 5 6 7. Is that right?", "en")
    assert asked == Question("yes_no", 10)
    for said, complete in (
        ("yes", 0.95),
        ("no it is five five five", 0.0),
        ("no it is five five five one two three four five six eight", 0.95),
        ("no", 0.95),
    ):
        verdict = judge(asked, said, "en")
        assert verdict is not None
        assert verdict.complete == complete


def test_a_yes_that_nobody_asked_for_is_judged_by_its_words() -> None:
    assert judge(Question(), "yes", "en") is None


def test_digits_get_longer_pauses_but_never_longer_than_the_longest() -> None:
    assert paced(Timing(), "digits").stop_ms == 800
    assert paced(Timing(max_silence_ms=600), "code").stop_ms == 600
    assert paced(Timing(stop_ms=2000, max_silence_ms=1500), "digits").stop_ms == 2000
    assert paced(Timing(), "yes_no") == paced(Timing(), "") == Timing()


def test_words_for_recognizers_that_take_hints() -> None:
    assert "Wednesday" in likely_words("date", "en-GB")
    assert "cero" in likely_words("digits", "es")
    assert likely_words("", "en") == likely_words("digits", "fi") == ()
