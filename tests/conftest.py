"""What every test may use: the leak check and the virtual clock."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.support.leaks import no_leaks
from tests.support.virtual import VirtualLoop

__all__ = ["no_leaks"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_clock: runs on a loop whose clock jumps to the next deadline")


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - the hook's own signature
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """One loop per test: virtual where it is marked so, the platform's own elsewhere."""
    if item.get_closest_marker("virtual_clock"):
        return {"virtual": VirtualLoop}
    return {"real": asyncio.new_event_loop}
