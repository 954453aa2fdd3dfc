"""A talk shown to others by a link: `/share/{key}` for whoever has it, until it expires. It shows what was
said and its sound; not whose talk it is, what tools were told, or what it cost."""

from datetime import timedelta

from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from server.api import Body, Call, Endpoint
from server.parts import Parts
from server.routes.answers import not_found
from server.routes.history import History, Said, messages_of
from storage.ids import CONVERSATION_MP3, valid_sound_file

MOST_HOURS = 24 * 365
GONE = "This link shows nothing (any more)."
HEADERS = {"Cache-Control": "private, no-store", "X-Robots-Tag": "noindex"}
_SHOWN = ("role", "content", "time", "turn", "start_ms", "end_ms", "audio", "words", "interrupted", "heard")


class Share(Body):
    hours: float = Field(24 * 7, gt=0, le=MOST_HOURS, description="How long the link is good")


class Shared(BaseModel):
    """A link. It is shown this once."""

    url: str
    key: str
    expires_at: str


class SharedTalk(BaseModel):
    """What a link shows."""

    start_time: str | None
    duration_seconds: float
    language: str | None
    summary: str
    messages: list[Said]
    audio_url: str | None


class Links:
    """Making, ending and following links."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._history = parts, History(parts)

    async def share(self, call: Call) -> Shared:
        session_id = (await self._history.own(call))["session_id"]
        assert call.who.user is not None
        lifetime = timedelta(hours=call.body.hours)
        key, expires_at = await self._parts.credentials.share(call.who.user.id, session_id, lifetime)
        home = self._parts.config.server.public_url or str(call.request.base_url)
        return Shared(url=f"{home.rstrip('/')}/share/{key}", key=key, expires_at=expires_at)

    async def unshare(self, call: Call) -> None:
        session_id = (await self._history.own(call))["session_id"]
        assert call.who.user is not None
        await self._parts.credentials.unshare(call.who.user.id, session_id)

    async def show(self, call: Call) -> Response:
        key = call.path["key"]
        shown = (await self.talk(key)).model_dump_json()
        await self._parts.credentials.count_opening(key)
        return Response(shown, media_type="application/json", headers=HEADERS)

    async def talk(self, key: str) -> SharedTalk:
        """What the link with that key shows. Raises 404."""
        session_id = await self._session(key)
        conversation = await self._parts.archive.conversation(session_id)
        if conversation is None:
            raise not_found(GONE)
        sounds = await self._parts.archive.audio_files(session_id)
        there, base = {sound["filename"] for sound in sounds}, f"/share/{key}/audio"
        said = [
            {name: message[name] for name in _SHOWN if name in message}
            for message in conversation["messages"]
            if message.get("role") in ("user", "assistant")
        ]
        return SharedTalk(
            start_time=conversation.get("start_time"),
            duration_seconds=conversation.get("duration_seconds", 0.0),
            language=conversation.get("language"),
            summary=conversation.get("summary") or "",
            messages=messages_of({"messages": said}, base, there),
            audio_url=f"{base}/{CONVERSATION_MP3}" if CONVERSATION_MP3 in there else None,
        )

    async def sound(self, call: Call) -> Response:
        session_id, filename = await self._session(call.path["key"]), call.path["filename"]
        if not valid_sound_file(filename):
            raise not_found(GONE)
        path = self._parts.archive.audio_path(session_id, filename)
        if not path.is_file():
            raise not_found(GONE)
        return FileResponse(path, media_type="audio/mpeg", headers=HEADERS)

    async def _session(self, key: str) -> str:
        session_id = await self._parts.credentials.shared_session(key)
        if session_id is None:
            raise not_found(GONE)
        return session_id


def routes(parts: Parts) -> list[BaseRoute]:
    """`/api/users/history/{session_id}/share` and `/share/{key}`."""
    links, tag = Links(parts), "Shared talks"
    share = "/api/users/history/{session_id}/share"
    return parts.gate.routes(
        [
            Endpoint(
                "POST",
                share,
                links.share,
                "Make a link that shows this talk to whoever has it",
                tag,
                body=Share,
                body_required=False,
                answers=Shared,
                status=201,
                errors=(404,),
                example={"hours": 24},
            ),
            Endpoint(
                "DELETE", share, links.unshare, "End all links to this talk", tag, status=204, errors=(404,)
            ),
            Endpoint(
                "GET",
                "/share/{key}",
                links.show,
                "The talk that a link shows",
                tag,
                "nobody",
                answers=SharedTalk,
                errors=(404,),
            ),
            Endpoint(
                "GET",
                "/share/{key}/audio/{filename}",
                links.sound,
                "Its sound",
                tag,
                "nobody",
                media="audio/mpeg",
                also=(206,),
                errors=(304, 400, 404, 416),
            ),
        ]
    )
