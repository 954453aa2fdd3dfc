"""Stored conversations: the list, the transcript, the sound. A session id is the key to its files; the list
shows a visitor only what his own cookie made."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from server.auth import Keys
from server.routes.answers import items, not_found, page
from storage.archive import Archive
from storage.conversations import Conversations
from storage.ids import valid_session_id, valid_sound_file

NO_TALK = "There is no such conversation."
NO_SOUND = "There is no such recording."
LISTED = ("session_id", "start_time", "end_time", "duration_s", "mode", "language", "turns", "summary")

Handler = Callable[[Request], Awaitable[Response]]


def routes(archive: Archive, repository: Conversations, keys: Keys) -> list[Route]:
    """The routes under `/api/conversations`, `/api/conversation`, `/api/download` and `/api/audio`."""

    async def listed(request: Request) -> Response:
        limit, offset = page(request)
        owner = keys.principal(request.scope).owner
        if not owner:
            return items([], 0)
        rows, total = await repository.list(owner, limit, offset)
        return items([_summary(row) for row in rows], total)

    async def one(request: Request) -> Response:
        conversation = await archive.conversation(_session_id(request))
        if conversation is None:
            raise not_found(NO_TALK)
        return JSONResponse(conversation)

    async def download(request: Request) -> Response:
        session_id = _session_id(request)
        return _file(archive.json_path(session_id), "application/json", f"{session_id}.json", NO_TALK)

    async def sounds(request: Request) -> Response:
        session_id = _session_id(request)
        if await archive.conversation(session_id) is None:
            raise not_found(NO_TALK)
        found = await archive.audio_files(session_id)
        return items(found, len(found))

    async def sound(request: Request) -> Response:
        session_id, filename = _session_id(request), request.path_params["filename"]
        if not valid_sound_file(filename):
            raise not_found(NO_SOUND)
        return _file(archive.audio_path(session_id, filename), "audio/mpeg", None, NO_SOUND)

    return [
        Route("/api/conversations", listed),
        Route("/api/conversation/{session_id}", one),
        Route("/api/download/{session_id}", download),
        Route("/api/audio/{session_id}", sounds),
        Route("/api/audio/{session_id}/{filename}", sound),
    ]


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


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    listed = {key: row.get(key) for key in LISTED}
    listed["duration_seconds"] = listed.pop("duration_s")
    return listed
