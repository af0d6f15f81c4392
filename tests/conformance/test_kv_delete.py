"""DeleteRange: what goes, what is said about it, which revision it has."""

import pytest

from tests.conformance.errors import KEY_NOT_PROVIDED
from tests.conformance.wire import end_of, keys, pairs, refused


def fill(wire, prefix, names):
    for name in names:
        wire.put(prefix + name, b"v" + name)


def test_delete_of_one_key(wire, prefix):
    wire.put(prefix, b"v")
    assert wire.delete(prefix).deleted == 1
    assert wire.range(prefix).count == 0


def test_delete_raises_the_revision_by_one(wire, prefix):
    fill(wire, prefix, [b"a", b"b", b"c"])
    before = wire.revision()
    response = wire.delete(prefix, end_of(prefix))
    assert (response.deleted, response.header.revision) == (3, before + 1)


def test_delete_of_nothing_does_not_raise_the_revision(wire, prefix):
    before = wire.revision()
    response = wire.delete(prefix)
    assert (response.deleted, response.header.revision) == (0, before)
    assert wire.revision() == before


def test_second_delete_finds_nothing(wire, prefix):
    wire.put(prefix)
    wire.delete(prefix)
    assert wire.delete(prefix).deleted == 0


def test_delete_of_a_range_leaves_its_end(wire, prefix):
    fill(wire, prefix, [b"a", b"b", b"c"])
    assert wire.delete(prefix + b"a", prefix + b"c").deleted == 2
    assert keys(wire.range(prefix, end_of(prefix)).kvs) == [prefix + b"c"]


def test_delete_of_one_key_leaves_longer_ones(wire, prefix):
    fill(wire, prefix, [b"a", b"aa"])
    wire.delete(prefix + b"a")
    assert keys(wire.range(prefix, end_of(prefix)).kvs) == [prefix + b"aa"]


def test_deleted_key_is_still_there_in_the_past(wire, prefix):
    before = wire.put(prefix, b"v").header.revision
    wire.delete(prefix)
    assert wire.get(prefix, revision=before).value == b"v"


def test_key_is_gone_at_the_revision_of_its_delete(wire, prefix):
    wire.put(prefix, b"v")
    deleted = wire.delete(prefix).header.revision
    assert wire.range(prefix, revision=deleted).count == 0


def test_previous_values_in_key_order(wire, prefix):
    fill(wire, prefix, [b"c", b"a", b"b"])
    response = wire.delete(prefix, end_of(prefix), prev_kv=True)
    assert pairs(response.prev_kvs) == [(prefix + name, b"v" + name) for name in (b"a", b"b", b"c")]


def test_previous_values_are_absent_unless_asked(wire, prefix):
    fill(wire, prefix, [b"a"])
    assert list(wire.delete(prefix, end_of(prefix)).prev_kvs) == []


def test_previous_values_of_nothing(wire, prefix):
    assert list(wire.delete(prefix, prev_kv=True).prev_kvs) == []


def test_previous_value_has_its_revisions_and_lease(wire, prefix, lease):
    attached = lease()
    revision = wire.put(prefix, b"v", lease=attached).header.revision
    [previous] = wire.delete(prefix, prev_kv=True).prev_kvs
    assert (previous.mod_revision, previous.version, previous.lease) == (revision, 1, attached)


def test_reversed_range_deletes_nothing(wire, prefix):
    fill(wire, prefix, [b"a", b"b"])
    assert wire.delete(prefix + b"b", prefix + b"a").deleted == 0
    assert wire.delete(prefix + b"a", prefix + b"a").deleted == 0
    assert wire.range(prefix, end_of(prefix)).count == 2


def test_open_end_deletes_all_keys_from_there(fresh):
    wire = fresh()
    fill(wire, b"", [b"a", b"b", b"\xff"])
    assert wire.delete(b"b", b"\0").deleted == 2
    assert keys(wire.range(b"\0", b"\0").kvs) == [b"a"]
    wire.put(b"z")
    assert wire.delete(b"\0", b"\0").deleted == 2
    assert wire.range(b"\0", b"\0").count == 0


@pytest.mark.parametrize("end", [b"", b"z", b"\0"], ids=repr)
def test_empty_key_is_refused(wire, end):
    with refused(KEY_NOT_PROVIDED):
        wire.delete(b"", end)


def test_delete_detaches_from_the_lease(wire, prefix, lease):
    attached = lease()
    wire.put(prefix, lease=attached)
    wire.delete(prefix)
    assert list(wire.time_to_live(attached, keys=True).keys) == []
    wire.put(prefix, b"new")
    wire.revoke(attached)
    assert wire.get(prefix).value == b"new"


def test_many_keys_in_one_revision(wire, prefix):
    fill(wire, prefix, [b"%03d" % number for number in range(300)])
    before = wire.revision()
    assert wire.delete(prefix, end_of(prefix)).deleted == 300
    assert wire.revision() == before + 1
