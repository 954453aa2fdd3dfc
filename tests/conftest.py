"""What every test may use: the leak check, the virtual clock, databases; and what must not be missing."""

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Mapping

import pytest

from tests.support.leaks import no_leaks
from tests.support.live import live_server, scripted_server
from tests.support.postgres import (
    database_url,
    empty_database_url,
    migrated_sqlite,
    postgres,
    postgres_url,
)
from tests.support.virtual import VirtualLoop

__all__ = [
    "database_url",
    "empty_database_url",
    "live_server",
    "migrated_sqlite",
    "no_leaks",
    "postgres",
    "postgres_url",
    "scripted_server",
]

REQUIRED = {"browser": "PARLEY_REQUIRE_BROWSER", "postgres": "PARLEY_REQUIRE_POSTGRES"}
"""Marker -> the variable that makes a skipped test of that kind a failed one. `.ci/run` sets both."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_clock: runs on a loop whose clock jumps to the next deadline")
    config.addinivalue_line("markers", "real_time: a call or a browser, by the clock on the wall")


PATIENT = {
    "calls": ("no_double_bookings", "planned", "webhooks_survive"),
    "browser": (
        *("accounts_pages", "analytics_page", "api_module", "appointments_page", "documentation", "looks"),
        *("modules", "webhooks_page", "worklets"),
    ),
}
"""Those in which nobody speaks, or a test says that it is `real_time` by itself."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Calls by the clock on the wall want the machine to themselves: they are run last."""
    _vary_requests_on_one_database(config, items)
    for item in items:
        patient = PATIENT.get(item.path.parent.name)
        if patient is None or item.get_closest_marker("virtual_clock"):
            continue
        if item.path.stem.removeprefix("test_") not in patient:
            item.add_marker("real_time")


def _vary_requests_on_one_database(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test of the routes runs on both databases. Of one with many requests (bodies that are wrong in
    many ways, say) PostgreSQL sees the first, and SQLite all."""
    seen: set[tuple[object, str]] = set()
    again = set()
    for item in items:
        if item.path.parent.name == "routes" and item.get_closest_marker("postgres"):
            test = (item.parent, getattr(item, "originalname", item.name))
            if test in seen:
                again.add(item)
            seen.add(test)
    if again:
        config.hook.pytest_deselected(items=list(again))
        items[:] = [item for item in items if item not in again]


def pytest_collection_finish() -> None:
    """What was collected stays: each collection of garbage would go through it again."""
    gc.collect()
    gc.freeze()


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
    """Where a browser or PostgreSQL is required, a test that was skipped for the lack of it has failed."""
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    for marker, variable in REQUIRED.items():
        required = os.environ.get(variable, "") not in ("", "0")
        if required and is_skip and item.get_closest_marker(marker):
            report.outcome = "failed"
            report.longrepr = f"skipped, but {variable} is set: {report.longrepr}"
    return report
