"""One way to run each synthesizer plug-in for the conformance suite. A new plug-in adds its line here."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env
from tests.support.tiny_voice import kokoro_voice, piper_voice
from tests.support.vendors.cartesia import Cartesia
from tests.support.vendors.case import VendorCase
from tests.support.vendors.deepgram_speak import DeepgramSpeak
from tests.support.vendors.elevenlabs_tts import ElevenLabsTts
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


@asynccontextmanager
async def tiny_piper() -> AsyncIterator[Any]:
    """Piper with a folder of two voices that hum."""
    with tempfile.TemporaryDirectory() as folder:
        piper_voice(Path(folder))
        piper_voice(
            Path(folder), "es_ES-tiny-medium", rate_hz=22_050, espeak_voice="es", speakers=("ana", "bo")
        )
        async with local("piper", model=folder)() as engine:
            yield engine


@asynccontextmanager
async def tiny_kokoro() -> AsyncIterator[Any]:
    """Kokoro with a model that hums."""
    with tempfile.TemporaryDirectory() as folder:
        model, voices = kokoro_voice(Path(folder))
        async with local("kokoro", model=str(model), voices=str(voices))() as engine:
            yield engine


VENDORS: dict[str, VendorCase] = {
    "cartesia": VendorCase(
        "tts", "cartesia", "CARTESIA_API_KEY", Cartesia, lambda fake: {"base_url": fake.url}
    ),
    "deepgram": VendorCase(
        "tts", "deepgram", "DEEPGRAM_API_KEY", DeepgramSpeak, lambda fake: {"base_url": fake.ws_url}
    ),
    "elevenlabs": VendorCase(
        "tts", "elevenlabs", "ELEVENLABS_API_KEY", ElevenLabsTts, lambda fake: {"base_url": fake.url}
    ),
    "openai": VendorCase(
        "tts", "openai", "OPENAI_API_KEY", OpenAiSpeech, lambda fake: {"base_url": f"{fake.url}/v1"}
    ),
}
"""Every fake is a `Voice`; the troubles suite runs over them."""

UNKNOWN_MODEL: dict[str, dict[str, Any]] = {
    "cartesia": {"voice": "00000000-0000-4000-8000-000000000000"},
    "deepgram": {"voice": "aura-2-nobody-en"},
    "elevenlabs": {"model": "no-such-model"},
    "openai": {"model": "no-such-model"},
}
"""Options with which the vendor refuses the request as ours to mend."""

CASES: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "espeak": local("espeak"),
    "kokoro": tiny_kokoro,
    "piper": tiny_piper,
    **{name: vendor(case) for name, case in VENDORS.items()},
    "scripted": local("scripted", first_byte_ms=1, speed=1000.0),
}
