"""A program's side of the HTTP interface: accounts, agents, sessions, history, speech; the way into a talk.

    async with ParleyClient("http://127.0.0.1:8000") as parley:
        await parley.login("ann", "a long and odd sentence")
        agent = await parley.create_agent("Receptionist", "You answer the phone of a dentist.")
        session = await parley.create_session(agent_id=agent["id"])
        print((await parley.say(session["id"], "Are you open on Friday?"))["response"])

Answers are the server's JSON, as dicts whose types say which fields there are. What the server refuses is a
`ClientError` with its sentence and status. For more, and for pages: docs/clients.md.
"""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar
from urllib.parse import quote

import httpx2

from server.client import ClientError, VoiceClient

TIMEOUT_S = 60.0
"""A turn over HTTP waits for the whole answer of the agent."""
MOST_ITEMS = 100

Channels = Literal["voice", "text", "both"]
T = TypeVar("T")


class Account(TypedDict):
    """An account, as its owner sees it."""

    id: str
    email: str | None
    username: str | None
    display_name: str
    is_admin: bool
    is_verified: bool
    created_at: str


class Agent(TypedDict):
    """What a talk is to be like. It may have more: greeting, speed, pitch, tools, turn, providers."""

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


class Session(TypedDict):
    """A session, before, in and after its talk. `id` and `session_id` are the same."""

    id: str
    session_id: str
    user_id: str | None
    agent_id: str | None
    room_name: str | None
    mode: Channels
    session_prompt: str | None
    conversation_context: Any
    context_prompts: list[str]
    is_active: bool
    created_at: str
    ended_at: str | None


class Reply(TypedDict):
    """What the agent answered to a typed turn."""

    session_id: str
    turn: int
    message: str
    response: str
    response_id: str
    interrupted: bool


class Transcription(TypedDict):
    """What was said in a recording."""

    text: str
    language: str
    duration_seconds: float


class Voice(TypedDict):
    """A voice to choose."""

    id: str
    name: str
    language: str
    gender: str


class Talk(TypedDict):
    """A talk in the history. `snippet`: where the words that were asked for stand in it."""

    session_id: str
    start_time: str
    end_time: str | None
    duration_seconds: float
    mode: str | None
    language: str | None
    agent_id: str | None
    turns: int
    summary: str
    total_cost: float
    is_live: bool
    snippet: list[dict[str, Any]]


class Page(TypedDict, Generic[T]):
    """A part of a list, and how long the whole list is."""

    items: list[T]
    total: int


class ParleyClient:
    """One program's connection to a server. Without a login it is a guest, where guests are allowed."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`token`: of `login`, or an API key of the profile page. `transport`: another way there."""
        self.url, self.token = url.rstrip("/"), token
        self._http = httpx2.AsyncClient(base_url=self.url, timeout=timeout_s, transport=transport)

    async def aclose(self) -> None:
        """Give back the connections. The login stays good."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- accounts ----------------------------------------------------------------------------------------

    async def register(self, username: str, email: str, password: str) -> Account:
        """Make an account, and log in."""
        body = {"username": username, "email": email, "password": password}
        made: Account = await self._json("POST", "/auth/register", json=body)
        await self.login(username, password)
        return made

    async def login(self, username: str, password: str) -> str:
        """Be somebody from now on; `username` may be the email. Returns the token, to be kept."""
        body = {"username": username, "password": password}
        self.token = str((await self._json("POST", "/auth/login", json=body))["access_token"])
        return self.token

    async def logout(self) -> None:
        """End this login everywhere."""
        await self._json("POST", "/auth/logout")
        self.token = ""

    async def me(self) -> Account:
        found: Account = await self._json("GET", "/auth/me")
        return found

    # -- agents ------------------------------------------------------------------------------------------

    async def create_agent(self, name: str, initial_prompt: str, **fields: Any) -> Agent:
        """`fields`: context_prompts, response_type, voice, language and the others of docs/http.md."""
        body = {"name": name, "initial_prompt": initial_prompt, **fields}
        made: Agent = await self._json("POST", "/agents/", json=body)
        return made

    async def agents(self, *, limit: int = 20, offset: int = 0) -> Page[Agent]:
        found: Page[Agent] = await self._json("GET", "/agents/", query={"limit": limit, "offset": offset})
        return found

    async def agent(self, agent_id: str) -> Agent:
        found: Agent = await self._json("GET", f"/agents/{_part(agent_id)}")
        return found

    async def change_agent(self, agent_id: str, **fields: Any) -> Agent:
        """What is not given stays as it is."""
        changed: Agent = await self._json("PUT", f"/agents/{_part(agent_id)}", json=fields)
        return changed

    async def delete_agent(self, agent_id: str) -> None:
        await self._json("DELETE", f"/agents/{_part(agent_id)}")

    # -- sessions ----------------------------------------------------------------------------------------

    async def create_session(
        self, *, agent_id: str | None = None, mode: Channels = "both", **fields: Any
    ) -> Session:
        """`fields`: session_prompt, conversation_context, context_prompts, room_name."""
        body = {"agent_id": agent_id, "mode": mode, **fields}
        made: Session = await self._json("POST", "/sessions/", json=body)
        return made

    async def sessions(self, *, limit: int = 20, offset: int = 0) -> Page[Session]:
        found: Page[Session] = await self._json("GET", "/sessions/", query={"limit": limit, "offset": offset})
        return found

    async def session(self, session_id: str) -> Session:
        found: Session = await self._json("GET", f"/sessions/{_part(session_id)}")
        return found

    async def change_session(self, session_id: str, **fields: Any) -> Session:
        """What is not given stays as it is; a live talk follows from its next reply on."""
        changed: Session = await self._json("PUT", f"/sessions/{_part(session_id)}", json=fields)
        return changed

    async def say(self, session_id: str, message: str) -> Reply:
        """A typed turn, and the whole answer to it. Starts the session if nobody has."""
        reply: Reply = await self._json(
            "POST", f"/sessions/{_part(session_id)}/message", json={"message": message}
        )
        return reply

    async def end_session(self, session_id: str) -> Session:
        """When this returns, everything is written."""
        ended: Session = await self._json("POST", f"/sessions/{_part(session_id)}/end")
        return ended

    async def delete_session(self, session_id: str) -> None:
        """With all that was said in it."""
        await self._json("DELETE", f"/sessions/{_part(session_id)}")

    async def talk(self, session_id: str = "", **start: Any) -> VoiceClient:
        """Go in by voice: to a session that was made, or to a new one. `start`: see `VoiceClient.connect`."""
        return await VoiceClient.connect(self.url, token=self.token, session_id=session_id, **start)

    # -- what was said -----------------------------------------------------------------------------------

    async def history(self, *, limit: int = 20, offset: int = 0, **query: str) -> Page[Talk]:
        """My talks, newest first. `query`: q (words that were said), from_ and to (dates or times)."""
        asked = {"limit": limit, "offset": offset, **{key.rstrip("_"): value for key, value in query.items()}}
        found: Page[Talk] = await self._json("GET", "/api/users/history", query=asked)
        return found

    async def whole_history(self, **query: str) -> AsyncIterator[Talk]:
        """Every talk of mine, however many there are."""
        offset, total = 0, 1
        while offset < total:
            page = await self.history(limit=MOST_ITEMS, offset=offset, **query)
            for talk in page["items"]:
                yield talk
            offset, total = offset + MOST_ITEMS, page["total"]

    async def conversation(self, session_id: str) -> dict[str, Any]:
        """All of one talk: see docs/files.md."""
        found: dict[str, Any] = await self._json("GET", f"/api/conversation/{_part(session_id)}")
        return found

    async def sound(self, session_id: str, filename: str = "conversation.mp3") -> bytes:
        """A recording of it, as MP3."""
        return await self._bytes("GET", f"/api/audio/{_part(session_id)}/{_part(filename)}")

    # -- speech ------------------------------------------------------------------------------------------

    async def transcribe(
        self, sound: bytes, *, language: str = "", filename: str = "sound.wav"
    ) -> Transcription:
        """What was said in a recording: WAV, MP3, FLAC, OGG, WebM or MP4."""
        found: Transcription = await self._json(
            "POST",
            "/voice/speech-to-text",
            files={"audio_file": (filename, sound)},
            data={"language": language} if language else None,
        )
        return found

    async def speak(
        self, text: str, *, voice: str = "", format: Literal["wav", "mp3", "pcm", "opus"] = "wav"
    ) -> bytes:
        """The text as sound; `voice` is an id of `voices`."""
        body = {"text": text, "format": format, **({"voice": voice} if voice else {})}
        return await self._bytes("POST", "/voice/text-to-speech", json=body)

    async def voices(self) -> list[Voice]:
        found: Page[Voice] = await self._json("GET", "/api/voices")
        return found["items"]

    async def health(self) -> dict[str, Any]:
        """How the server is: see docs/http.md."""
        found: dict[str, Any] = await self._json("GET", "/health")
        return found

    # -- inside ------------------------------------------------------------------------------------------

    async def _json(self, method: str, path: str, **more: Any) -> Any:
        answer = await self._asked(method, path, **more)
        return answer.json() if answer.content else None

    async def _bytes(self, method: str, path: str, **more: Any) -> bytes:
        return (await self._asked(method, path, **more)).content

    async def _asked(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, **more: Any
    ) -> httpx2.Response:
        """The answer to one request. Raises `ClientError`."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            answer = await self._http.request(method, path, params=query, headers=headers, **more)
        except httpx2.TimeoutException as error:
            raise ClientError(f"{self.url} took too long to answer.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ClientError(
                f"Nobody answers at {self.url}. Is the server running? Start it: parley serve"
            ) from error
        if answer.is_error:
            raise ClientError(_sentence(answer), answer.status_code)
        return answer


def _part(name: str) -> str:
    """A part of a path: an id from outside may hold anything."""
    return quote(name, safe="")


def _sentence(answer: httpx2.Response) -> str:
    """What the server had against it, in its own words."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    return detail if isinstance(detail, str) else f"The server answered with an error ({answer.status_code})."
