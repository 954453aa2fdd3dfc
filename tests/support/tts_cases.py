"""One way to run each synthesizer plug-in for the conformance suite. A new plug-in adds its line here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env
from tests.support.vendors.case import VendorCase
from tests.support.vendors.deepgram_speak import DeepgramSpeak
from tests.support.vendors.openai_speech import OpenAiSpeech


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


def vendor(case: VendorCase) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """A vendor's engine at its fake, warm."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with case.open() as (engine, _):
            yield engine

    return opened


VENDORS: dict[str, VendorCase] = {
    "deepgram": VendorCase(
        "tts", "deepgram", "DEEPGRAM_API_KEY", DeepgramSpeak, lambda fake: {"base_url": fake.ws_url}
    ),
    "openai": VendorCase(
        "tts", "openai", "OPENAI_API_KEY", OpenAiSpeech, lambda fake: {"base_url": f"{fake.url}/v1"}
    ),
}
"""Every fake is a `Voice`; the troubles suite runs over them."""

UNKNOWN_MODEL: dict[str, dict[str, Any]] = {
    "deepgram": {"voice": "aura-2-nobody-en"},
    "openai": {"model": "no-such-model"},
}
"""Options with which the vendor refuses the request as ours to mend."""

CASES: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "espeak": local("espeak"),
    **{name: vendor(case) for name, case in VENDORS.items()},
    "scripted": local("scripted", first_byte_ms=1, speed=1000.0),
}
