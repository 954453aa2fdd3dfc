"""What a live session is to be like before anybody says a word: who it is for, with which agent.

Laid over each other, the later the stronger; the client's `start` comes on top of all:

    [pipeline] of the config  <  the user's preferences  <  the agent  <  the session made over REST
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.contracts import Caller
from pipeline.setup import Channels, Setup
from server.auth import Principal
from storage.accounts import Accounts, User
from storage.agents import Agents

Row = Mapping[str, Any]

MOST_PROMPT_CHARS = 32_000
"""Of any one prompt: as the socket takes it."""
PREFERRED = {
    "preferred_voice": "voice",
    "preferred_language": "language",
    "system_prompt_override": "system_prompt",
    "speech_speed": "speed",
    "speech_pitch": "pitch",
}
"""A user's preferences, and what they set in `Setup`."""
_OF_AGENT = ("voice", "language", "greeting", "speed", "pitch", "tools", "turn", "providers", "avatar")


class NoAgent(Exception):
    """There is no such agent, or it is somebody else's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A session that is to be opened: `Sessions.open` takes it."""

    setup: Setup = field(default_factory=Setup)
    owner: str = ""
    """Whose list it belongs in; "" = nobody's."""
    user_id: str | None = None
    session_id: str = ""
    """Of one that was made ahead over REST; "" = a new one."""


class Plans:
    """Makes plans. It looks people and agents up; it opens nothing."""

    def __init__(self, setup: Setup, accounts: Accounts, agents: Agents) -> None:
        self._setup, self._accounts, self._agents = setup, accounts, agents

    async def new(self, who: Principal, agent_id: str = "") -> Plan:
        """A new session of whoever asks, with that agent of theirs. Raises `NoAgent`."""
        setup = self._for_user(who.user)
        if agent_id:
            setup.take(of_agent(await self.agent(who, agent_id), setup))
        return Plan(setup, who.owner, who.user.id if who.user else None)

    async def made(self, row: Row) -> Plan:
        """A session that was made ahead (`storage.talks`), for whoever may come into it. An agent that was
        deleted since counts all the same."""
        user = await self._accounts.get(row["user_id"]) if row["user_id"] else None
        setup = self._for_user(user)
        setup.channels = row["mode"]
        if row["agent_id"] and (agent := await self._agents.get(row["agent_id"], deleted=True)):
            setup.take(of_agent(agent, setup))
        setup.take(of_row(row, setup.context))
        return Plan(setup, row["owner"] or "", row["user_id"], row["id"])

    async def context(self, row: Row) -> str:
        """What the model of that session is told after the prompt, by its user and agent."""
        row = {**row, "context_prompts": [], "conversation_context": {}}
        return (await self.made(row)).setup.context

    async def agent(self, who: Principal, agent_id: str) -> Row:
        """An agent of theirs. Raises `NoAgent`."""
        found = await self._agents.get(agent_id, user_id=who.user.id) if who.user else None
        if found is None:
            raise NoAgent
        return found

    def _for_user(self, user: User | None) -> Setup:
        setup = replace(self._setup)
        wishes = user.preferences if user else {}
        setup.take({name: wishes[key] for key, name in PREFERRED.items() if wishes.get(key)})
        if user is not None:
            digits = "".join(c for c in user.phone or "" if c.isdigit())
            setup.caller = Caller(digits, user.display_name, user.id)
        if topics := wishes.get("favorite_topics"):
            setup.context = f"The user likes to talk about: {_listed(topics)}."
        return setup


def of_agent(agent: Row, setup: Setup) -> dict[str, Any]:
    """What an agent's row sets, in the names of `Setup`, in a session that was to be like `setup`."""
    found: dict[str, Any] = {name: agent[name] for name in _OF_AGENT if agent.get(name) not in (None, "")}
    found["agent_id"], found["agent_name"] = agent["id"], agent["name"]
    found["response"] = agent["response_type"]
    found["channels"] = channels_of(agent, setup.channels) or setup.channels
    if agent["initial_prompt"]:
        found["persona"], found["system_prompt"] = agent["initial_prompt"], ""
    if agent["context_prompts"]:
        new = [text for text in agent["context_prompts"] if text not in setup.context]  # named once more
        found["context"] = _paragraphs([setup.context, *new])
    return found


def channels_of(agent: Row, mode: Channels) -> Channels | None:
    """What is left of a session's mode with that agent; None when nothing is."""
    voice = agent["voice_enabled"] and mode != "text"
    text = agent["text_enabled"] and mode != "voice"
    return "both" if voice and text else "voice" if voice else "text" if text else None


def of_row(row: Row, context: str = "") -> dict[str, Any]:
    """What a session's row sets beside its agent, in the names of `Setup`."""
    told = [context, *row["context_prompts"], _said(row["conversation_context"])]
    found = {"context": _paragraphs(told)}
    if row["session_prompt"]:
        found["system_prompt"] = row["session_prompt"]
    return found


def _said(context: Any) -> str:
    """A conversation's context as the model is told it: text as it is, anything else as JSON."""
    if not context or isinstance(context, str):
        return context or ""
    return f"What is known so far: {json.dumps(context, ensure_ascii=False)}"


def _paragraphs(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part)


def _listed(topics: Any) -> str:
    return ", ".join(str(t) for t in topics) if isinstance(topics, list | tuple) else str(topics)
