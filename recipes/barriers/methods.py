"""The clients' methods that make barriers of all kinds."""

from __future__ import annotations

from coord.model import DEFAULT
from coord.recipes.barriers.barrier import AsyncBarrier, Barrier
from coord.recipes.barriers.double_barrier import AsyncDoubleBarrier, DoubleBarrier
from coord.recipes.barriers.latch import AsyncLatch, Latch
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Seconds, Timeout


class BarrierMethods(HasPrograms):
    """Barriers of the blocking client."""

    def barrier(self, name: str | bytes) -> Barrier:
        """While it is closed everybody waits: ``client.barrier("maintenance").wait()``.

        See `coord.recipes.barriers.barrier.Barrier`.

        Raises:
            UsageError: the name is empty.
        """
        return Barrier(self, name)

    def latch(self, name: str | bytes, count: int) -> Latch:
        """Wait until it was counted down to zero: ``client.latch("ready", 3).count_down()``.

        See `coord.recipes.barriers.latch.Latch`.

        Raises:
            UsageError: the name is empty, or the count is none.
        """
        return Latch(self, name, count)

    def double_barrier(
        self, name: str | bytes, parties: int, *, ttl: Seconds = 10, timeout: Timeout = DEFAULT
    ) -> DoubleBarrier:
        """So many begin together, and end together: ``with client.double_barrier("round", 3): ...``.

        See `coord.recipes.barriers.double_barrier.DoubleBarrier`.

        Raises:
            UsageError: the name is empty, the number is none, or a duration is none.
        """
        return DoubleBarrier(self, name, parties, ttl=ttl, timeout=timeout)


class AsyncBarrierMethods(HasPrograms):
    """Barriers of the asyncio client."""

    def barrier(self, name: str | bytes) -> AsyncBarrier:
        """While it is closed everybody waits: ``await client.barrier("maintenance").wait()``.

        See `coord.recipes.barriers.barrier.AsyncBarrier`.

        Raises:
            UsageError: the name is empty.
        """
        return AsyncBarrier(self, name)

    def latch(self, name: str | bytes, count: int) -> AsyncLatch:
        """Wait until it was counted down to zero: ``await client.latch("ready", 3).count_down()``.

        See `coord.recipes.barriers.latch.AsyncLatch`.

        Raises:
            UsageError: the name is empty, or the count is none.
        """
        return AsyncLatch(self, name, count)

    def double_barrier(
        self, name: str | bytes, parties: int, *, ttl: Seconds = 10, timeout: Timeout = DEFAULT
    ) -> AsyncDoubleBarrier:
        """So many begin together, and end together: ``async with client.double_barrier("round", 3): ...``.

        See `coord.recipes.barriers.double_barrier.AsyncDoubleBarrier`.

        Raises:
            UsageError: the name is empty, the number is none, or a duration is none.
        """
        return AsyncDoubleBarrier(self, name, parties, ttl=ttl, timeout=timeout)
