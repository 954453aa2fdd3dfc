"""What a server that died in mid-talk left, and what is to become of it. Runs on the writer's thread."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from storage import journal
from storage.ids import valid_session_id
from storage.ledger import Ledger
from storage.locks import RecoveryLock, is_alive
from storage.places import Places
from storage.times import parse

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A session that its user may still come back to. Open it again to go on with it, or finish it."""

    session_id: str
    header: Mapping[str, Any]
    """What its "open" entry said."""
    conversation: Mapping[str, Any]
    """All that was said, as in the JSON."""
    expires_at: datetime
    last_at_ms: int
    """Session time of its last journal entry."""
    last_position: int
    """The first time line position after all sound that there is."""
    next_message: int
    next_turn: int
    next_file: int
    begun: tuple[Mapping[str, Any], ...] = ()
    """Tool calls without a result: their entries in the journal."""


def recover(
    places: Places, own: str, open_ledger: Callable[[str], Ledger], window_s: float, now: datetime
) -> tuple[list[Unfinished], list[Ledger]]:
    """(sessions still resumable, sessions to be closed now). `own` is the name of this process's lock.

    Never raises for what is in the folder.
    """
    resumable: list[Unfinished] = []
    over: list[Ledger] = []
    places.make()
    lock = RecoveryLock(places.conversations_dir)
    try:
        for session_id in _left_over(places, own):
            ledger = open_ledger(session_id)
            if not _load(ledger, places):
                continue
            if ledger.fold.ended:
                over.append(ledger)
                continue
            found = as_it_stands(ledger, places, window_s, now)
            if found.expires_at > now:
                ledger.place_the_rest()
                settled = as_it_stands(ledger, places, window_s, now)
                resumable.append(replace(settled, expires_at=found.expires_at))
            else:
                over.append(ledger)
    finally:
        lock.release()
    return resumable, over


def _left_over(places: Places, own: str) -> Iterator[str]:
    """Sessions with a marker of a dead process, and journals that never came to a JSON.

    Only names are looked at, so that a folder with a hundred thousand finished journals is gone through in a
    moment.
    """
    names = {path.name for path in places.conversations_dir.iterdir()}
    for name in sorted(names):
        session_id, dot, suffix = name.partition(".")
        if not valid_session_id(session_id) or suffix not in ("journal", "open"):
            continue
        marker = f"{session_id}{dot}open"
        if suffix == "journal" and (marker in names or f"{session_id}{dot}json" in names):
            continue
        try:
            owner = places.marker(session_id).read_text("ascii", "replace") if marker in names else ""
        except OSError:
            owner = ""
        if owner != own and not is_alive(places.conversations_dir, owner):
            yield session_id


def _load(ledger: Ledger, places: Places) -> bool:
    """Read a journal; put one that cannot be used aside. Whether there is a session to go on with."""
    path = places.journal(ledger.session_id)
    try:
        if not path.exists():
            # Nothing to recover from (the journal was switched off): only the litter is taken away.
            ledger.abandon()
            return False
        ledger.take_over()
        if ledger.fold.header.get("session_id") == ledger.session_id:
            return True
        log.error("%s: the journal has no beginning that can be read", path.name)
    except journal.NewerJournal as error:
        log.error("left alone: %s", error)
        return False
    except OSError as error:
        log.error("%s cannot be read: %s", path.name, error)
    _put_aside(path, places.marker(ledger.session_id))
    return False


def _put_aside(path: Path, marker: Path) -> None:
    try:
        path.rename(path.with_suffix(".journal.broken"))
        marker.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s cannot be put aside: %s", path.name, error)


def _last_activity(ledger: Ledger, places: Places, now: datetime) -> datetime:
    """By the journal's own times, or by when its files were last written to if that is later: a user who is
    silent leaves no entries, but sound."""
    found = [when for when in [parse(ledger.fold.last_time)] if when]
    for path in (places.journal(ledger.session_id), places.spool(ledger.session_id)):
        try:
            found.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        except OSError:
            continue
    # A file from the future was written under another clock: it says nothing.
    return max((when for when in found if when <= now), default=datetime.min.replace(tzinfo=UTC))


def as_it_stands(ledger: Ledger, places: Places, window_s: float, now: datetime) -> Unfinished:
    """What a loaded ledger amounts to, for who goes on with it."""
    fold = ledger.fold
    return Unfinished(
        ledger.session_id,
        dict(fold.header),
        fold.conversation(),
        _last_activity(ledger, places, now) + timedelta(seconds=window_s),
        fold.last_at_ms,
        max(ledger.spool.user_end, ledger.end_of_replies, fold.end_of_sound),
        max(fold.messages, default=0) + 1,
        max(fold.turns, default=0) + 1,
        fold.next_file,
        tuple(fold.begun.values()),
    )
