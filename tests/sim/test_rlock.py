"""The re-entrant lock under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import pytest

from coord.testing.sim.scenarios.rlock import RLockScenario, Shape, build
from tests.sim import proof
from tests.sim.rlock_mutants import MUTANTS

SEEDS = 4000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1000)
    assert totals.entered > 1500, "hardly anybody entered"
    assert totals.timeouts > 50, "hardly anybody gave up"


SHAPES = {
    "two clients": Shape(),
    "two owners of one client, the outer guard first": Shape(programs=(2,), inner_first=False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: RLockScenario(choices, SHAPES[name]))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found, 30)
