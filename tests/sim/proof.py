"""How a simulated recipe is proven: sampled schedules, one fault at every position, and bugs that must be found."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from coord.testing.sim import runner, sweep
from coord.testing.sim.runner import Build, Totals

Patch = Callable[[contextlib.ExitStack], None]


def sampled(build: Build, seeds: int) -> Totals:
    """Run that many seeds; every promise is kept and the schedules differ."""
    totals = runner.run_many(build, range(seeds))
    assert not totals.failures, f"seed {totals.failures[0][0]}: {totals.failures[0][1]}"
    assert totals.leaked == 0
    assert len(totals.traces) > seeds * 0.95, "the schedules hardly differ"
    return totals


def swept(make: sweep.Make) -> int:
    """Run one fault at every position; returns how many cases there were."""
    count = 0
    for case in sweep.cases(make):
        try:
            sweep.scenario(case, make).run()
        except AssertionError as failure:
            pytest.fail(f"{case}: {failure!r}")
        count += 1
    assert count > 500, "the sweep did not visit its positions"
    return count


@dataclass(frozen=True)
class Mutant:
    """A bug that was shipped somewhere, put back by patching the product, and the runs that can show it."""

    name: str
    story: str
    shows: str  # what the violation must say: a regular expression
    apply: Patch
    build: Build


class Mutants(list[Mutant]):
    """The bugs of one recipe, entered by a decorator over the function that puts each back."""

    def enter(self, name: str, story: str, shows: str, build: Build) -> Callable[[Patch], Patch]:
        def add(apply: Patch) -> Patch:
            self.append(Mutant(name, story, shows, apply, build))
            return apply

        return add


@contextlib.contextmanager
def bug(found: Mutant) -> Iterator[None]:
    """Inside the block the product has this bug."""
    with contextlib.ExitStack() as stack:
        found.apply(stack)
        yield


def swap(stack: contextlib.ExitStack, owner: Any, name: str, new: Any) -> None:
    """Put `new` in the place of an attribute while the bug is there."""
    stack.enter_context(patch.object(owner, name, new))


def is_found(found: Mutant, seeds: int) -> None:
    """Fail if no schedule among `seeds` shows the bug."""
    with bug(found):
        for seed in range(seeds):
            try:
                found.build(seed).run()
            except AssertionError as failure:
                if re.search(found.shows, str(failure)):
                    return
    pytest.fail(f"{found.story}: not seen in {seeds} schedules")


def is_clean(found: Mutant, seeds: int = 60) -> None:
    """The same runs without the bug keep every promise."""
    for seed in range(seeds):
        found.build(seed).run()
