"""A count-down latch across processes and machines: who waits goes on when it was counted down to zero.

What it does is told in `coord.recipes.barriers.tally`.
"""

from __future__ import annotations

from typing import Final

from coord.errors import CallTimeout, UsageError
from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.barriers.named import Named, too_late
from coord.recipes.barriers.tally import Tally
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Timeout

LARGEST: Final = 100_000_000


class _LatchBase(Named):
    """What both faces are."""

    what = "a latch"

    def __init__(self, client: HasPrograms, name: str | bytes, count: int) -> None:
        super().__init__(client, name)
        self._count = _whole(count, "count")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self._count}>"

    @property
    def _tally(self) -> Tally:
        # A client may get another port: the default asyncio client has one for each running loop.
        return Tally(self._client.port, self._key, self._count)

    async def _reached(self, timeout: Timeout) -> None:
        try:
            await self._tally.reached(self._limit(timeout))
        except CallTimeout as late:
            raise too_late("latch", self._key) from late.__cause__


class Latch(_LatchBase):
    """The blocking face. The first who counts down stores the number; a latch is used once.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     latch = client.latch("ready", 2)
        ...     latch.count_down()
        ...     latch.count_down()
        ...     latch.wait()
        1
        0
    """

    def count_down(self, n: int = 1, *, timeout: Timeout = DEFAULT) -> int:
        """Count down by `n`, not below zero, exactly once though answers be lost; returns what is left.

        Raises:
            UsageError: `n` is no whole number above 0, or the latch was begun with another count.
            CallTimeout: it was not done in time.
            OutcomeUnknown: nor is it known whether it was done.
            RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._tally.count_down(_whole(n, "n"), self._deadline(timeout)))

    def wait(self, *, timeout: Timeout = DEFAULT) -> None:
        """Return once nothing is left; DEFAULT and None wait for ever, 0 only looks.

        Raises:
            UsageError: the latch was begun with another count.
            CallTimeout: it was not in time.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._reached(timeout))

    def count(self, *, timeout: Timeout = DEFAULT) -> int:
        """How much is left.

        Raises:
            UsageError: the latch was begun with another count.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._tally.count(self._deadline(timeout)))


class AsyncLatch(_LatchBase):
    """The asyncio face; see `Latch`."""

    async def count_down(self, n: int = 1, *, timeout: Timeout = DEFAULT) -> int:
        """Count down by `n`; see `Latch.count_down`."""
        return await self._tally.count_down(_whole(n, "n"), self._deadline(timeout))

    async def wait(self, *, timeout: Timeout = DEFAULT) -> None:
        """Return once nothing is left; see `Latch.wait`."""
        await self._reached(timeout)

    async def count(self, *, timeout: Timeout = DEFAULT) -> int:
        """How much is left; see `Latch.count`."""
        return await self._tally.count(self._deadline(timeout))


def _whole(number: int, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= LARGEST:
        raise UsageError(f"{what} is a whole number from 1 to {LARGEST}, not {number!r}")
    return number
