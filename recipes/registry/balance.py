"""Which of several instances takes the next call. Plain decisions: no port, no clock, no lock.

What is chosen from is never empty, is in the order of the keys, and stays the same object while nothing changed. Every
instance in it takes a share: those of weight 0 are not among them.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final, Literal, Protocol

from coord.errors import UsageError
from coord.recipes.registry.instance import Instance

BalanceName = Literal["round_robin", "random", "weighted", "least_loaded", "sticky", "zone_first"]


class Balance(Protocol):
    """A way to choose."""

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """The instance for the next call; `load` counts the calls under way by the instance's key.

        Raises:
            UsageError: it chooses by key, and there is none.
        """
        ...


class RoundRobin:
    """Each in turn, whatever its weight. It begins anywhere: many may start at the same moment."""

    def __init__(self, chance: random.Random) -> None:
        self._turn = chance.randrange(1 << 32)

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """The one whose turn it is."""
        self._turn += 1
        return among[self._turn % len(among)]


class Random:
    """Any, whatever its weight."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """Any of them."""
        return self._chance.choice(among)


class Weighted:
    """Any, as often as its weight says."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._among: Sequence[Instance] = ()
        self._sums: list[int] = []

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """Any of them, by weight."""
        if among is not self._among:
            self._among, self._sums = among, list(accumulate(each.weight for each in among))
        return among[bisect(self._sums, self._chance.randrange(self._sums[-1]))]


class LeastLoaded:
    """The one with the fewest calls under way for its weight; any of several that are equal."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """The least loaded once it has this call too."""
        loads = [(load.get(each.key, 0) + 1) / each.weight for each in among]
        least = min(loads)
        return self._chance.choice([each for each, loaded in zip(among, loads, strict=True) if loaded == least])


class Sticky:
    """The same for the same key, in every process; when one comes or goes only the keys that it takes or had move.

    Rendezvous hashing with weights (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005).
    """

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """The one that wins the key.

        Raises:
            UsageError: there is no key.
        """
        if key is None:
            raise UsageError('balance="sticky" chooses by a key: pick(key)')
        return max(among, key=lambda each: _affinity(key, each))


class ZoneFirst:
    """Any of the caller's zone, by weight; any at all while nobody is there."""

    def __init__(self, chance: random.Random, zone: str) -> None:
        self._zone = zone
        self._weighted = Weighted(chance)
        self._among: Sequence[Instance] = ()
        self._near: Sequence[Instance] = ()

    def choose(self, among: Sequence[Instance], key: bytes | None, load: Mapping[bytes, int]) -> Instance:
        """One of the zone if there is any."""
        if among is not self._among:
            self._among, self._near = among, [each for each in among if each.zone == self._zone]
        return self._weighted.choose(self._near or among, key, load)


_WAYS: Final[Mapping[str, type[RoundRobin | Random | Weighted | LeastLoaded]]] = {
    "round_robin": RoundRobin,
    "random": Random,
    "weighted": Weighted,
    "least_loaded": LeastLoaded,
}
_HEAVIEST: Final = 10**18  # a stranger may write a number that is none for a float
_NAMES: Final = (*_WAYS, "sticky", "zone_first")


def balance_of(name: str, zone: str | None, chance: random.Random) -> Balance:
    """The way to choose that has this name.

    Raises:
        UsageError: there is none of that name, or a zone is missing or of no use.
    """
    if name not in _NAMES:
        raise UsageError(f"balance is one of {', '.join(_NAMES)}, not {name!r}")
    if (zone is not None) != (name == "zone_first"):
        raise UsageError('balance="zone_first" needs the zone= of the caller, and nothing else has one')
    if zone is not None:
        if not isinstance(zone, str) or not zone:
            raise UsageError(f"a zone to prefer is text, not {zone!r}")
        return ZoneFirst(chance, zone)
    return Sticky() if name == "sticky" else _WAYS[name](chance)


def _affinity(key: bytes, instance: Instance) -> float:
    digest = blake2b(instance.key, key=blake2b(key, digest_size=16).digest(), digest_size=8).digest()
    part = (int.from_bytes(digest, "big") + 0.5) / 2.0**64  # in (0, 1) but for rounding
    return min(instance.weight, _HEAVIEST) / -math.log(min(part, 1.0 - 2.0**-53))
