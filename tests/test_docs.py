"""What can be set, plugged in or called is documented, and what is documented is there."""

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from pipeline import plugins
from pipeline.contracts import Env, Message, Prompt, Responder, Usage
from pipeline.core import agent, draft, endpoint, floor
from pipeline.core.endpoint import Timing
from server.app import running
from server.config import SECTIONS, Config, hints_of, load

ROOT = Path(__file__).parent.parent
CONFIG_TOML = ROOT / "config.toml"
CONFIGURATION = ROOT / "docs" / "configuration.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
HTTP = ROOT / "docs" / "http.md"

KEYS = [(section, key) for section in SECTIONS for key in hints_of(section)]
PLUGINS = [(kind, name) for kind in plugins.KINDS for name in plugins.names(kind)]


def default_of(section: str, key: str) -> Any:
    value = getattr(getattr(Config(), section), key)
    return list(value) if isinstance(value, tuple) else value


# -- configuration --------------------------------------------------------------------------------------


def test_the_shipped_file_holds_every_key_at_its_default() -> None:
    shipped = tomllib.loads(CONFIG_TOML.read_text("utf-8"))
    assert list(shipped) == list(SECTIONS)
    for section in SECTIONS:
        assert shipped[section] == {key: default_of(section, key) for key in hints_of(section)}, section


def test_reading_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    config = load(str(CONFIG_TOML), {}, tmp_path)
    assert dataclasses.replace(config, source="") == Config(cwd=tmp_path, source="")


def documented_keys() -> dict[tuple[str, str], str]:
    """(section, key) -> its default as the page writes it."""
    found: dict[tuple[str, str], str] = {}
    sections: list[str] = []
    for line in CONFIGURATION.read_text("utf-8").splitlines():
        if line.startswith("#"):
            sections = re.findall(r"`\[(\w+)\]`", line)
        elif match := re.match(r"\| `(\w+)` \|", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            for number, section in enumerate(sections):
                if default := cells[2 + number]:
                    found[section, match[1]] = default
    return found


def test_every_key_has_a_row_on_its_page_and_every_row_is_a_key() -> None:
    assert set(documented_keys()) == set(KEYS)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_the_page_states_the_default(section: str, key: str) -> None:
    cell = documented_keys()[section, key]
    if cell != "see `config.toml`":
        assert tomllib.loads(f"value = {cell.strip('`')}")["value"] == default_of(section, key)


def test_every_key_of_the_shipped_file_is_explained_there() -> None:
    for line in CONFIG_TOML.read_text("utf-8").splitlines():
        if re.match(r"(host|mode|allowed_origins|stop_ms|timeout_ms|url|enabled|speculate) =", line):
            assert "#" in line or line.startswith(("port", "enabled", "url")), line


# -- plug-ins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_every_plugin_has_a_page_that_names_its_keys(kind: str, name: str) -> None:
    page = ROOT / "docs" / "plugins" / f"{kind}-{name}.md"
    assert page.is_file(), f"{page.relative_to(ROOT)} is missing"
    text = page.read_text("utf-8")
    options = plugins.find(kind, name).Options
    keys = [f.name for f in dataclasses.fields(options)] if dataclasses.is_dataclass(options) else []
    assert [key for key in keys if not re.search(rf"\b{key}\b", text)] == []


def test_every_page_of_a_plugin_has_its_plugin() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "plugins").glob("*-*.md")}
    assert pages <= {f"{kind}-{name}" for kind, name in PLUGINS}


# -- routes and messages --------------------------------------------------------------------------------


def flat(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, BaseRoute]]:
    """(path, route) of every route, those of mounted applications with their prefix."""
    for route in routes:
        if isinstance(route, Mount):
            yield from flat(list(route.routes or []), prefix + route.path)
        elif isinstance(route, Route | WebSocketRoute):
            yield prefix + re.sub(r":\w+}", "}", route.path), route


SOCKETS = {"/ws/voice", "/ws/{session_id}", "/ws/voice-agent/{session_id}", "/ws/transcript/{session_id}"}


async def test_every_route_is_documented(tmp_path: Path) -> None:
    chains = {f"PARLEY_{kind}__PLUGIN": "scripted" for kind in ("STT", "LLM", "TTS")}
    async with running(load(None, chains, tmp_path)) as app:
        paths = {path for path, _ in flat(list(app.routes))} | SOCKETS
    assert "/health" in paths
    text = HTTP.read_text("utf-8") + PROTOCOL.read_text("utf-8")
    assert sorted(path for path in paths if not re.search(rf"[` ]{re.escape(path)}[`? ]", text)) == []


CLIENT_MESSAGES = {
    *("start", "audio_chunk", "talk.begin", "talk.end", "text_message", "text_input", "update_prompt"),
    *("interrupt", "playback", "ping", "end"),
}
SERVER_MESSAGES = {
    *("connected", "speech.started", "speech.stopped", "transcription", "response.begin", "agent_response"),
    *(
        "audio.begin",
        "audio.end",
        "audio_response",
        "duck",
        "unduck",
        "interrupted",
        "tool.call",
        "tool.result",
    ),
    *(
        "agent.changed",
        "avatar",
        "prompt_updated",
        "user_message",
        "turn.metrics",
        "summary",
        "ended",
        "error",
        "pong",
    ),
}


def messages_in_the_source() -> set[str]:
    """Every message that our own protocol writes out as `"type": "..."`; other protocols have other pages."""
    found: set[str] = set()
    for path in (ROOT / "server" / "wire").glob("*.py"):
        if path.stem not in ("realtime", "twilio"):
            found |= set(re.findall(r'"type": "([a-z][a-z_.]*)"', path.read_text("utf-8")))
    # without ASGI's own and the codec's decoded sound
    return {kind for kind in found if not kind.startswith("websocket.")} - {"audio"}


def test_every_message_is_documented() -> None:
    text = PROTOCOL.read_text("utf-8")
    types = CLIENT_MESSAGES | SERVER_MESSAGES | messages_in_the_source()
    assert sorted(t for t in types if f'"{t}"' not in text and f"`{t}`" not in text) == []


# -- the pages themselves -------------------------------------------------------------------------------

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_in_an_index() -> None:
    for folder in (ROOT / "docs", ROOT / "docs" / "design", ROOT / "docs" / "plugins"):
        index = (folder / "README.md").read_text("utf-8")
        pages = [page.name for page in folder.glob("*.md") if page.name != "README.md"]
        assert [name for name in pages if f"]({name})" not in index] == []


def test_the_page_on_turn_taking_states_every_threshold_as_it_is() -> None:
    text = (ROOT / "docs" / "turn-taking.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE))
    constants = {
        name: value for module in (agent, draft, endpoint, floor) for name, value in vars(module).items()
    }
    known = {f.name: f.default for f in dataclasses.fields(Timing)} | constants
    assert len(rows) > 15
    assert {name: float(value) for name, value in rows.items()} == {name: known[name] for name in rows}


async def test_the_plugin_of_the_page_on_plugins_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "plugins" / "README.md").read_text("utf-8")
    code = re.search(r"```python\n(.+?)```", text, re.DOTALL)
    assert code is not None
    (tmp_path / "echo_plugin.py").write_text(code[1], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"prefix": "I heard:", "word_ms": 0}
    engine: Responder = plugins.build("llm", "echo_plugin:create", settings, Env())
    await engine.warm()
    said = [piece async for piece in engine.tokens(Prompt((Message("user", "good morning"),)))]
    await engine.aclose()
    assert "".join(piece for piece in said if isinstance(piece, str)) == "I heard: good morning "
    assert isinstance(said[-1], Usage)


def test_the_clients_of_the_page_on_the_protocol_are_python() -> None:
    blocks = re.findall(r"```python\n(.+?)```", PROTOCOL.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "protocol.md", "exec")
