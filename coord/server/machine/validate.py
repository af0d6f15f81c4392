"""What can be said against a request without looking at the store, in etcd's order. Pure.

The order is part of the API: with several things wrong, clients see the first. The quota comes before these checks and
authentication after them.

Source: etcd server/etcdserver/api/v3rpc/key.go, server/storage/quota.go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from coord.statuses import (
    DUPLICATE_KEY,
    INVALID_SORT_OPTION,
    KEY_NOT_FOUND,
    KEY_NOT_PROVIDED,
    LEASE_PROVIDED,
    TOO_MANY_OPS,
    VALUE_PROVIDED,
    Refused,
)
from coord.wire import rpc_pb2 as pb

PUT_OVERHEAD: Final = 256
"""What the quota counts for a put besides key and value."""
LEASE_OVERHEAD: Final = 64
"""What the quota counts for a lease."""

_SORT_ORDERS: Final = frozenset(pb.RangeRequest.SortOrder.values())
_SORT_TARGETS: Final = frozenset(pb.RangeRequest.SortTarget.values())


def check_range(request: pb.RangeRequest) -> None:
    """Static checks of a Range.

    Raises:
        Refused: no key, or a sort order or target that does not exist.
    """
    if not request.key:
        raise Refused(KEY_NOT_PROVIDED)
    if request.sort_order not in _SORT_ORDERS or request.sort_target not in _SORT_TARGETS:
        raise Refused(INVALID_SORT_OPTION)


def check_put(request: pb.PutRequest) -> None:
    """Static checks of a Put.

    Raises:
        Refused: no key, or a value or lease beside the wish to keep the old one.
    """
    if not request.key:
        raise Refused(KEY_NOT_PROVIDED)
    if request.ignore_value and request.value:
        raise Refused(VALUE_PROVIDED)
    if request.ignore_lease and request.lease:
        raise Refused(LEASE_PROVIDED)


def check_delete(request: pb.DeleteRangeRequest) -> None:
    """Static checks of a DeleteRange.

    Raises:
        Refused: no key.
    """
    if not request.key:
        raise Refused(KEY_NOT_PROVIDED)


def check_txn(request: pb.TxnRequest, max_ops: int) -> None:
    """Static checks of a Txn: sizes and operations first, then keys written twice.

    Raises:
        Refused: too many operations, an operation that is itself refused or empty, or a key written twice.
    """
    _check_operations(request, max_ops)
    _check_intervals(request.success)
    _check_intervals(request.failure)


def _check_operations(request: pb.TxnRequest, max_ops: int) -> None:
    longest = max(len(request.compare), len(request.success), len(request.failure))
    if longest > max_ops:
        raise Refused(TOO_MANY_OPS)
    for compare in request.compare:
        if not compare.key:
            raise Refused(KEY_NOT_PROVIDED)
    for branch in (request.success, request.failure):
        for operation in branch:
            _check_operation(operation, max_ops - longest)


def _check_operation(operation: pb.RequestOp, max_ops: int) -> None:
    match operation.WhichOneof("request"):
        case "request_range":
            check_range(operation.request_range)
        case "request_put":
            check_put(operation.request_put)
        case "request_delete_range":
            check_delete(operation.request_delete_range)
        case "request_txn":
            _check_operations(operation.request_txn, max_ops)
        case _:
            raise Refused(KEY_NOT_FOUND)


class _Intervals:
    """A union of half-open key ranges; kept merged, so that a test is one bisection.

    A list of pairs would do for honest requests, but a nested transaction of 1.5 MB can hold 70,000 operations.
    """

    def __init__(self) -> None:
        self.starts: list[bytes] = []
        self.ends: list[bytes] = []

    def add(self, start: bytes, end: bytes) -> None:
        if end <= start:
            return
        first = bisect_right(self.ends, start)
        if first and self.ends[first - 1] == start:
            first -= 1
        last = bisect_right(self.starts, end)
        if first < last:
            start = min(start, self.starts[first])
            end = max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]

    def __contains__(self, key: bytes) -> bool:
        at = bisect_right(self.starts, key) - 1
        return at >= 0 and key < self.ends[at]

    def update(self, other: _Intervals) -> None:
        for start, end in zip(other.starts, other.ends, strict=True):
            self.add(start, end)


def _check_intervals(operations: Sequence[pb.RequestOp]) -> tuple[set[bytes], _Intervals]:
    r"""Refuse a branch that writes a key twice; returns the keys it puts and the ranges it deletes.

    Two quirks of etcd that clients can see are kept: a delete with the open end "\0" is compared as if "\0" were a
    key, so it covers nothing here; and the deletes of a nested transaction count only against what comes after it.
    """
    deletes = _Intervals()
    for operation in operations:
        if operation.WhichOneof("request") == "request_delete_range":
            request = operation.request_delete_range
            deletes.add(request.key, request.range_end or request.key + b"\0")
    puts: set[bytes] = set()
    for operation in operations:
        if operation.WhichOneof("request") == "request_txn":
            _check_nested(operation.request_txn, puts, deletes)
    for operation in operations:
        if operation.WhichOneof("request") == "request_put":
            _claim((operation.request_put.key,), puts, puts, deletes)
    return puts, deletes


def _check_nested(request: pb.TxnRequest, puts: set[bytes], deletes: _Intervals) -> None:
    then_puts, then_deletes = _check_intervals(request.success)
    else_puts, else_deletes = _check_intervals(request.failure)
    before = set(puts)  # what the other branch of the same transaction puts is no conflict: only one is taken
    _claim(then_puts, puts, puts, deletes)
    _claim(else_puts, before, puts, deletes)
    deletes.update(then_deletes)
    deletes.update(else_deletes)


def _claim(keys: Iterable[bytes], taken: set[bytes], puts: set[bytes], deletes: _Intervals) -> None:
    for key in keys:
        if key in taken or key in deletes:
            raise Refused(DUPLICATE_KEY)
        puts.add(key)


def put_cost(request: pb.PutRequest) -> int:
    """Bytes that the quota counts for a put."""
    return PUT_OVERHEAD + len(request.key) + len(request.value)


def txn_cost(request: pb.TxnRequest) -> int:
    """Bytes that the quota counts for a transaction: those of its dearer branch, taken or not."""
    return max(_branch_cost(request.success), _branch_cost(request.failure))


def _branch_cost(operations: Sequence[pb.RequestOp]) -> int:
    cost = 0
    for operation in operations:
        match operation.WhichOneof("request"):
            case "request_put":
                cost += put_cost(operation.request_put)
            case "request_txn":
                cost += txn_cost(operation.request_txn)
            case _:
                pass
    return cost


def is_readonly(request: pb.TxnRequest) -> bool:
    """True if no branch can write; such a transaction needs no log entry. A nested one counts as a write."""
    return all(
        operation.WhichOneof("request") == "request_range"
        for branch in (request.success, request.failure)
        for operation in branch
    )


def is_serializable(request: pb.TxnRequest) -> bool:
    """True if a read-only transaction may be answered from local state; one without operations may."""
    return all(
        operation.request_range.serializable for branch in (request.success, request.failure) for operation in branch
    )
