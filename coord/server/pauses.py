"""Notices that the loop stood still: a stopped process, a suspended machine, a long collection.

While it stood, no keep-alive could be answered, so leases must not expire for it. CLOCK_MONOTONIC does not count the
suspension of a machine but does count a stopped process.
"""

from __future__ import annotations

from collections.abc import Callable

from coord.server.figures import Figures
from coord.server.logs import logger

_log = logger(__name__)

TICK = 0.1
PAUSE = 1.0
"""A longer stand-still lengthens all leases by its length."""


class PauseWatch:
    """Told the time every `TICK`, and by whoever acts on time before it acts."""

    def __init__(self, now: Callable[[], float], lengthen: Callable[[float], None], figures: Figures) -> None:
        self._now = now
        self._lengthen = lengthen
        self._figures = figures
        self._last = now()

    def restart(self) -> None:
        """Count from now: what passed before the server served harmed nobody."""
        self._last = self._now()

    def tick(self) -> None:
        """The regular call: observes the loop's lag too."""
        late = self._now() - self._last - TICK
        self._figures.loop_lag_seconds.observe(max(0.0, late))
        self.check()

    def check(self) -> None:
        """Lengthen the leases if the loop stood still since the last call.

        The expiry loop calls this first: after a pause its timer may run before the tick's, and would expire leases
        whose keep-alives wait in the sockets.
        """
        now = self._now()
        stood = now - self._last - TICK
        self._last = now
        if stood > PAUSE:
            self._figures.pauses += 1
            _log.warning("the server stood still; leases are lengthened", seconds=round(stood, 3))
            self._lengthen(stood)
