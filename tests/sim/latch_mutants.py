"""Bugs that a latch can have, put in one at a time: the simulator must find each."""

from __future__ import annotations

import contextlib
from typing import Any

from coord.errors import CallTimeout
from coord.ops import Put, Txn
from coord.port import Ticket
from coord.recipes.barriers.tally import Tally, _Step
from coord.recipes.common.patience import Patience
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.latch import LatchScenario, Shape
from tests.sim.proof import Mutants, swap

MUTANTS = Mutants()


def build(seed: int) -> LatchScenario:
    shape = Shape(count=(4, 20)[seed % 2], patience=(2.0, 10.0)[seed // 2 % 2])
    return LatchScenario(RandomChoices(seed), shape, budget=seed % 6)


@MUTANTS.enter(
    "counted twice",
    "a request whose answer was lost is made again without asking whether it was done",
    "are left, and not",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Tally.look

    async def look(self: Tally, ticket: Ticket, patience: Patience) -> Any:
        return (await plain(self, ticket, patience))[0], False

    swap(stack, Tally, "look", look)


@MUTANTS.enter(
    "read, then written",
    "the number is written without comparing what was read, so that of two at once one is lost",
    "are left, and not",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Tally.step

    def step(self: Tally, *rest: Any) -> Txn:
        return plain(self, *rest)._replace(compares=())

    swap(stack, Tally, "step", step)


@MUTANTS.enter(
    "nobody is told",
    "the step to zero and its announcement are two requests, and who dies between them leaves the others waiting",
    "waits though nothing is left",
    lambda seed: LatchScenario(RandomChoices(seed), Shape(count=1, counters=(1,)), budget=seed % 6),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = _Step.take

    async def take(self: _Step, steps: int) -> int:
        left = await plain(self, steps)
        if not left:
            await self._patience.txn(Txn(then=(Put(self._tally._done),)))
        return left

    step = Tally.step
    swap(stack, Tally, "step", lambda self, *rest: step(self, *rest)._replace(then=step(self, *rest).then[:2]))
    swap(stack, _Step, "take", take)


@MUTANTS.enter(
    "a call's key stays",
    "the key that says that a call is counted hangs on no lease, and stays when its process dies",
    "left behind",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Tally.step

    def step(self: Tally, *rest: Any) -> Txn:
        request = plain(self, *rest)
        return request._replace(then=tuple(op._replace(lease=0) if isinstance(op, Put) else op for op in request.then))

    swap(stack, Tally, "step", step)


@MUTANTS.enter(
    "sure of what it cannot know",
    "an attempt whose answer was lost is reported as not done when the time is up",
    "are left, and not",
    build,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = _Step.take

    async def take(self: _Step, steps: int) -> int:
        try:
            return await plain(self, steps)
        except Exception as trouble:
            if isinstance(trouble.__cause__, CallTimeout):
                raise trouble.__cause__ from None
            raise

    swap(stack, _Step, "take", take)
