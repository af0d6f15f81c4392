"""A fair lock across processes and machines, blocking and for asyncio.

Who asked first is first (create revision); a holder that dies or cannot be reached loses it after `ttl` seconds; Go's
``concurrency.Mutex`` and ``etcdctl lock`` of the same name exclude each other with it. Not re-entrant: two threads, two
tasks and two nested blocks exclude each other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from coord.errors import LockTimeout, NotOwner
from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout, call_deadline
from coord.recipes.locks.contender import Contender, in_line
from coord.recipes.ownership.contest import Contest
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Place


class LockBase(Contest):
    """What both faces are, of a lock and of whatever is taken and held like one."""

    async def _contenders(self, timeout: Timeout) -> list[Contender]:
        """The program behind `contenders`."""
        return in_line(await self._line().contenders(call_deadline(self._client.port, timeout)))


class Lock(LockBase):
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
        self._entered: list[tuple[int, Held]] = []

    def acquire(self, *, timeout: Timeout = DEFAULT) -> Held:
        """Wait for the lock and return its guard; `timeout` as in the constructor, DEFAULT means what was given there.

        Raises:
            LockTimeout: it was not won in time; the place in the queue was given up.
            RequestRefused: the server refuses (permissions, say).
            ClosedError: the client was closed.
        """
        return run_blocking(self._line().take(describe_caller(self._client), self._terms(timeout), self._guard))

    def try_acquire(self) -> Held | None:
        """The guard if nobody holds the lock, else None; does not wait for a holder.

        Raises: as `acquire`, but `LockTimeout` only if the server did not answer in time.
        """
        try:
            return self.acquire(timeout=0)
        except LockTimeout as busy:
            if busy.__cause__ is not None:
                raise
            return None

    def contenders(self, *, timeout: Timeout = DEFAULT) -> list[Contender]:
        """Holder and waiters, in their order.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._contenders(timeout))

    def holder(self, *, timeout: Timeout = DEFAULT) -> Contender | None:
        """Who holds the lock, None if nobody does.

        Raises: as `contenders`.
        """
        return next(iter(self.contenders(timeout=timeout)), None)

    def _guard(self, place: Place) -> Held:
        return Held(self._client.port, self.name, place, self._on_lost)

    def __enter__(self) -> Held:
        guard = self.acquire().__enter__()
        entry = (threading.get_ident(), guard)
        try:
            self._entered.append(entry)
        except BaseException:
            # Ctrl-C just behind it: nobody comes to leave the block, and the entry would hold the lock for ever.
            self._entered.remove(entry)
            raise
        return guard

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _left(self._entered, threading.get_ident()).__exit__(kind, error, trace)


class AsyncLock(LockBase):
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
        self._entered: list[tuple[asyncio.Task[Any] | None, AsyncHeld]] = []

    async def acquire(self, *, timeout: Timeout = DEFAULT) -> AsyncHeld:
        """Wait for the lock and return its guard; see `Lock.acquire`. The caller is not cancelled on a loss."""
        return await self._line().take(describe_caller(self._client), self._terms(timeout), self._guard)

    async def try_acquire(self) -> AsyncHeld | None:
        """The guard if nobody holds the lock, else None; see `Lock.try_acquire`."""
        try:
            return await self.acquire(timeout=0)
        except LockTimeout as busy:
            if busy.__cause__ is not None:
                raise
            return None

    async def contenders(self, *, timeout: Timeout = DEFAULT) -> list[Contender]:
        """Holder and waiters, in their order; see `Lock.contenders`."""
        return await self._contenders(timeout)

    async def holder(self, *, timeout: Timeout = DEFAULT) -> Contender | None:
        """Who holds the lock, None if nobody does; see `Lock.holder`."""
        return next(iter(await self.contenders(timeout=timeout)), None)

    def _guard(self, place: Place) -> AsyncHeld:
        return AsyncHeld(self._client.port, self.name, place, self._on_lost)

    async def __aenter__(self) -> AsyncHeld:
        guard = await (await self.acquire()).__aenter__()
        self._entered.append((asyncio.current_task(), guard))
        return guard

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _left(self._entered, asyncio.current_task()).__aexit__(kind, error, trace)


def _left(entered: list[tuple[Any, Any]], who: object) -> Any:
    """Take out the guard of the block that `who` leaves.

    The newest of its own; failing that the newest of all, since a fixture may enter in one task and leave in another.
    """
    for position in range(len(entered) - 1, -1, -1):
        if entered[position][0] == who:
            return entered.pop(position)[1]
    if not entered:
        raise NotOwner("a block was left that was never entered")
    return entered.pop()[1]
