"""Names that reach a path: session ids and sound file names. What does not match here never meets a disk.

A session id is `YYYYMMDD_HHMMSS_` and 20 random characters; new ones use base32 letters (100 bits), and any
lower-case letter or digit is accepted so that ids from elsewhere keep working.
"""

import base64
import re
import secrets
from datetime import UTC, datetime
from typing import Literal

_SESSION_ID = re.compile(r"[0-9]{8}_[0-9]{6}_[a-z0-9]{20}")
_SOUND_FILE = re.compile(r"(?:[0-9]{4}_(?:user|agent)|conversation)\.mp3")

CONVERSATION_MP3 = "conversation.mp3"
Role = Literal["user", "agent", "conversation"]


class BadName(ValueError):
    """A session id or file name that is not one of ours: whoever sent it gets a 404."""


def new_session_id(now: datetime, random_bytes: bytes | None = None) -> str:
    """Name a session that starts at `now` (aware). `random_bytes`: 13 bytes, where chance is not wanted."""
    raw = secrets.token_bytes(13) if random_bytes is None else random_bytes
    if len(raw) != 13:
        raise ValueError("13 random bytes are needed")
    tail = base64.b32encode(raw).decode("ascii").lower()[:20]  # 20 characters of 5 bits: 100 of the 104
    return f"{now.astimezone(UTC):%Y%m%d_%H%M%S}_{tail}"


def valid_session_id(text: object) -> bool:
    """Whether this may be joined into a path."""
    return isinstance(text, str) and _SESSION_ID.fullmatch(text) is not None


def checked_session_id(text: str) -> str:
    """The id itself. Raises `BadName`."""
    if not valid_session_id(text):
        raise BadName("That is not a session id.")
    return text


def valid_sound_file(text: object) -> bool:
    """Whether this is the name of a sound file that a session may have."""
    return isinstance(text, str) and _SOUND_FILE.fullmatch(text) is not None


def checked_sound_file(text: str) -> str:
    """The name itself. Raises `BadName`."""
    if not valid_sound_file(text):
        raise BadName("That is not the name of a sound file.")
    return text


def role_of(filename: str) -> Role:
    """Who is heard in a sound file, by its (valid) name."""
    if filename == CONVERSATION_MP3:
        return "conversation"
    return "user" if filename.endswith("_user.mp3") else "agent"


def number_of(filename: str) -> int:
    """The running number in a (valid) sound file name; 0 for the whole conversation."""
    return 0 if filename == CONVERSATION_MP3 else int(filename[:4])


def started_at(session_id: str) -> datetime | None:
    """When a session began, as its (valid) id says; None if the digits are no date."""
    try:
        return datetime.strptime(session_id[:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
