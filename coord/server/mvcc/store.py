"""The multi-version store: every revision of every key, over an index in memory and records in a backend.

Writes come in transactions: `put` and `delete` change index and backend at once under the coming revision, `commit`
makes it the current one and hands the changes to whoever listens. Nothing here can fail halfway: whatever may refuse a
request is asked before its first write.

Knows nothing of requests, leases' lives, Raft or time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import count
from typing import Final, TypeAlias

from coord.server.invariant import DEEP, invariant
from coord.server.mvcc import records
from coord.server.mvcc.index import KeyIndex
from coord.server.mvcc.records import encode_record, revision_key
from coord.server.storage.contract import Backend, Bucket
from coord.statuses import COMPACTED, FUTURE_REVISION, Refused

FRESH: Final = 1
"""The revision of a store that was never written."""

NEVER: Final = -1
"""The compact revision of a store that was never compacted; so a first compaction at 0 is accepted."""

SCHEDULED: Final = b"scheduledCompactRev"
FINISHED: Final = b"finishedCompactRev"
_LOAD_SLICE: Final = 5000


Change: TypeAlias = tuple[bytes, bytes, bool]
"""One change of a revision: key, stored record, True for a deletion. Its place in a list is its sub revision."""

Listener = Callable[[int, list[Change]], None]


class Store:
    """Keys at every revision since the last compaction."""

    def __init__(self, backend: Backend) -> None:
        self.index = KeyIndex()
        self.revision = FRESH
        self.compacted = NEVER  # reads below are refused; <= revision
        self.scrubbed = NEVER  # nothing below is left in index or backend; <= compacted
        self._backend = backend
        self._changes: list[Change] = []  # of the transaction in progress
        self._listeners: list[Listener] = []
        # Forgotten by the index but still in the backend, oldest of each key first. Kept here and not by the work that
        # fills it, so that nothing is left on disk for ever when that work is given up and begun anew.
        self._doomed: deque[bytes] = deque()
        self._pins: dict[int, int] = {}  # revision -> sliced reads in progress at it

    def listen(self, listener: Listener) -> None:
        """Call `listener(revision, changes)` after each commit that changed something."""
        self._listeners.append(listener)

    # --- writes

    def put(self, key: bytes, value: bytes, lease: int) -> None:
        """Set `key`, as part of the transaction in progress."""
        changes = self._changes
        main, sub = self.revision + 1, len(changes)
        create, version, stored = self.index.put(key, main, sub)
        record = encode_record(key, create, main, version, value, lease)
        self._backend.put(Bucket.KEY, stored, record)
        changes.append((key, record, False))

    def delete(self, key: bytes) -> None:
        """Remove a live key, as part of the transaction in progress."""
        changes = self._changes
        tombstone = self.index.delete(key, self.revision + 1, len(changes))
        record = records.encode_tombstone(key)
        self._backend.put(Bucket.KEY, tombstone, record)
        changes.append((key, record, True))

    @property
    def changed(self) -> bool:
        """True if the transaction in progress changed something."""
        return bool(self._changes)

    @property
    def seen_revision(self) -> int:
        """The revision that a read inside of the transaction in progress is at."""
        return self.revision + 1 if self._changes else self.revision

    def commit(self) -> int:
        """End the transaction; returns the current revision, one higher if anything changed."""
        changes = self._changes
        if changes:
            self.revision += 1
            self._changes = []
            for listener in self._listeners:
                listener(self.revision, changes)
        return self.revision

    # --- reads

    def get(self, key: bytes) -> bytes | None:
        """The record of `key` now, effects of the transaction in progress included."""
        entry = self.index.live.get(key)
        if entry is None:
            return None
        return self.fetch(entry[: records.REVISION_KEY_LEN])

    def get_many(self, keys: list[bytes]) -> list[bytes]:
        """The records of live `keys` now."""
        live, length = self.index.live, records.REVISION_KEY_LEN
        return self._backend.get_many(Bucket.KEY, [live[key][:length] for key in keys])

    def get_at(self, key: bytes, revision: int) -> bytes | None:
        """The record of `key` at `revision`; None if it did not exist, or that is compacted and cannot be told."""
        if revision < self.compacted:
            return None
        stored = self.index.find(key, revision)
        return None if stored is None else self.fetch(stored)

    def find_many(self, keys: list[bytes], revision: int) -> list[bytes]:
        """Records of those of `keys` that existed at `revision`."""
        find = self.index.find
        found = [stored for key in keys if (stored := find(key, revision)) is not None]
        return self._backend.get_many(Bucket.KEY, found)

    def fetch(self, stored: bytes) -> bytes:
        """The record under a revision key that the index named."""
        record = self._backend.get(Bucket.KEY, stored)
        invariant(record is not None, "a record the index names is missing", revision=stored.hex())
        assert record is not None
        return record

    def fetch_many(self, stored: list[bytes]) -> list[bytes]:
        """The records under revision keys that the index named."""
        return self._backend.get_many(Bucket.KEY, stored)

    def changes_at(self, stored: list[bytes]) -> list[Change]:
        """What the index says happened at these revision keys."""
        found = zip(stored, self.fetch_many(stored), strict=True)
        return [(records.record_key(record), record, records.is_tombstone(at)) for at, record in found]

    def changes_of(self, main: int) -> list[Change]:
        """What changed at one revision, not below the compact mark."""
        return [(records.record_key(record), record, deleted) for _, record, deleted in self.log(main)]

    def log(self, main: int) -> Iterator[tuple[bytes, bytes, bool]]:
        """Revision key, record and whether it is a deletion, for each change of one revision in order.

        Asks for one sub revision after the other: without compaction they have no gaps. A scan of the backend would
        have to sort all that waits to be flushed, for each slice of each watcher that is behind.
        """
        if main <= self.compacted:
            start, end = revision_key(main, 0), revision_key(main + 1, 0)
            for stored, record in self._backend.scan(Bucket.KEY, start, end):
                if record:
                    yield stored, record, records.is_tombstone(stored)
            return
        get = self._backend.get
        for sub in count():
            stored = revision_key(main, sub)
            found = get(Bucket.KEY, stored)
            if found:
                yield stored, found, False
                continue
            stored += records.TOMBSTONE
            found = get(Bucket.KEY, stored)
            if not found:
                return
            yield stored, found, True

    def check_readable(self, revision: int) -> None:
        """Refuse a read at a revision that is not there.

        Raises:
            Refused: COMPACTED or FUTURE_REVISION.
        """
        if revision > self.revision:
            raise Refused(FUTURE_REVISION)
        if revision < self.compacted:
            raise Refused(COMPACTED)

    @contextlib.contextmanager
    def pinned(self, revision: int) -> Iterator[None]:
        """While open, what a read at `revision` needs survives compaction; for reads that take many steps."""
        self._pins[revision] = self._pins.get(revision, 0) + 1
        try:
            yield
        finally:
            self._pins[revision] -= 1
            if not self._pins[revision]:
                del self._pins[revision]

    def is_pinned_below(self, revision: int) -> bool:
        """True if a read in progress needs what a compaction at `revision` would drop."""
        return any(pin < revision for pin in self._pins)

    # --- compaction marks; the work is in compaction.py

    def mark_compacted(self, revision: int) -> None:
        """Refuse reads below `revision` from now on.

        Raises:
            Refused: it is compacted already, or not there yet.
        """
        if revision <= self.compacted:
            raise Refused(COMPACTED)
        if revision > self.revision:
            raise Refused(FUTURE_REVISION)
        self.compacted = revision
        self._backend.put(Bucket.META, SCHEDULED, revision_key(revision, 0))

    def scrub(self, key: bytes, revision: int, limit: int | None = None) -> bool:
        """Let the index forget what a compaction at `revision` drops of `key`, up to `limit`; True for more."""
        forgotten = self.index.scrub(key, revision, limit)
        self._doomed.extend(forgotten)
        return len(forgotten) == limit

    @property
    def doomed(self) -> int:
        """How many records await `drop`."""
        return len(self._doomed)

    def drop(self, limit: int) -> int:
        """Remove up to `limit` records that the index has forgotten; returns how many are left.

        Runs between two commands, and repeats the seal of the last one so that a flush may carry this.
        """
        doomed, delete = self._doomed, self._backend.delete
        for _ in range(min(limit, len(doomed))):
            delete(Bucket.KEY, doomed.popleft())
        self._backend.seal(*self._backend.applied)
        return len(doomed)

    def mark_scrubbed(self, revision: int) -> None:
        """Nothing that a compaction at `revision` drops is left."""
        invariant(self.scrubbed <= revision <= self.compacted, "scrubbed what is not compacted", revision=revision)
        invariant(not self._doomed, "scrubbed before all was dropped", left=len(self._doomed))
        self.scrubbed = revision
        self._backend.put(Bucket.META, FINISHED, revision_key(revision, 0))
        self._backend.seal(*self._backend.applied)

    # --- restore

    def load(self) -> Generator[None, None, dict[bytes, int]]:
        """Rebuild everything from the backend, a slice for each step; returns the leases of live keys."""
        index = KeyIndex()
        newest = FRESH
        leases: dict[bytes, int] = {}
        for loaded, (stored, record) in enumerate(self._backend.scan(Bucket.KEY), 1):
            newest = records.main_of(stored)
            if not record:  # a mark that only raises the revision (etcdutl snapshot restore --bump-revision)
                continue
            if len(stored) > records.REVISION_KEY_LEN:
                key, lease = records.record_key(record), 0
                index.load_delete(key, stored)
            else:
                key, create, version, lease = records.incarnation_of(record)
                index.load_put(key, stored, create, version)
            if lease:
                leases[key] = lease
            elif leases:
                leases.pop(key, None)
            if not loaded % _LOAD_SLICE:
                yield
        index.loaded()
        self.index = index
        self.scrubbed = self._mark(FINISHED)
        self.compacted = max(self._mark(SCHEDULED), self.scrubbed)
        # The newest revisions may have been tombstones that a compaction dropped; the revision must not go back.
        self.revision = max(newest, self.compacted)
        if DEEP:
            index.check()
        return leases

    def _mark(self, name: bytes) -> int:
        stored = self._backend.get(Bucket.META, name)
        return NEVER if stored is None else records.main_of(stored)
