"""Beyond Presence's REST interface: sessions, avatars, and their errors.

https://docs.bey.dev/api-reference/speech-to-video-sessions/create-speech-to-video-session,
https://docs.bey.dev/api-reference/avatars/retrieve-avatar, https://docs.bey.dev/concepts/api/errors
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.support.vendors.place import KEY, Seen, Vendor, refusal

AVATAR = "01234567-89ab-cdef-0123-456789abcdef"
FIELDS = {"avatar_id", "transport", "url", "token"}


class Bey(Vendor):
    """Answers as documented. `invited` is called with the body of each session that was made."""

    invited: Callable[[dict[str, Any]], None] | None = None
    status = "available"
    """Of its one avatar."""

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/sessions", self._answering(self._session), methods=["POST"]),
            Route("/v1/avatars/{id}", self._answering(self._avatar)),
        ]

    def _answering(
        self, answer: Callable[[Request, Seen], Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            seen = await self.see(request)
            trouble = self.trouble()
            if trouble.hang:
                await self.hang()
            await self.pause(trouble, 0)
            if trouble.status:
                return refusal(trouble, {"detail": trouble.message})
            if "x-api-key" not in seen.headers:
                return JSONResponse({"detail": "API key is required."}, 401)
            if seen.headers["x-api-key"] != KEY:
                return JSONResponse({"detail": "Invalid API key."}, 401)
            return answer(request, seen)

        return handle

    def _session(self, _request: Request, seen: Seen) -> Response:
        body = seen.json
        if missing := sorted({"avatar_id", "url", "token"} - set(body)):
            what = {"loc": ["body", missing[0]], "msg": "Field required", "type": "missing"}
            return JSONResponse({"detail": [what]}, 422)
        assert seen.headers["content-type"] == "application/json"
        assert set(body) <= FIELDS
        assert body["transport"] == "livekit"
        if body["avatar_id"] != AVATAR:
            return JSONResponse({"detail": "Avatar not found."}, 404)
        if self.invited is not None:
            self.invited(body)
        made = {"id": str(uuid.uuid4()), "status": {"type": "to_start"}, "transport": "livekit"}
        return JSONResponse({**made, "avatar_id": AVATAR, "url": body["url"]}, 201)

    def _avatar(self, request: Request, _seen: Seen) -> Response:
        if request.path_params["id"] != AVATAR:
            return JSONResponse({"detail": "Avatar not found."}, 404)
        found = {"id": AVATAR, "name": "Ada", "visibility": "public", "status": self.status}
        return JSONResponse(found)
