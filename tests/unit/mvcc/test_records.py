from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coord.server.mvcc import records
from coord.wire.mvcc_pb2 import Event, KeyValue
from coord.wire.rpc_pb2 import WatchResponse

numbers = st.one_of(
    st.integers(0, 300), st.integers(2**14 - 2, 2**14 + 2), st.integers(2**28 - 2, 2**28 + 2), st.integers(1, 2**63 - 1)
)
leases = st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1))
kvs = st.tuples(st.binary(min_size=1, max_size=300), numbers, numbers, numbers, st.binary(max_size=300), leases)


@given(kvs)
def test_a_record_is_the_protobuf_encoding(kv):
    key, create, mod, version, value, lease = kv
    message = KeyValue(key=key, create_revision=create, mod_revision=mod, version=version, value=value, lease=lease)
    encoded = records.encode_record(key, create or 1, mod or 1, version or 1, value, lease)
    message.create_revision, message.mod_revision, message.version = create or 1, mod or 1, version or 1
    assert encoded == message.SerializeToString()


@given(kvs)
def test_fields_are_read_back(kv):
    key, create, mod, version, value, lease = kv
    data = KeyValue(
        key=key, create_revision=create, mod_revision=mod, version=version, value=value, lease=lease
    ).SerializeToString()
    assert records.decode_record(data) == records.Record(key, create, mod, version, value, lease)
    assert records.record_key(data) == key
    assert records.record_value(data) == value
    assert records.incarnation_of(data) == (key, create, version, lease)
    stripped = KeyValue(key=key, create_revision=create, mod_revision=mod, version=version, lease=lease)
    assert records.without_value(data) == stripped.SerializeToString()


@given(kvs, st.booleans(), st.one_of(st.none(), kvs))
def test_an_event_is_a_field_of_a_watch_response(kv, deleted, previous):
    key, _, mod, _, value, lease = kv
    mod = mod or 1
    if deleted:
        record = records.encode_tombstone(key)
        expected = Event(type=Event.DELETE, kv=KeyValue(key=key, mod_revision=mod))
    else:
        record = records.encode_record(key, 1, mod, 1, value, lease)
        expected = Event(kv=KeyValue.FromString(record))
    old = None if previous is None else records.encode_record(previous[0], 1, 1, 1, previous[4], previous[5])
    if old is not None:
        expected.prev_kv.MergeFromString(old)
    assert records.encode_event(record, mod, deleted, old) == WatchResponse(events=[expected]).SerializeToString()


@given(st.integers(-(2**63), 2**64 - 1))
def test_varints_read_back(number):
    assert records.read_varint(records.varint(number), 0)[0] == number & (2**64 - 1)


@pytest.mark.parametrize("pair", [(2, 0), (2, 1), (3, 0), (255, 3), (256, 0), (2**40, 2**20)])
def test_revision_keys_sort_as_revisions(pair):
    main, sub = pair
    key = records.revision_key(main, sub)
    assert records.main_sub_of(key) == pair
    assert records.main_of(key) == main
    assert len(key) == records.REVISION_KEY_LEN
    assert not records.is_tombstone(key)
    assert records.is_tombstone(key + records.TOMBSTONE)
    assert records.revision_key(main, sub) < key + records.TOMBSTONE < records.revision_key(main, sub + 1)
    assert records.revision_key(main, 2**60) < records.revision_key(main + 1, 0)


def test_a_tombstone_has_only_the_key():
    assert KeyValue.FromString(records.encode_tombstone(b"k" * 200)) == KeyValue(key=b"k" * 200)


def test_a_record_made_by_its_creation_says_so():
    assert records.created_by(records.encode_record(b"k", 5, 5, 1, b"", 0))
    assert not records.created_by(records.encode_record(b"k", 5, 6, 2, b"", 0))


def test_the_empty_record_of_a_revision_bump_has_no_key():
    assert records.record_key(b"") == b""
