"""Stored conversations: the list, the transcript, the sound. A guest's session id is the key to its files; a
user's talks are the user's alone. Lists show a visitor only what is his."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from server.api import Call, Endpoint
from server.parts import Parts
from server.routes.answers import Paging, not_found
from storage.ids import valid_session_id, valid_sound_file

NO_TALK = "There is no such conversation."
NO_SOUND = "There is no such recording."


class Listed(BaseModel):
    """A talk in a list."""

    session_id: str
    start_time: str
    end_time: str | None
    duration_seconds: float
    mode: str | None
    language: str | None
    turns: int
    summary: str


class ListedPage(BaseModel):
    items: list[Listed]
    total: int


class Sound(BaseModel):
    """A sound file of a talk, and where it sits on its time line."""

    filename: str
    role: str
    start_ms: int
    end_ms: int
    duration_ms: int
    bytes: int


class Sounds(BaseModel):
    items: list[Sound]
    total: int


class Conversation(BaseModel, extra="allow"):
    """A talk as its file has it: see docs/files.md."""

    session_id: str
    start_time: str | None
    end_time: str | None
    user_id: str | None
    agent_id: str | None
    config: dict[str, Any]
    messages: list[dict[str, Any]]
    turns: list[dict[str, Any]]
    summary: str
    cost_breakdown: dict[str, float]
    duration_seconds: float


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/api/conversations`, `/api/conversation`, `/api/download` and `/api/audio`."""
    archive = parts.archive

    async def listed(call: Call) -> Any:
        if not call.who.owner:
            return ListedPage(items=[], total=0)
        rows, total = await parts.conversations.list(call.who.owner, call.query.limit, call.query.offset)
        return ListedPage(items=[_summary(row) for row in rows], total=total)

    async def one(call: Call) -> Any:
        return await visible(parts, call)

    async def download(call: Call) -> Response:
        await visible(parts, call)
        session_id = call.path["session_id"]
        return _file(archive.json_path(session_id), "application/json", f"{session_id}.json", NO_TALK)

    async def sounds(call: Call) -> Any:
        await visible(parts, call)
        found = await archive.audio_files(call.path["session_id"])
        return {"items": found, "total": len(found)}

    async def sound(call: Call) -> Response:
        await visible(parts, call)
        filename = call.path["filename"]
        if not valid_sound_file(filename):
            raise not_found(NO_SOUND)
        return _file(archive.audio_path(call.path["session_id"], filename), "audio/mpeg", None, NO_SOUND)

    def get(path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint("GET", path, handler, summary, "Stored conversations", "nobody", **more)

    missing = {"errors": (404,)}
    whole = {"answers": Conversation, **missing}
    sound_errors = (304, 400, 404, 416)
    return parts.gate.routes(
        [
            get("/api/conversations", listed, "My talks, newest first", query=Paging, answers=ListedPage),
            get("/api/conversation/{session_id}", one, "One talk", **whole),
            get("/api/download/{session_id}", download, "One talk, as a file", **whole),
            get("/api/audio/{session_id}", sounds, "The sound files of a talk", answers=Sounds, **missing),
            get(
                "/api/audio/{session_id}/{filename}",
                sound,
                "A sound file (MP3), with Range",
                media="audio/mpeg",
                also=(206,),
                errors=sound_errors,
            ),
        ]
    )


async def visible(parts: Parts, call: Call) -> dict[str, Any]:
    """The conversation that the path names, if the caller may see it. Raises 404, and says no more."""
    session_id = _session_id(call.request)
    conversation = await parts.archive.conversation(session_id)
    if conversation is None:
        raise not_found(NO_TALK)
    user_id = conversation.get("user_id")
    if not call.who.may_see(session_id, f"user:{user_id}", user_id):
        raise not_found(NO_TALK)
    return dict(conversation)


def _session_id(request: Request) -> str:
    session_id = request.path_params["session_id"]
    if not valid_session_id(session_id):
        raise not_found(NO_TALK)
    return str(session_id)


def _file(path: Path, media_type: str, download_as: str | None, missing: str) -> Response:
    """The file with Range and conditional requests; starlette reads it in threads."""
    if not path.is_file():
        raise HTTPException(404, missing)
    headers = {"Cache-Control": "private, no-cache"}
    return FileResponse(path, media_type=media_type, filename=download_as, headers=headers)


def _summary(row: dict[str, Any]) -> Listed:
    known = {name: row.get(name) for name in Listed.model_fields}
    return Listed(**{**known, "duration_seconds": row["duration_s"]})
