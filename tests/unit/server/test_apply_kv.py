"""Puts, deletes, compaction: answers, headers, refusals."""

from __future__ import annotations

import pytest

from coord.server.entry_pb2 import Envelope
from coord.server.invariant import InvariantBroken
from coord.statuses import COMPACTED, FUTURE_REVISION, KEY_NOT_FOUND, LEASE_NOT_FOUND
from coord.wire import rpc_pb2 as pb
from coord.wire.mvcc_pb2 import KeyValue
from tests.unit.server.machine import CLUSTER, MEMBER, TERM, Machine, refusal


@pytest.fixture
def machine():
    return Machine()


def header(revision: int) -> pb.ResponseHeader:
    return pb.ResponseHeader(cluster_id=CLUSTER, member_id=MEMBER, revision=revision, raft_term=TERM)


def test_a_put_answers_with_the_revision_after_it(machine):
    assert machine.put(b"k", b"v") == pb.PutResponse(header=header(2))
    assert machine.range(b"k") == pb.RangeResponse(
        header=header(2),
        kvs=[KeyValue(key=b"k", create_revision=2, mod_revision=2, version=1, value=b"v")],
        count=1,
    )


def test_a_put_of_the_same_value_raises_the_revision(machine):
    machine.put(b"k", b"v")
    assert machine.put(b"k", b"v").header.revision == 3


def test_the_previous_value_comes_if_asked_for(machine):
    assert not machine.put(b"k", b"1", prev_kv=True).HasField("prev_kv")
    previous = machine.put(b"k", b"2", prev_kv=True).prev_kv
    assert previous == KeyValue(key=b"k", create_revision=2, mod_revision=2, version=1, value=b"1")
    assert not machine.put(b"k", b"3").HasField("prev_kv")


def test_an_empty_value_is_a_value(machine):
    machine.put(b"k")
    assert machine.range(b"k").count == 1
    assert machine.range(b"l").count == 0


def test_ignore_value_and_ignore_lease_keep_what_was(machine):
    machine.grant(7)
    machine.put(b"k", b"old", lease=7)
    machine.put(b"k", lease=0, ignore_value=True)
    assert (machine.range(b"k").kvs[0].value, machine.range(b"k").kvs[0].lease) == (b"old", 0)
    machine.put(b"k", b"old", lease=7)
    machine.put(b"k", b"new", ignore_lease=True)
    assert (machine.range(b"k").kvs[0].value, machine.range(b"k").kvs[0].lease) == (b"new", 7)
    assert machine.sm.lessor.keys_of(7) == [b"k"]


@pytest.mark.parametrize("option", ["ignore_value", "ignore_lease"])
def test_keeping_what_does_not_exist_is_refused(machine, option):
    with refusal(KEY_NOT_FOUND):
        machine.put(b"k", **{option: True})
    assert machine.sm.revision == 1


def test_an_unknown_lease_is_refused_before_a_missing_key(machine):
    with refusal(LEASE_NOT_FOUND):
        machine.put(b"k", lease=9)
    with refusal(LEASE_NOT_FOUND):
        machine.put(b"k", lease=-9, ignore_value=True)


def test_delete_counts_and_returns_what_went_in_key_order(machine):
    for key in (b"b", b"a", b"c"):
        machine.put(key, key)
    response = machine.delete(b"a", b"c", prev_kv=True)
    assert (response.deleted, [kv.key for kv in response.prev_kvs], response.header) == (2, [b"a", b"b"], header(5))
    response = machine.delete(b"a", b"c")
    assert (response.deleted, response.header.revision) == (0, 5)


def test_delete_with_an_open_end_and_backwards(machine):
    for key in (b"a", b"b", b"c"):
        machine.put(key)
    assert machine.delete(b"c", b"a").deleted == 0
    assert machine.delete(b"b", b"\0").deleted == 2
    assert machine.delete(b"\0", b"\0").deleted == 1


def test_a_key_created_again_starts_a_new_version(machine):
    machine.put(b"k")
    machine.put(b"k")
    machine.delete(b"k")
    machine.put(b"k")
    kv = machine.range(b"k").kvs[0]
    assert (kv.create_revision, kv.mod_revision, kv.version) == (5, 5, 1)


def test_compaction_answers_with_the_current_revision_and_refuses_old_reads(machine):
    for value in (b"1", b"2", b"3"):
        machine.put(b"k", value)
    assert machine.compact(3) == pb.CompactionResponse(header=header(4))
    assert machine.range(b"k", revision=3).kvs[0].value == b"2"
    with refusal(COMPACTED):
        machine.range(b"k", revision=2)
    with refusal(FUTURE_REVISION):
        machine.range(b"k", revision=5)
    with refusal(COMPACTED):
        machine.compact(3)
    with refusal(FUTURE_REVISION):
        machine.compact(5)


def test_a_fresh_store_compacts_at_zero_once(machine):
    with refusal(COMPACTED):
        machine.compact(-1)
    machine.compact(0)
    with refusal(COMPACTED):
        machine.compact(0)
    machine.compact(1)
    assert machine.restarted().sm.compact_revision == 1


def test_a_restart_finds_everything(machine):
    machine.grant(7)
    machine.put(b"k", b"1", lease=7)
    machine.put(b"k", b"2", lease=7)
    machine.put(b"l", b"3")
    machine.delete(b"l")
    machine.alarm(pb.AlarmRequest.ACTIVATE, pb.NOSPACE)
    machine.compact(3)
    again = machine.restarted()
    again.check()
    assert again.sm.revision == 5
    assert again.sm.compact_revision == 3
    assert again.sm.compaction_pending
    assert again.range(b"\0", b"\0") == machine.range(b"\0", b"\0")
    assert again.range(b"\0", b"\0", revision=4) == machine.range(b"\0", b"\0", revision=4)
    assert again.sm.lessor.keys_of(7) == [b"k"]
    assert again.sm.alarms.is_set(pb.NOSPACE)
    assert again.sm.hash_kv() == machine.sm.hash_kv()


def test_hash_kv_answers_with_revision_and_mark(machine):
    assert machine.sm.hash_kv().hash == 1084519789
    assert machine.sm.hash_kv().compact_revision == -1
    machine.put(b"k")
    machine.put(b"k")
    assert machine.sm.hash_kv(2).hash_revision == 2
    assert machine.sm.hash_kv(0) == machine.sm.hash_kv(3)
    machine.compact(3)
    assert machine.sm.hash_kv(3).compact_revision == 3
    with refusal(COMPACTED):
        machine.sm.hash_kv(2)
    with refusal(FUTURE_REVISION):
        machine.sm.hash_kv(4)
    assert machine.sm.hash_kv(-1).hash == 1084519789


def test_member_attributes_are_kept_and_cluster_responses_have_no_revision(machine):
    machine.put(b"k")
    response = machine.apply(
        member_attributes=Envelope(
            member_attributes={"member_id": 10, "name": "one", "client_urls": ["http://127.0.0.1:2379"]}
        ).member_attributes
    )
    assert response.header.revision == 0
    members = machine.restarted().sm.members.list()
    assert [(member.ID, member.name, list(member.clientURLs)) for member in members] == [
        (10, "one", ["http://127.0.0.1:2379"])
    ]


def test_an_entry_of_an_unknown_kind_stops_the_machine(machine):
    with pytest.raises(InvariantBroken):
        machine.sm.apply(Envelope(version=1))


def test_two_members_given_the_same_log_hold_the_same_bytes():
    one, two = Machine(), Machine()
    two.now = 5e6
    for machine in (one, two):
        machine.grant(7)
        machine.grant(8, 5)
        for number in range(50):
            machine.put(b"k%d" % (number % 7), b"%d" % number, lease=(0, 7, 8)[number % 3])
        machine.delete(b"k1", b"k3")
        machine.revoke(8)
        machine.alarm(pb.AlarmRequest.ACTIVATE, pb.NOSPACE, 3)
        machine.compact(20)
    assert one.backend._maps == two.backend._maps
