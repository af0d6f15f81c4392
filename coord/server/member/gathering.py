"""How long proposals wait for company before they go to the disk together.

Whoever was just answered mostly asks again at once. Without a wait each of a thousand clients finds the disk free when
its request has come through the loop: a write then carried five entries, and waking the disk's thread for each write
cost more than the entries did. So when a write ends, the next one begins once as many proposals are there as were under
way then, or after a moment; with few under way it never waits.

Source: PostgreSQL's commit_delay and commit_siblings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

COMPANY = 4
"""Fewer requests under way than these are not waited for."""

GATHER_SECONDS = 0.002
"""What a proposal may wait for others at most (a timer of uvloop takes up to a millisecond more)."""


class Gathering:
    """The wait between two writes. Everything happens on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
        """`over` is called when the wait ended without the company that was expected."""
        self._loop = loop
        self._over = over
        self._expected = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, under_way: int) -> None:
        """A write ended while so many requests were not answered."""
        self.stop()
        if under_way >= COMPANY:
            self._expected = under_way
            self._timer = self._loop.call_later(GATHER_SECONDS, self._end)

    def complete(self, gathered: int) -> bool:
        """True if nobody else is waited for."""
        return gathered >= self._expected

    def stop(self) -> None:
        """Wait for nobody."""
        self._expected = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self.stop()
        self._over()
