"""Loads what an installation chose: config.toml and the environment become one frozen `Config`.

A file is laid over the shipped defaults, the environment over the file, and `.env` under the environment.
Anything wrong is one `ConfigError` of one line. Keys, defaults and ranges stand in `server.sections`.
"""

import ipaddress
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Set
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, cast

from pipeline import plugins
from pipeline.plugins import PluginError
from server.environment import (
    NO_SETTINGS,
    PREFIX,
    ConfigError,
    meant,
    parse,
    read_dotenv,
    refuse_commas,
    settings_in,
)
from server.outside import login_problems, mail_problems, webhook_problems
from server.sections import Config, Options, Range, Receiver, Stage, StreamingStage, TokenPrice

__all__ = ["Config", "ConfigError", "Options", "Stage", "StreamingStage", "load"]

SECTIONS = tuple(f.name for f in fields(Config) if f.name not in ("keys", "source", "cwd"))
PLUGIN_SECTIONS = plugins.KINDS
MCP = "mcp"
"""Among the tools, no tool but servers of tools: `[tools.mcp.NAME]`."""


# -- loading --------------------------------------------------------------------------------------------


def load(path: str | None, environ: Mapping[str, str], cwd: Path) -> Config:
    """The configuration of a server started in `cwd`. Raises `ConfigError`.

    `path` is what `--config` said; without it `cwd/config.toml` is read if it is there.
    """
    file = cwd / Path(path).expanduser() if path else cwd / "config.toml"
    dotenv = _dotenv(cwd / ".env")
    keys = {**dotenv, **environ}
    reader = _Reader(str(path or "config.toml"))
    if path or file.exists():
        reader.take_file(_read_toml(file, reader.source))
        source = reader.source
    else:
        source = "the shipped defaults"
    reader.take_environment(keys, only_dotenv=dotenv.keys() - environ.keys())
    return _settle(reader, Config(keys=keys, source=source, cwd=cwd))


def _dotenv(file: Path) -> dict[str, str]:
    try:
        return read_dotenv(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env cannot be read: {_why(error)}") from error


def _read_toml(file: Path, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{name} does not exist; write --config with the path of a file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} cannot be read: {_why(error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"


class _Reader:
    """Collects what the layers say about each key, checked, with where it was said."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.said: dict[tuple[str, str], Any] = {}
        self.where: dict[tuple[str, str], str] = {}
        self.options: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in PLUGIN_SECTIONS}
        self.receivers: dict[str, dict[str, Any]] = {}

    # the file

    def take_file(self, document: Mapping[str, Any]) -> None:
        for section, table in document.items():
            _refuse_secret(self.source, section)
            if section not in SECTIONS:
                raise ConfigError(f"{self.source}: [{section}] is not a section; {meant(section, SECTIONS)}")
            if not isinstance(table, Mapping):
                raise ConfigError(f"{self.source}: {section} is a section; write [{section}] on its own line")
            for key, value in table.items():
                self._take_key(section, key, value)

    def _take_key(self, section: str, key: str, value: Any) -> None:
        where = f"{self.source}: [{section}] {key}"
        _refuse_secret(self.source, key, section)
        hints = hints_of(section)
        if key in hints:
            self._say(where, section, key, value, hints[key])
        elif section == "webhooks" and isinstance(value, Mapping):
            for option, setting in value.items():
                self._take_receiver(self.source, key, option, setting)
            self.receivers.setdefault(key, {})
        elif (section, key) == ("tools", MCP) and isinstance(value, Mapping):
            for name, table in value.items():
                self._take_server(name, table)
        elif section in PLUGIN_SECTIONS and isinstance(value, Mapping):
            for option in value:
                _refuse_secret(self.source, option, f"{section}.{key}")
            checked = self._checked(self.source, section, key, value)
            self.options[section].setdefault(key, {}).update(checked)
        else:
            raise ConfigError(f"{where} is not a key; {self._home_of(section, key)}")

    def _home_of(self, section: str, key: str) -> str:
        if not get_close_matches(key, hints_of(section), n=1):
            for other in SECTIONS:
                if key in hints_of(other):
                    return f"it belongs in [{other}]"
        return meant(key, tuple(hints_of(section)))

    def _take_receiver(self, source: str, name: str, key: str, value: Any) -> None:
        """A key of `[webhooks.NAME]`."""
        section = f"webhooks.{name}"
        _refuse_secret(source, key, section)
        hints = typing.get_type_hints(Receiver, include_extras=True)
        if key not in hints:
            raise ConfigError(f"{source}: [{section}] {key} is not a key; {meant(key, tuple(hints))}")
        value = _convert(f"{source}: [{section}] {key}", value, hints[key])
        self.receivers.setdefault(name, {})[key] = value

    def _take_server(self, name: str, table: Any) -> None:
        """One MCP server: `[tools.mcp.NAME]`."""
        section = f"tools.{MCP}.{name}"
        if not isinstance(table, Mapping):
            raise ConfigError(
                f"{self.source}: [tools.{MCP}] {name} is a server's name; write [{section}] on its own line"
            )
        for option in table:
            _refuse_secret(self.source, option, section)
        checked = self._checked(self.source, "tools", MCP, table, section)
        self.options["tools"].setdefault(MCP, {}).setdefault(name, {}).update(checked)

    def _checked(
        self, source: str, kind: str, name: str, values: Mapping[str, Any], section: str = ""
    ) -> Mapping[str, Any]:
        """The values of a plug-in's section, having checked names and types one by one."""
        hints = _option_hints(source, kind, name)
        where = f"{source}: [{section or f'{kind}.{name}'}]"
        for key, value in values.items():
            if key not in hints:
                hint = meant(key, tuple(hints))
                raise ConfigError(f"{where} {key} is not a key of this plug-in; {hint}")
            _convert(f"{where} {key}", value, hints[key])
        return values

    # the environment

    def take_environment(self, variables: Mapping[str, str], only_dotenv: Set[str]) -> None:
        for name in variables:
            self._catch_single_underscore(name)
        for variable, path in settings_in(variables).items():
            text = variables[variable]
            name = f".env: {variable}" if variable in only_dotenv else variable
            section, *rest = path
            if section not in SECTIONS:
                raise ConfigError(f"{name}: there is no section {section!r}; {meant(section, SECTIONS)}")
            if len(rest) == 1:
                self._take_variable(name, section, rest[0], text)
            elif len(rest) == 2 and section == "webhooks":
                hint = typing.get_type_hints(Receiver, include_extras=True).get(rest[1], str)
                known = {n.replace("-", "_").lower(): n for n in self.receivers}
                self._take_receiver(name, known.get(rest[0], rest[0]), rest[1], parse(name, text, hint))
            elif len(rest) == 3 and (section, rest[0]) == ("tools", MCP):
                self._take_server_option(name, rest[1], rest[2], text)
            elif len(rest) == 2 and section in PLUGIN_SECTIONS and (section, rest[0]) != ("tools", MCP):
                self._take_option(name, section, rest[0], rest[1], text)
            else:
                raise ConfigError(f"{name} is not the name of a key; write PARLEY_<SECTION>__<KEY>")

    def _catch_single_underscore(self, name: str) -> None:
        """PARLEY_SERVER_PORT would else be ignored without a word."""
        if not name.startswith(PREFIX) or name in NO_SETTINGS or "__" in name:
            return
        section, _, key = name.removeprefix(PREFIX).lower().partition("_")
        if section in SECTIONS and key in hints_of(section):
            raise ConfigError(
                f"{name} has one underscore too few; write {PREFIX}{section.upper()}__{key.upper()}"
            )

    def _take_variable(self, name: str, section: str, key: str, text: str) -> None:
        hints = hints_of(section)
        _refuse_secret(name, key, section)
        if key not in hints:
            raise ConfigError(f"{name}: [{section}] has no key {key!r}; {self._home_of(section, key)}")
        value = parse(name, text, hints[key])
        refuse_commas(name, text, value)
        self._say(name, section, key, value, hints[key])

    def _take_option(self, name: str, kind: str, flat: str, key: str, text: str) -> None:
        _refuse_secret(name, key, f"{kind}.{flat}")
        known = {n.replace("-", "_"): n for n in (*plugins.names(kind), *self.options[kind])}
        if flat not in known:
            raise ConfigError(f"{name}: there is no plug-in {flat!r} for {kind}; {meant(flat, tuple(known))}")
        plugin = known[flat]
        hints = _option_hints(name, kind, plugin)
        if key not in hints:
            raise ConfigError(f"{name}: [{kind}.{plugin}] has no key {key!r}; {meant(key, tuple(hints))}")
        value = parse(name, text, hints[key])
        _convert(name, value, hints[key])
        self.options[kind].setdefault(plugin, {})[key] = value

    def _take_server_option(self, name: str, flat: str, key: str, text: str) -> None:
        _refuse_secret(name, key, f"tools.{MCP}.{flat}")
        servers = self.options["tools"].setdefault(MCP, {})
        server = {n.replace("-", "_").lower(): n for n in servers}.get(flat, flat)
        hints = _option_hints(name, "tools", MCP)
        if key not in hints:
            raise ConfigError(
                f"{name}: [tools.{MCP}.{server}] has no key {key!r}; {meant(key, tuple(hints))}"
            )
        value = parse(name, text, hints[key])
        _convert(name, value, hints[key])
        servers.setdefault(server, {})[key] = value

    def _say(self, where: str, section: str, key: str, value: Any, hint: Any) -> None:
        value = _convert(where, value, hint)
        if isinstance(value, Mapping):
            value = {**self.said.get((section, key), {}), **value}
        self.said[section, key] = value
        self.where[section, key] = where


def hints_of(section: str) -> dict[str, Any]:
    """The keys of a section and their types."""
    cls = typing.get_type_hints(Config)[section]
    hints = typing.get_type_hints(cls, include_extras=True)
    return {key: hint for key, hint in hints.items() if key not in ("options", "receivers")}


def _option_hints(where: str, kind: str, name: str) -> dict[str, Any]:
    try:
        cls = plugins.find(kind, name).Options
    except PluginError as error:
        raise ConfigError(f"{where}: {error}") from error
    return typing.get_type_hints(cls, include_extras=True)


def _convert(where: str, value: Any, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        value = _convert(where, value, args[0])
        for limit in args[1:]:
            if isinstance(limit, Range):
                limit.check(where, value)
        return value
    if origin is Mapping and args[1] is TokenPrice and isinstance(value, Mapping):
        return {k: _token_price(f"{where}.{k}", v) for k, v in value.items()}
    try:
        return plugins.convert(where, value, hint)
    except PluginError as error:
        raise ConfigError(str(error)) from error


def _token_price(where: str, value: Any) -> TokenPrice:
    hints = typing.get_type_hints(TokenPrice, include_extras=True)
    if not isinstance(value, Mapping) or not value or set(value) - set(hints):
        raise ConfigError(
            f"{where} = {value!r} must be {{ input = 0.15, output = 0.60 }}, per million tokens"
        )
    return TokenPrice(**{k: _convert(f"{where} {k}", v, hints[k]) for k, v in value.items()})


_SECRET = re.compile(r"(.*_)?(api_?key|secret(_?key)?|auth_token|access_token|password)", re.IGNORECASE)


def _refuse_secret(where: str, key: str, section: str = "") -> None:
    if _SECRET.fullmatch(key):
        vendor = section.rpartition(".")[2] or key.lower().partition("_")[0]
        variable = key.upper() if key.isupper() else f"{vendor.upper().replace('-', '_')}_API_KEY"
        if "secret" in key.lower():
            variable = "WEBHOOK_SECRET" if section.startswith("webhooks") else "PARLEY_SECRET_KEY"
        at = f"[{section}] {key}" if section else key
        raise ConfigError(
            f"{where}: {at} is a secret and is not read from here; set {variable} in the environment or .env"
        )


# -- what only the whole can tell -----------------------------------------------------------------------


def _settle(reader: _Reader, base: Config) -> Config:
    parts: dict[str, Any] = {}
    for section in SECTIONS:
        changes = {key: value for (owner, key), value in reader.said.items() if owner == section}
        if section in PLUGIN_SECTIONS:
            changes["options"] = reader.options[section]
        if section == "webhooks":
            changes["receivers"] = {name: Receiver(**told) for name, told in reader.receivers.items()}
        parts[section] = replace(getattr(base, section), **changes)
    config = replace(base, **parts)
    for where, problem in _problems(config, reader):
        raise ConfigError(f"{where} {problem}")
    _check_plugins(config, reader)
    return _fit_silences(config, reader)


def _problems(config: Config, reader: _Reader) -> Iterator[tuple[str, str]]:
    """Values of the right type that still cannot be meant."""

    def at(section: str, key: str) -> str:
        where = reader.where.get((section, key), f"[{section}] {key}")
        return f"{where} = {getattr(getattr(config, section), key)!r}"

    if config.server.public_url and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", config.server.public_url):
        yield at("server", "public_url"), 'must be a URL, such as "https://talk.example.org"'
    if not config.server.host:
        yield at("server", "host"), 'must be an address; write "127.0.0.1", or "0.0.0.0" for every interface'
    for origin in config.server.allowed_origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            yield (
                at("server", "allowed_origins"),
                'must be origins without a path, such as ["https://example.org"]',
            )
    for proxy in config.server.trusted_proxies:
        if not _is_network(proxy):
            yield at("server", "trusted_proxies"), 'must be addresses or networks, such as ["10.0.0.0/8"]'
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", config.pipeline.language):
        yield at("pipeline", "language"), 'must be a language tag, such as "en" or "pt-BR"'
    if not re.match(r"(sqlite|postgresql)(\+\w+)?://", config.storage.url):
        # The value is not shown: it may hold a password.
        where = reader.where.get(("storage", "url"), "[storage] url")
        yield where, 'must be a database URL, such as "sqlite+aiosqlite:///parley.db"'
    yield from mail_problems(config, at)
    yield from login_problems(config, at)
    yield from webhook_problems(config, at)
    for key in ("conversations_dir", "audio_dir"):
        if not getattr(config.storage, key):
            yield at("storage", key), "must be the path of a folder"
    for kind, stage in config.stages.items():
        if not stage.plugin:
            yield at(kind, "plugin"), f"names no plug-in; write one of: {', '.join(plugins.names(kind))}"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _check_plugins(config: Config, reader: _Reader) -> None:
    """Every plug-in named exists and takes the options it was given."""
    _check_engine(config, reader)
    chains = {kind: stage.plugin for kind, stage in config.stages.items()}
    chains |= {"vad": (config.vad.plugin,), "turn": (config.turn.plugin,), "tools": config.tools.enabled}
    chains["avatar"] = (config.avatar.plugin,)
    _check_servers(config)
    for kind, chain in chains.items():
        key = "enabled" if kind == "tools" else "plugin"
        where = reader.where.get((kind, key), config.source).split(": [")[0]
        for name in chain:
            try:
                plugins.options(kind, name, getattr(config, kind).options_of(name))
            except PluginError as error:
                raise ConfigError(f"{where}: {error}") from error


def _check_servers(config: Config) -> None:
    if MCP in config.tools.enabled:
        raise ConfigError(
            f"{config.source}: [tools] enabled names {MCP!r}, which is no tool; "
            f"a section [tools.{MCP}.NAME] for each server is enough"
        )
    for name, values in config.tools.servers.items():
        section = f"tools.{MCP}.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,30}", name):
            raise ConfigError(
                f"{config.source}: [{section}]: a server's name is at most 30 letters, digits, _ and -"
            )
        try:
            plugins.options("tools", MCP, values, section)
        except PluginError as error:
            raise ConfigError(f"{config.source}: {error}") from error


def _check_engine(config: Config, reader: _Reader) -> None:
    name = config.pipeline.engine
    if not config.talks_by_itself:
        return
    where = reader.where.get(("pipeline", "engine"), "[pipeline] engine")
    known = ("stages", *plugins.names("talk"))
    if name not in known and ":" not in name:
        raise ConfigError(f"{where} = {name!r} is unknown; {meant(name, known)}")
    try:
        plugins.options("talk", name, config.talk.options_of(name))
    except PluginError as error:
        raise ConfigError(f"{where}: {error}") from error


def _fit_silences(config: Config, reader: _Reader) -> Config:
    """min_silence_ms <= stop_ms <= max_silence_ms. Who sets one of them moves the others that they left
    alone; two that were set and contradict each other are an error."""
    order = (("turn", "min_silence_ms"), ("vad", "stop_ms"), ("turn", "max_silence_ms"))
    values = [cast(int, getattr(getattr(config, section), key)) for section, key in order]
    said = [i for i, name in enumerate(order) if name in reader.said]
    for low, high in pairwise(said):
        if values[low] > values[high]:
            where = reader.where[order[high]]
            text = (
                f"{where} = {values[high]} must be at least [{order[low][0]}] {order[low][1]} = {values[low]}"
            )
            raise ConfigError(text)
    for i in set(range(3)) - set(said):
        floor = max((values[j] for j in said if j < i), default=0)
        ceiling = min((values[j] for j in said if j > i), default=values[i] + floor)
        values[i] = min(max(values[i], floor), ceiling)
    return replace(
        config,
        vad=replace(config.vad, stop_ms=values[1]),
        turn=replace(config.turn, min_silence_ms=values[0], max_silence_ms=values[2]),
    )
