"""What the end of a watch means: try again, fetch a new token, or give up. Pure."""

from __future__ import annotations

import enum

from coord import statuses
from coord.errors import (
    AuthenticationFailed,
    CallTimeout,
    CoordError,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    RequestRefused,
    Unavailable,
    WatchLost,
)


class Verdict(enum.Enum):
    """What to do about an error."""

    RETRY = "retry"
    REAUTHENTICATE = "reauthenticate"
    DENIED = "denied"
    FATAL = "fatal"


_STALE_TOKEN = (
    statuses.INVALID_AUTH_TOKEN.text,
    statuses.USER_EMPTY.text,
    statuses.AUTH_OLD_REVISION.text,
)

_PASSING = (
    statuses.NO_LEADER.text,
    statuses.LEADER_CHANGED.text,
    statuses.STOPPED.text,
    statuses.TIMED_OUT.text,
    statuses.UNHEALTHY.text,
)

# What a stream may end with although nothing is wrong with what it was asked.
_PASSING_CODES = frozenset(
    {
        statuses.CANCELLED,
        statuses.UNKNOWN,
        statuses.DEADLINE_EXCEEDED,
        statuses.RESOURCE_EXHAUSTED,
        statuses.ABORTED,
        statuses.INTERNAL,
        statuses.UNAVAILABLE,
        statuses.FAILED_PRECONDITION,  # a learner serves no watch; another member does
    }
)


def judge_reason(reason: str) -> tuple[Verdict, CoordError]:
    """Judge the reason with which a server ended one watcher, or did not make it.

    The text of a refused permission arrives as Go prints a gRPC error: ``rpc error: code = X desc = <text>``.
    """
    text = reason.partition(" desc = ")[2] or reason
    if not text:
        return Verdict.RETRY, Unavailable("the server ended a watcher without a reason")
    if text in _STALE_TOKEN:
        return Verdict.REAUTHENTICATE, AuthenticationFailed(text, code=statuses.UNAUTHENTICATED, text=text)
    if text == statuses.PERMISSION_DENIED_STATUS.text:
        return Verdict.DENIED, PermissionDenied(text, code=statuses.PERMISSION_DENIED, text=text)
    if text.startswith(_PASSING):
        kind = NoLeader if text == statuses.NO_LEADER.text else Unavailable
        return Verdict.RETRY, kind(text)
    lost = WatchLost(f"the server ended the watch: {text}", text=text)
    lost.__cause__ = RequestRefused(text, code=statuses.UNKNOWN, text=text)
    return Verdict.FATAL, lost


def judge_stream_error(error: CoordError) -> Verdict:
    """Judge the error that ended the whole stream."""
    if isinstance(error, (Unavailable, CallTimeout, OutcomeUnknown)):
        return Verdict.RETRY
    if isinstance(error, AuthenticationFailed) or error.facts.get("text") in _STALE_TOKEN:
        return Verdict.REAUTHENTICATE
    return Verdict.RETRY if error.facts.get("code") in _PASSING_CODES else Verdict.FATAL
