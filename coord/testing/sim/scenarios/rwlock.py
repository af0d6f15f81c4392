"""The read/write lock in the simulator: readers together, a writer alone, in the order in which they asked.

Beside what `coord.testing.sim.scenarios.contention` says: a writer enters before every reader that came later, and a
reader as soon as no earlier writer is left, whatever comes later; so neither starves.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coord.recipes.common.layout import writers_of
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.lane import Lane, reading, writing
from coord.recipes.ownership.turn import Line
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenarios.contention import NAME, Contention
from coord.testing.sim.world import Faults, SimClient

READS, WRITES = reading(NAME), writing(NAME)
WRITERS = writers_of(NAME) + b"/"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        programs: for each client its programs, "r" for a reader and "w" for a writer.
        cycles: how often each takes the lock.
        hold: seconds a body lasts.
        limit: seconds an acquire waits, None for ever, 0 not at all.
    """

    programs: tuple[str, ...] = ("r", "w", "r")
    cycles: int = 1
    hold: float = 1.0
    limit: float | None = None


class RWLockScenario(Contention):
    """One run: programs that read and write under one lock."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self.wrote: list[int] = []  # fences of writers that entered
        for programs in shape.programs:
            client = self.world.add_client()
            for program in programs:
                client.start(self._program(client, program == "w"))

    async def _program(self, client: SimClient, writes: bool) -> int:
        shape, line = self.shape, Line(client.port, NAME, WRITES if writes else READS)
        return await self.take_turns(client, line.take, cycles=shape.cycles, hold=shape.hold, limit=shape.limit)

    def lane_of(self, key: bytes) -> Lane:
        """A reader's or a writer's."""
        return WRITES if is_writer(key) else READS

    def too_many(self, owners: Sequence[GuardBase]) -> bool:
        """A writer is alone."""
        return any(is_writer(guard.key) for guard in owners)

    def overtook(self, guard: GuardBase) -> bool:
        """A reader waits for earlier writers, a writer for everybody."""
        waits_for = self.entered if is_writer(guard.key) else self.wrote
        late = bool(waits_for) and guard.fence <= max(waits_for)
        if is_writer(guard.key):
            self.wrote.append(guard.fence)
        return late

    def may_wake_together(self, places: Sequence[bytes]) -> bool:
        """A writer that goes wakes the readers behind it, or the next writer."""
        return len(places) < 2 or not any(is_writer(key) for key in places)

    def marks(self, guard: GuardBase) -> dict[bytes, int]:
        """Readers do not write."""
        return super().marks(guard) if is_writer(guard.key) else {}


def is_writer(key: bytes) -> bool:
    """True for a writer's place."""
    return key.startswith(WRITERS)


def build(seed: int, **changes: Any) -> RWLockScenario:
    """The lock under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        programs=chance.choice(
            (("r", "w", "r"), ("rr", "w"), ("rw", "wr"), ("r", "r", "w", "w"), ("w", "w", "r"), ("rw",))
        ),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 0.0, 1.0, 12.0)),
        limit=chance.choice((None, None, None, 3.0, 30.0, 0)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return RWLockScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
