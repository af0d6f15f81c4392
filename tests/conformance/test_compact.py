"""Compact: which revisions may be named, what can be read afterwards, what is never lost."""

import pytest

from tests.conformance.errors import COMPACTED, FUTURE
from tests.conformance.wire import end_of, keys, refused


@pytest.mark.surprise(1)
def test_fresh_store_begins_at_revision_one(fresh):
    wire = fresh()
    assert wire.revision() == 1
    assert wire.put(b"k").header.revision == 2


@pytest.mark.surprise(1)
def test_compact_of_a_fresh_store(fresh):
    wire = fresh()
    wire.compact(0)
    with refused(COMPACTED):
        wire.compact(0)
    wire.compact(1)
    with refused(COMPACTED):
        wire.compact(1)
    with refused(FUTURE):
        wire.compact(2)


@pytest.mark.surprise(1)
def test_compact_of_a_negative_revision(fresh):
    with refused(COMPACTED):
        fresh().compact(-1)


def test_future_revision_is_refused(compacting, prefix):
    with refused(FUTURE):
        compacting.compact(compacting.put(prefix).header.revision + 1)


def test_current_revision_can_be_compacted(compacting, prefix):
    revision = compacting.put(prefix, b"v").header.revision
    compacting.compact(revision)
    assert compacting.get(prefix).value == b"v"


def test_same_revision_twice_is_refused(compacting, prefix):
    revision = compacting.put(prefix).header.revision
    compacting.compact(revision)
    with refused(COMPACTED):
        compacting.compact(revision)


def test_older_revision_is_refused(compacting, prefix):
    old = compacting.put(prefix).header.revision
    compacting.compact(compacting.put(prefix).header.revision)
    with refused(COMPACTED):
        compacting.compact(old)


def test_compact_does_not_raise_the_revision(compacting, prefix):
    compacting.put(prefix)
    revision = compacting.put(prefix).header.revision
    assert compacting.compact(revision - 1).header.revision == revision
    assert compacting.revision() == revision


def test_reading_below_the_compacted_revision_is_refused(compacting, prefix):
    old = compacting.put(prefix, b"1").header.revision
    compacting.compact(compacting.put(prefix, b"2").header.revision)
    with refused(COMPACTED):
        compacting.range(prefix, revision=old)


def test_serializable_reading_below_is_refused(compacting, prefix):
    old = compacting.put(prefix).header.revision
    compacting.compact(compacting.put(prefix).header.revision)
    with refused(COMPACTED):
        compacting.range(prefix, revision=old, serializable=True)


def test_count_below_is_refused(compacting, prefix):
    old = compacting.put(prefix).header.revision
    compacting.compact(compacting.put(prefix).header.revision)
    with refused(COMPACTED):
        compacting.range(prefix, revision=old, count_only=True)


def test_reading_exactly_at_the_compacted_revision_is_allowed(compacting, prefix):
    compacting.put(prefix, b"1")
    at = compacting.put(prefix, b"2").header.revision
    compacting.put(prefix, b"3")
    compacting.compact(at)
    assert compacting.get(prefix, revision=at).value == b"2"


def test_unrelated_key_is_readable_at_the_compacted_revision(compacting, prefix):
    compacting.put(prefix + b"old", b"v")
    at = compacting.put(prefix + b"new").header.revision
    compacting.compact(at)
    assert compacting.get(prefix + b"old", revision=at).value == b"v"


def test_history_above_stays(compacting, prefix):
    at = compacting.put(prefix, b"1").header.revision
    later = compacting.put(prefix, b"2").header.revision
    compacting.put(prefix, b"3")
    compacting.compact(at, physical=True)
    assert compacting.get(prefix, revision=later).value == b"2"


def test_live_keys_survive_with_their_numbers(compacting, prefix):
    compacting.put(prefix, b"1")
    compacting.put(prefix, b"2")
    before = compacting.get(prefix)
    compacting.put(prefix + b"x")
    compacting.compact(compacting.revision(), physical=True)
    assert compacting.get(prefix) == before


def test_deleted_keys_stay_deleted(compacting, prefix):
    compacting.put(prefix)
    compacting.delete(prefix)
    compacting.compact(compacting.revision(), physical=True)
    assert compacting.range(prefix).count == 0
    compacting.put(prefix)
    assert compacting.get(prefix).version == 1


def test_key_deleted_at_the_compacted_revision_is_absent_there(compacting, prefix):
    compacting.put(prefix)
    deleted = compacting.delete(prefix).header.revision
    compacting.compact(deleted, physical=True)
    assert compacting.range(prefix, revision=deleted).count == 0


def test_key_deleted_above_the_compacted_revision_is_there(compacting, prefix):
    at = compacting.put(prefix, b"v").header.revision
    compacting.delete(prefix)
    compacting.compact(at, physical=True)
    assert compacting.get(prefix, revision=at).value == b"v"


def test_incarnations_on_both_sides(compacting, prefix):
    compacting.put(prefix, b"first")
    compacting.delete(prefix)
    at = compacting.put(prefix, b"second").header.revision
    compacting.delete(prefix)
    compacting.put(prefix, b"third")
    compacting.compact(at, physical=True)
    assert compacting.get(prefix, revision=at).value == b"second"
    assert compacting.range(prefix, revision=at + 1).count == 0
    assert compacting.get(prefix).value == b"third"


def test_versions_go_on_after_compaction(compacting, prefix):
    for _ in range(3):
        compacting.put(prefix)
    compacting.compact(compacting.revision(), physical=True)
    compacting.put(prefix)
    assert compacting.get(prefix).version == 4


def test_lease_of_a_key_survives(compacting, prefix):
    lease = compacting.grant(600).ID
    compacting.put(prefix, lease=lease)
    compacting.put(prefix + b"x")
    compacting.compact(compacting.revision(), physical=True)
    assert list(compacting.time_to_live(lease, keys=True).keys) == [prefix]
    compacting.revoke(lease)
    assert compacting.range(prefix).count == 0


def test_prefix_at_the_compacted_revision(compacting, prefix):
    for name in (b"a", b"b", b"c"):
        compacting.put(prefix + name)
    at = compacting.delete(prefix + b"b").header.revision
    compacting.delete(prefix + b"c")
    compacting.compact(at, physical=True)
    assert keys(compacting.range(prefix, end_of(prefix), revision=at).kvs) == [prefix + b"a", prefix + b"c"]


@pytest.mark.parametrize("physical", [False, True])
def test_old_revisions_are_gone_at_once(compacting, prefix, physical):
    old = compacting.revision()
    for number in range(50):
        compacting.put(prefix, b"%d" % number)
    compacting.compact(compacting.revision(), physical=physical)
    with refused(COMPACTED):
        compacting.range(prefix, revision=old)


def test_revision_and_compaction_survive_a_restart(fresh):
    wire = fresh()
    old = wire.put(b"k", b"1").header.revision
    wire.put(b"k", b"2")
    last = wire.delete(b"k").header.revision
    wire.compact(last, physical=True)
    wire.server.restart()
    assert wire.revision() == last  # even though nothing but a compacted tombstone had that revision
    with refused(COMPACTED):
        wire.range(b"k", revision=old)
    with refused(COMPACTED):
        wire.compact(last)
    assert wire.put(b"k").header.revision == last + 1
