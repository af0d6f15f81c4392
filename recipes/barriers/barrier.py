"""A barrier across processes and machines: while it is closed everybody who comes waits, until somebody opens it.

What it does is told in `coord.recipes.barriers.gate`.
"""

from __future__ import annotations

from coord.errors import CallTimeout
from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.barriers.gate import CLOSED, OPEN, Gate
from coord.recipes.barriers.named import Named, too_late
from coord.recipes.common.durations import Timeout


class _BarrierBase(Named):
    """What both faces are."""

    what = "a barrier"

    @property
    def _gate(self) -> Gate:
        # A client may get another port: the default asyncio client has one for each running loop.
        return Gate(self._client.port, self._key)

    async def _pass(self, timeout: Timeout) -> None:
        try:
            await self._gate.passed(self._limit(timeout))
        except CallTimeout as late:
            raise too_late("barrier", self._key) from late.__cause__


class Barrier(_BarrierBase):
    """The blocking face; a name that was never closed is open.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     barrier = client.barrier("maintenance")
        ...     barrier.close()
        ...     print(barrier.closed())
        ...     barrier.open()
        ...     barrier.wait()
        True
    """

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Have everybody who comes from now on wait. It stays closed until it is opened, whoever dies.

        Raises:
            CallTimeout: it was not answered in time, and may have happened.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._gate.change(CLOSED, self._deadline(timeout)))

    def open(self, *, timeout: Timeout = DEFAULT) -> None:
        """Let everybody through.

        Raises:
            CallTimeout: it was not answered in time, and may have happened.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._gate.change(OPEN, self._deadline(timeout)))

    def wait(self, *, timeout: Timeout = DEFAULT) -> None:
        """Return once it is open, be it for a moment; DEFAULT and None wait for ever, 0 only looks.

        Raises:
            CallTimeout: it was not opened in time.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._pass(timeout))

    def closed(self, *, timeout: Timeout = DEFAULT) -> bool:
        """Whether it is closed now.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._gate.closed(self._deadline(timeout)))


class AsyncBarrier(_BarrierBase):
    """The asyncio face; see `Barrier`."""

    async def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Have everybody who comes from now on wait; see `Barrier.close`."""
        await self._gate.change(CLOSED, self._deadline(timeout))

    async def open(self, *, timeout: Timeout = DEFAULT) -> None:
        """Let everybody through; see `Barrier.open`."""
        await self._gate.change(OPEN, self._deadline(timeout))

    async def wait(self, *, timeout: Timeout = DEFAULT) -> None:
        """Return once it is open; see `Barrier.wait`."""
        await self._pass(timeout)

    async def closed(self, *, timeout: Timeout = DEFAULT) -> bool:
        """Whether it is closed now; see `Barrier.closed`."""
        return await self._gate.closed(self._deadline(timeout))
