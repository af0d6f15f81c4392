"""One owner's place, shared by the guards of everything it took again while it had it already.

Whoever has a place and asks again gets a further guard over the same place; the place is left when the last of them is
given back, or dropped. Who an owner is, is the caller's word: nothing is assumed about threads and tasks here.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from coord.errors import LockLost
from coord.model import LeaseState
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.turn import Place

Owner = tuple[bytes, Hashable]
"""Name of a lock, and who holds it."""

Take = Callable[[Callable[[Place], "Tenure"]], Awaitable["Tenure"]]


class Tenure:
    """A place, from when it is won until its last guard is given back.

    The ledger knows it as the owner of the place's key, so that dropping all guards gives the place back too.
    """

    __slots__ = ("__weakref__", "_guards", "_lock", "_over", "place")

    def __init__(self, lock: AbstractContextManager[object], place: Place) -> None:
        self.place = place
        self._lock = lock
        self._guards: weakref.WeakSet[GuardBase] = weakref.WeakSet()
        self._over = False

    @property
    def depth(self) -> int:
        """How many guards there are."""
        return len(self._guards)

    @property
    def goes_on(self) -> bool:
        """True until the last guard was given back; False too in a forked child, which inherits nothing."""
        return not self._over and self.place.ticket.session.cause != "forked"

    def join(self, guard: GuardBase) -> bool:
        """One more guard; False if the last one was given back meanwhile."""
        with self._lock:
            if not self._over:
                self._guards.add(guard)
            return not self._over

    def leave(self, guard: GuardBase) -> bool:
        """A guard is given back; True if it was the last one."""
        with self._lock:
            self._guards.discard(guard)
            self._over = not self._guards
            return self._over


class Tenures:
    """All tenures of one client.

    Args:
        lock: around every change; any context manager where there is one thread.
    """

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._tenures: Final[weakref.WeakValueDictionary[Owner, Tenure]] = weakref.WeakValueDictionary()

    def find(self, owner: Owner) -> Tenure | None:
        """The tenure that goes on, None if there is none.

        Raises:
            LockLost: it was lost, and the blocks that run under it have not been left: nobody may enter one more.
        """
        found = self._tenures.get(owner)
        if found is None or not found.goes_on:
            return None
        session = found.place.ticket.session
        if session.state is LeaseState.LOST:
            name = owner[0].decode("utf-8", "backslashreplace")
            text = f"lock {name!r} was lost while it was held: {session.cause}"
            raise LockLost(text, cause=session.cause, lease=session.lease, name=name, fence=found.place.fence)
        return found

    async def have(self, owner: Owner, take: Take) -> Tenure:
        """The tenure that goes on, or the one that `take` wins. No two calls of one owner may run at once.

        Raises:
            LockLost: as `find`; and whatever `take` raises.
        """
        found = self.find(owner)
        if found is None:
            found = self._tenures[owner] = await take(partial(Tenure, self._lock))
        return found
