"""What is particular to x.ai's dialect of Chat Completions."""

from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Failure, LlmError, Message, Prompt, Usage
from tests.support.llm_cases import VENDORS
from tests.support.vendors.place import KEY

CASE = VENDORS["grok"]
HELLO = Prompt((Message("user", "hello"),))

pytestmark = pytest.mark.usefixtures("no_leaks")


async def answered(engine: Any) -> list[Any]:
    return [piece async for piece in engine.tokens(HELLO)]


async def test_it_is_asked_at_x_ai_with_its_own_key() -> None:
    engine = plugins.build("llm", "grok", {}, Env({"XAI_API_KEY": KEY, "OPENAI_API_KEY": "another"}))
    assert (engine._place.base_url, engine._place.key) == ("https://api.x.ai/v1", KEY)


async def test_it_is_asked_not_to_think() -> None:
    async with CASE.open(max_tokens=90, temperature=0.3) as (engine, fake):
        await answered(engine)
    body = fake.asked[0].json
    assert body.pop("messages") == [{"role": "user", "content": "hello"}]
    assert body == {
        "model": "grok-4.3",
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "none",
        "max_completion_tokens": 90,
        "temperature": 0.3,
    }


async def test_a_model_that_cannot_think_is_not_told_not_to_twice() -> None:
    async with CASE.open(model="grok-4.20-0309-non-reasoning") as (engine, fake):
        await answered(engine)
        await answered(engine)
    assert ["reasoning_effort" in seen.json for seen in fake.asked] == [True, False, False]


async def test_thinking_that_is_counted_apart_is_paid_too() -> None:
    async with CASE.open() as (engine, _):
        pieces = await answered(engine)
    words = [piece for piece in pieces if isinstance(piece, str)]
    assert isinstance(pieces[-1], Usage)
    assert pieces[-1].output_tokens == len(words) + 30


async def test_a_wrong_key_is_one_although_x_ai_calls_it_a_bad_request() -> None:
    async with CASE.open(key="wrong") as (engine, _):
        with pytest.raises(LlmError, match="XAI_API_KEY") as caught:
            await answered(engine)
    assert caught.value.kind == Failure.AUTH
    assert getattr(caught.value.__cause__, "status_code", None) == 400


@pytest.mark.parametrize(
    ("values", "words"),
    [({"model": ""}, "model"), ({"max_tokens": -1}, "max_tokens"), ({"base_url": "x"}, "http")],
)
def test_options_that_cannot_be_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(plugins.PluginError, match=words):
        plugins.options("llm", "grok", values)
