"""What every tool plug-in must do, and what the clock answers."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contracts import Env, Tool, ToolContext
from pipeline.tool import as_tools

NOW = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
SIMPLE: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "appointments": (("end_conversation", {}), ("end_conversation", {"reason": "done"})),
    "clock": (("clock", {}), ("clock", {"timezone": "Europe/Madrid"})),
    "handoff": (("list_agents", {}),),
}
"""Calls that succeed anywhere, of each plug-in's tools. A new plug-in adds its line."""


def context(now: datetime = NOW) -> ToolContext:
    return ToolContext("20261121_233000_aaaaaaaaaaaaaaaaaaaa", lambda: now)


def test_every_tool_plugin_has_a_case() -> None:
    servers = {"mcp"}  # whose tools are others': see test_tools_mcp
    assert sorted(SIMPLE) == sorted(set(plugins.names("tools")) - servers)


@pytest.mark.parametrize("name", sorted(SIMPLE))
async def test_a_tool_describes_itself_and_answers_json(name: str) -> None:
    tools = {tool.spec.name: tool for tool in as_tools(plugins.build("tools", name, {}, Env()))}
    for tool in tools.values():
        assert isinstance(tool, Tool)
        assert tool.spec.description
        assert tool.spec.parameters["type"] == "object"
    for called, arguments in SIMPLE[name]:
        result = await tools[called].run(arguments, context())
        assert result["ok"] is True
        assert json.loads(json.dumps(result)) == result


def clock() -> Any:
    return plugins.build("tools", "clock", {}, Env())


async def test_the_clock_tells_the_session_s_time() -> None:
    assert await clock().run({}, context()) == {
        "ok": True,
        "date": "2026-11-21",
        "time": "23:30",
        "weekday": "Saturday",
        "timezone": "UTC",
    }


async def test_the_clock_tells_another_zone_s_time_and_day() -> None:
    assert await clock().run({"timezone": "Asia/Tokyo"}, context()) == {
        "ok": True,
        "date": "2026-11-22",
        "time": "08:30",
        "weekday": "Sunday",
        "timezone": "Asia/Tokyo",
    }


async def test_a_zone_without_a_name_is_said_as_an_offset() -> None:
    zone = timezone(timedelta(hours=-3))
    assert (await clock().run({}, context(NOW.astimezone(zone))))["timezone"] == "UTC-03:00"


@pytest.mark.parametrize(
    "zone", ["Mars/Base", "../../etc/passwd", "America", "a\0b", 5, ["x"], {"a": 1}, "x" * 9999]
)
async def test_an_unknown_zone_is_refused_with_a_sentence(zone: Any) -> None:
    result = await clock().run({"timezone": zone}, context())
    assert result["ok"] is False
    assert result["message"].endswith(".")
    assert len(result["message"]) < 120
