"""The double barrier under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import pytest

from coord.testing.sim.scenarios.double_barrier import DoubleBarrierScenario, Shape, build
from tests.sim import proof
from tests.sim.double_barrier_mutants import MUTANTS

SEEDS = 2000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1000)
    assert totals.entered > 1000, "hardly anybody entered"
    assert totals.timeouts > 50, "hardly anybody gave up"


def test_one_fault_at_every_position() -> None:
    proof.swept(lambda choices: DoubleBarrierScenario(choices, Shape()))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found, 30)
