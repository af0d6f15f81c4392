"""Static checks: what is refused, and which refusal wins."""

from __future__ import annotations

import random

import pytest

from coord.server.machine import validate
from coord.statuses import (
    DUPLICATE_KEY,
    INVALID_SORT_OPTION,
    KEY_NOT_FOUND,
    KEY_NOT_PROVIDED,
    LEASE_PROVIDED,
    TOO_MANY_OPS,
    VALUE_PROVIDED,
)
from coord.wire import rpc_pb2 as pb
from tests.unit.server.machine import exists, op_delete, op_put, op_range, op_txn, refusal


def txn(success=(), failure=(), compare=()) -> pb.TxnRequest:
    return pb.TxnRequest(compare=compare, success=success, failure=failure)


def check(request: pb.TxnRequest, max_ops: int = 128) -> None:
    validate.check_txn(request, max_ops)


def test_a_range_needs_a_key_even_with_an_end():
    with refusal(KEY_NOT_PROVIDED):
        validate.check_range(pb.RangeRequest(range_end=b"\0", sort_target=99))  # type: ignore[arg-type]  # wire ints


@pytest.mark.parametrize("field", ["sort_order", "sort_target"])
def test_unknown_sort_numbers_are_refused(field):
    with refusal(INVALID_SORT_OPTION):
        validate.check_range(pb.RangeRequest(key=b"k", **{field: 5}))  # type: ignore[arg-type]  # the wire has ints


def test_a_range_backwards_is_no_error():
    validate.check_range(pb.RangeRequest(key=b"k", range_end=b"a", limit=-1, revision=-1))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (pb.PutRequest(value=b"v", ignore_value=True), KEY_NOT_PROVIDED),
        (pb.PutRequest(key=b"k", value=b"v", lease=1, ignore_value=True, ignore_lease=True), VALUE_PROVIDED),
        (pb.PutRequest(key=b"k", lease=1, ignore_lease=True), LEASE_PROVIDED),
    ],
)
def test_puts_are_checked_in_order(request_, status):
    with refusal(status):
        validate.check_put(request_)


def test_a_delete_needs_a_key():
    with refusal(KEY_NOT_PROVIDED):
        validate.check_delete(pb.DeleteRangeRequest(range_end=b"\0"))


def test_an_empty_transaction_is_legal():
    check(txn())


def test_an_empty_operation_is_a_key_not_found():
    with refusal(KEY_NOT_FOUND):
        check(txn([pb.RequestOp()]))


def test_the_largest_list_counts():
    check(txn([op_range(b"k")] * 4, [op_range(b"k")] * 4, [exists(b"k")] * 4), max_ops=4)
    for lists in (([op_range(b"k")] * 5,), ((), [op_range(b"k")] * 5), ((), (), [exists(b"k")] * 5)):
        with refusal(TOO_MANY_OPS):
            check(txn(*lists), max_ops=4)


def test_nested_transactions_have_what_the_outer_left():
    outer = [op_put(b"%d" % number) for number in range(99)]
    check(txn([*outer, op_txn([op_range(b"k")] * 28)]))
    with refusal(TOO_MANY_OPS):
        check(txn([*outer, op_txn([op_range(b"k")] * 29)]))


def test_sizes_come_before_keys_and_compares_before_operations():
    with refusal(TOO_MANY_OPS):
        check(txn([op_put(b"")] * 5), max_ops=4)
    with refusal(KEY_NOT_PROVIDED):
        check(txn([pb.RequestOp()], compare=[pb.Compare()]))
    with refusal(KEY_NOT_FOUND):
        check(txn([pb.RequestOp()], [op_put(b"")]))


def test_operations_come_before_duplicates():
    with refusal(KEY_NOT_PROVIDED):
        check(txn([op_put(b"k"), op_put(b"k")], [op_put(b"")]))


DUPLICATES = {
    "put twice": [op_put(b"k"), op_put(b"k")],
    "put then delete": [op_put(b"k"), op_delete(b"k")],
    "delete then put": [op_delete(b"k"), op_put(b"k")],
    "put in a deleted range": [op_put(b"k"), op_delete(b"a", b"z")],
    "nested put and outer put": [op_txn([op_put(b"k")]), op_put(b"k")],
    "outer put and nested put": [op_put(b"k"), op_txn([], [op_put(b"k")])],
    "nested put and outer delete": [op_txn([op_put(b"k")]), op_delete(b"a", b"z")],
    "puts of two nested": [op_txn([op_put(b"k")]), op_txn([op_put(b"k")])],
    "puts of two nested, else": [op_txn([op_put(b"k")]), op_txn([], [op_put(b"k")])],
    "nested delete, then nested put": [op_txn([op_delete(b"k")]), op_txn([op_put(b"k")])],
    "nested delete, then outer put": [op_put(b"k"), op_txn([], [op_delete(b"a", b"l")])],
    "two levels down": [op_txn([op_txn([op_put(b"k")])]), op_put(b"k")],
    "inside of a nested one": [op_txn([op_put(b"k"), op_put(b"k")])],
}
ACCEPTED = {
    "delete twice": [op_delete(b"k"), op_delete(b"a", b"z")],
    "put beside a range": [op_put(b"k"), op_delete(b"a", b"k"), op_delete(b"l", b"z")],
    "then and else of one nested": [op_txn([op_put(b"k")], [op_put(b"k")])],
    "nested put, then nested delete": [op_txn([op_put(b"k")]), op_txn([op_delete(b"k")])],
    "an open end is not seen": [op_put(b"zz"), op_delete(b"k", b"\0")],
    "an empty range deletes nothing": [op_put(b"k"), op_delete(b"z", b"a")],
    "reads": [op_put(b"k"), op_range(b"k")],
}


@pytest.mark.parametrize("case", DUPLICATES)
def test_a_key_written_twice_is_refused(case):
    for request in (txn(DUPLICATES[case]), txn([], DUPLICATES[case])):
        with refusal(DUPLICATE_KEY):
            check(request)


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_only_looks_like_it_is_accepted(case):
    check(txn(ACCEPTED[case]))


def test_branches_are_independent():
    check(txn([op_put(b"k")], [op_put(b"k"), op_delete(b"a", b"b")]))


@pytest.mark.parametrize("seed", range(5))
def test_merged_intervals_cover_what_their_parts_cover(seed):
    rng = random.Random(seed)
    intervals = validate._Intervals()
    parts = []
    for _ in range(60):
        start, end = (bytes([rng.randint(97, 122), rng.randint(97, 122)]) for _ in range(2))
        parts.append((start, end))
        intervals.add(start, end)
        for _ in range(20):
            key = bytes([rng.randint(96, 123), rng.randint(96, 123)])
            assert (key in intervals) == any(low <= key < high for low, high in parts)


def test_the_dearer_branch_is_the_cost_and_nested_ones_count():
    request = txn(
        [op_put(b"kk", b"v" * 10), op_txn([op_put(b"a", b"b")], [op_range(b"k")])], [op_put(b"k", b"v" * 500)]
    )
    assert validate.put_cost(pb.PutRequest(key=b"kk", value=b"v" * 10)) == 268
    assert validate.txn_cost(request) == max(268 + 258, 256 + 501)
    assert validate.txn_cost(txn([op_delete(b"a", b"z"), op_range(b"a")])) == 0


def test_reads_are_told_from_writes():
    assert validate.is_readonly(txn())
    assert validate.is_readonly(txn([op_range(b"k")], [op_range(b"k")]))
    assert not validate.is_readonly(txn([op_range(b"k")], [op_put(b"k")]))
    assert not validate.is_readonly(txn([op_delete(b"k")]))
    assert not validate.is_readonly(txn([op_txn([op_range(b"k")])]))
    assert validate.is_serializable(txn())
    assert validate.is_serializable(txn([op_range(b"k", serializable=True)]))
    assert not validate.is_serializable(txn([op_range(b"k", serializable=True)], [op_range(b"k")]))
