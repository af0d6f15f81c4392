"""The lock in the simulator: what clients do with it, and what must be true whatever happens.

1. No two guards are provably valid at the same instant, and no body is entered without the key being first.
2. Owners follow each other by create revision; a waiter is woken by its predecessor alone.
3. A write that carries ownership is refused when a later owner has written.
4. When nobody wants the lock any more and the ledgers are empty, no key is left.
5. Every program ends, and none waits for what already happened.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coord.client.keeper.ledger import Place as TicketPlace
from coord.errors import CoordError, LockLost, LockTimeout, NotOwner
from coord.model import Event
from coord.recipes.common.layout import is_contender
from coord.recipes.ownership.fenced import OwnedTxn
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.turn import Line, Terms
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.watch import SimWatcher
from coord.testing.sim.world import Faults, SimClient, SimWorld, Violation

NAME = b"L"
DATA = b"data"

MakeLine = Callable[[Any, bytes], Line]


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


class SimGuard(GuardBase):
    """A guard without threads."""

    __slots__ = ()


class LockScenario(Scenario):
    """One run: programs that take and release one lock, and the checks. `entered` has the fences."""

    def __init__(
        self,
        choices: Choices,
        shape: Shape,
        *,
        faults: Faults | None = None,
        budget: int = 0,
        make_line: MakeLine = Line,
        prepare: Callable[[SimWorld], None] | None = None,
    ) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self.shape = shape
        self.guards: dict[bytes, SimGuard] = {}  # entered and not given back
        self._written = 0  # newest fence among the writes
        self._make_line = make_line
        self.world.idle_checks.append(self._nobody_waits_in_vain)
        self.world.woken_checks.append(self._one_is_woken)
        self.world.server.listeners.append(self._writes_grow)
        self._woken: tuple[int, bytes] = (0, b"")
        if prepare is not None:
            prepare(self.world)
        for programs in shape.programs:
            client = self.world.add_client()
            for _ in range(programs):
                client.start(self._contend(client))

    # --- what programs do

    async def _contend(self, client: SimClient) -> int:
        port, world = client.port, self.world
        line = self._make_line(port, NAME)
        taken = 0
        for _ in range(self.shape.cycles):
            limit = self.shape.limit
            deadline = None if limit is None else port.now() + (limit or 5.0)
            terms = Terms(world.ttl, deadline, wait=limit != 0)
            try:
                guard = await line.take(b"", terms, lambda place: SimGuard(port, "L", place, None))
            except LockTimeout:
                self.timeouts += 1
                continue
            self._enter(guard)
            try:
                await self._body(client, guard)
                taken += 1
            finally:
                self.guards.pop(guard.key, None)
                await guard._give_back()
        return taken

    async def _body(self, client: SimClient, guard: SimGuard) -> None:
        port = client.port
        if self.shape.hold:
            await port.sleep(until=port.now() + self.shape.hold)
        try:
            # Without asking the clock first: the store alone must refuse it if ownership is over.
            write = OwnedTxn(guard).put(DATA, b"%d" % guard.fence).op
            answer = await port.txn(write, deadline=port.now() + 2.0)
        except CoordError:
            return
        if not answer.succeeded:
            guard.key_is_gone()
            return
        try:
            guard.check()
        except (LockLost, NotOwner):
            return

    # --- what must be true

    def _enter(self, guard: SimGuard) -> None:
        world, now = self.world, self.world.clock.now()
        if guard.key in self.guards:
            raise Violation(f"{guard!r} entered twice")
        self.guards[guard.key] = guard
        if guard.lease in world.revoked:
            return  # Its owner cannot know yet; only the store can refuse it.
        if _proven_until(guard) <= now:
            raise Violation(f"{guard!r} entered without a live lease")
        self._is_first(guard)
        if self.entered and guard.fence <= self.entered[-1]:
            raise Violation(f"{guard!r} entered after fence {self.entered[-1]}")
        self.entered.append(guard.fence)

    def check(self) -> None:
        """No two guards are provably valid."""
        if len(self.guards) < 2:
            return
        now, revoked = self.world.clock.now(), self.world.revoked
        owners = [each for each in self.guards.values() if _proven_until(each) > now and each.lease not in revoked]
        if len(owners) > 1:
            raise Violation(f"two owners: {owners}")

    def _is_first(self, guard: SimGuard) -> None:
        server = self.world.server
        if server.create_revision(guard.key) != guard.fence:
            raise Violation(f"{guard!r} entered without its key in the store")
        for key in server.keys(NAME + b"/"):
            if is_contender(NAME, key) and server.create_revision(key) < guard.fence and not self._is_leaving(key):
                raise Violation(f"{guard!r} entered before {key!r}")

    def _is_leaving(self, key: bytes) -> bool:
        """A key that a late claim made again: nobody stands there, and its ledger is about to delete it."""
        for client in self.world.clients:
            for ticket in client.keeper.tickets:
                if ticket.key == key:
                    return ticket.place is TicketPlace.LEAVING
        return True  # of a process that crashed, or of a lease that is gone

    def _writes_grow(self, _revision: int, events: list[Event]) -> None:
        for event in events:
            if event.item.key == DATA:
                fence = int(event.item.value)
                if fence < self._written:
                    raise Violation(f"owner {fence} wrote after owner {self._written} had")
                self._written = fence

    def _one_is_woken(self, client: SimClient, watcher: SimWatcher) -> None:
        """Of those who still stand in the queue, one at most is woken by a key that goes."""
        handle = [each for each in client.port.hub.watchers.values() if each.inbox is watcher.inbox]
        if len(handle) != 2 or handle[0] is not watcher:
            return  # its own key: it does not wait for a turn any more
        if not self.world.server.create_revision(handle[1].spec.key):
            return
        now = (self.world.server.machine.revision, watcher.spec.key)
        if self._woken == now:
            raise Violation(f"two waiters were woken by {watcher.spec.key!r}")
        self._woken = now

    def _nobody_waits_in_vain(self) -> None:
        server = self.world.server
        for client in self.world.clients:
            if client.stopped or self.world.clock.now() < client.cut_until:
                continue
            for watcher in client.port.hub.watchers.values():
                key = watcher.spec.key
                if not server.create_revision(key):
                    raise Violation(f"client {client.index} waits for {key!r}, which is gone")
            if sum(not program.over for program in client.programs) == 1 and client.port.hub.watchers:
                for ticket in client.keeper.tickets:
                    if ticket.place is TicketPlace.CALL and not server.create_revision(ticket.key):
                        raise Violation(f"client {client.index} waits although its own {ticket.key!r} is gone")

    @property
    def left_behind(self) -> list[bytes]:
        """Keys in the queue; there must be none once a run has settled."""
        return self.world.server.keys(NAME + b"/")


def _proven_until(guard: SimGuard) -> float:
    """Until when the holder believes in its ownership; asked without changing anything."""
    session: Any = guard._place.ticket.session
    proven: float = session.proven_until
    return proven


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
