"""Transactions: what is decided when, what is checked, what the responses say."""

from __future__ import annotations

import pytest

from coord.statuses import COMPACTED, FUTURE_REVISION, KEY_NOT_FOUND, LEASE_NOT_FOUND
from coord.wire import rpc_pb2 as pb
from tests.unit.server.machine import Machine, exists, op_delete, op_put, op_range, op_txn, refusal

Compare = pb.Compare


@pytest.fixture
def machine():
    return Machine()


def holds(machine: Machine, **fields) -> bool:
    return bool(machine.sm.read_txn(pb.TxnRequest(compare=[Compare(**fields)])).succeeded)


def test_an_empty_transaction_succeeds_and_raises_nothing(machine):
    response = machine.txn()
    assert response.succeeded
    assert response.header.revision == 1


@pytest.mark.parametrize("target", ["VERSION", "CREATE", "MOD", "LEASE"])
def test_a_missing_key_is_zero_in_every_number(machine, target):
    field = {"VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision", "LEASE": "lease"}[target]
    number = Compare.CompareTarget.Value(target)
    assert holds(machine, key=b"k", target=number, result=Compare.EQUAL, **{field: 0})
    assert holds(machine, key=b"k", target=number, result=Compare.LESS, **{field: 1})
    assert not holds(machine, key=b"k", target=number, result=Compare.GREATER, **{field: 0})


@pytest.mark.parametrize("result", ["EQUAL", "NOT_EQUAL", "LESS", "GREATER"])
def test_a_missing_key_has_no_value_whatever_the_operator(machine, result):
    number = Compare.CompareResult.Value(result)
    assert not holds(machine, key=b"k", target=Compare.VALUE, result=number, value=b"x")
    assert not holds(machine, key=b"k", target=Compare.VALUE, result=number, value=b"")


def test_greater_means_that_the_stored_one_is(machine):
    machine.put(b"k", b"b")
    assert holds(machine, key=b"k", target=Compare.VALUE, result=Compare.GREATER, value=b"a")
    assert holds(machine, key=b"k", target=Compare.VALUE, result=Compare.LESS, value=b"ba")
    assert holds(machine, key=b"k", target=Compare.VALUE, result=Compare.NOT_EQUAL, value=b"c")
    assert holds(machine, key=b"k", target=Compare.MOD, result=Compare.EQUAL, mod_revision=2)


def test_an_operand_of_another_target_counts_as_zero(machine):
    machine.put(b"k", b"")
    assert holds(machine, key=b"k", target=Compare.MOD, result=Compare.GREATER, version=99)
    assert holds(machine, key=b"k", target=Compare.VALUE, result=Compare.EQUAL, lease=5)


def test_every_key_of_a_range_must_satisfy(machine):
    machine.put(b"a1", b"x")
    machine.put(b"a2", b"x")
    assert holds(machine, key=b"a", range_end=b"b", target=Compare.VALUE, value=b"x")
    machine.put(b"a2", b"y")
    assert not holds(machine, key=b"a", range_end=b"b", target=Compare.VALUE, value=b"x")
    assert holds(machine, key=b"b", range_end=b"\0", target=Compare.VERSION, version=0)
    assert not holds(machine, key=b"b", range_end=b"\0", target=Compare.VALUE, value=b"")


def test_unknown_results_hold_and_unknown_targets_compare_zero(machine):
    machine.put(b"k", b"v")
    assert holds(machine, key=b"k", target=Compare.VALUE, result=9, value=b"other")
    assert holds(machine, key=b"k", target=9, result=Compare.EQUAL, version=7)


def test_a_lease_can_be_compared(machine):
    machine.grant(7)
    machine.put(b"k", lease=7)
    assert holds(machine, key=b"k", target=Compare.LEASE, lease=7)
    machine.put(b"k")
    assert holds(machine, key=b"k", target=Compare.LEASE, lease=0)


def test_the_failure_branch_runs_if_a_comparison_fails(machine):
    response = machine.txn([op_put(b"yes")], [op_put(b"no")], [exists(b"k")])
    assert not response.succeeded
    assert machine.keys() == [b"no"]


def test_changes_of_a_transaction_share_one_revision(machine):
    machine.put(b"a")
    response = machine.txn([op_put(b"b"), op_delete(b"a"), op_put(b"c")])
    assert response.header.revision == 3
    assert machine.sm.revision == 3
    assert {kv.mod_revision for kv in machine.range(b"\0", b"\0").kvs} == {3}


def test_reads_see_earlier_writes_and_old_revisions_the_old_state(machine):
    machine.put(b"k", b"old")
    response = machine.txn(
        [op_range(b"k"), op_put(b"k", b"new"), op_range(b"k"), op_range(b"k", revision=2), op_range(b"k", revision=1)]
    )
    reads = [one.response_range for one in response.responses if one.HasField("response_range")]
    assert [[kv.value for kv in read.kvs] for read in reads] == [[b"old"], [b"new"], [b"old"], []]
    assert [read.header.revision for read in reads] == [2, 3, 3, 3]


def test_nested_responses_carry_only_the_revision_and_nested_transactions_an_empty_header(machine):
    response = machine.txn([op_put(b"a"), op_txn([op_put(b"b"), op_range(b"a")])])
    outer, nested = response.responses
    assert outer.response_put.header == pb.ResponseHeader(revision=2)
    assert nested.response_txn.HasField("header")
    assert nested.response_txn.header == pb.ResponseHeader()
    assert nested.response_txn.responses[1].response_range.header == pb.ResponseHeader(revision=2)
    assert response.header.cluster_id


def test_a_delete_of_nothing_shows_the_old_revision_before_a_put_and_the_new_after(machine):
    response = machine.txn([op_delete(b"x"), op_put(b"k"), op_delete(b"y")])
    before, _, after = response.responses
    assert before.response_delete_range.header.revision == 1
    assert after.response_delete_range.header.revision == 2
    assert machine.txn([op_delete(b"x")]).header.revision == 2


def test_nested_comparisons_are_decided_before_any_operation(machine):
    response = machine.txn([op_put(b"k"), op_txn([op_put(b"saw")], [op_put(b"missed")], [exists(b"k")])])
    assert not response.responses[1].response_txn.succeeded
    assert machine.keys() == [b"k", b"missed"]


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (op_range(b"k", revision=3), FUTURE_REVISION),
        (op_put(b"x", lease=99), LEASE_NOT_FOUND),
        (op_put(b"x", ignore_value=True), KEY_NOT_FOUND),
        (op_put(b"new", ignore_lease=True), KEY_NOT_FOUND),
        (op_txn([op_put(b"x", lease=99)]), LEASE_NOT_FOUND),
    ],
)
def test_a_refused_operation_leaves_nothing_written(machine, operation, status):
    machine.put(b"k", b"v")
    before = machine.backend.copy()
    with refusal(status):
        machine.txn([op_put(b"a"), op_delete(b"k"), operation])
    assert machine.sm.revision == 2
    assert machine.backend._maps == before._maps
    assert machine.keys() == [b"k"]
    assert machine.put(b"later").header.revision == 3


def test_a_key_created_in_the_transaction_does_not_count_as_existing(machine):
    with refusal(KEY_NOT_FOUND):
        machine.txn([op_txn([op_put(b"k")]), op_txn([], [op_put(b"k", ignore_value=True)], [exists(b"none")])][1:])
    assert machine.sm.revision == 1


def test_branches_not_taken_are_not_checked(machine):
    assert machine.txn([op_put(b"k")], [op_put(b"x", lease=99), op_range(b"k", revision=50)]).succeeded


def test_two_wrong_things_answer_with_the_puts_refusal(machine):
    machine.put(b"k")
    with refusal(LEASE_NOT_FOUND):
        machine.txn([op_range(b"k", revision=50), op_put(b"x", lease=9)])
    with refusal(KEY_NOT_FOUND):
        machine.txn([op_put(b"x", lease=9, ignore_value=True)])


def test_negative_revisions_are_numbers_here(machine):
    machine.put(b"k")
    assert machine.txn([op_range(b"k", revision=-1)]).responses[0].response_range.count == 1
    machine.compact(2)
    with refusal(COMPACTED):
        machine.txn([op_range(b"k", revision=-1)])
    assert machine.range(b"k", revision=-1).count == 1


def test_put_and_open_ended_delete_yield_both_in_one_revision(machine):
    stream = machine.sm.watch_hub.open(lambda: None)
    stream.create(pb.WatchCreateRequest(key=b"\0", range_end=b"\0"))
    machine.txn([op_put(b"zz"), op_delete(b"k", b"\0")])
    stream.pop()
    response = pb.WatchResponse.FromString(stream.pop() or b"")
    assert [(event.type, event.kv.key, event.kv.mod_revision) for event in response.events] == [
        (0, b"zz", 2),
        (1, b"zz", 2),
    ]
    assert machine.restarted().keys() == []


def test_a_put_after_a_delete_of_the_key_is_a_creation(machine):
    machine.put(b"zz", b"old")
    machine.txn([op_delete(b"k", b"\0"), op_put(b"zz", b"new")])
    kv = machine.range(b"zz").kvs[0]
    assert (kv.create_revision, kv.version, kv.value) == (3, 1, b"new")
    assert machine.restarted().range(b"zz").kvs[0] == kv


def test_keeping_the_value_of_a_key_deleted_in_the_same_transaction_is_no_crash(machine):
    machine.put(b"zz", b"old")
    machine.txn([op_delete(b"k", b"\0"), op_put(b"zz", ignore_value=True, ignore_lease=True)])
    assert machine.range(b"zz").kvs[0].value == b""


def test_previous_values_inside_are_those_of_the_moment(machine):
    machine.put(b"zz", b"old")
    response = machine.txn([op_put(b"zz", b"new", prev_kv=True), op_delete(b"k", b"\0", prev_kv=True)])
    assert response.responses[0].response_put.prev_kv.value == b"old"
    assert response.responses[1].response_delete_range.prev_kvs[0].value == b"new"


def test_a_transaction_for_reading_needs_no_entry(machine):
    machine.put(b"k", b"v")
    response = machine.sm.read_txn(pb.TxnRequest(success=[op_range(b"k")]))
    assert response.succeeded
    assert response.responses[0].response_range.kvs[0].value == b"v"
    assert response.header.revision == 2
    assert response.header.member_id
