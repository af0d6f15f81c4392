"""The double barrier in the simulator: members enter together and leave together, again and again.

1. Exactly as many are let in at once as it takes, each of them there at that moment; none had left before.
2. Nobody is out before all who entered with it have left, or their leases are gone.
3. Nobody waits while enough wait to be let in.
4. Every program ends, and no key stays behind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from coord.client.keeper.ledger import CONFIRM_FIRST
from coord.errors import CallTimeout, LeaseLost
from coord.model import Event
from coord.ops import Get
from coord.recipes.barriers.gathering import Gathering
from coord.recipes.barriers.named import Limit
from coord.recipes.common.layout import double_of
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.world import Faults, SimClient, Violation

NAME = b"B"
PLACES = double_of(NAME) + b"/"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        members: programs of each client.
        parties: how many enter together.
        cycles: how often each enters.
        hold: seconds that a body lasts.
        limit: seconds that entering and leaving wait.
    """

    members: tuple[int, ...] = (1, 1)
    parties: int = 2
    cycles: int = 1
    hold: float = 1.0
    limit: float = 30.0


class DoubleBarrierScenario(Scenario):
    """One run; `entered` has what the key of each that entered said."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self._stored: dict[bytes, bytes] = {}
        self._broken = ""
        self.world.server.listeners.append(self._note)
        self.world.idle_checks.append(self._nobody_waits_in_vain)
        for programs in shape.members:
            client = self.world.add_client()
            for _ in range(programs):
                client.start(self._member(client))

    async def _member(self, client: SimClient) -> None:
        port, shape = client.port, self.shape
        gathering = Gathering(port, NAME, shape.parties)
        for _ in range(shape.cycles):
            try:
                member = await gathering.enter(self.world.ttl, Limit(port.now() + shape.limit))
            except (CallTimeout, LeaseLost):
                self.timeouts += 1
                continue
            self.entered.append(member.company)
            try:
                await port.sleep(until=port.now() + shape.hold)
                await gathering.leave(member, Limit(port.now() + shape.limit))
            except (CallTimeout, LeaseLost):
                self.timeouts += 1
                continue
            except BaseException:
                await port.withdraw(member.ticket)
                raise
            own = member.ticket.key  # may still be there: its deletion is repeated until it is acknowledged
            inside = [key for key, value in self._stored.items() if value == member.company and key != own]
            if inside:
                raise Violation(f"{own!r} is out before {inside}")

    # --- what must be true

    def _note(self, _revision: int, events: list[Event]) -> None:
        let_in = []
        for event in events:
            key, before = event.item.key, self._stored.pop(event.item.key, None)
            if event.item.version:
                self._stored[key] = event.item.value
                if event.item.value.startswith(b"in "):
                    let_in.append((key, before))
        if let_in and len(let_in) != self.shape.parties:
            self._broken = f"{len(let_in)} were let in, not {self.shape.parties}"
        for key, before in let_in:
            if before is None or not before.startswith(b"waits "):
                self._broken = f"{key!r} was let in though it was {before!r}"
            if self._had_left(key):
                self._broken = f"{key!r} was let in though it had left"

    def _had_left(self, key: bytes) -> bool:
        """Its deletion was acknowledged."""
        client = self.world.clients[(int(key.removeprefix(PLACES).split(b"-")[0], 16) >> 32) - 1]
        tickets = {ticket.key: ticket for ticket in client.keeper.tickets}
        if client.crashed or client.closing or self._lease_is_over(client):
            return False
        return key not in tickets or tickets[key].confirming > CONFIRM_FIRST

    def _lease_is_over(self, client: SimClient) -> bool:
        return client.keeper.live(self.world.ttl) is None

    def check(self) -> None:
        """What the store did was right."""
        if self._broken:
            raise Violation(self._broken)

    def _nobody_waits_in_vain(self) -> None:
        if any(client.stopped or client.closing for client in self.world.clients):
            return
        watched = {watcher.spec.key for client in self.world.clients for watcher in client.port.hub.watchers.values()}
        waiting = [key for key, value in self._stored.items() if value.startswith(b"waits ")]
        if len(waiting) >= self.shape.parties and watched.issuperset(waiting):
            raise Violation(f"{waiting} wait though they are enough")

    @property
    def left_behind(self) -> list[bytes]:
        """Keys of members."""
        return [item.key for item in self.world.server.range(Get(PLACES, PLACES[:-1] + b"0")).items]


def build(seed: int, **changes: Any) -> DoubleBarrierScenario:
    """The double barrier under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        members=chance.choice(((1, 1), (2,), (2, 1), (1, 1, 1), (2, 2))),
        parties=chance.choice((2, 2, 2, 3)),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 1.0, 12.0)),
        limit=chance.choice((3.0, 30.0, 30.0)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return DoubleBarrierScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
