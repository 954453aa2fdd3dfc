"""Agents: what a talk is to be like, under a name. A user has their own; deleting one keeps its old talks."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from pipeline.setup import Channels
from server.api import Body, Call, Endpoint
from server.parts import Parts
from server.plans import MOST_PROMPT_CHARS
from server.routes.answers import Paging, not_found

NO_AGENT = "There is no such agent."
MOST_PROMPTS = 50

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Prompt = Annotated[str, Field(max_length=MOST_PROMPT_CHARS)]
Word = Annotated[str, Field(max_length=200)]
Prompts = Annotated[list[Prompt], Field(max_length=MOST_PROMPTS)]
Rate = Annotated[float, Field(ge=0.5, le=2.0)]


class TurnTaking(Body):
    """When a turn is over, where the agent has its own mind; see docs/turn-taking.md."""

    stop_ms: int | None = Field(None, ge=100, le=5000)
    min_silence_ms: int | None = Field(None, ge=100, le=5000)
    max_silence_ms: int | None = Field(None, ge=100, le=10_000)
    barge_in_ms: int | None = Field(None, ge=100, le=5000)
    barge_in_words: int | None = Field(None, ge=1, le=20)
    speculate: bool | None = None


class Providers(Body):
    """Which plug-in to ask first, of those that the server has in its chains."""

    stt: Word | None = None
    llm: Word | None = None
    tts: Word | None = None


class More(Body):
    """What an agent may also say; shown only when it does."""

    greeting: str | None = Field(None, max_length=2000, description="Said first, in place of the server's")
    speed: Rate | None = Field(None, description="Of speech; 1 = as the voice is")
    pitch: Rate | None = None
    avatar: Word | None = None
    tools: Annotated[list[Word], Field(max_length=100)] | None = Field(
        None, description="Names of the tools it may use; absent = all"
    )
    turn: TurnTaking | None = None
    providers: Providers | None = None


class Fields(More):
    """An agent's fields, every one optional."""

    context_prompts: Prompts | None = None
    voice_enabled: bool | None = None
    text_enabled: bool | None = None
    response_type: Channels | None = None
    voice: Word | None = Field(None, description="An id of `GET /api/voices`; null = the talker's choice")
    language: Word | None = Field(None, description="BCP 47, such as en; null = the talker's choice")


class NewAgent(Fields):
    name: Name
    initial_prompt: Prompt = ""

    @model_validator(mode="after")
    def _speaks_somehow(self) -> "NewAgent":
        if self.voice_enabled is False and self.text_enabled is False:
            raise ValueError("voice_enabled and text_enabled cannot both be false")
        return self


class AgentChange(Fields):
    """What is given is changed, all else stays."""

    name: Name | None = None
    initial_prompt: Prompt | None = None


class Agent(BaseModel):
    """An agent."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    initial_prompt: str
    context_prompts: list[str]
    voice_enabled: bool
    text_enabled: bool
    response_type: Channels
    voice: str | None
    language: str | None
    created_at: str
    updated_at: str


class Page(BaseModel):
    """Some agents of all."""

    items: list[Agent]
    total: int


def agent_of(row: dict[str, Any]) -> Agent:
    """An agent as its owner sees it."""
    more = {name: row[name] for name in More.model_fields if row.get(name) is not None}
    return Agent(**{name: row[name] for name in Agent.model_fields}, **more)


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/agents/`."""
    agents = parts.agents

    async def mine(call: Call) -> dict[str, Any]:
        assert call.who.user is not None
        found = await agents.get(call.path["agent_id"], user_id=call.who.user.id)
        if found is None:
            raise not_found(NO_AGENT)
        return found

    async def create(call: Call) -> Agent:
        assert call.who.user is not None
        return agent_of(await agents.create(call.who.user.id, **_values(call.body)))

    async def listed(call: Call) -> Any:
        assert call.who.user is not None
        rows, total = await agents.list(call.who.user.id, call.query.limit, call.query.offset)
        return Page(items=[agent_of(row) for row in rows], total=total)

    async def one(call: Call) -> Agent:
        return agent_of(await mine(call))

    async def change(call: Call) -> Agent:
        old, new = await mine(call), _values(call.body)
        if not any(new.get(name, old[name]) for name in ("voice_enabled", "text_enabled")):
            raise HTTPException(422, "voice_enabled and text_enabled cannot both be false")
        changed = await agents.change(old["id"], **new)
        if changed is None:
            raise not_found(NO_AGENT)
        return agent_of(changed)

    async def delete(call: Call) -> None:
        await agents.delete((await mine(call))["id"])

    def route(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint(method, path, handler, summary, "Agents", "user", **more)

    example = {"name": "Receptionist", "initial_prompt": "You answer the phone of a dentist. Be brief."}
    missing = {"errors": (404,)}
    made = {"body": NewAgent, "answers": Agent, "status": 201, "example": example}
    changed = {"body": AgentChange, "answers": Agent, "example": {"voice": "en-us+f3"}, **missing}
    return parts.gate.routes(
        [
            route("POST", "/agents/", create, "Make an agent", **made),
            route("GET", "/agents/", listed, "My agents, oldest first", query=Paging, answers=Page),
            route("GET", "/agents/{agent_id}", one, "One agent", answers=Agent, **missing),
            route("PUT", "/agents/{agent_id}", change, "Change an agent", **changed),
            route("DELETE", "/agents/{agent_id}", delete, "Delete an agent", status=204, **missing),
        ]
    )


def _values(body: Fields) -> dict[str, Any]:
    """What was said, as the repository takes it: null says nothing but where it means "not set"."""
    said = body.model_dump(exclude_unset=True)
    may_be_null = {"voice", "language", *More.model_fields}
    found = {name: value for name, value in said.items() if value is not None or name in may_be_null}
    for name in ("turn", "providers"):
        if isinstance(found.get(name), dict):
            found[name] = {key: value for key, value in found[name].items() if value is not None}
    return found
