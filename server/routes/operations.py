"""How the server is: `/health`; and what it offers: `/api/voices`."""

import resource
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.chain import Chain, TtsChain
from server.routes.answers import items
from server.sessions import Sessions


def routes(
    sessions: Sessions, chains: Mapping[str, Chain[Any]], vad: str, turn: str, tts: TtsChain, version: str
) -> list[Route]:
    """`/health` and `/api/voices`."""
    started = time.monotonic()

    async def health(_request: Request) -> Response:
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

    async def voices(_request: Request) -> Response:
        found = [
            {"id": v.id, "name": v.name, "language": v.language, "gender": v.gender} for v in tts.voices()
        ]
        return items(found, len(found))

    return [Route("/health", health), Route("/api/voices", voices)]
