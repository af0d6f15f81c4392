"""Runs simulations: ``python -m coord.testing.sim lock --schedules 100000 --jobs 2``.

Each run is one seed; a failure prints the seed and the command that repeats it. Schedules are told apart by the hash of
their decisions: the same schedule met twice counts once, and seeds are taken until there are as many as were asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from coord.testing.sim.scenario import Scenario

CHUNK = 250  # schedules for one message between processes
SHOWN = 5  # failures told in full
ENOUGH = 20  # failures after which it ends


Build = Callable[[int], Scenario]


@dataclass(slots=True)
class Totals:
    """What a number of schedules added up to."""

    runs: int = 0
    steps: int = 0
    entered: int = 0
    timeouts: int = 0
    leaked: int = 0
    traces: set[int] = field(default_factory=set)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        """Count these too."""
        self.runs += other.runs
        self.steps += other.steps
        self.entered += other.entered
        self.timeouts += other.timeouts
        self.leaked += other.leaked
        self.traces |= other.traces
        self.failures += other.failures

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {len(self.traces)} distinct schedules, {self.steps} steps, {self.entered} entries, "
            f"{self.timeouts} time-outs, {len(self.failures)} violations, {self.leaked} leaked keys"
        )


SCENARIOS: Final = (
    "barrier",
    "double_barrier",
    "latch",
    "election",
    "lock",
    "locks",
    "queue",
    "rwlock",
    "semaphore",
    "registry",
    "config",
    "rlock",
)
"""Each is a module of `coord.testing.sim.scenarios` with a function ``build(seed)``."""


def builder(name: str) -> Build:
    """What makes the scenario of a seed."""
    build: Build = importlib.import_module(f"coord.testing.sim.scenarios.{name}").build
    return build


def run_one(build: Build, seed: int, totals: Totals) -> None:
    """Run the schedule of one seed and count it."""
    scenario = build(seed)
    try:
        scenario.run()
    except Exception:  # noqa: BLE001  # whatever a schedule ends with is its result
        totals.failures.append((seed, traceback.format_exc()))
        totals.leaked += len(scenario.left_behind)
    totals.runs += 1
    totals.steps += scenario.world.steps
    totals.entered += len(scenario.entered)
    totals.timeouts += scenario.timeouts
    totals.traces.add(scenario.world.choices.trace)


def run_many(build: Build, seeds: range) -> Totals:
    """Run the schedules of these seeds in this process."""
    totals = Totals()
    # A world is one large cycle; freeing it at once would cost more than running it.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for position, seed in enumerate(seeds):
            run_one(build, seed, totals)
            if position % 50 == 49:
                gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    return totals


def _chunk(job: tuple[str, int, int]) -> Totals:
    name, first, count = job
    return run_many(builder(name), range(first, first + count))


def run(name: str, *, schedules: int, seed: int = 0, jobs: int = 1) -> Totals:
    """Run seeds from `seed` on until there were `schedules` distinct schedules, or too many failures."""
    totals = Totals()
    with contextlib.ExitStack() as stack:
        each: Callable[..., Iterable[Totals]] = map
        if jobs > 1:
            each = stack.enter_context(multiprocessing.get_context("spawn").Pool(jobs)).imap_unordered
        while len(totals.traces) < schedules and len(totals.failures) < ENOUGH:
            end = seed + schedules - len(totals.traces)
            chunks = [(name, first, min(CHUNK, end - first)) for first in range(seed, end, CHUNK)]
            for part in each(_chunk, chunks):
                totals.add(part)
            seed = end
    return totals


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m coord.testing.sim", description=__doc__)
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--schedules", type=int, default=10_000, help="distinct schedules")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    totals = run(options.scenario, schedules=options.schedules, seed=options.seed, jobs=options.jobs)
    for failed, text in sorted(totals.failures)[:SHOWN]:
        print(f"seed {failed}: python -m coord.testing.sim {options.scenario} --schedules 1 --seed {failed}\n{text}")
    print(f"{options.scenario}: {totals}, {time.monotonic() - began:.1f} s")
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main())
