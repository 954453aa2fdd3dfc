"""Tools of real MCP servers: started here and over both HTTP wires, well and unwell."""

import asyncio
import io
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, MissingKey, ParleyError, Tool, ToolContext, Unavailable
from pipeline.tools.mcp import LONGEST_MESSAGE, MOST_CHARS, McpTool, Options, Source, create
from pipeline.tools.mcp_link import LinkError
from server import mcp_servers
from server.app import running
from server.check import check
from server.config import Config, ConfigError, load
from server.plans import Plan
from server.terminal import Terminal

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.slow]

WORKSHOP = str(Path(__file__).parents[1] / "support" / "mcp_servers" / "workshop.py")
HERE = (sys.executable, WORKSHOP)
WIRES = ("stdio", "http", "sse")
SCRIPTED = {f"PARLEY_{kind}__PLUGIN": "scripted" for kind in ("STT", "LLM", "TTS")}
TOKEN = "a-token-nobody-else-has"


class Workshop:
    """The test server over HTTP, which may die and come back."""

    def __init__(self, wire: str, port: int, environ: Mapping[str, str]) -> None:
        self._arguments, self._environ = (WORKSHOP, wire, str(port)), environ
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, env={"PATH": "", **self._environ}
        )
        async with asyncio.timeout(30):
            while not _answers(self.port):
                await asyncio.sleep(0.05)

    async def die(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """What the server writes down of what happens to it."""
    return tmp_path / "notes"


@asynccontextmanager
async def workshop(wire: str, notes: Path, **environ: str) -> AsyncIterator[Workshop]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = Workshop(wire, port, {"PARLEY_TEST_NOTES": str(notes), **environ})
    await server.start()
    try:
        yield server
    finally:
        await server.die()


def options_for(wire: str, port: int, **more: Any) -> Options:
    if wire == "stdio":
        return Options(command=HERE, env=("PARLEY_TEST_NOTES",), **more)
    return Options(url=f"http://127.0.0.1:{port}/{'mcp' if wire == 'http' else 'sse'}", **more)


@asynccontextmanager
async def connected(wire: str, notes: Path, **more: Any) -> AsyncIterator[Source]:
    async with AsyncExitStack() as stack:
        port = 0
        if wire != "stdio":
            port = (await stack.enter_async_context(workshop(wire, notes))).port
        env = Env({"PARLEY_TEST_NOTES": str(notes)})
        source = create(options_for(wire, port, **more), env)
        stack.push_async_callback(source.aclose)
        await source.warm()
        yield source


def context(heard: list[str] | None = None) -> ToolContext:
    def progress(message: str, aloud: bool = False) -> None:
        assert heard is not None
        assert not aloud
        heard.append(message)

    return ToolContext("s1", lambda: datetime.now(UTC), key="1.1", progress=progress)


def named(source: Source, name: str) -> McpTool:
    return next(t for t in source.tools if isinstance(t, McpTool) and t.name == name)


def written(notes: Path) -> str:
    return notes.read_text("utf-8")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


# -- calls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_the_tools_of_a_server_become_ours(wire: str, notes: Path) -> None:
    async with connected(wire, notes, prefix="w_", confirm=("order.parts",)) as source:
        by_name = {tool.spec.name: tool for tool in source.tools}
        assert {"w_add", "w_greet", "w_order_parts", "w_saw"} <= by_name.keys()
        add = by_name["w_add"]
        assert isinstance(add, Tool)
        assert add.spec.description == "Add two numbers."
        assert add.spec.parameters["required"] == ["a", "b"]
        assert named(source, "add").manners.idempotent
        assert named(source, "order.parts").manners.confirm
        assert not named(source, "order.parts").manners.idempotent

        assert await add.run({"a": 1, "b": 2}, context()) == {"ok": True, "total": 3, "words": "1 plus 2"}
        assert await by_name["w_greet"].run({"name": "Zoë 王"}, context()) == {
            "ok": True,
            "result": "¡Hola, Zoë 王! 👋",
        }
        ordered = await by_name["w_order_parts"].run({"count": 2}, context())
        assert ordered == {"ok": True, "text": "Ordered 2.\nThank you."}
        refused = await by_name["w_refuse"].run({}, context())
        assert refused == {"ok": False, "message": "The workshop is closed on Sundays."}
        bad = await add.run({"a": "many"}, context())
        assert bad["ok"] is False
        assert len(bad["message"]) <= LONGEST_MESSAGE


@pytest.mark.parametrize("wire", ["stdio", "http"])
async def test_progress_is_told(wire: str, notes: Path) -> None:
    heard: list[str] = []
    async with connected(wire, notes) as source:
        assert await named(source, "saw").run({"seconds": 0.4}, context(heard)) == {
            "ok": True,
            "result": "Sawn.",
        }
    assert heard == ["cut 1", "cut 2", "cut 3", "cut 4"]


@pytest.mark.parametrize("wire", ["stdio", "http"])
async def test_a_call_that_is_given_up_is_given_up_by_the_server_too(wire: str, notes: Path) -> None:
    async with connected(wire, notes) as source:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await named(source, "saw").run({"seconds": 60}, context([]))
        await until(lambda: "cancelled" in written(notes))
        assert (await named(source, "add").run({"a": 1, "b": 1}, context()))["total"] == 2


async def test_an_unknown_tool_is_refused(notes: Path) -> None:
    async with connected("stdio", notes) as source:
        gone = named(source, "add")
        gone.name = "subtract"
        told = await gone.run({}, context())
        assert told == {"ok": False, "message": "Unknown tool: subtract"}


async def test_a_long_answer_is_cut(notes: Path) -> None:
    async with connected("stdio", notes) as source:
        told = await named(source, "burn").run({"size": MOST_CHARS + 1}, context())
        assert told["cut"] is True
        assert len(told["text"]) == MOST_CHARS


async def test_calls_at_once_do_not_wait_for_each_other(notes: Path) -> None:
    async with connected("http", notes) as source:
        slow = asyncio.create_task(named(source, "saw").run({"seconds": 2}, context([])))
        sums = [named(source, "add").run({"a": n, "b": n}, context()) for n in range(10)]
        assert [told["total"] for told in await asyncio.gather(*sums)] == list(range(0, 20, 2))
        assert not slow.done()
        assert (await slow)["ok"] is True


async def test_a_server_is_handed_the_variables_named_and_no_others(notes: Path) -> None:
    keys = {"WORKSHOP_TOKEN": TOKEN, "OTHER_SECRET": "not yours"}
    source = create(Options(command=HERE, env=("WORKSHOP_TOKEN",)), Env(keys))
    await source.warm()
    try:
        told = await named(source, "whoami").run({}, context())
        assert told == {"ok": True, "token": TOKEN, "other": ""}
    finally:
        await source.aclose()
    del notes


async def test_only_what_is_included_and_not_excluded_is_offered(notes: Path) -> None:
    async with connected("stdio", notes, include=("add", "greet"), exclude=("greet",)) as source:
        assert [tool.spec.name for tool in source.tools] == ["add"]


# -- servers that die -----------------------------------------------------------------------------------


async def test_a_program_that_dies_is_started_again(notes: Path) -> None:
    async with connected("stdio", notes) as source:
        with pytest.raises(LinkError, match="nobody knows whether it was done"):
            await named(source, "collapse").run({}, context())
        async with asyncio.timeout(10):
            told = await named(source, "add").run({"a": 2, "b": 2}, context())
        assert told["total"] == 4
        assert written(notes).split() == ["started", "collapsed", "started"]


@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_a_server_elsewhere_that_was_restarted_is_found_again(wire: str, notes: Path) -> None:
    async with workshop(wire, notes) as server:
        source = create(options_for(wire, server.port), Env())
        await source.warm()
        try:
            await server.die()
            if wire == "sse":  # whose stream tells at once; until it has, a call's outcome is not known
                await until(lambda: not source.is_up)
            waiting = asyncio.create_task(named(source, "order.parts").run({"count": 7}, context()))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await server.start()
            async with asyncio.timeout(10):
                assert (await waiting)["ok"] is True
            assert written(notes).count("ordered 7") == 1
        finally:
            await source.aclose()


async def test_a_call_under_way_when_the_server_dies_is_not_made_again(notes: Path) -> None:
    async with workshop("http", notes) as server:
        source = create(options_for("http", server.port), Env())
        await source.warm()
        try:
            heard: list[str] = []
            cutting = asyncio.create_task(named(source, "saw").run({"seconds": 60}, context(heard)))
            await until(lambda: bool(heard))
            await server.die()
            with pytest.raises(LinkError, match="nobody knows"):
                await cutting
        finally:
            await source.aclose()


async def test_a_server_that_is_not_needed_at_the_start_may_come_later(notes: Path) -> None:
    tools: dict[str, Tool] = {}
    async with workshop("http", notes) as server:
        await server.die()
        values = {"url": f"http://127.0.0.1:{server.port}/mcp", "required": False, "include": ["add"]}
        config = Config(tools=_tools({"w": values}))
        async with AsyncExitStack() as stack:
            await mcp_servers.connect(config, Env(), tools, stack)
            assert tools == {}
            await server.start()
            await until(lambda: bool(tools))
            assert list(tools) == ["w_add"]
            assert (await tools["w_add"].run({"a": 1, "b": 2}, context()))["total"] == 3


def _tools(servers: Mapping[str, Mapping[str, Any]]) -> Any:
    return type(Config().tools)(enabled=(), options={"mcp": servers})


# -- the start ------------------------------------------------------------------------------------------


async def test_a_bearer_token_and_headers_come_from_the_environment(notes: Path) -> None:
    async with workshop("http", notes, PARLEY_TEST_BEARER=TOKEN) as server:
        url = f"http://127.0.0.1:{server.port}/mcp"
        for options in (
            Options(url=url, key_variable="WORKSHOP_KEY"),
            Options(url=url, headers_from_env={"Authorization": "WORKSHOP_HEADER"}),
        ):
            env = Env({"WORKSHOP_KEY": TOKEN, "WORKSHOP_HEADER": f"Bearer {TOKEN}"})
            source = create(options, env)
            await source.warm()
            assert source.tools
            await source.aclose()
        source = create(Options(url=url, key_variable="WORKSHOP_KEY"), Env({"WORKSHOP_KEY": "wrong"}))
        with pytest.raises(Unavailable, match="answered 401"):
            await source.warm()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(command=("no-such-program-anywhere",)), "command 'no-such-program-anywhere' was not found"),
        (Options(command=(sys.executable, "-c", "pass")), "ended, or is no MCP server"),
        (Options(url="http://127.0.0.1:9/mcp"), "cannot be reached"),
        (
            Options(command=HERE, include=("subtract",)),
            "include names 'subtract'; the server's tools are: add",
        ),
        (Options(command=HERE, exclude=("subtract",)), "exclude names 'subtract'"),
    ],
)
async def test_a_server_that_cannot_be_used_says_why(options: Options, why: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await create(options, Env()).warm()
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named_before_anything_is_started() -> None:
    with pytest.raises(MissingKey, match="env names WORKSHOP_TOKEN, which is not set"):
        create(Options(command=HERE, env=("WORKSHOP_TOKEN",)), Env())
    with pytest.raises(MissingKey, match="key_variable names WORKSHOP_KEY"):
        create(Options(url="http://127.0.0.1:9/mcp", key_variable="WORKSHOP_KEY"), Env())
    with pytest.raises(Unavailable, match="cwd = '/no/such/folder' is no folder"):
        create(Options(command=HERE, cwd="/no/such/folder"), Env())


async def test_without_the_package_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(Unavailable, match=r"run: pip install 'parley\[mcp\]'"):
        await create(Options(command=HERE), Env()).warm()


async def test_the_start_names_the_section(tmp_path: Path) -> None:
    config = configured(tmp_path, '[tools.mcp.files]\ncommand = ["no-such-program-anywhere"]\n')
    with pytest.raises(ParleyError, match=r"^\[tools.mcp.files\] the command 'no-such"):
        async with running(config):
            pass


async def test_two_servers_may_not_have_a_tool_of_one_name(tmp_path: Path) -> None:
    one = f'command = ["{sys.executable}", "{WORKSHOP}"]\nprefix = "x_"\n'
    config = configured(tmp_path, f"[tools.mcp.a]\n{one}[tools.mcp.b]\n{one}")
    with pytest.raises(ParleyError, match=r"^\[tools.mcp.b\] its tool 'x_add' is there twice; set another"):
        async with running(config):
            pass


async def test_the_check_connects_and_tells(tmp_path: Path) -> None:
    servers = f'[tools.mcp.good]\ncommand = ["{sys.executable}", "{WORKSHOP}"]\ninclude = ["add"]\n'
    servers += '[tools.mcp.lost]\ncommand = ["no-such-program-anywhere"]\n'
    servers += '[tools.mcp.later]\nurl = "http://127.0.0.1:9/mcp"\nrequired = false\n'
    config = configured(tmp_path, servers, PARLEY_SERVER__PORT="0")
    out = io.StringIO()
    assert not await check(config, Terminal(out))
    lines = {line[9:25].strip(): line for line in out.getvalue().splitlines()}
    assert "ready: good_add" in lines["good"]
    assert "cannot be used: the command 'no-such-program-anywhere' was not found" in lines["lost"]
    assert "cannot be used now" in lines["later"]
    assert "1 problem to solve" in out.getvalue()


# -- the configuration ----------------------------------------------------------------------------------


def configured(folder: Path, toml: str, **environ: str) -> Config:
    (folder / "config.toml").write_text(toml, "utf-8")
    return load(None, {**SCRIPTED, **environ}, folder)


def test_servers_are_configured_by_name(tmp_path: Path) -> None:
    toml = (
        '[tools.mcp.files]\ncommand = ["a"]\nexclude = ["b"]\n[tools.mcp.web-search]\nurl = "http://x/mcp"\n'
    )
    config = configured(tmp_path, toml, PARLEY_TOOLS__MCP__WEB_SEARCH__TIMEOUT_MS="5")
    assert config.tools.servers == {
        "files": {"prefix": "files_", "command": ["a"], "exclude": ["b"]},
        "web-search": {"prefix": "web-search_", "url": "http://x/mcp", "timeout_ms": 5},
    }
    config = configured(tmp_path, "", PARLEY_TOOLS__MCP__SHOP__COMMAND='["shop", "-x"]')
    assert config.tools.servers == {"shop": {"prefix": "shop_", "command": ["shop", "-x"]}}
    assert plugins.options("tools", "mcp", config.tools.servers["shop"]).command == ("shop", "-x")


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("[tools.mcp.a]\n", "[tools.mcp.a] needs either command"),
        ('[tools.mcp.a]\ncommand = ["x"]\nurl = "http://x"\n', "[tools.mcp.a] needs either command"),
        ('[tools.mcp.a]\nurl = "x"\n', 'url must be like "https://tools.example.org/mcp"'),
        ('[tools.mcp.a]\nurl = "https://u:hunter2@x/mcp"\n', "url holds a name or password"),
        ('[tools.mcp.a]\nurl = "http://x/mcp"\ncwd = "/"\n', "args, env and cwd are for a command"),
        ('[tools.mcp.a]\ncommand = ["x"]\nkey_variable = "K"\n', "are for a url"),
        ('[tools.mcp.a]\ncomand = ["x"]\n', "did you mean 'command'?"),
        (
            '[tools.mcp.a]\ncommand = ["x"]\ntimeout_ms = "1"\n',
            "[tools.mcp.a] timeout_ms = '1' must be a whole",
        ),
        ('[tools.mcp.a]\ncommand = ["x"]\ntimeout_ms = 0\n', "timeout_ms must be 1 or more"),
        ('[tools.mcp.a]\ncommand = ["x"]\nprefix = "a b"\n', "prefix = 'a b' must be"),
        ('[tools.mcp.a]\napi_key = "hunter2"\n', "is a secret and is not read from here"),
        ('[tools.mcp]\ncommand = ["x"]\n', "write [tools.mcp.command] on its own line"),
        ('[tools.mcp."a b"]\ncommand = ["x"]\n', "a server's name is at most 30 letters"),
        ('[tools]\nenabled = ["mcp"]\n', "which is no tool; a section [tools.mcp.NAME]"),
    ],
)
def test_a_mistake_is_told_in_one_line_that_names_the_section(tmp_path: Path, toml: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, toml)
    assert why in str(caught.value)
    assert str(caught.value).startswith("config.toml: [tools")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


# -- a conversation -------------------------------------------------------------------------------------


async def test_a_conversation_uses_a_tool_of_a_server(tmp_path: Path, notes: Path) -> None:
    toml = (
        f'[tools.mcp.workshop]\ncommand = ["{sys.executable}", "{WORKSHOP}"]\nenv = ["PARLEY_TEST_NOTES"]\n'
        '[llm.scripted]\ntext = ["It is done."]\ntool = "workshop_order_parts"\n'
        "tool_arguments = { count = 3 }\n"
        "[tts.scripted]\nms_per_char = 5\n"
    )
    config = configured(tmp_path, toml, PARLEY_TEST_NOTES=str(notes))
    async with running(config) as app:
        session = app.sessions.open(Plan(owner="guest:1"))
        session.attach(lambda: None)
        watching = session.observe()
        session.do({"type": "text_message", "message": "Order three parts."})
        events: list[Mapping[str, Any]] = []
        async with asyncio.timeout(20):
            while not events or events[-1]["type"] != "audio.end":
                await watching.wait()
                event = watching.take()
                assert isinstance(event, dict)
                events.append(event)
        await session.end("over")
        stored = await app.archive.conversation(session.id)
    told = {"ok": True, "text": "Ordered 3.\nThank you."}
    called, result = (e for e in events if e["type"] in ("tool.call", "tool.result"))
    assert (called["name"], called["arguments"]) == ("workshop_order_parts", {"count": 3})
    assert result["result"] == told
    assert stored is not None
    by_tool = [m for m in stored["messages"] if m["role"] == "tool"]
    assert [(m["name"], m["result"]) for m in by_tool] == [("workshop_order_parts", told)]
    assert stored["messages"][-1]["content"] == "It is done."
    assert written(notes).count("ordered 3") == 1
