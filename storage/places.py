"""Where a session's files are. The only file that joins an id into a path, and it checks each one first."""

from pathlib import Path

from storage.ids import checked_session_id, checked_sound_file


class Places:
    """Paths in the two folders. Every method raises `BadName` for a name that is not one of ours."""

    def __init__(self, conversations_dir: Path, audio_dir: Path) -> None:
        self.conversations_dir, self.audio_dir = conversations_dir, audio_dir

    def make(self) -> None:
        """Create the two folders. Raises OSError."""
        self.conversations_dir.mkdir(parents=True, exist_ok=True)
        self.audio_dir.mkdir(parents=True, exist_ok=True)

    def journal(self, session_id: str) -> Path:
        return self.conversations_dir / f"{checked_session_id(session_id)}.journal"

    def json(self, session_id: str) -> Path:
        return self.conversations_dir / f"{checked_session_id(session_id)}.json"

    def marker(self, session_id: str) -> Path:
        """Exists as long as something of the session remains to be written; names the writing process."""
        return self.conversations_dir / f"{checked_session_id(session_id)}.open"

    def folder(self, session_id: str) -> Path:
        return self.audio_dir / checked_session_id(session_id)

    def spool(self, session_id: str) -> Path:
        return self.folder(session_id) / "spool.pcm"

    def sound(self, session_id: str, filename: str) -> Path:
        return self.folder(session_id) / checked_sound_file(filename)
