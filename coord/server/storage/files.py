"""The one seam through which storage reaches the disk.

Everything that must survive a crash goes through `Files`, so that a test can lose what was not synced
(`coord.server.storage.lossy`) and make single calls fail (`coord.server.storage.faults`). `RealFiles` adds nothing to
the system calls. LMDB does its own file access; `Files.database` is its counterpart of the seam.

Thread rule: one `OpenFile` belongs to one thread at a time; `Files` itself may be used from any thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

IOV_MAX = min(os.sysconf("SC_IOV_MAX"), 1024)
SECTOR = 512
"""The smallest unit a disk writes whole; a crash leaves each sector old or new."""


class OpenFile(Protocol):
    """A file being appended to."""

    @property
    def position(self) -> int:
        """Where the next write goes."""
        ...

    def write(self, buffers: Sequence[bytes]) -> None: ...

    def sync(self) -> None:
        """Make everything written so far durable (fdatasync)."""
        ...

    def preallocate(self, size: int) -> None:
        """Reserve blocks for `size` bytes, read as zeros until written.

        Raises:
            OSError: ENOSPC or EDQUOT when there is no room.
        """
        ...

    def close(self) -> None: ...


class FileLock(Protocol):
    """An flock that is held until released or the process ends."""

    def release(self) -> None: ...


class DatabasePlace(Protocol):
    """Where LMDB keeps one environment.

    Attributes:
        directory: what to give to `lmdb.open`.
        sync: whether a commit must reach the disk by itself.
    """

    directory: Path
    sync: bool

    def committed(self, copy: Callable[[str], None]) -> None:
        """A synced commit was made; `copy(directory)` writes the environment as it is now."""
        ...

    def close(self) -> None: ...


class Files(Protocol):
    """All file access of storage."""

    def create(self, path: Path) -> OpenFile:
        """A new file; it must not exist."""
        ...

    def open(self, path: Path, position: int) -> OpenFile:
        """An existing file, writing from `position`."""
        ...

    def read(self, path: Path) -> bytes: ...

    def names(self, directory: Path) -> list[str]:
        """Names in `directory`, sorted; empty if it does not exist."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Within one directory; replaces `new`."""
        ...

    def unlink(self, path: Path) -> None: ...

    def mkdir(self, path: Path) -> None:
        """A directory only its owner can enter; nothing happens if it exists."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make creations, renames and unlinks in `path` durable."""
        ...

    def lock(self, path: Path) -> FileLock | None:
        """Hold `path` (made if need be) exclusively; None if somebody else does."""
        ...

    def free_space(self, path: Path) -> int:
        """Bytes an ordinary process may still allocate where `path` lives."""
        ...

    def database(self, directory: Path) -> DatabasePlace: ...


class RealFile:
    """An `OpenFile` on a descriptor."""

    def __init__(self, descriptor: int, position: int) -> None:
        self._descriptor = descriptor
        self._position = position

    @property
    def position(self) -> int:
        return self._position

    def write(self, buffers: Sequence[bytes]) -> None:
        self._position = write_at(self._descriptor, buffers, self._position)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def preallocate(self, size: int) -> None:
        os.posix_fallocate(self._descriptor, 0, size)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RealLock:
    """A `FileLock` on a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            # Closing is not enough: a child forked meanwhile has a copy, and the lock would live as long as the child.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1


class RealPlace:
    """LMDB in its own directory, syncing by itself."""

    sync = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def committed(self, copy: Callable[[str], None]) -> None:
        del copy  # LMDB has synced

    def close(self) -> None:
        """Nothing to give back."""


class RealFiles:
    """`Files` over the system calls."""

    def create(self, path: Path) -> OpenFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return RealFile(os.open(path, flags, 0o600), 0)

    def open(self, path: Path, position: int) -> OpenFile:
        return RealFile(os.open(path, os.O_RDWR | os.O_CLOEXEC), position)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def names(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory)) if directory.is_dir() else []

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> FileLock | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return RealLock(descriptor)

    def free_space(self, path: Path) -> int:
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize

    def database(self, directory: Path) -> DatabasePlace:
        return RealPlace(directory)


def write_at(descriptor: int, buffers: Sequence[bytes], position: int) -> int:
    """Write all of `buffers` at `position`, in as few calls as the system allows; returns the position behind them."""
    for group in _groups(buffers):
        position += _write_group(descriptor, group, position)
    return position


def _groups(buffers: Sequence[bytes]) -> Iterator[list[bytes]]:
    rest = iter(buffers)
    while group := list(islice(rest, IOV_MAX)):
        yield group


def _write_group(descriptor: int, group: list[bytes], position: int) -> int:
    total = sum(map(len, group))
    done = os.pwritev(descriptor, group, position)
    if done < total:
        # The kernel may stop early (a signal, a nearly full disk); what is left then fits one plain buffer.
        rest = memoryview(b"".join(group))
        while done < total:
            done += os.pwrite(descriptor, rest[done:], position + done)
    return total


def files_from_environment(environment: Mapping[str, str] | None = None) -> Files:
    """The files a server uses: `RealFiles`, or what the test variables ask for.

    COORD_FILES        real (default) or lossy: unsynced bytes are lost when the process is killed
    COORD_FILES_TORN   lossy only: a seed; parts of unsynced writes get through, torn within sectors too
    COORD_FILES_SKIP   lossy only, comma-separated: wal-fdatasync, dir-fsync, backend-sync; leaves the sync out
    COORD_FILES_FAULT  `<call>:<n>[+]:<errno name>`: the n-th such call fails (with + all later ones too);
                       calls: fdatasync, preallocate, write, database

    Raises:
        FilesMisconfigured: a variable has no meaning, or a lossy one is set for real files.
    """
    from coord.server.storage.testmode import configured_files  # a real server never loads the test mode's code

    environment = os.environ if environment is None else environment
    if not any(name.startswith("COORD_FILES") for name in environment):
        return RealFiles()
    return configured_files(environment)
