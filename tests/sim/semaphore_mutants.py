"""Bugs that semaphores were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coord.client.keeper.ledger import Ticket
from coord.client.keeper.session import Session
from coord.client.ports.base import PortBase
from coord.port import WatchTarget
from coord.recipes.common.patience import Patience
from coord.recipes.locks.permits import PermitLine
from coord.recipes.ownership.turn import Terms
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.contention import stands_in_line
from coord.testing.sim.scenarios.semaphore import SemaphoreScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
SLOW_NETWORK = Faults(break_off=0, delay=8, cancel=0, crash=0, close=0, pause=0, cut=3, restart=0, compact=0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> SemaphoreScenario:
        return SemaphoreScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 6, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


@mutant(
    "one too many after an expiry",
    "a lease is believed from when its renewal was answered: its permit is given on while its holder goes on",
    "owners",
    Shape(programs=(1, 1, 1), hold=40.0),
    faults=SLOW_NETWORK,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Session._alive

    def alive(self: Session, sent: float, ttl: int, now: float) -> None:
        plain(self, now, ttl, now)

    swap(stack, Session, "_alive", alive)


@mutant(
    "counted, then taken",
    "whoever finds a permit free when it looks takes it, so that two who look together take the same one",
    "owners|entered before",
    Shape(programs=(1, 1, 1, 1), permits=1),
    Shape(programs=(1, 1, 1, 1), permits=2),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PermitLine._advance

    async def advance(self: PermitLine, ticket: Ticket, fence: int, terms: Terms, patience: Patience) -> bool:
        await plain(self, ticket, fence, terms, patience)
        return True

    swap(stack, PermitLine, "_advance", advance)


@mutant(
    "a permit leaks",
    "kazoo, redis: a time-out or a cancellation leaves its place, and one permit is missing for ever",
    "do not end|left behind",
    Shape(programs=(1, 1, 1), permits=1, hold=4.0, limit=2.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PortBase.withdraw

    async def withdraw(self: Any, ticket: Any) -> bool:
        if stands_in_line(ticket):  # a call that gives up
            self.keeper._ledger._strike(ticket)
            return False
        return await plain(self, ticket)

    swap(stack, PortBase, "withdraw", withdraw)


@mutant(
    "the next one is not told",
    "a waiter that gets its permit tells nobody, and the one behind it waits for its key though a permit is free",
    "waits although a permit is free|do not end",
    Shape(programs=(1, 1, 1, 1), permits=2, hold=5.0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def say_so(self: PermitLine, ticket: Ticket, fence: int, patience: Patience) -> None:
        return None

    swap(stack, PermitLine, "_say_so", say_so)


@mutant(
    "only the oldest holder is watched",
    "the first waiter waits for the holder that came first, though any of them may go",
    "waits although a permit is free",
    Shape(programs=(1, 1, 1), permits=2, hold=5.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PermitLine._wait_for

    async def wait_for(self: PermitLine, targets: Any, keys: Any, *rest: Any) -> None:
        if isinstance(keys, set):
            oldest = min(keys - {targets[1].key, targets[2].key})
            targets, keys = (
                [WatchTarget(oldest, puts=False), *targets[1:]],
                {oldest, *(each.key for each in targets[1:])},
            )
        await plain(self, targets, keys, *rest)

    swap(stack, PermitLine, "_wait_for", wait_for)


@mutant(
    "everybody wakes",
    "all waiters wait for any holder, so that each release wakes all of them",
    "two waiters were woken",
    Shape(programs=(1, 1, 1, 1, 1), permits=2, hold=2.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PermitLine._wait_for

    async def wait_for(self: PermitLine, targets: Any, keys: Any, *rest: Any) -> None:
        if isinstance(keys, tuple):
            own = targets[-1]
            everybody = {b"L/sem/p/%x-%x" % (lease << 32 | 1, n) for lease in range(9) for n in range(9)}
            targets, keys = [WatchTarget(self._start, self._end, puts=False), own], everybody
        await plain(self, targets, keys, *rest)

    swap(stack, PermitLine, "_wait_for", wait_for)


@mutant(
    "a lowered number is not thought of",
    "after the number was lowered a newcomer waits for a holder to say that it got a permit",
    "waits although a permit is free",
    Shape(programs=(1, 1, 1, 1, 1), permits=4, resized=2, hold=2.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PermitLine._look

    async def look(self: PermitLine, *rest: Any) -> Any:
        seen, permits = await plain(self, *rest)
        count = seen.range(1)
        old = replace(count, items=[item._replace(mod_revision=0) for item in count.items])
        return replace(seen, results=[seen.results[0], old, *seen.results[2:]]), permits

    swap(stack, PermitLine, "_look", look)


@mutant(
    "a raised number wakes nobody",
    "who waits does not hear that there are more permits",
    "waits although a permit is free",
    Shape(programs=(1, 1, 1), permits=1, resized=3, hold=12.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PermitLine._wait_for

    async def wait_for(self: PermitLine, targets: Any, keys: Any, *rest: Any) -> None:
        await plain(self, [each for each in targets if each.key != self._count_key], keys, *rest)

    swap(stack, PermitLine, "_wait_for", wait_for)
