"""Bugs that elections were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from coord.errors import CallTimeout, Compacted, OutcomeUnknown
from coord.model import EventKind
from coord.ops import Delete, Get, Txn
from coord.port import WatchTarget
from coord.recipes.elections import observing
from coord.recipes.elections.candidacy import Candidacy
from coord.recipes.elections.candidate import Candidate, as_candidate, as_leader, candidates
from coord.recipes.elections.handover import Handover
from coord.recipes.elections.leadership import LeadershipBase
from coord.recipes.elections.observing import Ballot, Observer
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.election import ElectionScenario, Shape
from coord.testing.sim.watch import SimHub
from coord.testing.sim.world import Faults
from tests.sim import lock_mutants
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
LOSSES = Faults(break_off=1, delay=0, cancel=0, crash=0, close=0, pause=0, cut=0, restart=0, compact=0, revoke=0)
QUEUE = Shape(programs=(1, 1, 1, 1), transfers=True)
TALK = Shape(programs=(1, 1), hold=0.0, proclaims=True)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> ElectionScenario:
        return ElectionScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 6, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


def as_for_locks(stack: contextlib.ExitStack, name: str) -> None:
    """Put back a bug of the locks, which share the queue."""
    next(bug for bug in lock_mutants.MUTANTS if bug.name == name).apply(stack)


# --- observers


@mutant(
    "the newest is taken for the leader",
    "etcd #18163: who wrote last is told as the leader, though another one leads",
    "told of|waits with",
    TALK,
)
def _(stack: contextlib.ExitStack) -> None:
    def leader(self: Ballot) -> Any:
        newest = max(self._standing.values(), key=lambda each: each.revision, default=None)
        return None if newest is None else as_leader(newest)

    swap(stack, Ballot, "leader", property(leader))


@mutant(
    "only the leader's key is followed",
    "etcd clientv3 Observe: when the leader's key goes the first one is read anew; who led in between is skipped",
    "not told of|waits with",
    Shape(programs=(1, 1, 1), hold=0.0, cycles=2),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Observer._step

    async def step(self: Any, deadline: float | None) -> Any:
        before = self.ballot.leader
        changes = await plain(self, deadline)
        if before is not None and changes and self._watch is not None:
            found = await self._port.range(Get(self._start, self._end), deadline=deadline)
            self.ballot._standing = {each.key: each for each in candidates(self.ballot._name, found.items)}
            self._watch.close()
            revision = found.header.revision
            self._watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=revision + 1)
            return self.ballot._changed(revision)
        return changes

    swap(stack, Observer, "_step", step)


@mutant(
    "told again by a new watch",
    "etcd clientv3 Observe, mailgun/holster: the same leader is reported again whenever the watch was made anew",
    "again",
    Shape(programs=(1, 1), hold=4.0),
    faults=Faults(restart=8, crash=0, close=0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Ballot.replace

    def disconnect(self: SimHub) -> None:
        for watcher in list(self.watchers.values()):
            watcher.stream = None
            if watcher.spec.range_end:
                self.drop([watcher.token])
                watcher.inbox.fail(Compacted("the watch is made anew", compact_revision=0))

    def replace(self: Ballot, items: Any, revision: int) -> Any:
        self._told = observing.NOTHING_TOLD
        return plain(self, items, revision)

    swap(stack, SimHub, "disconnect", disconnect)
    swap(stack, Ballot, "replace", replace)


@mutant(
    "nobody is not told",
    "IBM/etcd-java #49: an election without a leader goes on showing the last one",
    "told of|waits with|does not settle",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Ballot._changed

    def changed(self: Ballot, revision: int) -> Any:
        return [leader for leader in plain(self, revision) if leader is not None]

    swap(stack, Ballot, "_changed", changed)


@mutant(
    "a proclamation is not told",
    "an observer that follows keys and not what they say",
    "told of|waits with",
    TALK,
)
def _(stack: contextlib.ExitStack) -> None:
    def apply(self: Ballot, events: Any, revision: int) -> Any:
        for event in events:
            if event.kind is not EventKind.PUT:
                self._standing.pop(event.item.key, None)
            else:
                self._standing.setdefault(event.item.key, as_candidate(event.item))
        return self._changed(revision)

    swap(stack, Ballot, "apply", apply)


@mutant(
    "compaction ignored",
    "after a compaction the observer watches from now on instead of reading again",
    "told of|waits with",
    Shape(programs=(1, 1), hold=0.0, cycles=2),
    faults=Faults(compact=8, restart=6, cut=4, crash=0, close=0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Observer._step

    async def step(self: Any, deadline: float | None) -> Any:
        if not self._since:
            return await plain(self, deadline)
        if self._watch is None:
            self._watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=self._since)
        try:
            batch = await self._watch.next(deadline=deadline)
        except Compacted:
            self._watch.close()
            self._watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=0)
            return []
        return self.mirror.apply(batch.events, batch.revision)

    swap(stack, Observer, "_step", step)


# --- campaigning and resigning


@mutant(
    "a resignation deletes the next leader",
    "etcd #22082: the key of a candidacy is used again, and a late resignation deletes the successor",
    "two owners|without its key|entered after",
    Shape(programs=(1, 1), cycles=2, hold=0.0),
)
def _(stack: contextlib.ExitStack) -> None:
    as_for_locks(stack, "release by name")


@mutant(
    "a failed campaign leaves its key",
    "etcd #21128: a campaign that is given up leaves a candidate that nobody is, and later leads",
    "do not end|left behind",
    Shape(programs=(1, 1, 1), hold=4.0, limit=2.0),
)
def _(stack: contextlib.ExitStack) -> None:
    as_for_locks(stack, "giving up leaves a key")


@mutant(
    "a resignation is tried once",
    "etcd #22123: a resignation that fails is forgotten, and nobody leads until the lease ends",
    "do not end|left behind",
)
def _(stack: contextlib.ExitStack) -> None:
    as_for_locks(stack, "withdraw without a ledger")


@mutant(
    "zombie leader",
    "cagriekin/charts #326: a campaign that wins after its own lease has ended is believed",
    "without a live lease",
)
def _(stack: contextlib.ExitStack) -> None:
    as_for_locks(stack, "no look at the clock")


@mutant(
    "a proclamation compares nothing",
    "a leader whose term is over says something, and its key is there again",
    "made .* again",
    Shape(programs=(1, 1), hold=1.0, proclaims=True),
)
def _(stack: contextlib.ExitStack) -> None:
    as_for_locks(stack, "no ownership in the write")


# --- transfers


@mutant(
    "resigns first",
    "the leader resigns, and then those in front of the target are asked to step behind",
    "led instead of",
    QUEUE,
)
def _(stack: contextlib.ExitStack) -> None:
    async def run(self: Handover) -> None:
        queue, _ = await self._look()
        await self._guard.surrender()
        ahead = [each.key for each in queue if each.key not in (self._to, self._guard.key)]
        await self._port.txn(Txn(then=tuple(map(Delete, ahead))), deadline=self._port.now() + 2.0)

    swap(stack, Handover, "run", run)


@mutant(
    "leads while it passes on",
    "the leader believes in its term until the answer comes, and the next one leads already",
    "two owners|without its key",
    QUEUE,
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, LeadershipBase, "suspend", lambda self: None)


@mutant(
    "leads on without an answer",
    "a transfer whose answer was lost is taken for one that did not happen",
    "two owners|without its key|goes on",
    QUEUE,
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    async def commit(self: Handover, request: Txn) -> Any:
        try:
            return await self._port.txn(request, deadline=self._patience.attempt())
        except OutcomeUnknown as unknown:
            raise CallTimeout("taken for not done") from unknown

    swap(stack, Handover, "_commit", commit)


@mutant(
    "the target is not looked at",
    "the leader gives up for a candidate that has gone meanwhile",
    "led instead of",
    QUEUE,
    Shape(programs=(1, 1, 1), limit=2.0, transfers=True),
    faults=Faults(cancel=6, crash=4, close=2, cut=2),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Handover._request

    def request(self: Handover, target: Candidate, keys: Any) -> Txn:
        whole = plain(self, target, keys)
        return Txn(whole.compares[:1], whole.then, whole.otherwise)

    swap(stack, Handover, "_request", request)


@mutant(
    "everybody is asked to step behind",
    "the key of a candidate of Go's is deleted, which never looks at it and would lead without one",
    "somebody deleted",
    Shape(programs=(1, 1, 1), transfers=True, hold=2.0, visitors=1),
    Shape(programs=(1, 1), transfers=True, hold=1.0, visitors=2),
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Candidate, "steps_behind", property(lambda self: True))


@mutant(
    "nobody stands again",
    "etcd #19597: a candidate whose key was deleted goes on waiting for its turn",
    "waits although its own|which is gone|do not end|nothing can happen",
    QUEUE,
)
def _(stack: contextlib.ExitStack) -> None:
    as_for_locks(stack, "own key not watched")


# --- role reports


@mutant(
    "the role is what it was",
    "a report at the interval that says what the last one said: the leader does not hear that its lease is lost",
    "reported to lead",
    Shape(programs=(1,), reporters=1),
    faults=Faults(cut=6, pause=4, restart=0, compact=0, crash=0, close=0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def keep(self: Candidacy[Any], guard: Any, until: float) -> bool:
        await self._port.sleep(until=until)
        return True

    swap(stack, Candidacy, "_keep", keep)


@mutant(
    "a place is kept beyond its lease",
    "a participant goes on with the key of a lease that has ended, and never turns leader",
    "do not end|nothing can happen|which is gone|waits although its own|entered without",
    Shape(programs=(1,), hold=40.0, reporters=1),
    faults=Faults(cut=6, pause=4, restart=0, compact=0, crash=0, close=0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def step_down(self: Candidacy[Any]) -> None:
        return

    plain = Candidacy._stand

    async def stand(self: Candidacy[Any], session: Any, patience: Any) -> Any:
        if self._ticket is not None and self._fence is not None:
            return self._ticket, False
        return await plain(self, session, patience)

    swap(stack, Candidacy, "_stand", stand)
    swap(stack, Candidacy, "_step_down", step_down)
