"""Security headers on every HTTP answer. Plain ASGI: it wraps `send`, and buffers nothing."""

from collections.abc import Sequence
from typing import Any

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
LOOSE_STYLES = CONTENT_SECURITY_POLICY + "; style-src 'self' 'unsafe-inline'"
"""For `/redoc` alone, whose program makes its styles as it runs. Scripts stay as strict as elsewhere."""


class SecurityHeaders:
    """No inline script, no framing, no sniffing; the microphone for our own pages only. An answer that has
    one of these headers already keeps its own."""

    def __init__(self, app: Any, *, secure: bool, frames: Sequence[str] = ()) -> None:
        """`frames`: origins whose pages may be shown in ours (an avatar's)."""
        self._app = app
        policy = "; ".join((CONTENT_SECURITY_POLICY, *([f"frame-src {' '.join(frames)}"] if frames else [])))
        headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "permissions-policy": "microphone=(self), camera=(), geolocation=()",
            "cross-origin-opener-policy": "same-origin",
        }
        if secure:
            headers["strict-transport-security"] = "max-age=31536000"
        self._headers = [(k.encode(), v.encode()) for k, v in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name for name, _ in own}
                message["headers"] = own + [header for header in self._headers if header[0] not in names]
            await send(message)

        await self._app(scope, receive, with_headers)
