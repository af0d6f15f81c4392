"""Bugs that double barriers were shipped with or can have, put in one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from coord.model import KeyValue
from coord.ops import Attribute, Compare, Delete, Put, Relation, Txn
from coord.port import Ticket
from coord.recipes.barriers.gathering import Gathering, Member
from coord.recipes.barriers.named import Limit
from coord.recipes.common.patience import Patience
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.double_barrier import PLACES, DoubleBarrierScenario, Shape
from tests.sim.proof import Mutants, swap

MUTANTS = Mutants()
READY = PLACES + b"ready"


def build(seed: int) -> DoubleBarrierScenario:
    shape = Shape(members=((1, 1), (1, 1, 1), (2, 1))[seed % 3], limit=(3.0, 30.0)[seed // 3 % 2])
    return DoubleBarrierScenario(RandomChoices(seed), shape, budget=seed % 6)


@MUTANTS.enter(
    "the ready key stays",
    "etcd contrib/recipes DoubleBarrier: who lets the others in makes a key without lease, and nobody may be left",
    "left behind",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain, leave = Gathering.let_in, Gathering.leave

    def let_in(self: Gathering, group: Sequence[KeyValue]) -> Txn:
        request = plain(self, group)
        return request._replace(then=(*request.then, Put(READY)))

    async def last_one_deletes_it(self: Gathering, member: Member, limit: Limit) -> None:
        await leave(self, member, limit)
        await Patience(self._port, limit.deadline).txn(Txn(then=(Delete(READY),)))

    swap(stack, Gathering, "let_in", let_in)
    swap(stack, Gathering, "leave", last_one_deletes_it)


@MUTANTS.enter(
    "one that died is counted",
    "etcd contrib/recipes DoubleBarrier: who died or gave up after it was counted is let in with the others",
    "was let in though|do not end|left behind",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Gathering.let_in

    def let_in(self: Gathering, group: Sequence[KeyValue]) -> Txn:
        request = plain(self, group)
        own = Compare(group[-1].key, Attribute.MOD, Relation.EQUAL, group[-1].mod_revision)
        return Txn((own,), tuple(Put(op.key, op.value) for op in request.then if isinstance(op, Put)))

    swap(stack, Gathering, "let_in", let_in)


@MUTANTS.enter(
    "out alone",
    "who leaves waits for nobody, so that it is gone before others saw that they are in",
    "is out before",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    async def are_gone(self: Gathering, keys: set[bytes], *rest: Any) -> bool:
        return True

    swap(stack, Gathering, "_are_gone", are_gone)


@MUTANTS.enter(
    "out with the first of them",
    "who leaves waits for one of the others, not for all",
    "is out before",
    lambda seed: DoubleBarrierScenario(RandomChoices(seed), Shape(members=(1, 1, 1), parties=3), budget=seed % 6),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Gathering._are_gone

    async def are_gone(self: Gathering, keys: set[bytes], *rest: Any) -> bool:
        return await plain(self, {min(keys)}, *rest)

    swap(stack, Gathering, "_are_gone", are_gone)


@MUTANTS.enter(
    "a late claim is counted",
    "the key says that its member waits as soon as it is made, also when it is made after the call was given up",
    "though it had left",
    lambda seed: DoubleBarrierScenario(
        RandomChoices(seed), Shape(members=((1, 1), (2, 1))[seed % 2], cycles=2, limit=2.0), budget=2 + seed % 5
    ),
)
def _(stack: contextlib.ExitStack) -> None:
    async def come(self: Gathering, ticket: Ticket, patience: Patience) -> None:
        waits = Put(ticket.key, b"waits for %d" % self._parties, ticket.session.lease)
        unmade = Compare(ticket.key, Attribute.CREATE, Relation.EQUAL, 0)
        await patience.claim(ticket, Txn((unmade,), (waits,)))

    swap(stack, Gathering, "_come", come)
