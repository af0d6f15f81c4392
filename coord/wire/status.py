"""gRPC statuses and errors: the one table between them, and the only place that knows it.

A row says three things that a text or code alone does not tell: which error the user sees, whether the request may
have taken effect although it failed, and what may be done about it. Knows no policy: how often and how long a call is
repeated is decided in `coord.client.connection.retry`.

etcd's texts are looked up before the codes, because the same text travels under several codes (UNKNOWN from the lock
service, UNAVAILABLE in 3.5 and FAILED_PRECONDITION in 3.6 for learners).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from coord import errors, statuses
from coord.errors import CoordError
from coord.statuses import Refused, Status


class Row(NamedTuple):
    """What a failed attempt means.

    Attributes:
        kind: error class the user sees, unless the outcome is open.
        open: the request may have taken effect all the same.
        again: the same request may be answered if it is sent again (for a write only if the outcome is not open).
        leave: another endpoint may do better, this one should rest.
        login: the token is the trouble: authenticate and send again.
        reached: False if there was no connection.
    """

    kind: type[CoordError]
    open: bool = False
    again: bool = False
    leave: bool = False
    login: bool = False
    reached: bool = True


_REFUSED: Final = Row(errors.RequestRefused)
_ELSEWHERE: Final = Row(errors.Unavailable, again=True, leave=True)
_UNREACHED: Final = _ELSEWHERE._replace(reached=False)
_BROKEN: Final = Row(errors.Unavailable, open=True, again=True, leave=True)
_TIMED_OUT: Final = Row(errors.CallTimeout, open=True, again=True, leave=True)
_STALE_TOKEN: Final = Row(errors.AuthenticationFailed, login=True)
_BUG: Final = Row(errors.ServerBug, open=True, again=True)

_BY_TEXT: Final[dict[str, Row]] = {
    statuses.COMPACTED.text: Row(errors.Compacted),
    statuses.FUTURE_REVISION.text: Row(errors.FutureRevision),
    statuses.LEASE_NOT_FOUND.text: Row(errors.LeaseNotFound),
    statuses.LEASE_EXISTS.text: Row(errors.LeaseExists),
    statuses.NO_SPACE.text: Row(errors.SpaceExceeded),
    statuses.REQUEST_TOO_LARGE.text: Row(errors.RequestTooLarge),
    statuses.PERMISSION_DENIED_STATUS.text: Row(errors.PermissionDenied),
    "auth: permission denied": Row(errors.PermissionDenied),
    statuses.AUTH_FAILED.text: Row(errors.AuthenticationFailed),
    "auth: authentication failed, password was given for no password user": Row(errors.AuthenticationFailed),
    # All of these are checked before a request is proposed, or at apply instead of the operation.
    statuses.INVALID_AUTH_TOKEN.text: _STALE_TOKEN,
    statuses.AUTH_OLD_REVISION.text: _STALE_TOKEN,
    "auth: revision in header is old": _STALE_TOKEN,
    statuses.USER_EMPTY.text: _STALE_TOKEN,
    # Not proposed: the member knows that it could not be.
    statuses.NO_LEADER.text: Row(errors.NoLeader, again=True, leave=True),
    statuses.NOT_LEADER.text: Row(errors.NoLeader, again=True, leave=True),
    "raft proposal dropped": Row(errors.NoLeader, again=True, leave=True),
    statuses.UNHEALTHY.text: Row(errors.Unavailable, again=True),
    statuses.TOO_MANY_REQUESTS.text: Row(errors.Unavailable, again=True),
    statuses.NOT_SUPPORTED_FOR_LEARNER.text: _ELSEWHERE,
    # Proposed, and then nobody knows: the entry may be in the log of a majority.
    statuses.LEADER_CHANGED.text: _BROKEN,
    statuses.STOPPED.text: _BROKEN,
    statuses.TIMED_OUT.text: _BROKEN,
    statuses.TIMED_OUT_LEADER_FAIL.text: _BROKEN,
    statuses.TIMED_OUT_CONNECTION_LOST.text: _BROKEN,
    statuses.TIMED_OUT_APPLIED_INDEX.text: _BROKEN,
    "etcdserver: request canceled": _BROKEN,
    "etcdserver: context deadline exceeded": _TIMED_OUT,
    "context deadline exceeded": _TIMED_OUT,
    "context canceled": _BROKEN,
    # UNAVAILABLE in 3.4 and 3.5, though no time will make the member capable.
    "etcdserver: not capable": Row(errors.Unsupported),
    "Stream removed": _BROKEN,
}

_BY_BEGINNING: Final[tuple[tuple[str, Row], ...]] = (
    # gRPC says these of calls that never left the machine.
    ("failed to connect to all addresses", _UNREACHED),
    ("connections to all backends failing", _UNREACHED),
    ("errors resolving ", _UNREACHED),
    ("DNS resolution failed", _UNREACHED),
    ("Domain name not found", _UNREACHED),
    ("there is no address available", _UNREACHED),
    ("there is no connection available", _UNREACHED),
    # REFUSED_STREAM: by RFC 9113 §8.7 the request was not processed.
    ("Received RST_STREAM with error code 7", _ELSEWHERE),
    ("grpc: received message larger than max", Row(errors.RequestTooLarge)),
    ("grpc: trying to send message larger than max", Row(errors.RequestTooLarge)),
    ("Received message larger than max", Row(errors.RequestTooLarge)),
    ("CLIENT: Received message larger than max", Row(errors.RequestTooLarge)),
    ("SERVER: Received message larger than max", Row(errors.RequestTooLarge)),
    ("Exception deserializing response", Row(errors.ServerBug, open=True)),
)

# Texts that only a server produces: whatever they say, the request was answered, and with "no".
_ANSWERS: Final = ("etcdserver:", "auth:", "mvcc:", "lease", "election:", "lock:", "raft")

_BY_CODE: Final[dict[int, Row]] = {
    statuses.CANCELLED: _BROKEN,
    statuses.UNKNOWN: Row(errors.RequestRefused, open=True),
    statuses.INVALID_ARGUMENT: _REFUSED,
    statuses.DEADLINE_EXCEEDED: _TIMED_OUT,
    statuses.NOT_FOUND: _REFUSED,
    statuses.ALREADY_EXISTS: _REFUSED,
    statuses.PERMISSION_DENIED: Row(errors.PermissionDenied),
    statuses.RESOURCE_EXHAUSTED: _REFUSED,
    statuses.FAILED_PRECONDITION: _REFUSED,
    statuses.ABORTED: _REFUSED,
    statuses.OUT_OF_RANGE: _REFUSED,
    statuses.UNIMPLEMENTED: Row(errors.Unsupported),
    statuses.INTERNAL: _BUG,
    statuses.UNAVAILABLE: _BROKEN,
    statuses.DATA_LOSS: _REFUSED,
    statuses.UNAUTHENTICATED: Row(errors.AuthenticationFailed),
}

CONNECT_TIMED_OUT: Final = Status(statuses.DEADLINE_EXCEEDED, "the connection was not made in time")
"""Not from the wire: the deadline passed while connecting, so nothing was sent."""


def row(status: Status) -> Row:
    """What this status means for the request that it answers."""
    found = _BY_TEXT.get(status.text)
    if found is not None:
        return found
    for beginning, meaning in _BY_BEGINNING:
        if status.text.startswith(beginning):
            return meaning
    if status.code == statuses.UNKNOWN and status.text.startswith(_ANSWERS):
        return _REFUSED
    return _BY_CODE.get(status.code, _BUG)


def error(status: Status, *, write: bool, sent: bool = True, **facts: Any) -> CoordError:
    """The error that a call ends with when it is not tried again.

    Args:
        status: what came instead of a response.
        write: the request could have changed something.
        sent: False if it is certain that nothing reached the server.
        facts: become attributes of the error (endpoint, attempts, …).
    """
    meaning = row(status)
    text = status.text or f"gRPC code {status.code}"
    facts = {"code": status.code, "text": status.text, **facts}
    where = f" ({facts['endpoint']})" if facts.get("endpoint") else ""
    if write and sent and meaning.open:
        return errors.OutcomeUnknown(f"a write may or may not have taken effect: {text}{where}", **facts)
    if meaning.kind is errors.Compacted:
        facts.setdefault("compact_revision", 0)
    return meaning.kind(f"{text}{where}", **facts)


def from_refused(refused: Refused, *, write: bool, **facts: Any) -> CoordError:
    """The error for the server's own exception; for tests that run client code against server code without a wire."""
    return error(refused.status, write=write, **facts)
