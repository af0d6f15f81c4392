"""The simulator finds the bugs that other locks were shipped with."""

from __future__ import annotations

import re

import pytest

from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.scenarios.lock import LockScenario
from tests.sim.mutants import MUTANTS, Mutant, bug

SEEDS = 6000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def _first_violation(found: Mutant) -> int | None:
    for seed in range(SEEDS):
        shape = found.shapes[seed % len(found.shapes)]
        made = LockScenario(RandomChoices(seed), shape, budget=seed % 6, faults=found.faults)
        try:
            made.run()
        except AssertionError as failure:
            if re.search(found.shows, str(failure)):
                return seed
    return None


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: Mutant) -> None:
    with bug(found):
        seed = _first_violation(found)
    assert seed is not None, f"{found.story}: not seen in {SEEDS} schedules"


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: Mutant) -> None:
    for seed in range(60):
        shape = found.shapes[seed % len(found.shapes)]
        LockScenario(RandomChoices(seed), shape, budget=seed % 6, faults=found.faults).run()
