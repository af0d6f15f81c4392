"""Bugs that barriers were shipped with, put back one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from coord.client.ports.base import PortBase
from coord.ops import Delete, Put, Txn, missing
from coord.port import WatchTarget
from coord.recipes.barriers import awaited
from coord.recipes.barriers.gate import CLOSED, Gate
from coord.recipes.common.patience import Patience
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.barrier import BarrierScenario, Shape
from tests.sim.proof import Mutants, swap

MUTANTS = Mutants()


def build(seed: int) -> BarrierScenario:
    shape = Shape(cycles=1 + seed % 3, hold=(0.0, 2.0)[seed % 2], patience=(1.0, 6.0)[seed // 2 % 2])
    return BarrierScenario(RandomChoices(seed), shape, budget=seed % 6)


@MUTANTS.enter(
    "a late request closes it again",
    "etcd contrib/recipes Barrier: the key is created if it is missing and deleted, so a late Hold undoes a Release",
    "is not",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    async def change(self: Gate, state: bytes, deadline: float | None) -> None:
        close = Txn((missing(self.key),), (Put(self.key, state),))
        await Patience(self._port, deadline).txn(close if state == CLOSED else Txn(then=(Delete(self.key),)))

    swap(stack, Gate, "change", change)


@MUTANTS.enter(
    "what is so already is not written",
    "a change that finds what it wants leaves the key alone, and an older request that comes late can still undo it",
    "is not",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Gate.change

    async def change(self: Gate, state: bytes, deadline: float | None) -> None:
        if await self.closed(deadline) != (state == CLOSED):
            await plain(self, state, deadline)

    swap(stack, Gate, "change", change)


@MUTANTS.enter(
    "watched from now",
    "the watch begins when it reaches the server, not at the revision of the read: an opening in between is missed",
    "waits though the barrier is open",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PortBase.watch

    def watch(self: PortBase, targets: Sequence[WatchTarget], *, from_revision: int) -> Any:
        return plain(self, targets, from_revision=0)

    swap(stack, PortBase, "watch", watch)


@MUTANTS.enter(
    "any news is good news",
    "whatever happens to the key lets the waiters through, a second close too",
    "passed a barrier that was closed",
    lambda seed: BarrierScenario(RandomChoices(seed), Shape(cycles=3, hold=1.0, patience=1.0), budget=3 + seed % 6),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = awaited._changes

    async def changes(port: Any, key: Any, _fits: Any, *rest: Any) -> bool:
        return await plain(port, key, lambda item: True, *rest)

    swap(stack, awaited, "_changes", changes)
