"""What every test may use: the leak check, the virtual clock, and a browser that must not be missing."""

import asyncio
import os
from collections.abc import Callable, Generator, Mapping

import pytest

from tests.support.leaks import no_leaks
from tests.support.live import live_server, scripted_server
from tests.support.virtual import VirtualLoop

__all__ = ["live_server", "no_leaks", "scripted_server"]


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the hook's own signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With PARLEY_REQUIRE_BROWSER=1 (.ci/run sets it) a browser test that was skipped has failed."""
    report = yield
    required = os.environ.get("PARLEY_REQUIRE_BROWSER", "") not in ("", "0")
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if required and is_skip and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but PARLEY_REQUIRE_BROWSER is set: {report.longrepr}"
    return report
