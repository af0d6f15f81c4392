"""The latch under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import pytest

from coord.testing.sim.scenarios.latch import LatchScenario, Shape, build
from tests.sim import proof
from tests.sim.latch_mutants import MUTANTS

SEEDS = 2000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1000)
    assert totals.entered > 2000, "hardly anybody counted"
    assert totals.timeouts > 50, "hardly anybody gave up"


def test_a_lease_that_somebody_ends_hides_what_was_counted() -> None:
    # The call's key had gone with its lease, and a second attempt counted again.
    build(105947).run()


def test_one_fault_at_every_position() -> None:
    proof.swept(lambda choices: LatchScenario(choices, Shape(counters=(1,), each=2, count=2)))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found, 30)
