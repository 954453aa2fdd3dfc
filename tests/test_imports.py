"""Who may import whom: the table of the architecture, asserted over the source itself.

Imports point one way: server to pipeline and storage, which never meet.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("pipeline", "server", "storage", "static", "bench", "tests")
KINDS = ("vad", "stt", "turn", "llm", "tts", "talk", "tools", "avatar")
PLUGIN_PACKAGES = tuple(f"pipeline.{kind}" for kind in KINDS)
ADAPTERS = ("voice", "realtime", "twilio", "observe")


@dataclass(frozen=True)
class Import:
    """One imported module, and whether it is imported when the file is."""

    target: str
    line: int
    at_top: bool


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    imports: tuple[Import, ...]


@cache
def modules() -> list[Module]:
    found = []
    for package in ("pipeline", "server", "storage"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Module(name, path, tuple(imports_of(path, name))))
    return found


def imports_of(path: Path, name: str) -> Iterator[Import]:
    tree = ast.parse(path.read_text("utf-8"))
    top = {id(node) for statement in tree.body for node in unguarded(statement)}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in top)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = ".".join(parents[: len(parents) - node.level + 1])
                base = f"{kept}.{base}".rstrip(".")
            for alias in node.names:
                yield Import(resolved(base, alias.name), node.lineno, id(node) in top)


def unguarded(statement: ast.stmt) -> Iterator[ast.AST]:
    """What runs when the file is imported: not functions, not `if TYPE_CHECKING`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
        return
    yield statement
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from unguarded(child)


def resolved(base: str, name: str) -> str:
    """`from base import name`: the module that is meant, be it `base` or `base.name`."""
    inner = ROOT.joinpath(*base.split("."), name)
    is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
    return f"{base}.{name}" if base and is_module else base


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def root_of(name: str) -> str:
    return name.partition(".")[0]


def is_ours(name: str) -> bool:
    return within(name, *OURS)


def violations(of: str, allowed: tuple[str, ...], banned: tuple[str, ...] = ()) -> list[str]:
    """Imports of ours that modules within `of` may not make, and banned ones of any kind."""
    return [
        f"{module.path.relative_to(ROOT)}:{found.line} imports {found.target}"
        for module in modules()
        if within(module.name, of)
        for found in module.imports
        if (is_ours(found.target) and not within(found.target, *allowed)) or within(found.target, *banned)
    ]


def test_the_core_imports_the_standard_library_and_numpy_only_and_no_clock() -> None:
    banned = ("asyncio", "time", "random", "logging", "threading", "socket")
    assert violations("pipeline.core", ("pipeline.core",), banned) == []
    strangers = [
        f"{module.name}: {found.target}"
        for module in modules()
        if within(module.name, "pipeline.core")
        for found in module.imports
        if not is_ours(found.target) and root_of(found.target) not in {"numpy", *sys.stdlib_module_names}
    ]
    assert strangers == []


def test_the_contracts_import_the_core_only() -> None:
    assert violations("pipeline.contracts", ("pipeline.core",)) == []


@pytest.mark.parametrize("package", PLUGIN_PACKAGES)
def test_plugins_import_contracts_core_and_what_plugins_share(package: str) -> None:
    shared = ("child", "worker", "vendor", "lines", "openai_http", "when", "slots", "tool")
    allowed = ("pipeline.contracts", "pipeline.core", *(f"pipeline.{name}" for name in shared), package)
    assert violations(package, allowed) == []


def test_the_rest_of_the_pipeline_names_no_plugin_and_knows_no_server() -> None:
    rest = {m.name for m in modules() if within(m.name, "pipeline") and not within(m.name, *PLUGIN_PACKAGES)}
    for name in sorted(rest - {"pipeline"}):
        assert violations(name, ("pipeline",), (*PLUGIN_PACKAGES, "server", "storage")) == []


def test_storage_imports_nothing_of_ours() -> None:
    assert violations("storage", ("storage",)) == []


def test_wire_adapters_know_the_session_but_neither_storage_nor_each_other() -> None:
    assert violations("server.wire", ("pipeline", "server"), ("storage", *PLUGIN_PACKAGES)) == []
    for adapter in ADAPTERS:
        others = tuple(f"server.wire.{other}" for other in ADAPTERS if other != adapter)
        assert violations(f"server.wire.{adapter}", ("pipeline", "server"), others) == []


def test_routes_know_storage_and_the_registry_but_no_plugin_and_no_wire() -> None:
    banned = ("server.wire", "server.app", "server.serving", "server.cli", *PLUGIN_PACKAGES)
    assert violations("server.routes", ("pipeline", "server", "storage"), banned) == []


def test_only_the_command_line_knows_the_application() -> None:
    for module in modules():
        if module.name not in ("server", "server.app", "server.serving", "server.cli"):
            assert violations(module.name, OURS, ("server.app", "server.cli")) == []


def test_the_client_does_not_need_the_server() -> None:
    for name in ("server.client", "server.player", "server.rest", "server.talk", "server.terminal"):
        allowed = ("pipeline.core", "pipeline.contracts", "server.client", "server.player", "server.terminal")
        assert violations(name, allowed) == []


def test_nothing_imports_tests_or_benchmarks() -> None:
    for package in ("pipeline", "server", "storage"):
        assert violations(package, OURS, ("tests", "bench")) == []


def test_no_import_runs_in_a_circle() -> None:
    known = {module.name for module in modules()}
    graph = {
        module.name: {f.target for f in module.imports if f.at_top and f.target in known} - {module.name}
        for module in modules()
    }
    while leaves := {name for name, targets in graph.items() if not targets & graph.keys()}:
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    assert graph == {}


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import asyncio, os.path\nfrom pipeline.core import audio\nfrom . import sibling\n"
        "def f():\n    from server import cli\n"
    )
    assert [(i.target, i.at_top) for i in imports_of(path, "pipeline.stt.x")] == [
        ("asyncio", True),
        ("os.path", True),
        ("pipeline.core.audio", True),
        ("pipeline.stt", True),
        ("server.cli", False),
    ]
