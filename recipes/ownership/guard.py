"""Guards: what a holder has in its hands while it owns something.

A guard answers from the local clock alone whether ownership is proven at this moment, and lets writes carry the proof:
`txn` commits only if the owned key still has the create revision it was won with, so the store itself refuses a holder
that was stopped, partitioned or outlived. This file knows neither threads nor tasks;
`coord.recipes.ownership.held` does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from coord.errors import LeaseLost, LockLost, NotOwner
from coord.model import LeaseState
from coord.ops import Attribute, Compare, Relation
from coord.port import Port
from coord.recipes.common.durations import Seconds, seconds
from coord.recipes.ownership.turn import Place


class GuardBase:
    """What both kinds of guards are. Use `coord.lock` to get one; guards are never made by hand and never pickled."""

    __slots__ = ("__weakref__", "_forget_loss", "_gone", "_on_lost", "_place", "_released", "_told", "name", "port")

    kind: ClassVar[str] = "Lock"
    loss_type: ClassVar[type[LeaseLost]] = LockLost

    def __init__(self, port: Port, name: str, place: Place, on_lost: Callable[[Any], object] | None) -> None:
        self.port = port
        self.name = name
        self._place = place
        self._on_lost = on_lost
        self._released = False
        self._gone = False  # the store said that the key does not exist any more
        self._told = False  # `_was_lost` ran
        # Without a strong reference: the session would keep a guard that its owner dropped, and the lock, for ever.
        # What was registered goes with the guard, or a session that lives for months would collect them.
        forget: list[Callable[[], None]] = []
        reference: weakref.ref[GuardBase] = weakref.ref(self, partial(_dropped, forget))
        self._forget_loss = place.ticket.session.on_lost(partial(_tell, reference))
        forget.append(self._forget_loss)

    def __repr__(self) -> str:
        state = "RELEASED" if self._released else self.state.name
        return f"<{self.kind} {self.name!r} {state} fence={self.fence} left={self.remaining():.1f}s>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self!r} cannot be pickled: ownership belongs to one process; take the lock there instead")

    @property
    def fence(self) -> int:
        """Create revision of the owned key: larger for every later owner, to be checked by what is written to."""
        return self._place.fence

    @property
    def key(self) -> bytes:
        """The owned key."""
        return self._place.ticket.key

    @property
    def proof(self) -> tuple[Compare, ...]:
        """What makes the store refuse a write once the key is not ours any more."""
        return (Compare(self.key, Attribute.CREATE, Relation.EQUAL, self.fence),)

    @property
    def lease(self) -> int:
        """Id of the lease that carries it."""
        return self._place.ticket.session.lease

    @property
    def state(self) -> LeaseState:
        """HELD, UNSURE (a renewal is overdue) or LOST, judged by the clock at this moment; LOST once released."""
        if self._released or self._gone:
            return LeaseState.LOST
        return self._place.ticket.session.state

    @property
    def cause(self) -> str:
        """Why it was lost, as in `coord.errors.LeaseLost`; "withdrawn" once released, empty while it is owned."""
        if self._released:
            return "withdrawn"
        return self._place.ticket.session.cause or ("revoked" if self._gone else "")

    def remaining(self) -> float:
        """Seconds for which ownership is proven: 0 when it is lost, and never more than the server would say."""
        return 0.0 if self._released or self._gone else self._place.ticket.session.remaining()

    def check(self) -> None:
        """Do nothing while ownership is proven.

        Raises:
            LockLost: it was lost.
            NotOwner: the guard was released.
        """
        if self._released:
            raise NotOwner(f"{self.kind.lower()} {self.name!r} was released by this guard already", name=self.name)
        if self.state is LeaseState.LOST:
            raise self.loss()

    def require(self, safe: Seconds) -> float:
        """Do nothing if ownership is proven for at least `safe` seconds more; returns the seconds left.

        Raises:
            LockLost: it is lost, or could be lost sooner than that.
            NotOwner: the guard was released.
        """
        self.check()
        left, needed = self.remaining(), seconds(safe, "safe")
        if left < needed:
            text = f"{self.kind.lower()} {self.name!r} is proven for {left:.2f} s more, {needed:.2f} s are needed"
            raise self.loss_type(text, cause="unreachable", lease=self.lease, name=self.name, remaining=left)
        return left

    def loss(self) -> LeaseLost:
        """The error that says how ownership was lost."""
        text = f"{self.kind.lower()} {self.name!r} was lost: {self.cause}"
        return self.loss_type(text, cause=self.cause, lease=self.lease, name=self.name, fence=self.fence)

    def key_is_gone(self) -> None:
        """The store refused a write of this owner: its key was deleted by somebody."""
        self._gone = True
        self.tell_loss()

    def tell_loss(self) -> None:
        """Tell the holder once; on the keeper's thread, or on that of a refused write."""
        if not self._told and not self._released:
            self._told = True
            self._was_lost()

    def _was_lost(self) -> None:
        """What telling the holder means; must not block."""

    async def _leave(self, error: BaseException | None) -> None:  # another guard may look at it
        """What leaving its block does; `error` is on its way out of the block."""
        await self._give_back()

    async def _give_back(self) -> bool:
        """The program behind `release`."""
        if self._released:
            return False
        owned = self.state is not LeaseState.LOST
        self._released = True
        self._forget_loss()
        await self._let_go()
        return owned

    async def _let_go(self) -> None:
        """Leave the place."""
        await self.port.withdraw(self._place.ticket)


def _dropped(forget: list[Callable[[], None]], _reference: object) -> None:
    for each in forget:
        each()


def _tell(reference: weakref.ref[GuardBase]) -> None:
    guard = reference()
    if guard is not None:
        guard.tell_loss()
