"""When the garbage collector looks at everything: while nobody waits.

A full collection visits every object the collector tracks and stops the server meanwhile, a tenth of a second for each
few hundred thousand keys. Young objects are collected as always.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
FORCE_SECONDS = 3600.0
"""A server that is never idle collects this often all the same: garbage in cycles would grow without end."""

# Young collections of this many objects cost under a millisecond. The third number makes full ones never start alone.
_THRESHOLDS = (20_000, 50, 1_000_000)


class Collector:
    """Asked regularly; collects if nothing was called since the last look and there is something to look at."""

    def __init__(
        self,
        calls: Callable[[], int],
        *,
        collect: Callable[[], object] = gc.collect,
        counts: Callable[[], tuple[int, int, int]] = gc.get_count,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`calls` is a number that grows with each call to the server."""
        self._calls = calls
        self._collect = collect
        self._counts = counts
        self._now = now
        self._seen = calls()
        self._last = now()

    def look(self) -> None:
        """The regular call."""
        calls, now = self._calls(), self._now()
        idle, self._seen = calls == self._seen, calls
        if (idle and self._counts()[2]) or now - self._last > FORCE_SECONDS:
            self._collect()
            self._last = now


def take_over() -> None:
    """Leave what the start has made out of all later collections, and full collections to `Collector`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
