"""Runs tools for a session: journalled before they run, bounded in time, never lost to a barge-in.

A call runs in a task of its own: the reply that asked for it only listens, and may go away. Its result is
written down either way. While it runs, the next reply waits for it a moment, and is then told that it is
still running; the same call made again meanwhile is the same run, not a second effect.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.contracts import Caller, Manners, Message, Tool, ToolCall, ToolContext, ToolSpec
from pipeline.minutes import Minutes
from pipeline.outbox import Event
from pipeline.tool import ClientTool, manners_of

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
Result = Mapping[str, Any]

FILLER_AFTER_S = 0.8
"""How long a tool may take before something is said: shorter silences sound like thinking."""
SIGN_OF_LIFE_S = 5.0
"""How often a reply that waits for a tool is told that it is still at work."""
SETTLE_S = 1.5
"""How long the next reply waits for what an interrupted one has begun."""
NO_WORDS = {
    "en": frozenset(("no", "nope", "nah", "not", "don't", "dont", "never", "wait", "stop")),
    "es": frozenset(("no", "nunca", "espera", "espere", "para", "tampoco")),
}
SURE = {
    "en": "Are you sure? Please say yes or no.",
    "es": "¿Está seguro? Diga sí o no, por favor.",
}
UNKNOWN_OUTCOME = "the server stopped while this ran: nobody knows whether it was done"


@dataclass(slots=True, eq=False)
class Run:
    """A call at work."""

    call: ToolCall
    turn: int
    words: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)
    """What is to be said meanwhile; None = it is over."""
    progress: str = ""
    result: Result = field(default_factory=dict)
    ended: bool = False
    """It succeeded, and was the last thing to be done in this talk."""


Twin = tuple["asyncio.Task[None]", Run]


class Toolbox:
    """The tools of one session."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        timeout_s: float,
        context: ToolContext,
        language: Callable[[], str],
        minutes: Minutes,
        emit: Callable[[Event], None],
        spawn: Spawn,
        now: Callable[[], float],
    ) -> None:
        self.tools, self._timeout_s, self._context = tools, timeout_s, context
        self._language, self._minutes = language, minutes
        self._emit, self._spawn, self._now = emit, spawn, now
        self._count = 0
        self._running: dict[asyncio.Task[None], Run] = {}
        self._unconfirmed: dict[str, int] = {}
        """Calls that wait for the caller's word, and the turn in which they were first made."""
        self._lent: dict[str, tuple[ToolCall, str]] = {}
        """Calls that the client answers, by their ids, with the keys of their entries."""

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(tool.spec for tool in self.tools.values())

    @property
    def caller(self) -> Caller:
        return self._context.caller

    # -- for replies -------------------------------------------------------------------------------------

    async def run(
        self, call: ToolCall, turn: int, *, quiet: bool = False
    ) -> AsyncGenerator[str | bool, None]:
        """Run a call to its end, even if the reader of this goes away meanwhile.

        Yields what is to be said meanwhile and "" as a sign of life; at last, whether the talk is over with
        this reply. `quiet`: something was said just now, no filler is needed.
        """
        run = self._begin(call, turn)
        loop, manners = asyncio.get_running_loop(), self._manners(call)
        filler = "" if quiet else spoken(manners.speaks_while_running, self._language())
        timer = loop.call_later(FILLER_AFTER_S, run.words.put_nowait, filler) if filler else None
        try:
            while (words := await _next(run.words)) is not None:
                yield words
        finally:
            if timer is not None:
                timer.cancel()
        yield run.ended

    async def settle(self) -> None:
        """Wait a moment for what was begun and is still at work."""
        if self._running:
            await asyncio.wait(self._running, timeout=SETTLE_S)

    def at_work(self) -> list[Message]:
        """What a model must know of the calls that are still running."""
        told = []
        for run in self._running.values():
            state = {"ok": True, "status": "still running", "progress": run.progress}
            told += _exchange(run.call, state)
        for call, _ in self._lent.values():
            told += _exchange(call, {"ok": True, "status": "still running"})
        return told

    # -- the client's tools ------------------------------------------------------------------------------

    def is_lent(self, call: ToolCall) -> bool:
        """The client runs it."""
        return isinstance(self.tools.get(call.name), ClientTool)

    def lend(self, call: ToolCall, turn: int) -> None:
        """The client is to run it, and to say what came of it (`returned`)."""
        key, entry = self._note(call, turn)
        self._emit({"type": "tool.call", **entry, "by": "client"})
        self._lent[call.id] = (call, key)

    def returned(self, call_id: str, output: str, key: str) -> bool:
        """What the client says came of a call; `key` names it in the dialogue. False: no such call waits."""
        call, entry = self._lent.pop(call_id, (None, ""))
        if call is None:
            return False
        told = _told(output)
        self._emit({"type": "tool.result", "id": call_id, "result": told})
        self._minutes.tool(call, told, self._now(), entry, name=key)
        self._minutes.sync()
        return True

    # -- after a crash -----------------------------------------------------------------------------------

    def take_up(self, begun: Sequence[Mapping[str, Any]]) -> None:
        """Calls that a server which died had begun: made again where that is harmless, else written down as
        what they are, of unknown outcome."""
        for entry in begun:
            call = ToolCall(str(entry.get("id")), str(entry.get("name")), entry.get("arguments") or {})
            key = str(entry.get("key"))
            run = Run(call, int(key.partition(".")[0] or 0))
            tool = self.tools.get(call.name)
            if tool is not None and manners_of(tool).idempotent:
                self._start(run, key)
            else:
                self._minutes.tool(call, {"ok": False, "error": UNKNOWN_OUTCOME}, self._now(), key)

    # -- running -----------------------------------------------------------------------------------------

    def _manners(self, call: ToolCall) -> Manners:
        tool = self.tools.get(call.name)
        return manners_of(tool) if tool is not None else Manners()

    def _begin(self, call: ToolCall, turn: int) -> Run:
        run = Run(call, turn)
        key, entry = self._note(call, turn)
        self._emit({"type": "tool.call", **entry})
        twin = next(((t, r) for t, r in self._running.items() if _same(r.call, call)), None)
        self._start(run, key, twin)
        return run

    def _note(self, call: ToolCall, turn: int) -> tuple[str, dict[str, Any]]:
        """Write down that a call is made. Returns its key and what it is."""
        self._count += 1
        key = f"{turn}.{self._count}"  # with the session's id, the effect's idempotency key
        entry = {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
        self._minutes.note("tool", self._now(), {**entry, "key": key})
        self._minutes.sync()
        return key, entry

    def _start(self, run: Run, key: str, twin: Twin | None = None) -> None:
        task = self._spawn(self._work(run, key, twin))
        self._running[task] = run
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task).words.put_nowait(None)

    async def _work(self, run: Run, key: str, twin: Twin | None) -> None:
        before = replace(self.caller)
        if twin is not None:  # what is under way already is not begun again
            await asyncio.wait({twin[0]})
            run.result = self._answered(run.call, twin[1].result)
        else:
            run.result = await self._result(run, key)
        run.ended = bool(run.result.get("ok")) and self._manners(run.call).terminal
        if self.caller != before:
            known = {"phone": self.caller.phone, "name": self.caller.name}
            self._minutes.note("caller", self._now(), known)
        self._minutes.tool(run.call, run.result, self._now(), key)
        self._minutes.sync()

    async def _result(self, run: Run, key: str) -> Result:
        call = run.call
        tool = self.tools.get(call.name)
        if tool is None:
            return self._failed(call, f"there is no tool {call.name!r}")
        manners = manners_of(tool)
        if manners.confirm and not self._is_agreed(run):
            question = spoken(SURE, self._language())
            return self._answered(call, {"ok": False, "needs_confirmation": True, "message": question})
        limit_s = self._timeout_s if manners.timeout_s is None else manners.timeout_s
        context = replace(
            self._context,
            key=key,
            language=self._language(),
            progress=lambda *a, **k: self._tell(run, *a, **k),
        )
        try:
            async with asyncio.timeout(limit_s):
                return self._answered(call, await tool.run(call.arguments, context))
        except TimeoutError:
            return self._failed(call, f"{call.name} took longer than {limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - a tool is its owner's code: the call goes on
            return self._failed(call, f"{call.name} failed: {error or type(error).__name__}")

    def _is_agreed(self, run: Run) -> bool:
        """The very same call was made in an earlier turn, the caller was asked, and did not say no."""
        name = json.dumps([run.call.name, run.call.arguments], sort_keys=True, default=str)
        asked = self._unconfirmed.get(name)
        said = next((str(m["content"]) for m in reversed(self._minutes.messages) if m["role"] == "user"), "")
        no = NO_WORDS.get(self._language()[:2], NO_WORDS["en"])
        if asked is None or asked >= run.turn or no & set(said.lower().replace(",", " ").split()):
            self._unconfirmed[name] = run.turn
            return False
        del self._unconfirmed[name]
        return True

    def _tell(self, run: Run, message: str, aloud: bool = False) -> None:
        run.progress = message
        self._emit({"type": "tool.progress", "id": run.call.id, "message": message})
        run.words.put_nowait(message if aloud else "")

    def _answered(self, call: ToolCall, result: Result) -> Result:
        self._emit({"type": "tool.result", "id": call.id, "result": dict(result)})
        return result

    def _failed(self, call: ToolCall, why: str) -> Result:
        self._emit({"type": "tool.result", "id": call.id, "error": why})
        return {"ok": False, "error": why}


def spoken(words: Mapping[str, str], language: str) -> str:
    """What to say in that language: "" is for every other one, else English."""
    return words.get(language[:2]) or words.get("") or words.get("en", "")


def _told(output: str) -> dict[str, Any]:
    """A result from outside: as JSON if that is what every file and database takes, else as text."""
    try:
        result = json.loads(output)
        text = json.dumps(result, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        return {"output": output}
    if "\\u0000" in text:
        return {"output": output}
    return result if isinstance(result, dict) else {"output": result}


def _exchange(call: ToolCall, state: Result) -> list[Message]:
    told = json.dumps(state)
    return [
        Message("assistant", "", (call,)),
        Message("tool", told, tool_call_id=call.id, name=call.name),
    ]


def _same(one: ToolCall, other: ToolCall) -> bool:
    return one.name == other.name and dict(one.arguments) == dict(other.arguments)


async def _next(words: "asyncio.Queue[str | None]") -> str | None:
    try:
        async with asyncio.timeout(SIGN_OF_LIFE_S):
            return await words.get()
    except TimeoutError:
        return ""
