"""The semaphore under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import pytest

from coord.testing.sim.scenarios.semaphore import SemaphoreScenario, Shape, build
from tests.sim import proof
from tests.sim.semaphore_mutants import MUTANTS

SEEDS = 4000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1000)
    assert totals.entered > 2000, "hardly anybody entered"
    assert totals.timeouts > 50, "hardly anybody gave up"


SHAPES = {
    "one permit": Shape(programs=(1, 1), permits=1),
    "two of two and one that waits": Shape(programs=(1, 2), permits=2, hold=0.0),
    "the number is lowered": Shape(programs=(1, 1), permits=2, resized=1, hold=2.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: SemaphoreScenario(choices, SHAPES[name]))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found, 30)
