"""Random histories against a reference that keeps everything."""

from __future__ import annotations

import random

import pytest

from coord.server.mvcc import compaction, hashing
from coord.server.mvcc.store import Store
from coord.server.storage.memory import MemoryBackend
from coord.statuses import Refused
from tests.unit.mvcc.reference import Reference, read, restored

KEYS = [b"a", b"aa", b"ab", b"b", b"b\x00", b"c", b"d\xff", b"e"]
BOUNDS = [*KEYS, b"", b"ac", b"zz", None]


class Pair:
    """The real store and the reference, told the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.backend = MemoryBackend()
        self.store = Store(self.backend)
        self.reference = Reference()
        self.scrubbing = compaction.steps(self.store)

    def step(self) -> None:
        verb = self.random.choices(
            [self.write, self.read, self.compact, self.scrub, self.restore], [60, 25, 3, 8, 2], k=1
        )[0]
        verb()
        self.store.index.check()
        assert self.store.revision == self.reference.revision

    def write(self) -> None:
        for _ in range(self.random.choice([1, 1, 1, 2, 5])):
            live = self.reference.live()
            if live and self.random.random() < 0.35:
                key = self.random.choice(live)
                self.store.delete(key)
                self.reference.delete(key)
            else:
                key = self.random.choice(KEYS)
                value = self.random.choice([b"", b"x", b"y" * 200])
                lease = self.random.choice([0, 0, 9, -9])
                self.store.put(key, value, lease)
                self.reference.put(key, value, lease)
            assert [self.store.get(key) for key in self.reference.live()] == self.reference.now()
        self.store.commit()
        self.reference.commit()

    def read(self) -> None:
        revision = self.random.randint(-1, self.reference.revision + 2)
        start = self.random.choice(BOUNDS[:-1]) or b""
        end = self.random.choice(BOUNDS)
        try:
            self.store.check_readable(revision)
        except Refused:
            assert revision > self.reference.revision or revision < self.reference.compacted
            return
        assert self.reference.compacted <= revision <= self.reference.revision
        revision = max(revision, 0)
        expected = self.reference.range(start, end, revision)
        assert read(self.store, start, end, revision) == expected
        if revision == self.reference.revision:
            assert self.store.get_many(self.store.index.select(start, end)) == expected
            assert self.store.index.count(start, end) == len(expected)
        if revision > max(self.reference.compacted, 0):
            assert self.store.changes_of(revision) == [
                (one.key, one.record, one.deleted) for one in self.reference.log if one.main == revision
            ]

    def compact(self) -> None:
        revision = self.random.randint(self.reference.compacted - 1, self.reference.revision)
        if revision <= self.reference.compacted:
            with pytest.raises(Refused):
                self.store.mark_compacted(revision)
            return
        self.store.mark_compacted(revision)
        self.reference.compacted = revision
        self.scrubbing = compaction.steps(self.store)

    def scrub(self) -> None:
        before = self.hash(self.reference.revision)
        for _ in range(self.random.randint(1, 4)):
            next(self.scrubbing, None)
        assert self.hash(self.reference.revision) == before, "a hash told how far the scrub was"
        if not compaction.pending(self.store):
            self.nothing_superfluous()

    def hash(self, revision: int) -> int:
        work = hashing.steps(self.store, revision)
        while True:
            try:
                next(work)
            except StopIteration as done:
                return int(done.value)

    def nothing_superfluous(self) -> None:
        """After the scrub, the disk holds what a read at or above the mark can see, and tombstones at the mark."""
        mark = self.reference.compacted
        stored = sum(len(self.store.index.revisions(key, 0, 10**9)) for key in self.store.index.known(b"", None))
        above = [one for one in self.reference.log if one.main > mark]
        alive = len(self.reference.states[max(mark, 1)])
        at_mark = {one.key for one in self.reference.log if one.main == mark and one.deleted}
        tombstones = sum(self.reference.record(key, mark) is None for key in at_mark)
        assert stored == len(above) + alive + tombstones

    def restore(self) -> None:
        self.backend = self.backend.copy()
        self.store = restored(self.backend)
        assert self.store.compacted == self.reference.compacted
        self.scrubbing = compaction.steps(self.store)


@pytest.mark.parametrize("seed", range(30))
def test_random_histories(seed, monkeypatch):
    monkeypatch.setattr(compaction, "BATCH", 2)
    monkeypatch.setattr(hashing, "SLICE", 3)
    pair = Pair(seed)
    for _ in range(150):
        pair.step()
    for revision in range(max(pair.reference.compacted, 1), pair.reference.revision + 1):
        assert read(pair.store, b"", None, revision) == pair.reference.range(b"", None, revision)
