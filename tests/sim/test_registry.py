"""The registry under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import re

import pytest

from coord.testing.sim import runner as sim
from coord.testing.sim.choices import FirstChoices, RandomChoices
from coord.testing.sim.scenarios.registry import RegistryScenario, Shape
from coord.testing.sim.sweep import FAULTS, GIVES_UP, LATENESS
from tests.sim.mutants import bug
from tests.sim.registry_mutants import MUTANTS, Mutant

SEEDS = 4000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = sim.run_many(sim.registry_scenario, range(1500))
    assert not totals.failures, f"seed {totals.failures[0][0]}: {totals.failures[0][1]}"
    assert totals.leaked == 0
    assert len(totals.traces) > 1450, "the schedules hardly differ"
    assert totals.entered > 4000, "hardly anything was registered"


SHAPES = {
    "one instance that stays": Shape(servers=(1,)),
    "one that leaves": Shape(servers=(1,), stays=False),
    "two of one client, again and again": Shape(servers=(2,), cycles=2, hold=0.0, updates=0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    shape = SHAPES[name]
    plain = RegistryScenario(FirstChoices(), shape)
    plain.run()
    count = 0
    for fault, strike in FAULTS.items():
        for victim in range(len(shape.servers) + shape.followers):
            for step in range(1, plain.world.steps + 1):
                for lateness in LATENESS if fault in GIVES_UP else (0,):
                    made = RegistryScenario(FirstChoices(lateness), shape)
                    world = made.world

                    def interfere(now: int, world=world, strike=strike, victim=victim, step=step) -> None:
                        if now == step and not world.clients[victim].crashed:
                            strike(world, world.clients[victim])

                    world.interfere = interfere
                    try:
                        made.run()
                    except AssertionError as failure:
                        pytest.fail(f"{fault} of client {victim} at step {step}, lateness {lateness}: {failure!r}")
                    count += 1
    assert count > 500, "the sweep did not visit its positions"


def _first_violation(found: Mutant) -> int | None:
    for seed in range(SEEDS):
        shape = found.shapes[seed % len(found.shapes)]
        made = RegistryScenario(RandomChoices(seed), shape, budget=seed % 7, faults=found.faults)
        try:
            made.run()
        except AssertionError as failure:
            if re.search(found.shows, str(failure)):
                return seed
    return None


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: Mutant) -> None:
    with bug(found):  # type: ignore[arg-type]  # it only applies it
        seed = _first_violation(found)
    assert seed is not None, f"{found.story}: not seen in {SEEDS} schedules"


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: Mutant) -> None:
    for seed in range(60):
        shape = found.shapes[seed % len(found.shapes)]
        RegistryScenario(RandomChoices(seed), shape, budget=seed % 7, faults=found.faults).run()


def test_the_command_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.main(["registry", "--schedules", "3"]) == 0
    assert "registry: 3 runs, 3 distinct schedules" in capsys.readouterr().out
