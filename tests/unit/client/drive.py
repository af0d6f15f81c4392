"""A keeper driven by hand: the clock stands still until told, and every duty is answered by the test."""

from __future__ import annotations

import itertools
from typing import Any

from coord.client.keeper.duties import Commit, Duty, Grant, Renew, Revoke
from coord.client.keeper.keeping import Keeper, Outcome
from coord.client.keeper.session import Session
from coord.errors import CoordError
from coord.model import Header, LeaseGrant, TxnResult
from coord.testing.sim.clock import ManualClock


class Drive:
    """One keeper, its clock, and the duties it handed out and nobody answered yet."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.wakes = 0
        self.duties: list[Duty] = []
        self.keeper = Keeper(wake=self._wake, clock=self.clock.now, lease_ids=itertools.count(1).__next__)

    def _wake(self) -> None:
        self.wakes += 1

    def poll(self) -> list[Duty]:
        """Poll once; returns the new duties."""
        fresh = self.keeper.poll(self.clock.now())
        self.duties += fresh
        return fresh

    def take(self, kind: type[Duty]) -> Any:
        """The oldest unanswered duty of this kind."""
        self.poll()
        found = next((duty for duty in self.duties if isinstance(duty, kind)), None)
        assert found is not None, f"no {kind.__name__} among {self.duties}"
        self.duties.remove(found)
        return found

    def answer(self, duty: Duty, result: Any = None, error: CoordError | None = None) -> None:
        """Report a duty."""
        self.keeper.on_done(duty, result, error, self.clock.now())

    def session(self, ttl: float = 10) -> Session:
        """A granted session."""
        got: list[Outcome] = []
        self.keeper.want(ttl, got.append)
        if not got:
            self.poll()
        if not got:
            duty = self.take(Grant)
            self.answer(duty, LeaseGrant(duty.lease, duty.ttl))
        assert isinstance(got[0], Session)
        return got[0]

    def renew(self) -> Renew:
        """The renewal that is due, answered."""
        duty: Renew = self.take(Renew)
        self.answer(duty, 10)
        return duty

    def due_in(self) -> float | None:
        """Seconds until the next poll."""
        wake = self.keeper.next_wake()
        return None if wake is None else wake - self.clock.now()


DONE = TxnResult(Header(revision=5), True)
__all__ = ["DONE", "Commit", "Drive", "Grant", "Renew", "Revoke"]
