"""Which other sites' pages may use the HTTP routes: those of `[server] allowed_origins`.

Named origins may send the cookie along. "*" lets every page in, without it: a page that nobody named must not
act for whoever happens to be logged in.
"""

from collections.abc import Sequence
from typing import Any

from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SENT = ("Authorization", "Content-Type", "Range", "If-None-Match", "If-Modified-Since", "If-Range")
SHOWN = ("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Retry-After", "WWW-Authenticate")
PREFLIGHT_S = 600


def shared(app: Any, allowed_origins: Sequence[str]) -> Any:
    """The application, with answers that browsers show to pages of these origins."""
    if not allowed_origins:
        return app
    everybody = "*" in allowed_origins
    return CORSMiddleware(
        app,
        allow_origins=["*"] if everybody else [origin.rstrip("/") for origin in allowed_origins],
        allow_methods=METHODS,
        allow_headers=SENT,
        allow_credentials=not everybody,
        expose_headers=SHOWN,
        max_age=PREFLIGHT_S,
    )
