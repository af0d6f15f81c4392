"""Bugs that read/write locks were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from coord.client.keeper.ledger import Ticket
from coord.ops import Get, Order, Target, Txn
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.turn import Line, Terms
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios import rwlock
from coord.testing.sim.scenarios.rwlock import RWLockScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> RWLockScenario:
        return RWLockScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 4, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


@mutant(
    "writer starvation",
    "a reader waits only for a writer that has entered, so a writer waits for as long as new readers come",
    "entered before|owners",
    Shape(programs=("r", "w", "r"), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Line._advance

    async def advance(self: Line, ticket: Ticket, fence: int, terms: Terms, patience: Patience) -> bool:
        if not rwlock.is_writer(ticket.key):
            first = Get(b"L/rw/", b"L/rw0", limit=1, order=Order.ASCEND, target=Target.CREATE, keys_only=True)
            found = (await patience.txn(Txn(then=(first,)))).range(0).first
            if found is not None and not rwlock.is_writer(found.key):
                return True
        return await plain(self, ticket, fence, terms, patience)

    swap(stack, Line, "_advance", advance)


@mutant(
    "a reader enters beside a writer",
    "a reader that was woken enters without looking again, though another writer stands in front of it",
    "owners|entered before",
    Shape(programs=("w", "w", "r"), hold=1.0),
    Shape(programs=("w", "w", "r"), hold=1.0, limit=1.5),
)
def _(stack: contextlib.ExitStack) -> None:
    _no_second_look(stack, writers=False)


@mutant(
    "a writer enters beside readers",
    "a writer that was woken by one reader enters, though others still read",
    "owners|entered before",
    Shape(programs=("r", "r", "w"), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    _no_second_look(stack, writers=True)


def _no_second_look(stack: contextlib.ExitStack, *, writers: bool) -> None:
    plain = Line._advance

    async def advance(self: Line, ticket: Ticket, fence: int, terms: Terms, patience: Patience) -> bool:
        done = await plain(self, ticket, fence, terms, patience)
        return done or rwlock.is_writer(ticket.key) is writers

    swap(stack, Line, "_advance", advance)


@mutant(
    "readers and writers wait for each other",
    "kazoo #649: a reader waits for writers that came later, and they wait for it",
    "do not end",
    Shape(programs=("w", "r", "w"), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Line._ahead

    def ahead(self: Line, fence: int, limit: int) -> Get:
        seen = plain(self, fence, limit)
        return seen._replace(max_create_revision=0) if self._lane.own == b"L/rw/r" else seen

    swap(stack, Line, "_ahead", ahead)


@mutant(
    "a writer counts writers only",
    "a writer looks for writers in front of it and not for readers",
    "owners|entered before",
    Shape(programs=("r", "w"), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Line.__init__

    def init(self: Line, port: Any, name: bytes, of: Any = None) -> None:
        plain(self, port, name, of)
        if of.own == b"L/rw/w":
            self._start, self._end = b"L/rw/w/", b"L/rw/w0"
            self._first = self._first._replace(key=self._start, range_end=self._end)

    swap(stack, Line, "__init__", init)


@mutant(
    "everybody wakes",
    "all waiters watch the oldest place instead of the one that keeps them out",
    "two waiters were woken",
    Shape(programs=("w", "w", "w", "r"), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def predecessor(self: Line, seen: Any, fence: int, patience: Patience) -> bytes | None:
        found = (await patience.txn(Txn(then=(self._first,)))).range(0).first
        return None if found is None or found.create_revision >= fence else found.key

    swap(stack, Line, "_predecessor", predecessor)
