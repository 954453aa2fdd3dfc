"""One way to run each transcriber plug-in for the conformance suite. A new plug-in adds its line here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env
from tests.support.tiny_whisper import build
from tests.support.vendors.assemblyai import AssemblyAi
from tests.support.vendors.case import VendorCase
from tests.support.vendors.deepgram_listen import DeepgramListen
from tests.support.vendors.elevenlabs_scribe import Scribe
from tests.support.vendors.openai_transcribe import OpenAiTranscribe

Opening = Callable[[Path], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Case:
    """How to get a warm engine, and what it is known to hear in `goforward.wav` (None = anything)."""

    open: Opening
    hears: str | None = None
    partials: bool = True
    """Whether text comes while one speaks."""


def local(name: str, **values: Any) -> Opening:
    """An engine that needs nothing but this machine."""

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Any]:
        del folder
        async with _warm(plugins.build("stt", name, values, Env())) as engine:
            yield engine

    return opened


@asynccontextmanager
async def _tiny_whisper(folder: Path) -> AsyncIterator[Any]:
    model = build(folder / "tiny-whisper")
    async with _warm(plugins.build("stt", "faster-whisper", {"model": str(model)}, Env())) as engine:
        yield engine


@asynccontextmanager
async def _warm(engine: Any) -> AsyncIterator[Any]:
    await engine.warm()
    try:
        yield engine
    finally:
        await engine.aclose()


def remote(case: VendorCase) -> Opening:
    """A vendor's plug-in, led to its fake."""

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Any]:
        del folder
        async with case.open() as (engine, _):
            yield engine

    return opened


def _deepgram(**more: Any) -> VendorCase:
    return VendorCase(
        "stt", "deepgram", "DEEPGRAM_API_KEY", DeepgramListen, lambda v: {"base_url": v.ws_url}, more
    )


def _elevenlabs(**more: Any) -> VendorCase:
    return VendorCase(
        "stt", "elevenlabs", "ELEVENLABS_API_KEY", Scribe, lambda v: {"base_url": v.ws_url}, more
    )


def _openai(**more: Any) -> VendorCase:
    return VendorCase(
        "stt", "openai", "OPENAI_API_KEY", OpenAiTranscribe, lambda v: {"base_url": f"{v.url}/v1"}, more
    )


VENDORS: dict[str, VendorCase] = {
    "assemblyai": VendorCase(
        "stt", "assemblyai", "ASSEMBLYAI_API_KEY", AssemblyAi, lambda v: {"base_url": v.ws_url}
    ),
    "deepgram": _deepgram(),
    "deepgram flux": _deepgram(model="flux-general-en"),
    "elevenlabs": _elevenlabs(),
    "elevenlabs with-times": _elevenlabs(word_times=True),
    "openai": _openai(mode="realtime"),
    "openai committed": _openai(mode="realtime", model="gpt-4o-transcribe"),
    "openai rest": _openai(model="whisper-1", partial_every_ms=500),
    "openai rest-streamed": _openai(model="gpt-4o-mini-transcribe", partial_every_ms=500),
}
"""Vendors' plug-ins; one may be in it more than once, as "plug-in variant". The fakes hear `sound.WORDS`."""

UNKNOWN_MODEL: dict[str, dict[str, str]] = {
    **{name: {"model": "no-such-model"} for name in VENDORS},
    "deepgram flux": {"model": "flux-no-such-model"},
}
"""Options that name a model which the vendor does not have."""

ONE_SHOT: frozenset[str] = frozenset({"openai rest", "openai rest-streamed"})
"""Those that send the whole utterance in one request at its end: they have no line that could be lost."""

LATE: frozenset[str] = frozenset({"openai committed"})
"""Those that say nothing before a pause."""

CASES: dict[str, Case] = {
    "scripted": Case(local("scripted", text=["go forward ten meters"], final_ms=20), "go forward ten meters"),
    "pocketsphinx": Case(local("pocketsphinx", workers=1), "go forward ten meters"),
    "faster-whisper": Case(_tiny_whisper),
    **{
        name: Case(remote(case), "go forward ten meters", partials=name not in LATE)
        for name, case in VENDORS.items()
    },
}
