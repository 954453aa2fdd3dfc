"""`parley check`: says, before anybody talks, what would work here and what is missing.

Builds and warms every plug-in that the configuration names, then looks at folders, database and port. An
error is what would keep the server from doing its work; a note is everything it can live with.
"""

import asyncio
import os
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from pipeline import plugins
from pipeline.contracts import Env, Failure, MissingKey, ParleyError, Probing, ProviderError
from server.sections import Config
from server.terminal import Terminal
from server.webhooks import targets

WARM_TIMEOUT_S = 60.0  # a model on a slow disk; a vendor that does not answer must not hold us longer
PROBE_TIMEOUT_S = 10.0
DATABASE_TIMEOUT_S = 10.0


class Report:
    """Prints findings as they come, and remembers whether one of them was an error."""

    def __init__(self, terminal: Terminal) -> None:
        self.errors = 0
        self._terminal = terminal
        self._last = ""

    def ready(self, subject: str, name: str, what: str = "ready") -> None:
        self._say(subject, name, self._terminal.colour("green", what))

    def note(self, subject: str, name: str, what: str) -> None:
        self._say(subject, name, self._terminal.colour("yellow", what))

    def error(self, subject: str, name: str, what: str) -> None:
        self.errors += 1
        self._say(subject, name, self._terminal.colour("red", what))

    def _say(self, subject: str, name: str, what: str) -> None:
        head = "" if subject == self._last else subject
        self._last = subject
        self._terminal.line(f"{head:<8} {name:<16} {what}")


async def check(config: Config, terminal: Terminal) -> bool:
    """Print what was found; True when the server could start and do its work."""
    report = Report(terminal)
    terminal.line(f"Configuration from {config.source}.")
    await _check_chain(report, config, "vad", (config.vad.plugin,), config.vad)
    await _check_chain(report, config, "turn", (config.turn.plugin,), config.turn)
    if config.talks_by_itself:
        await _check_chain(report, config, "talk", (config.pipeline.engine,), config.talk)
    for kind, stage in config.stages.items():
        await _check_chain(report, config, kind, stage.plugin, stage)
    await _check_chain(report, config, "avatar", (config.avatar.plugin,), config.avatar)
    for name in config.tools.enabled:
        await _check_chain(report, config, "tools", (name,), config.tools)
    await _check_servers(report, config)
    _check_webhooks(report, config)
    _check_folder(report, "talks", config.path(config.storage.conversations_dir))
    _check_folder(report, "sound", config.path(config.storage.audio_dir))
    await _check_database(report, config)
    _check_port(report, config.server.host, config.server.port)
    good = report.errors == 0
    verdict = (
        "Ready: parley serve" if good else f"{report.errors} problem{'s' * (report.errors > 1)} to solve."
    )
    terminal.line(terminal.colour("bold", verdict))
    return good


# -- plug-ins -------------------------------------------------------------------------------------------


async def _check_chain(report: Report, config: Config, kind: str, chain: Sequence[str], section: Any) -> None:
    """Try every plug-in of a stage; the first that runs is the one that would be used."""
    env = Env(config.keys, config.pipeline.language)
    findings = {name: await _try(kind, name, section.options_of(name), env) for name in chain}
    used = next((name for name in chain if findings[name].runs), None)
    for name, finding in findings.items():
        if not finding.problem:
            report.ready(kind, name, "ready" if name == used else "ready, takes over when others fail")
        elif finding.runs:
            report.note(kind, name, f"starts, but does not answer now: {finding.problem}")
        elif used and not finding.is_final:
            report.note(kind, name, f"cannot run: {finding.problem}")
        else:
            report.error(kind, name, f"cannot run: {finding.problem}")
    if used and used != chain[0]:
        report.ready("", "", f"so {used} is used")


async def _check_servers(report: Report, config: Config) -> None:
    """Connect to the MCP servers, one after the other, and see what they offer."""
    env = Env(config.keys, config.pipeline.language)
    for name, values in config.tools.servers.items():
        finding = await _try("tools", "mcp", {**values, "required": True}, env, f"tools.mcp.{name}")
        if not finding.problem:
            report.ready("mcp", name, f"ready: {finding.offers}")
        elif values.get("required", True) or finding.is_final:
            report.error("mcp", name, f"cannot be used: {finding.problem}")
        else:
            report.note("mcp", name, f"cannot be used now: {finding.problem}")


def _check_webhooks(report: Report, config: Config) -> None:
    """Who would be told what, and whether there is a secret to sign it with. Nobody is told anything."""
    try:
        for target in targets(config):
            report.ready("webhooks", target.name, f"ready: {target.host} is told {', '.join(target.events)}")
    except ParleyError as error:
        report.error("webhooks", "", str(error))


@dataclass(frozen=True, slots=True)
class Finding:
    """What is in a plug-in's way, if anything."""

    problem: str = ""
    runs: bool = True
    """The server would start with it, and it may well work."""
    is_final: bool = False
    """It is a mistake of the configuration: it helps nobody that another plug-in could take over."""
    offers: str = ""
    """The tools of a server of tools."""


async def _try(kind: str, name: str, values: Any, env: Env, section: str = "") -> Finding:
    """Build and warm a plug-in, ask its provider whether it would answer, and put it away again."""
    offers = ""
    try:
        engine = plugins.build(kind, name, values, env, section)
        if not hasattr(engine, "warm"):
            return Finding()
        try:
            async with asyncio.timeout(WARM_TIMEOUT_S):
                await engine.warm()
            offers = ", ".join(tool.spec.name for tool in getattr(engine, "tools", ()))
            if isinstance(engine, Probing):
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await engine.probe()
        finally:
            await engine.aclose()
    except ProviderError as error:
        is_final = error.kind in (Failure.AUTH, Failure.BAD_REQUEST)
        return Finding(str(error), runs=not is_final, is_final=is_final)
    except (MissingKey, plugins.PluginError) as error:
        return Finding(str(error), runs=False, is_final=True)
    except ParleyError as error:
        return Finding(str(error), runs=False)
    except TimeoutError:
        return Finding(f"it was not ready after {WARM_TIMEOUT_S:g} s", runs=False)
    except Exception as error:  # noqa: BLE001 - plug-ins are strangers' code, and a check must reach its end
        return Finding(f"it is broken ({type(error).__name__}: {error}); tell whoever made it", runs=False)
    return Finding(offers=offers)


# -- surroundings ---------------------------------------------------------------------------------------


def _check_folder(report: Report, subject: str, folder: Path, file: str = "") -> None:
    """Whether a folder, or one new file in it, can be made and written to."""
    name = file or folder.name
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        report.error(subject, name, f"{existing} is a file, not a folder")
        return
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        report.error(subject, name, f"{folder} cannot be written to: {error.strerror}")
        return
    report.ready(subject, name, "writable" if existing == folder and not file else "will be created")


async def _check_database(report: Report, config: Config) -> None:
    try:
        url = make_url(config.storage.url)
    except SQLAlchemyError:
        report.error("database", "", f"[storage] url in {config.source} cannot be read as a database URL")
        return
    name = url.get_backend_name()
    if name == "sqlite" and url.database not in (None, "", ":memory:"):
        file = config.path(str(url.database))
        url = url.set(database=str(file))
        if not file.exists():
            _check_folder(report, "database", file.parent, file.name)
            return
    problem = await _reach(url)
    if problem:
        report.error("database", name, f"{url.render_as_string(hide_password=True)}: {problem}")
    else:
        report.ready("database", name, "reachable")


async def _reach(url: URL) -> str:
    """Ask the database one question. What is in the way, or ""."""
    try:
        engine = create_async_engine(url)
    except ModuleNotFoundError as error:
        return f"the package {error.name} is missing; run: pip install {error.name}"
    except SQLAlchemyError as error:
        return str(error).splitlines()[0]
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S), engine.connect() as connection:
            # SQLite does not look into its file for less than a table.
            lite = engine.dialect.name == "sqlite"
            await connection.execute(text("SELECT count(*) FROM sqlite_master" if lite else "SELECT 1"))
    except TimeoutError:
        return f"it did not answer within {DATABASE_TIMEOUT_S:g} s"
    except (SQLAlchemyError, OSError) as error:
        return str(error).splitlines()[0]
    finally:
        await engine.dispose()
    return ""


def _check_port(report: Report, host: str, port: int) -> None:
    where = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # else a port that a server has just left counts as taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            report.note("port", where, f"cannot be used now ({error.strerror}); is Parley running already?")
            return
    report.ready("port", where, "free")
