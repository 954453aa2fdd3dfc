"""What is forgotten when, by a clock that the test sets: sessions that nobody has ever opened."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server.config import load
from server.retention import purge
from storage.archive import Archive
from storage.database import Database
from storage.talks import Talks
from storage.times import iso

from .conftest import NOW

KINDS = ("guests_room", "guests_plan", "users_room", "users_plan", "opened")
H = timedelta(hours=1)
MOMENT = timedelta(milliseconds=1)


def named(n: int) -> str:
    return f"20261226_10090{n}_k3v9x2m8q7w4f5h6t2r9"


async def plans(talks: Talks) -> None:
    """One session of each kind, made now."""
    for n, kind in enumerate(KINDS):
        is_users, is_room = kind.startswith("users"), kind.endswith("room")
        await talks.create(
            named(n),
            "user:1" if is_users else "guest:1",
            user_id="1" if is_users else None,
            room_name="kitchen" if is_room else None,
            participant="Ann" if is_room else None,
            created_at=iso(NOW),
            started_at=iso(NOW) if kind == "opened" else None,
        )


@pytest.mark.parametrize(
    ("retention_days", "guest_retention_h", "kept"),
    [
        # None: for ever.
        ("0", "24", {"guests_room": 25 * H, "guests_plan": 25 * H, "users_room": 2 * H, "users_plan": None}),
        ("3", "0", {"guests_room": 2 * H, "guests_plan": 2 * H, "users_room": 73 * H, "users_plan": 73 * H}),
        ("0", "0.5", {"guests_room": 2 * H, "guests_plan": 2 * H, "users_room": 2 * H, "users_plan": None}),
    ],
)
async def test_what_nobody_opened_goes_after_its_tokens_hour_and_the_retention(
    database: Database,
    archive: Archive,
    tmp_path: Path,
    retention_days: str,
    guest_retention_h: str,
    kept: dict[str, timedelta | None],
) -> None:
    settings = {
        "PARLEY_STORAGE__RETENTION_DAYS": retention_days,
        "PARLEY_ACCOUNTS__GUEST_RETENTION_H": guest_retention_h,
    }
    config, talks = load(None, settings, tmp_path), Talks(database)
    await plans(talks)

    async def left(now: datetime) -> set[str]:
        await purge(config, archive, talks, now)
        return {KINDS[int(row["id"][14])] for row in (await talks.list(None))[0]}

    goings = sorted({time for time in kept.values() if time is not None})
    for time in goings:
        assert await left(NOW + time) == {kind for kind in KINDS if (kept.get(kind) or 10**3 * H) >= time}
        assert await left(NOW + time + MOMENT) == {
            kind for kind in KINDS if (kept.get(kind) or 10**3 * H) > time
        }
    forever = {kind for kind in KINDS if kept.get(kind) is None}
    assert await left(NOW + timedelta(days=4000)) == forever  # what goes on is not for this to end
