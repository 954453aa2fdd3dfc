"""How the server is: `/health`; and what it offers: `/api/voices`."""

import resource
import time
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server.api import Call, Endpoint
from server.parts import Parts
from server.routes.answers import items


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


def routes(parts: Parts, version: str) -> list[BaseRoute]:
    """`/health` and `/api/voices`."""
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
            get("/api/voices", voices, "The voices to choose from", answers=Voices),
        ]
    )
