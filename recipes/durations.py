"""Durations that callers give: seconds or timedelta, with DEFAULT and None for waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from coord.errors import UsageError
from coord.model import Default
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
        raise UsageError(f"{what} is a number of seconds or a timedelta, not {value!r}")
    return float(number)


def call_deadline(port: Port, timeout: Timeout) -> float | None:
    """The instant at which a call gives up, None for never."""
    if timeout is None:
        return None
    limit = CALL_SECONDS if isinstance(timeout, Default) else seconds(timeout, "timeout")
    return port.now() + limit
