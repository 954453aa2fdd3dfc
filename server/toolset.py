"""The tools that agents may use: plug-ins by name, functions by import path, files in a folder.

A file in `[tools] folder` is one more plug-in: its functions marked with `pipeline.tool.tool` are its tools,
or what its own `create(options, env)` makes. Being there is enough; a name that begins with "_" keeps it
out. It takes no settings from the config: that is for plug-ins with a name.
"""

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipeline import plugins
from pipeline.contracts import Env, ParleyError, Tool
from pipeline.tool import as_tools, tools_in
from server.directory import Directory
from server.sections import Config
from storage.agents import Agents
from storage.appointments import Appointments


@dataclass(frozen=True, slots=True)
class ToolStorage:
    """What tools find in `ToolContext.storage`: the server's repositories."""

    appointments: Appointments
    agents: Agents
    directory: Directory | None = None
    """Whom a talk can be handed over to."""


def build(config: Config, env: Env) -> dict[str, Tool]:
    """Every tool that is enabled or lies in the folder, by the name that models know. Raises `ParleyError`
    with one line that names the key or the file."""
    found: dict[str, Tool] = {}
    origins: dict[str, str] = {}
    for origin, tools in _sources(config, env):
        for tool in tools:
            name = tool.spec.name
            if name in found:
                raise ParleyError(f"two tools are called {name!r}: of {origins[name]} and of {origin}")
            found[name], origins[name] = tool, origin
    return found


def files(config: Config) -> list[Path]:
    """The files of the folder that hold tools, sorted."""
    folder = config.path(config.tools.folder)
    return sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))


def _sources(config: Config, env: Env) -> Iterator[tuple[str, Iterable[Tool]]]:
    for name in config.tools.enabled:
        made = plugins.build("tools", name, config.tools.options_of(name), env)
        yield f"[tools] {name}", as_tools(made)
    for path in files(config):
        yield str(path), from_file(path, env)


def from_file(path: Path, env: Env) -> list[Tool]:
    """The tools of one file. Raises `ParleyError`, naming it."""
    module = _load(path)
    create = getattr(module, "create", None)
    if create is None:
        found = tools_in(module)
    else:
        options = getattr(module, "Options", None)
        found = as_tools(create(options() if options is not None else None, env))
    if not found:
        raise ParleyError(f"{path}: there is no tool in it (a function marked with pipeline.tool.tool)")
    return found


def _load(path: Path) -> ModuleType:
    name = f"parley_tools_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ParleyError(f"{path} cannot be loaded as Python")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ParleyError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module
