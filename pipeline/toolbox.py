"""Runs tools for a session: journalled before they run, bounded in time, never lost to a barge-in."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from pipeline.contracts import Tool, ToolCall, ToolContext, ToolSpec
from pipeline.minutes import Minutes
from pipeline.outbox import Event

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Toolbox:
    """The tools of one session."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        timeout_s: float,
        context: Callable[[], ToolContext],
        minutes: Minutes,
        emit: Callable[[Event], None],
        spawn: Spawn,
        now: Callable[[], float],
    ) -> None:
        self.tools, self._timeout_s, self._context = tools, timeout_s, context
        self._minutes, self._emit, self._spawn, self._now = minutes, emit, spawn, now
        self._count = 0

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(tool.spec for tool in self.tools.values())

    async def run(self, call: ToolCall, turn: int) -> None:
        """Run a call to its end, even if the caller of this is cancelled meanwhile."""
        self._count += 1
        await asyncio.shield(self._spawn(self._run(call, turn, self._count)))

    async def _run(self, call: ToolCall, turn: int, count: int) -> None:
        ids = {"id": call.id, "name": call.name}
        key = f"{turn}.{count}"  # with the session's id, the effect's idempotency key
        self._minutes.note("tool", self._now(), {**ids, "arguments": dict(call.arguments), "key": key})
        self._minutes.sync()
        self._emit({"type": "tool.call", **ids, "arguments": dict(call.arguments)})
        result: Mapping[str, Any]
        try:
            tool = self.tools[call.name]
            async with asyncio.timeout(self._timeout_s):
                result = await tool.run(call.arguments, self._context())
            self._emit({"type": "tool.result", "id": call.id, "result": dict(result)})
        except KeyError:
            result = self._failed(call, f"there is no tool {call.name!r}")
        except TimeoutError:
            result = self._failed(call, f"{call.name} took longer than {self._timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - a tool is its owner's code: the call goes on
            result = self._failed(call, f"{call.name} failed: {error or type(error).__name__}")
        self._minutes.tool(call, result, self._now())

    def _failed(self, call: ToolCall, why: str) -> Mapping[str, Any]:
        self._emit({"type": "tool.result", "id": call.id, "error": why})
        return {"ok": False, "error": why}
