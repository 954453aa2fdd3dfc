"""Reads what the environment says: `.env` files and `PARLEY_<SECTION>__<KEY>` variables.

Knows how text becomes a value of a key's type; which keys there are is `server.config`'s business.
"""

import re
import tomllib
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pipeline.contracts import ParleyError

PREFIX = "PARLEY_"
NO_SETTINGS = frozenset({"PARLEY_SECRET_KEY"})

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_BOOLS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class ConfigError(ParleyError):
    """The configuration is wrong. One line that names the key, where it stands, and what to write instead."""


def read_dotenv(text: str, name: str = ".env") -> dict[str, str]:
    """The variables of a `.env` file: `KEY=value` lines, `#` comments, optional `export` and quotes.

    No variable is expanded inside a value: a `$` in a key or password stays one. Raises `ConfigError`.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            # The line itself is not shown: it may be a secret.
            raise ConfigError(f"{name} line {number} cannot be read; write KEY=value")
        key, value = match.groups()
        found[key] = _unquote(value, f"{name} line {number}")
    return found


def _unquote(value: str, where: str) -> str:
    quote = value[:1]
    if quote not in ("'", '"'):
        return re.sub(r"(^|\s+)#.*", "", value)
    pattern = r"'([^']*)'" if quote == "'" else r'"((?:[^"\\]|\\.)*)"'
    match = re.fullmatch(pattern + r"\s*(?:#.*)?", value)
    if match is None:
        raise ConfigError(f"{where} has a quote that does not close; write KEY={quote}value{quote}")
    text = match.group(1)
    return text if quote == "'" else re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), text)


def settings_in(variables: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The variables that override a key, each with its path: `PARLEY_STT__SCRIPTED__TEXT` is
    `("stt", "scripted", "text")`."""
    found = {}
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in NO_SETTINGS and "__" in name:
            found[name] = tuple(name.removeprefix(PREFIX).lower().split("__"))
    return found


def parse(name: str, text: str, hint: Any) -> Any:
    """The text of variable `name` as a value of type `hint` (or nearly: `plugins.convert` has the last
    word). Text stays as it is, lists and tables are TOML, a bare word is a list of one."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return parse(name, text, typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(hint)
        if type(None) in choices and text.strip().lower() in ("", "none"):
            return None
        return parse(name, text, next(c for c in choices if c is not type(None)))
    if origin is typing.Literal:
        return parse(name, text, type(typing.get_args(hint)[0]))
    if hint is str:
        return text
    text = text.strip()
    if hint is bool:
        if text.lower() not in _BOOLS:
            raise ConfigError(f"{name} = {text!r} must be true or false")
        return _BOOLS[text.lower()]
    if origin is tuple:
        return _list(name, text)
    if hint is int or hint is float:
        value = _toml(name, text, "a number" if hint is float else "a whole number")
    elif hint is Any:
        return _toml_or_text(text)
    else:
        value = _toml(name, text, "a TOML table, such as { key = 1 }")
    return value


def refuse_commas(name: str, text: str, value: Any) -> None:
    """For lists of names, where `a,b` cannot be one name, though a plug-in's list may hold sentences."""
    if value == [text.strip()] and "," in text:
        words = ", ".join(f'"{word.strip()}"' for word in text.split(","))
        raise ConfigError(f"{name} = {text!r} must be a list; write [{words}]")


def _list(name: str, text: str) -> Any:
    if text.startswith("["):
        return _toml(name, text, 'a list, such as ["one", "two"]')
    return [_toml_or_text(text) if re.fullmatch(r"[-+.\d]+", text) else text] if text else []


def _toml(name: str, text: str, wanted: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} = {text!r} must be {wanted}") from error


def _toml_or_text(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def meant(word: str, known: tuple[str, ...]) -> str:
    """What to write instead of a word that is not known."""
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"write one of: {', '.join(known)}" if known else "it has no keys"
