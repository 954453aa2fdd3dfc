"""One way to run each responder plug-in for the conformance suite. A new plug-in adds its line here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env
from tests.support.vendors.anthropic import Anthropic
from tests.support.vendors.case import VendorCase
from tests.support.vendors.gemini import Gemini
from tests.support.vendors.openai_chat import OpenAiChat, XaiChat

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


def vendor(case: VendorCase) -> Opening:
    """A vendor's responder at its fake, warm."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with case.open() as (engine, _):
            yield engine

    return opened


VENDORS: dict[str, VendorCase] = {
    "anthropic": VendorCase(
        "llm", "anthropic", "ANTHROPIC_API_KEY", Anthropic, lambda fake: {"base_url": fake.url}
    ),
    "gemini": VendorCase("llm", "gemini", "GEMINI_API_KEY", Gemini, lambda fake: {"base_url": fake.url}),
    "gemini-classic": VendorCase(
        "llm", "gemini-classic", "GEMINI_API_KEY", Gemini, lambda fake: {"base_url": fake.url}
    ),
    "grok": VendorCase("llm", "grok", "XAI_API_KEY", XaiChat, lambda fake: {"base_url": f"{fake.url}/v1"}),
    "openai": VendorCase(
        "llm",
        "openai",
        "OPENAI_API_KEY",
        OpenAiChat,
        lambda fake: {"base_url": f"{fake.url}/v1", "key_variable": "OPENAI_API_KEY"},
    ),
}
"""Every fake has `asked`, the requests for an answer; the troubles suite runs over them."""

CASES: dict[str, Opening] = {
    "rules": local("rules"),
    "scripted": local("scripted", first_token_ms=1, token_ms=0, tool="clock"),
    **{name: vendor(case) for name, case in VENDORS.items()},
}
