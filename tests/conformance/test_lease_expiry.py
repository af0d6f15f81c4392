"""Leases: what expiry does, what prolongs them, what a restart does. These tests wait for real seconds.

All waiting is for conditions; lower bounds are taken from the clock, upper ones only from patience.
"""

import threading
import time

import grpc
import pytest

from coord.wire import methods, rpc_pb2
from tests.conformance.errors import LEASE_NOT_FOUND
from tests.conformance.wire import end_of, refused
from tests.waiting import until


@pytest.mark.surprise(25)
def test_expiry_deletes_all_keys_in_one_sorted_revision(fresh):
    wire = fresh()
    lease = wire.grant(1).ID
    for name in (b"c", b"a", b"b"):
        wire.put(name, lease=lease)
    revision = wire.put(b"stays").header.revision
    stream = wire.watch()
    stream.create(b"a", b"z")
    response = stream.receive()
    assert [(event.type, event.kv.key) for event in response.events] == [(1, b"a"), (1, b"b"), (1, b"c")]
    assert {event.kv.mod_revision for event in response.events} == {revision + 1}
    assert wire.time_to_live(lease).TTL == -1
    assert wire.leases() == []


def test_lease_expires_not_before_its_ttl(quick, prefix):
    began = time.monotonic()
    quick.put(prefix, lease=quick.grant(1).ID)
    until(lambda: quick.range(prefix).count == 0, "expiry")
    assert time.monotonic() - began >= 1.0


def test_lease_without_keys_expires_without_a_revision(fresh):
    wire = fresh()
    lease = wire.grant(1).ID
    until(lambda: lease not in wire.leases(), "expiry")
    assert wire.revision() == 1


def test_shorter_lease_expires_first(quick, prefix):
    stream = quick.watch()
    stream.create(prefix, end_of(prefix), filters=[0])
    long, short = quick.grant(2).ID, quick.grant(1).ID
    quick.put(prefix + b"long", lease=long)
    quick.put(prefix + b"short", lease=short)
    assert [event.kv.key for event in stream.events(2)] == [prefix + b"short", prefix + b"long"]


def test_keep_alive_prolongs(quick, prefix):
    kept, left = quick.grant(1).ID, quick.grant(1).ID
    quick.put(prefix + b"kept", lease=kept)
    quick.put(prefix + b"left", lease=left)
    stream = quick.stream(methods.LEASE_KEEP_ALIVE)
    stop = threading.Event()

    def renew():
        while not stop.wait(0.1):
            stream.send(rpc_pb2.LeaseKeepAliveRequest(ID=kept))

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        until(lambda: quick.range(prefix + b"left").count == 0, "expiry of the lease that nobody renews")
        assert quick.range(prefix + b"kept").count == 1
    finally:
        stop.set()
        renewing.join()
    until(lambda: quick.range(prefix + b"kept").count == 0, "expiry after the renewals ended")


def test_put_does_not_prolong(quick, prefix):
    lease = quick.grant(1).ID

    def put_and_look():
        quick.put(prefix, lease=lease)
        return lease not in quick.leases()

    # a put that comes after the expiry is refused, so the loop ends either way
    with pytest.raises(grpc.RpcError, match="requested lease not found"):
        until(lambda: put_and_look() and False, "expiry in spite of the puts")


def test_detached_key_outlives_the_lease(quick, prefix):
    lease = quick.grant(1).ID
    quick.put(prefix + b"attached", lease=lease)
    quick.put(prefix + b"detached", lease=lease)
    quick.put(prefix + b"detached")
    until(lambda: lease not in quick.leases(), "expiry")
    assert [kv.key for kv in quick.range(prefix, end_of(prefix)).kvs] == [prefix + b"detached"]


def test_time_to_live_falls_and_keep_alive_lifts_it(quick):
    lease = quick.grant(10).ID
    until(lambda: quick.time_to_live(lease).TTL <= 7, "a time to live of 7")
    stream = quick.stream(methods.LEASE_KEEP_ALIVE)
    stream.send(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
    assert stream.receive().TTL == 10
    assert quick.time_to_live(lease).TTL >= 8
    quick.revoke(lease)


def test_expired_lease_is_unknown(quick):
    lease = quick.grant(1).ID
    until(lambda: lease not in quick.leases(), "expiry")
    stream = quick.stream(methods.LEASE_KEEP_ALIVE)
    stream.send(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
    assert stream.receive().TTL == 0
    with refused(LEASE_NOT_FOUND):
        quick.revoke(lease)
    assert lease == quick.grant(1, lease).ID


def test_many_leases_expire_together(quick, prefix):
    leases = {quick.grant(1).ID for _ in range(100)}
    for lease in leases:
        quick.put(prefix + b"%x" % lease, lease=lease)
    until(lambda: quick.range(prefix, end_of(prefix)).count == 0, "expiry of all")
    until(lambda: not leases.intersection(quick.leases()), "the leases to be forgotten")


@pytest.mark.surprise(26)
def test_restart_keeps_leases_and_gives_them_their_full_ttl(fresh):
    wire = fresh()
    lease = wire.grant(100).ID
    wire.put(b"a", lease=lease)
    wire.put(b"b", lease=lease)
    until(lambda: wire.time_to_live(lease).TTL <= 97, "some of the time to pass")
    wire.server.restart()
    response = wire.time_to_live(lease, keys=True)
    assert response.TTL >= 98
    assert (response.grantedTTL, sorted(response.keys)) == (100, [b"a", b"b"])
    revision = wire.revision()
    assert wire.revoke(lease).header.revision == revision + 1
    assert wire.range(b"\0", b"\0").count == 0


def test_lease_expires_after_a_restart(fresh):
    wire = fresh()
    wire.put(b"k", lease=wire.grant(1).ID)
    wire.server.restart()
    until(lambda: wire.range(b"k").count == 0, "expiry after the restart")
