"""The registry under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import pytest

from coord.testing.sim import runner as sim
from coord.testing.sim.scenarios.registry import RegistryScenario, Shape, build
from tests.sim import proof
from tests.sim.registry_mutants import MUTANTS

SEEDS = 4000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1500)
    assert totals.entered > 4000, "hardly anything was registered"


SHAPES = {
    "one instance that stays": Shape(servers=(1,)),
    "one that leaves": Shape(servers=(1,), stays=False),
    "two of one client, again and again": Shape(servers=(2,), cycles=2, hold=0.0, updates=0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: RegistryScenario(choices, SHAPES[name]))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found)


def test_the_command_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.main(["registry", "--schedules", "3"]) == 0
    assert "registry: 3 runs, 3 distinct schedules" in capsys.readouterr().out
