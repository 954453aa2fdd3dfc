"""The tools `transfer_to_agent` and `list_agents`: hand the caller over to another agent of the same owner.

Which agents there are `context.storage.directory` knows; when the other one takes over is the session's
business (`ToolContext.hand_over`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pipeline.contracts import Env, Tool, ToolContext
from pipeline.tool import Refused, tool

MOST_NAMED = 5
"""Agents that a refusal names: more nobody listens to."""
ALIKE = 0.5
"""How alike two names must be to be taken for a slip; difflib's measure, 1.0 = the same."""
WORDS = {
    "en": {
        "done": "I am handing you over to {name} now.",
        "meant": "I don't know {asked}. Did you mean {names}?",
        "known": "I don't know {asked}. I can hand you over to {names}.",
        "nobody": "There is nobody I could hand you over to.",
        "or": "or",
    },
    "es": {
        "done": "Ahora le paso con {name}.",
        "meant": "No conozco a {asked}. ¿Quería decir {names}?",
        "known": "No conozco a {asked}. Le puedo pasar con {names}.",
        "nobody": "No hay nadie con quien le pueda pasar.",
        "or": "o",
    },
}


@dataclass(frozen=True, slots=True)
class Options:
    """`[tools.handoff]`: no keys."""


@tool(timeout_s=5)
async def transfer_to_agent(
    context: ToolContext,
    agent: Annotated[str, "The other agent's name, as list_agents gives it or as the caller says it"],
    reason: Annotated[str, "Why, in a few words, for the records"] = "",
) -> Mapping[str, Any]:
    """Hand the caller over to another agent, who has its own instructions, voice and tools and knows what was
    said so far. Use it when the caller asks for somebody else or needs what another agent does. Afterwards
    say a short goodbye: the other agent then speaks by itself."""
    directory, user_id = _directory(context), context.caller.user_id
    names = await directory.names(user_id) if directory is not None else []
    asked = _name_in(agent, names)
    told = await directory.find(user_id, asked, context.session_id) if directory is not None else None
    if told is None:
        raise Refused(_unknown(agent, names, _words(context)))
    context.hand_over(told)
    name = str(told["agent_name"])
    why = {"reason": reason} if reason else {}
    return {"agent": name, **why, "message": _words(context)["done"].format(name=name)}


@tool(timeout_s=5)
async def list_agents(context: ToolContext) -> Mapping[str, Any]:
    """The names of the agents that the caller can be handed over to with transfer_to_agent."""
    directory = _directory(context)
    return {"agents": await directory.names(context.caller.user_id) if directory is not None else []}


def create(options: Options, env: Env) -> Sequence[Tool]:  # noqa: ARG001  (they need neither)
    return (transfer_to_agent, list_agents)


def _directory(context: ToolContext) -> Any:
    return getattr(context.storage, "directory", None)


def _words(context: ToolContext) -> Mapping[str, str]:
    return WORDS.get(context.language[:2].lower(), WORDS["en"])


def _name_in(asked: str, names: Sequence[str]) -> str:
    """ "the billing agent, please" is Billing, if there is an agent of that name."""
    said = asked.casefold().split()
    for name in names:
        words = name.casefold().split()
        if said == words:
            return name
    spare = {
        "the",
        "agent",
        "assistant",
        "please",
        "to",
        "with",
        "el",
        "la",
        "agente",
        "asistente",
        "con",
        "a",
    }
    core = [w for word in said if (w := word.strip(".,!?¿¡")) and w not in spare]
    return next((n for n in names if [w for w in n.casefold().split() if w not in spare] == core), asked)


def _unknown(asked: str, names: Sequence[str], words: Mapping[str, str]) -> str:
    if not names:
        return words["nobody"]
    known = {name.casefold(): name for name in names}
    close = [known[n] for n in get_close_matches(asked.casefold(), known, MOST_NAMED, ALIKE)]
    some = close or [*dict.fromkeys(names)][:MOST_NAMED]
    listed = some[0] if len(some) == 1 else f"{', '.join(some[:-1])} {words['or']} {some[-1]}"
    return words["meant" if close else "known"].format(asked=asked.strip()[:60] or "…", names=listed)
