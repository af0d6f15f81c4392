from __future__ import annotations

import pytest

from coord.server.mvcc import compaction
from coord.server.mvcc.index import PAST_LEN
from coord.server.mvcc.store import FINISHED, Store
from coord.server.storage.contract import Bucket
from coord.server.storage.memory import MemoryBackend
from tests.unit.mvcc.reference import restored


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def store(backend):
    return Store(backend)


def write(store: Store, *keys: bytes) -> None:
    for key in keys:
        store.put(key, b"v", 0)
        store.commit()


def records(backend: MemoryBackend) -> int:
    return sum(1 for _ in backend.scan(Bucket.KEY))


def test_scrubbing_yields_between_batches(store, backend):
    for _ in range(3):
        write(store, *(b"%d" % number for number in range(1500)))
    store.mark_compacted(store.revision)
    slices = 0
    for _ in compaction.steps(store):
        slices += 1
    assert slices >= 3
    assert records(backend) == 1500
    assert not compaction.pending(store)


def test_one_key_with_a_long_past_is_dropped_in_batches(store, backend):
    write(store, *[b"k"] * 3500)
    store.mark_compacted(store.revision)
    left = [(records(backend), len(store.index.past[b"k"]) // PAST_LEN) for _ in compaction.steps(store)]
    assert left == [(2500, 2499), (1500, 1499), (500, 499)]
    assert records(backend) == 1


def test_reads_are_refused_before_anything_is_dropped_and_live_keys_stay(store, backend):
    write(store, b"a", b"b", b"a")
    store.mark_compacted(4)
    assert compaction.pending(store)
    assert records(backend) == 3
    assert store.get(b"b") is not None
    assert store.get_at(b"a", 3) is None


def test_a_scrub_goes_on_after_a_restart(store, backend):
    write(store, b"a", b"a", b"b", b"b")
    store.mark_compacted(4)
    copy = backend.copy()
    again = restored(copy)
    assert again.compacted == 4
    assert compaction.pending(again)
    for _ in compaction.steps(again):
        pass
    assert not compaction.pending(again)
    assert again.index.revisions(b"a", 0, 9) == store.index.revisions(b"a", 3, 9)
    assert not compaction.pending(restored(copy))


def test_a_mark_set_meanwhile_is_taken_up(store, backend):
    write(store, *[b"k"] * 2500)
    store.mark_compacted(1500)
    work = compaction.steps(store)
    next(work)
    store.mark_compacted(2400)
    for _ in work:
        pass
    assert store.scrubbed == 2400
    assert records(backend) == 2501 - 2400 + 1


def test_writes_between_the_slices_are_kept(store, backend):
    write(store, *[b"k"] * 2500)
    store.mark_compacted(2501)
    work = compaction.steps(store)
    next(work)
    write(store, b"k", b"new")
    for _ in work:
        store.index.check()
    store.index.check()
    assert records(backend) == 3
    assert len(store.index.revisions(b"k", 0, 9)) == 2


def test_a_read_in_progress_holds_the_scrub_back(store, backend):
    write(store, b"k", b"k", b"k")
    with store.pinned(2):
        store.mark_compacted(4)
        work = compaction.steps(store)
        for _ in range(5):
            next(work)
        assert store.find_many([b"k"], 2)
    for _ in work:
        pass
    assert records(backend) == 1


def test_a_read_at_the_mark_holds_nothing_back(store):
    write(store, b"k", b"k", b"k")
    with store.pinned(4):
        store.mark_compacted(4)
        assert list(compaction.steps(store)) == []
    assert not compaction.pending(store)


def test_the_finished_mark_is_stored_and_sealed(store, backend):
    backend.seal(9, 1)
    write(store, b"k", b"k")
    store.mark_compacted(3)
    for _ in compaction.steps(store):
        pass
    assert backend.get(Bucket.META, FINISHED) is not None
    assert backend.applied == (9, 1)


def test_work_given_up_and_begun_anew_leaves_nothing_on_disk(store, backend):
    write(store, *[b"k"] * 2500)
    store.mark_compacted(2501)
    next(compaction.steps(store))
    for _ in compaction.steps(store):
        pass
    assert records(backend) == 1
