"""One way to run each synthesizer plug-in for the conformance suite. A new plug-in adds its line here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env


def local(name: str, **values: Any) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """An engine that needs nothing but this machine, warm."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        engine = plugins.build("tts", name, values, Env())
        await engine.warm()
        try:
            yield engine
        finally:
            await engine.aclose()

    return opened


CASES: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "espeak": local("espeak"),
    "scripted": local("scripted", first_byte_ms=1, speed=1000.0),
}
