"""Ratios, their targets, and rounds that alternate between what is compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the report.

    Attributes:
        name: what is compared.
        rounds: the ratio of each round.
        at_least: the target for a ratio that should be high.
        at_most: the target for one that should be low.
        note: what bounds it.
    """

    name: str
    rounds: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return statistics.median(self.rounds)

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:.2f}"
        return f"<= {self.at_most:.2f}" if self.at_most is not None else ""

    @property
    def verdict(self) -> str:
        if self.at_least is not None:
            return "met" if self.ratio >= self.at_least else "missed"
        if self.at_most is not None:
            return "met" if self.ratio <= self.at_most else "missed"
        return ""

    def __str__(self) -> str:
        spread = f"({min(self.rounds):.2f}..{max(self.rounds):.2f})"
        return f"{self.name:<58}{self.ratio:7.2f} {spread:<16}{self.target:<9}{self.verdict:<7}{self.note}".rstrip()


def alternate(subjects: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Measure each subject once a round, in turn, so that a slow minute of the machine meets all of them."""
    measured: dict[str, list[float]] = {name: [] for name in subjects}
    names = list(subjects)
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            measured[name].append(subjects[name]())
    return measured


def ratios(upper: list[float], lower: list[float]) -> tuple[float, ...]:
    """The ratio of each round."""
    return tuple(one / other for one, other in zip(upper, lower, strict=True))
