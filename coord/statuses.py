"""The refusals of the etcd v3 API: gRPC code and exact text, each named once.

Both sides need them: the server answers with them, the client recognises them. etcd's own clients match on the text,
so a text is part of the API. Knows nothing of gRPC or protobuf; codes are the plain numbers of the gRPC specification.

Source: etcd api/v3rpc/rpctypes/error.go; deviations between table and reality are noted where they matter.
"""

from __future__ import annotations

from typing import NamedTuple

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16


class Status(NamedTuple):
    """One answer that is not OK: gRPC code number and text."""

    code: int
    text: str


class Refused(Exception):
    """The server's own exception: a request ends with this status instead of a response."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


KEY_NOT_PROVIDED = Status(INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND = Status(INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED = Status(INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED = Status(INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPS = Status(INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY = Status(INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
INVALID_CLIENT_API_VERSION = Status(INVALID_ARGUMENT, "etcdserver: invalid client api version")
INVALID_SORT_OPTION = Status(INVALID_ARGUMENT, "etcdserver: invalid sort option")
BAD_MEMBER_URLS = Status(INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
REQUEST_TOO_LARGE = Status(INVALID_ARGUMENT, "etcdserver: request is too large")
USER_EMPTY = Status(INVALID_ARGUMENT, "etcdserver: user name is empty")
ROLE_EMPTY = Status(INVALID_ARGUMENT, "etcdserver: role name is empty")
AUTH_FAILED = Status(INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password")
PERMISSION_NOT_GIVEN = Status(INVALID_ARGUMENT, "etcdserver: permission not given")
INVALID_AUTH_MANAGEMENT = Status(INVALID_ARGUMENT, "etcdserver: invalid auth management")
AUTH_OLD_REVISION = Status(INVALID_ARGUMENT, "etcdserver: revision of auth store is old")

COMPACTED = Status(OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE_REVISION = Status(OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
LEASE_TTL_TOO_LARGE = Status(OUT_OF_RANGE, "etcdserver: too large lease TTL")

NO_SPACE = Status(RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
# Declared RESOURCE_EXHAUSTED in etcd's table, sent as UNKNOWN because the mapped object is a client-side type.
TOO_MANY_REQUESTS = Status(UNKNOWN, "etcdserver: too many requests")

LEASE_NOT_FOUND = Status(NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS = Status(FAILED_PRECONDITION, "etcdserver: lease already exists")
MEMBER_NOT_FOUND = Status(NOT_FOUND, "etcdserver: member not found")
MEMBER_EXISTS = Status(FAILED_PRECONDITION, "etcdserver: member ID already exist")
PEER_URLS_EXIST = Status(FAILED_PRECONDITION, "etcdserver: Peer URLs already exists")
AUTH_NOT_ENABLED = Status(FAILED_PRECONDITION, "etcdserver: authentication is not enabled")
NOT_LEADER = Status(FAILED_PRECONDITION, "etcdserver: not leader")
NOT_SUPPORTED_FOR_LEARNER = Status(FAILED_PRECONDITION, "etcdserver: rpc not supported for learner")
CLUSTER_ID_MISMATCH = Status(FAILED_PRECONDITION, "etcdserver: cluster ID mismatch")

PERMISSION_DENIED_STATUS = Status(PERMISSION_DENIED, "etcdserver: permission denied")
INVALID_AUTH_TOKEN = Status(UNAUTHENTICATED, "etcdserver: invalid auth token")

NO_LEADER = Status(UNAVAILABLE, "etcdserver: no leader")
LEADER_CHANGED = Status(UNAVAILABLE, "etcdserver: leader changed")
STOPPED = Status(UNAVAILABLE, "etcdserver: server stopped")
TIMED_OUT = Status(UNAVAILABLE, "etcdserver: request timed out")
TIMED_OUT_LEADER_FAIL = Status(UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure")
TIMED_OUT_CONNECTION_LOST = Status(UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost")
TIMED_OUT_APPLIED_INDEX = Status(
    UNAVAILABLE, "etcdserver: request timed out, waiting for the applied index took too long"
)
UNHEALTHY = Status(UNAVAILABLE, "etcdserver: unhealthy cluster")
CORRUPT = Status(DATA_LOSS, "etcdserver: corrupt cluster")
WATCH_CANCELED = Status(CANCELLED, "etcdserver: watch canceled")

# Reasons that travel inside a WatchResponse, not as a gRPC status.
WATCH_EMPTY_RANGE = "mvcc: watcher range is empty"
WATCH_DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"
WATCH_COMPACTED = "etcdserver: mvcc: required revision has been compacted"
