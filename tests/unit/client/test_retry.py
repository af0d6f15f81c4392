"""Whether and when a call is tried again."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from coord import statuses
from coord.client.connection import retry
from coord.client.connection.retry import DELAY_FIRST, DELAY_LIMIT, LOGINS, NO_WAIT, TRY_LEAST, Attempts, Failure
from coord.client.connection.urls import Endpoint
from coord.errors import (
    AuthenticationFailed,
    CallTimeout,
    Compacted,
    CoordError,
    NoLeader,
    OutcomeUnknown,
    Unavailable,
    UsageError,
)
from coord.model import DEFAULT
from coord.statuses import Status
from coord.wire.status import CONNECT_TIMED_OUT

A, B = Endpoint("a:1"), Endpoint("b:1")
REFUSED = Status(14, "failed to connect to all addresses; last error: refused")
RESET = Status(14, "recvmsg:Connection reset by peer")
DEADLINE = Status(4, "Deadline Exceeded")


class Call:
    """A call that is fed failures by the test."""

    def __init__(self, *, write: bool = False, deadline: float | None = 5.0, once: bool = False) -> None:
        self.attempts = Attempts(deadline=deadline, write=write, once=once, started=0.0)
        self.rng = random.Random(1)

    def fail(
        self, status: Status, now: float = 0.0, *, sent: bool = True, fresh: bool = False, can_login: bool = False
    ) -> retry.Verdict:
        failure = Failure(status, A, sent, ValueError("original"))
        return self.attempts.failed(failure, now, self.rng, fresh=fresh, can_login=can_login)


@pytest.mark.parametrize("status", [REFUSED, RESET, statuses.TIMED_OUT, statuses.LEADER_CHANGED, statuses.NO_LEADER])
def test_reads_are_tried_again(status: Status) -> None:
    assert Call().fail(status).delay > 0


@pytest.mark.parametrize("status", [REFUSED, statuses.NO_LEADER, statuses.TOO_MANY_REQUESTS])
def test_writes_that_did_not_happen_are_tried_again(status: Status) -> None:
    assert Call(write=True).fail(status).delay > 0


@pytest.mark.parametrize("status", [RESET, DEADLINE, statuses.TIMED_OUT, statuses.LEADER_CHANGED, statuses.STOPPED])
def test_writes_that_may_have_happened_end(status: Status) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        Call(write=True).fail(status)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.endpoint == "a:1"
    assert caught.value.attempts == 1


def test_writes_that_were_not_sent_are_tried_again() -> None:
    assert Call(write=True).fail(CONNECT_TIMED_OUT, sent=False).delay > 0
    assert Call(write=True).fail(RESET, sent=False).delay > 0


@pytest.mark.parametrize("write", [False, True])
def test_refusals_end(write: bool) -> None:
    with pytest.raises(Compacted):
        Call(write=write).fail(statuses.COMPACTED)


def test_delays_grow_with_jitter_up_to_a_limit() -> None:
    call = Call(deadline=None)
    longest = DELAY_FIRST
    for _ in range(20):
        delay = call.fail(REFUSED).delay
        assert longest / 2 <= delay <= longest * 1.5
        longest = min(DELAY_LIMIT, longest * 2)


def test_another_endpoint_is_tried_at_once() -> None:
    call = Call()
    assert call.fail(REFUSED, fresh=True).delay == 0
    assert call.attempts.avoid == {A}
    assert call.fail(REFUSED, fresh=False).delay > 0
    assert call.attempts.avoid == set(), "a new round begins"


def test_a_busy_server_is_not_left() -> None:
    call = Call()
    assert call.fail(statuses.TOO_MANY_REQUESTS, fresh=True).delay > 0
    assert call.attempts.avoid == set()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(REFUSED, Unavailable), (statuses.NO_LEADER, NoLeader), (DEADLINE, CallTimeout), (CONNECT_TIMED_OUT, CallTimeout)],
)
def test_the_deadline_ends_it_with_the_last_failure(status: Status, kind: type[CoordError]) -> None:
    call = Call(deadline=5.0)
    call.fail(REFUSED, 0.0)
    with pytest.raises(kind) as caught:
        call.fail(status, 5.0 - TRY_LEAST / 2)
    assert type(caught.value) is kind
    assert caught.value.attempts == 2
    assert caught.value.elapsed == pytest.approx(4.99, abs=0.01)
    assert "2 attempts" in caught.value.__notes__[0]


def test_the_wait_leaves_time_for_the_attempt() -> None:
    call = Call(deadline=5.0)
    for _ in range(10):
        call.fail(REFUSED, 0.0)
    assert call.fail(REFUSED, 4.9).delay <= 0.05 + 1e-9


def test_for_ever() -> None:
    call = Call(deadline=None)
    for number in range(1000):
        call.fail(REFUSED, number * 1000.0)


def test_one_attempt_only() -> None:
    with pytest.raises(Unavailable):
        Call(once=True).fail(REFUSED)


def test_a_stale_token_is_replaced_at_once() -> None:
    """The request was not carried out, so a write may be sent again too, even when there is time for only one."""
    call = Call(write=True, once=True)
    for _ in range(LOGINS):
        verdict = call.fail(statuses.INVALID_AUTH_TOKEN, can_login=True)
        assert verdict.login
        assert verdict.delay == 0
    with pytest.raises(AuthenticationFailed):
        call.fail(statuses.INVALID_AUTH_TOKEN, can_login=True)


def test_no_token_without_a_user() -> None:
    with pytest.raises(AuthenticationFailed):
        Call().fail(statuses.USER_EMPTY, can_login=False)


def test_reads_leave_time_for_other_endpoints() -> None:
    read = Call(deadline=10.0).attempts
    assert read.until(0.0, others=True) == 5.0
    assert read.until(5.0, others=True) == 7.5
    assert read.until(9.9, others=True) == 10.0
    assert read.until(0.0, others=False) == 10.0
    write = Call(deadline=10.0, write=True).attempts
    assert write.until(0.0, others=True) == 10.0, "its outcome would be unknown without need"
    assert write.connect_until(1.0, others=True) == 4.0
    assert write.connect_until(1.0, others=False) == 10.0
    forever = Call(deadline=None).attempts
    assert forever.until(0.0, others=True) is None
    assert forever.connect_until(0.0, others=True) is None


def test_unanswered_attempts_are_counted() -> None:
    """So that a refusal after a repetition can mean "done already"."""
    call = Call()
    call.fail(REFUSED)
    call.fail(RESET)
    with pytest.raises(Compacted) as caught:
        call.fail(statuses.COMPACTED)
    assert (caught.value.attempts, caught.value.unanswered) == (3, 1)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (DEFAULT, (107.0, False)),
        (None, (None, False)),
        (float("inf"), (None, False)),
        (1e10, (None, False)),  # gRPC stood still: the deadline overflowed
        (0, (100.0 + NO_WAIT, True)),
        (0.0, (100.0 + NO_WAIT, True)),
        (timedelta(0), (100.0 + NO_WAIT, True)),
        (2, (102.0, False)),
        (0.5, (100.5, False)),
        (timedelta(minutes=1), (160.0, False)),
    ],
)
def test_timeouts(timeout: retry.Timeout, expected: tuple[float | None, bool]) -> None:
    assert retry.limits(timeout, 7.0, 100.0) == expected


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), "5", True, timedelta(seconds=-1), [], b"1"])
def test_what_is_no_timeout(timeout: object) -> None:
    with pytest.raises(UsageError):
        retry.limits(timeout, 7.0, 100.0)  # type: ignore[arg-type]  # the point of the test


def test_default_of_for_ever() -> None:
    assert retry.limits(DEFAULT, None, 100.0) == (None, False)


def test_failures_know_whether_there_was_an_answer() -> None:
    assert Failure(statuses.COMPACTED, A).answered
    assert Failure(Status(12, "no health service"), A).answered
    assert not Failure(RESET, A).answered
    assert not Failure(DEADLINE, A).answered
    assert Failure(RESET, A).reached
    assert not Failure(REFUSED, A).reached
    assert not Failure(CONNECT_TIMED_OUT, A, sent=False).reached
