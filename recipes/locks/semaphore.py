"""A fair semaphore across processes and machines: so many at once, in the order in which they asked.

What it does is told in `coord.recipes.locks.permits`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from coord.errors import UsageError
from coord.model import DEFAULT
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout, call_deadline
from coord.recipes.locks.contender import Contender, with_permits
from coord.recipes.locks.lock import AsyncQueued, LockBase, Queued
from coord.recipes.locks.permits import MOST_PERMITS, PermitLine, resize
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Line, Place, Terms


class Permit(Held):
    """A guard of blocking code over one permit."""

    __slots__ = ()

    kind = "Permit"


class AsyncPermit(AsyncHeld):
    """A guard of asyncio code over one permit."""

    __slots__ = ()

    kind = "Permit"


class _SemaphoreBase(LockBase):
    """What both faces are."""

    _permits: int

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} permits={self._permits} ttl={self._ttl:g}>"

    @property
    def permits(self) -> int:
        """How many there are, as this object believes."""
        return self._permits

    def _make_line(self, port: Port) -> Line:
        return PermitLine(port, self._key, self._permits)

    async def _contenders(self, timeout: Timeout) -> list[Contender]:
        port = self._client.port
        line = PermitLine(port, self._key, self._permits)
        return with_permits(*await line.holding(call_deadline(port, timeout)))

    async def _resize(self, permits: int, timeout: Timeout) -> None:
        """The program behind `resize`."""
        port = self._client.port
        await resize(port, self._key, _checked(permits), call_deadline(port, timeout))
        self._permits = permits
        self._known_line = None


class Semaphore(_SemaphoreBase, Queued[Permit]):
    """The blocking face: ``with client.semaphore("pool", 3) as held: ...``.

    One object may be used by many threads; each block has a permit of its own.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     pool = client.semaphore("pool", 2)
        ...     with pool, pool:
        ...         pool.try_acquire() is None
        True
    """

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        permits: int,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Permit], object] | None = None,
    ) -> None:
        """Describe the semaphore; nothing is asked of the server yet.

        Args:
            client: whose session holds the permits.
            name: what they are for.
            permits: how many there are. The first user's number is stored; who says another one is refused with
                UsageError when it asks for a permit.
            ttl: seconds after which a holder that died loses its permit.
            timeout: seconds `acquire` and ``with`` wait; DEFAULT and None mean for ever, 0 does not wait.
            on_lost: called with the guard, on a thread of its own, when a permit is lost.

        Raises:
            UsageError: the name is empty, the number is none, or a duration is none.
        """
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._permits = _checked(permits)

    def resize(self, permits: int, *, timeout: Timeout = DEFAULT) -> None:
        """Change how many permits there are, for everybody; who waits notices at once, who holds one keeps it.

        Other objects that were made with the old number are refused from now on.

        Raises:
            UsageError: the number is none.
            CallTimeout: it was not answered in time, and may have happened.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._resize(permits, timeout))

    def _take(self, terms: Terms) -> Coroutine[Any, Any, Permit]:
        return self._line().take(describe_caller(self._client), terms, self._guard)

    def _guard(self, place: Place) -> Permit:
        return Permit(self._client.port, self.name, place, self._on_lost)


class AsyncSemaphore(_SemaphoreBase, AsyncQueued[AsyncPermit]):
    """The asyncio face: ``async with client.semaphore("pool", 3) as held: ...``; see `Semaphore`."""

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        permits: int,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncPermit], object] | None = None,
    ) -> None:
        """Describe the semaphore; see `Semaphore`. `on_lost` is called on the loop."""
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._permits = _checked(permits)

    async def resize(self, permits: int, *, timeout: Timeout = DEFAULT) -> None:
        """Change how many permits there are; see `Semaphore.resize`."""
        await self._resize(permits, timeout)

    def _take(self, terms: Terms) -> Coroutine[Any, Any, AsyncPermit]:
        return self._line().take(describe_caller(self._client), terms, self._guard)

    def _guard(self, place: Place) -> AsyncPermit:
        return AsyncPermit(self._client.port, self.name, place, self._on_lost)


def _checked(permits: int) -> int:
    if isinstance(permits, bool) or not isinstance(permits, int) or not 1 <= permits <= MOST_PERMITS:
        raise UsageError(f"permits is a whole number from 1 to {MOST_PERMITS}, not {permits!r}")
    return permits
