"""Durations that callers give: seconds or timedelta, with DEFAULT and None for waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from coord.errors import UsageError
from coord.model import LONGEST_TIMEOUT, LONGEST_TTL, Default
from coord.port import Port

CALL_SECONDS: Final = 5.0  # the client's default time-out of calls

Seconds = float | timedelta
Timeout = Seconds | Default | None


def seconds(value: Seconds, what: str) -> float:
    """A duration as seconds.

    Raises:
        UsageError: it is negative or not a duration.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number >= 0:
        raise UsageError(f"{what} is seconds (0 or more) or a timedelta, not {value!r}")
    return float(number)


def lifetime(value: Seconds) -> float:
    """A lease's time to live as seconds.

    Raises:
        UsageError: it is not a duration, or none that a lease can have.
    """
    number = seconds(value, "ttl")
    if not 0 < number <= LONGEST_TTL:
        raise UsageError(f"ttl is more than 0 and at most {LONGEST_TTL} seconds, not {value!r}")
    return number


def call_deadline(port: Port, timeout: Timeout) -> float | None:
    """The instant at which a call gives up, None for never."""
    if timeout is None:
        return None
    limit = CALL_SECONDS if isinstance(timeout, Default) else seconds(timeout, "timeout")
    return None if limit >= LONGEST_TIMEOUT else port.now() + limit
