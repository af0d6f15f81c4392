"""The table from gRPC statuses to errors: every row that a caller's safety hangs on."""

from __future__ import annotations

import pickle

import pytest

from coord import errors, statuses
from coord.statuses import Refused, Status
from coord.wire import status

NOT_DONE = [
    # Said before a request is proposed: a write may be sent again.
    statuses.NO_LEADER,
    statuses.NOT_LEADER,
    Status(statuses.UNKNOWN, "raft proposal dropped"),
    statuses.TOO_MANY_REQUESTS,
    statuses.NOT_SUPPORTED_FOR_LEARNER,
    Status(statuses.UNAVAILABLE, statuses.NOT_SUPPORTED_FOR_LEARNER.text),
    Status(statuses.UNAVAILABLE, "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed"),
    Status(statuses.UNAVAILABLE, "errors resolving nosuch.invalid:1: [field:hostname lookup error]"),
    Status(statuses.UNAVAILABLE, "DNS resolution failed for etcd:2379"),
    Status(statuses.UNAVAILABLE, "Received RST_STREAM with error code 7"),
]

OPEN = [
    # The entry may be in the log, or the answer was lost.
    statuses.LEADER_CHANGED,
    statuses.STOPPED,
    statuses.TIMED_OUT,
    statuses.TIMED_OUT_LEADER_FAIL,
    statuses.TIMED_OUT_CONNECTION_LOST,
    statuses.TIMED_OUT_APPLIED_INDEX,
    Status(statuses.UNAVAILABLE, "Socket closed"),
    Status(statuses.UNAVAILABLE, "recvmsg:Connection reset by peer"),
    Status(statuses.UNAVAILABLE, "keepalive watchdog timeout"),
    Status(statuses.UNAVAILABLE, ""),
    Status(statuses.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    Status(statuses.UNKNOWN, "context deadline exceeded"),
    Status(statuses.CANCELLED, "etcdserver: request canceled"),
    Status(statuses.CANCELLED, "Cancelled by the server"),
    Status(statuses.INTERNAL, "Received RST_STREAM with error code 2"),
    Status(statuses.UNKNOWN, "Stream removed"),
    Status(statuses.UNKNOWN, "Unexpected <class 'ValueError'>: in a proxy"),
    Status(77, "a code of the future"),
]

REFUSED = [
    (statuses.COMPACTED, errors.Compacted),
    (statuses.FUTURE_REVISION, errors.FutureRevision),
    (statuses.LEASE_NOT_FOUND, errors.LeaseNotFound),
    (Status(statuses.UNKNOWN, statuses.LEASE_NOT_FOUND.text), errors.LeaseNotFound),
    (statuses.LEASE_EXISTS, errors.LeaseExists),
    (statuses.NO_SPACE, errors.SpaceExceeded),
    (statuses.REQUEST_TOO_LARGE, errors.RequestTooLarge),
    (Status(statuses.RESOURCE_EXHAUSTED, "grpc: received message larger than max (9 vs. 8)"), errors.RequestTooLarge),
    (Status(statuses.RESOURCE_EXHAUSTED, "something else"), errors.RequestRefused),
    (statuses.PERMISSION_DENIED_STATUS, errors.PermissionDenied),
    (Status(statuses.UNKNOWN, "auth: permission denied"), errors.PermissionDenied),
    (statuses.AUTH_FAILED, errors.AuthenticationFailed),
    (statuses.INVALID_AUTH_TOKEN, errors.AuthenticationFailed),
    (statuses.USER_EMPTY, errors.AuthenticationFailed),
    (Status(statuses.UNAUTHENTICATED, "from a proxy"), errors.AuthenticationFailed),
    (Status(statuses.UNIMPLEMENTED, "unknown service"), errors.Unsupported),
    (Status(statuses.UNAVAILABLE, "etcdserver: not capable"), errors.Unsupported),
    (statuses.KEY_NOT_PROVIDED, errors.RequestRefused),
    (statuses.DUPLICATE_KEY, errors.RequestRefused),
    (statuses.CORRUPT, errors.RequestRefused),
    (Status(statuses.UNKNOWN, "etcdserver: re-configuration failed due to not enough started members"), None),
    (Status(statuses.UNKNOWN, "election: no leader"), None),
]


def ids(values: list[Status]) -> list[str]:
    return [f"{value.code} {value.text}"[:60] for value in values]


@pytest.mark.parametrize("found", NOT_DONE, ids=ids(NOT_DONE))
def test_a_write_that_was_not_done(found: Status) -> None:
    row = status.row(found)
    assert row.again
    assert not row.open
    made = status.error(found, write=True)
    assert isinstance(made, errors.Unavailable)
    assert made.retryable
    assert made.outcome_known


@pytest.mark.parametrize("found", OPEN, ids=ids(OPEN))
def test_a_write_whose_outcome_is_open(found: Status) -> None:
    made = status.error(found, write=True)
    assert type(made) is errors.OutcomeUnknown
    assert not made.outcome_known
    assert not made.retryable
    # Certainly not sent: then even a lost connection leaves nothing open.
    assert status.error(found, write=True, sent=False).outcome_known


@pytest.mark.parametrize("found", OPEN, ids=ids(OPEN))
def test_a_read_changes_nothing_whatever_happens(found: Status) -> None:
    assert status.error(found, write=False).outcome_known


@pytest.mark.parametrize(("found", "kind"), REFUSED, ids=ids([found for found, _ in REFUSED]))
@pytest.mark.parametrize("write", [False, True])
def test_a_refusal(found: Status, kind: type[errors.CoordError] | None, write: bool) -> None:
    made = status.error(found, write=write, endpoint="a:1", attempts=3)
    assert type(made) is (kind or errors.RequestRefused)
    assert made.outcome_known
    assert not made.retryable
    assert (made.code, made.text, made.endpoint, made.attempts) == (*found, "a:1", 3)
    assert found.text in str(made)
    assert not status.row(found).again


@pytest.mark.parametrize(
    "found",
    [
        statuses.INVALID_AUTH_TOKEN,
        statuses.AUTH_OLD_REVISION,
        statuses.USER_EMPTY,
        Status(statuses.UNKNOWN, "auth: revision in header is old"),
    ],
)
def test_a_token_is_the_trouble(found: Status) -> None:
    assert status.row(found).login
    assert not status.row(found).open


def test_wrong_password_is_not_tried_again() -> None:
    assert not status.row(statuses.AUTH_FAILED).login


def test_deadline() -> None:
    assert type(status.error(Status(4, "Deadline Exceeded"), write=False)) is errors.CallTimeout
    assert type(status.error(status.CONNECT_TIMED_OUT, write=True, sent=False)) is errors.CallTimeout


def test_only_a_connection_that_was_not_made_counts_as_not_reached() -> None:
    reached = [found for found in [*NOT_DONE, *OPEN] if status.row(found).reached]
    assert [found for found in NOT_DONE if found not in reached] == NOT_DONE[6:9]


def test_every_status_of_the_table_has_a_meaning() -> None:
    """A text added to the contract must not fall through to "unknown outcome"."""
    for name, found in vars(statuses).items():
        if isinstance(found, Status) and found.code not in (statuses.UNAVAILABLE, statuses.CANCELLED):
            assert not status.row(found).open, name


def test_the_servers_own_exception() -> None:
    made = status.from_refused(Refused(statuses.COMPACTED), write=False)
    assert isinstance(made, errors.Compacted)
    assert made.compact_revision == 0


def test_errors_travel() -> None:
    made = status.error(statuses.NO_SPACE, write=True, endpoint="a:1", attempts=1)
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is errors.SpaceExceeded
    assert back.facts == made.facts
    assert str(back) == str(made)
