"""How long things are kept: deletes talks that are older than they may be, and plans that came to nothing."""

import asyncio
from datetime import UTC, datetime, timedelta

from server.config import Config
from storage.archive import Archive
from storage.talks import Talks
from storage.times import iso

EVERY_S = 600.0
TOKEN = timedelta(hours=1)
"""How long a room's token opens its session, and how long an unopened session of a room gets new tokens."""


async def keep_purging(config: Config, archive: Archive, talks: Talks) -> None:
    """`purge`, for ever."""
    while True:
        await purge(config, archive, talks, datetime.now(UTC))
        await asyncio.sleep(EVERY_S)


async def purge(config: Config, archive: Archive, talks: Talks, now: datetime) -> None:
    """Delete what is older than it may be.

    A session that nobody has opened goes when its last token is dead and the time for talks of its kind is
    over, also where talks are kept for ever. But one that a user has made over REST, in no room, is a plan of
    the user's: it stays as long as talks do.
    """
    users, guests = (
        timedelta(config.storage.retention_days),
        timedelta(hours=config.accounts.guest_retention_h),
    )
    await talks.settle()
    for kept, guests_only in ((users, False), (guests, True)):
        if kept:
            await archive.purge(now - kept, guests_only=guests_only)
            await talks.purge(iso(now - kept), guests_only=guests_only)
        unopened = iso(now - max(kept, TOKEN) - TOKEN)
        await talks.purge_unopened(unopened, guests=guests_only, rooms_only=not (kept or guests_only))
