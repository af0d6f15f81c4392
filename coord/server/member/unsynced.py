"""Files that are never synced, for ``--unsafe-no-fsync``: tests on slow disks; a crash of the machine loses data."""

from __future__ import annotations

import os
from pathlib import Path

from coord.server.storage.files import DatabasePlace, OpenFile, RealFile, RealFiles, RealPlace


class UnsyncedFile(RealFile):
    """A file whose bytes reach the disk when the kernel likes."""

    def sync(self) -> None:
        """Nothing."""


class UnsyncedPlace(RealPlace):
    """LMDB without its syncs."""

    sync = False


class UnsyncedFiles(RealFiles):
    """`Files` that forget what the kernel forgets."""

    def create(self, path: Path) -> OpenFile:
        return UnsyncedFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), 0)

    def open(self, path: Path, position: int) -> OpenFile:
        return UnsyncedFile(os.open(path, os.O_RDWR | os.O_CLOEXEC), position)

    def sync_directory(self, path: Path) -> None:
        """Nothing."""

    def database(self, directory: Path) -> DatabasePlace:
        return UnsyncedPlace(directory)
