"""Guards over a place that one owner may have several of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coord.port import Port
from coord.recipes.locks.tenure import Tenure
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.held import AsyncHeld, Held


class ReentrantBase(GuardBase):
    """The last one that is given back gives the lock back."""

    __slots__ = ()

    _tenure: Tenure

    @property
    def depth(self) -> int:
        """How many guards the owner has over this lock."""
        return self._tenure.depth

    async def _let_go(self) -> None:
        # A forked child has nothing to give back, and what it inherited may be locked by a thread that is not here.
        if self._place.ticket.session.cause != "forked" and self._tenure.leave(self):
            await super()._let_go()


class ReentrantHeld(ReentrantBase, Held):
    """A guard of blocking code; see `coord.recipes.ownership.held.Held`."""

    __slots__ = ("_tenure",)

    def __init__(self, port: Port, name: str, tenure: Tenure, on_lost: Callable[[Any], object] | None) -> None:
        self._tenure = tenure
        super().__init__(port, name, tenure.place, on_lost)


class AsyncReentrantHeld(ReentrantBase, AsyncHeld):
    """A guard of asyncio code; see `coord.recipes.ownership.held.AsyncHeld`."""

    __slots__ = ("_tenure",)

    def __init__(self, port: Port, name: str, tenure: Tenure, on_lost: Callable[[Any], object] | None) -> None:
        self._tenure = tenure
        super().__init__(port, name, tenure.place, on_lost)
