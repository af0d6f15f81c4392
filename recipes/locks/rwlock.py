"""A fair read/write lock across processes and machines: many readers together, or one writer.

Who asked first goes first: a reader waits for the writers that asked before it, a writer for everybody that did. So a
stream of readers cannot keep a writer out, nor writers a reader. Each waits for the nearest one in front of it that
keeps it out: a writer that goes wakes the readers behind it, or the next writer; a writer behind many readers waits for
the newest of them and then looks again, which takes about as many looks as their number can be halved.
"""

from __future__ import annotations

from collections.abc import Callable

from coord.model import DEFAULT
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout, call_deadline
from coord.recipes.locks.contender import Contender, sharing
from coord.recipes.locks.lock import AsyncLock, Lock, LockBase
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.lane import reading, writing
from coord.recipes.ownership.turn import Line


class _Side(LockBase):
    """One side of a read/write lock; its contenders are those of both."""

    async def _contenders(self, timeout: Timeout) -> list[Contender]:
        port = self._client.port
        everybody = Line(port, self._key, writing(self._key))
        return sharing(self._key, await everybody.contenders(call_deadline(port, timeout)))


class _ReadSide(_Side):
    def _make_line(self, port: Port) -> Line:
        return Line(port, self._key, reading(self._key))


class _WriteSide(_Side):
    def _make_line(self, port: Port) -> Line:
        return Line(port, self._key, writing(self._key))


class ReadLock(_ReadSide, Lock):
    """The readers' side: held by any number of readers at once, and by no writer meanwhile."""


class WriteLock(_WriteSide, Lock):
    """The writers' side: held by one, alone."""


class AsyncReadLock(_ReadSide, AsyncLock):
    """The readers' side for asyncio; see `ReadLock`."""


class AsyncWriteLock(_WriteSide, AsyncLock):
    """The writers' side for asyncio; see `WriteLock`."""


class RWLock:
    """The blocking face: ``with client.rwlock("stock").read() as held: ...``.

    Both sides are taken and held like a `coord.recipes.locks.lock.Lock`. They know nothing of who asks: a reader that
    asks for the write lock while it reads waits for itself.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     stock = client.rwlock("stock")
        ...     with stock.read(), stock.read():
        ...         busy = stock.write().try_acquire() is None
        ...     with stock.write() as held:
        ...         answer = held.put("stock/apples", "12")
        ...     busy
        True
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
        """Describe the lock; nothing is asked of the server yet. The arguments are those of `Lock`.

        Raises:
            UsageError: the name is empty, or a duration is none.
        """
        self._read = ReadLock(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._write = WriteLock(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The name as text."""
        return self._read.name

    def read(self) -> ReadLock:
        """The readers' side."""
        return self._read

    def write(self) -> WriteLock:
        """The writers' side."""
        return self._write

    def contenders(self, *, timeout: Timeout = DEFAULT) -> list[Contender]:
        """Readers and writers, in the order in which they asked; `holds` tells who is in.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._read._contenders(timeout))


class AsyncRWLock:
    """The asyncio face: ``async with client.rwlock("stock").read() as held: ...``; see `RWLock`."""

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[AsyncHeld], object] | None = None,
    ) -> None:
        """Describe the lock; see `RWLock`. `on_lost` is called on the loop."""
        self._read = AsyncReadLock(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._write = AsyncWriteLock(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The name as text."""
        return self._read.name

    def read(self) -> AsyncReadLock:
        """The readers' side."""
        return self._read

    def write(self) -> AsyncWriteLock:
        """The writers' side."""
        return self._write

    async def contenders(self, *, timeout: Timeout = DEFAULT) -> list[Contender]:
        """Readers and writers, in the order in which they asked; see `RWLock.contenders`."""
        return await self._read._contenders(timeout)
