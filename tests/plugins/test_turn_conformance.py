"""Turn detectors: cautious verdicts for anything; for `words`, tables of finished and open sentences."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins
from pipeline.contracts import Env, TurnDetector

HOLDS = 0.3  # at or below: the pause is held open
FINISHED_EN = """
what can you do for me today | turn it on | turn off the lights | what is that for | who are you with
yes | no | i don't think so | i think so | go forward ten meters | one zero zero zero one
of course not | book a room | half an hour | what do you want to | where are you from
what are you looking at | i have no idea | thank you very much
this isn't part of your testing routine is it | i tell you it is not poison she cried
nine oh two one oh | zero one eight zero three | stop | yes please | never mind | what time is it
it is raining | i would like to book an appointment for tomorrow | my name is ana | tell me what it is
do you know where my phone is | how much does it cost | can you help me | could you repeat that
i'm fine thanks | let's go | come in | log me out | what is seven times eight | i need a table for two
i'd like that | that's what i said | who is it | so what | a gold ring will please most any girl
the long journey home took a year | she called his name many times | when you hear the bell come quickly
if it rains call me | if you want i can wait | because i like it
my phone number is five five five one two three four five six seven | at nine o'clock | twenty
on monday | that is the one i was talking about | it was very good though | i don't know how to
let me think about it | another engineer rushed toward the door to see what was happening outside
yes it is | i am | he said so | what's the weather like | why not | i saw her | give me another
is anybody there | say it again | about three hours | he had nothing to talk about | you can count on me
no i didn't | three point five | twelve plus thirty one
"""
UNFINISHED_EN = """
uh | um i was thinking | and so my fellow americans | and so my fellow americans ask not
if the reader will excuse me | i would like to | i want to | i need | my name is | my number is
my email address is | i'd like | i would like | book a table for | i want to go to the | turn on the
can you | could you please | what is the | how much is a | tell me about | one hundred and | at
the meeting is at | i live in | i'm calling because | because | i was wondering if
i have a question about the | it depends on | i'm | we're | he said that he would come but
i like apples and | send it to my | she is the woman whose | call me when you get to the
thank you very | uh so this is the | montreal forced um | i need an appointment with | from monday to
between nine and | either tomorrow or | i think that | the problem is | what i mean is
my phone number is five five five | double | five five double | if you | if my train is late
as soon as the meeting ends | although the weather was bad | instead of | seven multiplied by
three point | it's | i want you to | so | well | and then | let's | i'm looking for a | hello my name is
yes and | no but | would you like to | i'm interested in | give me | it is as big as | ask not
when you hear the bell | i'd love to but | in order to | the first one is | we could go to the cinema or
"""
OTHERS = {
    "es": (
        """
        qué hora es | no | sí por favor | cuánto cuesta | quiero reservar una mesa | me llamo ana
        creo que sí | de dónde eres | para qué | por qué | así es | muchas gracias | enciende la luz
        hasta mañana | la cita es el lunes | no sé quién es | uno dos tres | y tú | eso es todo
        repite por favor
        """,
        """
        me llamo | mi nombre es | quiero | me gustaría | quiero ir a | para el | con mi | y | pero
        porque | eh | la reunión es a las | necesito una cita con | creo que | si mañana llueve | de la
        mi número es | mi teléfono es seis cinco cuatro | o | muy
        """,
    ),
    "de": (
        """
        schalte das licht ein | wie spät ist es | komm mit | ja bitte | ich heiße ana | was ist das
        mach die tür zu | nein danke | wo bist du | ich weiß nicht wo er ist
        """,
        """
        ich heiße | ich möchte | mein name ist | und | weil | ich brauche einen termin für
        ich gehe zum | äh | ich hätte gern eine | wenn es morgen regnet
        """,
    ),
    "fr": (
        """
        quelle heure est-il | oui merci | je m'appelle ana | où est la gare | c'est ça
        allume la lumière | non | combien ça coûte | à demain | je ne sais pas où il est
        """,
        """
        je m'appelle | je voudrais | je vais à | et | parce que | un rendez-vous avec le | euh
        mon nom est | je cherche une | si demain il pleut
        """,
    ),
}


def sentences(table: str) -> list[str]:
    return [s.strip() for line in table.strip().splitlines() for s in line.split("|") if s.strip()]


def detector(name: str = "words") -> TurnDetector:
    opened: TurnDetector = plugins.build("turn", name, {}, Env()).open()
    return opened


@pytest.mark.parametrize("text", sentences(FINISHED_EN))
def test_a_finished_sentence_is_not_held(text: str) -> None:
    verdict = detector().judge(text, "en")
    assert verdict.complete > HOLDS, verdict


@pytest.mark.parametrize("text", sentences(UNFINISHED_EN))
def test_an_unfinished_sentence_is_held(text: str) -> None:
    verdict = detector().judge(text, "en-GB")
    assert verdict.complete <= HOLDS, verdict


@pytest.mark.parametrize("language", sorted(OTHERS))
def test_other_languages_have_rules_of_their_own(language: str) -> None:
    finished, unfinished = (sentences(table) for table in OTHERS[language])
    words = detector()
    assert [t for t in finished if words.judge(t, language).complete <= HOLDS] == []
    assert [t for t in unfinished if words.judge(t, language).complete > HOLDS] == []


@pytest.mark.parametrize("mark", [",", "...", "…", " -", "—", ";"])
def test_open_punctuation_is_evidence_of_more(mark: str) -> None:
    assert detector().judge(f"I went to the market{mark}", "en").complete <= HOLDS


@pytest.mark.parametrize(
    "text", ["Are you there?", "Stop it!", "I went home.", 'He said "go home."', "¿Qué hora es?"]
)
def test_closing_punctuation_is_mild_evidence_of_the_end(text: str) -> None:
    assert 0.6 <= detector().judge(text, "en").complete <= 0.8


def test_a_full_stop_does_not_close_a_hanging_and() -> None:
    assert detector().judge("I like apples and.", "en").complete <= HOLDS


def test_the_reason_names_what_decided() -> None:
    assert detector().judge("I like apples and", "en").reason == "ends in 'and'"
    assert (
        detector().judge("and so my fellow americans", "en").reason
        == "opens with 'and so' and has no verb yet"
    )
    assert detector().judge("", "en").reason == "nothing said"


def test_a_long_monologue_is_judged_by_its_end_and_quickly() -> None:
    words, text = detector(), "we talked about this and that " * 500
    assert words.judge(text + "and", "en").complete <= HOLDS
    begun = time.thread_time()
    for _ in range(50):
        words.judge(text, "en")
    assert (time.thread_time() - begun) / 50 < 0.002  # ten times the contract's bound: the machine is shared


@pytest.mark.parametrize("name", plugins.names("turn"))
@given(text=st.text(max_size=80), language=st.sampled_from(["en", "es", "de-AT", "fr_CA", "", "xx", "日本"]))
def test_any_text_gets_a_cautious_verdict(name: str, text: str, language: str) -> None:
    verdict = detector(name).judge(text, language)
    assert 0.0 < verdict.complete < 0.9
    assert verdict.reason


@pytest.mark.parametrize("name", plugins.names("turn"))
@pytest.mark.parametrize("text", ["", "   ", "?!", "\n"])
def test_nothing_said_is_no_opinion(name: str, text: str) -> None:
    assert detector(name).judge(text, "en").complete == 0.5


@pytest.mark.parametrize("name", plugins.names("turn"))
async def test_the_engine_warms_and_closes(name: str) -> None:
    engine = plugins.build("turn", name, {}, Env())
    await engine.warm()
    assert engine.open().judge("thank you", "en") == engine.open().judge("thank you", "en")
    await engine.aclose()
