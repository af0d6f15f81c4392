"""Notices that the loop stood still: a stopped process, a long collection, a machine without time for us.

While it stood, no keep-alive could be answered, so no lease may expire for it. Whatever acts on time asks for it here:
after a pause nobody knows what runs first, keep-alives from the sockets, the expiry scan, or this module's tick.
"""

from __future__ import annotations

from collections.abc import Callable

from coord.server.logs import logger
from coord.server.member.figures import Figures

_log = logger(__name__)

TICK = 0.1
PAUSE = 1.0
"""A longer stand-still lengthens all leases by its length."""


class PauseWatch:
    """The lessor's clock.

    Attributes:
        lengthen: called with the seconds of each pause, before anybody is told the time after it.
    """

    def __init__(self, clock: Callable[[], float], figures: Figures) -> None:
        self.lengthen: Callable[[float], None] = _nobody
        self._clock = clock
        self._figures = figures
        self._last: float | None = None

    def start(self) -> None:
        """Count from now: what passed before the server served harmed nobody."""
        self._last = self._clock()

    def tick(self) -> None:
        """To be called every `TICK`."""
        if self._last is not None:
            late = self._clock() - self._last - TICK
            self._figures.loop_lag_seconds.observe(max(0.0, late))
        self.now()

    def now(self) -> float:
        """The time; leases are lengthened first if the loop stood still since anybody asked last."""
        now, last = self._clock(), self._last
        if last is None:
            return now
        self._last = now
        stood = now - last - TICK
        if stood > PAUSE:
            self._figures.pauses += 1
            _log.warning("the server stood still; leases are lengthened", seconds=round(stood, 3))
            self.lengthen(stood)
        return now


def _nobody(_: float) -> None:
    """Until there is a lessor."""
