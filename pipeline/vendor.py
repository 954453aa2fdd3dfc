"""What every plug-in of a vendor needs: its key, its package, and errors that say what to do.

It knows no vendor and no stage. Keys are never part of a message.
"""

import asyncio
import importlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException
from types import ModuleType
from typing import Any, TypeVar

from pipeline.contracts import Env, Failure, MissingKey, ProviderError, Unavailable

LONGEST_DETAIL = 200
"""Characters of a vendor's own words that go into an error: enough to understand, too few to flood a log."""

P = TypeVar("P", bound=ProviderError)


def key(env: Env, where: str, *variables: str) -> str:
    """The API key: the first of the environment variables that is set.

    `where` names who asks, such as "[llm] openai". Raises `MissingKey` with what to do.
    """
    for variable in variables:
        value = env.keys.get(variable, "").strip()
        if value:
            return value
    others = f" (or {' or '.join(variables[1:])})" if len(variables) > 1 else ""
    raise MissingKey(
        f"{where} needs {variables[0]}{others}: set it in the environment or in a file .env "
        "beside config.toml, or name another plug-in"
    )


async def load(module: str, extra: str) -> ModuleType:
    """Import a vendor's package without holding up the event loop. Raises `Unavailable` with what to do."""
    try:
        return await asyncio.to_thread(importlib.import_module, module)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"the package {(error.name or module).partition('.')[0]} is not installed; "
            f"run: pip install 'parley[{extra}]'"
        ) from error


def http_package(client: type) -> ModuleType:
    """What a vendor's own client is built on: httpx in older versions of its package, httpx2 in newer ones,
    whatever else is installed."""
    base = next(one for one in client.__mro__ if one.__name__ in ("AsyncClient", "Client"))
    return importlib.import_module(base.__module__.partition(".")[0])


@cache
def trust(httpx: ModuleType) -> ssl.SSLContext:
    """Whom clients of this package (httpx or httpx2) believe: one for all, as reading the authorities'
    certificates takes 50 ms and a megabyte each time."""
    context: ssl.SSLContext = httpx.create_ssl_context()
    return context


def refused(
    cls: type[P], who: str, status: int, detail: str = "", headers: Mapping[str, str] | None = None
) -> P:
    """The error for an HTTP status (or a status that a vendor puts in its own words).

    RFC 9110: 401 and 403 are the key's fault, 402 and 429 the account's, other 4xx ours, the rest passes.
    """
    words = f": {short(detail)}" if detail.strip() else ""
    wait = retry_after_s(headers or {})
    match status:
        case 401 | 403:
            return cls(f"{who} refused the API key ({status}){words}", Failure.AUTH)
        case 402 | 429:
            message = f"{who} has had too many requests or has no credit left ({status}){words}"
            return cls(message, Failure.QUOTA, retry_after_s=wait)
        case 408 | 409 | 425:
            return cls(f"{who} could not answer in time ({status}){words}", Failure.TRANSIENT)
        case _ if 400 <= status < 500:
            return cls(f"{who} did not accept the request ({status}){words}", Failure.BAD_REQUEST)
        case _:
            return cls(f"{who} failed ({status}){words}", Failure.TRANSIENT, retry_after_s=wait)


async def get_json(
    cls: type[P], who: str, url: str, headers: Mapping[str, str], timeout_s: float = 5.0, body: Any = None
) -> Any:
    """Ask a vendor something over HTTP, now and then (its voices, whether a key is good), without a package;
    with a `body`, POST that.

    Not for what somebody waits for in a talk: it opens a connection each time, in a thread.
    """
    sent = None if body is None else json.dumps(body).encode()
    typed = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, sent, {"User-Agent": "parley", **typed, **headers})

    def ask() -> Any:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return json.load(response)

    try:
        return await asyncio.to_thread(ask)
    except urllib.error.HTTPError as error:
        with error:
            detail = error.read(4096).decode("utf-8", "replace")
        raise refused(cls, who, error.code, detail, dict(error.headers)) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an answer that is no JSON
        raise unreachable(cls, who, error) from error


def unreachable(cls: type[P], who: str, error: BaseException) -> P:
    """The error for a provider that cannot be reached, or went away in the middle."""
    return cls(f"{who} cannot be reached: {short(str(error)) or type(error).__name__}", Failure.TRANSIENT)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The Retry-After header: seconds, or a date (RFC 9110, 10.2.3). Header names are lower case, or the
    mapping does not care."""
    value = headers.get("retry-after") or headers.get("Retry-After")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds())


def short(text: str) -> str:
    """One line of a vendor's words."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 1] + "…"
