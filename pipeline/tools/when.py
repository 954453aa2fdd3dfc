"""What day a tool's argument means, in more languages than `pipeline.when` reads.

Models give dates as YYYY-MM-DD when they are told to, and sometimes what the caller said. English and Spanish
are read in place; `dateparser` knows the rest, but takes half a second to load and up to 60 ms for an answer,
so it works in a thread.
"""

import asyncio
import importlib
from datetime import date, datetime
from typing import Any

from pipeline.when import read_date

_LONGEST = 60  # characters of a date; in a sentence dateparser finds too much


async def find_date(text: str, now: datetime, language: str = "en") -> date | None:
    """The day that is meant, seen from `now` (local time); None if none can be made out."""
    for known in (language, "en", "es"):
        if found := read_date(text, now, known):
            return found
    if not text.strip() or len(text) > _LONGEST:
        return None
    return await asyncio.to_thread(_parsed, text, now, language.lower().partition("-")[0])


def _parsed(text: str, now: datetime, language: str) -> date | None:
    # By name and not before it is needed: it is slow to import and has no types.
    parser: Any = importlib.import_module("dateparser.date").DateDataParser
    settings = {
        "RELATIVE_BASE": now.replace(tzinfo=None),
        "PREFER_DATES_FROM": "future",
        "REQUIRE_PARTS": ["day", "month"],  # "two", "May" and "2027" are no days
    }
    try:
        found = parser(languages=[language], settings=settings).get_date_data(text).date_obj
    except ValueError:  # a language that it does not know
        return None
    return found.date() if isinstance(found, datetime) else None
