"""Random requests on few keys, so that everything meets everything; the same seed gives the same requests."""

from __future__ import annotations

import random
from typing import Any

from coord.wire import methods, rpc_pb2

KEYS = [b"a", b"aa", b"ab", b"b", b"ba", b"c", b"k\xff", b"zz"]
ENDS = [*KEYS, b"ac", b"d", b"zzz", b"\xff"]
LEASES = [0, 0, 0, 0, 11, 12, 13, -7]
UNKNOWN: Any = 9
SORT_ORDERS: list[Any] = list(rpc_pb2.RangeRequest.SortOrder.values())
SORT_TARGETS: list[Any] = list(rpc_pb2.RangeRequest.SortTarget.values())

_WEIGHTS = {
    "range": 30,
    "put": 25,
    "delete_range": 10,
    "txn": 23,
    "compaction": 2,
    "lease_grant": 3,
    "lease_revoke": 2,
    "time_to_live": 2,
    "hash_kv": 3,
}
METHODS = {
    "range": methods.KV_RANGE,
    "put": methods.KV_PUT,
    "delete_range": methods.KV_DELETE_RANGE,
    "txn": methods.KV_TXN,
    "compaction": methods.KV_COMPACT,
    "lease_grant": methods.LEASE_GRANT,
    "lease_revoke": methods.LEASE_REVOKE,
    "time_to_live": methods.LEASE_TIME_TO_LIVE,
    "hash_kv": methods.HASH_KV,
}


class Requests:
    """Draws requests; `revision` and `compacted` are kept up to date by whoever sends them."""

    def __init__(self, seed: int, *, without: tuple[str, ...] = ()) -> None:
        self.random = random.Random(seed)
        self._weights = {kind: weight for kind, weight in _WEIGHTS.items() if kind not in without}
        self.revision = 1
        self.compacted = -1

    def next(self) -> tuple[str, Any]:
        """A kind and its request."""
        kind = self.random.choices(list(self._weights), list(self._weights.values()), k=1)[0]
        return kind, getattr(self, kind)()

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def key(self) -> bytes:
        return b"" if self.maybe(0.01) else self.random.choice(KEYS)

    def end(self) -> bytes:
        return self.random.choice([b"", b"", b"\0", *self.random.sample(ENDS, 3)])

    def some_revision(self) -> int:
        return 0 if self.maybe(0.6) else self.random.randint(-1, self.revision + 2)

    def bound(self) -> int:
        return self.random.choice([0, 0, 0, self.random.randint(-1, self.revision + 1)])

    def value(self) -> bytes:
        return self.random.choice([b"", b"1", b"2", b"3"])

    def range(self, *, sorted_by_key: bool = False) -> rpc_pb2.RangeRequest:
        request = rpc_pb2.RangeRequest(key=self.key(), range_end=self.end(), revision=self.some_revision())
        request.limit = self.random.choice([0, 0, 0, 1, 2, 3, -1])
        request.serializable, request.keys_only, request.count_only = self.maybe(0.3), self.maybe(0.2), self.maybe(0.1)
        if self.maybe(0.4):
            request.sort_order = self.random.choice(SORT_ORDERS)
            if not sorted_by_key:
                request.sort_target = self.random.choice(SORT_TARGETS)
        if self.maybe(0.2):
            request.min_mod_revision, request.max_mod_revision = self.bound(), self.bound()
            request.min_create_revision, request.max_create_revision = self.bound(), self.bound()
        return request

    def put(self, *, keeping: bool = True) -> rpc_pb2.PutRequest:
        """etcd dies of a put that keeps the value of a key deleted earlier in its transaction: none there."""
        request = rpc_pb2.PutRequest(key=self.key(), prev_kv=self.maybe(0.3))
        request.ignore_value, request.ignore_lease = (keeping and self.maybe(0.1) for _ in range(2))
        if not request.ignore_value or self.maybe(0.1):
            request.value = self.value()
        if not request.ignore_lease or self.maybe(0.1):
            request.lease = self.random.choice(LEASES)
        return request

    def delete_range(self) -> rpc_pb2.DeleteRangeRequest:
        return rpc_pb2.DeleteRangeRequest(key=self.key(), range_end=self.end(), prev_kv=self.maybe(0.4))

    def compare(self) -> rpc_pb2.Compare:
        compare = rpc_pb2.Compare(key=self.key(), range_end=self.end() if self.maybe(0.3) else b"")
        target: Any = self.random.randint(0, 4)
        result: Any = self.random.randint(0, 3)
        compare.result = UNKNOWN if self.maybe(0.03) else result
        compare.target = UNKNOWN if self.maybe(0.03) else target
        match target if self.maybe(0.9) else self.random.randint(0, 4):
            case 0:
                compare.version = self.random.randint(0, 3)
            case 1:
                compare.create_revision = self.bound()
            case 2:
                compare.mod_revision = self.bound()
            case 3:
                compare.value = self.value()
            case _:
                compare.lease = self.random.choice(LEASES)
        return compare

    def operation(self, depth: int) -> rpc_pb2.RequestOp:
        operation = rpc_pb2.RequestOp()
        drawn = self.random.random()
        if drawn < 0.3:
            operation.request_range.CopyFrom(self.range(sorted_by_key=True))
        elif drawn < 0.6:
            operation.request_put.CopyFrom(self.put(keeping=False))
        elif drawn < 0.8 or not depth:
            operation.request_delete_range.CopyFrom(self.delete_range())
        elif drawn < 0.99:
            operation.request_txn.CopyFrom(self.txn(depth - 1))
        return operation

    def txn(self, depth: int = 2) -> rpc_pb2.TxnRequest:
        return rpc_pb2.TxnRequest(
            compare=[self.compare() for _ in range(self.random.choice([0, 1, 1, 2]))],
            success=[self.operation(depth) for _ in range(self.random.randint(0, 4))],
            failure=[self.operation(depth) for _ in range(self.random.randint(0, 3))],
        )

    def compaction(self) -> rpc_pb2.CompactionRequest:
        revision = self.random.randint(max(self.compacted - 2, -1), self.revision + 1)
        return rpc_pb2.CompactionRequest(revision=revision, physical=True)

    def lease_grant(self) -> rpc_pb2.LeaseGrantRequest:
        ttl = self.random.choice([1000, 2000, 9_000_000_000, 9_000_000_001])
        return rpc_pb2.LeaseGrantRequest(ID=self.random.choice(LEASES[4:]), TTL=ttl)

    def lease_revoke(self) -> rpc_pb2.LeaseRevokeRequest:
        return rpc_pb2.LeaseRevokeRequest(ID=self.random.choice(LEASES))

    def time_to_live(self) -> rpc_pb2.LeaseTimeToLiveRequest:
        return rpc_pb2.LeaseTimeToLiveRequest(ID=self.random.choice(LEASES), keys=True)

    def hash_kv(self) -> rpc_pb2.HashKVRequest:
        """Not at the compact revision, which older servers refuse."""
        revision = self.random.choice([0, self.random.randint(-1, self.revision + 1)])
        return rpc_pb2.HashKVRequest(revision=0 if revision == self.compacted else revision)
