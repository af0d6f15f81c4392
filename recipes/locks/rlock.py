"""A re-entrant lock: its owner may take again what it holds, and holds it until everything was given back.

The owner is the calling thread or asyncio task, or whatever text the caller says; it is fixed when the lock is taken.
Re-entrance is per client and owner: another client of the same process is somebody else, and so is another process that
uses the same text. To everybody else it is the plain lock of that name.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from coord.errors import LockTimeout, UsageError
from coord.model import DEFAULT
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.locks.lock import AsyncQueued, LockBase, Queued
from coord.recipes.locks.reentrant import AsyncReentrantHeld, ReentrantBase, ReentrantHeld
from coord.recipes.locks.tenure import Owner, Tenure, Tenures
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Terms

G = TypeVar("G", bound=ReentrantBase)


class _Known:
    """What one client's owners hold, and the gates at which the calls of one owner wait for each other."""

    def __init__(self, blocking: bool) -> None:
        self._lock: AbstractContextManager[object] = threading.RLock() if blocking else nullcontext()
        self.tenures = Tenures(self._lock)
        self._gates: weakref.WeakValueDictionary[Owner, Any] = weakref.WeakValueDictionary()
        self._make = threading.Lock if blocking else asyncio.Lock

    def gate(self, owner: Owner) -> Any:
        """There while somebody is at it: two threads with one owner's name must not both queue for one place."""
        with self._lock:
            return self._gates.setdefault(owner, self._make())


_clients: weakref.WeakKeyDictionary[object, _Known] = weakref.WeakKeyDictionary()
# A child inherits no lock, and another thread of the parent may have been in the middle of anything.
os.register_at_fork(after_in_child=_clients.clear)


class _RLockBase(LockBase):
    """What both faces are."""

    _owner: str | None

    def __repr__(self) -> str:
        whose = "" if self._owner is None else f" owner={self._owner!r}"
        return f"<{type(self).__name__} {self.name!r}{whose} ttl={self._ttl:g}>"

    def _known(self, *, blocking: bool) -> _Known:
        return _clients.get(self._client) or _clients.setdefault(self._client, _Known(blocking))

    async def _have(self, known: _Known, owner: Owner, terms: Terms, make: Callable[[Tenure], G]) -> G:
        """The program behind `acquire`, behind the owner's gate."""
        line, value = self._line(), describe_caller(self._client, self._owner)
        while True:
            tenure = await known.tenures.have(owner, partial(line.take, value, terms))
            guard = make(tenure)
            if tenure.join(guard):
                return guard

    def _patience(self, terms: Terms) -> float | None:
        """Seconds to wait at the gate, None for ever."""
        if not terms.wait:
            return 0.0
        return None if terms.deadline is None else max(0.0, terms.deadline - self._client.port.now())

    def _busy(self) -> LockTimeout:
        return LockTimeout(f"{self.name!r} is being waited for by its owner elsewhere", name=self.name)


class RLock(_RLockBase, Queued[ReentrantHeld]):
    """The blocking face: ``with client.rlock("stock") as held: ...``, again inside of it, and so on.

    Each acquire returns a guard of its own, all over one place with one fence; the lock is free when the last of them
    is given back, in whatever order.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     stock = client.rlock("stock")
        ...     with stock as outer, stock as inner:
        ...         inner.fence == outer.fence, inner.depth
        (True, 2)
    """

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        owner: str | None = None,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[ReentrantHeld], object] | None = None,
    ) -> None:
        """Describe the lock; nothing is asked of the server yet.

        Args:
            client: whose session holds it.
            name: what is locked.
            owner: who takes it; None for the thread that calls. Threads that say the same are one owner.
            ttl: seconds after which a holder that died loses it; an owner that takes it again keeps the first one's.
            timeout: seconds `acquire` and ``with`` wait; DEFAULT and None mean for ever, 0 does not wait.
            on_lost: called with each guard, on a thread of its own, when ownership is lost.

        Raises:
            UsageError: the name or the owner is empty, or a duration is none.
        """
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._owner = _checked(owner)

    async def _take(self, terms: Terms) -> ReentrantHeld:
        known = self._known(blocking=True)
        owner = (self._key, self._owner or threading.current_thread())
        gate, patience = known.gate(owner), self._patience(terms)
        if not gate.acquire(timeout=-1 if patience is None else min(patience, threading.TIMEOUT_MAX)):
            raise self._busy()
        try:
            make = partial(ReentrantHeld, self._client.port, self.name, on_lost=self._on_lost)
            return await self._have(known, owner, terms, make)
        finally:
            gate.release()


class AsyncRLock(_RLockBase, AsyncQueued[AsyncReentrantHeld]):
    """The asyncio face: ``async with client.rlock("stock") as held: ...``; see `RLock`. The owner is the task."""

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        owner: str | None = None,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncReentrantHeld], object] | None = None,
    ) -> None:
        """Describe the lock; see `RLock`. `on_lost` is called on the loop."""
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._owner = _checked(owner)

    async def _take(self, terms: Terms) -> AsyncReentrantHeld:
        known = self._known(blocking=False)
        task: Hashable = asyncio.current_task()
        owner = (self._key, self._owner or task)
        gate = known.gate(owner)
        if gate.locked() and not terms.wait:
            raise self._busy()
        try:
            async with asyncio.timeout(self._patience(terms) if gate.locked() else None):
                await gate.acquire()
        except TimeoutError:
            raise self._busy() from None
        try:
            make = partial(AsyncReentrantHeld, self._client.port, self.name, on_lost=self._on_lost)
            return await self._have(known, owner, terms, make)
        finally:
            gate.release()


def _checked(owner: str | None) -> str | None:
    if owner is not None and (not isinstance(owner, str) or not owner):
        raise UsageError(f"owner is a text that is not empty, or None for the caller, not {owner!r}")
    return owner
