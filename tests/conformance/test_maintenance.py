"""Status, alarms and the space quota."""

import re

import grpc
import pytest

from coord.wire import methods, rpc_pb2
from tests.conformance.errors import CORRUPT, KEY_NOT_PROVIDED, NO_SPACE
from tests.conformance.wire import compare, op_delete, op_put, op_range, refused
from tests.waiting import until

GET, ACTIVATE, DEACTIVATE = 0, 1, 2
NOSPACE, CORRUPTION = 1, 2


def alarms(response):
    return [(alarm.memberID, alarm.alarm) for alarm in response.alarms]


def test_status_of_a_single_member(wire, prefix):
    wire.put(prefix)
    status = wire.status()
    assert re.fullmatch(r"3\.\d+\.\d+", status.version)
    assert status.leader == status.header.member_id
    assert status.raftTerm == status.header.raft_term
    assert status.isLearner is False
    assert list(status.errors) == []


def test_status_shows_the_size_of_the_database(wire, prefix):
    wire.put(prefix, b"x" * 100_000)
    status = wire.status()
    assert status.dbSize >= status.dbSizeInUse > 0


def test_applied_index_rises_with_writes_and_not_with_reads(wire, prefix):
    wire.put(prefix)
    before = wire.status()
    wire.range(prefix)
    assert wire.status().raftAppliedIndex == before.raftAppliedIndex
    wire.put(prefix)
    after = wire.status()
    assert after.raftAppliedIndex == before.raftAppliedIndex + 1
    assert after.raftIndex >= after.raftAppliedIndex


def test_status_revision_is_the_current_one(wire, prefix):
    assert wire.put(prefix).header.revision == wire.status().header.revision


def test_no_alarms_at_first(fresh):
    assert alarms(fresh().alarm()) == []


def test_alarm_is_activated_listed_and_deactivated(fresh):
    wire = fresh()
    member = wire.status().header.member_id
    assert alarms(wire.alarm(ACTIVATE, member, NOSPACE)) == [(member, NOSPACE)]
    assert alarms(wire.alarm(ACTIVATE, member, NOSPACE)) == [(member, NOSPACE)]
    assert alarms(wire.alarm(GET)) == [(member, NOSPACE)]
    assert alarms(wire.alarm(DEACTIVATE, member, NOSPACE)) == [(member, NOSPACE)]
    assert alarms(wire.alarm(GET)) == []


def test_alarms_can_be_listed_by_type(fresh):
    wire = fresh()
    member = wire.status().header.member_id
    wire.alarm(ACTIVATE, member, NOSPACE)
    wire.alarm(ACTIVATE, 42, NOSPACE)
    assert sorted(alarms(wire.alarm(GET, 0, NOSPACE))) == sorted([(member, NOSPACE), (42, NOSPACE)])
    assert alarms(wire.alarm(GET, 0, CORRUPTION)) == []


@pytest.mark.surprise(29)
def test_deactivation_must_match_member_and_type(fresh):
    wire = fresh()
    member = wire.status().header.member_id
    wire.alarm(ACTIVATE, member, NOSPACE)
    assert alarms(wire.alarm(DEACTIVATE, 0, NOSPACE)) == []
    assert alarms(wire.alarm(DEACTIVATE, member, CORRUPTION)) == []
    assert alarms(wire.alarm(GET)) == [(member, NOSPACE)]


def test_alarm_survives_a_restart(fresh):
    wire = fresh()
    member = wire.status().header.member_id
    wire.alarm(ACTIVATE, member, NOSPACE)
    wire.server.restart()
    assert alarms(wire.alarm(GET)) == [(member, NOSPACE)]
    with refused(NO_SPACE):
        wire.put(b"k")


def test_alarm_header(fresh, expected):
    wire = fresh()
    header = wire.alarm(GET).header
    assert (header.member_id != 0) == (expected("alarm: header") == "filled")


def test_status_names_the_alarm(fresh):
    wire = fresh()
    member = wire.status().header.member_id
    wire.alarm(ACTIVATE, member, NOSPACE)
    [error] = wire.status().errors
    assert error.strip() == f"memberID:{member} alarm:NOSPACE"


@pytest.mark.unsafe("alarm: unknown type")
def test_status_names_an_alarm_of_a_type_nobody_knows_by_its_number(fresh):
    """Anybody may raise one, and it is kept; status must not fail for it from then on."""
    wire = fresh()
    assert alarms(wire.alarm(ACTIVATE, 5, 9)) == [(5, 9)]
    assert [error.strip() for error in wire.status().errors] == ["memberID:5 alarm:9"]
    assert alarms(wire.alarm(DEACTIVATE, 5, 9)) == [(5, 9)]
    assert not wire.status().errors


@pytest.fixture
def full(fresh):
    """A server with the alarm NOSPACE and a key from before, attached to a lease."""
    wire = fresh()
    lease = wire.grant(600, 77).ID
    wire.put(b"old", b"v")
    wire.put(b"leased", b"v", lease=lease)
    wire.alarm(ACTIVATE, wire.status().header.member_id, NOSPACE)
    return wire


@pytest.mark.surprise(30)
def test_nospace_refuses_what_takes_space(full):
    with refused(NO_SPACE):
        full.put(b"k", b"v")
    with refused(NO_SPACE):
        full.grant(600)
    with refused(NO_SPACE):
        full.txn(success=[op_put(b"k")])


@pytest.mark.surprise(30)
def test_nospace_refuses_a_txn_whose_untaken_branch_puts(full):
    with refused(NO_SPACE):
        full.txn([compare(b"old", "version", ">", 0)], [op_range(b"old")], [op_put(b"k")])


@pytest.mark.surprise(30)
def test_nospace_lets_everything_else_pass(full):
    assert full.get(b"old").value == b"v"
    assert full.txn(success=[op_range(b"old"), op_delete(b"nothing")]).succeeded
    assert full.delete(b"old").deleted == 1
    full.compact(full.revision())
    assert full.time_to_live(77).grantedTTL == 600
    full.revoke(77)
    assert full.range(b"leased").count == 0


def test_nospace_comes_after_the_static_checks(full):
    with refused(KEY_NOT_PROVIDED):
        full.put(b"")


def test_nospace_ends_with_the_alarm(full):
    full.alarm(DEACTIVATE, full.status().header.member_id, NOSPACE)
    full.put(b"k", b"v")
    assert full.get(b"k").value == b"v"


def test_watch_works_under_nospace(full):
    stream = full.watch()
    stream.create(b"old")
    full.delete(b"old")
    assert stream.events(1)[0].type == 1


@pytest.mark.surprise(31)
def test_corrupt_alarm_blocks_writes_and_not_plain_reads(fresh):
    wire = fresh()
    wire.put(b"k", b"v")
    wire.alarm(ACTIVATE, wire.status().header.member_id, CORRUPTION)
    for write in (
        lambda: wire.put(b"k"),
        lambda: wire.delete(b"k"),
        lambda: wire.txn(success=[op_put(b"k")]),
        lambda: wire.compact(1),
        lambda: wire.grant(600),
        lambda: wire.revoke(1),
    ):
        with refused(CORRUPT):
            write()
    assert wire.get(b"k").value == b"v"
    assert wire.txn(success=[op_range(b"k")]).succeeded


def test_exceeded_quota_raises_the_alarm(fresh):
    wire = fresh(f"--quota-backend-bytes={16 * 1024 * 1024}")
    member = wire.status().header.member_id
    with refused(NO_SPACE):
        for number in range(100):
            wire.put(b"k%d" % number, b"x" * 1_000_000)
    assert alarms(wire.alarm(GET)) == [(member, NOSPACE)]
    with refused(NO_SPACE):
        wire.put(b"small", b"v")
    assert wire.get(b"k0").value == b"x" * 1_000_000
    assert wire.delete(b"k0").deleted == 1


def defragment(wire):
    """Where this is served only it gives free pages back; where it is not they must count as free without it."""
    try:
        wire.call(methods.DEFRAGMENT, rpc_pb2.DefragmentRequest())
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise


def test_what_was_deleted_and_compacted_leaves_room_under_the_quota(fresh):
    wire = fresh(f"--quota-backend-bytes={16 * 1024 * 1024}")
    with refused(NO_SPACE):
        for number in range(100):
            wire.put(b"k%d" % number, b"x" * 1_000_000)
    wire.delete(b"k", b"l")
    wire.compact(wire.revision(), physical=True)
    defragment(wire)
    until(lambda: wire.status().dbSizeInUse < 4_000_000, "the records are gone from the database")
    wire.alarm(DEACTIVATE, wire.status().header.member_id, NOSPACE)
    for number in range(10):
        wire.put(b"k%d" % number, b"x" * 1_000_000)
    assert alarms(wire.alarm(GET)) == []


def test_negative_quota_is_no_quota(fresh):
    wire = fresh("--quota-backend-bytes=-1")
    for number in range(5):
        wire.put(b"k%d" % number, b"x" * 1_000_000)
    assert alarms(wire.alarm(GET)) == []
