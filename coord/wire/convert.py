"""Values and operations to and from protobuf messages, with the client's namespace put on and taken off.

Every function that takes `namespace` expects keys below it on one side and above it on the other. No policy here: no
defaults, no checks, no retries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from coord.errors import ServerBug
from coord.keys import namespaced
from coord.model import (
    Alarm,
    DeleteResult,
    Header,
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
from coord.ops import Attribute, Compare, Delete, Get, Op, Put, Txn
from coord.wire import mvcc_pb2, rpc_pb2

Result = PutResult | DeleteResult | RangeResult | TxnResult

_OPERAND = {
    Attribute.VERSION: "version",
    Attribute.CREATE: "create_revision",
    Attribute.MOD: "mod_revision",
    Attribute.VALUE: "value",
    Attribute.LEASE: "lease",
}


def range_request(op: Get, namespace: bytes = b"") -> rpc_pb2.RangeRequest:
    """The message for a read."""
    made = rpc_pb2.RangeRequest()
    _fill_range(made, op, namespace)
    return made


def put_request(op: Put, namespace: bytes = b"") -> rpc_pb2.PutRequest:
    """The message for a write."""
    made = rpc_pb2.PutRequest()
    _fill_put(made, op, namespace)
    return made


def delete_request(op: Delete, namespace: bytes = b"") -> rpc_pb2.DeleteRangeRequest:
    """The message for a deletion."""
    made = rpc_pb2.DeleteRangeRequest()
    _fill_delete(made, op, namespace)
    return made


def compare_message(op: Compare, namespace: bytes = b"") -> rpc_pb2.Compare:
    """The message for one condition."""
    made = rpc_pb2.Compare()
    _fill_compare(made, op, namespace)
    return made


def txn_request(op: Txn, namespace: bytes = b"") -> rpc_pb2.TxnRequest:
    """The message for a transaction."""
    made = rpc_pb2.TxnRequest()
    _fill_txn(made, op, namespace)
    return made


# A message is filled where it stands: one that is made apart must be copied into its parent. And only what is given is
# set, which is little of each request. Together that is less than half of the work.


def _fill_range(made: rpc_pb2.RangeRequest, op: Get, namespace: bytes) -> None:
    made.key, end = namespaced(namespace, op.key, op.range_end)
    if end:
        made.range_end = end
    if op.limit:
        made.limit = op.limit
    if op.revision:
        made.revision = op.revision
    if op.order:
        made.sort_order = op.order  # type: ignore[assignment]  # the enums carry the wire's numbers
    if op.target:
        made.sort_target = op.target  # type: ignore[assignment]  # as above
    if op.serializable:
        made.serializable = True
    if op.keys_only:
        made.keys_only = True
    if op.count_only:
        made.count_only = True
    if op.min_mod_revision or op.max_mod_revision or op.min_create_revision or op.max_create_revision:
        made.min_mod_revision = op.min_mod_revision
        made.max_mod_revision = op.max_mod_revision
        made.min_create_revision = op.min_create_revision
        made.max_create_revision = op.max_create_revision


def _fill_put(made: rpc_pb2.PutRequest, op: Put, namespace: bytes) -> None:
    made.key = namespace + op.key
    made.value = op.value
    if op.lease:
        made.lease = op.lease
    if op.previous:
        made.prev_kv = True
    if op.ignore_value:
        made.ignore_value = True
    if op.ignore_lease:
        made.ignore_lease = True


def _fill_delete(made: rpc_pb2.DeleteRangeRequest, op: Delete, namespace: bytes) -> None:
    made.key, end = namespaced(namespace, op.key, op.range_end)
    if end:
        made.range_end = end
    if op.previous:
        made.prev_kv = True


def _fill_compare(made: rpc_pb2.Compare, op: Compare, namespace: bytes) -> None:
    made.key, end = namespaced(namespace, op.key, op.range_end)
    if end:
        made.range_end = end
    made.result = op.relation  # type: ignore[assignment]  # the enums carry the wire's numbers
    made.target = op.attribute  # type: ignore[assignment]  # as above
    setattr(made, _OPERAND[op.attribute], op.operand)


def _fill_txn(made: rpc_pb2.TxnRequest, op: Txn, namespace: bytes) -> None:
    for compare in op.compares:
        _fill_compare(made.compare.add(), compare, namespace)
    for each in op.then:
        _fill_op(made.success.add(), each, namespace)
    for each in op.otherwise:
        _fill_op(made.failure.add(), each, namespace)


def _fill_op(made: rpc_pb2.RequestOp, op: Op, namespace: bytes) -> None:
    if isinstance(op, Put):
        _fill_put(made.request_put, op, namespace)
    elif isinstance(op, Get):
        _fill_range(made.request_range, op, namespace)
    elif isinstance(op, Delete):
        _fill_delete(made.request_delete_range, op, namespace)
    else:
        made.request_txn.SetInParent()  # an empty one is a transaction, too
        _fill_txn(made.request_txn, op, namespace)


def header(message: rpc_pb2.ResponseHeader) -> Header:
    """Where an answer comes from."""
    return Header(message.cluster_id, message.member_id, message.revision, message.raft_term)


def key_value(message: mvcc_pb2.KeyValue, namespace: bytes = b"") -> KeyValue:
    """One key, its namespace taken off."""
    return KeyValue(
        message.key[len(namespace) :],
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def key_values(messages: Iterable[mvcc_pb2.KeyValue], namespace: bytes = b"") -> tuple[KeyValue, ...]:
    """Several keys, their namespace taken off."""
    strip = len(namespace)
    return tuple(
        [KeyValue(m.key[strip:], m.value, m.create_revision, m.mod_revision, m.version, m.lease) for m in messages]
    )


def range_result(message: rpc_pb2.RangeResponse, namespace: bytes = b"") -> RangeResult:
    """Answer to a read."""
    return RangeResult(header(message.header), key_values(message.kvs, namespace), message.more, message.count)


def put_result(message: rpc_pb2.PutResponse, namespace: bytes = b"") -> PutResult:
    """Answer to a write."""
    previous = key_value(message.prev_kv, namespace) if message.HasField("prev_kv") else None
    return PutResult(header(message.header), previous)


def delete_result(message: rpc_pb2.DeleteRangeResponse, namespace: bytes = b"") -> DeleteResult:
    """Answer to a deletion."""
    return DeleteResult(header(message.header), message.deleted, key_values(message.prev_kvs, namespace))


def txn_result(message: rpc_pb2.TxnResponse, namespace: bytes = b"") -> TxnResult:
    """Answer to a transaction.

    Raises:
        ServerBug: a result is of no known kind.
    """
    results = tuple([_result(r, namespace) for r in message.responses])
    return TxnResult(header(message.header), message.succeeded, results)


def _result(message: rpc_pb2.ResponseOp, namespace: bytes) -> Result:
    kind = message.WhichOneof("response")
    if kind == "response_put":
        return put_result(message.response_put, namespace)
    if kind == "response_range":
        return range_result(message.response_range, namespace)
    if kind == "response_delete_range":
        return delete_result(message.response_delete_range, namespace)
    if kind == "response_txn":
        return txn_result(message.response_txn, namespace)
    raise ServerBug("a transaction's answer holds a result without content")


def compact_request(revision: int, physical: bool) -> rpc_pb2.CompactionRequest:
    """Drop what was overwritten before `revision`."""
    return rpc_pb2.CompactionRequest(revision=revision, physical=physical)


def grant_request(ttl: int, lease: int) -> rpc_pb2.LeaseGrantRequest:
    """Ask for a lease; id 0 lets the server choose."""
    return rpc_pb2.LeaseGrantRequest(TTL=ttl, ID=lease)


def lease_grant(message: rpc_pb2.LeaseGrantResponse | rpc_pb2.LeaseKeepAliveResponse) -> LeaseGrant:
    """The lease as granted or renewed."""
    return LeaseGrant(message.ID, message.TTL, header(message.header))


def revoke_request(lease: int) -> rpc_pb2.LeaseRevokeRequest:
    """End a lease and delete its keys."""
    return rpc_pb2.LeaseRevokeRequest(ID=lease)


def keep_alive_request(lease: int) -> rpc_pb2.LeaseKeepAliveRequest:
    """Renew a lease."""
    return rpc_pb2.LeaseKeepAliveRequest(ID=lease)


def time_to_live_request(lease: int, keys: bool) -> rpc_pb2.LeaseTimeToLiveRequest:
    """Ask how long a lease has left."""
    return rpc_pb2.LeaseTimeToLiveRequest(ID=lease, keys=keys)


def lease_info(message: rpc_pb2.LeaseTimeToLiveResponse, namespace: bytes = b"") -> LeaseInfo:
    """A lease as the server sees it; keys outside the namespace are not shown."""
    strip = len(namespace)
    keys = tuple([k[strip:] for k in message.keys if k.startswith(namespace)])
    return LeaseInfo(message.ID, message.TTL, message.grantedTTL, keys)


def leases_request() -> rpc_pb2.LeaseLeasesRequest:
    """Ask for all lease ids."""
    return rpc_pb2.LeaseLeasesRequest()


def lease_ids(message: rpc_pb2.LeaseLeasesResponse) -> tuple[int, ...]:
    """All lease ids."""
    return tuple([lease.ID for lease in message.leases])


def members_request(linearizable: bool) -> rpc_pb2.MemberListRequest:
    """Ask for the members."""
    return rpc_pb2.MemberListRequest(linearizable=linearizable)


def member(message: rpc_pb2.Member) -> Member:
    """One member."""
    return Member(message.ID, message.name, tuple(message.peerURLs), tuple(message.clientURLs), message.isLearner)


def members(message: Any) -> tuple[Member, ...]:
    """The members in any answer of the cluster service."""
    return tuple([member(m) for m in message.members])


def member_add_request(peer_urls: Sequence[str], learner: bool) -> rpc_pb2.MemberAddRequest:
    """Add a member."""
    return rpc_pb2.MemberAddRequest(peerURLs=peer_urls, isLearner=learner)


def member_remove_request(member_id: int) -> rpc_pb2.MemberRemoveRequest:
    """Remove a member."""
    return rpc_pb2.MemberRemoveRequest(ID=member_id)


def member_promote_request(member_id: int) -> rpc_pb2.MemberPromoteRequest:
    """Make a learner a voting member."""
    return rpc_pb2.MemberPromoteRequest(ID=member_id)


def status_request() -> rpc_pb2.StatusRequest:
    """Ask an endpoint about itself."""
    return rpc_pb2.StatusRequest()


def server_status(message: rpc_pb2.StatusResponse, endpoint: str) -> ServerStatus:
    """What an endpoint says of itself."""
    return ServerStatus(
        header(message.header),
        endpoint,
        message.version,
        message.dbSize,
        message.dbSizeInUse,
        message.leader,
        message.raftIndex,
        message.raftTerm,
        message.raftAppliedIndex,
        tuple(message.errors),
        message.isLearner,
    )


def authenticate_request(user: str, password: str) -> rpc_pb2.AuthenticateRequest:
    """Ask for a token."""
    return rpc_pb2.AuthenticateRequest(name=user, password=password)


def alarms_request() -> rpc_pb2.AlarmRequest:
    """Ask for the alarms."""
    return rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.GET)


def disarm_request(alarm: Alarm) -> rpc_pb2.AlarmRequest:
    """Take an alarm back."""
    return rpc_pb2.AlarmRequest(
        action=rpc_pb2.AlarmRequest.DEACTIVATE,
        memberID=alarm.member_id,
        alarm=alarm.kind,
    )


def alarms(message: rpc_pb2.AlarmResponse) -> tuple[Alarm, ...]:
    """The alarms in an answer; a kind from a newer server is shown as its number."""
    kinds = {value: name for name, value in rpc_pb2.AlarmType.items()}
    return tuple([Alarm(a.memberID, kinds.get(a.alarm, str(a.alarm))) for a in message.alarms])


def defragment_request() -> rpc_pb2.DefragmentRequest:
    """Give free space back to the disk."""
    return rpc_pb2.DefragmentRequest()


def hash_kv_request(revision: int) -> rpc_pb2.HashKVRequest:
    """Ask for the hash of the key space."""
    return rpc_pb2.HashKVRequest(revision=revision)


def keyspace_hash(message: rpc_pb2.HashKVResponse) -> KeyspaceHash:
    """The hash of the key space."""
    return KeyspaceHash(header(message.header), message.hash, message.compact_revision)


def move_leader_request(member_id: int) -> rpc_pb2.MoveLeaderRequest:
    """Hand leadership to a member."""
    return rpc_pb2.MoveLeaderRequest(targetID=member_id)


def snapshot_request() -> rpc_pb2.SnapshotRequest:
    """Ask for a copy of the database."""
    return rpc_pb2.SnapshotRequest()
