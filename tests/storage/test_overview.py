"""What goes on in the whole installation, over more than the routes' tests show: order and pages."""

from storage.accounts import Accounts
from storage.conversations import Conversations, row_change
from storage.database import Database
from storage.journal import Entry, Fold
from storage.overview import Overview
from storage.talks import Talks


async def fill(database: Database) -> str:
    """Twelve talks on six days, each by one of two users or a guest, and a session nobody came to."""
    user = await Accounts(database).create(email="ann@example.org")
    for n in range(12):
        fold, owner = Fold(), (None, user.id, "gone")[n % 3]
        start = f"2026-12-{1 + n // 2:02d}T1{n % 2}:00:00.000Z"
        fold.add(Entry(0, "open", {"owner": f"user:{owner}", "user_id": owner, "start_time": start}))
        fold.add(Entry(1, "message", {"n": 1, "role": "user", "content": "hello"}))
        await Conversations(database).save(row_change(f"s{n:02d}", fold))
    await Talks(database).create(
        "planned", user.owner, user_id=user.id, created_at="2026-11-01T00:00:00.000Z"
    )
    await Talks(database).create("s01", user.owner, user_id=user.id, room_name="kitchen")
    return user.id


async def test_every_session_is_listed_once_latest_first(database: Database) -> None:
    user_id = await fill(database)
    overview = Overview(database)
    rows, total = await overview.sessions(100)
    assert [row["session_id"] for row in rows] == [*(f"s{n:02d}" for n in range(11, -1, -1)), "planned"]
    assert total == 13
    by_id = {row["session_id"]: row for row in rows}
    assert (by_id["s01"]["room_name"], by_id["s01"]["email"]) == ("kitchen", "ann@example.org")
    assert (by_id["planned"]["has_begun"], by_id["s01"]["has_begun"]) == (False, True)
    rows, total = await overview.sessions(2, 1, user_id=user_id)
    assert ([row["session_id"] for row in rows], total) == (["s07", "s04"], 5)


async def test_days_are_summed_by_user_and_paged(database: Database) -> None:
    user_id = await fill(database)
    overview = Overview(database)
    days, total = await overview.days("2026-12-02", "2026-12-04", 100)
    assert [(day.date, day.user_id, day.email) for day in days] == [
        ("2026-12-03", user_id, "ann@example.org"),
        ("2026-12-03", "gone", None),
        ("2026-12-02", None, None),
        ("2026-12-02", "gone", None),
    ]
    assert {(day.talks, day.utterances) for day in days} == {(1, 1)}
    assert total == 4
    assert await overview.days("2026-12-02", "2026-12-04", 1, 3) == (days[3:], 4)
    assert await overview.days("2027", "2028") == ([], 0)
