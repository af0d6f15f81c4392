"""Guards of leadership: what a leader has in its hands while it leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from coord.errors import LeadershipLost, LeaseLost, NotOwner
from coord.keys import to_bytes
from coord.model import DEFAULT, LeaseState
from coord.ops import Put
from coord.port import Port, Session
from coord.program import run_blocking
from coord.recipes.common.durations import Timeout
from coord.recipes.elections.candidate import Candidate
from coord.recipes.elections.handover import Handover
from coord.recipes.ownership.fenced import OwnedTxn
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.turn import Place


class LeadershipBase(GuardBase):
    """What both kinds are: a guard that can also say something else, and pass leadership on."""

    kind: ClassVar[str] = "Leadership"
    loss_type: ClassVar[type[LeaseLost]] = LeadershipLost

    def __init__(self, port: Port, name: str, place: Place, on_lost: Callable[[Any], object] | None = None) -> None:
        self._suspended = False  # it is being passed on
        super().__init__(port, name, place, on_lost)

    @property
    def term(self) -> int:
        """Number of the term: the fence under its other name."""
        return self.fence

    @property
    def state(self) -> LeaseState:
        """HELD, UNSURE (a renewal is overdue, or it is just being passed on) or LOST; LOST once given up."""
        found = super().state
        return LeaseState.UNSURE if self._suspended and found is not LeaseState.LOST else found

    def remaining(self) -> float:
        """Seconds for which leadership is proven; 0 when it is lost, and while it is being passed on."""
        return 0.0 if self._suspended else super().remaining()

    def check(self) -> None:
        """Do nothing while leadership is proven.

        Raises:
            LeadershipLost: it was lost.
            NotOwner: it was given up, or is being passed on.
        """
        super().check()
        if self._suspended:
            raise NotOwner(f"leadership of {self.name!r} is being passed on", name=self.name)

    def _saying(self, value: str | bytes) -> OwnedTxn:
        # Compared with the term: a plain put would make a key again that is gone, and a candidate that nobody is.
        return OwnedTxn(self).then(Put(self.key, to_bytes(value), self.lease))

    async def _proclaim(self, value: str | bytes, timeout: Timeout) -> None:
        await self._saying(value).run(timeout)

    async def _transfer(self, to: Candidate | str | bytes, timeout: Timeout) -> None:
        await Handover(self, to, timeout).run()

    async def _give_back(self) -> bool:
        if self._released:
            return False
        # Before the deletion is sent: another may lead as soon as it is done, long before its answer is here.
        self._tell_end()
        return await super()._give_back()

    def _tell_end(self) -> None:
        """Tell whoever works under it in another thread or task that it was given up."""

    # --- what a hand-over does with it

    @property
    def session(self) -> Session:
        """The lease that carries it."""
        return self._place.ticket.session

    def suspend(self) -> None:
        """Prove nothing from now on: a request is about to be sent that may end it."""
        self._suspended = True

    def resume(self) -> None:
        """Go on: that request did not happen, and never will."""
        self._suspended = False

    async def surrender(self) -> None:
        """Give up for good what was suspended: its key is gone, or may be at any moment."""
        await self._give_back()


class Leadership(LeadershipBase, Held):
    """A leader's guard in blocking code. Leaving its block resigns, and raises `LeadershipLost` if it was lost before.

    `lost` is set too when it resigned or passed leadership on, so that work in other threads ends.
    """

    def proclaim(self, value: str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Say something else, without a new election.

        Raises:
            LeadershipLost: it leads no more; nothing was written.
            NotOwner: it resigned.
            OutcomeUnknown: it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        run_blocking(self._proclaim(value, timeout))

    def transfer(self, to: Candidate | str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Pass leadership on to a candidate; see `coord.recipes.elections.election.Election.transfer`."""
        run_blocking(self._transfer(to, timeout))

    def resign(self) -> bool:
        """Give leadership up; the next candidate leads. See `Held.release`."""
        return self.release()

    def _tell_end(self) -> None:
        self._lost.set()


class AsyncLeadership(LeadershipBase, AsyncHeld):
    """A leader's guard in asyncio code; see `Leadership`.

    Its block is cancelled on a loss, and when another task resigns or passes leadership on; it then raises
    `LeadershipLost`.
    """

    async def proclaim(self, value: str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Say something else, without a new election; see `Leadership.proclaim`."""
        await self._proclaim(value, timeout)

    async def transfer(self, to: Candidate | str | bytes, *, timeout: Timeout = DEFAULT) -> None:
        """Pass leadership on to a candidate; see `coord.recipes.elections.election.Election.transfer`."""
        await self._transfer(to, timeout)

    async def resign(self) -> bool:
        """Give leadership up; see `Leadership.resign`."""
        return await self.release()

    def _tell_end(self) -> None:
        self._lost.set()
        self._end_block()
