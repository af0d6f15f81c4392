"""The re-entrant lock in the simulator: an owner enters again what it holds, and others wait until it has left it all.

Beside what `coord.testing.sim.scenarios.contention` says: an owner that holds it never waits for itself, and what it
holds is there until its last guard is given back, in whatever order they are.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from coord.errors import LockLost, LockTimeout
from coord.recipes.locks.reentrant import ReentrantBase
from coord.recipes.locks.tenure import Tenure, Tenures
from coord.recipes.ownership.turn import Line, Terms
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenarios.contention import NAME, Contention
from coord.testing.sim.world import Faults, SimClient, Violation


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        programs: owners of each client.
        cycles: how often each takes the lock.
        hold: seconds that each of three bodies lasts, the middle one of which holds it twice.
        limit: seconds an acquire waits, None for ever, 0 not at all.
        inner_first: the inner guard is given back first, as blocks do; else the outer one.
    """

    programs: tuple[int, ...] = (1, 1)
    cycles: int = 1
    hold: float = 1.0
    limit: float | None = None
    inner_first: bool = True


class SimReentrant(ReentrantBase):
    """A guard without threads."""

    __slots__ = ("_tenure",)

    def __init__(self, port: Any, tenure: Tenure) -> None:
        self._tenure = tenure
        super().__init__(port, "L", tenure.place, None)
        if not tenure.join(self):
            raise Violation(f"{self!r} joins what is over")


class RLockScenario(Contention):
    """One run: owners that take the lock twice."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        for programs in shape.programs:
            client, tenures = self.world.add_client(), Tenures(nullcontext())
            for number in range(programs):
                client.start(self._program(client, tenures, f"owner {number}"))

    async def _program(self, client: SimClient, tenures: Tenures, owner: str) -> None:
        shape, port, line = self.shape, client.port, Line(client.port, NAME)
        for _ in range(shape.cycles):
            deadline = None if shape.limit is None else port.now() + (shape.limit or 5.0)
            terms = Terms(self.world.ttl, deadline, wait=shape.limit != 0)

            def make(tenure: Tenure) -> SimReentrant:
                return SimReentrant(port, tenure)

            try:
                outer = make(await tenures.have((NAME, owner), lambda own: line.take(b"", terms, own)))  # noqa: B023  # awaited at once
            except LockTimeout:
                self.timeouts += 1
                continue
            self.enter(outer)
            try:
                await self._twice(client, tenures, owner, outer)
            finally:
                self.guards.pop(outer.key, None)
                await outer._give_back()

    async def _twice(self, client: SimClient, tenures: Tenures, owner: str, outer: SimReentrant) -> None:
        if self.shape.hold:
            await client.port.sleep(until=client.port.now() + self.shape.hold)
        try:
            tenure = tenures.find((NAME, owner))
        except LockLost:
            return  # It may not enter again what it lost.
        if tenure is None:
            raise Violation(f"{outer!r} is not known to its owner")
        if tenure is not outer._tenure:
            raise Violation(f"{outer!r} is taken for another's: {tenure.place}")
        inner = SimReentrant(client.port, tenure)
        if not outer._place.ticket.session.remaining():
            raise Violation(f"{inner!r} entered without a live lease")
        first, second = (inner, outer) if self.shape.inner_first else (outer, inner)
        try:
            await self.body(client, inner, self.shape.hold)
            await first._give_back()
            if self.proves(second) and not self.world.server.create_revision(second.key):
                raise Violation(f"{second!r} was given back while it was still held")
            await self.body(client, second, self.shape.hold)
        finally:
            self.guards.pop(outer.key, None)
            await inner._give_back()


def build(seed: int, **changes: Any) -> RLockScenario:
    """The lock under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        programs=chance.choice(((1, 1), (2,), (2, 1), (1, 1, 1))),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 0.0, 1.0, 12.0)),
        limit=chance.choice((None, None, None, 3.0, 30.0, 0)),
        inner_first=chance.choice((True, False)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return RLockScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
