"""How a vendor's plug-in is run against its fake, for the conformance suites of every stage."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline import plugins
from pipeline.contracts import Env
from tests.support.vendors.place import KEY, Trouble, Vendor


@dataclass(frozen=True)
class VendorCase:
    """One plug-in and its fake."""

    kind: str
    plugin: str
    variable: str
    """The environment variable of its key."""
    fake: Callable[..., Vendor]
    """Called with the troubles."""
    options: Callable[[Any], Mapping[str, Any]]
    """The plug-in's options that lead it to the (serving) fake."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Options beside those."""

    @asynccontextmanager
    async def open(
        self, *troubles: Trouble, key: str = KEY, **options: Any
    ) -> AsyncIterator[tuple[Any, Any]]:
        """The warm engine, and the fake it talks to. `options` go over the case's own."""
        async with self.fake(*troubles).serving() as vendor:
            values = {**self.options(vendor), **self.more, **options}
            engine = plugins.build(self.kind, self.plugin, values, Env({self.variable: key}))
            await engine.warm()
            try:
                yield engine, vendor
            finally:
                await engine.aclose()
