"""Alarms: raising, listing, clearing, and what they forbid."""

from __future__ import annotations

import pytest

from coord.statuses import CORRUPT, NO_SPACE
from coord.wire import rpc_pb2 as pb
from tests.unit.server.machine import Machine, op_delete, op_put, op_range, refusal

GET, ACTIVATE, DEACTIVATE = (pb.AlarmRequest.AlarmAction.Value(name) for name in ("GET", "ACTIVATE", "DEACTIVATE"))


@pytest.fixture
def machine():
    return Machine()


def listed(response: pb.AlarmResponse) -> list[tuple[int, int]]:
    return [(alarm.memberID, alarm.alarm) for alarm in response.alarms]


def test_alarms_are_raised_once_listed_and_cleared_exactly(machine):
    assert listed(machine.alarm(ACTIVATE, pb.NOSPACE, 5)) == [(5, pb.NOSPACE)]
    assert listed(machine.alarm(ACTIVATE, pb.NOSPACE, 5)) == [(5, pb.NOSPACE)]
    machine.alarm(ACTIVATE, pb.CORRUPT, 6)
    assert listed(machine.alarm(GET, pb.NONE, 99)) == [(5, pb.NOSPACE), (6, pb.CORRUPT)]
    assert listed(machine.alarm(GET, pb.CORRUPT)) == [(6, pb.CORRUPT)]
    assert listed(machine.alarm(DEACTIVATE, pb.NOSPACE, 0)) == []
    assert listed(machine.alarm(DEACTIVATE, pb.CORRUPT, 5)) == []
    assert listed(machine.alarm(DEACTIVATE, pb.NOSPACE, 5)) == [(5, pb.NOSPACE)]
    assert listed(machine.restarted().alarm(GET, pb.NONE)) == [(6, pb.CORRUPT)]


def test_raising_nothing_does_nothing(machine):
    assert listed(machine.alarm(ACTIVATE, pb.NONE)) == []
    assert listed(machine.alarm(GET, pb.NONE)) == []


def test_no_space_refuses_what_adds_data_and_nothing_else(machine):
    machine.grant(7)
    machine.put(b"k")
    machine.alarm(ACTIVATE, pb.NOSPACE, 99)
    with refusal(NO_SPACE):
        machine.put(b"k")
    with refusal(NO_SPACE):
        machine.grant(8)
    with refusal(NO_SPACE):
        machine.txn([op_range(b"k")], [op_put(b"untaken")])
    assert machine.txn([op_range(b"k"), op_delete(b"none")]).succeeded
    assert machine.delete(b"k").deleted == 1
    machine.revoke(7)
    machine.compact(2)
    machine.alarm(DEACTIVATE, pb.NOSPACE, 99)
    machine.put(b"k")


def test_corrupt_refuses_writes_and_not_reads(machine):
    machine.grant(7)
    machine.put(b"k")
    machine.alarm(ACTIVATE, pb.CORRUPT)
    machine.alarm(ACTIVATE, pb.NOSPACE)
    refused = [
        lambda: machine.put(b"k"),
        lambda: machine.delete(b"k"),
        lambda: machine.txn([op_put(b"k")]),
        lambda: machine.compact(1),
        lambda: machine.grant(8),
        lambda: machine.revoke(7),
    ]
    for request in refused:
        with refusal(CORRUPT):
            request()
    assert machine.keys() == [b"k"]
    assert machine.sm.read_txn(pb.TxnRequest(success=[op_range(b"k")])).succeeded
