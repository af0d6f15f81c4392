"""The one table of etcd's RPC methods: path, message types and kind. No grpc here.

Server and client both go by it. The packages of our messages are our own (``coord.…``), so paths are spelled out and
no generated service code exists.

Source: etcd api/etcdserverpb/rpc.proto and server/etcdserver/api/v3lock, v3election; grpc health.proto is served apart.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from coord.wire import election_pb2, lock_pb2, rpc_pb2

# protobuf's generated classes share a base that type checkers see as Message only; the table hands out classes.
MessageType = Any


class Kind(enum.Enum):
    """How requests and responses flow."""

    UNARY = "unary"
    SERVER_STREAM = "server stream"
    BIDI = "bidirectional stream"


class Method(NamedTuple):
    """One RPC method.

    Attributes:
        path: gRPC path, ``/package.Service/Method``.
        request: message class of requests.
        response: message class of responses.
        kind: how they flow.
    """

    path: str
    request: MessageType
    response: MessageType
    kind: Kind


METHODS: dict[str, Method] = {}
"""Every method by its path."""


def _method(
    service: str, name: str, pb: Any, request: str, response: str | None = None, kind: Kind = Kind.UNARY
) -> Method:
    """Enter one method; message names follow etcd's habit of <request>Request and <request>Response."""
    made = Method(
        f"/{service}/{name}",
        getattr(pb, f"{request}Request"),
        getattr(pb, f"{response or request}Response"),
        kind,
    )
    METHODS[made.path] = made
    return made


_KV = "etcdserverpb.KV"
KV_RANGE = _method(_KV, "Range", rpc_pb2, "Range")
KV_RANGE_STREAM = _method(_KV, "RangeStream", rpc_pb2, "Range", "RangeStream", Kind.SERVER_STREAM)
KV_PUT = _method(_KV, "Put", rpc_pb2, "Put")
KV_DELETE_RANGE = _method(_KV, "DeleteRange", rpc_pb2, "DeleteRange")
KV_TXN = _method(_KV, "Txn", rpc_pb2, "Txn")
KV_COMPACT = _method(_KV, "Compact", rpc_pb2, "Compaction")

WATCH = _method("etcdserverpb.Watch", "Watch", rpc_pb2, "Watch", kind=Kind.BIDI)

_LEASE = "etcdserverpb.Lease"
LEASE_GRANT = _method(_LEASE, "LeaseGrant", rpc_pb2, "LeaseGrant")
LEASE_REVOKE = _method(_LEASE, "LeaseRevoke", rpc_pb2, "LeaseRevoke")
LEASE_KEEP_ALIVE = _method(_LEASE, "LeaseKeepAlive", rpc_pb2, "LeaseKeepAlive", kind=Kind.BIDI)
LEASE_TIME_TO_LIVE = _method(_LEASE, "LeaseTimeToLive", rpc_pb2, "LeaseTimeToLive")
LEASE_LEASES = _method(_LEASE, "LeaseLeases", rpc_pb2, "LeaseLeases")

_CLUSTER = "etcdserverpb.Cluster"
MEMBER_ADD = _method(_CLUSTER, "MemberAdd", rpc_pb2, "MemberAdd")
MEMBER_REMOVE = _method(_CLUSTER, "MemberRemove", rpc_pb2, "MemberRemove")
MEMBER_UPDATE = _method(_CLUSTER, "MemberUpdate", rpc_pb2, "MemberUpdate")
MEMBER_LIST = _method(_CLUSTER, "MemberList", rpc_pb2, "MemberList")
MEMBER_PROMOTE = _method(_CLUSTER, "MemberPromote", rpc_pb2, "MemberPromote")

_MAINTENANCE = "etcdserverpb.Maintenance"
ALARM = _method(_MAINTENANCE, "Alarm", rpc_pb2, "Alarm")
STATUS = _method(_MAINTENANCE, "Status", rpc_pb2, "Status")
DEFRAGMENT = _method(_MAINTENANCE, "Defragment", rpc_pb2, "Defragment")
HASH = _method(_MAINTENANCE, "Hash", rpc_pb2, "Hash")
HASH_KV = _method(_MAINTENANCE, "HashKV", rpc_pb2, "HashKV")
SNAPSHOT = _method(_MAINTENANCE, "Snapshot", rpc_pb2, "Snapshot", kind=Kind.SERVER_STREAM)
MOVE_LEADER = _method(_MAINTENANCE, "MoveLeader", rpc_pb2, "MoveLeader")
DOWNGRADE = _method(_MAINTENANCE, "Downgrade", rpc_pb2, "Downgrade")

_AUTH = "etcdserverpb.Auth"
AUTH_ENABLE = _method(_AUTH, "AuthEnable", rpc_pb2, "AuthEnable")
AUTH_DISABLE = _method(_AUTH, "AuthDisable", rpc_pb2, "AuthDisable")
AUTH_STATUS = _method(_AUTH, "AuthStatus", rpc_pb2, "AuthStatus")
AUTHENTICATE = _method(_AUTH, "Authenticate", rpc_pb2, "Authenticate")
USER_ADD = _method(_AUTH, "UserAdd", rpc_pb2, "AuthUserAdd")
USER_GET = _method(_AUTH, "UserGet", rpc_pb2, "AuthUserGet")
USER_LIST = _method(_AUTH, "UserList", rpc_pb2, "AuthUserList")
USER_DELETE = _method(_AUTH, "UserDelete", rpc_pb2, "AuthUserDelete")
USER_CHANGE_PASSWORD = _method(_AUTH, "UserChangePassword", rpc_pb2, "AuthUserChangePassword")
USER_GRANT_ROLE = _method(_AUTH, "UserGrantRole", rpc_pb2, "AuthUserGrantRole")
USER_REVOKE_ROLE = _method(_AUTH, "UserRevokeRole", rpc_pb2, "AuthUserRevokeRole")
ROLE_ADD = _method(_AUTH, "RoleAdd", rpc_pb2, "AuthRoleAdd")
ROLE_GET = _method(_AUTH, "RoleGet", rpc_pb2, "AuthRoleGet")
ROLE_LIST = _method(_AUTH, "RoleList", rpc_pb2, "AuthRoleList")
ROLE_DELETE = _method(_AUTH, "RoleDelete", rpc_pb2, "AuthRoleDelete")
ROLE_GRANT_PERMISSION = _method(_AUTH, "RoleGrantPermission", rpc_pb2, "AuthRoleGrantPermission")
ROLE_REVOKE_PERMISSION = _method(_AUTH, "RoleRevokePermission", rpc_pb2, "AuthRoleRevokePermission")

_LOCK = "v3lockpb.Lock"
LOCK = _method(_LOCK, "Lock", lock_pb2, "Lock")
UNLOCK = _method(_LOCK, "Unlock", lock_pb2, "Unlock")

_ELECTION = "v3electionpb.Election"
CAMPAIGN = _method(_ELECTION, "Campaign", election_pb2, "Campaign")
PROCLAIM = _method(_ELECTION, "Proclaim", election_pb2, "Proclaim")
LEADER = _method(_ELECTION, "Leader", election_pb2, "Leader")
OBSERVE = _method(_ELECTION, "Observe", election_pb2, "Leader", kind=Kind.SERVER_STREAM)
RESIGN = _method(_ELECTION, "Resign", election_pb2, "Resign")
