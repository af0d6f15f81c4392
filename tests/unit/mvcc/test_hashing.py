from __future__ import annotations

from collections.abc import Generator

from coord.server.mvcc import compaction, hashing
from coord.server.mvcc.store import Store
from coord.server.storage.contract import Bucket
from coord.server.storage.memory import MemoryBackend


def finish(work: Generator[None, None, int]) -> int:
    while True:
        try:
            next(work)
        except StopIteration as done:
            return int(done.value)


def digest(store: Store, revision: int) -> int:
    return finish(hashing.steps(store, revision))


def test_crc32c_has_the_value_of_its_standard():
    # RFC 3720 B.4: 32 bytes of zeroes, and of 0xff
    assert hashing.crc32c(0, b"\0" * 32) == 0x8A9136AA
    assert hashing.crc32c(0, b"\xff" * 32) == 0x62A8AB43
    assert hashing.crc32c(0, b"") == 0
    assert hashing.crc32c(hashing.crc32c(0, b"1234"), b"56789") == hashing.crc32c(0, b"123456789") == 0xE3069283


def test_an_empty_store_has_etcds_hash():
    store = Store(MemoryBackend())
    assert digest(store, 1) == digest(store, -5) == 1084519789


def test_it_covers_revision_keys_and_records_up_to_the_revision():
    backend = MemoryBackend()
    store = Store(backend)
    for key in (b"a", b"b"):
        store.put(key, b"1", 0)
    store.commit()
    store.delete(b"a")
    store.commit()
    up_to_two = digest(store, 2)
    expected = hashing.crc32c(0, b"key")
    for stored, record in backend.scan(Bucket.KEY):
        expected = hashing.crc32c(hashing.crc32c(expected, stored), record)
    assert digest(store, 3) == expected != up_to_two


def test_members_agree_whatever_they_have_dropped():
    store = Store(MemoryBackend())
    for number in range(40):
        store.put(b"%d" % (number % 7), b"v", 0)
        store.commit()
    store.delete(b"3")
    store.commit()
    store.mark_compacted(store.revision)
    store.put(b"9", b"v", 0)
    store.commit()
    before = digest(store, store.revision)
    for _ in compaction.steps(store):
        pass
    assert digest(store, store.revision) == before


def test_a_tombstone_at_the_mark_does_not_count():
    one, two = Store(MemoryBackend()), Store(MemoryBackend())
    for store in (one, two):
        store.put(b"keep", b"", 0)
        store.put(b"gone", b"", 0)
        store.commit()
        store.delete(b"gone")
        store.commit()
        store.mark_compacted(3)
        for _ in compaction.steps(store):
            pass
    two.scrub(b"gone", 4)  # as an older member would have dropped it
    two.drop(9)
    assert digest(one, 3) == digest(two, 3)


def test_when_nothing_lives_the_hash_covers_what_the_last_compaction_kept():
    """Seen with etcd 3.5: its set of revisions to keep is empty then, and it skips nothing."""
    store = Store(MemoryBackend())
    for value in (b"1", b"2"):
        store.put(b"k", value, 0)
        store.commit()
    store.mark_compacted(3)
    store.delete(b"k")
    store.commit()
    unscrubbed = digest(store, 4)
    for _ in compaction.steps(store):
        pass
    expected = hashing.crc32c(0, b"key")
    for main in (3, 4):
        for stored, record, _ in store.log(main):
            expected = hashing.crc32c(hashing.crc32c(expected, stored), record)
    assert digest(store, 4) == unscrubbed == expected


def test_a_compaction_between_the_slices_takes_nothing_away():
    store = Store(MemoryBackend())
    for number in range(600):
        store.put(b"%d" % (number % 300), b"v" * 100, 0)
        store.commit()
    whole = digest(store, store.revision)
    work = hashing.steps(store, store.revision)
    next(work)
    store.mark_compacted(store.revision)
    scrub = compaction.steps(store)
    for _ in range(5):
        next(scrub)
    assert finish(work) == whole
    for _ in scrub:
        pass
    assert store.scrubbed == store.revision


def test_it_yields_in_a_large_store():
    store = Store(MemoryBackend())
    for number in range(1200):
        store.put(b"%d" % number, b"v" * 100, 0)
        store.commit()
    whole = digest(store, store.revision)
    work = hashing.steps(store, store.revision)
    assert sum(1 for _ in work) >= 2
    work = hashing.steps(store, store.revision)
    next(work)
    store.put(b"later", b"v", 0)
    store.commit()
    assert finish(work) == whole
