"""The MCP servers that the configuration names: connected at the start, their tools beside our own.

A server that comes later, or comes back with other tools, changes what sessions may use from their beginning
on; a talk that goes on keeps those it has.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env, MissingKey, ParleyError, Tool, Unavailable
from server.sections import Config

log = logging.getLogger(__name__)


async def connect(config: Config, env: Env, tools: MutableMapping[str, Tool], stack: AsyncExitStack) -> None:
    """Add the tools of all servers to `tools`, now and whenever they change. Raises `ParleyError` with one
    line that names the server; whatever was opened is closed by `stack`."""
    sources = {name: _build(name, values, env) for name, values in config.tools.servers.items()}
    for source in sources.values():
        stack.push_async_callback(source.aclose)
    results = await asyncio.gather(*(s.warm() for s in sources.values()), return_exceptions=True)
    for name, result in zip(sources, results, strict=True):
        if isinstance(result, ParleyError):
            raise Unavailable(f"[tools.mcp.{name}] {result}") from result
        if isinstance(result, BaseException):
            raise result
    for name, source in sources.items():
        _add(name, source, tools)
        source.on_change = _changing(name, source, tools)
        if source.tools:
            log.info("MCP server %s: %s", name, ", ".join(tool.spec.name for tool in source.tools))


def _build(name: str, values: Any, env: Env) -> Any:
    section = f"tools.mcp.{name}"
    try:
        return plugins.build("tools", "mcp", values, env, section)
    except (MissingKey, Unavailable) as error:
        raise type(error)(f"[{section}] {error}") from error


def _add(name: str, source: Any, tools: MutableMapping[str, Tool]) -> None:
    for tool in source.tools:
        if tool.spec.name in tools:
            raise Unavailable(
                f"[tools.mcp.{name}] its tool {tool.spec.name!r} is there twice; set another prefix"
            )
        tools[tool.spec.name] = tool


def _changing(name: str, source: Any, tools: MutableMapping[str, Tool]) -> Callable[[], None]:
    ours = {tool.spec.name for tool in source.tools}

    def change() -> None:
        for gone in ours:
            tools.pop(gone, None)
        found = {tool.spec.name: tool for tool in source.tools}
        for twice in found.keys() & tools.keys():
            log.error("[tools.mcp.%s] its tool %r is there twice; it is left out", name, twice)
            del found[twice]
        tools.update(found)
        ours.clear()
        ours.update(found)
        log.info("MCP server %s now has: %s", name, ", ".join(found) or "no tools")

    return change
