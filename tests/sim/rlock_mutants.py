"""Bugs that re-entrant locks were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from coord.recipes.locks.tenure import Tenure, Tenures
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.rlock import RLockScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
STOPPED = Faults(break_off=0, delay=4, cancel=0, crash=0, close=0, pause=8, cut=4, restart=0, compact=0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> RLockScenario:
        return RLockScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 6, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


@mutant(
    "the first release frees it",
    "the inner block gives the lock back, and the outer one goes on without it",
    "still held|two owners",
    Shape(inner_first=True),
    Shape(inner_first=False),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Tenure.leave

    def leave(self: Tenure, guard: Any) -> bool:
        plain(self, guard)
        return True

    swap(stack, Tenure, "leave", leave)


@mutant(
    "it is never free again",
    "what was taken twice and given back twice is still counted",
    "do not end|left behind",
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Tenure, "leave", lambda self, guard: False)


@mutant(
    "anybody of the client may enter",
    "aredis #119, redis-py #656: the owner is the client, or a thread that tasks share, so others enter beside it",
    "entered twice|taken for another's|two owners",
    Shape(programs=(2,), cycles=2),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Tenures.have

    async def have(self: Tenures, owner: Any, take: Any) -> Tenure:
        return await plain(self, (owner[0], "somebody"), take)

    swap(stack, Tenures, "have", have)
    find = Tenures.find
    swap(stack, Tenures, "find", lambda self, owner: find(self, (owner[0], "somebody")))


@mutant(
    "a lost lock is entered again",
    "the owner takes again what it lost meanwhile, and is told that it has it",
    "without a live lease",
    Shape(hold=12.0),
    faults=STOPPED,
)
def _(stack: contextlib.ExitStack) -> None:
    def find(self: Tenures, owner: Any) -> Tenure | None:
        return self._tenures.get(owner)

    swap(stack, Tenures, "find", find)


@mutant(
    "each acquire has a place of its own",
    "the owner queues behind itself",
    "do not end|not known to its owner",
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Tenures, "find", lambda self, owner: None)
