"""Leases: grant, attach, revoke, keep-alive, what is told about them. Expiry is in test_lease_expiry."""

import pytest

from coord.wire import methods, rpc_pb2
from tests.conformance.errors import LEASE_EXISTS, LEASE_NOT_FOUND, TTL_TOO_LARGE
from tests.conformance.wire import end_of, op_put, refused

UNKNOWN = 0x7FFF_0000_1234


def renew(stream, lease):
    stream.send(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
    return stream.receive()


def test_server_picks_a_positive_id(wire, lease):
    ids = {lease() for _ in range(10)}
    assert len(ids) == 10
    assert all(0 < lease_id < 2**63 for lease_id in ids)


@pytest.mark.parametrize("wished", [1, 123456, 2**63 - 1])
def test_wished_id_is_granted(wire, lease, wished):
    assert lease(600, wished) == wished


@pytest.mark.surprise(23)
def test_negative_id_is_granted(wire, prefix, lease):
    assert lease(600, -7) == -7
    wire.put(prefix, lease=-7)
    assert wire.get(prefix).lease == -7
    wire.revoke(-7)
    assert wire.range(prefix).count == 0


def test_grant_answers_with_id_ttl_and_no_error(wire):
    response = wire.grant(600, 4242)
    assert (response.ID, response.TTL, response.error) == (4242, 600, "")
    wire.revoke(4242)


def test_grant_does_not_raise_the_revision(wire, prefix, lease):
    before = wire.put(prefix).header.revision
    assert wire.grant(600, 4243).header.revision == before
    assert wire.revoke(4243).header.revision == before
    assert wire.revision() == before


def test_id_in_use_is_refused(wire, lease):
    taken = lease()
    with refused(LEASE_EXISTS):
        wire.grant(600, taken)


def test_id_can_be_used_again_after_revoke(wire, lease):
    taken = lease()
    wire.revoke(taken)
    assert lease(600, taken) == taken


@pytest.mark.surprise(23)
@pytest.mark.parametrize("ttl", [1, 0, -5, -(2**62)])
def test_short_ttl_is_raised_to_the_minimum(wire, ttl):
    response = wire.grant(ttl)
    wire.revoke(response.ID)
    assert response.TTL == 2


@pytest.mark.parametrize("ttl", [2, 3, 60])
def test_ttl_above_the_minimum_is_granted(wire, ttl):
    response = wire.grant(ttl)
    wire.revoke(response.ID)
    assert ttl == response.TTL


@pytest.mark.surprise(23)
def test_largest_ttl(wire):
    response = wire.grant(9_000_000_000)
    wire.revoke(response.ID)
    assert response.TTL == 9_000_000_000
    with refused(TTL_TOO_LARGE):
        wire.grant(9_000_000_001)


def test_ttl_is_refused_before_the_id(wire, lease):
    with refused(TTL_TOO_LARGE):
        wire.grant(9_000_000_001, lease())


def test_minimum_follows_the_election_timeout(fresh):
    wire = fresh("--heartbeat-interval=500", "--election-timeout=3000")
    assert wire.grant(1).TTL == 5  # 1.5 x 6 ticks of 0.5 s, rounded up


@pytest.mark.surprise(24)
@pytest.mark.parametrize("lease_id", [UNKNOWN, 0, -1])
def test_revoke_of_an_unknown_lease_is_refused(wire, lease_id):
    with refused(LEASE_NOT_FOUND):
        wire.revoke(lease_id)


def test_second_revoke_is_refused(wire, lease):
    lease_id = lease()
    wire.revoke(lease_id)
    with refused(LEASE_NOT_FOUND):
        wire.revoke(lease_id)


def test_revoke_deletes_the_attached_keys_in_one_revision(wire, prefix):
    lease_id = wire.grant(600).ID
    for name in (b"a", b"b", b"c"):
        wire.put(prefix + name, lease=lease_id)
    before = wire.put(prefix + b"stays").header.revision
    assert wire.revoke(lease_id).header.revision == before + 1
    assert [kv.key for kv in wire.range(prefix, end_of(prefix)).kvs] == [prefix + b"stays"]


def test_revoke_without_keys_does_not_raise_the_revision(wire, prefix):
    lease_id = wire.grant(600).ID
    before = wire.put(prefix).header.revision
    assert wire.revoke(lease_id).header.revision == before


def test_revoke_after_the_last_key_was_deleted(wire, prefix):
    lease_id = wire.grant(600).ID
    wire.put(prefix, lease=lease_id)
    before = wire.delete(prefix).header.revision
    assert wire.revoke(lease_id).header.revision == before


def test_put_with_a_revoked_lease_is_refused(wire, prefix):
    lease_id = wire.grant(600).ID
    wire.revoke(lease_id)
    with refused(LEASE_NOT_FOUND):
        wire.put(prefix, lease=lease_id)


def test_keys_of_one_txn_are_attached(wire, prefix, lease):
    lease_id = lease()
    wire.txn(success=[op_put(prefix + b"a", lease=lease_id), op_put(prefix + b"b", lease=lease_id)])
    assert sorted(wire.time_to_live(lease_id, keys=True).keys) == [prefix + b"a", prefix + b"b"]


def test_several_leases_keep_apart(wire, prefix, lease):
    first, second = lease(), lease()
    wire.put(prefix + b"1", lease=first)
    wire.put(prefix + b"2", lease=second)
    wire.revoke(first)
    assert [kv.key for kv in wire.range(prefix, end_of(prefix)).kvs] == [prefix + b"2"]


def test_time_to_live(wire, lease):
    lease_id = lease(600)
    response = wire.time_to_live(lease_id)
    assert (response.ID, response.grantedTTL, list(response.keys)) == (lease_id, 600, [])
    assert 590 <= response.TTL < 600  # whole seconds, cut off: 599 right after the grant


def test_time_to_live_shows_the_raised_ttl(wire):
    lease_id = wire.grant(1).ID
    assert wire.time_to_live(lease_id).grantedTTL == 2
    wire.revoke(lease_id)


@pytest.mark.surprise(24)
@pytest.mark.parametrize("lease_id", [UNKNOWN, 0, -1])
def test_time_to_live_of_an_unknown_lease(wire, lease_id):
    response = wire.time_to_live(lease_id, keys=True)
    assert (response.ID, response.TTL, response.grantedTTL, list(response.keys)) == (lease_id, -1, 0, [])


def test_keys_are_listed_only_when_asked(wire, prefix, lease):
    lease_id = lease()
    wire.put(prefix, lease=lease_id)
    assert list(wire.time_to_live(lease_id).keys) == []
    assert list(wire.time_to_live(lease_id, keys=True).keys) == [prefix]


def test_header_of_time_to_live(wire, prefix, lease):
    revision = wire.put(prefix).header.revision
    assert wire.time_to_live(lease()).header.revision == revision
    assert wire.time_to_live(UNKNOWN).header.revision == revision


def test_leases_are_listed(wire, lease):
    first, second = lease(), lease()
    assert {first, second} <= set(wire.leases())
    wire.revoke(first)
    assert first not in wire.leases()
    assert second in wire.leases()


def test_list_of_a_fresh_server_is_empty(fresh):
    wire = fresh()
    assert wire.leases() == []
    wire.grant(600, 77)
    assert wire.leases() == [77]


def test_keep_alive_answers_with_the_granted_ttl(wire, prefix, lease):
    lease_id = lease(600)
    revision = wire.put(prefix).header.revision
    response = renew(wire.stream(methods.LEASE_KEEP_ALIVE), lease_id)
    assert (response.ID, response.TTL, response.header.revision) == (lease_id, 600, revision)


def test_keep_alive_answers_each_request(wire, lease):
    first, second = lease(600), lease(300)
    stream = wire.stream(methods.LEASE_KEEP_ALIVE)
    for lease_id in (first, second, first):
        stream.send(rpc_pb2.LeaseKeepAliveRequest(ID=lease_id))
    answers = [stream.receive() for _ in range(3)]
    assert [(answer.ID, answer.TTL) for answer in answers] == [(first, 600), (second, 300), (first, 600)]


@pytest.mark.surprise(24)
@pytest.mark.parametrize("lease_id", [UNKNOWN, 0])
def test_keep_alive_of_an_unknown_lease_is_ttl_zero_and_the_stream_lives(wire, lease, lease_id):
    stream = wire.stream(methods.LEASE_KEEP_ALIVE)
    answer = renew(stream, lease_id)
    assert (lease_id, 0) == (answer.ID, answer.TTL)
    assert renew(stream, lease(600)).TTL == 600


def test_keep_alive_of_a_revoked_lease(wire):
    lease_id = wire.grant(600).ID
    stream = wire.stream(methods.LEASE_KEEP_ALIVE)
    assert renew(stream, lease_id).TTL == 600
    wire.revoke(lease_id)
    assert renew(stream, lease_id).TTL == 0


@pytest.mark.surprise(19)
def test_keep_alive_ends_cleanly_on_half_close(wire, lease):
    stream = wire.stream(methods.LEASE_KEEP_ALIVE)
    assert renew(stream, lease(600)).TTL == 600
    stream.half_close()
    assert stream.status()[0].name == "OK"


def test_keep_alive_does_not_raise_the_revision(wire, prefix, lease):
    revision = wire.put(prefix).header.revision
    renew(wire.stream(methods.LEASE_KEEP_ALIVE), lease())
    assert wire.revision() == revision


def test_lease_of_a_thousand_keys(wire, prefix):
    lease_id = wire.grant(600).ID
    for start in range(0, 1000, 100):
        wire.txn(success=[op_put(prefix + b"%04d" % (start + step), lease=lease_id) for step in range(100)])
    before = wire.revision()
    assert len(wire.time_to_live(lease_id, keys=True).keys) == 1000
    assert wire.revoke(lease_id).header.revision == before + 1
    assert wire.range(prefix, end_of(prefix)).count == 0
