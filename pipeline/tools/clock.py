"""The tool `clock`: what day and time it is, here or in another time zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.contracts import Env, Tool, ToolContext, ToolSpec

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Options:
    """`[tools.clock]`: no keys."""


class Clock:
    """Answers with the current date and time."""

    spec = ToolSpec(
        name="clock",
        description="The current date, time and day of the week, here or in a given time zone.",
        parameters={
            "type": "object",
            "properties": {
                "timezone": {
                    "type": "string",
                    "description": "IANA name such as Europe/Madrid; left out: the local time.",
                }
            },
            "additionalProperties": False,
        },
    )

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> Mapping[str, Any]:
        now: datetime = context.now()
        name = arguments.get("timezone") or ""
        if name:
            zone = _zone(name)
            if zone is None:
                return {"ok": False, "message": f"I don't know a time zone called {str(name)[:60]}."}
            now = now.astimezone(zone)
        return {
            "ok": True,
            "date": now.strftime("%Y-%m-%d"),
            "time": now.strftime("%H:%M"),
            "weekday": WEEKDAYS[now.weekday()],  # strftime's would follow the server's locale
            "timezone": name or str(now.tzinfo or "local"),
        }


def _zone(name: Any) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    # Unknown names are KeyErrors; "../x" and non-text are ValueError and TypeError; a folder of the zone
    # database ("America") is an OSError.
    except (KeyError, ValueError, TypeError, OSError):
        return None


def create(options: Options, env: Env) -> Tool:  # noqa: ARG001  (a clock needs neither)
    return Clock()
