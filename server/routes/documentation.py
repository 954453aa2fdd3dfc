"""The live documentation: what programs read (`/openapi.json`, `/asyncapi.json`), and pages to look at it.

The pages' programs are shipped (static/vendor), so nothing is asked of the internet.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from server import asyncapi, openapi
from server.api import Call, Endpoint
from server.headers import CONTENT_SECURITY_POLICY, LOOSE_STYLES
from server.parts import Parts

STATIC = Path(__file__).resolve().parents[2] / "static"
PAGES = {"/docs": "docs.html", "/redoc": "redoc.html", "/docs/websocket": "websocket.html"}


def routes(parts: Parts) -> list[BaseRoute]:
    """`/openapi.json`, `/asyncapi.json`, `/docs`, `/redoc` and `/docs/websocket`."""
    made: dict[str, bytes] = {}
    about = {"version": version("parley"), "public_url": parts.config.server.public_url}

    async def http(_call: Call) -> Response:
        if "openapi" not in made:  # not before: routes of other modules are still to come
            found = openapi.document(parts.gate.endpoints, guests=parts.config.accounts.guests, **about)
            made["openapi"] = json.dumps(found).encode()
        return _json(made["openapi"])

    async def sockets(_call: Call) -> Response:
        if "asyncapi" not in made:
            made["asyncapi"] = json.dumps(asyncapi.document(**about)).encode()
        return _json(made["asyncapi"])

    async def page(call: Call) -> Response:
        path = call.request.url.path
        policy = LOOSE_STYLES if path == "/redoc" else CONTENT_SECURITY_POLICY
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": policy}
        return FileResponse(STATIC / PAGES[path], headers=headers)

    def get(path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint("GET", path, handler, summary, "Documentation", "nobody", **more)

    whole = {"answers": dict[str, Any]}
    return parts.gate.routes(
        [
            get("/openapi.json", http, "The HTTP interface, as OpenAPI 3.1", **whole),
            get("/asyncapi.json", sockets, "The voice WebSocket, as AsyncAPI 3.0", **whole),
            *(get(path, page, "A page", media="text/html", hidden=True) for path in PAGES),
        ]
    )


def _json(text: bytes) -> Response:
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-cache"})
