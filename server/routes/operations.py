"""How the server is: `/health`, `/metrics`; and what it offers: `/api/voices`."""

import ipaddress
import resource
import secrets
import time
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server.api import Call, Endpoint, unauthorized
from server.forwarding import Forwarder
from server.metrics import CONTENT_TYPE, WORKER_UP, merged
from server.parts import Parts
from server.routes.answers import items
from server.workers import is_forwarded

TOKEN = "PARLEY_METRICS_TOKEN"
PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers that say that somebody else asks through whoever is connected."""


class Health(BaseModel, extra="allow"):
    """How the server is."""

    status: Literal["ok", "degraded", "draining"]
    version: str
    uptime_seconds: float
    sessions: int
    sessions_attached: int
    session_tasks: int
    memory_mb: float
    stages: dict[str, dict[str, Any]]


class Voice(BaseModel):
    """A voice to choose."""

    id: str
    name: str
    language: str
    gender: str


class Voices(BaseModel):
    items: list[Voice]
    total: int


class Reading:
    """Whoever reads `/metrics`."""

    def __init__(self, parts: Parts, forwarder: Forwarder | None) -> None:
        self._metrics, self._forwarder = parts.metrics, forwarder
        self._token = parts.config.keys.get(TOKEN, "")

    async def metrics(self, call: Call) -> Response:
        """Of all workers, whichever is asked. Raises 401."""
        self._refuse_strangers(call)
        forwarder = self._forwarder
        me = str(forwarder.index) if forwarder is not None else ""
        texts = ["".join([text async for text in self._metrics.families(me)])]
        if forwarder is not None and not is_forwarded(call.request.scope):
            answers = await forwarder.others(call)
            there = {index: found for index, found in answers.items() if found and found.status_code == 200}
            texts += [bytes(found.body).decode() for _, found in sorted(there.items())]
            up = {forwarder.index: True, **{index: index in there for index in answers}}
            texts.append(
                WORKER_UP + "".join(f'parley_worker_up{{worker="{i}"}} {int(up[i])}\n' for i in sorted(up))
            )
        return Response(merged(texts), headers={"Content-Type": CONTENT_TYPE})

    def _refuse_strangers(self, call: Call) -> None:
        """Whoever has the token may read; without one, programs on this machine."""
        request = call.request
        if self._token:
            scheme, _, shown = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer" and secrets.compare_digest(
                shown.strip().encode(), self._token.encode()
            ):
                return
            raise unauthorized(f"The metrics are for whoever has the server's {TOKEN}.")
        proxied = any(name in request.headers for name in PROXIED)
        if not is_forwarded(request.scope) and (proxied or not _is_here(call.address)):
            raise unauthorized(
                f"The metrics are for programs on this machine; others need a token: set {TOKEN}."
            )


def _is_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def routes(parts: Parts, version: str, forwarder: Forwarder | None) -> list[BaseRoute]:
    """`/health`, `/metrics` and `/api/voices`."""
    started = time.monotonic()
    sessions, chains, tts = parts.sessions, parts.chains, parts.engines.tts
    vad, turn = parts.config.vad.plugin, parts.config.turn.plugin

    async def health(_call: Call) -> Response:
        stages = {stage: chain.state() for stage, chain in chains.items()}
        stages["vad"] = {"plugin": vad, "state": "ok"}
        stages["turn"] = {"plugin": turn, "state": "ok"}
        failed = any(stage["state"] == "failed" for stage in stages.values())
        status = "draining" if sessions.draining else "degraded" if failed else "ok"
        live = list(sessions)
        return JSONResponse(
            {
                "status": status,
                "version": version,
                "uptime_seconds": round(time.monotonic() - started, 1),
                "sessions": len(live),
                "sessions_attached": sum(s.attached for s in live),
                "session_tasks": sum(s.task_count for s in live),
                "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "stages": stages,
            },
            503 if status == "draining" else 200,
        )

    async def voices(_call: Call) -> Response:
        found = [
            {"id": v.id, "name": v.name, "language": v.language, "gender": v.gender} for v in tts.voices()
        ]
        return items(found, len(found))

    def get(path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint("GET", path, handler, summary, "Operations", "nobody", **more)

    return parts.gate.routes(
        [
            get("/health", health, "How the server is", answers=Health, also=(503,)),
            get(
                "/metrics",
                Reading(parts, forwarder).metrics,
                "What has been counted, for Prometheus",
                media="text/plain",
                errors=(401,),
            ),
            get("/api/voices", voices, "The voices to choose from", answers=Voices),
        ]
    )
