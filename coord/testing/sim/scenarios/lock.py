"""The lock in the simulator: one owner at a time, in the order in which they asked.

What must be true whatever happens is told in `coord.testing.sim.scenarios.contention`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from coord.recipes.ownership.turn import Line
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenarios.contention import NAME, Contention
from coord.testing.sim.world import Faults, SimClient


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        programs: programs of each client.
        cycles: how often each takes the lock.
        hold: seconds a body lasts.
        limit: seconds an acquire waits, None for ever, 0 not at all.
    """

    programs: tuple[int, ...] = (1, 1, 1)
    cycles: int = 1
    hold: float = 1.0
    limit: float | None = None


class LockScenario(Contention):
    """One run: programs that take and release one lock."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        for programs in shape.programs:
            client = self.world.add_client()
            for _ in range(programs):
                client.start(self.contend(client))

    async def contend(self, client: SimClient) -> int:
        """One program: take the lock, write under it, give it back; returns how often it was had."""
        shape, line = self.shape, Line(client.port, NAME)
        return await self.take_turns(client, line.take, cycles=shape.cycles, hold=shape.hold, limit=shape.limit)


def build(seed: int, **changes: Any) -> LockScenario:
    """The lock under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        programs=chance.choice(((1, 1, 1), (1, 1), (2, 1), (1, 1, 1, 1), (2,))),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 0.0, 1.0, 12.0)),
        limit=chance.choice((None, None, None, 3.0, 30.0, 0)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return LockScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
