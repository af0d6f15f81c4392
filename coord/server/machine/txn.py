"""Transactions: decide, check, then do.

All comparisons, those of nested transactions on the chosen path included, are decided before anything is written; then
every operation of the path is checked; only then do operations run, and none of them can fail.

Source: etcd server/etcdserver/txn/txn.go.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from coord.server.machine import ranges
from coord.server.machine.lessor import Lessor
from coord.server.machine.writing import Writer
from coord.server.mvcc import records
from coord.server.mvcc.store import Store
from coord.statuses import COMPACTED, FUTURE_REVISION, Refused
from coord.wire import mvcc_pb2
from coord.wire import rpc_pb2 as pb

Compare = pb.Compare


class Path(NamedTuple):
    """The branches that a transaction takes: decided on the state before it."""

    succeeded: bool
    operations: Sequence[pb.RequestOp]
    nested: list[Path]  # of the nested transactions among `operations`, in their order


class Transactions:
    """Runs transactions over a store; the caller commits."""

    def __init__(self, store: Store, lessor: Lessor, writer: Writer) -> None:
        self._store = store
        self._lessor = lessor
        self._writer = writer

    def run(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Everything but the commit and the response's own header.

        Raises:
            Refused: an operation of the chosen path cannot be done; nothing was written.
        """
        path = self._decide(request)
        self._check(path)
        response = pb.TxnResponse()
        self._execute(path, response)
        return response

    def read_steps(self, request: pb.TxnRequest) -> Generator[None, None, pb.TxnResponse]:
        """`run` for a transaction that only reads, yielding between slices; all of it sees the revision of the first.

        Raises:
            Refused: as `run`.
        """
        path = self._decide(request)
        self._check(path)
        now = self._store.revision
        reads = [operation.request_range for operation in path.operations]
        response = pb.TxnResponse(succeeded=path.succeeded)
        with self._store.pinned(min((read.revision for read in reads if read.revision > 0), default=now)):
            for read in reads:
                answer = response.responses.add().response_range
                pinned = pb.RangeRequest()
                pinned.CopyFrom(read)
                pinned.revision = read.revision if read.revision > 0 else now
                found = yield from ranges.steps(self._store, pinned, b"")
                answer.MergeFromString(found)
                answer.header.revision = now
                yield
        return response

    # --- decide

    def _decide(self, request: pb.TxnRequest) -> Path:
        succeeded = all(self._holds(compare) for compare in request.compare)
        operations = request.success if succeeded else request.failure
        nested = [
            self._decide(operation.request_txn)
            for operation in operations
            if operation.WhichOneof("request") == "request_txn"
        ]
        return Path(succeeded, operations, nested)

    def _holds(self, compare: pb.Compare) -> bool:
        """True if every key of the compared range satisfies it.

        A range without keys counts as one key that is zero in every number, but it has no value at all: a comparison of
        values is then false whatever the operator.
        """
        index = self._store.index
        if compare.range_end:
            keys = index.select(*ranges.bounds(compare.key, compare.range_end))
        else:
            keys = [compare.key] if compare.key in index.live else []
        operand = self._operand(compare)
        if not keys:
            return compare.target != Compare.VALUE and _satisfies(compare.result, 0, operand)
        return all(_satisfies(compare.result, stored, operand) for stored in self._stored(compare.target, keys))

    def _operand(self, compare: pb.Compare) -> int | bytes:
        """What is compared with; zero if the request sets another member of the oneof, or the target is unknown."""
        match compare.target:
            case Compare.VERSION:
                return compare.version
            case Compare.CREATE:
                return compare.create_revision
            case Compare.MOD:
                return compare.mod_revision
            case Compare.VALUE:
                return compare.value
            case Compare.LEASE:
                return compare.lease
            case _:
                return 0

    def _stored(self, target: int, keys: list[bytes]) -> Iterator[int | bytes]:
        store = self._store
        for key in keys:
            match target:
                case Compare.VERSION:
                    yield store.index.incarnation(key)[2]
                case Compare.CREATE:
                    yield store.index.incarnation(key)[0]
                case Compare.MOD:
                    yield store.index.incarnation(key)[1]
                case Compare.VALUE:
                    yield records.record_value(store.fetch(store.index.live[key][: records.REVISION_KEY_LEN]))
                case Compare.LEASE:
                    yield self._lessor.lease_of(key)
                case _:
                    yield 0

    # --- check

    def _check(self, path: Path) -> None:
        """All puts of the path first, then all its reads: with two things wrong, clients see etcd's choice."""
        for operation in _flatten(path):
            if operation.WhichOneof("request") == "request_put":
                # The other way round than for a put of its own; etcd's choice as well.
                self._writer.check_existing(operation.request_put)
                self._writer.check_lease(operation.request_put)
        for operation in _flatten(path):
            if operation.WhichOneof("request") == "request_range":
                self._check_revision(operation.request_range.revision)

    def _check_revision(self, revision: int) -> None:
        """Unlike in a request of its own, a negative revision is compared as a number here."""
        if not revision:
            return
        if revision > self._store.revision:
            raise Refused(FUTURE_REVISION)
        if revision < self._store.compacted:
            raise Refused(COMPACTED)

    # --- do

    def _execute(self, path: Path, response: pb.TxnResponse) -> None:
        response.succeeded = path.succeeded
        nested = iter(path.nested)
        for operation in path.operations:
            answer = response.responses.add()
            match operation.WhichOneof("request"):
                case "request_range":
                    self._range(operation.request_range, answer.response_range)
                case "request_put":
                    self._put(operation.request_put, answer.response_put)
                case "request_delete_range":
                    self._delete(operation.request_delete_range, answer.response_delete_range)
                case "request_txn":
                    inner = answer.response_txn
                    inner.header.SetInParent()  # present and empty, as etcd sends it
                    self._execute(next(nested), inner)
                case _:
                    pass

    def _range(self, request: pb.RangeRequest, response: pb.RangeResponse) -> None:
        response.MergeFromString(ranges.reply(self._store, request, b""))
        response.header.revision = self._store.seen_revision

    def _put(self, request: pb.PutRequest, response: pb.PutResponse) -> None:
        previous = self._writer.put(request)
        if previous is not None:
            response.prev_kv.MergeFromString(previous)
        response.header.revision = self._store.seen_revision

    def _delete(self, request: pb.DeleteRangeRequest, response: pb.DeleteRangeResponse) -> None:
        response.deleted, previous = self._writer.delete_range(request)
        response.prev_kvs.extend(mvcc_pb2.KeyValue.FromString(record) for record in previous)
        response.header.revision = self._store.seen_revision


def _flatten(path: Path) -> Iterator[pb.RequestOp]:
    """Every operation of a path in the order of execution, nested transactions replaced by theirs."""
    nested = iter(path.nested)
    for operation in path.operations:
        if operation.WhichOneof("request") == "request_txn":
            yield from _flatten(next(nested))
        else:
            yield operation


def _satisfies(result: int, stored: int | bytes, operand: int | bytes) -> bool:
    """One comparison; a result number that does not exist is always satisfied, as in etcd."""
    match result:
        case Compare.EQUAL:
            return stored == operand
        case Compare.NOT_EQUAL:
            return stored != operand
        case Compare.GREATER:
            return stored > operand  # type: ignore[operator]  # both are of the target's type
        case Compare.LESS:
            return stored < operand  # type: ignore[operator]  # as above, both of one type
        case _:
            return True
