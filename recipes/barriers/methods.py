"""The clients' methods that make barriers of all kinds."""

from __future__ import annotations

from coord.recipes.barriers.barrier import AsyncBarrier, Barrier
from coord.recipes.common.client import HasPrograms


class BarrierMethods(HasPrograms):
    """Barriers of the blocking client."""

    def barrier(self, name: str | bytes) -> Barrier:
        """While it is closed everybody waits: ``client.barrier("maintenance").wait()``.

        See `coord.recipes.barriers.barrier.Barrier`.

        Raises:
            UsageError: the name is empty.
        """
        return Barrier(self, name)


class AsyncBarrierMethods(HasPrograms):
    """Barriers of the asyncio client."""

    def barrier(self, name: str | bytes) -> AsyncBarrier:
        """While it is closed everybody waits: ``await client.barrier("maintenance").wait()``.

        See `coord.recipes.barriers.barrier.AsyncBarrier`.

        Raises:
            UsageError: the name is empty.
        """
        return AsyncBarrier(self, name)
