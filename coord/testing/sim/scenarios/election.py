"""The election in the simulator: candidates, observers, hand-overs, and what must be true whatever happens.

1. At most one leader is proven at any instant, its key is in the store and first, and terms grow.
2. What a leader says is stored only while its key is there; nothing brings a key back.
3. Observers tell every leader there was since they looked first, each once, in order, exactly as stored (after a
   compaction those that are left), and end in the present.
4. A transfer makes its target the leader in the same revision in which the old one goes, or the old one stays. Who
   stood in front of the target stands again; no key of Go's is touched.
5. A hand-over wakes one candidate, and who is asked to step behind.
6. Every candidate that does not give up leads in the end, and no key is left.
7. Reports of a role follow each other as they must; who turns leader leads, and who does not lead any more says so.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from coord.client.keeper.ledger import Ticket
from coord.errors import CallTimeout, CoordError, LeadershipLost, LockTimeout, NoCandidate, NotOwner, OutcomeUnknown
from coord.model import Event, EventKind, LeaseState
from coord.ops import Put, Txn, missing
from coord.recipes.common.layout import is_contender
from coord.recipes.elections.candidacy import Candidacy, Report
from coord.recipes.elections.candidate import Leader
from coord.recipes.elections.leadership import LeadershipBase
from coord.recipes.elections.observing import Observer
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.turn import Line, Terms
from coord.testing.sim.choices import Choices, RandomChoices
from coord.testing.sim.scenarios import lock
from coord.testing.sim.scenarios.contention import NAME
from coord.testing.sim.scenarios.lock import LockScenario
from coord.testing.sim.world import Faults, Program, SimClient, Violation

SAID = b"said "
PATIENCE = 15.0  # seconds a transfer may take
REPORTS = 6
VISIT = 6.0  # seconds for which a candidate of Go's stands
State = tuple[bytes, int, bytes, int] | None  # the leader's key, term, value, and the revision of the value


@dataclass(frozen=True, slots=True)
class Shape(lock.Shape):
    """How large a scenario is.

    Attributes:
        observers: clients that follow who leads.
        proclaims: each leader says something else, at first and when its term is over.
        transfers: each leader passes leadership on to the last in the queue instead of resigning.
        visitors: clients with a candidate of Go's, that stands for a while and goes.
        reporters: clients with one that stands again and again, and reports its role so many times.
    """

    observers: int = 1
    proclaims: bool = False
    transfers: bool = False
    visitors: int = 0
    reporters: int = 0


class SimLeadership(LeadershipBase):
    """A guard without threads."""


class ElectionScenario(LockScenario):
    """One run. `entered` has the terms."""

    step_limit = 8000
    settle_seconds = 90.0

    def __init__(self, choices: Choices, shape: Shape, *, faults: Faults | None = None, budget: int = 0) -> None:
        self._stands: dict[bytes, tuple[int, bytes, int]] = {}  # candidates: create revision, value, its revision
        self._past: list[tuple[int, State]] = [(0, None)]  # who led, and since which revision
        self._watching: list[tuple[SimClient, Observer]] = []
        self.election = shape
        super().__init__(choices, shape, faults=faults, budget=budget)
        self.world.server.listeners.append(self._remember)
        self.world.idle_checks.append(self._observers_know_the_present)
        for _ in range(shape.visitors):
            client = self.world.add_client()
            client.start(self._visit(client))
        for _ in range(shape.reporters):
            client = self.world.add_client()
            client.start(self._report(client))
        self._ending = set(self.world.programs)
        for _ in range(shape.observers):
            client = self.world.add_client()
            client.start(self._observe(client))

    # --- what programs do

    async def contend(self, client: SimClient) -> int:
        """One candidate: campaign, say something, lead, pass it on or resign."""
        port, world, shape = client.port, self.world, self.election
        line = Line(port, NAME)
        led = 0
        for cycle in range(shape.cycles):
            deadline = None if shape.limit is None else port.now() + shape.limit
            terms = Terms(world.ttl, deadline)
            try:
                guard = await line.take(
                    b"candidate %d" % cycle, terms, lambda place: SimLeadership(port, "L", place, None)
                )
            except LockTimeout:
                self.timeouts += 1
                continue
            self.enter(guard)
            try:
                await self._lead(client, guard)
                led += 1
            finally:
                self.guards.pop(guard.key, None)
                await guard._give_back()
        return led

    async def _lead(self, client: SimClient, guard: SimLeadership) -> None:
        port, shape = client.port, self.election
        if shape.proclaims:
            await self._say(guard)
        if shape.hold:
            await port.sleep(until=port.now() + shape.hold)
        if shape.proclaims:
            await self._say(guard)
        if shape.transfers:
            await self._pass_on(guard)

    async def _say(self, guard: SimLeadership) -> None:
        """Without asking the clock first: the store alone must refuse it if the term is over."""
        port = guard.port
        try:
            answer = await port.txn(guard._saying(SAID + b"%d" % guard.term).op, deadline=port.now() + 2.0)
        except CoordError:
            return
        if not answer.succeeded:
            guard.key_is_gone()

    async def _pass_on(self, guard: SimLeadership) -> None:
        others = [(term, key) for key, (term, _, _) in self._stands.items() if key != guard.key]
        if not others:
            return
        port, (_, target) = guard.port, max(others)
        try:
            await guard._transfer(target, PATIENCE)
        except (NoCandidate, CallTimeout) as stays:
            if guard._suspended or guard._released:
                raise Violation(f"{guard!r} was given up although {stays!r}") from stays
            await port.sleep(until=port.now() + 1.0)  # it goes on leading
        except OutcomeUnknown as unknown:
            if not guard._released:
                raise Violation(f"{guard!r} goes on although {unknown!r}") from unknown
        except (LeadershipLost, NotOwner):
            return
        else:
            self._has_passed(guard, target)

    async def _visit(self, client: SimClient) -> None:
        """A candidate of Go's: its key has no number, and it does not look whether it is still there."""
        port, world = client.port, self.world
        session = await port.session(world.ttl, deadline=None)
        ticket = Ticket(session, b"%s/%x" % (NAME, session.lease))
        client.keeper._ledger._tickets[ticket.key] = ticket
        try:
            claim = Txn((missing(ticket.key),), (Put(ticket.key, b"go", session.lease),))
            await port.claim(ticket, claim, deadline=port.now() + 2.0)
            await port.sleep(until=port.now() + VISIT, session=session)
            alive = session.proven_until > port.now() and session.lease not in world.revoked
            if alive and not world.server.create_revision(ticket.key):
                raise Violation(f"somebody deleted {ticket.key!r}")
        except CoordError:
            return
        finally:
            await port.withdraw(ticket)

    async def _report(self, client: SimClient) -> None:
        port, world = client.port, self.world
        own = partial(SimLeadership, port, "L")
        candidacy = Candidacy(port, NAME, b"reporter", world.ttl, world.ttl / 2, own)
        reports: list[Report] = []
        guard: SimLeadership | None = None
        try:
            for _ in range(REPORTS):
                told = await candidacy.next()
                self._follows(told.report, reports)
                reports.append(told.report)
                if told.report in (Report.FIRST_LEADER, Report.TURNED_LEADER) and told.leader is not None:
                    guard = told.leader
                    self.enter(guard)
                elif told.leader is not None and told.leader.state is LeaseState.LOST:
                    raise Violation(f"{told.leader!r} is reported to lead")
                elif guard is not None and told.leader is None:
                    self.guards.pop(guard.key, None)
                    if self.proves(guard):
                        raise Violation(f"{guard!r} leads, and reports that it does not")
        finally:
            if guard is not None:
                self.guards.pop(guard.key, None)
            await candidacy.leave()

    async def _observe(self, client: SimClient) -> None:
        observer = Observer(client.port, NAME)
        self._watching.append((client, observer))
        reads: list[int] = []
        plain = observer.ballot.replace

        def replace(items: Any, revision: int) -> Any:
            reads.append(revision)
            return plain(items, revision)

        observer.ballot.replace = replace  # type: ignore[method-assign]  # only counts
        position = -1
        try:
            while True:
                before = len(reads)
                for leader in await observer.next(None):
                    position = self._is_told(leader, observer, position, read=len(reads) > before)
        finally:
            observer.close()

    # --- what must be true

    def _remember(self, revision: int, events: list[Event]) -> None:
        for event in events:
            item = event.item
            if not is_contender(NAME, item.key):
                continue
            if event.kind is not EventKind.PUT:
                self._stands.pop(item.key, None)
                continue
            if item.version == 1 and item.value.startswith(SAID):
                raise Violation(f"a proclamation made {item.key!r} again")
            self._stands[item.key] = (item.create_revision, item.value, revision)
        first = min(self._stands.items(), key=lambda entry: entry[1][0], default=None)
        state = None if first is None else (first[0], *first[1])
        if state != self._past[-1][1]:
            self._past.append((revision, state))

    def _is_told(self, leader: Leader | None, observer: Observer, position: int, *, read: bool) -> int:
        revision = observer.ballot.revision
        found = bisect_right(self._past, revision, key=lambda entry: entry[0]) - 1
        if _state(leader) != self._past[found][1]:
            raise Violation(f"told of {leader} at revision {revision}, there was {self._past[found]}")
        if found <= position:
            raise Violation(f"told of {leader} again")
        if not read and found != position + 1:
            raise Violation(f"not told of {self._past[position + 1 : found]}")
        return found

    def _observers_know_the_present(self) -> None:
        """Nothing is under way: whoever waits for a change has missed none."""
        now = self.world.clock.now()
        for client, observer in self._watching:
            if client.stopped or client.closing or now < client.cut_until or observer._watch is None:
                continue
            if _state(observer.ballot.leader) != self._past[-1][1]:
                raise Violation(f"an observer waits with {observer.ballot.leader}, there is {self._past[-1]}")

    def _follows(self, report: Report, before: list[Report]) -> None:
        first = report in (Report.FIRST_LEADER, Report.FIRST_FOLLOWER)
        turned = report in (Report.TURNED_LEADER, Report.TURNED_FOLLOWER)
        if first == bool(before) or (before and turned != (report.leads != before[-1].leads)):
            raise Violation(f"{report} after {before}")

    def _has_passed(self, guard: SimLeadership, target: bytes) -> None:
        last = max(at for at, (_, state) in enumerate(self._past) if state is not None and state[0] == guard.key)
        after = self._past[last + 1 :]
        if not after:
            raise Violation(f"{guard!r} passed leadership on and leads")
        _, state = after[0]
        if state is None or state[0] != target:
            raise Violation(f"{state} led instead of {target!r}")

    def may_wake_together(self, places: Sequence[bytes]) -> bool:
        """One candidate, and the leader if it waits for that key to pass leadership on."""
        return len([place for place in places if place not in self.guards]) < 2

    def proves(self, guard: GuardBase) -> bool:
        """See `Contention.proves`; nothing is proven while leadership is passed on."""
        return not (isinstance(guard, SimLeadership) and guard._suspended) and super().proves(guard)

    def check(self) -> None:
        """One leader at most, and it has its key."""
        super().check()
        for guard in self.guards.values():
            if self.proves(guard) and self.world.server.create_revision(guard.key) != guard.fence:
                raise Violation(f"{guard!r} is proven without its key")

    # --- running

    def waits_for_ever(self, program: Program) -> bool:
        """Observers do."""
        return program not in self._ending

    def finish(self) -> None:
        """Everybody knows that nobody leads any more."""
        self._observers_know_the_present()

    def settled(self) -> bool:
        """Nothing can change any more, and observers that live have heard of everything."""
        now = self.world.clock.now()
        alive = [each for each in self._watching if not each[0].crashed and not each[0].closing]
        if any(now < client.cut_until for client, _ in alive) or not super().settled():
            return False
        going_on = [observer for client, observer in alive if not client.programs[0].over]
        return all(_state(observer.ballot.leader) == self._past[-1][1] for observer in going_on)


def _state(leader: Leader | None) -> State:
    return None if leader is None else (leader.key, leader.term, leader.value, leader.revision)


def build(seed: int, **changes: Any) -> ElectionScenario:
    """The election under the shape and the faults that belong to this seed."""
    chance = random.Random(~seed)
    shape = Shape(
        programs=chance.choice(((1, 1, 1), (1, 1), (2, 1), (1, 1, 1, 1), (2, 2))),
        cycles=chance.choice((1, 1, 2)),
        hold=chance.choice((0.0, 1.0, 1.0, 12.0)),
        limit=chance.choice((None, None, None, 30.0)),
        observers=chance.choice((0, 1, 1, 2)),
        proclaims=chance.choice((True, False)),
        transfers=chance.choice((True, True, False)),
        visitors=chance.choice((0, 0, 1)),
        reporters=chance.choice((0, 0, 1)),
    )
    faults = Faults(revoke=chance.choice((0, 0, 2)))
    return ElectionScenario(RandomChoices(seed), shape, faults=faults, budget=chance.randrange(6), **changes)
