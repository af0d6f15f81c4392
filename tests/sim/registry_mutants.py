"""Bugs that registries were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from coord.client.keeper import declaring
from coord.client.keeper.declaring import Declaration, Stage, _deletion
from coord.errors import ClosedError, Compacted
from coord.ops import Delete, Get, Txn
from coord.port import WatchTarget
from coord.recipes.registry.brake import Brake
from coord.recipes.registry.roster import ChangeKind, Follower, Roster
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.registry import RegistryScenario, Shape
from coord.testing.sim.watch import SimHub
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
LEASES = Faults(break_off=0, delay=0, cancel=0, crash=0, close=0, pause=2, cut=4, restart=0, compact=0, revoke=4)
LOSSES = Faults(break_off=8, delay=4, cancel=2, crash=0, close=0, pause=0, cut=1, restart=0, compact=0, revoke=0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> RegistryScenario:
        return RegistryScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 7, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


# --- followers


@mutant(
    "watch from now",
    "python-etcd3 #1107: the watch begins when it is made, not after the revision that was read",
    "a view waits at|a view at revision",
)
def _(stack: contextlib.ExitStack) -> None:
    async def read(self: Any, deadline: float | None) -> Any:
        self.close()
        found = await self._port.range(Get(self._start, self._end), deadline=deadline)
        self._since = found.header.revision + 1
        self._watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=0)
        return self.roster.replace(found.items, found.header.revision)

    swap(stack, Follower, "read", read)


@mutant(
    "resumed from now",
    "go-kit, etcd-registry plugins: a stream that broke is opened again without a revision",
    "a view waits at|a view at revision",
    faults=Faults(restart=6, crash=0, close=0),
)
def _(stack: contextlib.ExitStack) -> None:
    def disconnect(self: SimHub) -> None:
        for watcher in self.watchers.values():
            watcher.stream, watcher.next_revision = None, 0

    swap(stack, SimHub, "disconnect", disconnect)


@mutant(
    "compaction ignored",
    "a follower that was compacted away watches from now on instead of reading again",
    "a view waits at|a view at revision",
    Shape(servers=(1, 1), hold=0.0, updates=2),
    faults=Faults(compact=8, restart=6, cut=4, crash=0, close=0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Follower._step

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
        return self.roster.apply(batch.events, batch.revision)

    swap(stack, Follower, "_step", step)


@mutant(
    "deaf to deletions",
    "registries that list and only ever add: who left is shown for ever",
    "a view at revision",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Follower._step

    async def step(self: Any, deadline: float | None) -> Any:
        before = self.roster.seen
        changes = await plain(self, deadline)
        if len(self.roster.seen.known) < len(before.known):
            self.roster._newest = None
            self.roster._known.update(before.known)
            return []
        return changes

    swap(stack, Follower, "_step", step)


# --- registrations


@mutant(
    "not put again",
    "etcd3-gateway #1, moleculer #918: after the loss of its lease the service is gone from discovery",
    "does not settle|stored is|do not end",
    Shape(hold=12.0),
    faults=LEASES,
)
def _(stack: contextlib.ExitStack) -> None:
    def wants(self: Declaration) -> bool:
        return self.stage is Stage.KEPT and self._error is None and self.session is None

    swap(stack, Declaration, "wants_session", property(wants))


@mutant(
    "loss not noticed",
    "the lease is granted anew, but the key is believed to be there still",
    "stored is|settled and not stored",
    Shape(hold=12.0),
    faults=LEASES,
)
def _(stack: contextlib.ExitStack) -> None:
    def adopt(self: Declaration, session: Any) -> None:
        first, self.session = self.session is None, session
        if first:
            self._stored, self._due = 0, -float("inf")

    swap(stack, Declaration, "adopt", adopt)


@mutant(
    "late put not made good",
    "an update whose answer was lost arrives after the next one, and the old address stays",
    "stored is|a view",
    Shape(hold=0.0, updates=3),
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Declaration.done

    def done(self: Declaration, duty: Any, result: object, error: Any, now: float) -> None:
        plain(self, duty, result, error, now)
        self._late_until = -float("inf")

    swap(stack, Declaration, "done", done)


@mutant(
    "late put not deleted",
    "the same at the end: what was closed comes back and stays",
    "left behind",
    Shape(hold=0.0, updates=1, stays=False),
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Declaration.withdraw

    def withdraw(self: Declaration, farewell: bytes | None = None) -> None:
        plain(self, farewell)
        self._late_until = -float("inf")

    swap(stack, Declaration, "withdraw", withdraw)


@mutant(
    "two under way",
    "the deletion is sent beside the put before it, and is applied first",
    "left behind",
    Shape(servers=(1,), hold=0.0, updates=3),
    faults=Faults(cancel=8, delay=8, crash=0, close=0, break_off=0, cut=0, restart=0, compact=0, pause=0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Declaration.wake_at

    def wake_at(self: Declaration) -> float:
        under_way, self._under_way = self._under_way, None
        try:
            return plain(self)
        finally:
            self._under_way = under_way

    swap(stack, Declaration, "wake_at", wake_at)
    plain_poll = Declaration.poll

    def poll(self: Declaration, now: float, duties: list[Any]) -> None:
        plain_poll(self, now, duties)
        if isinstance(self._under_way, declaring._Farewell):
            self._farewell = None
        else:
            self._due = now + 6.0

    swap(stack, Declaration, "poll", poll)


@mutant(
    "deletion by name",
    "a deletion that was given up arrives after the instance was registered again, and takes it out",
    "stored is|does not settle",
    Shape(hold=0.0, updates=0, cycles=3),
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    def deletion(key: bytes, lease: int, newest: int) -> Txn:
        plain = _deletion(key, lease, newest)
        return Txn(compares=plain.compares[:1], then=(Delete(key),), otherwise=plain.otherwise)

    swap(stack, declaring, "_deletion", deletion)


@mutant(
    "no deletion at all",
    "nothing is deregistered on close: it goes with the lease, which is shared and lives",
    "left behind|does not settle",
    Shape(stays=False),
)
def _(stack: contextlib.ExitStack) -> None:
    def withdraw(self: Declaration, farewell: bytes | None = None) -> None:
        self.end(ClosedError("dropped"))

    swap(stack, Declaration, "withdraw", withdraw)


@mutant(
    "late farewell",
    "the last word of what was closed is put whatever is there, and replaces what was registered again",
    "stored is|does not settle|left behind",
    Shape(hold=0.0, updates=0, cycles=3),
    faults=LOSSES,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Declaration.poll

    def poll(self: Declaration, now: float, duties: list[Any]) -> None:
        plain(self, now, duties)
        for duty in duties:
            if isinstance(duty, declaring._Farewell):
                duty.request = Txn(then=duty.request.then)

    swap(stack, Declaration, "poll", poll)


# --- the brake


@mutant(
    "kept for ever",
    "who vanished and came back is still among those who are kept",
    "which did not vanish",
    Shape(hold=12.0),
    faults=LEASES,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Brake.on_change

    def on_change(self: Brake, vanished: Any, seen: Any, present: int, now: float) -> None:
        plain(self, vanished, (), present, now)

    swap(stack, Brake, "on_change", on_change)


@mutant(
    "every leave counts",
    "a service that is scaled down is taken for one that vanished: who was closed goes on being called",
    "which did not vanish",
    Shape(servers=(1, 1, 1), stays=False),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Roster.apply

    def apply(self: Roster, events: Any, revision: int) -> Any:
        changes = plain(self, events, revision)
        left = [change.instance for change in changes if change.kind is ChangeKind.LEFT]
        assert self._brake is not None
        self._brake.on_change(left, (), len(self._known), self._now())
        return changes

    swap(stack, Roster, "apply", apply)
