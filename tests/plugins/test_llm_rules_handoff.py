"""The offline responder and other agents: it passes the caller on, and begins when it was handed over to."""

import json

import pytest

from pipeline.contracts import Message, Prompt, ToolCall
from pipeline.llm.rules import RulesResponder
from pipeline.succession import handed_over
from pipeline.tools import handoff

TOOLS = (handoff.transfer_to_agent.spec, handoff.list_agents.spec)
SYSTEM = Message("system", "You are Max, at the door.")


def answer(*messages: Message, language: str = "en", offered: bool = True) -> str | ToolCall:
    return RulesResponder().answer(Prompt(messages, TOOLS if offered else (), language))


@pytest.mark.parametrize(
    ("language", "text", "agent"),
    [
        ("en", "transfer me to Ada", "Ada"),
        ("en", "let me talk to Ada please", "Ada"),
        ("en", "could you put me through to the billing agent", "Billing"),
        ("en", "can I speak with a human?", "Human"),
        ("en", "please connect me with ada lovelace", "Ada Lovelace"),
        ("en", "hand me over to Bob.", "Bob"),
        ("en", "I want to talk to you", None),
        ("en", "let me talk", None),
        ("en", "what time is it", None),
        ("es", "páseme con Ada, por favor", "Ada"),
        ("es", "quiero hablar con la agente Ada", "Ada"),
        ("es", "comuníqueme con facturación", "Facturación"),
        ("es", "quiero hablar con usted", None),
    ],
)
def test_asking_for_somebody_else_hands_over(language: str, text: str, agent: str | None) -> None:
    said = answer(SYSTEM, Message("user", text), language=language)
    if agent is None:
        assert not isinstance(said, ToolCall)
    else:
        assert isinstance(said, ToolCall)
        assert (said.name, said.arguments) == ("transfer_to_agent", {"agent": agent})
    assert isinstance(answer(SYSTEM, Message("user", text), language=language, offered=False), str)


@pytest.mark.parametrize("ok", [True, False])
def test_it_says_what_the_tool_says(ok: bool) -> None:
    call = ToolCall("c1", "transfer_to_agent", {"agent": "Ada"})
    result = json.dumps({"ok": ok, "message": "So it is."})
    messages = (SYSTEM, Message("user", "transfer me to Ada"), Message("assistant", "", (call,)))
    assert answer(*messages, Message("tool", result, (), "c1", "transfer_to_agent")) == "So it is."


def test_who_has_taken_over_says_who_he_is_and_does_not_hand_over_again() -> None:
    call = ToolCall("c1", "transfer_to_agent", {"agent": "Ada"})
    messages = (
        Message("system", "You work for the bank."),
        Message("user", "transfer me to Ada"),
        Message("assistant", "", (call,)),
        Message("tool", '{"ok": true, "message": "Bye."}', (), "c1", "transfer_to_agent"),
        Message("assistant", "Bye."),
        Message("system", handed_over("Max", "Ada")),
    )
    begun = answer(*messages)
    assert begun == "Hello, this is Ada. How can I help you?"
    assert answer(*messages, language="es") == "Hola, le habla Ada. ¿En qué le puedo ayudar?"
    more = (Message("assistant", str(begun)), Message("user", "what is two plus two"))
    assert "4" in str(answer(*messages, *more))
