"""The files of a log: their names, and space taken before it is needed.

`<sequence>-<first index>.wal`, both 16 hex digits, as etcd names them. The next segment is made ahead as `next.tmp` and
a small one as `reserve.tmp`; both become segments by renaming. Owns names and preallocation; knows nothing of records.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from coord.server.storage.files import Files, OpenFile

SUFFIX = ".wal"
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.wal")
_TEMPORARY = ".tmp"
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log."""

    sequence: int
    first_index: int  # the entry expected next when the segment was begun; entries before it live in older segments
    path: Path


@dataclass(slots=True)
class Prepared:
    """A preallocated file that is no segment yet."""

    path: Path
    file: OpenFile
    size: int


def segment_path(directory: Path, sequence: int, first_index: int) -> Path:
    """Where that segment lives."""
    return directory / f"{sequence:016x}-{first_index:016x}{SUFFIX}"


def list_segments(files: Files, directory: Path) -> list[Segment]:
    """All segments, oldest first."""
    found = []
    for name in files.names(directory):
        match = _NAME.fullmatch(name)
        if match:
            found.append(Segment(int(match[1], 16), int(match[2], 16), directory / name))
    return sorted(found, key=lambda segment: segment.sequence)


class Space:
    """Room for the log to grow into, taken ahead.

    `low` says that the next segment could not be taken. What is left of the current segment and the reserve then still
    carry what must be written (an alarm), so writes can be refused before one fails.
    """

    def __init__(self, files: Files, directory: Path, segment_size: int, reserve_size: int) -> None:
        self._files = files
        self._directory = directory
        self._segment_size = segment_size
        self._reserve_size = reserve_size
        self._next: Prepared | None = None
        self._reserve: Prepared | None = None
        self.low = False

    @property
    def complete(self) -> bool:
        return self._next is not None and self._reserve is not None

    def clear(self) -> None:
        """Remove what an earlier process prepared: it may hold half a segment's first bytes."""
        leftovers = [name for name in self._files.names(self._directory) if name.endswith(_TEMPORARY)]
        for name in leftovers:
            self._files.unlink(self._directory / name)
        if leftovers:
            self._files.sync_directory(self._directory)

    def refill(self) -> None:
        """Take what is missing; sets `low` by the outcome.

        Raises:
            OSError: anything but a lack of space.
        """
        if self._reserve is None:
            self._reserve = self._try_prepare("reserve", self._reserve_size)
        if self._next is None:
            self._next = self._try_prepare("next", self._segment_size)
        self.low = not self.complete

    def take(self, need: int) -> Prepared:
        """A prepared file with room for `need` bytes.

        Raises:
            OSError: there is none, and none can be made.
        """
        for_next, self._next = self._next, None
        if for_next is None:
            for_next = self._try_prepare("next", max(need, self._segment_size))
        if for_next is None:
            self.low = True
            for_next, self._reserve = self._reserve, None
        if for_next is None:
            raise OSError(errno.ENOSPC, "no space for the next log segment, and the reserve is used up")
        if for_next.size < need:
            for_next.file.preallocate(need)
            for_next.size = need
        return for_next

    def close(self) -> None:
        for prepared in (self._next, self._reserve):
            if prepared is not None:
                prepared.file.close()
        self._next = self._reserve = None

    def _try_prepare(self, name: str, size: int) -> Prepared | None:
        path = self._directory / (name + _TEMPORARY)
        file = self._files.create(path)
        try:
            file.preallocate(size)
        except OSError as error:
            file.close()
            self._files.unlink(path)
            if error.errno in NO_SPACE:
                return None
            raise
        return Prepared(path, file, size)
