"""Several names as one lock, blocking and for asyncio. What it does is told in `coord.recipes.locks.several`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from coord.errors import UsageError
from coord.keys import to_bytes
from coord.model import DEFAULT
from coord.port import Port
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.locks.several import AllHeld, AsyncAllHeld, Lines, Won
from coord.recipes.locks.taking import AsyncTaking, Taking
from coord.recipes.ownership.contest import Contest
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Terms

MOST_NAMES: Final = 100  # etcd lets a transaction have 128 conditions, and the guard's have one for each name


class _LocksBase(Contest):
    """What both faces are."""

    _names: Sequence[bytes]
    _known_lines: tuple[Port, Lines] | None = None

    def _lines(self) -> Lines:
        port = self._client.port
        if self._known_lines is None or self._known_lines[0] is not port:
            self._known_lines = (port, Lines(port, self._names))
        return self._known_lines[1]


class Locks(_LocksBase, Taking[AllHeld]):
    """The blocking face: ``with client.locks("accounts/7", "accounts/9") as held: ...``.

    All of them or none. A name given twice counts once, and the order does not matter: two calls that want the same
    names in opposite orders do not block each other. A plain lock of one of the names takes part.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     with client.locks("accounts/9", "accounts/7") as held:
        ...         print(list(held.fences), client.lock("accounts/7").try_acquire())
        ['accounts/7', 'accounts/9'] None
    """

    def __init__(
        self,
        client: HasPort,
        *names: str | bytes,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AllHeld], object] | None = None,
    ) -> None:
        """Describe the lock; nothing is asked of the server yet.

        Args:
            client: whose session holds it.
            names: what is locked, up to 100 names.
            ttl: seconds after which a holder that died loses all of them.
            timeout: seconds `acquire` and ``with`` wait in all; DEFAULT and None mean for ever, 0 does not wait.
            on_lost: called with the guard, on a thread of its own, when ownership is lost.

        Raises:
            UsageError: there is no name, one is empty, there are too many, or a duration is none.
        """
        self._names = in_order(names)
        super().__init__(client, b", ".join(self._names), ttl=ttl, timeout=timeout, on_lost=on_lost)

    def _take(self, terms: Terms) -> Coroutine[Any, Any, AllHeld]:
        return self._lines().take(describe_caller(self._client), terms, self._guard)

    def _guard(self, won: Sequence[Won]) -> AllHeld:
        return AllHeld(self._client.port, self.name, won, self._on_lost)


class AsyncLocks(_LocksBase, AsyncTaking[AsyncAllHeld]):
    """The asyncio face: ``async with client.locks("accounts/7", "accounts/9") as held: ...``; see `Locks`."""

    def __init__(
        self,
        client: HasPort,
        *names: str | bytes,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncAllHeld], object] | None = None,
    ) -> None:
        """Describe the lock; see `Locks`. `on_lost` is called on the loop."""
        self._names = in_order(names)
        super().__init__(client, b", ".join(self._names), ttl=ttl, timeout=timeout, on_lost=on_lost)

    def _take(self, terms: Terms) -> Coroutine[Any, Any, AsyncAllHeld]:
        return self._lines().take(describe_caller(self._client), terms, self._guard)

    def _guard(self, won: Sequence[Won]) -> AsyncAllHeld:
        return AsyncAllHeld(self._client.port, self.name, won, self._on_lost)


def in_order(names: Sequence[str | bytes]) -> list[bytes]:
    """Each name once, in the order in which everybody takes them.

    Raises:
        UsageError: there is none, one is empty, or there are too many.
    """
    found = sorted({to_bytes(name) for name in names})
    if not found or not found[0]:
        raise UsageError("the name of a lock is empty" if found else "give at least one name")
    if len(found) > MOST_NAMES:
        raise UsageError(f"{len(found)} names are too many for one lock; at most {MOST_NAMES}")
    return found
