"""Several names as one lock: the program, and its guards.

The names are taken one after the other, each through its own queue, always in the order of their bytes: so of any
number of calls that want overlapping sets one can always go on. All or none: whoever gives up in the middle, by any
road, gives back what it had won.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from coord.errors import CallTimeout, LockTimeout
from coord.ops import Attribute, Compare, Relation, Txn
from coord.port import Port, Session
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.turn import Line, Place, Rejoin, Terms, joining

G = TypeVar("G")


class Won(NamedTuple):
    """One of several names, won.

    Attributes:
        name: as text.
        place: its place in the queue, which is first.
    """

    name: str
    place: Place


class _Kept:
    """Owns the ticket of a name that was won while the others are still waited for: if it is dropped, so is the key."""

    __slots__ = ("__weakref__", "place")

    def __init__(self, place: Place) -> None:
        self.place = place


class Lines:
    """The queues of several names.

    Args:
        port: what everything is awaited from.
        names: each once, in the order in which they are taken.
    """

    def __init__(self, port: Port, names: Sequence[bytes]) -> None:
        self._port = port
        self._names = [name.decode("utf-8", "backslashreplace") for name in names]
        self._lines = [Line(port, name) for name in names]

    async def take(self, value: bytes, terms: Terms, own: Callable[[Sequence[Won]], G]) -> G:
        """Win all of them and return `own(won)`; leave no key behind on any other exit.

        A lease that is lost before the last one is won costs all: they are asked for again from the first on.

        Raises:
            LockTimeout: one was not won before the deadline, or at once if `terms` say not to wait.
            LeaseLost, HistoryLost, ForkedError, RequestRefused, ClosedError: as `Line.take`.
        """
        try:
            return await joining(self._port, terms, lambda session: self._take_with(session, value, terms, own))
        except CallTimeout as late:
            raise LockTimeout(f"{', '.join(self._names)}: not won in time", name=", ".join(self._names)) from late

    async def _take_with(self, session: Session, value: bytes, terms: Terms, own: Callable[[Sequence[Won]], G]) -> G:
        kept: list[_Kept] = []
        try:
            for line in self._lines:
                kept.append(await line.take_with(session, value, terms, _Kept))
            won = [Won(name, each.place) for name, each in zip(self._names, kept, strict=True)]
            if len(won) > 1:
                await self._check(won, Patience(self._port, terms.deadline, session))
            session.check()
            owner = own(won)
            for each in won:
                self._port.hold(each.place.ticket, owner)
            return owner
        except BaseException:
            await self._port.withdraw(*(each.place.ticket for each in kept))
            raise

    async def _check(self, won: Sequence[Won], patience: Patience) -> None:
        """Do nothing if all are still owned: the first may have been deleted while the last was waited for."""
        if not (await patience.txn(Txn(compares=proof_of(won)))).succeeded:
            raise Rejoin


class AllHeldBase(GuardBase):
    """A guard over several names. Its own key and fence are those of the name that was taken last."""

    __slots__ = ()

    _won: Sequence[Won]

    @property
    def fences(self) -> Mapping[str, int]:
        """The fence of each name: give what is written to the fence of the name that protects it."""
        return MappingProxyType({each.name: each.place.fence for each in self._won})

    @property
    def keys(self) -> Mapping[str, bytes]:
        """The owned key of each name."""
        return MappingProxyType({each.name: each.place.ticket.key for each in self._won})

    @property
    def proof(self) -> tuple[Compare, ...]:
        """What makes the store refuse a write once one of the names is not ours any more."""
        return proof_of(self._won)

    async def _let_go(self) -> None:
        await self.port.withdraw(*(each.place.ticket for each in reversed(self._won)))


class AllHeld(AllHeldBase, Held):
    """The guard of blocking code; see `coord.recipes.ownership.held.Held`."""

    __slots__ = ("_won",)

    def __init__(
        self, port: Port, name: str, won: Sequence[Won], on_lost: Callable[[Any], object] | None = None
    ) -> None:
        self._won = won
        super().__init__(port, name, won[-1].place, on_lost)


class AsyncAllHeld(AllHeldBase, AsyncHeld):
    """The guard of asyncio code; see `coord.recipes.ownership.held.AsyncHeld`."""

    __slots__ = ("_won",)

    def __init__(
        self, port: Port, name: str, won: Sequence[Won], on_lost: Callable[[Any], object] | None = None
    ) -> None:
        self._won = won
        super().__init__(port, name, won[-1].place, on_lost)


def proof_of(won: Sequence[Won]) -> tuple[Compare, ...]:
    """That every key is still the one that was won."""
    return tuple(Compare(each.place.ticket.key, Attribute.CREATE, Relation.EQUAL, each.place.fence) for each in won)
