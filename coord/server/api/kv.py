"""The KV service: checks in etcd's order, then reads at once and writes through the log.

Source: etcd server/etcdserver/api/v3rpc/key.go, server/etcdserver/v3_server.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from coord.server.machine import validate
from coord.server.member.pending import Pending
from coord.server.member.replica import Replica
from coord.server.transport.answers import Followed, Sliced, Turns, after
from coord.server.transport.context import Context
from coord.server.transport.table import Row, Rule
from coord.statuses import NO_SPACE, Refused
from coord.wire import methods, rpc_pb2

T = TypeVar("T")


class KvApi:
    """Range, Put, DeleteRange, Txn and Compact of one member."""

    def __init__(self, replica: Replica, *, max_txn_ops: int) -> None:
        self._replica = replica
        self._state = replica.state
        self._max_txn_ops = max_txn_ops
        self._turns = Turns()
        replica.at_failure.append(self._turns.stop)

    def rows(self) -> list[Row]:
        """The service's part of the handler table."""
        return [
            Row(methods.KV_RANGE, self.range, Rule.KEYS),
            Row(methods.KV_PUT, self.put, Rule.KEYS, writes=True),
            Row(methods.KV_DELETE_RANGE, self.delete_range, Rule.KEYS, writes=True),
            Row(methods.KV_TXN, self.txn, Rule.KEYS, writes=True),
            Row(methods.KV_COMPACT, self.compact, Rule.ADMIN, writes=True),
        ]

    def range(self, ctx: Context, request: rpc_pb2.RangeRequest) -> Any:
        """Read; linearizable unless the request is content with what this member knows.

        Raises:
            Refused: the request is wrong, or its revision cannot be read.
        """
        validate.check_range(request)
        barrier = None if request.serializable else self._replica.read_barrier()
        if barrier is None and not request.range_end:
            return self._state.range(request)
        return after(barrier, lambda: self._read(request))

    def _read(self, request: rpc_pb2.RangeRequest) -> Any:
        if self._state.range_is_large(request):
            return Sliced(self._turns, self._state.range_steps(request))
        return self._state.range(request)

    def put(self, ctx: Context, request: rpc_pb2.PutRequest) -> Pending[Any]:
        """Write one key.

        Raises:
            Refused: the request is wrong or cannot be taken now.
        """
        self._check(validate.check_put, request, put=request)
        return self._propose(ctx, put=request)

    def delete_range(self, ctx: Context, request: rpc_pb2.DeleteRangeRequest) -> Pending[Any]:
        """Delete keys.

        Raises:
            Refused: the request is wrong or cannot be taken now.
        """
        validate.check_delete(request)
        return self._propose(ctx, delete_range=request)

    def txn(self, ctx: Context, request: rpc_pb2.TxnRequest) -> Any:
        """Run a transaction; one that can only read needs no log entry.

        Raises:
            Refused: the request is wrong or cannot be taken now.
        """
        self._check(lambda txn: validate.check_txn(txn, self._max_txn_ops), request, txn=request)
        if not validate.is_readonly(request):
            return self._propose(ctx, txn=request)
        barrier = None if validate.is_serializable(request) else self._replica.read_barrier()
        return after(barrier, lambda: self._read_txn(request))

    def _read_txn(self, request: rpc_pb2.TxnRequest) -> Any:
        if self._state.read_txn_is_large(request):
            return Sliced(self._turns, self._state.read_txn_steps(request))
        return self._state.read_txn(request)

    def compact(self, ctx: Context, request: rpc_pb2.CompactionRequest) -> Pending[Any]:
        """Forget old revisions; with `physical` answered once their records are dropped.

        Raises:
            Refused: the request cannot be taken now.
        """
        pending = self._propose(ctx, compaction=request)
        if not request.physical:
            return pending
        return Followed(pending, lambda: self._scrubbed(request.revision, pending.result()))

    def _scrubbed(self, revision: int, response: Any) -> Pending[Any]:
        """The response, once nothing of what was compacted is left."""
        return self._replica.scrubbed(revision).map(lambda _: response)

    def _propose(self, ctx: Context, **body: Any) -> Pending[Any]:
        identity = ctx.identity
        return self._replica.propose(user=identity.user, auth_revision=identity.auth_revision, **body)

    def _check(self, check: Callable[[T], None], request: T, **body: Any) -> None:
        """A full database is said before a wrong request is (etcd's order); asked here only if the request is wrong."""
        try:
            check(request)
        except Refused:
            over_quota = self._replica.over_quota
            if over_quota is not None and over_quota(body):
                raise Refused(NO_SPACE) from None
            raise
