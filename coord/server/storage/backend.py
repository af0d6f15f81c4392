"""The durable map under the state machine: LMDB, with an overlay of what the disk does not hold yet.

Four rules keep a crash from showing a state that never was:

(a) an overlay entry goes only after its commit was reported *and* the loop's read transaction was renewed, so no read
    ever falls between the two;
(b) a flush carries everything up to a sealed position, never part of an entry, and the position in the same LMDB
    transaction;
(c) `durable_applied` is the position of a commit that is synced, and the log may be purged only up to it;
(d) the overlay is bounded: `lagging` tells the server to hold writes back.

Thread rule: all of `LmdbBackend` belongs to the loop's thread, but for `FlushJob.run` and an open `SnapshotReader`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import lmdb

from coord.server.invariant import DEEP, invariant
from coord.server.storage.contract import Bucket
from coord.server.storage.errors import BackendFailed, FormatRefused
from coord.server.storage.files import DatabasePlace, Files
from coord.server.storage.flush import DONE, FAILED, FORMAT, FULL, FlushJob, measure
from coord.server.storage.overlay import RECORD_OVERHEAD, BucketOverlay
from coord.server.storage.reader import (
    FORMAT_KEY,
    SnapshotReader,
    read_applied,
    read_chunks,
    read_many,
)

__all__ = ["FlushJob", "LmdbBackend", "SnapshotReader", "default_map_size"]

OVERLAY_LIMIT = 128 << 20
"""Bytes of unflushed effects above which the backend calls itself lagging."""

_MAP_ROOM = 16 << 20  # kept free above what a flush is thought to need: free lists and split pages
_FLUSH_PAGES = 4  # a flush may copy the path from each record to the root before it frees the old pages
_READERS_MAX = 512


def default_map_size(quota: int) -> int:
    """Address space to map for a quota in bytes: only what is written takes disk, so it is generous."""
    return max(16 << 30, 8 * quota)


class LmdbBackend:
    """Implements `coord.server.storage.contract.Backend`."""

    def __init__(
        self, environment: lmdb.Environment, place: DatabasePlace, databases: dict[Bucket, Any], overlay_limit: int
    ) -> None:
        """Not for callers: use `open`."""
        self._environment = environment
        self._place = place
        self._databases = databases
        self._overlays = {bucket: BucketOverlay() for bucket in Bucket}
        self._overlay_limit = overlay_limit
        self._fresh_bytes = 0
        self._sealed_bytes = 0
        self._frozen_bytes = 0
        self._reading = environment.begin()
        self._applied = self._durable_applied = read_applied(self._reading, databases[Bucket.META])
        self._sizes = measure(environment, databases)
        self._job: FlushJob | None = None
        self._readers: set[object] = set()

    @classmethod
    def open(
        cls, files: Files, directory: Path, *, map_size: int = 16 << 30, overlay_limit: int = OVERLAY_LIMIT
    ) -> LmdbBackend:
        """The map in `directory`, made if need be.

        Raises:
            FormatRefused: a newer version wrote it.
            BackendFailed: LMDB cannot open it.
        """
        place = files.database(directory)
        try:
            environment = lmdb.open(
                str(place.directory),
                map_size=map_size,
                max_dbs=len(Bucket),
                max_readers=_READERS_MAX,
                writemap=False,  # a stray write through the map would reach the disk; and it forces a file of map_size
                sync=place.sync,
                metasync=place.sync,
                mode=0o600,
            )
        except lmdb.Error as error:
            raise BackendFailed(f"{directory} cannot be opened: {error}") from error
        try:
            environment.reader_check()
            databases = _open_databases(environment)
            _check_format(environment, databases[Bucket.META], directory)
            files.sync_directory(directory)  # LMDB makes its file and leaves its name to chance
            place.committed(environment.copy)
        except (lmdb.Error, OSError, FormatRefused) as error:
            environment.close()
            place.close()
            if isinstance(error, FormatRefused):
                raise
            raise BackendFailed(f"{directory} cannot be opened: {error}") from error
        return cls(environment, place, databases, overlay_limit)

    def get(self, bucket: Bucket, key: bytes) -> bytes | None:
        """The value of `key`, None without one."""
        decided, value = self._overlays[bucket].find(key)
        return value if decided else self._reading.get(key, None, self._databases[bucket])

    def get_many(self, bucket: Bucket, keys: Sequence[bytes]) -> list[bytes]:
        """Values of `keys`, in their order.

        Raises:
            InvariantBroken: a key is missing.
        """
        overlay, database = self._overlays[bucket], self._databases[bucket]
        if overlay.empty:
            return read_many(self._reading, database, keys)
        found = overlay.find_many(keys)
        missing = [key for key, value in zip(keys, found, strict=True) if value is None]
        stored = iter(read_many(self._reading, database, missing) if missing else ())
        return [next(stored) if value is None else value for value in found]

    def put(self, bucket: Bucket, key: bytes, value: bytes) -> None:
        """Set `key`; durable after the next seal and flush."""
        self._overlays[bucket].put(key, value)
        self._fresh_bytes += len(key) + len(value) + RECORD_OVERHEAD

    def delete(self, bucket: Bucket, key: bytes) -> None:
        """Remove `key`, which need not exist."""
        self._overlays[bucket].delete(key)
        self._fresh_bytes += len(key) + RECORD_OVERHEAD

    def scan(self, bucket: Bucket, start: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < end in key order; a flush may run and finish meanwhile, writes may not."""
        stored = read_chunks(lambda: self._reading, self._databases[bucket], start, end)
        overlay = self._overlays[bucket]
        return chain.from_iterable(stored) if overlay.empty else overlay.over(stored, start, end)

    def seal(self, index: int, term: int) -> None:
        """All effects up to log position (index, term) have been written; a flush may carry them."""
        invariant((index, term) >= self._applied, "positions go forward", index=index, before=self._applied)
        for overlay in self._overlays.values():
            fresh = overlay.fresh
            if fresh.order or fresh.gone:  # asked for every entry and bucket, so not by a call
                overlay.seal()
                if DEEP:
                    overlay.check()
        self._sealed_bytes += self._fresh_bytes
        self._fresh_bytes = 0
        self._applied = (index, term)

    @property
    def applied(self) -> tuple[int, int]:
        """(index, term) sealed last; after a boot, what the durable state holds."""
        return self._applied

    @property
    def durable_applied(self) -> tuple[int, int]:
        """(index, term) of the newest commit that is synced: what the log may be purged up to."""
        return self._durable_applied

    @property
    def pending_bytes(self) -> int:
        """Estimated size of all that no finished flush has carried."""
        return self._fresh_bytes + self._sealed_bytes + self._frozen_bytes

    @property
    def lagging(self) -> bool:
        """The overlay is over its bound; writes must wait for a flush."""
        return self.pending_bytes > self._overlay_limit

    @property
    def size(self) -> int:
        """Bytes allocated on disk, with what waits to be flushed added as an estimate."""
        return self._sizes.allocated + self.pending_bytes

    @property
    def size_in_use(self) -> int:
        """Bytes of pages that hold records; the rest of `size` is free for reuse."""
        return min(self._sizes.in_use + self.pending_bytes, self.size)

    def begin_flush(self) -> FlushJob | None:
        """What is sealed, for a worker to `run()`; None if there is nothing, or a flush is under way.

        A job that found no space is given out again: it still is the oldest part, and nothing may overtake it.
        """
        if self._job is not None:
            if self._job.state != FULL:
                return None
            self._make_room()
            return self._job
        if self._applied == self._durable_applied and not self._sealed_bytes:
            return None
        layers = {bucket: overlay.freeze() for bucket, overlay in self._overlays.items() if overlay.sealed.filled}
        self._frozen_bytes, self._sealed_bytes = self._sealed_bytes, 0
        self._make_room()
        self._job = FlushJob(self._environment, self._databases, self._place, layers, self._applied)
        return self._job

    def finish_flush(self, job: FlushJob) -> None:
        """The worker reported that `job` ran: read the new state, then forget what it carried."""
        invariant(job is self._job, "flushes finish in their order")
        invariant(job.state == DONE, "a flush is finished after it succeeded", state=job.state)
        self._renew()
        for overlay in self._overlays.values():
            overlay.drop_frozen()
        self._frozen_bytes = 0
        self._durable_applied = job.applied
        self._sizes = job.sizes
        self._job = None

    def flush(self) -> None:
        """Flush what is sealed and wait for the disk: at shutdown and in tools, never on a serving loop.

        Raises:
            BackendFull: no space.
            BackendFailed: the disk failed.
        """
        while job := self.begin_flush():
            job.run()
            self.finish_flush(job)

    def snapshot_reader(self) -> SnapshotReader:
        """The durable state as of the last commit, for a worker; close it soon."""
        token = object()
        reader = SnapshotReader(self._environment.begin(), self._databases, lambda: self._readers.discard(token))
        self._readers.add(token)
        return reader

    def close(self) -> None:
        """Let go of the files; what was not flushed is in the log."""
        invariant(self._job is None or self._job.state in (FULL, FAILED, DONE), "no flush runs at close")
        invariant(not self._readers, "snapshot readers are closed first", open=len(self._readers))
        self._reading.abort()
        self._environment.close()
        self._place.close()

    def _renew(self) -> None:
        self._reading.abort()
        self._reading = self._environment.begin()

    def _make_room(self) -> None:
        """Map more address space if the next flush might not fit; no transaction may be open meanwhile."""
        map_size = self._environment.info()["map_size"]
        need = self._sizes.allocated + _FLUSH_PAGES * self._frozen_bytes + _MAP_ROOM
        if need <= map_size or self._readers:
            return
        self._reading.abort()
        self._environment.set_mapsize(max(2 * map_size, need))
        self._reading = self._environment.begin()


def _open_databases(environment: lmdb.Environment) -> dict[Bucket, Any]:
    with environment.begin(write=True) as transaction:
        return {bucket: environment.open_db(bucket.value.encode(), txn=transaction) for bucket in Bucket}


def _check_format(environment: lmdb.Environment, meta: Any, directory: Path) -> None:
    with environment.begin() as transaction:
        stored = transaction.get(FORMAT_KEY, db=meta)
    version = FORMAT if stored is None else int.from_bytes(stored, "big")
    if version != FORMAT:
        age = "a newer version of coord; run that version" if version > FORMAT else "an unknown version of coord"
        raise FormatRefused(f"{directory}: backend format {version} was written by {age} (this one reads {FORMAT})")
