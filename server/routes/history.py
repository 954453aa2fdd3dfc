"""A user's talks: the list with search, each one with all that is known of it, exports, deleting. Guests'
talks are in nobody's history."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from server import subtitles
from server.api import Call, Endpoint
from server.parts import Parts
from server.routes.answers import Paging, not_found
from server.routes.conversations import NO_SOUND, NO_TALK, Sound
from storage.ids import CONVERSATION_MP3, valid_session_id
from storage.search import snippet
from storage.times import iso, parse

FIRST_YEAR, LAST_YEAR = 1900, 9998  # what can be shifted by a day or a time zone and still be written
PRIVATE = {"Cache-Control": "private, no-cache"}
Format = Literal["json", "txt", "srt", "vtt", "mp3"]
_TEXTS = {
    "txt": (subtitles.text_of, "text/plain"),
    "srt": (subtitles.srt_of, "application/x-subrip"),
    "vtt": (subtitles.vtt_of, "text/vtt"),
}


def _moment(text: str) -> str:
    """A date or time, as it was given."""
    when = parse(text)
    if when is None or not FIRST_YEAR <= when.year <= LAST_YEAR:
        raise ValueError("must be a date or time, such as 2026-12-26 or 2026-12-26T10:09:00Z")
    return text


Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]


class Filter(Paging):
    """Which talks."""

    since: Moment | None = Field(None, alias="from", description="The first day, or time (UTC)")
    until: Moment | None = Field(None, alias="to", description="The last day, or the time before which (UTC)")
    q: str = Field("", max_length=200, description="Words, all in one message, each from its beginning")


class Piece(BaseModel):
    """A part of a snippet."""

    text: str
    hit: bool
    """Whether this is what was looked for."""


class Item(BaseModel):
    """A talk in the list."""

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
    snippet: list[Piece]
    """With `q`: where it was found."""


class Items(BaseModel):
    items: list[Item]
    total: int


class Said(BaseModel, extra="allow"):
    """A message, with where to hear it."""

    role: str
    content: str | None = ""
    time: str | None = None
    turn: int | None = None
    start_ms: float | None = None
    end_ms: float | None = None
    audio: str | None = None
    audio_url: str | None = None
    words: list[tuple[int, int, int]] | None = None
    """[from, to, start_ms]: these characters of `content` sound from there on in `audio`."""


class Detail(BaseModel):
    """A talk with all that is known of it."""

    session_id: str
    start_time: str | None
    end_time: str | None
    duration_seconds: float
    is_live: bool
    mode: str | None
    language: str | None
    agent_id: str | None
    agent_name: str | None
    config: dict[str, Any]
    messages: list[Said]
    turns: list[dict[str, Any]]
    """Their times and costs, as `turn.metrics` told them."""
    requests: list[dict[str, Any]]
    """The ledger: a row for each request to a provider."""
    summary: str
    appointments_discussed: list[dict[str, Any]]
    preferences_mentioned: list[str]
    cost_breakdown: dict[str, float]
    sounds: list[Sound]
    audio_url: str | None
    """Of the whole talk."""
    shared_until: str | None
    shared_opened: int
    """How often its links were opened."""
    end_reason: str | None


class Export(BaseModel):
    format: Format = "json"


class History:
    """What users do with their talks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list(self, call: Call) -> Items:
        query: Filter = call.query
        rows, total = await self._parts.conversations.list(
            call.who.owner,
            query.limit,
            query.offset,
            since=_start(query.since),
            until=last_moment(query.until),
            text=query.q.strip() or None,
        )
        found: Mapping[str, str] = {}
        if wanted := query.q.strip():
            found = await self._parts.conversations.found([row["session_id"] for row in rows], wanted)
        return Items(items=[_item(row, query.q.strip(), found) for row in rows], total=total)

    async def one(self, call: Call) -> Detail:
        row = await self.own(call)
        session_id, parts = row["session_id"], self._parts
        conversation = await parts.archive.conversation(session_id) or {}
        sounds = await parts.archive.audio_files(session_id)
        there = {sound["filename"] for sound in sounds}
        base = f"/api/audio/{session_id}"
        agent = await parts.agents.get(row["agent_id"], deleted=True) if row["agent_id"] else None
        assert call.who.user is not None
        shared_until, opened = await parts.credentials.sharing(call.who.user.id, session_id)
        return Detail(
            session_id=session_id,
            start_time=row["start_time"],
            end_time=row["end_time"],
            duration_seconds=conversation.get("duration_seconds", row["duration_s"]),
            is_live=row["end_time"] is None,
            mode=row["mode"],
            language=row["language"],
            agent_id=row["agent_id"],
            agent_name=agent["name"] if agent else None,
            config=row["config"],
            messages=messages_of(conversation, base, there),
            turns=conversation.get("turns", []),
            requests=[_ledger(r) for r in await parts.usage.of_session(session_id)],
            summary=row["summary"],
            appointments_discussed=conversation.get("appointments_discussed") or [],
            preferences_mentioned=conversation.get("preferences_mentioned") or [],
            cost_breakdown=conversation.get("cost_breakdown", {}),
            sounds=[Sound(**sound) for sound in sounds],
            audio_url=f"{base}/{CONVERSATION_MP3}" if CONVERSATION_MP3 in there else None,
            shared_until=shared_until,
            shared_opened=opened,
            end_reason=row["end_reason"],
        )

    async def delete(self, call: Call) -> None:
        session_id = (await self.own(call))["session_id"]
        parts = self._parts
        assert call.who.user is not None
        if live := parts.sessions.get(session_id):
            await live.end("it was deleted", 1000)
        elif await parts.archive.is_open_elsewhere(session_id):
            raise HTTPException(409, "This talk is still going on: end it first.")
        await parts.credentials.unshare(call.who.user.id, session_id)
        await parts.archive.delete(session_id)
        await parts.talks.delete(session_id)

    async def export(self, call: Call) -> Response:
        session_id = (await self.own(call))["session_id"]
        wanted: Format = call.query.format
        if wanted == "mp3":
            path = self._parts.archive.audio_path(session_id, CONVERSATION_MP3)
            return _file(path, "audio/mpeg", f"{session_id}.mp3", NO_SOUND)
        if wanted == "json":
            path = self._parts.archive.json_path(session_id)
            return _file(path, "application/json", f"{session_id}.json", NO_TALK)
        conversation = await self._parts.archive.conversation(session_id)
        if conversation is None:
            raise not_found(NO_TALK)
        make, media = _TEXTS[wanted]
        name = f'attachment; filename="{session_id}.{wanted}"'
        headers = {**PRIVATE, "Content-Disposition": name}
        return Response(make(conversation), media_type=f"{media}; charset=utf-8", headers=headers)

    async def own(self, call: Call) -> Mapping[str, Any]:
        """The row of the talk that the path names, if it is the caller's. Raises 404."""
        session_id = call.path["session_id"]
        row = await self._parts.conversations.get(session_id) if valid_session_id(session_id) else None
        if row is None or row["owner"] != call.who.owner:
            raise not_found(NO_TALK)
        return row


def messages_of(conversation: Mapping[str, Any], base: str, there: set[str]) -> list[Said]:
    """The messages, each with the address of its sound below `base` if that is there."""
    found = []
    for message in conversation.get("messages", ()):
        audio = message.get("audio")
        url = f"{base}/{audio}" if audio in there else None
        found.append(Said(**{**message, "audio_url": url}))
    return found


def _item(row: Mapping[str, Any], wanted: str, found: Mapping[str, str]) -> Item:
    content = found.get(row["session_id"], row["summary"])
    return Item(
        session_id=row["session_id"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        duration_seconds=row["duration_s"],
        mode=row["mode"],
        language=row["language"],
        agent_id=row["agent_id"],
        turns=row["turns"],
        summary=row["summary"],
        total_cost=row["total_cost"],
        is_live=row["end_time"] is None,
        snippet=[Piece(text=p.text, hit=p.hit) for p in snippet(content, wanted)] if wanted else [],
    )


def _ledger(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "session_id"}


def _start(text: str | None) -> str | None:
    when = parse(text)
    return iso(when) if when else None


def last_moment(text: str | None) -> str | None:
    """The first moment that is not in it any more: a day is in it whole."""
    when = parse(text)
    if text is None or when is None:
        return None
    return iso(when + timedelta(days=1) if _is_day(text) else when)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _file(path: Path, media_type: str, name: str, missing: str) -> Response:
    if not path.is_file():
        raise not_found(missing)
    return FileResponse(path, media_type=media_type, filename=name, headers=PRIVATE)


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/users/history`."""
    history = History(parts)
    one = "/api/users/history/{session_id}"

    def route(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint(method, path, handler, summary, "History", "user", **more)

    return parts.gate.routes(
        [
            route(
                "GET",
                "/api/users/history",
                history.list,
                "My talks, newest first; by date, by what was said",
                query=Filter,
                answers=Items,
            ),
            route("GET", one, history.one, "One talk with all of it", answers=Detail, errors=(404,)),
            route(
                "DELETE",
                one,
                history.delete,
                "Delete a talk with its files",
                status=204,
                errors=(404, 409),
                at_session=True,
            ),
            route(
                "GET",
                f"{one}/export",
                history.export,
                "A talk as a file",
                query=Export,
                media=("application/json", "audio/mpeg", *(media for _, media in _TEXTS.values())),
                also=(206,),
                errors=(304, 400, 404, 416),
            ),
        ]
    )
