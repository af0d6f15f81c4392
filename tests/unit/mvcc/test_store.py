from __future__ import annotations

import pytest

from coord.server.invariant import InvariantBroken
from coord.server.mvcc import records
from coord.server.mvcc.store import Store
from coord.server.storage.contract import Bucket
from coord.server.storage.memory import MemoryBackend
from coord.statuses import COMPACTED, FUTURE_REVISION, Refused
from tests.unit.mvcc.reference import restored


def put(store: Store, key: bytes, value: bytes = b"v", lease: int = 0) -> int:
    store.put(key, value, lease)
    return store.commit()


def delete(store: Store, key: bytes) -> int:
    store.delete(key)
    return store.commit()


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def store(backend):
    return Store(backend)


def test_a_fresh_store_is_at_one_and_the_first_write_is_two(store):
    assert store.revision == 1
    assert put(store, b"k") == 2


def test_a_transaction_without_changes_raises_nothing(store):
    heard = []
    store.listen(lambda revision, changes: heard.append(revision))
    assert store.commit() == 1
    assert heard == []


def test_changes_of_a_transaction_share_one_revision(store):
    heard = []
    store.listen(lambda revision, changes: heard.append((revision, changes)))
    store.put(b"a", b"1", 0)
    store.put(b"b", b"2", 7)
    store.delete(b"a")
    assert store.commit() == 2
    assert heard == [
        (
            2,
            [
                (b"a", records.encode_record(b"a", 2, 2, 1, b"1", 0), False),
                (b"b", records.encode_record(b"b", 2, 2, 1, b"2", 7), False),
                (b"a", records.encode_tombstone(b"a"), True),
            ],
        )
    ]


def test_a_transaction_sees_its_own_writes(store):
    put(store, b"a", b"old")
    store.put(b"a", b"new", 0)
    record = store.get(b"a")
    assert record is not None
    assert records.record_value(record) == b"new"
    assert store.seen_revision == 3
    old = store.get_at(b"a", 2)
    assert old is not None
    assert records.record_value(old) == b"old"


def test_the_keys_on_disk_are_etcds(store, backend):
    put(store, b"k", b"v")
    delete(store, b"k")
    assert [(key.hex(), value) for key, value in backend.scan(Bucket.KEY)] == [
        ("0000000000000002" + "5f" + "0000000000000000", records.encode_record(b"k", 2, 2, 1, b"v", 0)),
        ("0000000000000003" + "5f" + "0000000000000000" + "74", records.encode_tombstone(b"k")),
    ]


def test_the_log_of_a_revision_has_its_changes_in_order(store):
    put(store, b"a")
    store.put(b"b", b"1", 0)
    store.delete(b"a")
    store.put(b"c", b"3", 0)
    store.commit()
    put(store, b"d")
    assert [(key, deleted) for key, _, deleted in store.changes_of(3)] == [
        (b"b", False),
        (b"a", True),
        (b"c", False),
    ]
    assert [key for key, _, _ in store.changes_of(4)] == [b"d"]


def test_compaction_below_or_at_the_last_one_is_refused(store):
    put(store, b"k")
    put(store, b"k")
    store.mark_compacted(2)
    for revision in (2, 1, 0, -1):
        with pytest.raises(Refused) as refused:
            store.mark_compacted(revision)
        assert refused.value.status == COMPACTED
    with pytest.raises(Refused) as refused:
        store.mark_compacted(4)
    assert refused.value.status == FUTURE_REVISION


def test_a_fresh_store_accepts_a_compaction_at_zero_once(store):
    with pytest.raises(Refused):
        store.mark_compacted(-1)
    store.mark_compacted(0)
    with pytest.raises(Refused):
        store.mark_compacted(0)
    store.mark_compacted(1)


def test_reads_at_the_compact_revision_are_allowed(store):
    put(store, b"k")
    put(store, b"k")
    store.mark_compacted(3)
    store.check_readable(3)
    with pytest.raises(Refused) as refused:
        store.check_readable(2)
    assert refused.value.status == COMPACTED
    with pytest.raises(Refused) as refused:
        store.check_readable(4)
    assert refused.value.status == FUTURE_REVISION


def test_the_revision_does_not_go_back_over_compacted_tombstones(store, backend):
    put(store, b"k")
    delete(store, b"k")
    put(store, b"l")
    delete(store, b"l")
    store.mark_compacted(5)
    for key in (b"k", b"l"):
        store.scrub(key, 5)
    store.drop(99)
    for stored, _ in list(backend.scan(Bucket.KEY)):
        backend.delete(Bucket.KEY, stored)
    assert restored(backend).revision == 5


def test_a_restored_store_knows_leases_of_live_keys(store, backend):
    put(store, b"kept", lease=5)
    put(store, b"moved", lease=5)
    put(store, b"moved", lease=6)
    put(store, b"cleared", lease=5)
    put(store, b"cleared")
    put(store, b"gone", lease=5)
    delete(store, b"gone")
    put(store, b"negative", lease=-7)
    loading = Store(backend).load()
    with pytest.raises(StopIteration) as done:
        next(loading)
    assert done.value.value == {b"kept": 5, b"moved": 6, b"negative": -7}


def test_a_mark_that_only_raises_the_revision_is_understood(store, backend):
    put(store, b"k")
    backend.put(Bucket.KEY, records.revision_key(1_000_000, 0), b"")
    again = restored(backend)
    assert again.revision == 1_000_000
    assert again.index.known(b"", None) == [b"k"]
    assert put(again, b"k") == 1_000_001


def test_a_missing_record_is_a_defect_not_an_empty_answer(store, backend):
    put(store, b"k")
    backend.delete(Bucket.KEY, records.revision_key(2, 0))
    with pytest.raises(InvariantBroken):
        store.get(b"k")
