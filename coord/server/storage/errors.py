"""What storage raises.

::

    StorageError
    ├── WalFailed          a write or sync of the log failed; this process must end
    ├── WalDamaged         the log on disk holds something a crash cannot explain
    ├── FormatRefused      written by a newer version, or by one this version cannot read
    ├── BackendFailed      a flush failed for a reason that a second try cannot cure; this process must end
    ├── BackendFull        a flush found no space; nothing is lost, it may be tried again
    ├── DataDirLocked      another process owns the data directory
    └── FilesMisconfigured the COORD_FILES* variables contradict each other

Storage stands below the public error tree: the server turns these into an exit message or an alarm.
"""

from __future__ import annotations

from pathlib import Path


class StorageError(Exception):
    """Base of what storage raises."""


class WalFailed(StorageError):
    """A write or sync of the log failed.

    It is never tried again: after a failed fdatasync the kernel may drop the dirty pages and report the next one as a
    success, and with it data that is nowhere.
    """


class WalDamaged(StorageError):
    """The log holds something that no crash of this program explains.

    Attributes:
        path: the file.
        offset: the byte at which reading had to stop.
    """

    def __init__(self, path: Path, offset: int, why: str) -> None:
        self.path = path
        self.offset = offset
        super().__init__(
            f"{path}: {why} at byte {offset}. Acknowledged writes may be missing, so the log is not repaired. "
            f"Keep a copy of the data directory, then restore from a snapshot or replace this member."
        )


class FormatRefused(StorageError):
    """The files have a format this version does not read."""


class BackendFailed(StorageError):
    """A flush failed for a reason that a second try cannot cure."""


class BackendFull(StorageError):
    """A flush found no space; what it carried is still in memory and in the log, and it may be tried again."""


class DataDirLocked(StorageError):
    """Another process owns the data directory."""


class FilesMisconfigured(StorageError, ValueError):
    """The COORD_FILES* variables are wrong or contradict each other."""
