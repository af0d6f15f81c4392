"""The barrier in the simulator: one client closes and opens it, others wait.

1. Nobody passes unless the barrier was open at some time during its wait.
2. Once a change was acknowledged the barrier stays so until the next one is begun, whatever arrives late.
3. Nobody waits while it is open, nor passes over an opening that it waited for.
4. Every program ends; nothing but the one key is stored.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from coord.errors import CallTimeout
from coord.model import Event
from coord.ops import Get
from coord.recipes.barriers.gate import CLOSED, OPEN, Gate, is_open
from coord.recipes.barriers.named import Limit
from coord.recipes.common.layout import barrier_of
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.world import Faults, SimClient, Violation

NAME = b"B"
KEY = barrier_of(NAME)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        waiters: programs that wait, of each client.
        cycles: how often it is closed and opened.
        hold: seconds for which it stays so.
        patience: seconds for which a change is tried.
        limit: seconds somebody waits.
    """

    waiters: tuple[int, ...] = (1, 1)
    cycles: int = 2
    hold: float = 2.0
    patience: float = 6.0
    limit: float = 30.0


class BarrierScenario(Scenario):
    """One run; `entered` has the revision at which somebody passed."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self._state = OPEN
        self._opened = 0.0  # when it was open last
        self._sure: bytes | None = None  # what it must be, while no change is under way
        world = self.world
        world.server.listeners.append(self._note)
        world.idle_checks.append(self._nobody_waits_in_vain)
        client = world.add_client()
        client.start(self._operate(client))
        for programs in shape.waiters:
            client = world.add_client()
            for _ in range(programs):
                client.start(self._wait(client))

    # --- what programs do

    async def _operate(self, client: SimClient) -> None:
        port, gate = client.port, Gate(client.port, NAME)
        for state in (CLOSED, OPEN) * self.shape.cycles:
            self._sure = None
            try:
                await gate.change(state, port.now() + self.shape.patience)
            except CallTimeout:
                self.timeouts += 1
                continue
            self._sure = state
            await port.sleep(until=port.now() + self.shape.hold)

    async def _wait(self, client: SimClient) -> None:
        port, gate = client.port, Gate(client.port, NAME)
        for _ in range(self.shape.cycles):
            began = port.now()
            try:
                await gate.passed(Limit(began + self.shape.limit))
            except CallTimeout:
                self.timeouts += 1
                continue
            if not self._is_open and self._opened < began:
                raise Violation(f"passed a barrier that was closed from {self._opened} on, waiting since {began}")
            self.entered.append(self.world.server.machine.revision)
            await port.sleep(until=port.now() + self.shape.hold)

    # --- what must be true

    @property
    def _is_open(self) -> bool:
        return is_open(self.world.server.range(Get(KEY)).first)

    def _note(self, _revision: int, events: list[Event]) -> None:
        for event in events:
            if event.item.key == KEY:
                before, self._state = self._state, event.item.value
                if OPEN in (before, self._state):
                    self._opened = self.world.clock.now()

    def check(self) -> None:
        """What was acknowledged holds."""
        if self._sure is not None and self._is_open != (self._sure == OPEN):
            raise Violation(f"it was made {self._sure!r} and is not")

    def _nobody_waits_in_vain(self) -> None:
        for client in self.world.clients:
            if client.stopped or client.closing or self.world.clock.now() < client.cut_until:
                continue
            if client.port.hub.watchers and self._is_open:
                raise Violation(f"client {client.index} waits though the barrier is open")

    @property
    def left_behind(self) -> list[bytes]:
        """Anything but the key."""
        return [key for key in self.world.server.keys(NAME) if key != KEY]


def build(seed: int, **changes: Any) -> BarrierScenario:
    """The barrier under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        waiters=chance.choice(((1, 1), (1,), (2, 1), (1, 1, 1))),
        cycles=chance.choice((1, 2, 3)),
        hold=chance.choice((0.0, 0.5, 2.0, 8.0)),
        patience=chance.choice((1.0, 6.0, 20.0)),
        limit=chance.choice((1.0, 30.0, 30.0, 60.0)),
    )
    return BarrierScenario(RandomChoices(seed), shape, budget=chance.randrange(6), **changes)
