"""One way to run each responder plug-in for the conformance suite. A new plug-in adds its line here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env

Opening = Callable[[], AbstractAsyncContextManager[Any]]


def local(name: str, **values: Any) -> Opening:
    """A responder that needs nothing but this machine."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        engine = plugins.build("llm", name, values, Env())
        await engine.warm()
        try:
            yield engine
        finally:
            await engine.aclose()

    return opened


CASES: dict[str, Opening] = {
    "rules": local("rules"),
    "scripted": local("scripted", first_token_ms=1, token_ms=0, tool="clock"),
}
