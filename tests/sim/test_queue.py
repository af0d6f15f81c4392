"""The queue under every fault, and the bugs that the simulator must find."""

from __future__ import annotations

from typing import Any

import pytest

from coord.recipes.queues.page import Gate
from coord.testing.sim import runner
from coord.testing.sim.choices import FirstChoices
from coord.testing.sim.scenarios.queue import QueueScenario, Shape, build
from tests.sim import proof
from tests.sim.queue_mutants import MUTANTS

SEEDS = 4000
ids = [found.name for found in MUTANTS]

pytestmark = pytest.mark.timeout(240)


def test_sampled_schedules_keep_every_promise() -> None:
    totals = proof.sampled(build, 1000)
    assert totals.entered > 2500, "hardly anything was taken"


SHAPES = {
    "a key, room for one, and a gate": Shape(
        producers=(1,), consumers=(1,), keys=("a",), capacity=1, gate=Gate(count=1), work=0.0, patience=1.0
    ),
    "two consumers": Shape(producers=(1,), consumers=(2,), work=0.0, patience=1.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_one_fault_at_every_position(name: str) -> None:
    proof.swept(lambda choices: QueueScenario(choices, SHAPES[name]))


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_the_bug_is_found(found: proof.Mutant) -> None:
    proof.is_found(found, SEEDS)


@pytest.mark.parametrize("found", MUTANTS, ids=ids)
def test_without_the_bug_the_same_runs_are_clean(found: proof.Mutant) -> None:
    proof.is_clean(found, 30)


def test_the_command_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["queue", "--schedules", "3"]) == 0
    assert "queue: 3 runs, 3 distinct schedules" in capsys.readouterr().out


def test_jobs_of_one_producer_are_taken_in_their_order() -> None:
    made = QueueScenario(FirstChoices(), Shape(producers=(8,), consumers=(1, 1, 1), work=0.0))
    made.run()
    assert [made.model.jobs[name].value for name in made.model.deliveries] == [b"0/%d" % n for n in range(8)]


def requests(consumers: int, *, pause: float, first: int, last: int) -> float:
    """Requests of all consumers for each delivery, from one delivery to another of an undisturbed run."""
    shape = Shape(producers=(last + 5,), consumers=(1,) * consumers, pause=pause, work=0.0)
    made = QueueScenario(FirstChoices(), shape)
    world = made.world
    plain = world.net.send
    counted: list[int] = []

    def send(client: int, request: Any, *rest: Any) -> Any:
        if client > 0 and getattr(request.func, "__name__", "") in ("txn", "range"):
            counted.append(len(made.entered))
        return plain(client, request, *rest)

    world.net.send = send  # type: ignore[assignment]  # only counts
    made.run()
    return sum(first <= each < last for each in counted) / (last - first)


def test_with_a_backlog_a_delivery_is_two_requests() -> None:
    assert requests(1, pause=0, first=5, last=25) == 2
    assert requests(3, pause=0, first=5, last=25) < 3


@pytest.mark.parametrize(("consumers", "most"), [(1, 6), (10, 8), (100, 8)])
def test_idle_consumers_cost_nothing(consumers: int, most: float) -> None:
    assert requests(consumers, pause=0.3, first=5, last=25) <= most
