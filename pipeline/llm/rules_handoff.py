"""What the offline responder does with "let me talk to Ada": it hands over, and begins once it took over.

It only does so where the tool `transfer_to_agent` is offered; who there is, the tool knows.
"""

from pipeline.contracts import ToolCall
from pipeline.llm.rules_intents import Answer, Intent, choose, from_tool
from pipeline.llm.rules_talk import Talk

TOOL = "transfer_to_agent"

ENGLISH = (
    "transfer|connect|pass|hand me to|with ...",
    "put me through to ...",
    "let me talk|speak to|with ...",
    "can|could|may i talk|speak to|with ...",
    "want|like|need to talk|speak to|with ...",
    "^talk|speak to ...",
)
SPANISH = (
    "pásame|páseme|pasame|paseme con|a ...",
    "comunícame|comuníqueme|comunicame con ...",
    "transfiéreme|transfiérame|transfiereme con|a ...",
    "ponme|póngame con ...",
    "quiero|quisiera|puedo|podría|necesito hablar con ...",
    "^hablar con ...",
)
US = frozenset(("you", "me", "us", "him", "her", "them", "usted", "ti", "él", "ella"))
"""Who is no agent's name."""
SPARE = frozenset(
    (
        "the",
        "a",
        "an",
        "my",
        "your",
        "please",
        "now",
        "agent",
        "el",
        "la",
        "un",
        "una",
        "por",
        "favor",
        "agente",
    )
)
BEGIN = {
    "en": "Hello, this is {name}. How can I help you?",
    "es": "Hola, le habla {name}. ¿En qué le puedo ayudar?",
}


def pass_on(talk: Talk) -> Answer | None:
    """The answer when it is about who talks."""
    last = talk.prompt.messages[-1] if talk.prompt.messages else None
    if last is not None and last.role == "system" and talk.users:
        return BEGIN["es" if talk.spanish else "en"].format(name=talk.persona or "Parley")
    if talk.answers and talk.answers[-1].name == TOOL:
        return from_tool(talk, talk.answers[-1])
    return choose(talk, TABLE) if talk.offers(TOOL) and not talk.answers else None


def _transfer(talk: Talk, rest: tuple[str, ...]) -> Answer | None:
    named = [word for word in rest if word not in SPARE]
    if not named or named[0] in US:
        return None
    name = " ".join(word.capitalize() for word in named[:4])
    return ToolCall(f"transfer_{len(talk.prompt.messages)}", TOOL, {"agent": name})


TABLE = (Intent("transfer", {"en": ENGLISH, "es": SPANISH}, _transfer),)
