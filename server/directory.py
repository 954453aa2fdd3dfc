"""Finds the agents that a talk may be handed over to: other agents of the user whose talk it is."""

from collections.abc import AsyncIterator
from typing import Any

from server.plans import Plans, Row, channels_of
from storage.agents import Agents
from storage.talks import Talks

PAGE = 100
WHOLE = (
    *(
        "agent_id",
        "agent_name",
        "avatar",
        "greeting",
        "persona",
        "system_prompt",
        "context",
        "voice",
        "speed",
    ),
    *("pitch", "tools", "turn", "providers"),
)
"""What a successor brings along whole: what it does not say itself is as at a new talk of that user's."""


class Directory:
    """What `ToolContext.storage.directory` is. A guest has no agents."""

    def __init__(self, plans: Plans, agents: Agents, talks: Talks) -> None:
        self._plans, self._agents, self._talks = plans, agents, talks

    async def names(self, user_id: str | None) -> list[str]:
        """The names of that user's agents, oldest first."""
        return [agent["name"] async for agent in self._of(user_id)]

    async def find(self, user_id: str | None, name: str, session_id: str = "") -> dict[str, Any] | None:
        """That user's agent of that name, in any letter case, as `Session.become` takes it: in that session,
        whose own context it is told too. Of several, the oldest."""
        wanted = _plain(name)
        async for agent in self._of(user_id):
            if _plain(agent["name"]) == wanted:
                return await self._told(agent, user_id, session_id)
        return None

    async def _of(self, user_id: str | None) -> AsyncIterator[Row]:
        offset, total = 0, 1 if user_id else 0
        while offset < total:
            rows, total = await self._agents.list(user_id, PAGE, offset)
            for row in rows:
                yield row
            offset += PAGE

    async def _told(self, agent: Row, user_id: str | None, session_id: str) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": session_id,
            "owner": None,
            "context_prompts": [],
            "conversation_context": {},
        }
        if session_id and (made := await self._talks.get(session_id)):
            row.update(made)
        # The session's own prompt was written for the agent that it began with.
        row |= {"user_id": user_id, "agent_id": agent["id"], "mode": "both", "session_prompt": None}
        setup = (await self._plans.made(row)).setup
        told = {name: getattr(setup, name) for name in WHOLE}
        told["greeting"] = agent.get("greeting") or ""
        told["channels"] = channels_of(agent, "both") or "both"
        if agent.get("language"):
            told["language"] = agent["language"]  # else the talk goes on in the language that it has
        return told


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
