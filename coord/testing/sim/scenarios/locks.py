"""Several names as one lock in the simulator: sets of names that overlap, wanted in any order, beside plain locks.

Beside what `coord.testing.sim.scenarios.contention` says of each name: no two owners share a name, all names are owned
when a body is entered, and nobody waits in a circle.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coord.ops import Delete, Txn
from coord.recipes.locks.locks import in_order
from coord.recipes.locks.several import AllHeldBase, Lines, Won
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.lane import Lane, exclusive
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenarios.contention import DATA, NAME, Contention
from coord.testing.sim.world import Faults, SimClient


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        programs: for each client its programs, each as the names it wants: "ab".
        cycles: how often each takes them.
        hold: seconds a body lasts.
        limit: seconds an acquire waits, None for ever, 0 not at all.
        meddled: somebody deletes by hand what is won already but not entered with.
    """

    programs: tuple[tuple[str, ...], ...] = (("ab",), ("ba",))
    cycles: int = 1
    hold: float = 1.0
    limit: float | None = None
    meddled: bool = False


class SimAllHeld(AllHeldBase):
    """A guard over several names without threads."""

    __slots__ = ("_won",)

    def __init__(self, port: Any, won: Sequence[Won]) -> None:
        self._won = won
        super().__init__(port, "L", won[-1].place, None)


class LocksScenario(Contention):
    """One run: programs that want several names at once."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self._last: dict[str, int] = {}  # newest fence of each name that was entered with
        for programs in shape.programs:
            client = self.world.add_client()
            for names in programs:
                client.start(self._program(client, names))
        if shape.meddled:
            client = self.world.add_client()
            client.start(self._meddle(client))

    async def _program(self, client: SimClient, names: str) -> int:
        shape = self.shape
        lines = Lines(client.port, in_order([b"%s/%s" % (NAME, name.encode()) for name in names]))
        return await self.take_turns(client, lines.take, cycles=shape.cycles, hold=shape.hold, limit=shape.limit)

    async def _meddle(self, client: SimClient) -> None:
        await client.port.sleep(until=client.port.now() + 0.5)
        if self.world.net.messages:
            return  # Somebody may be told that all is won while it is not any more, which nobody can prevent.
        entered = {key for guard in self.guards.values() for key in self.places_of(guard)}
        for key in self.world.server.keys(NAME + b"/"):
            if key not in entered:
                self.world.server.txn(Txn(then=(Delete(key),)))
                return

    def make_guard(self, port: Any, place: Any) -> SimAllHeld:
        """One over all names."""
        return SimAllHeld(port, place)

    def places_of(self, guard: GuardBase) -> dict[bytes, int]:
        """One for each name."""
        assert isinstance(guard, SimAllHeld)
        return {each.place.ticket.key: each.place.fence for each in guard._won}

    def lane_of(self, key: bytes) -> Lane:
        """That of its name."""
        return exclusive(key.rpartition(b"/")[0])

    def too_many(self, owners: Sequence[GuardBase]) -> bool:
        """No two share a name."""
        names = [name for guard in owners for name in fences_of(guard)]
        return len(set(names)) < len(names)

    def overtook(self, guard: GuardBase) -> bool:
        """Each name passes on in its order."""
        late = any(fence <= self._last.get(name, 0) for name, fence in fences_of(guard).items())
        self._last.update(fences_of(guard))
        return late

    def marks(self, guard: GuardBase) -> dict[bytes, int]:
        """One for each name."""
        return {DATA + name.encode(): fence for name, fence in fences_of(guard).items()}


def fences_of(guard: GuardBase) -> dict[str, int]:
    """The fence of each name."""
    assert isinstance(guard, SimAllHeld)
    return dict(guard.fences)


def build(seed: int, **changes: Any) -> LocksScenario:
    """Several names under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        programs=chance.choice(
            (
                (("ab",), ("ba",)),
                (("ab",), ("bc",), ("ca",)),
                (("ab", "ba"),),
                (("ab",), ("a",), ("b",)),
                (("abc",), ("b",)),
                (("ab", "c"), ("cb",)),
            )
        ),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 0.0, 1.0, 12.0)),
        limit=chance.choice((None, None, None, 3.0, 30.0, 0)),
        meddled=chance.choice((False, False, True)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return LocksScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
