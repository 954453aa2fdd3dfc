"""What every vendor's responder does when something goes wrong, run over all of them and their fakes."""

import asyncio
import socket
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import plugins
from pipeline.chain import Chain, LlmChain, Member
from pipeline.contracts import Env, Failure, LlmError, Message, MissingKey, Probing, Prompt, ToolCall, Usage
from pipeline.tools.clock import Clock
from tests.support.llm_cases import VENDORS
from tests.support.vendors.case import VendorCase
from tests.support.vendors.place import KEY, Trouble

FIRST_S, STALL_S = 1.2, 0.8
"""Deadlines that are short, but long enough for a busy machine to open a connection."""
HELLO = Prompt((Message("system", "You are Ada."), Message("user", "hello there, my friend")))
TIME = Prompt((Message("user", "what time is it"),), tools=(Clock.spec,))

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.parametrize("name", sorted(VENDORS))]

Item = str | ToolCall | Usage


@pytest.fixture
def case(name: str) -> VendorCase:
    return VENDORS[name]


async def answered(engine: Any, prompt: Prompt = HELLO) -> list[Item]:
    async with asyncio.timeout(15):  # nothing that is waited for here takes more than one
        return [item async for item in engine.tokens(prompt)]


async def failure_of(engine: Any, prompt: Prompt = HELLO) -> tuple[str, LlmError]:
    """The text that came before the error, and the error."""
    said: list[Item] = []
    try:
        async with asyncio.timeout(15):
            async for item in engine.tokens(prompt):
                said.append(item)
    except LlmError as error:
        return text_of(said), error
    raise AssertionError("it did not fail")


def text_of(items: list[Item]) -> str:
    return "".join(item for item in items if isinstance(item, str))


async def good_day(case: VendorCase) -> str:
    async with case.open() as (engine, _):
        return text_of(await answered(engine))


def chain_of(*engines: Any) -> LlmChain:
    """Engines that cannot be probed: a probe goes on in the background, and is not what is tested."""
    members: list[Member[Any]] = []
    for number, engine in enumerate(engines):
        members.append(Member(f"model {number}", SimpleNamespace(tokens=engine.tokens)))
    return LlmChain(Chain("llm", members), FIRST_S, STALL_S)


async def chained(chain: LlmChain) -> list[tuple[str, Item]]:
    async with asyncio.timeout(15):
        return [item async for item in chain.tokens(HELLO)]


# -- refusals -------------------------------------------------------------------------------------------


async def test_without_a_key_the_start_says_which_variable_to_set(case: VendorCase) -> None:
    with pytest.raises(MissingKey, match=case.variable):
        plugins.build("llm", case.plugin, {}, Env())


async def test_a_wrong_key_is_the_operators_to_change(case: VendorCase) -> None:
    async with case.open(key="wrong-key-of-somebody") as (engine, _):
        said, error = await failure_of(engine)
    assert (said, error.kind) == ("", Failure.AUTH)
    assert case.variable in str(error)
    assert "wrong-key-of-somebody" not in str(error)


async def test_an_unknown_model_is_ours_to_mend(case: VendorCase) -> None:
    async with case.open(model="no-such-model") as (engine, _):
        said, error = await failure_of(engine)
    assert (said, error.kind) == ("", Failure.BAD_REQUEST)
    assert f"[llm.{case.plugin}] model" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Failure.AUTH),
        (402, Failure.QUOTA),
        (403, Failure.AUTH),
        (404, Failure.BAD_REQUEST),
        (408, Failure.TRANSIENT),
        (429, Failure.QUOTA),
        (500, Failure.TRANSIENT),
        (503, Failure.TRANSIENT),
    ],
)
async def test_a_refusal_has_the_kind_of_its_status(case: VendorCase, status: int, kind: Failure) -> None:
    async with case.open(Trouble(status)) as (engine, fake):
        said, error = await failure_of(engine)
        assert (said, error.kind) == ("", kind)
        assert "made to fail by the test" in str(error)
        assert KEY not in str(error)
        assert text_of(await answered(engine))
        assert len(fake.asked) == 2, "the chain retries, not the package"


async def test_a_refusal_without_a_word_is_one_too(case: VendorCase) -> None:
    async with case.open(Trouble(500, message="")) as (engine, _):
        _, error = await failure_of(engine)
    assert error.kind == Failure.TRANSIENT
    assert "500" in str(error)


async def test_too_many_requests_say_when_to_come_back_in_seconds(case: VendorCase) -> None:
    async with case.open(Trouble(429, retry_after="7")) as (engine, _):
        _, error = await failure_of(engine)
    assert (error.kind, error.retry_after_s) == (Failure.QUOTA, 7.0)


async def test_too_many_requests_say_when_to_come_back_as_a_date(case: VendorCase) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    async with case.open(Trouble(429, retry_after=date)) as (engine, _):
        _, error = await failure_of(engine)
    assert error.retry_after_s is not None
    assert 60 < error.retry_after_s <= 90


async def test_an_error_in_mid_stream_comes_after_what_was_said(case: VendorCase) -> None:
    whole = await good_day(case)
    async with case.open(Trouble(503, after=3)) as (engine, _):
        said, error = await failure_of(engine)
        assert whole.startswith(said)
        assert 0 < len(said) < len(whole)
        assert error.kind == Failure.TRANSIENT
        assert text_of(await answered(engine)) == whole


# -- silence, and connections that break ----------------------------------------------------------------


async def test_a_cut_connection_is_an_error_after_what_was_said(case: VendorCase) -> None:
    whole = await good_day(case)
    async with case.open(Trouble(after=3)) as (engine, _):
        said, error = await failure_of(engine)
        assert whole.startswith(said)
        assert 0 < len(said) < len(whole)
        assert error.kind == Failure.TRANSIENT
        assert text_of(await answered(engine)) == whole, "the next request gets a connection that works"


async def test_nobody_there_is_an_error_and_not_a_wait(case: VendorCase) -> None:
    async with case.open() as (_, fake):
        options = case.options(fake)
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        old, new = f":{fake.port}", f":{taken.getsockname()[1]}"
        moved = {k: v.replace(old, new) if isinstance(v, str) else v for k, v in options.items()}
        values = {**moved, **case.more}
        engine = plugins.build("llm", case.plugin, values, Env({case.variable: KEY}))
        await engine.warm()  # a vendor that is down does not stop the start
        try:
            engine.prepare()
            said, error = await failure_of(engine)
        finally:
            await engine.aclose()
    assert (said, error.kind) == ("", Failure.TRANSIENT)
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize("trouble", [Trouble(hang=True), Trouble(hang=True, after=0)], ids=["mute", "frames"])
async def test_the_next_one_answers_for_one_who_says_nothing(case: VendorCase, trouble: Trouble) -> None:
    whole = await good_day(case)
    async with case.open(trouble) as (mute, fake), case.open() as (well, _):
        items = await chained(chain_of(mute, well))
        async with asyncio.timeout(5):
            await fake.asked[0].closed.wait()
    assert "".join(piece for _, piece in items if isinstance(piece, str)) == whole
    assert {member for member, _ in items} == {"model 1"}


async def test_a_stall_in_mid_stream_ends_the_request(case: VendorCase) -> None:
    whole = await good_day(case)
    async with case.open(Trouble(hang=True, after=4)) as (engine, fake):
        items = await chained(chain_of(engine))
        said = "".join(piece for _, piece in items if isinstance(piece, str))
        assert said[:4] == whole[:4]
        assert said != whole
        async with asyncio.timeout(5):
            await fake.asked[0].closed.wait()


async def test_success_with_nothing_said_is_a_failure(case: VendorCase) -> None:
    async with case.open(Trouble(empty=True)) as (engine, _):
        with pytest.raises(LlmError) as caught:
            await chained(chain_of(engine))
    assert caught.value.kind == Failure.EMPTY


async def test_slow_pieces_are_whole_and_come_one_by_one(case: VendorCase) -> None:
    whole = await good_day(case)
    async with case.open(Trouble(first_ms=60, each_ms=15)) as (engine, _):
        clock, times, said = asyncio.get_running_loop().time, [], ""
        begun = clock()
        async for item in engine.tokens(HELLO):
            if isinstance(item, str):
                times.append(clock() - begun)
                said += item
    assert said == whole
    assert times[0] >= 0.055
    assert times[-1] - times[0] >= 0.015 * (len(times) - 3), "they were not held back to the end"


# -- cancelling -----------------------------------------------------------------------------------------


async def test_cancelling_in_mid_stream_is_seen_by_the_vendor_at_once(case: VendorCase) -> None:
    async with case.open(Trouble(hang=True, after=2)) as (engine, fake):
        stream = engine.tokens(HELLO)
        reading = asyncio.create_task(_read(stream))
        while not fake.asked:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # the two pieces come
        assert not fake.asked[0].closed.is_set()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        async with asyncio.timeout(5):
            await fake.asked[0].closed.wait()
        assert text_of(await answered(engine))


async def test_leaving_the_stream_ends_the_request(case: VendorCase) -> None:
    async with case.open(Trouble(hang=True, after=2)) as (engine, fake):
        async with asyncio.timeout(10), aclosing(engine.tokens(HELLO)) as stream:
            assert await anext(stream)
        async with asyncio.timeout(5):
            await fake.asked[0].closed.wait()


async def test_cancelling_before_the_first_piece_ends_the_request(case: VendorCase) -> None:
    async with case.open(Trouble(hang=True)) as (engine, fake):
        reading = asyncio.create_task(_read(engine.tokens(HELLO)))
        async with asyncio.timeout(5):
            while not fake.asked:
                await asyncio.sleep(0.005)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        async with asyncio.timeout(5):
            await fake.asked[0].closed.wait()


async def _read(stream: Any) -> None:
    async with aclosing(stream):
        async for _ in stream:
            pass


# -- good days ------------------------------------------------------------------------------------------


async def test_several_requests_at_once_do_not_wait_for_each_other(case: VendorCase) -> None:
    troubles = [Trouble(first_ms=500)] * 6
    async with case.open(*troubles) as (engine, _):
        begun = asyncio.get_running_loop().time()
        texts = [text_of(items) for items in await asyncio.gather(*(answered(engine) for _ in troubles))]
        took = asyncio.get_running_loop().time() - begun
    assert len(set(texts)) == 1
    assert took < 6 * 0.5


async def test_the_last_thing_is_what_it_cost(case: VendorCase) -> None:
    async with case.open() as (engine, _):
        items = await answered(engine)
    assert isinstance(items[-1], Usage)
    assert items[-1].input_tokens > 0
    assert items[-1].output_tokens > 0


async def test_what_was_asked_arrives_as_it_was_said(case: VendorCase) -> None:
    words = "何時ですか 🙂 ¿qué? ñandú <b>&amp;</b> \\n \" '"
    async with case.open() as (engine, fake):
        prompt = Prompt((Message("system", "Sé Ada 🙂."), Message("user", words)))
        text = text_of(await answered(engine, prompt))
    assert f"{len(words)} letters" in text
    body = fake.asked[0].body.decode()
    assert "\x00" not in body
    assert "何時ですか" in body or "\\u4f55" in body


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(
            (
                Message("user", "what time is it"),
                Message("assistant", "", (ToolCall("a", "clock", {}), ToolCall("a", "clock", {"x": 1}))),
                Message("tool", '{"time": "3"}', tool_call_id="a", name="clock"),
                Message("user", "hello"),
                Message("tool", '{"time": "4"}', tool_call_id="a", name="clock"),
            ),
            id="one id twice, a result that came late",
        ),
        pytest.param(
            (
                Message("user", "what time is it"),
                Message("assistant", "Wait.", (ToolCall("restored/1 é" * 9, "calendar.book it", {}),)),
                Message("assistant", "Here."),
                Message("user", "well"),
            ),
            id="a call without result, with an id and a name that nobody takes",
        ),
        pytest.param(
            (
                Message("assistant", "Hello! How can I help?"),
                Message("user", "hm"),
                Message("user", "hello"),
                Message("system", "Be brief."),
                Message("assistant", ""),
                Message("tool", "", tool_call_id="?", name="clock"),
                Message("assistant", "I said"),
                Message("assistant", "something"),
            ),
            id="everything out of order",
        ),
        pytest.param(
            (
                Message("user", "half a character \ud83d and \x00 a control one"),
                Message("assistant", "", (ToolCall("b", "clock", {"zone": "\udc00", "at": {1, 2}}),)),
                Message("tool", "\ud83d", tool_call_id="b", name="clock"),
            ),
            id="half characters",
        ),
        pytest.param(
            tuple(
                message
                for n in range(100)
                for message in (
                    Message("user", f"what time is it {n}"),
                    Message("assistant", "", (ToolCall(f"t{n}", "clock", {}),)),
                    Message("tool", '{"time": "3"}', tool_call_id=f"t{n}", name="clock"),
                    Message("assistant", "It is three."),
                )
            ),
            id="400 messages",
        ),
    ],
)
@pytest.mark.parametrize("tools", [(), (Clock.spec,)], ids=["no tools", "tools"])
async def test_any_history_is_one_that_the_vendor_takes(
    case: VendorCase, messages: tuple[Message, ...], tools: tuple[Any, ...]
) -> None:
    async with case.open() as (engine, _):
        assert await answered(engine, Prompt(messages, tools=tools))


# -- probes and warm connections ------------------------------------------------------------------------


async def test_a_probe_with_the_right_key_costs_nothing(case: VendorCase) -> None:
    async with case.open() as (engine, fake):
        assert isinstance(engine, Probing)
        await engine.probe()
        assert fake.seen
        assert fake.asked == []


async def test_a_probe_with_a_wrong_key_names_the_variable(case: VendorCase) -> None:
    async with case.open(key="wrong-key-of-somebody") as (engine, _):
        with pytest.raises(LlmError, match=case.variable) as caught:
            await engine.probe()
    assert caught.value.kind == Failure.AUTH
    assert "wrong-key-of-somebody" not in str(caught.value)


async def test_a_probe_of_an_unknown_model_names_the_setting_and_what_there_is(case: VendorCase) -> None:
    async with case.open() as (engine, _):
        known = str(engine.model)
    async with case.open(model=f"{known}-x") as (engine, _):
        with pytest.raises(LlmError) as caught:
            await engine.probe()
    assert caught.value.kind == Failure.BAD_REQUEST
    assert f"[llm.{case.plugin}] model" in str(caught.value)
    assert known in str(caught.value).replace(f"{known}-x", "")


async def test_a_prepared_connection_is_the_one_that_is_used(case: VendorCase) -> None:
    async with case.open() as (engine, fake):
        engine.prepare()
        async with asyncio.timeout(5):
            while not fake.seen:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # its answer comes
        assert text_of(await answered(engine))
        assert text_of(await answered(engine))
        assert len({seen.client for seen in fake.seen}) == 1
