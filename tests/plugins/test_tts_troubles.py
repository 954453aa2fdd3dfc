"""What every vendor's synthesizer does when something goes wrong, run over all of them and their fakes."""

import asyncio
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import plugins
from pipeline.chain import Chain, Member, TtsChain
from pipeline.contracts import Env, Failure, SpeechRequest, SpokenWord, TtsError, Usage
from tests.support.tts_cases import UNKNOWN_MODEL, VENDORS
from tests.support.vendors.case import VendorCase
from tests.support.vendors.place import Trouble
from tests.support.vendors.sound import MS_PER_CHAR

TEXT = "Hello there, my friend. You have 3 appointments on Monday."
SHORT = "Good morning."
FIRST_S, STALL_S = 1.2, 0.8
"""Deadlines that are short, but long enough for a busy machine to open a connection."""

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.parametrize("name", sorted(VENDORS))]

Item = bytes | SpokenWord | Usage


@pytest.fixture
def case(name: str) -> VendorCase:
    return VENDORS[name]


async def spoken(engine: Any, text: str = TEXT, **wishes: Any) -> list[Item]:
    async with asyncio.timeout(15):  # nothing that is waited for here takes more than one
        return [item async for item in engine.speak(SpeechRequest(text, **wishes))]


async def failure_of(engine: Any, text: str = TEXT) -> tuple[list[Item], TtsError]:
    """What came before the error, and the error."""
    items: list[Item] = []

    async def listen() -> None:
        async for item in engine.speak(SpeechRequest(text)):
            items.append(item)

    with pytest.raises(TtsError) as caught:
        await asyncio.wait_for(listen(), 15)
    return items, caught.value


def sound_of(items: list[Item]) -> bytes:
    return b"".join(item for item in items if isinstance(item, bytes))


def ms_of(items: list[Item], engine: Any) -> float:
    return len(sound_of(items)) / 2 * 1000 / float(engine.rate_hz)


def is_whole(items: list[Item], engine: Any, text: str = TEXT) -> bool:
    return abs(ms_of(items, engine) - len(text) * MS_PER_CHAR) < 30


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def chain_of(*engines: Any) -> TtsChain:
    """Engines that cannot be probed: a probe goes on in the background, and is not what is tested."""
    members: list[Member[Any]] = []
    for number, engine in enumerate(engines):
        speaking = SimpleNamespace(speak=engine.speak, rate_hz=engine.rate_hz)
        members.append(Member(f"voice {number}", speaking))
    return TtsChain(Chain("tts", members), FIRST_S, STALL_S)


# -- refusals -------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_the_operators_to_change(case: VendorCase) -> None:
    async with case.open(key="wrong-key-of-somebody") as (engine, fake):
        items, error = await failure_of(engine)
    assert (items, error.kind) == ([], Failure.AUTH)
    assert case.variable in str(error)
    assert "wrong-key-of-somebody" not in str(error)
    assert fake.said == []


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_tried_again(case: VendorCase, status: int) -> None:
    async with case.open(Trouble(status=status)) as (engine, _):
        items, error = await failure_of(engine)
    assert (items, error.kind) == ([], Failure.AUTH)


@pytest.mark.parametrize("status", [402, 429])
async def test_a_spent_account_says_when_to_come_back(case: VendorCase, status: int) -> None:
    async with case.open(Trouble(status=status, retry_after="7")) as (engine, _):
        _, error = await failure_of(engine)
    assert (error.kind, error.retry_after_s) == (Failure.QUOTA, 7.0)


async def test_an_unknown_model_is_a_bad_request_that_names_the_key(name: str, case: VendorCase) -> None:
    async with case.open(**UNKNOWN_MODEL[name]) as (engine, fake):
        _, error = await failure_of(engine)
    assert error.kind is Failure.BAD_REQUEST
    assert f"[tts.{name}] {next(iter(UNKNOWN_MODEL[name]))}" in str(error)
    assert fake.said == []


async def test_a_refused_text_is_a_bad_request(case: VendorCase) -> None:
    async with case.open(Trouble(status=400, message="that text will not do")) as (engine, _):
        _, error = await failure_of(engine)
    assert error.kind is Failure.BAD_REQUEST
    assert "that text will not do" in str(error)


async def test_a_broken_server_is_worth_another_try_and_the_next_request_is_well(case: VendorCase) -> None:
    async with case.open(Trouble(status=500)) as (engine, _):
        _, error = await failure_of(engine)
        assert error.kind is Failure.TRANSIENT
        assert is_whole(await spoken(engine), engine)


async def test_a_port_where_nobody_listens(case: VendorCase) -> None:
    async with case.fake().serving() as fake:
        options = case.options(fake)
    engine: Any = plugins.build("tts", case.plugin, {**options, **case.more}, Env({case.variable: "k"}))
    await engine.warm()
    try:
        _, error = await failure_of(engine)
    finally:
        await engine.aclose()
    assert error.kind is Failure.TRANSIENT
    assert "cannot be reached" in str(error)


# -- deadlines ------------------------------------------------------------------------------------------


async def test_a_vendor_that_never_answers_is_left_for_the_next_one(case: VendorCase) -> None:
    async with case.open(Trouble(hang=True)) as (silent, fake), case.open() as (other, _):
        heard = [item async for item in chain_of(silent, other).speak(SpeechRequest(TEXT), silent.rate_hz)]
        await until(fake.seen[0].closed.is_set)
    assert {who for who, item in heard if isinstance(item, bytes)} == {"voice 1"}
    assert is_whole([item for _, item in heard], other)


async def test_after_a_stall_the_next_one_says_the_rest(case: VendorCase) -> None:
    async with (
        case.open(Trouble(hang=True, after=12)) as (stalled, fake),
        case.open() as (other, other_fake),
    ):
        heard = [item async for item in chain_of(stalled, other).speak(SpeechRequest(TEXT), stalled.rate_hz)]
        await until(fake.seen[0].closed.is_set)
    voices = [who for who, item in heard if isinstance(item, bytes) and item]
    assert voices == sorted(voices)
    assert set(voices) == {"voice 0", "voice 1"}
    (rest,) = other_fake.said
    assert 0 < len(rest) < len(TEXT)
    assert TEXT.endswith(rest)


async def test_success_without_any_sound_is_a_failure_to_the_chain(case: VendorCase) -> None:
    errors: list[TtsError] = []
    async with case.open(Trouble(empty=True)) as (mute, _), case.open() as (other, _):
        chain = chain_of(mute, other)
        stream = chain.speak(SpeechRequest(TEXT), mute.rate_hz, lambda error, _who: errors.append(error))  # type: ignore[arg-type]
        heard = [item async for item in stream]
    assert [error.kind for error in errors] == [Failure.EMPTY]
    assert is_whole([item for _, item in heard], other)


# -- in mid-sound ---------------------------------------------------------------------------------------


async def test_a_connection_cut_in_mid_sound_gives_what_came_and_then_the_error(case: VendorCase) -> None:
    async with case.open(Trouble(after=3)) as (engine, _):
        items, error = await failure_of(engine)
        assert error.kind is Failure.TRANSIENT
        assert 0 < ms_of(items, engine) < len(TEXT) * MS_PER_CHAR
        assert is_whole(await spoken(engine), engine)


async def test_an_error_in_mid_sound_comes_after_what_was_said(case: VendorCase) -> None:
    async with case.open(Trouble(after=3, status=500)) as (engine, _):
        items, error = await failure_of(engine)
        assert error.kind is Failure.TRANSIENT
        assert 0 < ms_of(items, engine) < len(TEXT) * MS_PER_CHAR


async def test_sound_cut_in_mid_sample_is_put_together_again(case: VendorCase) -> None:
    async with case.open(Trouble(odd=True)) as (engine, _):
        odd = await spoken(engine)
        even = await spoken(engine)
    chunks = [item for item in odd if isinstance(item, bytes)]
    assert all(chunk and len(chunk) % 2 == 0 for chunk in chunks)
    assert sound_of(odd) == sound_of(even)


async def test_slow_sound_is_passed_on_as_it_comes(case: VendorCase) -> None:
    async with case.open(Trouble(first_ms=30, each_ms=3)) as (engine, _):
        items = await spoken(engine)
    assert is_whole(items, engine)
    assert len([item for item in items if isinstance(item, bytes)]) > 5


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_barge_in_ends_the_request_at_the_vendor(case: VendorCase, how: str) -> None:
    async with case.open(Trouble(each_ms=20)) as (engine, fake):
        started = asyncio.Event()

        async def listen() -> None:
            async with aclosing(engine.speak(SpeechRequest(TEXT * 20))) as stream:
                async for item in stream:
                    if isinstance(item, bytes):
                        started.set()
                        if how == "closed":
                            return

        listening = asyncio.create_task(listen())
        await asyncio.wait_for(started.wait(), 10)
        if how == "cancelled":
            listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await until(lambda: fake.seen[0].closed.is_set() or _called_off(fake.seen[0].messages))
        assert is_whole(await spoken(engine), engine)


def _called_off(messages: list[Any]) -> bool:
    """Whether a message asks the vendor to be silent: for those whose lines live on."""
    words = ("clear", "cancel", "close_context")
    return any(isinstance(m, dict) and any(word in str(m).lower() for word in words) for m in messages)


# -- texts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "…", "!!! -- ?", "👋🙂", "\x00\x1b", "<br/>"])
async def test_what_cannot_be_spoken_makes_no_request(case: VendorCase, text: str) -> None:
    async with case.open() as (engine, fake):
        assert await spoken(engine, text) == []
        assert (fake.seen, fake.said) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "Größe ist schön — naïve 日本 café, okay?",
        'Costs < 5 & > 3; say "yes", it\'s 20% off: {a} [b] \\ /',
        "Привет, как дела? שלום, مرحبا. नमस्ते",
    ],
)
async def test_what_can_be_spoken_arrives_letter_by_letter(case: VendorCase, text: str) -> None:
    async with case.open() as (engine, fake):
        assert sound_of(await spoken(engine, text))
        assert [said.strip() for said in fake.said] == [text]


async def test_markup_pictures_and_control_characters_are_not_sent(case: VendorCase) -> None:
    text = '<speak>One <break time="9s"/> **two**\x00 three 👋\x1b four\ud800 end</speak>'
    async with case.open() as (engine, fake):
        assert sound_of(await spoken(engine, text))
    assert " ".join(" ".join(fake.said).split()) == "One two three four end"


async def test_a_text_longer_than_a_request_may_be_is_said_as_a_whole(case: VendorCase) -> None:
    text = "This is a sentence of about fifty characters, yes. " * 110
    async with case.open() as (engine, fake):
        items = await spoken(engine, text)
        assert " ".join(" ".join(fake.said).split()) == text.strip()
        assert abs(ms_of(items, engine) - len(text) * MS_PER_CHAR) < 1000


async def test_usage_is_the_characters_that_were_sent(case: VendorCase) -> None:
    async with case.open() as (engine, _):
        usages = [item for item in await spoken(engine, f"  {SHORT}  ") if isinstance(item, Usage)]
    assert usages == [Usage(characters=len(SHORT))]


# -- connections ----------------------------------------------------------------------------------------


async def test_a_prepared_connection_is_the_one_that_is_used(case: VendorCase) -> None:
    async with case.open() as (engine, fake):
        engine.prepare()
        await until(lambda: len(fake.connections) == 1 and fake.seen)
        await asyncio.sleep(0.05)  # until the answer is here too
        engine.prepare()
        assert is_whole(await spoken(engine), engine)
        assert is_whole(await spoken(engine, SHORT), engine, SHORT)
        assert len(fake.connections) == 1


async def test_preparing_at_a_port_where_nobody_listens_harms_nobody(case: VendorCase) -> None:
    async with case.fake().serving() as fake:
        options = case.options(fake)
    engine: Any = plugins.build("tts", case.plugin, {**options, **case.more}, Env({case.variable: "k"}))
    await engine.warm()
    engine.prepare()
    await asyncio.sleep(0.05)
    await engine.aclose()


async def test_one_connection_serves_a_whole_talk(case: VendorCase) -> None:
    async with case.open() as (engine, fake):
        for _ in range(3):
            assert is_whole(await spoken(engine, SHORT), engine, SHORT)
        assert len(fake.connections) == 1


async def test_several_at_once_each_get_their_own_speech(case: VendorCase) -> None:
    texts = ["Hi there.", TEXT, f"{TEXT} {TEXT}", SHORT]
    async with case.open(Trouble(each_ms=2), Trouble(each_ms=1)) as (engine, _):
        for text, items in zip(texts, await asyncio.gather(*(spoken(engine, t) for t in texts)), strict=True):
            assert is_whole(items, engine, text)


# -- probes ---------------------------------------------------------------------------------------------


async def test_a_probe_with_the_right_key_says_nothing_and_costs_nothing(case: VendorCase) -> None:
    async with case.open() as (engine, fake):
        async with asyncio.timeout(10):
            await engine.probe()
        assert fake.said == []
        assert fake.seen


async def test_a_probe_with_a_wrong_key_names_the_variable(case: VendorCase) -> None:
    async with case.open(key="wrong-key-of-somebody") as (engine, _):
        with pytest.raises(TtsError, match=case.variable) as caught:
            await engine.probe()
    assert caught.value.kind is Failure.AUTH
    assert "wrong-key-of-somebody" not in str(caught.value)


async def test_a_probe_knows_the_model(name: str, case: VendorCase) -> None:
    async with case.open(**UNKNOWN_MODEL[name]) as (engine, _):
        with pytest.raises(TtsError) as caught:
            await engine.probe()
    assert caught.value.kind is Failure.BAD_REQUEST
    assert f"[tts.{name}] {next(iter(UNKNOWN_MODEL[name]))}" in str(caught.value)
