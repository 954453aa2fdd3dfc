"""What every vendor's recognizer does when something goes wrong, run over all of them and their fakes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import plugins
from pipeline.chain import Chain, Member, SttChain
from pipeline.contracts import Env, Failure, SttError, Transcript
from tests.support.speech import clip
from tests.support.stt_cases import ONE_SHOT, UNKNOWN_MODEL, VENDORS
from tests.support.vendors import sound
from tests.support.vendors.case import VendorCase
from tests.support.vendors.place import FINE, Trouble

SPEECH = clip("goforward.wav")[: 2400 * 32]
SILENCE_MS = 180
TEXT = " ".join(sound.WORDS)
FINAL_S = 0.8
"""A deadline that is short, but long enough for a busy machine to answer."""

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.parametrize("name", sorted(VENDORS))]


@pytest.fixture(autouse=True)
def no_time_to_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speech comes all at once here, and a chain would give its recognizer that time to hear it."""
    monkeypatch.setattr("pipeline.chain.stt.CATCH_UP", 0.0)


@pytest.fixture
def case(name: str) -> VendorCase:
    return VENDORS[name]


def needs_a_line(name: str) -> None:
    if name in ONE_SHOT:
        pytest.skip("asks once, at the end: there is no line to lose")


def speak(utterance: Any, pcm: bytes = SPEECH) -> None:
    for at in range(0, len(pcm), 640):
        utterance.feed(pcm[at : at + 640])


async def rest_of(utterance: Any) -> list[Transcript]:
    async with asyncio.timeout(15):  # nothing that is waited for here takes more than one
        return [t async for t in utterance.transcripts()]


async def heard(engine: Any, pcm: bytes = SPEECH, *, settle: bool = False) -> list[Transcript]:
    utterance = engine.open()
    try:
        reading = asyncio.create_task(rest_of(utterance))
        speak(utterance, pcm)
        if settle:
            utterance.settle(SILENCE_MS)
        utterance.finish(SILENCE_MS)
        return await reading
    finally:
        await utterance.aclose()


def text_of(transcripts: list[Transcript]) -> str:
    assert [t.final for t in transcripts].count(True) == 1
    assert transcripts[-1].final
    return transcripts[-1].text.lower().rstrip(".")


async def failure_of(engine: Any) -> SttError:
    with pytest.raises(SttError) as caught:
        await heard(engine)
    return caught.value


def chain_of(*engines: Any) -> SttChain:
    """Engines that cannot be probed: a probe goes on in the background, and is not what is tested."""
    members: list[Member[Any]] = []
    for number, engine in enumerate(engines):
        members.append(Member(f"ear {number}", SimpleNamespace(open=engine.open)))
    return SttChain(Chain("stt", members), FINAL_S)


def handshakes(fake: Any) -> int:
    return sum(seen.method == "WS" for seen in fake.seen)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def engine_at(case: VendorCase, port: int) -> Any:
    place = SimpleNamespace(port=port, url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}")
    values = {**case.options(place), **case.more}
    engine = plugins.build("stt", case.plugin, values, Env({case.variable: "k"}))
    await engine.warm()
    return engine


async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port


# -- refusals -------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_the_operators_to_change(case: VendorCase) -> None:
    async with case.open(key="wrong-key-of-somebody") as (engine, _):
        error = await failure_of(engine)
    assert error.kind is Failure.AUTH
    assert case.variable in str(error)
    assert "wrong-key-of-somebody" not in str(error)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_tried_again(case: VendorCase, status: int) -> None:
    async with case.open(Trouble(status=status)) as (engine, fake):
        assert (await failure_of(engine)).kind is Failure.AUTH
        assert len(fake.seen) == 1


@pytest.mark.parametrize("status", [402, 429])
async def test_a_spent_account_says_when_to_come_back(case: VendorCase, status: int) -> None:
    async with case.open(Trouble(status=status, retry_after="7")) as (engine, _):
        error = await failure_of(engine)
    assert (error.kind, error.retry_after_s) == (Failure.QUOTA, 7.0)


async def test_an_unknown_model_is_a_bad_request_that_names_its_key(name: str, case: VendorCase) -> None:
    async with case.open(**UNKNOWN_MODEL[name]) as (engine, _):
        error = await failure_of(engine)
    assert error.kind is Failure.BAD_REQUEST
    assert f"[stt.{case.plugin}] model" in str(error)


async def test_a_broken_server_is_worth_another_try_and_the_next_utterance_is_well(case: VendorCase) -> None:
    async with case.open(Trouble(status=500)) as (engine, _):
        assert (await failure_of(engine)).kind is Failure.TRANSIENT
        assert text_of(await heard(engine)) == TEXT


async def test_a_port_where_nobody_listens(case: VendorCase) -> None:
    engine = await engine_at(case, await unused_port())
    try:
        error = await failure_of(engine)
    finally:
        await engine.aclose()
    assert error.kind is Failure.TRANSIENT
    assert "cannot be reached" in str(error)


# -- deadlines ------------------------------------------------------------------------------------------


async def test_a_handshake_that_hangs_is_given_up_by_the_chain(case: VendorCase) -> None:
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):  # until the other side hangs up
            pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        engine = await engine_at(case, server.sockets[0].getsockname()[1])
        try:
            error = await failure_of(chain_of(engine))
        finally:
            await engine.aclose()
        await asyncio.wait_for(gone.wait(), 5)
    assert error.kind is Failure.TIMEOUT


async def test_a_vendor_that_accepts_and_says_nothing_is_given_up_for_the_next(case: VendorCase) -> None:
    async with case.open(Trouble(hang=True)) as (silent, _), case.open() as (well, _):
        assert text_of(await heard(chain_of(silent, well))) == TEXT


async def test_a_half_open_socket_is_given_up(name: str, case: VendorCase) -> None:
    needs_a_line(name)
    async with case.open(Trouble(hang=True, after=1)) as (engine, _):
        assert (await failure_of(chain_of(engine))).kind is Failure.TIMEOUT


async def test_slow_messages_are_waited_for(case: VendorCase) -> None:
    async with case.open(Trouble(first_ms=60, each_ms=20)) as (engine, _):
        assert text_of(await heard(engine)) == TEXT


# -- in mid-utterance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_line_lost_in_mid_utterance_loses_no_word_and_doubles_none(
    name: str, case: VendorCase, after: int
) -> None:
    needs_a_line(name)
    async with case.open(Trouble(after=after)) as (engine, fake):
        assert text_of(await heard(engine, settle=True)) == TEXT
        assert handshakes(fake) == 2


async def test_a_line_lost_while_the_user_speaks_on_is_made_good(name: str, case: VendorCase) -> None:
    needs_a_line(name)
    async with case.open(Trouble(after=0)) as (engine, fake):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance))
        speak(utterance, SPEECH[: len(SPEECH) // 2])
        await until(lambda: handshakes(fake) == 2)
        speak(utterance, SPEECH[len(SPEECH) // 2 :])
        utterance.finish(SILENCE_MS)
        assert text_of(await reading) == TEXT
        await utterance.aclose()


async def test_a_line_lost_again_and_again_is_a_failure_worth_another_try(
    name: str, case: VendorCase
) -> None:
    needs_a_line(name)
    async with case.open(Trouble(after=1), Trouble(after=1)) as (engine, fake):
        assert (await failure_of(engine)).kind is Failure.TRANSIENT
        assert handshakes(fake) == 2


async def test_an_error_message_in_mid_utterance_is_a_typed_error_or_made_good(case: VendorCase) -> None:
    async with case.open(Trouble(status=500, after=1)) as (engine, _):
        try:
            text, kind = text_of(await heard(engine)), None
        except SttError as error:
            text, kind = "", error.kind
    assert (text, kind) in ((TEXT, None), ("", Failure.TRANSIENT))


async def test_who_leaves_in_mid_utterance_hangs_up(name: str, case: VendorCase) -> None:
    needs_a_line(name)
    async with case.open() as (engine, fake):
        utterance = engine.open()
        reading = asyncio.create_task(rest_of(utterance))
        speak(utterance, SPEECH[: len(SPEECH) // 2])
        await until(lambda: any(seen.messages for seen in fake.seen))
        await utterance.aclose()
        assert [t for t in await reading if t.final] == []
        await until(lambda: all(seen.closed.is_set() for seen in fake.seen))
        assert text_of(await heard(engine)) == TEXT


# -- what comes back ------------------------------------------------------------------------------------


async def test_a_final_without_text_is_an_answer(case: VendorCase) -> None:
    async with case.open(Trouble(empty=True)) as (engine, _):
        assert text_of(await heard(engine)) == ""


async def test_any_script_comes_through(case: VendorCase, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("¡olé!", "日本語", "👋🏽", "<b>&amp;\u202e</b>")
    monkeypatch.setattr(sound, "WORDS", words)
    async with case.open() as (engine, _):
        assert text_of(await heard(engine)) == " ".join(words)


async def test_several_at_once_and_one_in_trouble(name: str, case: VendorCase) -> None:
    troubles = [] if name in ONE_SHOT else [FINE, Trouble(after=1), FINE]
    async with case.open(*troubles) as (engine, _):
        results = await asyncio.gather(*(heard(engine) for _ in range(3)))
    assert [text_of(result) for result in results] == [TEXT] * 3


# -- ahead of need --------------------------------------------------------------------------------------


async def test_a_prepared_line_is_the_one_that_is_used(name: str, case: VendorCase) -> None:
    needs_a_line(name)
    async with case.open() as (engine, fake):
        engine.prepare()
        assert text_of(await heard(engine)) == TEXT  # it is waited for while it is being opened
        assert handshakes(fake) == 1


async def test_preparing_at_a_dead_port_harms_nobody(case: VendorCase) -> None:
    engine = await engine_at(case, await unused_port())
    engine.prepare()
    await asyncio.sleep(0.05)
    engine.prepare()
    await engine.aclose()


async def test_the_engine_can_be_closed_while_lines_are_opened_and_used(case: VendorCase) -> None:
    async with case.open(Trouble(hang=True), Trouble(hang=True)) as (engine, _):
        engine.prepare()
        utterance = engine.open()
        speak(utterance)
        await asyncio.sleep(0)


async def test_a_probe_is_free_and_knows_key_and_model(name: str, case: VendorCase) -> None:
    async with case.open() as (engine, fake):
        await engine.probe()
        assert b"".join(seen.audio for seen in fake.seen) == b""
    async with case.open(key="wrong") as (engine, _):
        with pytest.raises(SttError) as caught:
            await engine.probe()
        assert caught.value.kind is Failure.AUTH
        assert case.variable in str(caught.value)
    async with case.open(**UNKNOWN_MODEL[name]) as (engine, _):
        with pytest.raises(SttError) as caught:
            await engine.probe()
        assert caught.value.kind is Failure.BAD_REQUEST
        assert f"[stt.{case.plugin}] model" in str(caught.value)


async def test_a_probe_of_a_dead_port(case: VendorCase) -> None:
    engine = await engine_at(case, await unused_port())
    with pytest.raises(SttError) as caught:
        await engine.probe()
    await engine.aclose()
    assert caught.value.kind is Failure.TRANSIENT
