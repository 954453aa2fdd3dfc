"""Finds plug-ins by name, checks their options, builds them. Knows no plug-in.

Built-ins and strangers' packages use the same door: an entry point in the group `parley.<kind>` that names
a module. `"package.module:create"` in the config works without any packaging, for a tool also
`"package.module:function"`.
"""

import importlib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Protocol, cast

from pipeline.contracts import Env, ParleyError
from pipeline.tool import FunctionTool

TIMES = ("_ms", "_s", "ms_per_char")
"""How the names of keys end that hold a time."""
KINDS = ("vad", "stt", "turn", "llm", "tts", "talk", "tools", "avatar")


class PluginError(ParleyError):
    """A plug-in's name or options are wrong. One line that names the key and the fix."""


class Plugin(Protocol):
    """The module of a plug-in."""

    Options: type[Any]

    def create(self, options: Any, env: Env) -> Any: ...


def names(kind: str) -> list[str]:
    """All plug-ins of a kind that are installed, sorted."""
    return sorted(_points(kind))


def find(kind: str, name: str) -> Plugin:
    """The plug-in's module. Raises `PluginError`, naming the key and what could be meant."""
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        try:
            module = importlib.import_module(module_name)
            create = getattr(module, attribute)
        except (ImportError, AttributeError) as error:
            raise PluginError(f"[{kind}] plugin {name!r} cannot be loaded: {error}") from error
        options = getattr(module, "Options", _NoOptions)
        if isinstance(create, FunctionTool):  # the tool itself, instead of what makes one
            tool = create
            return cast(Plugin, types.SimpleNamespace(Options=_NoOptions, create=lambda *_: tool))
        return cast(Plugin, types.SimpleNamespace(Options=options, create=create))
    point = _points(kind).get(name)
    if point is None:
        known = ", ".join(names(kind)) or "none"
        close = get_close_matches(name, names(kind), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"installed are: {known}"
        raise PluginError(f"[{kind}] plugin {name!r} is unknown; {hint}")
    try:
        return cast(Plugin, point.load())
    except ImportError as error:
        raise PluginError(f"[{kind}] plugin {name!r} cannot be loaded: {error}") from error


def options(kind: str, name: str, values: Mapping[str, Any], section: str = "") -> Any:
    """The plug-in's `Options` filled from a config section, which is `kind.name` unless said otherwise.

    Raises `PluginError` for an unknown key, a wrong type, a negative time, and whatever the class itself
    refuses with a `ValueError`; ints are taken for floats, lists for tuples."""
    section = section or f"{kind}.{name}"
    cls = find(kind, name).Options
    known = {f.name: f for f in fields(cls)} if is_dataclass(cls) else {}
    hints = typing.get_type_hints(cls)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        where = f"[{section}] {key}"
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its keys are: {', '.join(known) or 'none'}"
            raise PluginError(f"{where} is not a key of this plug-in; {hint}")
        checked[key] = convert(where, value, hints[key])
    for key, field_ in known.items():
        if key not in checked and field_.default is MISSING and field_.default_factory is MISSING:
            raise PluginError(f"[{section}] {key} is missing")
        value = checked.get(key)
        if key.endswith(TIMES) and isinstance(value, int | float) and value < 0:
            raise PluginError(f"[{section}] {key} = {value} must be 0 or more")
    try:
        return cls(**checked)
    except ValueError as error:  # from the plug-in's own `__post_init__`
        raise PluginError(f"[{section}] {error}") from error


def convert(where: str, value: Any, hint: Any) -> Any:
    """Check a config value against a type hint (str, int, float, bool, tuple[T, ...], dict, X | None)."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        choices = [t for t in typing.get_args(hint) if t is not type(None)]
        if value is None:
            return None
        errors = []
        for choice in choices:
            try:
                return convert(where, value, choice)
            except PluginError as error:
                errors.append(error)
        raise errors[0]
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            allowed = ", ".join(repr(a) for a in typing.get_args(hint))
            raise PluginError(f"{where} = {value!r} must be one of {allowed}")
        return value
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, str | int | float):
            value = [value]  # a bare word is a list of one
        if isinstance(value, list | tuple):
            return tuple(convert(where, v, item) for v in value)
    elif origin is not None and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            inner = typing.get_args(hint)[1]
            return {k: convert(f"{where}.{k}", v, inner) for k, v in value.items()}
    elif hint is Any:
        return value
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    wanted = "a list" if origin is tuple else getattr(origin or hint, "__name__", str(hint))
    raise PluginError(f"{where} = {value!r} must be {_PLAIN.get(wanted, wanted)}")


def build(kind: str, name: str, values: Mapping[str, Any], env: Env, section: str = "") -> Any:
    """The engine itself, made by the plug-in's `create`. Raises `PluginError` or `Unavailable`."""
    return find(kind, name).create(options(kind, name, values, section), env)


_PLAIN = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a table",
    "Mapping": "a table",
}


class _NoOptions:
    """Stands in for a plug-in that has no keys."""


@cache
def _points(kind: str) -> Mapping[str, EntryPoint]:
    """What is installed, read once: it means opening a file of every package there is (20 ms and more)."""
    return {p.name: p for p in _all_points().select(group=f"parley.{kind}")}


@cache
def _all_points() -> EntryPoints:
    return cast(EntryPoints, entry_points())
