"""What all kinds of locks have in common in the simulator: programs take turns at one name, and the checks.

1. No more guards are provably valid at one instant than may be, and no body is entered while somebody goes first.
2. A waiter is woken by what it waits for alone, and by one key one at most of those who cannot enter together.
3. A write that carries ownership is refused when a later owner has written.
4. When nobody wants the lock any more and the ledgers are empty, no key is left.
5. Every program ends, and none waits for what already happened.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from coord.client.keeper.ledger import Place as TicketPlace
from coord.errors import CoordError, LockLost, LockTimeout, NotOwner
from coord.model import Event
from coord.ops import Put
from coord.recipes.ownership.fenced import OwnedTxn
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.lane import Lane, exclusive
from coord.recipes.ownership.turn import Call, Terms
from coord.testing.sim.choices import Choices
from coord.testing.sim.scenario import Scenario
from coord.testing.sim.watch import SimWatcher
from coord.testing.sim.world import Faults, SimClient, Violation

NAME = b"L"
DATA = b"data"

Take = Callable[[bytes, Terms, Callable[[Any], Any]], Coroutine[Any, Any, Any]]


class SimGuard(GuardBase):
    """A guard without threads."""

    __slots__ = ()


class Contention(Scenario):
    """One run: programs that take and release something at one name. `entered` has the fences."""

    def __init__(self, choices: Choices, *, faults: Faults | None = None, budget: int = 0) -> None:
        super().__init__(choices, faults=faults, budget=budget)
        self._lane = exclusive(NAME)
        self.guards: dict[bytes, GuardBase] = {}  # entered and not given back
        self._written: dict[bytes, int] = {}  # newest fence among the writes of each key
        self._woken: tuple[int, bytes] = (0, b"")
        self._woken_bodies: list[bytes] = []  # the places that were woken by it
        self.world.idle_checks.append(self._nobody_waits_in_vain)
        self.world.woken_checks.append(self._the_right_ones_are_woken)
        self.world.server.listeners.append(self._writes_grow)

    # --- what a kind of lock says

    def too_many(self, owners: Sequence[GuardBase]) -> bool:
        """True if these may not own it together; each of them is provably valid."""
        return len(owners) > 1

    def make_guard(self, port: Any, place: Any) -> GuardBase:
        """What `take` gets to make of what was won."""
        return SimGuard(port, "L", place, None)

    def places_of(self, guard: GuardBase) -> dict[bytes, int]:
        """Its keys, each with its fence."""
        return {guard.key: guard.fence}

    def lane_of(self, key: bytes) -> Lane:
        """Where this place stands, and who goes first."""
        return self._lane

    def goes_first(self, guard: GuardBase, earlier: Sequence[bytes]) -> bool:
        """True if one of these keys, which were created earlier and are not leaving, keeps the guard out."""
        return bool(earlier)

    def overtook(self, guard: GuardBase) -> bool:
        """True if somebody entered that came later and had to wait for this one."""
        return bool(self.entered) and guard.fence <= self.entered[-1]

    def may_wake_together(self, places: Sequence[bytes]) -> bool:
        """True if one key that goes may wake the waiters with these places."""
        return len(places) < 2

    def marks(self, guard: GuardBase) -> dict[bytes, int]:
        """What its body writes, which may only grow: below `DATA`."""
        return {DATA: guard.fence}

    # --- what programs do

    async def take_turns(self, client: SimClient, take: Take, *, cycles: int, hold: float, limit: float | None) -> int:
        """The program: take it, do something, give it back; returns how often it was had."""
        port, taken = client.port, 0
        for _ in range(cycles):
            deadline = None if limit is None else port.now() + (limit or 5.0)
            terms = Terms(self.world.ttl, deadline, wait=limit != 0)
            try:
                guard = await take(b"", terms, lambda place: self.make_guard(port, place))
            except LockTimeout:
                self.timeouts += 1
                continue
            self.enter(guard)
            try:
                await self.body(client, guard, hold)
                taken += 1
            finally:
                self.guards.pop(guard.key, None)
                await guard._give_back()
        return taken

    async def body(self, client: SimClient, guard: GuardBase, hold: float) -> None:
        """What is done under it: time passes, and something is written."""
        port = client.port
        if hold:
            await port.sleep(until=port.now() + hold)
        marks = self.marks(guard)
        if not marks:
            return
        try:
            # Without asking the clock first: the store alone must refuse it if ownership is over.
            write = OwnedTxn(guard).then(*(Put(key, b"%d" % fence) for key, fence in marks.items()))
            answer = await port.txn(write.op, deadline=port.now() + 2.0)
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

    def enter(self, guard: GuardBase) -> None:
        """A body is entered.

        Raises:
            Violation: it must not be.
        """
        world, now = self.world, self.world.clock.now()
        if guard.key in self.guards:
            raise Violation(f"{guard!r} entered twice")
        self.guards[guard.key] = guard
        if guard.lease in world.revoked:
            return  # Its owner cannot know yet; only the store can refuse it.
        if proven_until(guard) <= now:
            raise Violation(f"{guard!r} entered without a live lease")
        self._is_its_turn(guard)
        if self.overtook(guard):
            raise Violation(f"{guard!r} entered after fence {self.entered[-1]}")
        self.entered.append(guard.fence)

    def check(self) -> None:
        """No more guards are provably valid than may be."""
        if len(self.guards) < 2:
            return
        owners = [each for each in self.guards.values() if self.proves(each)]
        if len(owners) > 1 and self.too_many(owners):
            raise Violation(f"{'two' if len(owners) == 2 else len(owners)} owners: {owners}")

    def proves(self, guard: GuardBase) -> bool:
        """True if the holder believes in its ownership, rightly as far as it can know."""
        given_up = guard._released or guard._gone
        return not given_up and proven_until(guard) > self.world.clock.now() and guard.lease not in self.world.revoked

    def _is_its_turn(self, guard: GuardBase) -> None:
        server = self.world.server
        for place, fence in self.places_of(guard).items():
            lane = self.lane_of(place)
            if server.create_revision(place) != fence:
                raise Violation(f"{guard!r} entered without its key in the store")
            earlier = [
                key
                for key in server.keys(lane.rivals)
                if lane.is_rival(key) and server.create_revision(key) < fence and not self._is_leaving(key)
            ]
            if self.goes_first(guard, earlier):
                raise Violation(f"{guard!r} entered before {earlier!r}")

    def _is_leaving(self, key: bytes) -> bool:
        """A key that a late claim made again: nobody stands there, and its ledger is about to delete it."""
        for client in self.world.clients:
            for ticket in client.keeper.tickets:
                if ticket.key == key:
                    return ticket.place is TicketPlace.LEAVING
        return True  # of a process that crashed, or of a lease that is gone

    def _writes_grow(self, _revision: int, events: list[Event]) -> None:
        for event in events:
            if event.item.key.startswith(DATA):
                fence, before = int(event.item.value), self._written.get(event.item.key, 0)
                if fence < before:
                    raise Violation(f"owner {fence} wrote after owner {before} had")
                self._written[event.item.key] = fence

    def _the_right_ones_are_woken(self, client: SimClient, watcher: SimWatcher) -> None:
        """Of those who still stand in the queue, only those are woken together who can do something about it."""
        handle = [each for each in client.port.hub.watchers.values() if each.inbox is watcher.inbox]
        if handle[-1] is watcher:
            return  # its own key: it does not wait for a turn any more
        if not self.world.server.create_revision(handle[-1].spec.key):
            return
        now = (self.world.server.machine.revision, watcher.spec.key)
        if self._woken != now:
            self._woken, self._woken_bodies = now, []
        self._woken_bodies.append(handle[-1].spec.key)
        if not self.may_wake_together(self._woken_bodies):
            raise Violation(f"two waiters were woken by {watcher.spec.key!r}: {self._woken_bodies}")

    def _nobody_waits_in_vain(self) -> None:
        server = self.world.server
        for client in self.world.clients:
            if client.stopped or self.world.clock.now() < client.cut_until:
                continue
            for watcher in client.port.hub.watchers.values():
                key = watcher.spec.key
                if not watcher.spec.range_end and not server.create_revision(key):
                    raise Violation(f"client {client.index} waits for {key!r}, which is gone")
            if sum(not program.over for program in client.programs) == 1 and client.port.hub.watchers:
                for ticket in client.keeper.tickets:
                    if stands_in_line(ticket) and not server.create_revision(ticket.key):
                        raise Violation(f"client {client.index} waits although its own {ticket.key!r} is gone")

    @property
    def left_behind(self) -> list[bytes]:
        """Keys in the queue; there must be none once a run has settled."""
        return self.world.server.keys(NAME + b"/")


def stands_in_line(ticket: Any) -> bool:
    """True if a running call waits for its turn with this ticket."""
    return ticket.owner is not None and isinstance(ticket.owner(), Call)


def proven_until(guard: GuardBase) -> float:
    """Until when the holder believes in its ownership; asked without changing anything."""
    session: Any = guard._place.ticket.session
    proven: float = session.proven_until
    return proven
