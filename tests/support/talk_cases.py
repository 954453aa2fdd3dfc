"""The speech-to-speech plug-ins that the conformance suite runs over."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env
from tests.support.vendors.case import VendorCase
from tests.support.vendors.gemini_live import GeminiLive
from tests.support.vendors.openai_realtime import OpenAiRealtime

VENDORS: Mapping[str, VendorCase] = {
    "openai-realtime": VendorCase(
        "talk",
        "openai-realtime",
        "OPENAI_API_KEY",
        OpenAiRealtime,
        lambda vendor: {"base_url": f"{vendor.ws_url}/v1"},
    ),
    "gemini-live": VendorCase(
        "talk", "gemini-live", "GEMINI_API_KEY", GeminiLive, lambda vendor: {"base_url": vendor.ws_url}
    ),
}
NAMES = ("scripted", *VENDORS)


@asynccontextmanager
async def open_engine(name: str) -> AsyncIterator[tuple[Any, Any]]:
    """The warm engine on a good day, and the fake it talks to (None where there is none)."""
    if name in VENDORS:
        async with VENDORS[name].open() as (engine, vendor):
            yield engine, vendor
    else:
        engine = plugins.build("talk", name, {"word_ms": 5, "first_ms": 5, "transcript_ms": 1}, Env())
        await engine.warm()
        try:
            yield engine, None
        finally:
            await engine.aclose()
