"""A configuration under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from coord.testing.sim import runner as sim
from coord.testing.sim.scenarios.config import ConfigScenario, Shape, build
from tests.sim import proof
from tests.sim.config_mutants import MUTANTS

SEEDS = 4000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Invalid states are told in the log, here a thousand times."""
    logger = logging.getLogger("coord.config")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1200)
    assert totals.entered > 3000, "hardly anything was changed"


SHAPES = {
    "one writer": Shape(writers=1, changes=2, strangers=()),
    "two writers": Shape(writers=2, changes=1, strangers=(), hold=0.0, keep=2),
    "a stranger and a rollback": Shape(writers=1, changes=1, rollbacks=True, strangers=("500",), hold=0.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: ConfigScenario(choices, SHAPES[name]))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found)


def test_the_command_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.main(["config", "--schedules", "3"]) == 0
    assert "config: 3 runs, 3 distinct schedules" in capsys.readouterr().out
