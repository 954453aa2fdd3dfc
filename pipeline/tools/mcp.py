"""Tools of other programs, by the Model Context Protocol: every tool of a server becomes one of ours.

One server is one section, `[tools.mcp.NAME]`. This file knows what its keys mean and how an answer looks to
our models; how a server is reached is in `mcp_link`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import vendor
from pipeline.contracts import Env, Manners, MissingKey, Tool, ToolContext, ToolSpec, Unavailable
from pipeline.tools.mcp_link import Address, Link, LinkError, Program

LONGEST_NAME = 64
"""What the models' vendors take."""
MOST_CHARS = 20_000
"""Of an answer: it goes into the model's context with every request that follows."""
LONGEST_MESSAGE = 500
"""Of a refusal, which is meant to be said."""
_WRAPPED = re.compile(r"^Error executing tool [^:\s]*: ")
"""Put before a refusal by the official package's servers."""


@dataclass(frozen=True, slots=True)
class Options:
    """`[tools.mcp.NAME]`: a program to be started (`command`), or a server elsewhere (`url`)."""

    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Names of environment variables to hand on, besides PATH, HOME and the like."""
    cwd: str = ""
    url: str = ""
    key_variable: str = ""
    """The environment variable with the bearer token."""
    headers_from_env: Mapping[str, str] = field(default_factory=dict)
    """Header -> the environment variable with its value."""
    include: tuple[str, ...] = ()
    """Only these tools, by the server's own names; () = all."""
    exclude: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    """These are run only after the caller has agreed."""
    speaks_while_running: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    timeout_ms: int = 10_000
    required: bool = True
    """The start fails without it; else it is looked for in the background."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ValueError('needs either command = ["program", "argument"] or url = "https://…/mcp"')
        if self.url:
            self._check_url()
        elif self.key_variable or self.headers_from_env:
            raise ValueError("key_variable and headers_from_env are for a url; a command is handed env")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,32}", self.prefix):
            raise ValueError(f"prefix = {self.prefix!r} must be at most 32 letters, digits, _ and -")
        if self.timeout_ms < 1:
            raise ValueError("timeout_ms must be 1 or more")

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, password = parts.hostname, parts.password or parts.username
        except ValueError:
            host, password = None, None
        if not re.match(r"https?://", self.url) or not host:
            raise ValueError('url must be like "https://tools.example.org/mcp"')
        if password:  # and is not shown
            raise ValueError("url holds a name or password; name a variable in key_variable instead")
        if self.args or self.env or self.cwd:
            raise ValueError("args, env and cwd are for a command, not for a url")


class Source:
    """A server's tools. `warm` connects, `aclose` hangs up."""

    def __init__(self, options: Options, link: Link) -> None:
        self._options, self._link = options, link
        self.tools: tuple[Tool, ...] = ()
        self._known: tuple[str, ...] = ()
        self.on_change: Callable[[], None] = lambda: None
        """Called when `tools` are others than before: the server came later, or with other tools."""
        link.on_tools = self._take

    @property
    def is_up(self) -> bool:
        """The server is there, as far as is known."""
        return self._link.is_up

    async def warm(self) -> None:
        """Raises `Unavailable`."""
        try:
            await self._link.open(required=self._options.required)
        except LinkError as error:
            raise Unavailable(str(error)) from error
        options = self._options
        for key in ("include", "exclude", "confirm"):
            missing = [name for name in getattr(options, key) if name not in self._known]
            if missing and self._known:
                await self.aclose()
                raise Unavailable(
                    f"{key} names {missing[0]!r}; the server's tools are: {', '.join(self._known)}"
                )

    async def aclose(self) -> None:
        await self._link.aclose()

    def _take(self, found: Sequence[Any]) -> None:
        options = self._options
        self._known = tuple(told.name for told in found)
        made: dict[str, Tool] = {}
        for told in found:
            if (options.include and told.name not in options.include) or told.name in options.exclude:
                continue
            spec = ToolSpec(
                _fresh(options.prefix + told.name, made), told.description or "", dict(told.input_schema)
            )
            made[spec.name] = McpTool(told.name, spec, _manners(options, told), self._link)
        before = {tool.spec.name: tool.spec for tool in self.tools}
        self.tools = tuple(made.values())
        if before != {tool.spec.name: tool.spec for tool in self.tools}:
            self.on_change()


class McpTool:
    """One tool of a server."""

    def __init__(self, name: str, spec: ToolSpec, manners: Manners, link: Link) -> None:
        self.name, self.spec, self.manners, self._link = name, spec, manners, link
        """`name` is the server's own."""

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> Mapping[str, Any]:
        """Raises `LinkError`."""

        async def progress(done: float, total: float | None, message: str | None) -> None:
            percent = f"{done / total:.0%}" if total else f"{done:g}"
            context.progress(vendor.short(message) if message else percent)

        key = f"{context.session_id}.{context.key}"
        return answer(await self._link.call(self.name, arguments, progress, key))


def create(options: Options, env: Env) -> Source:
    """Raises `MissingKey`, `Unavailable`."""
    if options.command:
        if options.cwd and not Path(options.cwd).is_dir():
            raise Unavailable(f"cwd = {options.cwd!r} is no folder")
        environment = {name: _variable(env, "env", name) for name in options.env}
        where: Program | Address = Program((*options.command, *options.args), environment, options.cwd)
    else:
        headers = {
            name: _variable(env, "headers_from_env", variable)
            for name, variable in options.headers_from_env.items()
        }
        if options.key_variable:
            headers["Authorization"] = f"Bearer {_variable(env, 'key_variable', options.key_variable)}"
        where = Address(options.url, headers)
    return Source(options, Link(where, options.timeout_ms / 1000))


def answer(result: Any) -> Mapping[str, Any]:
    """The package's `CallToolResult`, as our models are told it."""
    text = "\n".join(filter(None, map(_text, result.content)))
    if result.is_error:
        message = _WRAPPED.sub("", " ".join(text.split()))[:LONGEST_MESSAGE]
        return {"ok": False, "message": message or "That did not work."}
    structured = result.structured_content
    if structured is not None and len(json.dumps(structured, ensure_ascii=False)) <= MOST_CHARS:
        told = structured if isinstance(structured, Mapping) else {"result": structured}
        return {"ok": True, **told}
    if len(text) > MOST_CHARS:
        return {"ok": True, "text": text[:MOST_CHARS], "cut": True}
    return {"ok": True, "text": text}


def _text(block: Any) -> str:
    """What can be told of a piece of content in words."""
    match block.type:
        case "text":
            return str(block.text)
        case "resource" if getattr(block.resource, "text", None):
            return str(block.resource.text)
        case "resource_link":
            return f"[{block.name}: {block.uri}]"
        case kind:
            return f"[{kind}, which cannot be told in words]"


def _manners(options: Options, told: Any) -> Manners:
    hints = told.annotations
    harmless = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
    return Manners(
        timeout_s=options.timeout_ms / 1000,
        speaks_while_running=options.speaks_while_running,
        confirm=told.name in options.confirm,
        idempotent=harmless,
    )


def _fresh(name: str, taken: Mapping[str, Any]) -> str:
    """A name as every model takes it, and not one of `taken`."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:LONGEST_NAME] or "tool"
    count, fresh = 1, plain
    while fresh in taken:
        count += 1
        fresh = f"{plain[: LONGEST_NAME - 4]}_{count}"
    return fresh


def _variable(env: Env, key: str, name: str) -> str:
    value = env.keys.get(name, "").strip()
    if not value:
        raise MissingKey(
            f"{key} names {name}, which is not set: set it in the environment or in a file .env beside "
            "config.toml"
        )
    return value
