"""Bugs that locks over several names were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from coord.client.keeper.session import Session
from coord.ops import Txn
from coord.recipes.locks import several
from coord.recipes.locks.several import AllHeldBase, Lines, proof_of
from coord.recipes.ownership.fenced import OwnedTxn
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios import locks
from coord.testing.sim.scenarios.locks import LocksScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
STOPPED = Faults(break_off=0, delay=4, cancel=0, crash=0, close=0, pause=8, cut=4, restart=0, compact=0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> LocksScenario:
        return LocksScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 6, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


@mutant(
    "in the order in which they are given",
    "two calls that want the same names in opposite orders wait for each other for ever",
    "do not end",
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, locks, "in_order", lambda names: list(names))


@mutant(
    "half of them is kept",
    "giving up at the second name leaves the first one locked",
    "do not end|left behind",
    Shape(programs=(("ab",), ("b",)), hold=4.0, limit=2.0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def take_with(self: Lines, session: Any, value: bytes, terms: Any, own: Any) -> Any:
        kept: Any = []
        try:
            for line in self._lines:
                kept.append(await line.take_with(session, value, terms, several._Kept))
            owner = own([several.Won(name, each.place) for name, each in zip(self._names, kept, strict=True)])
            for each in kept:
                self._port.hold(each.place.ticket, owner)
            return owner
        except BaseException:
            for each in kept:
                self._port.keeper._ledger._strike(each.place.ticket)  # type: ignore[attr-defined]  # the simulator's port has it
            raise

    swap(stack, Lines, "_take_with", take_with)


@mutant(
    "the first is not looked at again",
    "the first name is deleted by hand while the second is waited for for hours",
    "entered without its key",
    Shape(programs=(("ab",), ("b",)), hold=2.0, meddled=True),
)
def _(stack: contextlib.ExitStack) -> None:
    async def check(self: Lines, won: Any, patience: Any) -> None:
        return None

    swap(stack, Lines, "_check", check)


@mutant(
    "no look at the clock",
    "the answer that all are owned comes after the lease was lost, and the body is entered all the same",
    "without a live lease",
    faults=STOPPED,
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, Session, "check", lambda self: None)


@mutant(
    "one proof for all",
    "a write is compared with one of the names only, and the others may be somebody else's",
    "wrote after owner",
    Shape(programs=(("ab",), ("a",)), hold=1.0),
    faults=STOPPED,
)
def _(stack: contextlib.ExitStack) -> None:
    swap(
        stack,
        OwnedTxn,
        "op",
        property(lambda self: Txn(compares=proof_of(self._guard._won[1:]), then=tuple(self._then))),
    )


@mutant(
    "one of them is given back",
    "a release deletes the key of one name and leaves the others",
    "do not end|left behind",
)
def _(stack: contextlib.ExitStack) -> None:
    async def let_go(self: AllHeldBase) -> None:
        for each in self._won[:1]:
            self.port.keeper._ledger._strike(each.place.ticket)  # type: ignore[attr-defined]  # the simulator's port has it
        await self.port.withdraw(self._won[-1].place.ticket)

    swap(stack, AllHeldBase, "_let_go", let_go)
