"""A real MCP server, run as a program: `python workshop.py [stdio | http PORT | sse PORT]`.

`PARLEY_TEST_NOTES` names a file into which it writes what happens: its start, calls that were cancelled.
`PARLEY_TEST_BEARER`, if set, is the only token that it lets in over HTTP.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import TextContent, ToolAnnotations
from pydantic import BaseModel

server = MCPServer("workshop")


class Sum(BaseModel):
    total: int
    words: str


def note(line: str) -> None:
    if path := os.environ.get("PARLEY_TEST_NOTES"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b, words=f"{a} plus {b}")


@server.tool()
async def greet(name: str) -> str:
    """Say hello."""
    return f"¡Hola, {name}! 👋"


@server.tool(name="order.parts", structured_output=False)
async def order(count: int) -> list[TextContent]:
    """Order spare parts."""
    note(f"ordered {count}")
    return [TextContent(type="text", text=f"Ordered {count}."), TextContent(type="text", text="Thank you.")]


@server.tool()
async def refuse() -> str:
    """Never works."""
    raise ToolError("The workshop is closed on Sundays.")


@server.tool()
async def saw(seconds: float, context: Context[Any, Any]) -> str:
    """Saw for a while."""
    try:
        for step in range(4):
            await context.report_progress(step + 1, 4, f"cut {step + 1}")
            await asyncio.sleep(seconds / 4)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return "Sawn."


@server.tool()
async def whoami() -> dict[str, str]:
    """What the server was given."""
    return {"token": os.environ.get("WORKSHOP_TOKEN", ""), "other": os.environ.get("OTHER_SECRET", "")}


@server.tool()
async def burn(size: int) -> str:
    """Answer at length."""
    return "x" * size


@server.tool()
async def collapse() -> str:
    """Take the whole server down."""
    note("collapsed")
    os._exit(3)


async def over_http(app: Any, port: int) -> None:
    wanted = os.environ.get("PARLEY_TEST_BEARER", "")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        told = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if scope["type"] == "http" and wanted and told != f"Bearer {wanted}":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        await app(scope, receive, send)

    config = uvicorn.Config(guarded, port=port, log_level="error", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    note("started")
    wire, port = (sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else ("stdio", 0)
    if wire == "stdio":
        server.run()
    else:
        app = server.streamable_http_app() if wire == "http" else server.sse_app()
        asyncio.run(over_http(app, port))
