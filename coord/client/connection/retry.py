"""Whether and when a call is tried again. Pure: fed with failures, answers with a delay or an error.

Reads are tried again until the deadline. A write is tried again only when it cannot have happened (`coord.wire.status`
says when) or when doing it twice is the same as doing it once; otherwise it ends with `OutcomeUnknown`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from coord import statuses
from coord.client.connection.urls import Endpoint
from coord.errors import CallTimeout, CoordError, UsageError
from coord.model import DEFAULT, LONGEST_TIMEOUT, Default
from coord.statuses import Status
from coord.wire import status as wire_status

Timeout = float | timedelta | None | Default

NO_WAIT: Final = 1.0
"""Seconds given to the single attempt of ``timeout=0``: it waits for no recovery, but a network takes its time."""

DELAY_FIRST: Final = 0.025  # seconds before the second attempt at an endpoint that was tried already
DELAY_LIMIT: Final = 1.0  # seconds; a restarted server is found again about this soon
SHARE_LEAST: Final = 0.25  # seconds of an attempt at a read while other endpoints are left to be tried
TRY_LEAST: Final = 0.02  # seconds that must be left for another attempt to be worth it
LOGINS: Final = 2  # in one call: the second covers a token that a concurrent change made stale at once


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that got no response.

    Attributes:
        status: code and text.
        endpoint: where it was tried.
        sent: False if it is certain that the request was not handed to the network.
        cause: the original exception.
    """

    status: Status
    endpoint: Endpoint
    sent: bool = True
    cause: BaseException | None = None

    @property
    def answered(self) -> bool:
        """True if the server itself said something final about the request."""
        row = wire_status.row(self.status)
        return not (row.leave or row.open)

    @property
    def reached(self) -> bool:
        """False if no connection to the endpoint could be made."""
        return self.sent and wire_status.row(self.status).reached


@dataclass(frozen=True, slots=True)
class Verdict:
    """Try again: after `delay` seconds, with a fresh token if `login`."""

    delay: float
    login: bool = False


def limits(timeout: Timeout, default: float | None, now: float) -> tuple[float | None, bool]:
    """Deadline (None: never) and whether there is only one attempt.

    Raises:
        UsageError: the timeout is negative or not a number.
    """
    wanted = seconds(timeout, default)
    if wanted is None:
        return None, False
    if wanted == 0:
        return now + NO_WAIT, True
    return now + wanted, False


def seconds(timeout: Timeout, default: float | None) -> float | None:
    """A timeout as seconds, None for no limit.

    Raises:
        UsageError: it is negative or not a number.
    """
    if timeout is DEFAULT:
        return default
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout >= 0:
        raise UsageError(f"timeout is seconds (0 or more), a timedelta or None, not {timeout!r}")
    return None if timeout >= LONGEST_TIMEOUT else float(timeout)


class Attempts:
    """The attempts of one call.

    Attributes:
        write: the request must not be carried out twice.
        count: attempts that failed so far.
        avoid: endpoints that failed and that this call should try last.
    """

    __slots__ = ("_deadline", "_delay", "_logins", "_once", "_started", "_unanswered", "avoid", "count", "write")

    def __init__(self, *, deadline: float | None, write: bool, once: bool = False, started: float) -> None:
        self._deadline = deadline
        self.write = write
        self._once = once
        self._started = started
        self._delay = DELAY_FIRST
        self._logins = 0
        self._unanswered = 0
        self.count = 0
        self.avoid: set[Endpoint] = set()

    def until(self, now: float, *, others: bool) -> float | None:
        """Deadline of the next attempt: a read leaves half of its time for the other endpoints, a write none.

        A frozen server would eat the whole time of a read otherwise. A write waits to the end instead, because giving
        up earlier would make its outcome unknown without need.
        """
        if self._deadline is None or self.write or not others:
            return self._deadline
        left = self._deadline - now
        return now + min(left, max(left / 2, SHARE_LEAST))

    def connect_until(self, now: float, *, others: bool) -> float | None:
        """Deadline for making the connection: nothing is sent yet, so a write too may go elsewhere."""
        if self._deadline is None or not others:
            return self._deadline
        left = self._deadline - now
        return now + min(left, max(left / 3, SHARE_LEAST))

    def failed(self, failure: Failure, now: float, rng: random.Random, *, fresh: bool, can_login: bool) -> Verdict:
        """What to do after a failure.

        Args:
            failure: the attempt.
            now: instant on the clock of the deadline.
            rng: for jitter.
            fresh: an endpoint is left that this call has not tried and that is not resting.
            can_login: user and password are known.

        Raises:
            CoordError: the call ends; the original exception is its cause.
        """
        self.count += 1
        row = wire_status.row(failure.status)
        self._unanswered += failure.sent and row.open
        if row.login and can_login and self._logins < LOGINS:
            self._logins += 1
            return Verdict(0.0, login=True)
        unknown = self.write and failure.sent and row.open
        if unknown or not row.again or self._once:
            raise self.error(failure, now)
        if row.leave:
            self.avoid.add(failure.endpoint)
        delay = 0.0 if fresh and row.leave else self._next_delay(rng)
        if self._deadline is not None:
            left = self._deadline - now
            if left < TRY_LEAST:
                raise self.error(failure, now)
            delay = min(delay, left / 2)
        return Verdict(delay)

    def _next_delay(self, rng: random.Random) -> float:
        self.avoid.clear()  # all of them were tried: begin a new round
        delay = self._delay * (0.5 + rng.random())
        self._delay = min(DELAY_LIMIT, self._delay * 2)
        return delay

    def error(self, failure: Failure, now: float) -> CoordError:
        """The error that the call ends with after this failure."""
        facts: dict[str, Any] = {
            "endpoint": failure.endpoint.address,
            "attempts": self.count,
            "unanswered": self._unanswered,
            "elapsed": round(now - self._started, 3),
        }
        made = wire_status.error(failure.status, write=self.write, sent=failure.sent, **facts)
        if self.count > 1:
            made.add_note(f"after {self.count} attempts in {facts['elapsed']} s")
        made.__cause__ = failure.cause
        return made


def too_late() -> CallTimeout:
    """The error of a call whose deadline has passed before anything was sent."""
    return CallTimeout(
        "the deadline passed before the request was sent",
        code=statuses.DEADLINE_EXCEEDED,
        text="",
        endpoint="",
        attempts=0,
    )
