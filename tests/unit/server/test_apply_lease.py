"""Leases through the state machine: with their keys, answers and revisions."""

from __future__ import annotations

import pytest

from coord.statuses import LEASE_EXISTS, LEASE_NOT_FOUND, LEASE_TTL_TOO_LARGE
from coord.wire import rpc_pb2 as pb
from tests.unit.server.machine import Machine, refusal


@pytest.fixture
def machine():
    return Machine()


def keep_alive(machine: Machine, lease: int) -> int:
    return machine.sm.lease_keep_alive(pb.LeaseKeepAliveRequest(ID=lease)).TTL


def time_to_live(machine: Machine, lease: int, keys: bool = False) -> pb.LeaseTimeToLiveResponse:
    return machine.sm.lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=lease, keys=keys))


def test_a_grant_answers_with_the_ttl_it_gave_and_raises_no_revision(machine):
    response = machine.grant(7, 0)
    assert (response.ID, response.TTL, response.header.revision, response.error) == (7, 2, 1, "")
    with refusal(LEASE_EXISTS):
        machine.grant(7)
    with refusal(LEASE_TTL_TOO_LARGE):
        machine.grant(8, 9_000_000_001)
    assert machine.grant(8, 9_000_000_000).TTL == 9_000_000_000


def test_a_revocation_deletes_all_keys_in_one_revision_sorted(machine):
    machine.grant(7)
    for key in (b"c", b"a", b"b"):
        machine.put(key, lease=7)
    machine.put(b"other")
    stream = machine.sm.watch_hub.open(lambda: None)
    stream.create(pb.WatchCreateRequest(key=b"\0", range_end=b"\0"))
    assert machine.revoke(7).header.revision == 6
    stream.pop()
    response = pb.WatchResponse.FromString(stream.pop() or b"")
    assert [(event.type, event.kv.key) for event in response.events] == [(1, b"a"), (1, b"b"), (1, b"c")]
    assert stream.pop() is None
    assert machine.keys() == [b"other"]
    assert 7 not in machine.restarted().sm.lessor


def test_a_revocation_without_keys_raises_no_revision(machine):
    machine.grant(7)
    assert machine.revoke(7).header.revision == 1
    for lease in (7, 0):
        with refusal(LEASE_NOT_FOUND):
            machine.revoke(lease)


def test_a_put_without_lease_takes_the_key_off_it(machine):
    machine.grant(7)
    machine.grant(8)
    machine.put(b"k", lease=7)
    machine.put(b"k", lease=8)
    assert list(time_to_live(machine, 7, keys=True).keys) == []
    machine.put(b"k")
    assert list(time_to_live(machine, 8, keys=True).keys) == []
    machine.revoke(7)
    machine.revoke(8)
    assert machine.keys() == [b"k"]


def test_a_deleted_key_is_off_its_lease(machine):
    machine.grant(7)
    machine.put(b"k", lease=7)
    machine.delete(b"k")
    machine.put(b"k")
    machine.revoke(7)
    assert machine.keys() == [b"k"]


def test_time_to_live_tells_whole_seconds_and_keys_only_if_asked(machine):
    machine.grant(7, 100)
    machine.put(b"k", lease=7)
    machine.now += 0.3
    response = time_to_live(machine, 7)
    assert (response.TTL, response.grantedTTL, list(response.keys), response.header.revision) == (99, 100, [], 2)
    assert list(time_to_live(machine, 7, keys=True).keys) == [b"k"]


@pytest.mark.parametrize("lease", [0, 9, -9])
def test_an_unknown_lease_has_minus_one_to_live_and_renews_to_zero(machine, lease):
    response = time_to_live(machine, lease, keys=True)
    assert (response.ID, response.TTL, response.grantedTTL) == (lease, -1, 0)
    assert keep_alive(machine, lease) == 0


def test_keep_alive_gives_the_full_time_again(machine):
    machine.grant(7, 10)
    machine.now += 8
    assert keep_alive(machine, 7) == 10
    assert time_to_live(machine, 7).TTL == 10


def test_a_lease_that_ran_out_keeps_its_keys_until_the_revocation_is_applied(machine):
    machine.grant(7, 10)
    machine.put(b"k", lease=7)
    machine.now += 10
    assert keep_alive(machine, 7) == 0
    assert machine.sm.lessor.due(machine.now) == [7]
    assert machine.keys() == [b"k"]
    machine.revoke(7)
    assert machine.keys() == []


def test_after_a_restart_the_time_starts_over_in_full(machine):
    machine.grant(7, 100)
    machine.now += 60
    again = machine.restarted()
    assert time_to_live(again, 7).TTL == 100


def test_leases_are_listed_nearest_expiry_first(machine):
    machine.grant(7, 50)
    machine.grant(-8, 20)
    assert [lease.ID for lease in machine.sm.lease_leases().leases] == [-8, 7]


def test_a_checkpoint_shortens_what_the_next_leader_gives(machine):
    machine.grant(7, 1000)
    machine.apply(
        lease_checkpoint=pb.LeaseCheckpointRequest(
            checkpoints=[pb.LeaseCheckpoint(ID=7, remaining_TTL=400), pb.LeaseCheckpoint(ID=99, remaining_TTL=1)]
        )
    )
    assert time_to_live(machine.restarted(), 7).TTL == 400
