"""The envelope, its version, its size as etcd counts it, and request ids."""

from __future__ import annotations

import pytest

from coord.server.entry_pb2 import Envelope
from coord.server.member import commands
from coord.wire.rpc_pb2 import DeleteRangeRequest, PutRequest

LIMIT = 1_572_864
ID = 0x4DD8_1234_5678_9ABC


def put(size: int) -> bytes:
    return commands.encode(ID, 0x8E9A_AEDA_B51D_4DD8, {"put": PutRequest(key=b"key", value=b"v" * size)})


def test_what_is_encoded_comes_back() -> None:
    data = commands.encode(ID, 9, {"delete_range": DeleteRangeRequest(key=b"k")}, user="root", auth_revision=4)
    envelope = commands.decode(data)
    assert (envelope.request_id, envelope.member_id, envelope.user, envelope.auth_revision) == (ID, 9, "root", 4)
    assert envelope.WhichOneof("body") == "delete_range"
    assert envelope.delete_range.key == b"k"


def test_an_entry_of_a_newer_version_is_refused() -> None:
    data = Envelope(version=commands.VERSION + 1, put=PutRequest(key=b"k")).SerializeToString()
    with pytest.raises(commands.EntryRefused, match="newer version"):
        commands.decode(data)


def test_an_entry_without_version_is_refused() -> None:
    with pytest.raises(commands.EntryRefused):
        commands.decode(Envelope(put=PutRequest(key=b"k")).SerializeToString())


def test_damage_is_refused() -> None:
    with pytest.raises(commands.EntryRefused, match="not an envelope"):
        commands.decode(b"\xff\xff\xff")


def test_the_largest_value_is_the_one_etcd_takes() -> None:
    assert not commands.too_large(put(1_572_838), ID, LIMIT)
    assert commands.too_large(put(1_572_839), ID, LIMIT)


def test_a_small_request_is_small() -> None:
    assert not commands.too_large(put(10), ID, LIMIT)
    assert commands.too_large(put(500), ID, 400)


def test_the_user_counts_as_in_etcd() -> None:
    named = commands.encode(ID, 1, {"put": PutRequest(key=b"key", value=b"v" * 1_572_838)}, user="u", auth_revision=1)
    assert commands.too_large(named, ID, LIMIT)


def test_ids_differ_and_carry_the_member() -> None:
    ids = commands.RequestIds(0x8E9A_AEDA_B51D_4DD8, 1_700_000_000_000)
    made = [ids.next() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(one >> 48 == 0x4DD8 for one in made)


def test_a_later_start_makes_other_ids() -> None:
    before = commands.RequestIds(5, 1_700_000_000_000)
    used = {before.next() for _ in range(255)}
    after = commands.RequestIds(5, 1_700_000_000_001)
    assert used.isdisjoint(after.next() for _ in range(255))
