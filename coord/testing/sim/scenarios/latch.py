"""The latch in the simulator: some count down, some wait.

1. What is left is what it began with less the count-downs that were done: each that returned once, each that raised
   something known not at all, and the others once or not at all, whatever arrives late.
2. Nobody passes before nothing is left, and nobody waits when nothing is.
3. Every program ends, and no key of a call stays behind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from coord.errors import CallTimeout, OutcomeUnknown
from coord.ops import Get
from coord.recipes.barriers.named import Limit
from coord.recipes.barriers.tally import Tally
from coord.recipes.common.layout import latch_calls_of, latch_count_of
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.world import Faults, SimClient, Violation

NAME = b"B"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        counters: programs that count down, of each client.
        each: how often each does.
        steps: by how much at a time.
        count: what it begins with.
        patience: seconds for which a count-down is tried.
        limit: seconds somebody waits.
    """

    counters: tuple[int, ...] = (1, 1)
    each: int = 2
    steps: int = 1
    count: int = 4
    patience: float = 10.0
    limit: float = 40.0


class LatchScenario(Scenario):
    """One run; `entered` has what was left after each count-down, and a zero for each that passed."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self._done = 0  # what is known to be counted
        self._possible = 0  # what may be
        self.world.idle_checks.append(self._nobody_waits_in_vain)
        for programs in shape.counters:
            client = self.world.add_client()
            for _ in range(programs):
                client.start(self._count(client))
        client = self.world.add_client()
        client.start(self._wait(client))

    def _tally(self, client: SimClient) -> Tally:
        return Tally(client.port, NAME, self.shape.count)

    # --- what programs do

    async def _count(self, client: SimClient) -> None:
        port, shape = client.port, self.shape
        for _ in range(shape.each):
            self._possible += shape.steps
            try:
                left = await self._tally(client).count_down(shape.steps, port.now() + shape.patience)
            except CallTimeout:
                self._possible -= shape.steps
                self.timeouts += 1
            except OutcomeUnknown:
                self.timeouts += 1
            else:
                self._done += shape.steps
                self.entered.append(left)

    async def _wait(self, client: SimClient) -> None:
        try:
            await self._tally(client).reached(Limit(client.port.now() + self.shape.limit))
        except CallTimeout:
            self.timeouts += 1
            return
        if self._left:
            raise Violation(f"passed while {self._left} are left")
        self.entered.append(0)

    # --- what must be true

    @property
    def _left(self) -> int:
        number = self.world.server.range(Get(latch_count_of(NAME))).first
        return self.shape.count if number is None else int(number.value.partition(b" ")[0])

    def check(self) -> None:
        """What is left is what it must be."""
        most, least = (max(0, self.shape.count - counted) for counted in (self._done, self._possible))
        if not least <= self._left <= most:
            raise Violation(f"{self._left} are left, and not {least} to {most}")

    def _nobody_waits_in_vain(self) -> None:
        for client in self.world.clients:
            if client.stopped or client.closing or self.world.clock.now() < client.cut_until:
                continue
            if client.port.hub.watchers and not self._left:
                raise Violation(f"client {client.index} waits though nothing is left")

    @property
    def left_behind(self) -> list[bytes]:
        """Keys of calls."""
        return self.world.server.keys(latch_calls_of(NAME))


def build(seed: int, **changes: Any) -> LatchScenario:
    """The latch under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        counters=chance.choice(((1, 1), (1,), (2, 1), (1, 1, 1))),
        each=chance.choice((1, 2, 3)),
        steps=chance.choice((1, 1, 2)),
        count=chance.choice((1, 2, 3, 4, 6)),
        patience=chance.choice((1.0, 10.0, 30.0)),
        limit=chance.choice((2.0, 40.0)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return LatchScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
