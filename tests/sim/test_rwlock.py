"""The read/write lock under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

import pytest

from coord.testing.sim.choices import FirstChoices, RandomChoices
from coord.testing.sim.scenarios.rwlock import RWLockScenario, Shape, build
from coord.testing.sim.world import Faults
from tests.sim import proof
from tests.sim.rwlock_mutants import MUTANTS

SEEDS = 4000
NO_FAULTS = Faults(0, 0, 0, 0, 0, 0, 0, 0, 0)
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(120)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1000)
    assert totals.entered > 2000, "hardly anybody entered"
    assert totals.timeouts > 100, "hardly anybody gave up"


SHAPES = {
    "a reader and a writer": Shape(programs=("r", "w")),
    "two readers behind a writer": Shape(programs=("w", "rr"), hold=0.0),
    "giving up in the queue": Shape(programs=("w", "r"), limit=0.5, hold=2.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: RWLockScenario(choices, SHAPES[name]))


def requests_of(made: RWLockScenario) -> int:
    """How many requests are sent in a run."""
    counted: list[object] = []
    plain = made.world.net.send

    def send(client: int, request: object, *rest: object) -> object:
        counted.append(request)
        return plain(client, request, *rest)  # type: ignore[arg-type]  # passed on as it came

    made.world.net.send = send  # type: ignore[assignment]  # only counts
    made.run()
    return len(counted)


def test_uncontended_reading_is_two_round_trips() -> None:
    # The grant of the session, the claim, the release; a writer's body writes.
    assert requests_of(RWLockScenario(FirstChoices(), Shape(programs=("r",), hold=0.0))) == 3
    assert requests_of(RWLockScenario(FirstChoices(), Shape(programs=("w",), hold=0.0))) == 4


def test_readers_do_not_wait_for_each_other() -> None:
    made = RWLockScenario(FirstChoices(), Shape(programs=("r",) * 8, hold=2.0))
    assert requests_of(made) == 8 * 3, "somebody had to look"
    assert len(made.entered) == 8


def test_a_writer_behind_many_readers_looks_a_few_times() -> None:
    """It waits for the newest reader; those who left before then cost it nothing."""
    looks = []
    for seed in range(300):
        made = RWLockScenario(RandomChoices(seed), Shape(programs=("r" * 16, "w"), hold=1.0), faults=NO_FAULTS)
        # Two grants, a claim and a release each, the writer's write; the rest are looks.
        extra = requests_of(made) - 2 - 17 * 2 - 1
        if made.wrote == [max(made.entered)]:  # every reader came before it
            looks.append(extra)
    print(sorted(looks))
    assert len(looks) >= 10
    assert sum(looks) / len(looks) < 5


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found, 30)
