"""The clients' methods that make locks of all kinds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout, call_deadline
from coord.recipes.locks.graph import LockGraph, read_graph
from coord.recipes.locks.lock import AsyncLock, Lock
from coord.recipes.locks.locks import AsyncLocks, Locks
from coord.recipes.locks.reentrant import AsyncReentrantHeld, ReentrantHeld
from coord.recipes.locks.rlock import AsyncRLock, RLock
from coord.recipes.locks.rwlock import AsyncRWLock, RWLock
from coord.recipes.locks.semaphore import AsyncPermit, AsyncSemaphore, Permit, Semaphore
from coord.recipes.locks.several import AllHeld, AsyncAllHeld
from coord.recipes.locks.synchronized import async_synchronized, synchronized
from coord.recipes.ownership.held import AsyncHeld, Held

P = ParamSpec("P")
R = TypeVar("R")


class LockMethods(HasPort):
    """Locks of the blocking client."""

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
    ) -> Lock:
        """A fair lock across processes: ``with client.lock("stock") as held: ...``.

        See `coord.recipes.locks.lock.Lock`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return Lock(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def rlock(
        self,
        name: str | bytes,
        *,
        owner: str | None = None,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[ReentrantHeld], object] | None = None,
    ) -> RLock:
        """A lock that its owner, the calling thread or `owner`, may take again: ``with client.rlock("stock"): ...``.

        See `coord.recipes.locks.rlock.RLock`.

        Raises:
            UsageError: the name or the owner is empty, or a duration is none.
        """
        return RLock(self, name, owner=owner, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def rwlock(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
    ) -> RWLock:
        """Many readers together or one writer: ``with client.rwlock("stock").read(): ...``, ``.write()``.

        See `coord.recipes.locks.rwlock.RWLock`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return RWLock(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def semaphore(
        self,
        name: str | bytes,
        permits: int,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Permit], object] | None = None,
    ) -> Semaphore:
        """So many at once, first come first served: ``with client.semaphore("pool", 3) as held: ...``.

        See `coord.recipes.locks.semaphore.Semaphore`.

        Raises:
            UsageError: the name is empty, the number of permits is none, or a duration is none.
        """
        return Semaphore(self, name, permits, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def locks(
        self,
        *names: str | bytes,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AllHeld], object] | None = None,
    ) -> Locks:
        """Several names as one lock, all or none: ``with client.locks("accounts/7", "accounts/9") as held: ...``.

        See `coord.recipes.locks.locks.Locks`.

        Raises:
            UsageError: there is no name, one is empty, there are too many, or a duration is none.
        """
        return Locks(self, *names, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def synchronized(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[Held], object] | None = None,
        guard: str | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Have a function run under a lock, so that one call runs at a time: ``@client.synchronized("nightly")``.

        `name` may be a format of the arguments: ``"user/{user_id}"`` locks each user for itself; bytes are taken as
        they are. `guard` names the keyword argument in which the function gets the guard. The other arguments are those
        of `lock`; a call that does not get the lock raises `LockTimeout`, and the function is not run.

        Raises:
            UsageError: the name is empty or cannot be made of the arguments, or a duration is none.
        """
        return synchronized(lambda: self, name, ttl=ttl, timeout=timeout, on_lost=on_lost, guard=guard)

    def lock_graph(self, prefix: str | bytes = "", *, timeout: Timeout = DEFAULT) -> LockGraph:
        """Who holds and who waits for what, of all locks whose name begins with `prefix`; and who waits in a circle.

        It reads all keys below the prefix (not their values), so give one where much else is stored.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(read_graph(self.port, prefix, call_deadline(self.port, timeout)))


class AsyncLockMethods(HasPort):
    """Locks of the asyncio client."""

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncHeld], object] | None = None,
    ) -> AsyncLock:
        """A fair lock across processes: ``async with client.lock("stock") as held: ...``.

        See `coord.recipes.locks.lock.AsyncLock`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return AsyncLock(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def rlock(
        self,
        name: str | bytes,
        *,
        owner: str | None = None,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncReentrantHeld], object] | None = None,
    ) -> AsyncRLock:
        """A lock that its owner, the calling task or `owner`, may take again: ``async with client.rlock("x")``.

        See `coord.recipes.locks.rlock.AsyncRLock`.

        Raises:
            UsageError: the name or the owner is empty, or a duration is none.
        """
        return AsyncRLock(self, name, owner=owner, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def rwlock(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncHeld], object] | None = None,
    ) -> AsyncRWLock:
        """Many readers together or one writer: ``async with client.rwlock("stock").read(): ...``, ``.write()``.

        See `coord.recipes.locks.rwlock.AsyncRWLock`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        return AsyncRWLock(self, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def semaphore(
        self,
        name: str | bytes,
        permits: int,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncPermit], object] | None = None,
    ) -> AsyncSemaphore:
        """So many at once, first come first served: ``async with client.semaphore("pool", 3) as held: ...``.

        See `coord.recipes.locks.semaphore.AsyncSemaphore`.

        Raises:
            UsageError: the name is empty, the number of permits is none, or a duration is none.
        """
        return AsyncSemaphore(self, name, permits, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def locks(
        self,
        *names: str | bytes,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncAllHeld], object] | None = None,
    ) -> AsyncLocks:
        """Several names as one lock, all or none: ``async with client.locks("accounts/7", "accounts/9") as held: ...``.

        See `coord.recipes.locks.locks.AsyncLocks`.

        Raises:
            UsageError: there is no name, one is empty, there are too many, or a duration is none.
        """
        return AsyncLocks(self, *names, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def synchronized(
        self,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncHeld], object] | None = None,
        guard: str | None = None,
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Have a coroutine function run under a lock: ``@client.synchronized("nightly")``.

        See `coord.recipes.locks.methods.LockMethods.synchronized`.

        Raises:
            UsageError: the name is empty or cannot be made of the arguments, or a duration is none.
        """
        return async_synchronized(lambda: self, name, ttl=ttl, timeout=timeout, on_lost=on_lost, guard=guard)

    async def lock_graph(self, prefix: str | bytes = "", *, timeout: Timeout = DEFAULT) -> LockGraph:
        """Who holds and who waits for what, and in a circle; see `coord.recipes.locks.methods.LockMethods.lock_graph`.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return await read_graph(self.port, prefix, call_deadline(self.port, timeout))
