"""Costs and budgets: every request is a line on the bill, and the lines add up."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.budget import LAST_WORDS, Budget, Limits
from pipeline.request import Request
from pipeline.setup import Rules, Setup
from pipeline.tariff import Tariff, TokenPrices
from tests.support.call import Call, open_call

pytestmark = [pytest.mark.virtual_clock, pytest.mark.usefixtures("no_leaks")]

TARIFF = Tariff({"scripted": 0.006}, {"scripted": TokenPrices(0.15, 0.60)}, {"scripted": 0.000015})
BACKUP = {stage: f"pipeline.{stage}.scripted:create" for stage in ("stt", "llm", "tts")}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def rules(limits: Limits | None = None, *, can_downgrade: bool = False) -> Rules:
    return Rules(tariff=TARIFF, budget=Budget(limits or Limits(), can_downgrade=can_downgrade))


def lines(call: Call) -> list[Any]:
    return call.recorder.of("cost")


async def turn(call: Call, wait_ms: int = 20_000) -> None:
    await call.speak(800)
    await call.quiet(wait_ms)


async def test_the_lines_add_up_to_the_turns_and_the_talk() -> None:
    call = await open_call(rules=rules(), setup=Setup(greeting="Hello there."))
    await call.quiet(5000)
    await turn(call)
    await call.speak(600)
    await call.quiet(1500)
    await call.speak(1500)  # a barge-in
    await call.quiet(20_000)
    await call.end()
    by_stage: dict[str, float] = defaultdict(float)
    by_turn: dict[int, float] = defaultdict(float)
    for line in lines(call):
        by_stage[line["stage"]] += line["price"]
        by_turn[line["turn"]] += line["price"]
    told = call.last("summary")["cost_breakdown"]
    assert {f"{k}_cost": pytest.approx(v, abs=1e-9) for k, v in by_stage.items()} == {
        k: v for k, v in told.items() if k != "total_cost"
    }
    assert told["total_cost"] == pytest.approx(sum(by_turn.values()), abs=1e-9)
    metered = {m["turn"]: m["cost"]["total"] for m in call.of("turn.metrics")}
    assert metered == {n: pytest.approx(by_turn[n], abs=1e-9) for n in metered}
    assert len(metered) == 3
    assert by_turn[0] > 0  # the greeting


async def test_a_line_says_who_was_asked_what_it_used_and_how_it_went() -> None:
    call = await open_call(rules=rules())
    await turn(call)
    await call.end()
    ear, model = (next(line for line in lines(call) if line["stage"] == s) for s in ("stt", "llm"))
    assert (ear["provider"], ear["unit"], ear["outcome"], ear["turn"]) == ("scripted", "minute", "ok", 1)
    assert ear["price"] == pytest.approx(ear["audio_ms"] / 60_000 * 0.006, abs=1e-9)
    assert model["counted"] is True
    assert model["units"] == model["input_tokens"] + model["output_tokens"]
    assert model["price"] == pytest.approx(
        (model["input_tokens"] * 0.15 + model["output_tokens"] * 0.60) / 1e6, abs=1e-9
    )
    voices = [line for line in lines(call) if line["stage"] == "tts"]
    assert len(voices) > 1  # one request a segment
    spoken = call.of("agent_response")[-1]["text"]
    assert abs(sum(v["characters"] for v in voices) - len(spoken)) <= len(voices)
    assert all(v["first_ms"] == 100 for v in voices)


async def test_a_guess_that_was_thrown_away_is_a_line_of_its_own() -> None:
    call = await open_call(rules=rules(), stt={"text": ["so what is", "so what is it"], "final_ms": 20})
    await call.speak(800)
    await call.quiet(400)
    await call.speak(600)
    await call.quiet(20_000)
    await call.end()
    wasted = [line for line in lines(call) if line["speculative"]]
    assert wasted
    assert {line["stage"] for line in wasted} <= {"llm", "tts"}


async def test_a_failed_request_is_on_the_bill_and_the_metrics_say_who_answered_instead() -> None:
    call = await open_call(rules=rules(), llm={"fail": "error"}, stt={"fail": "error"}, backups=BACKUP)
    await turn(call)
    await call.end()
    metrics = call.last("turn.metrics")
    assert metrics["plugins"] == {"stt": BACKUP["stt"], "llm": BACKUP["llm"], "tts": "scripted"}
    assert sorted(f["stage"] for f in metrics["failovers"]) == ["llm", "stt"]
    assert {(f["plugin"], f["kind"]) for f in metrics["failovers"]} == {("scripted", "transient")}
    failed = [line for line in lines(call) if line["outcome"] == "failed"]
    assert {(line["stage"], line["provider"], line["error"]) for line in failed} == {
        ("stt", "scripted", "transient"),
        ("llm", "scripted", "transient"),
    }


async def test_an_interrupted_reply_pays_for_what_was_asked_and_says_so() -> None:
    call = await open_call(rules=rules(), tts={"speed": 1.0})
    call.do("text_message", message="hi")
    await call.quiet(2500)
    await call.speak(1500)
    await call.quiet(500)
    assert call.of("interrupted")
    assert "cancelled" in {line["outcome"] for line in lines(call) if line["turn"] == 1}
    await call.end()


async def test_a_spent_session_says_goodbye_and_ends() -> None:
    call = await open_call(rules=rules(Limits(session=0.000001, when_spent="end")))
    await turn(call)
    assert call.of("ended") == call.of("error") == []
    await turn(call)
    assert call.last("error")["code"] == "budget_spent"
    assert call.of("agent_response")[-1]["text"] == LAST_WORDS["en"]
    assert call.last("ended")["reason"] == "the budget is spent"
    assert call.session.ended
    assert "budget spent: goodbye" in [d["what"] for d in call.recorder.of("decision")]


async def test_a_spent_day_ends_talks_in_their_own_language() -> None:
    budget = Budget(Limits(day=1.0, when_spent="end"), can_downgrade=True)
    call = await open_call(
        rules=Rules(tariff=TARIFF, budget=budget), setup=Setup(greeting="", language="es-ES")
    )
    budget.catch_up(2.0, NOON)
    call.do("text_message", message="hola")
    await call.quiet(8000)
    assert call.of("agent_response")[-1]["text"] == LAST_WORDS["es"]
    assert call.session.ended


async def test_a_spent_session_goes_on_with_who_costs_nothing() -> None:
    call = await open_call(rules=rules(Limits(session=0.000001), can_downgrade=True), backups=BACKUP)
    engines = call.session.engines
    for chain in (engines.stt.chain, engines.llm.chain, engines.tts.chain):
        chain.members[0].free = False
    await turn(call)
    assert set(call.last("turn.metrics")["plugins"].values()) == {"scripted"}
    await turn(call)
    assert call.last("turn.metrics")["plugins"] == BACKUP
    assert [e["code"] for e in call.of("error")] == ["budget_spent"]
    total = call.session.minutes.bill.total
    await turn(call)
    assert call.session.minutes.bill.total == total
    assert not call.session.ended
    await call.end()


def test_a_day_is_a_day_in_utc_and_a_new_one_begins_at_nothing() -> None:
    budget = Budget(Limits(day=1.0), can_downgrade=True)
    budget.add(0.4, NOON)
    budget.add(0.7, NOON)
    assert budget.why_spent(0.0, NOON) == "today has cost 1.1000 of 1"
    assert budget.why_spent(0.0, NOON + timedelta(hours=12)) == ""


def test_what_the_ledger_knows_replaces_what_was_counted_here() -> None:
    budget = Budget(Limits(day=10.0), can_downgrade=True)
    budget.add(0.4, NOON)
    budget.catch_up(0.4, NOON)
    budget.add(0.1, NOON)
    assert budget.spent_today(NOON) == pytest.approx(0.5)
    budget.catch_up(2.0, NOON)  # other workers spend too
    assert budget.spent_today(NOON) == pytest.approx(2.0)


def test_a_price_is_looked_up_by_model_then_by_plug_in() -> None:
    tariff = Tariff(
        llm_per_million={"a/big": TokenPrices(2.0, 8.0), "a": TokenPrices(0.2, 0.8)},
        talk_per_million={"t": TokenPrices(4.0, 16.0, 32.0, 64.0)},
    )
    asked = Request("llm", "a", "big", input_tokens=1000, output_tokens=100)
    assert tariff.price(asked) == pytest.approx(0.0028)
    assert tariff.price(replace(asked, model="other")) == pytest.approx(0.00028)
    assert tariff.price(replace(asked, plugin="b")) == 0.0
    spoken = Request("talk", "t", "m", input_tokens=1000, input_audio_tokens=1000, output_audio_tokens=1000)
    assert tariff.price(spoken) == pytest.approx(0.1)
    assert tariff.is_free("llm", "b", "")
    assert not tariff.is_free("llm", "a", "small")
