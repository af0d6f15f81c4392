"""A double barrier across processes and machines: so many begin together, and end together.

What it does is told in `coord.recipes.barriers.gathering`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from coord.errors import CallTimeout, NotOwner, UsageError
from coord.model import DEFAULT, Default
from coord.program import run_blocking
from coord.recipes.barriers.gathering import MOST_PARTIES, Gathering, Member
from coord.recipes.barriers.named import Named, limit, too_late
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Seconds, Timeout, lifetime


class _DoubleBarrierBase(Named):
    """What both faces are."""

    what = "a double barrier"

    def __init__(
        self, client: HasPrograms, name: str | bytes, parties: int, *, ttl: Seconds = 10, timeout: Timeout = DEFAULT
    ) -> None:
        """Describe one member; nothing is asked of the server yet.

        Args:
            client: whose session the member hangs on.
            name: of the barrier.
            parties: how many enter together; all members say the same.
            ttl: seconds after which a member that died holds nobody up any more.
            timeout: seconds that entering and leaving wait; DEFAULT and None for ever, 0 not at all.

        Raises:
            UsageError: the name is empty, the number is none, or a duration is none.
        """
        super().__init__(client, name)
        if isinstance(parties, bool) or not isinstance(parties, int) or not 1 <= parties <= MOST_PARTIES:
            raise UsageError(f"parties is a whole number from 1 to {MOST_PARTIES}, not {parties!r}")
        self._parties = parties
        self._ttl = lifetime(ttl)
        self._timeout = timeout
        limit(client.port, timeout)
        self._member: Member | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} parties={self._parties} ttl={self._ttl:g}>"

    @property
    def parties(self) -> int:
        """How many enter together."""
        return self._parties

    @property
    def _gathering(self) -> Gathering:
        # A client may get another port: the default asyncio client has one for each running loop.
        return Gathering(self._client.port, self._key, self._parties)

    async def _enter(self, timeout: Timeout) -> None:
        """The program behind `enter`."""
        if self._member is not None:
            raise UsageError(f"{self!r} entered already; each member has an object of its own")
        chosen = self._timeout if isinstance(timeout, Default) else timeout
        try:
            self._member = await self._gathering.enter(self._ttl, self._limit(chosen))
        except CallTimeout as late:
            raise too_late(self.what.removeprefix("a "), self._key) from late.__cause__

    async def _leave(self, timeout: Timeout) -> None:
        """The program behind `leave`."""
        chosen = self._timeout if isinstance(timeout, Default) else timeout
        bound = self._limit(chosen)
        member, self._member = self._member, None
        if member is None:
            raise NotOwner(f"{self!r} did not enter")
        try:
            await self._gathering.leave(member, bound)
        except CallTimeout as late:
            raise too_late(self.what.removeprefix("a "), self._key) from late.__cause__

    async def _drop_out(self) -> None:
        """Leave without waiting for anybody."""
        member, self._member = self._member, None
        if member is not None:
            await self._client.port.withdraw(member.ticket)


class DoubleBarrier(_DoubleBarrierBase):
    """The blocking face: ``with client.double_barrier("round", 3): ...``. One object is one member.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     with client.double_barrier("round", 1) as member:
        ...         member.parties
        1
    """

    def enter(self, *, timeout: Timeout = DEFAULT) -> None:
        """Wait until as many have come as it takes, and go on together with them.

        Raises:
            UsageError: it entered already, or others wait for another number.
            CallTimeout: they were not enough in time; this one gave up its place.
            LeaseLost: the place was lost while waiting.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._enter(timeout))

    def leave(self, *, timeout: Timeout = DEFAULT) -> None:
        """Leave, and wait until all who entered together have left or died.

        Raises:
            NotOwner: it did not enter.
            LeaseLost: the place was lost before, so that others may have left without waiting for this one.
            CallTimeout: others did not leave in time; this one has left.
            RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._leave(timeout))

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_blocking(self._leave(DEFAULT) if error is None else self._drop_out())


class AsyncDoubleBarrier(_DoubleBarrierBase):
    """The asyncio face: ``async with client.double_barrier("round", 3): ...``; see `DoubleBarrier`."""

    async def enter(self, *, timeout: Timeout = DEFAULT) -> None:
        """Wait until as many have come as it takes; see `DoubleBarrier.enter`."""
        await self._enter(timeout)

    async def leave(self, *, timeout: Timeout = DEFAULT) -> None:
        """Leave, and wait for the others; see `DoubleBarrier.leave`."""
        await self._leave(timeout)

    async def __aenter__(self) -> Self:
        await self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self._leave(DEFAULT) if error is None else self._drop_out())
