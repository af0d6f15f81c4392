"""Every call as a value: which method, which message, how to read the answer, and what repeating it would do.

Both clients run these; neither knows a message type. Sans I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from coord.errors import Compacted, CoordError, LeaseNotFound, UsageError
from coord.model import (
    Alarm,
    DeleteResult,
    KeyspaceHash,
    KeyValue,
    LeaseGrant,
    LeaseInfo,
    Member,
    PutResult,
    RangeResult,
    ServerStatus,
    TxnResult,
)
from coord.ops import Delete, Get, Op, Put, Txn
from coord.statuses import LEASE_NOT_FOUND
from coord.wire import convert, methods
from coord.wire.methods import Method

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """One request, ready to be sent.

    Attributes:
        method: row of the method table.
        request: the message.
        read: makes the answer's value of the response message.
        write: it must not be sent twice, since twice is not the same as once.
        linearizable: the answer's revision is at least as new as everything acknowledged before.
        done: a refusal that, after a repetition, means that an earlier attempt was carried out.
    """

    method: Method
    request: Any
    read: Callable[[Any], T]
    write: bool = False
    linearizable: bool = False
    done: type[CoordError] | None = None

    def was_done(self, error: CoordError) -> bool:
        """True if the error of a repeated call proves that an earlier attempt was carried out."""
        return self.done is not None and isinstance(error, self.done) and bool(error.facts.get("unanswered"))


def fetch(op: Get, namespace: bytes = b"") -> Call[RangeResult]:
    """Read a range."""
    return Call(
        methods.KV_RANGE,
        convert.range_request(op, namespace),
        partial(convert.range_result, namespace=namespace) if namespace else convert.range_result,
        linearizable=not op.serializable,
    )


def fetch_one(op: Get, namespace: bytes = b"") -> Call[KeyValue | None]:
    """Read one key."""
    strip = namespace

    def read(response: Any) -> KeyValue | None:
        return convert.key_value(response.kvs[0], strip) if response.kvs else None

    return Call(methods.KV_RANGE, convert.range_request(op, namespace), read, linearizable=not op.serializable)


def put(op: Put, namespace: bytes = b"") -> Call[PutResult]:
    """Write one key."""
    read = partial(convert.put_result, namespace=namespace) if namespace else convert.put_result
    return Call(methods.KV_PUT, convert.put_request(op, namespace), read, write=True, linearizable=True)


def delete(op: Delete, namespace: bytes = b"") -> Call[DeleteResult]:
    """Delete a range."""
    return Call(
        methods.KV_DELETE_RANGE,
        convert.delete_request(op, namespace),
        partial(convert.delete_result, namespace=namespace) if namespace else convert.delete_result,
        write=True,
        linearizable=True,
    )


def delete_each(keys: Sequence[bytes], namespace: bytes = b"") -> Call[Any]:
    """Delete these keys, together."""
    if len(keys) == 1:
        return delete(Delete(keys[0]), namespace)
    return txn(Txn(then=tuple(Delete(key) for key in keys)), namespace)


def txn(op: Txn, namespace: bytes = b"") -> Call[TxnResult]:
    """Commit a transaction; one that can change nothing is a read."""
    writes = op.writes
    return Call(
        methods.KV_TXN,
        convert.txn_request(op, namespace),
        partial(convert.txn_result, namespace=namespace) if namespace else convert.txn_result,
        write=writes,
        linearizable=writes or any(_linearizable(o) for o in op.then + op.otherwise),
    )


def _linearizable(op: Op) -> bool:
    """True if etcd serves a read-only transaction with this operation through its leader.

    One whose reads are all serializable, or that has none, is answered from the member's own state.
    """
    return not isinstance(op, Get) or not op.serializable


def compact(revision: int, *, physical: bool) -> Call[None]:
    """Drop history. Twice is once: the second is refused as compacted already.

    Raises:
        UsageError: the revision is not positive.
    """
    if revision <= 0:
        raise UsageError("the revision to compact at must be positive")
    return Call(methods.KV_COMPACT, convert.compact_request(revision, physical), _nothing, done=Compacted)


def grant(ttl: int, lease: int) -> Call[LeaseGrant]:
    """Make a lease. With an id of the server's choice it may be repeated: what nobody knows of expires by itself.

    Raises:
        UsageError: the time to live is not positive.
    """
    if ttl <= 0:
        raise UsageError("ttl must be positive")
    return Call(methods.LEASE_GRANT, convert.grant_request(ttl, lease), convert.lease_grant, write=lease != 0)


def revoke(lease: int) -> Call[None]:
    """End a lease; repeating is harmless."""
    return Call(methods.LEASE_REVOKE, convert.revoke_request(lease), _nothing, done=LeaseNotFound)


def keep_alive(lease: int) -> Call[LeaseGrant]:
    """Renew a lease once.

    The method is a stream; a unary call looks the same on the wire as a stream of one request, and is cheaper.
    """
    return Call(methods.LEASE_KEEP_ALIVE, convert.keep_alive_request(lease), partial(_renewed, lease))


def time_to_live(lease: int, *, keys: bool, namespace: bytes = b"") -> Call[LeaseInfo]:
    """How long a lease has left."""
    read = partial(convert.lease_info, namespace=namespace)
    return Call(methods.LEASE_TIME_TO_LIVE, convert.time_to_live_request(lease, keys), read)


def leases() -> Call[tuple[int, ...]]:
    """All lease ids."""
    return Call(methods.LEASE_LEASES, convert.leases_request(), convert.lease_ids)


def status(endpoint: str) -> Call[ServerStatus]:
    """What one endpoint says of itself."""
    return Call(methods.STATUS, convert.status_request(), partial(convert.server_status, endpoint=endpoint))


def members(*, linearizable: bool) -> Call[tuple[Member, ...]]:
    """The members of the cluster."""
    return Call(methods.MEMBER_LIST, convert.members_request(linearizable), convert.members)


def add_member(peer_urls: Sequence[str], *, learner: bool) -> Call[Member]:
    """Add a member."""
    return Call(methods.MEMBER_ADD, convert.member_add_request(peer_urls, learner), _added, write=True)


def remove_member(member_id: int) -> Call[tuple[Member, ...]]:
    """Remove a member."""
    return Call(methods.MEMBER_REMOVE, convert.member_remove_request(member_id), convert.members, write=True)


def promote_member(member_id: int) -> Call[tuple[Member, ...]]:
    """Make a learner a voting member."""
    return Call(methods.MEMBER_PROMOTE, convert.member_promote_request(member_id), convert.members, write=True)


def alarms() -> Call[tuple[Alarm, ...]]:
    """The active alarms."""
    return Call(methods.ALARM, convert.alarms_request(), convert.alarms)


def disarm(alarm: Alarm) -> Call[tuple[Alarm, ...]]:
    """Take an alarm back; repeating is harmless."""
    return Call(methods.ALARM, convert.disarm_request(alarm), convert.alarms)


def defragment() -> Call[None]:
    """Give one member's free space back. It stops that member for a while, so it is not repeated by itself."""
    return Call(methods.DEFRAGMENT, convert.defragment_request(), _nothing, write=True)


def hash_kv(revision: int) -> Call[KeyspaceHash]:
    """One member's hash of the key space up to a revision, 0 for the current one."""
    return Call(methods.HASH_KV, convert.hash_kv_request(revision), convert.keyspace_hash)


def move_leader(member_id: int) -> Call[None]:
    """Hand leadership to a member; only the leader can."""
    return Call(methods.MOVE_LEADER, convert.move_leader_request(member_id), _nothing, write=True)


def _added(response: Any) -> Member:
    return convert.member(response.member)


def _nothing(response: Any) -> None:
    return None


def _renewed(lease: int, response: Any) -> LeaseGrant:
    if response.TTL <= 0:
        raise LeaseNotFound(
            f"lease {lease:x} does not exist", code=LEASE_NOT_FOUND.code, text=LEASE_NOT_FOUND.text, lease=lease
        )
    return convert.lease_grant(response)
