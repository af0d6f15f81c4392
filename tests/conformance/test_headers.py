"""The response header, and what a restart does to it."""

import pytest

from coord.wire import methods, rpc_pb2
from tests.conformance.wire import op_put

UNARY = {
    "range": (methods.KV_RANGE, rpc_pb2.RangeRequest(key=b"k")),
    "put": (methods.KV_PUT, rpc_pb2.PutRequest(key=b"header test")),
    "delete": (methods.KV_DELETE_RANGE, rpc_pb2.DeleteRangeRequest(key=b"header test")),
    "txn": (methods.KV_TXN, rpc_pb2.TxnRequest()),
    "lease grant": (methods.LEASE_GRANT, rpc_pb2.LeaseGrantRequest(TTL=2)),
    "time to live": (methods.LEASE_TIME_TO_LIVE, rpc_pb2.LeaseTimeToLiveRequest(ID=1)),
    "leases": (methods.LEASE_LEASES, rpc_pb2.LeaseLeasesRequest()),
    "status": (methods.STATUS, rpc_pb2.StatusRequest()),
}


@pytest.mark.parametrize("call", UNARY)
def test_header_is_complete(wire, call):
    before = wire.revision()
    header = wire.call(*UNARY[call]).header
    status = wire.status()
    assert (header.cluster_id, header.member_id) == (status.header.cluster_id, status.header.member_id)
    assert header.cluster_id != header.member_id != 0
    assert header.raft_term == status.raftTerm
    assert before <= header.revision <= wire.revision()


@pytest.mark.surprise(32)
def test_header_of_the_member_list_has_no_revision(wire, prefix):
    wire.put(prefix)
    header = wire.call(methods.MEMBER_LIST, rpc_pb2.MemberListRequest()).header
    expected = wire.status().header
    assert (header.cluster_id, header.member_id, header.raft_term, header.revision) == (
        expected.cluster_id,
        expected.member_id,
        expected.raft_term,
        0,
    )


def test_header_of_a_write_is_the_revision_of_the_write(wire, prefix):
    revision = wire.put(prefix).header.revision
    assert wire.get(prefix).mod_revision == revision
    revision = wire.txn(success=[op_put(prefix)]).header.revision
    assert wire.get(prefix).mod_revision == revision


def test_header_of_a_read_is_not_older_than_a_write_before_it(wire, prefix):
    for _ in range(50):
        written = wire.put(prefix).header.revision
        assert wire.range(prefix).header.revision >= written


def test_term_of_a_new_server_is_two(fresh):
    assert fresh().put(b"k").header.raft_term == 2


def test_restart_raises_the_term_and_keeps_the_rest(fresh):
    wire = fresh()
    before = wire.put(b"k", b"v").header
    wire.server.restart()
    response = wire.range(b"k")
    after = response.header
    assert (after.cluster_id, after.member_id, after.revision) == (
        before.cluster_id,
        before.member_id,
        before.revision,
    )
    assert after.raft_term > before.raft_term
    assert response.kvs[0].value == b"v"


def test_acknowledged_writes_survive_a_kill(fresh):
    wire = fresh()
    lease = wire.grant(600).ID
    written = [wire.put(b"k%d" % (number % 10), b"%d" % number, lease=lease).header.revision for number in range(100)]
    wire.delete(b"k3")
    wire.server.kill()
    wire.server.start()
    assert wire.revision() == written[-1] + 1
    found = {kv.key: kv.value for kv in wire.range(b"\0", b"\0").kvs}
    assert found == {b"k%d" % number: b"%d" % (90 + number) for number in range(10) if number != 3}
    assert len(wire.time_to_live(lease, keys=True).keys) == 9
    assert wire.get(b"k0", revision=written[0]).value == b"0"
