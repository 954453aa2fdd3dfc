"""The end of a talk: it is summed up by its own model, in time or without it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.budget import Budget, Limits
from pipeline.chain import Member
from pipeline.contracts import LlmError, Prompt, ToolCall, Usage
from pipeline.setup import Rules, Setup
from pipeline.summary import PATIENCE_S
from pipeline.tariff import Tariff, TokenPrices
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

WORDED = '{"summary": "The caller wanted tea.", "preferences_mentioned": ["tea"]}'
PLAIN = "The talk had one turn. The user said: “I like tea, what have you got?”."
TARIFF = Tariff({}, {"model": TokenPrices(100.0, 100.0)}, {})


class Model:
    """Answers a turn with "Tea.", and when it is asked for a summary with `answer`, after `after_s`."""

    summarizes = True
    model = "big"

    def __init__(self, answer: str | Exception = WORDED, after_s: float = 0.5) -> None:
        self.answer, self.after_s = answer, after_s
        self.asked: list[Prompt] = []
        self.closed = 0

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...

    async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
        if not prompt.messages[0].content.startswith("You write the minutes"):
            yield "Tea."
            return
        self.asked.append(prompt)
        try:
            await asyncio.sleep(self.after_s)
            if isinstance(self.answer, Exception):
                raise self.answer
            yield self.answer
            yield Usage(1000, 100)
        finally:
            self.closed += 1


async def talk(model: Any, *, free: bool = False, others: Any = (), **options: Any) -> Call:
    """A talk of one typed turn, over."""
    call = await open_call(minds=[Member("model", model, free=free), *others], **options)
    call.do("text_message", message="I like tea, what have you got?")
    await call.quiet(3000)
    return call


def costs(call: Call) -> list[Any]:
    return [line for line in call.recorder.of("cost") if line.get("purpose") == "summary"]


async def test_the_model_words_the_summary_and_its_request_is_on_the_bill() -> None:
    model = Model()
    call = await talk(model, rules=Rules(tariff=TARIFF))
    over_ms = call.ms
    await call.end()
    told = call.last("summary")
    assert (told["summary"], told["preferences_mentioned"]) == ("The caller wanted tea.", ["tea"])
    assert call.kinds()[-2:] == ["summary", "ended"]
    assert call.ms == over_ms + 500
    assert told["duration_seconds"] == pytest.approx(
        over_ms / 1000, abs=0.001
    )  # of the talk, not of its summary
    (line,) = costs(call)
    assert (line["turn"], line["provider"], line["model"], line["outcome"]) == (0, "model", "big", "ok")
    assert line["price"] == pytest.approx(0.11)
    assert told["cost_breakdown"]["llm_cost"] >= 0.11
    assert call.recorder.of("summary")[-1] == {
        "summary": "The caller wanted tea.",
        "appointments_discussed": [],
        "preferences_mentioned": ["tea"],
    }
    assert call.recorder.of("end")[0]["time"].endswith("12:00:03.000Z")
    assert call.recorder.closed


async def test_a_summary_is_on_disk_before_a_model_is_asked() -> None:
    model = Model(after_s=2)
    call = await talk(model)
    syncs = call.recorder.syncs
    ending = asyncio.ensure_future(call.end())
    await asyncio.sleep(1)
    assert len(model.asked) == 1
    assert call.recorder.of("summary")[-1]["summary"] == PLAIN
    assert call.recorder.syncs > syncs
    assert not call.recorder.of("end")
    await ending


async def test_a_model_that_hangs_costs_a_few_seconds_and_nothing_else() -> None:
    model = Model(after_s=1000)
    call = await talk(model)
    before_ms = call.ms
    await call.end()
    assert call.ms - before_ms <= PATIENCE_S * 1000
    assert model.closed == 1
    assert call.last("summary")["summary"] == PLAIN
    assert call.last("summary")["preferences_mentioned"] == ["I like tea, what have you got?"]
    assert call.recorder.closed
    assert [line["outcome"] for line in costs(call)] == ["failed"]


async def test_a_model_that_never_ends_is_cut_off_in_time() -> None:
    class Endless(Model):
        async def tokens(self, prompt: Prompt) -> AsyncIterator[str | ToolCall | Usage]:
            if not prompt.messages[0].content.startswith("You write the minutes"):
                yield "Tea."
                return
            while True:
                await asyncio.sleep(1)
                yield " and"

    call = await talk(Endless())
    before_ms = call.ms
    await call.end()
    assert call.ms - before_ms == PATIENCE_S * 1000
    assert call.last("summary")["summary"] == PLAIN
    assert [line["outcome"] for line in costs(call)] == ["cancelled"]


@pytest.mark.parametrize("trouble", [LlmError("it is down"), ValueError("a bug in a plug-in")])
async def test_a_model_that_fails_loses_nothing(trouble: Exception) -> None:
    call = await talk(Model(trouble))
    await call.end()
    assert call.last("summary")["summary"] == PLAIN
    assert call.kinds()[-2:] == ["summary", "ended"]
    assert call.recorder.of("end")
    assert call.recorder.closed


async def test_another_model_stands_in_for_one_that_fails_and_rules_never_do() -> None:
    class Rules_(Model):
        summarizes = False

    second, offline = Model(), Rules_()
    others = [Member("offline", offline), Member("second", second)]
    call = await talk(Model(LlmError("it is down")), others=others)
    await call.end()
    assert call.last("summary")["summary"] == "The caller wanted tea."
    assert (len(second.asked), len(offline.asked)) == (1, 0)
    assert [line["outcome"] for line in costs(call)] == ["failed", "ok"]


async def test_who_does_not_sum_up_is_not_asked() -> None:
    call = await open_call()
    call.do("text_message", message="I like tea, what have you got?")
    await call.quiet(20_000)
    before_ms = call.ms
    await call.end()
    assert call.ms == before_ms
    assert call.last("summary")["summary"] == PLAIN
    assert costs(call) == []


async def test_a_talk_without_a_word_needs_no_model() -> None:
    model = Model()
    setup = Setup(greeting="Hello there.", language="es")
    call = await open_call(minds=[Member("model", model)], setup=setup)
    await call.quiet(5000)
    await call.end()
    assert model.asked == []
    assert call.last("summary")["summary"] == "El usuario no dijo nada."


@pytest.mark.parametrize("free", [True, False])
async def test_a_spent_budget_asks_only_who_costs_nothing(free: bool) -> None:
    budget = Budget(Limits(session=0.5), can_downgrade=True)
    price = 0.0 if free else 100.0
    prices = Tariff({}, {"model": TokenPrices(price, price)}, {"scripted": 1.0})  # the voice has spent it
    model = Model()
    call = await talk(model, free=free, rules=Rules(tariff=prices, budget=budget))
    await call.end()
    assert len(model.asked) == int(free)
    assert call.last("summary")["summary"] == ("The caller wanted tea." if free else PLAIN)


async def test_a_server_that_goes_down_sums_nothing_up() -> None:
    model = Model()
    call = await talk(model)
    await call.session.end("the server is restarting", 1001, keep=True)
    assert model.asked == []
    assert call.recorder.of("summary") == []
    assert call.recorder.suspended


async def test_behind_one_model_for_speech_the_language_model_sums_up() -> None:
    model = Model()
    call = await open_call(talk={}, minds=[Member("model", model)])
    await call.speak(800)
    await call.quiet(4000)
    await call.end()
    assert len(model.asked) == 1
    assert call.last("summary")["summary"] == "The caller wanted tea."
