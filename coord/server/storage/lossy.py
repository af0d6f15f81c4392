"""Test mode: what was not synced is lost when the process is killed, as it would be at a power loss.

A kill alone loses nothing, because the kernel keeps what was written. So here written bytes stay in this process until
`sync`, and names made, moved or removed stay here until `sync_directory`: a new file lives under a hidden name
(`PREFIX`) that the next process ignores and removes. LMDB writes where nobody looks, and each synced commit is copied
to the real place in one rename.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coord.server.invariant import InvariantBroken, invariant
from coord.server.storage.files import SECTOR, DatabasePlace, FileLock, OpenFile, RealFiles

PREFIX = ".lossy-"
WAL_FDATASYNC, DIR_FSYNC, BACKEND_SYNC = "wal-fdatasync", "dir-fsync", "backend-sync"
_numbers = itertools.count()
SKIPS = frozenset({WAL_FDATASYNC, DIR_FSYNC, BACKEND_SYNC})


class _Node:
    """One file, whatever it is called; its durable bytes are behind `descriptor`."""

    def __init__(self, hidden: str | None, descriptor: int) -> None:
        self.hidden = hidden  # its name on the disk until its directory is synced
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)  # a replaced or unlinked file lives as long as somebody holds it
        self.pending: list[tuple[int, bytes]] = []  # unsynced writes, oldest first
        self.size: int | None = None  # unsynced preallocation

    def content(self) -> bytes:
        """What a reader of this process sees."""
        data = bytearray(os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0))
        end = max([len(data), self.size or 0, *(at + len(piece) for at, piece in self.pending)])
        data.extend(bytes(end - len(data)))
        for at, piece in self.pending:
            data[at : at + len(piece)] = piece
        return bytes(data)

    def sync(self) -> None:
        if self.size is not None and self.size > os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, self.size)
        for at, piece in self.pending:
            os.pwrite(self.descriptor, piece, at)
        self.pending.clear()
        self.size = None


class LossyFile:
    """An `OpenFile` whose bytes are safe only after `sync`."""

    def __init__(self, files: LossyFiles, node: _Node, position: int) -> None:
        self._files = files
        self._node = node
        self._position = position

    @property
    def position(self) -> int:
        return self._position

    def write(self, buffers: Sequence[bytes]) -> None:
        data = b"".join(buffers)
        with self._files.alive():
            self._files.leak(self._node, self._position, data)
            self._node.pending.append((self._position, data))
            self._position += len(data)

    def sync(self) -> None:
        with self._files.alive() as skips:
            if WAL_FDATASYNC not in skips:
                self._node.sync()

    def preallocate(self, size: int) -> None:
        with self._files.alive():
            self._node.size = max(size, self._node.size or 0)

    def close(self) -> None:
        """Nothing: the kernel too keeps unsynced bytes of a closed file, and they are still lost at a power loss."""


class LossyFiles:
    """`Files` that forget what was not synced.

    `crash` does to tests in one process what a kill does to a server.
    """

    def __init__(self, torn_seed: int | None = None, skip: Collection[str] = ()) -> None:
        """With a seed, parts of unsynced writes reach the disk early; `skip` names syncs that are left out."""
        self._real = RealFiles()
        self._guard = threading.RLock()
        self._random = None if torn_seed is None else random.Random(torn_seed)
        self._skip = frozenset(skip)
        self._views: dict[Path, dict[str, _Node | None]] = {}  # None: a directory
        self._changes: dict[Path, list[Callable[[Path], None]]] = {}
        self._hidden_directories: dict[Path, str] = {}
        self._own: set[str] = set()
        self._dead = False

    def crash(self, keep: int = 0) -> LossyFiles:
        """Lose everything unsynced but the first `keep` bytes of each file; returns what the next process sees."""
        with self._guard:
            self._dead = True
            for view in self._views.values():
                for node in filter(None, view.values()):
                    _keep_first(node, keep)
            self._views.clear()
        return LossyFiles(skip=self._skip)

    def unsynced(self) -> int:
        """Bytes that a crash would lose."""
        nodes = (node for view in self._views.values() for node in view.values() if node is not None)
        return sum(len(piece) for node in nodes for _, piece in node.pending)

    @contextmanager
    def alive(self) -> Iterator[frozenset[str]]:
        """Hold the state; gives the syncs that are left out."""
        with self._guard:
            if self._dead:
                raise InvariantBroken("these files crashed; use what crash() returned")
            yield self._skip

    def leak(self, node: _Node, position: int, data: bytes) -> None:
        """Let a part of a write through before its sync, as a page cache under pressure does."""
        # Of several unsynced writes only the first: a later one without the earlier would be half a sector's truth.
        if self._random is None or node.pending or self._random.random() < 0.25:
            return
        if self._random.random() < 0.5:
            os.pwrite(node.descriptor, data[: self._random.randrange(len(data) + 1)], position)
            return
        for start, piece in sectors(position, data):
            if self._random.random() < 0.5:
                os.pwrite(node.descriptor, piece, start)

    def create(self, path: Path) -> OpenFile:
        with self.alive():
            view = self._view(path.parent)
            if path.name in view:
                raise FileExistsError(f"{path} exists")
            hidden = self._hide("file")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            node = _Node(hidden, os.open(self._place(path.parent) / hidden, flags, 0o600))
            view[path.name] = node
            self._change(path.parent, lambda real: _appear(real, node, path.name))
            return LossyFile(self, node, 0)

    def open(self, path: Path, position: int) -> OpenFile:
        with self.alive():
            return LossyFile(self, self._node(path), position)

    def read(self, path: Path) -> bytes:
        with self.alive():
            return self._node(path).content()

    def names(self, directory: Path) -> list[str]:
        with self.alive():
            return sorted(self._view(directory)) if self._place(directory).is_dir() else []

    def rename(self, old: Path, new: Path) -> None:
        with self.alive():
            invariant(old.parent == new.parent, "a rename stays in its directory", old=str(old), new=str(new))
            view = self._view(old.parent)
            view[new.name] = self._node(old)
            del view[old.name]
            self._change(old.parent, lambda real: os.rename(real / old.name, real / new.name))

    def unlink(self, path: Path) -> None:
        with self.alive():
            self._node(path)
            del self._view(path.parent)[path.name]
            self._change(path.parent, lambda real: os.unlink(real / path.name))

    def mkdir(self, path: Path) -> None:
        with self.alive():
            view = self._view(path.parent)
            if path.name in view:
                return
            hidden = self._hide("dir")
            os.mkdir(self._place(path.parent) / hidden, 0o700)
            view[path.name] = None
            self._hidden_directories[path] = hidden
            self._change(path.parent, lambda real: self._appear_directory(real, path))

    def sync_directory(self, path: Path) -> None:
        with self.alive():
            if DIR_FSYNC in self._skip:
                return
            place = self._place(path)
            for change in self._changes.pop(path, ()):
                change(place)

    def lock(self, path: Path) -> FileLock | None:
        return self._real.lock(path)

    def free_space(self, path: Path) -> int:
        return self._real.free_space(self._place(path))

    def database(self, directory: Path) -> DatabasePlace:
        with self.alive():
            self._view(directory)  # removes what a killed process left there
            home = self._place(directory)
            return LossyPlace(self, directory, home, home / self._hide("db"))

    def database_place(self, directory: Path) -> Path | None:
        """Where synced commits go now; None if they are to be lost."""
        with self.alive():
            return None if BACKEND_SYNC in self._skip else self._place(directory)

    def _hide(self, kind: str) -> str:
        name = f"{PREFIX}{kind}-{os.getpid()}-{next(_numbers)}"
        self._own.add(name)
        return name

    def _place(self, directory: Path) -> Path:
        """Where `directory` is on the disk at the moment."""
        hidden = self._hidden_directories.get(directory)
        if not self._hidden_directories or directory.parent == directory:
            return directory
        return self._place(directory.parent) / (hidden or directory.name)

    def _view(self, directory: Path) -> dict[str, _Node | None]:
        view = self._views.get(directory)
        if view is None:
            view = self._views[directory] = {}
            place = self._place(directory)
            for entry in os.scandir(place) if place.is_dir() else ():
                if entry.name.startswith(PREFIX):
                    self._forget_leftover(Path(entry.path))
                elif entry.is_dir():
                    view[entry.name] = None
                else:
                    view[entry.name] = _Node(None, os.open(entry.path, os.O_RDWR | os.O_CLOEXEC))
        return view

    def _forget_leftover(self, path: Path) -> None:
        if path.name in self._own:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _node(self, path: Path) -> _Node:
        node = self._view(path.parent).get(path.name)
        if node is None:
            raise FileNotFoundError(f"{path} is no file")
        return node

    def _change(self, directory: Path, change: Callable[[Path], None]) -> None:
        self._changes.setdefault(directory, []).append(change)

    def _appear_directory(self, real: Path, path: Path) -> None:
        os.rename(real / self._hidden_directories.pop(path), real / path.name)


class LossyPlace:
    """LMDB in a hidden directory; the real one is the copy made at the last synced commit."""

    sync = False

    def __init__(self, files: LossyFiles, directory: Path, home: Path, live: Path) -> None:
        """LMDB is to run in `live`; `home` is where `directory` is on the disk at the moment."""
        self.directory = live
        self._files = files
        self._directory = directory
        live.mkdir(mode=0o700)
        if (home / "data.mdb").exists():
            shutil.copyfile(home / "data.mdb", live / "data.mdb")

    def committed(self, copy: Callable[[str], None]) -> None:
        home = self._files.database_place(self._directory)
        if home is None:
            return
        beside = home / f"{PREFIX}copy-{next(_numbers)}"
        beside.mkdir()
        copy(str(beside))
        os.rename(beside / "data.mdb", home / "data.mdb")
        beside.rmdir()

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def sectors(position: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """`data` cut where the disk's sectors begin, with the position of each piece."""
    at = 0
    while at < len(data):
        size = SECTOR - (position + at) % SECTOR
        yield position + at, data[at : at + size]
        at += size


def _appear(real: Path, node: _Node, name: str) -> None:
    if node.hidden is not None:
        os.rename(real / node.hidden, real / name)
        node.hidden = None


def _keep_first(node: _Node, keep: int) -> None:
    for at, piece in node.pending:
        os.pwrite(node.descriptor, piece[:keep], at)
        keep = max(0, keep - len(piece))
