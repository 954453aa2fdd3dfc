"""Times as they are written: ISO 8601, UTC, milliseconds, `Z`. Fixed width, so text order is time order."""

from datetime import UTC, datetime


def iso(when: datetime) -> str:
    """2026-12-26T10:09:00.123Z, from an aware time."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def parse(text: object) -> datetime | None:
    """The aware time written in `text`; None if it is not one. A time without a zone is UTC."""
    if not isinstance(text, str):
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
