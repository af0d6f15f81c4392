"""A state machine on a memory backend with a clock set by hand, and short forms of requests."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import pytest

from coord.server.entry_pb2 import Envelope
from coord.server.machine import validate
from coord.server.machine.apply import StateMachine
from coord.server.storage.memory import MemoryBackend
from coord.statuses import Refused, Status
from coord.wire import rpc_pb2 as pb

T = TypeVar("T")

CLUSTER, MEMBER, TERM = 0xC000000000000001, 0xA, 4


class Machine:
    """A member of one, without the log."""

    def __init__(self, backend: MemoryBackend | None = None) -> None:
        self.backend = backend or MemoryBackend()
        self.now = 100.0
        self.sm = StateMachine(
            self.backend, cluster_id=CLUSTER, member_id=MEMBER, term=lambda: TERM, now=lambda: self.now
        )
        self.sm.restore()
        self.sm.lessor.promote(self.now, 0.0)
        self.index = self.backend.applied[0]

    def restarted(self) -> Machine:
        return Machine(self.backend.copy())

    def apply(self, **body: Any) -> Any:
        response = self.sm.apply(Envelope(version=1, **body))
        self.index += 1
        self.backend.seal(self.index, TERM)
        self.check()
        return response

    def check(self) -> None:
        self.sm.store.index.check()
        self.sm.lessor.self_check()
        self.sm.watch_hub.check()

    def put(self, key: bytes, value: bytes = b"", lease: int = 0, **options: bool) -> Any:
        return self.apply(put=pb.PutRequest(key=key, value=value, lease=lease, **options))

    def delete(self, key: bytes, range_end: bytes = b"", prev_kv: bool = False) -> Any:
        return self.apply(delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=prev_kv))

    def txn(
        self,
        success: list[pb.RequestOp] | None = None,
        failure: list[pb.RequestOp] | None = None,
        compare: list[pb.Compare] | None = None,
    ) -> Any:
        request = pb.TxnRequest(compare=compare, success=success, failure=failure)
        validate.check_txn(request, 128)
        return self.apply(txn=request)

    def compact(self, revision: int) -> Any:
        return self.apply(compaction=pb.CompactionRequest(revision=revision))

    def grant(self, lease: int, ttl: int = 60) -> Any:
        return self.apply(lease_grant=pb.LeaseGrantRequest(ID=lease, TTL=ttl))

    def revoke(self, lease: int) -> Any:
        return self.apply(lease_revoke=pb.LeaseRevokeRequest(ID=lease))

    def alarm(self, action: Any, kind: Any, member: int = MEMBER) -> Any:
        return self.apply(alarm=pb.AlarmRequest(action=action, memberID=member, alarm=kind))

    def range(self, key: bytes, range_end: bytes = b"", **options: Any) -> pb.RangeResponse:
        """The answer, which must be the same at once and in steps."""
        request = pb.RangeRequest(key=key, range_end=range_end, **options)
        validate.check_range(request)
        at_once = self.sm.range(request)
        assert finish(self.sm.range_steps(request)) == at_once
        return pb.RangeResponse.FromString(at_once)

    def keys(self, key: bytes = b"\0", range_end: bytes = b"\0", **options: Any) -> list[bytes]:
        return [kv.key for kv in self.range(key, range_end, **options).kvs]


def finish(work: Generator[None, None, T]) -> T:
    """What a generator returns after all its steps."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def refusal(status: Status) -> Any:
    """Expects `Refused` with this status."""
    return pytest.raises(Refused, check=lambda error: error.status == status)


def op_range(key: bytes, range_end: bytes = b"", **options: Any) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end, **options))


def op_put(key: bytes, value: bytes = b"", **options: Any) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, **options))


def op_delete(key: bytes, range_end: bytes = b"", **options: Any) -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end, **options))


def op_txn(
    success: list[pb.RequestOp] | None = None,
    failure: list[pb.RequestOp] | None = None,
    compare: list[pb.Compare] | None = None,
) -> pb.RequestOp:
    return pb.RequestOp(request_txn=pb.TxnRequest(compare=compare, success=success, failure=failure))


def exists(key: bytes) -> pb.Compare:
    return pb.Compare(key=key, target=pb.Compare.VERSION, result=pb.Compare.GREATER, version=0)
