"""The data directory: `<data-dir>/member/{wal,db}`, owned by one process at a time."""

from __future__ import annotations

from pathlib import Path

from coord.server.storage.errors import DataDirLocked
from coord.server.storage.files import FileLock, Files

LOCK_NAME = "data.lock"


class DataDirLock:
    """Ownership of a data directory, for as long as the process lives or until released.

    The kernel lets go of it when the process dies, however it dies.
    """

    def __init__(self, files: Files, root: Path) -> None:
        """Take the directory.

        Raises:
            DataDirLocked: another process has it.
        """
        path = root / LOCK_NAME
        lock = files.lock(path)
        if lock is None:
            raise DataDirLocked(f"{root} is in use by another server{_owner(path)}; each needs a directory of its own")
        self._lock: FileLock = lock

    def release(self) -> None:
        """Let another process have it."""
        self._lock.release()


class DataDir:
    """An opened and locked data directory.

    Attributes:
        wal: directory of the log.
        db: directory of the backend.
    """

    def __init__(self, files: Files, root: Path) -> None:
        """Make what is missing, durably, and lock it.

        Raises:
            DataDirLocked: another process has it.
            OSError: it cannot be made or entered.
        """
        self.root = root
        self.member = root / "member"
        self.wal = self.member / "wal"
        self.db = self.member / "db"
        make_durably(files, root)
        self.lock = DataDirLock(files, root)
        for directory in (self.member, self.wal, self.db):
            files.mkdir(directory)
            files.sync_directory(directory.parent)

    def close(self) -> None:
        """Release the lock."""
        self.lock.release()


def make_durably(files: Files, directory: Path) -> None:
    """Make `directory` and what is missing above it, so that a power loss takes none of them away again.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        files.sync_directory(one.parent)


def _owner(path: Path) -> str:
    try:
        number = path.read_text().strip()
    except OSError:
        return ""
    return f" (process {number})" if number.isdigit() else ""
