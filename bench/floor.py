"""The least that a server can do: take every message and throw it away. What Parley is compared with.

The same uvicorn, the same options, the same event loop; what it costs changes with the machine and its
neighbours, so ratios to it keep their meaning where milliseconds don't.
"""

import asyncio
import json
from typing import Any

import uvicorn
import uvloop


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps({"type": "connected"})})
    while (await receive())["type"] != "websocket.disconnect":
        pass


class Floor(uvicorn.Server):
    """Says that it is ready in Parley's own words."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print(f"Parley is ready: open http://{host}:{port}  (floor)", flush=True)


def main() -> None:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Floor(config).serve())


if __name__ == "__main__":
    main()
