"""Which process is writing a session. Workers share the folders; none may take over from one that is alive.

Each archive holds a lock on a file of its own for as long as its process lives; a session's marker names that
file. The kernel drops the lock when the process dies, however it dies.
"""

import os
import secrets
from pathlib import Path
from types import ModuleType

_fcntl: ModuleType | None = None
try:
    import fcntl

    _fcntl = fcntl
except ImportError:  # not a POSIX system: one process per folder, then
    pass

_PREFIX = ".writer-"


class WriterLock:
    """Held from `__init__` to `release`. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{_PREFIX}{secrets.token_hex(8)}.lock"
        self._path = folder / self.name
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _try_lock(self._descriptor)

    def release(self) -> None:
        """Let go, and remove the file."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _try_lock(descriptor: int) -> bool:
    # lockf, not flock: a forked child does not inherit it, and so cannot keep it when its parent is killed.
    if _fcntl is None:
        return True
    try:
        _fcntl.lockf(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process that wrote this marker is another one, and alive. Removes what the dead left."""
    if not name.startswith(_PREFIX) or "/" in name or "\0" in name:
        return False
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not _try_lock(descriptor):
            return True
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


class RecoveryLock:
    """Held while looking for what dead processes left, so that of two starting at once one takes it."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / ".recovery.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if _fcntl is not None:
            _fcntl.lockf(self._descriptor, _fcntl.LOCK_EX)

    def release(self) -> None:
        os.close(self._descriptor)
