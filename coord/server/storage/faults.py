"""Test mode: one kind of call fails, the n-th time or from then on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from coord.server.storage.errors import FilesMisconfigured
from coord.server.storage.files import DatabasePlace, FileLock, Files, OpenFile

FDATASYNC, PREALLOCATE, WRITE, DATABASE = "fdatasync", "preallocate", "write", "database"
CALLS = frozenset({FDATASYNC, PREALLOCATE, WRITE, DATABASE})


class Fault:
    """Which call fails, and how."""

    def __init__(self, call: str, number: int, error: int, lasting: bool = False) -> None:
        """The `number`-th `call` (from 1) raises `error`; with `lasting` all later ones do too."""
        self._call = call
        self._number = number
        self._error = error
        self._lasting = lasting
        self._seen = 0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """`<call>:<n>[+]:<errno name>`, such as `fdatasync:3:EIO` or `preallocate:4+:ENOSPC`.

        Raises:
            FilesMisconfigured: it is not of that form.
        """
        call, _, rest = text.partition(":")
        number, _, name = rest.partition(":")
        error = getattr(errno, name, None)
        if call not in CALLS or not number.rstrip("+").isdigit() or not isinstance(error, int):
            raise FilesMisconfigured(f"COORD_FILES_FAULT={text!r} is not <call>:<n>[+]:<errno name>")
        return cls(call, int(number.rstrip("+")), error, number.endswith("+"))

    def lift(self) -> None:
        """No call fails any more."""
        self._number, self._lasting = 0, False

    def meet(self, call: str) -> None:
        """Fail if this call is the one.

        Raises:
            OSError: it is.
        """
        if call != self._call:
            return
        self._seen += 1
        if self._seen == self._number or (self._lasting and self._seen > self._number):
            raise OSError(self._error, f"{os.strerror(self._error)} (injected at {call} {self._seen})")


class FaultyFile:
    """An `OpenFile` whose calls meet the fault first."""

    def __init__(self, file: OpenFile, fault: Fault) -> None:
        self._file = file
        self._fault = fault

    @property
    def position(self) -> int:
        return self._file.position

    def write(self, buffers: Sequence[bytes]) -> None:
        self._fault.meet(WRITE)
        self._file.write(buffers)

    def sync(self) -> None:
        self._fault.meet(FDATASYNC)
        self._file.sync()

    def preallocate(self, size: int) -> None:
        self._fault.meet(PREALLOCATE)
        self._file.preallocate(size)

    def close(self) -> None:
        self._file.close()


class FaultyPlace:
    """A `DatabasePlace` whose commits meet the fault before they count as synced."""

    def __init__(self, place: DatabasePlace, fault: Fault) -> None:
        self.directory = place.directory
        self.sync = place.sync
        self._place = place
        self._fault = fault

    def committed(self, copy: Callable[[str], None]) -> None:
        self._fault.meet(DATABASE)
        self._place.committed(copy)

    def close(self) -> None:
        self._place.close()


class FaultyFiles:
    """`Files` with one fault."""

    def __init__(self, files: Files, fault: Fault) -> None:
        self._files = files
        self._fault = fault

    def create(self, path: Path) -> OpenFile:
        return FaultyFile(self._files.create(path), self._fault)

    def open(self, path: Path, position: int) -> OpenFile:
        return FaultyFile(self._files.open(path, position), self._fault)

    def read(self, path: Path) -> bytes:
        return self._files.read(path)

    def names(self, directory: Path) -> list[str]:
        return self._files.names(directory)

    def rename(self, old: Path, new: Path) -> None:
        self._files.rename(old, new)

    def unlink(self, path: Path) -> None:
        self._files.unlink(path)

    def mkdir(self, path: Path) -> None:
        self._files.mkdir(path)

    def sync_directory(self, path: Path) -> None:
        self._files.sync_directory(path)

    def lock(self, path: Path) -> FileLock | None:
        return self._files.lock(path)

    def free_space(self, path: Path) -> int:
        return self._files.free_space(path)

    def database(self, directory: Path) -> DatabasePlace:
        return FaultyPlace(self._files.database(directory), self._fault)
