"""Put: revisions, versions, previous values, leases, refusals."""

import pytest

from coord.wire import rpc_pb2
from tests.conformance.errors import (
    KEY_NOT_FOUND,
    KEY_NOT_PROVIDED,
    LEASE_NOT_FOUND,
    LEASE_PROVIDED,
    VALUE_PROVIDED,
)
from tests.conformance.wire import refused


def test_put_then_get_returns_the_value(wire, prefix):
    wire.put(prefix, b"v")
    assert wire.get(prefix).value == b"v"


def test_first_put_has_version_one_and_equal_revisions(wire, prefix):
    revision = wire.put(prefix, b"v").header.revision
    kv = wire.get(prefix)
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (revision, revision, 1, 0)


def test_second_put_keeps_create_revision_and_counts_the_version(wire, prefix):
    first = wire.put(prefix, b"1").header.revision
    second = wire.put(prefix, b"2").header.revision
    kv = wire.get(prefix)
    assert (kv.create_revision, kv.mod_revision, kv.version) == (first, second, 2)


def test_every_put_raises_the_revision_by_one(wire, prefix):
    first = wire.put(prefix + b"a").header.revision
    assert wire.put(prefix + b"b").header.revision == first + 1
    assert wire.put(prefix + b"a").header.revision == first + 2


def test_put_of_the_same_value_is_a_change(wire, prefix):
    first = wire.put(prefix, b"same").header.revision
    assert wire.put(prefix, b"same").header.revision == first + 1
    assert wire.get(prefix).version == 2


def test_recreated_key_starts_again_at_version_one(wire, prefix):
    wire.put(prefix)
    wire.put(prefix)
    wire.delete(prefix)
    revision = wire.put(prefix).header.revision
    kv = wire.get(prefix)
    assert (kv.create_revision, kv.version) == (revision, 1)


def test_empty_value_is_not_a_missing_key(wire, prefix):
    wire.put(prefix, b"")
    found = wire.range(prefix)
    assert found.count == 1
    assert found.kvs[0].value == b""


@pytest.mark.parametrize("key", [b"\0", b"\xff\xff", b"a\0b", b"\xc3\x28", b"/", b" "], ids=repr)
def test_key_may_be_any_bytes(wire, prefix, key):
    wire.put(prefix + key, b"v")
    assert wire.get(prefix + key).key == prefix + key


@pytest.mark.parametrize("value", [b"\0", bytes(range(256)), b"x" * 100_000], ids=["nul", "all bytes", "100 kB"])
def test_value_may_be_any_bytes(wire, prefix, value):
    wire.put(prefix, value)
    assert wire.get(prefix).value == value


def test_long_key(wire, prefix):
    key = prefix + b"k" * 20_000  # LMDB's own limit of 511 bytes must not show
    wire.put(key, b"v")
    assert wire.get(key).value == b"v"
    wire.delete(key)


def test_previous_value_is_absent_for_a_new_key(wire, prefix):
    assert not wire.put(prefix, b"v", prev_kv=True).HasField("prev_kv")


def test_previous_value_is_the_whole_record(wire, prefix):
    revision = wire.put(prefix, b"old").header.revision
    previous = wire.put(prefix, b"new", prev_kv=True).prev_kv
    assert (previous.key, previous.value, previous.mod_revision, previous.version) == (prefix, b"old", revision, 1)


def test_previous_value_is_absent_unless_asked(wire, prefix):
    wire.put(prefix, b"old")
    assert not wire.put(prefix, b"new").HasField("prev_kv")


def test_previous_value_is_absent_after_a_delete(wire, prefix):
    wire.put(prefix, b"old")
    wire.delete(prefix)
    assert not wire.put(prefix, b"new", prev_kv=True).HasField("prev_kv")


def test_previous_value_names_its_lease(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, lease=attached)
    assert wire.put(prefix, prev_kv=True).prev_kv.lease == attached


def test_ignore_value_keeps_the_value(wire, prefix):
    wire.put(prefix, b"kept")
    wire.put(prefix, ignore_value=True)
    kv = wire.get(prefix)
    assert (kv.value, kv.version) == (b"kept", 2)


def test_ignore_value_still_sets_the_lease(wire, prefix, lease):
    wire.put(prefix, b"kept")
    attached = lease()
    wire.put(prefix, lease=attached, ignore_value=True)
    kv = wire.get(prefix)
    assert (kv.value, kv.lease) == (b"kept", attached)


def test_ignore_value_without_lease_detaches(wire, prefix, lease):
    wire.put(prefix, b"kept", lease=lease())
    wire.put(prefix, ignore_value=True)
    assert wire.get(prefix).lease == 0


def test_ignore_lease_keeps_the_lease(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, b"old", lease=attached)
    wire.put(prefix, b"new", ignore_lease=True)
    kv = wire.get(prefix)
    assert (kv.value, kv.lease) == (b"new", attached)
    assert list(wire.time_to_live(attached, keys=True).keys) == [prefix]


def test_ignore_lease_of_a_key_without_lease(wire, prefix):
    wire.put(prefix, b"old")
    wire.put(prefix, b"new", ignore_lease=True)
    assert wire.get(prefix).lease == 0


def test_ignore_both_only_touches(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, b"kept", lease=attached)
    wire.put(prefix, ignore_value=True, ignore_lease=True)
    kv = wire.get(prefix)
    assert (kv.value, kv.lease, kv.version) == (b"kept", attached, 2)


@pytest.mark.parametrize("option", ["ignore_value", "ignore_lease"])
def test_ignoring_needs_an_existing_key(wire, prefix, option):
    with refused(KEY_NOT_FOUND):
        wire.put(prefix, **{option: True})


@pytest.mark.parametrize("option", ["ignore_value", "ignore_lease"])
def test_ignoring_does_not_see_a_deleted_key(wire, prefix, option):
    wire.put(prefix, b"v")
    wire.delete(prefix)
    with refused(KEY_NOT_FOUND):
        wire.put(prefix, **{option: True})


def test_empty_key_is_refused(wire):
    with refused(KEY_NOT_PROVIDED):
        wire.put(b"", b"v")


def test_value_beside_ignore_value_is_refused(wire, prefix):
    wire.put(prefix, b"v")
    with refused(VALUE_PROVIDED):
        wire.put(prefix, b"other", ignore_value=True)


def test_lease_beside_ignore_lease_is_refused(wire, prefix, lease):
    wire.put(prefix, b"v")
    with refused(LEASE_PROVIDED):
        wire.put(prefix, b"v", lease=lease(), ignore_lease=True)


@pytest.mark.parametrize("unknown", [987654321, -987654321], ids=["positive", "negative"])
def test_unknown_lease_is_refused(wire, prefix, unknown):
    before = wire.revision()
    with refused(LEASE_NOT_FOUND):
        wire.put(prefix, b"v", lease=unknown)
    assert wire.revision() == before
    assert wire.range(prefix).count == 0


def test_empty_key_is_refused_before_the_value(wire):
    with refused(KEY_NOT_PROVIDED):
        wire.put(b"", b"v", ignore_value=True)


def test_value_is_refused_before_the_lease(wire, prefix):
    with refused(VALUE_PROVIDED):
        wire.put(prefix, b"v", lease=5, ignore_value=True, ignore_lease=True)


def test_unknown_lease_is_refused_before_the_missing_key(wire, prefix):
    with refused(LEASE_NOT_FOUND):
        wire.put(prefix, lease=987654321, ignore_value=True)


def test_refused_put_leaves_revision_and_key_alone(wire, prefix):
    wire.put(prefix, b"v")
    before = wire.get(prefix)
    with refused(LEASE_NOT_FOUND):
        wire.put(prefix, b"w", lease=987654321)
    assert wire.get(prefix) == before


@pytest.mark.surprise(25)
def test_put_without_lease_detaches(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, b"v", lease=attached)
    wire.put(prefix, b"w")
    assert wire.get(prefix).lease == 0
    assert list(wire.time_to_live(attached, keys=True).keys) == []
    wire.revoke(attached)
    assert wire.get(prefix).value == b"w"


def test_put_with_another_lease_moves_the_key(wire, prefix, lease):
    first, second = lease(), lease()
    wire.put(prefix, b"v", lease=first)
    wire.put(prefix, b"w", lease=second)
    assert list(wire.time_to_live(first, keys=True).keys) == []
    assert list(wire.time_to_live(second, keys=True).keys) == [prefix]


def test_old_revision_keeps_the_old_lease(wire, prefix, lease):
    attached = lease()
    first = wire.put(prefix, b"v", lease=attached).header.revision
    wire.put(prefix, b"w")
    assert wire.get(prefix, revision=first).lease == attached


def test_unknown_fields_are_ignored(wire, prefix):
    from coord.wire import methods

    request = rpc_pb2.PutRequest(key=prefix, value=b"v").SerializeToString() + b"\xfa\x3f\x03abc"  # field 1023
    wire.call(methods.KV_PUT, request)
    assert wire.get(prefix).value == b"v"
