"""Who decides what happens next in a simulation: chance with a seed, or a script.

Every decision is folded into a hash, so that two runs can be told to have been the same schedule or not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

_MASK = (1 << 64) - 1
_PRIME = 0x100000001B3  # FNV-1a's


class Event(NamedTuple):
    """One thing that could happen now.

    Attributes:
        weight: how likely chance picks it, against the others.
        code: what it is, as a number that is the same in every run.
        do: makes it happen.
        fault: True if it counts against the faults that a run may have.
    """

    weight: int
    code: int
    do: Callable[[], None]
    fault: bool = False


class Choices(Protocol):
    """Decides. `trace` is the hash of all decisions so far."""

    trace: int

    def pick(self, events: Sequence[Event]) -> Event:
        """The event that happens; `events` is never empty."""
        ...

    def number(self, below: int) -> int:
        """Some whole number >= 0 and < `below`."""
        ...


class RandomChoices:
    """Chance, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.trace = 0xCBF29CE484222325
        self._random = random.Random(seed).random

    def pick(self, events: Sequence[Event]) -> Event:
        """An event, each as likely as its weight says."""
        chosen = events[0]
        if len(events) > 1:
            left = self._random() * sum([event.weight for event in events])
            for chosen in events:
                left -= chosen.weight
                if left < 0:
                    break
        self.trace = ((self.trace ^ chosen.code) * _PRIME) & _MASK
        return chosen

    def number(self, below: int) -> int:
        """Some whole number >= 0 and < `below`."""
        chosen = int(self._random() * below)
        self.trace = ((self.trace ^ chosen) * _PRIME) & _MASK
        return chosen


class FirstChoices:
    """No chance at all: always the first event that is no fault, and always the same number."""

    def __init__(self, number: int = 0) -> None:
        self.trace = 0xCBF29CE484222325
        self._number = number

    def pick(self, events: Sequence[Event]) -> Event:
        """The first event that is no fault, if there is one."""
        chosen = next((event for event in events if not event.fault), events[0])
        self.trace = ((self.trace ^ chosen.code) * _PRIME) & _MASK
        return chosen

    def number(self, below: int) -> int:
        """Always the same."""
        return min(self._number, below - 1)
