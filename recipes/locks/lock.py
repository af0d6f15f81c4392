"""A fair lock across processes and machines, blocking and for asyncio.

Who asked first is first (create revision); a holder that dies or cannot be reached loses it after `ttl` seconds; Go's
``concurrency.Mutex`` and ``etcdctl lock`` of the same name exclude each other with it. Not re-entrant: two threads, two
tasks and two nested blocks exclude each other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout, call_deadline
from coord.recipes.locks.contender import Contender, in_line
from coord.recipes.locks.taking import A, AsyncTaking, H, Taking
from coord.recipes.ownership.contest import Contest
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Place, Terms


class LockBase(Contest):
    """What both faces are, of a lock and of whatever is taken and held like one."""

    async def _contenders(self, timeout: Timeout) -> list[Contender]:
        """The program behind `contenders`."""
        return in_line(await self._line().contenders(call_deadline(self._client.port, timeout)))


class Queued(LockBase, Taking[H]):
    """What can be taken and has a queue that one can look at; blocking."""

    def contenders(self, *, timeout: Timeout = DEFAULT) -> list[Contender]:
        """Holder and waiters, in their order.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._contenders(timeout))

    def holder(self, *, timeout: Timeout = DEFAULT) -> Contender | None:
        """Who holds it, and longest if several do; None if nobody does.

        Raises: as `contenders`.
        """
        return next(iter(self.contenders(timeout=timeout)), None)


class AsyncQueued(LockBase, AsyncTaking[A]):
    """What can be taken and has a queue that one can look at; for asyncio."""

    async def contenders(self, *, timeout: Timeout = DEFAULT) -> list[Contender]:
        """Holder and waiters, in their order; see `Queued.contenders`."""
        return await self._contenders(timeout)

    async def holder(self, *, timeout: Timeout = DEFAULT) -> Contender | None:
        """Who holds it, None if nobody does; see `Queued.holder`."""
        return next(iter(await self.contenders(timeout=timeout)), None)


class Lock(Queued[Held]):
    """The blocking face: ``with coord.lock("stock") as held: ...``.

    One object may be used by many threads, which then exclude each other.
    """

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
    ) -> None:
        """Describe the lock; nothing is asked of the server yet.

        Args:
            client: whose session holds it.
            name: what is locked.
            ttl: seconds after which a holder that died loses it; no limit for the work done under it.
            timeout: seconds `acquire` and ``with`` wait; DEFAULT and None mean for ever, 0 does not wait.
            on_lost: called with the guard, on a thread of its own, when ownership is lost.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def _take(self, terms: Terms) -> Coroutine[Any, Any, Held]:
        return self._line().take(describe_caller(self._client), terms, self._guard)

    def _guard(self, place: Place) -> Held:
        return Held(self._client.port, self.name, place, self._on_lost)


class AsyncLock(AsyncQueued[AsyncHeld]):
    """The asyncio face: ``async with coord.aio.lock("stock") as held: ...``.

    One object may be used by many tasks, which then exclude each other.
    """

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncHeld], object] | None = None,
    ) -> None:
        """Describe the lock; see `Lock`. `on_lost` is called on the loop."""
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def _take(self, terms: Terms) -> Coroutine[Any, Any, AsyncHeld]:
        return self._line().take(describe_caller(self._client), terms, self._guard)

    def _guard(self, place: Place) -> AsyncHeld:
        return AsyncHeld(self._client.port, self.name, place, self._on_lost)
