"""The lock under every fault: sampled schedules (a hundred thousand with `make sim`), one fault at every position."""

from __future__ import annotations

import pytest

from coord.testing.sim.choices import FirstChoices, RandomChoices
from coord.testing.sim.scenarios.lock import LockScenario, Shape, build
from tests.sim import proof
from tests.sim.lock_mutants import MUTANTS

SEEDS = 6000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 3000)
    assert totals.entered > 5000, "hardly anybody entered"
    assert totals.timeouts > 100, "hardly anybody gave up"


SHAPES = {
    "two clients": Shape(programs=(1, 1)),
    "two threads of one client": Shape(programs=(2,)),
    "giving up in the queue": Shape(programs=(1, 1), limit=0.5, hold=2.0),
    "not waiting": Shape(programs=(1, 1), limit=0, hold=2.0),
    "again and again": Shape(programs=(1, 1), cycles=2, hold=0.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: LockScenario(choices, SHAPES[name]))


def test_uncontended_acquire_and_release_are_two_round_trips() -> None:
    made = LockScenario(FirstChoices(), Shape(programs=(1,), hold=0.0))
    counted: list[object] = []
    world = made.world
    plain = world.net.send

    def send(client: int, request: object, *rest: object) -> object:
        counted.append(request)
        return plain(client, request, *rest)  # type: ignore[arg-type]  # passed on as it came

    world.net.send = send  # type: ignore[assignment]  # only counts
    made.run()
    # The grant of the session, the claim, the body's write, the release.
    assert len(counted) == 4


def test_waiters_enter_in_the_order_of_their_keys() -> None:
    for seed in range(50):
        made = LockScenario(RandomChoices(seed), Shape(programs=(1, 1, 1, 1)))
        made.run()
        assert made.entered == sorted(made.entered)
        assert len(made.entered) == 4


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found)
