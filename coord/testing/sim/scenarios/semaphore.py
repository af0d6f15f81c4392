"""The semaphore in the simulator: so many at once, in the order in which they asked, while the number is changed.

Beside what `coord.testing.sim.scenarios.contention` says: nobody waits while a permit is free, and a release wakes one
waiter at most that has reason to look (more only after the number was lowered).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coord.errors import CallTimeout, UsageError
from coord.ops import Get
from coord.recipes.common.layout import permit_count_of, permits_of
from coord.recipes.locks.permits import PermitLine, resize
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.lane import Lane, permitted
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenarios.contention import NAME, Contention, stands_in_line
from coord.testing.sim.world import Faults, SimClient, Violation

LANE = permitted(NAME)
PLACES = permits_of(NAME) + b"/"
COUNT = permit_count_of(NAME)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a scenario is.

    Attributes:
        programs: programs of each client.
        permits: how many there are.
        resized: how many there are later; 0 to leave them.
        cycles: how often each takes one.
        hold: seconds a body lasts.
        limit: seconds an acquire waits, None for ever, 0 not at all.
    """

    programs: tuple[int, ...] = (1, 1, 1)
    permits: int = 2
    resized: int = 0
    cycles: int = 1
    hold: float = 1.0
    limit: float | None = None


class SemaphoreScenario(Contention):
    """One run: programs that take and release permits, and perhaps one that changes their number."""

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self.world.idle_checks.append(self._no_permit_is_free)
        for programs in shape.programs:
            client = self.world.add_client()
            for _ in range(programs):
                client.start(self._program(client))
        if shape.resized:
            client = self.world.add_client()
            client.start(self._resize(client))

    async def _program(self, client: SimClient) -> int:
        shape, line = self.shape, PermitLine(client.port, NAME, self.shape.permits)
        try:
            return await self.take_turns(client, line.take, cycles=shape.cycles, hold=shape.hold, limit=shape.limit)
        except UsageError:
            if not shape.resized:
                raise
            return 0  # It asked, or asked again, with the old number.

    async def _resize(self, client: SimClient) -> None:
        port = client.port
        await port.sleep(until=port.now() + 0.5)
        try:
            await resize(port, NAME, self.shape.resized, port.now() + 30.0)
        except CallTimeout:
            return

    # --- what must be true

    @property
    def _stored(self) -> int:
        found = self.world.server.range(Get(COUNT)).first
        return self.shape.permits if found is None else int(found.value)

    def lane_of(self, key: bytes) -> Lane:
        """The semaphore's."""
        return LANE

    def too_many(self, owners: Sequence[GuardBase]) -> bool:
        """No more than there are, or were when they entered."""
        return len(owners) > max(self.shape.permits, self.shape.resized)

    def goes_first(self, guard: GuardBase, earlier: Sequence[bytes]) -> bool:
        """As many as there are permits."""
        return len(earlier) >= max(self.shape.permits, self.shape.resized)

    def overtook(self, guard: GuardBase) -> bool:
        """Those who may be in together enter in any order."""
        return False

    def marks(self, guard: GuardBase) -> dict[bytes, int]:
        """Holders write beside each other, in no order."""
        return {}

    def may_wake_together(self, places: Sequence[bytes]) -> bool:
        """Of those who still have to wait for it, one."""
        return bool(self.shape.resized) or sum(self._ahead(key) >= self._stored - 1 for key in places) < 2

    def _ahead(self, key: bytes) -> int:
        server = self.world.server
        created = server.create_revision(key)
        return sum(server.create_revision(other) < created for other in server.keys(PLACES))

    def _behind_the_mute(self, key: bytes) -> bool:
        """The one directly in front cannot be heard: it is waited for until its lease ends, and no longer."""
        server, created = self.world.server, self.world.server.create_revision(key)
        ahead = [other for other in server.keys(PLACES) if server.create_revision(other) < created]
        if not ahead:
            return False
        before = max(ahead, key=server.create_revision)
        lease = int(before.removeprefix(PLACES).partition(b"-")[0], 16)
        client = self.world.clients[(lease >> 32) - 1]
        return client.crashed or client.stopped or client.closing or self.world.clock.now() < client.cut_until

    def _no_permit_is_free(self) -> None:
        server, now = self.world.server, self.world.clock.now()
        for client in self.world.clients:
            if client.stopped or now < client.cut_until:
                continue
            watched = {watcher.spec.key for watcher in client.port.hub.watchers.values()}
            for ticket in client.keeper.tickets:
                waits = stands_in_line(ticket) and ticket.key in watched
                if not waits or not server.create_revision(ticket.key) or self._behind_the_mute(ticket.key):
                    continue
                if self._ahead(ticket.key) < self._stored:
                    raise Violation(f"{ticket.key!r} waits although a permit is free")

    @property
    def left_behind(self) -> list[bytes]:
        """Places; the number of permits stays."""
        return self.world.server.keys(PLACES)


def build(seed: int, **changes: Any) -> SemaphoreScenario:
    """The semaphore under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        programs=chance.choice(((1, 1, 1), (2, 1), (1, 1, 1, 1), (3,), (2, 2), (1, 1, 1, 1, 1))),
        permits=chance.choice((1, 2, 2, 3)),
        resized=chance.choice((0, 0, 1, 2, 4)),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 1.0, 1.0, 12.0)),
        limit=chance.choice((None, None, None, 3.0, 30.0, 0)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return SemaphoreScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
