"""Most instances vanish at once: more likely the registry's trouble than theirs. Who vanished is kept for a while.

An expired lease, a cluster that was restored from an old backup, or a network that is cut between the instances and the
store look the same: keys go and nobody said goodbye. An instance that is closed says
so first (its state becomes LEAVING), and is never kept. Knows no clock.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from coord.errors import UsageError
from coord.recipes.registry.instance import Instance

logger = logging.getLogger("coord.registry")

WINDOW_SECONDS: Final = 15.0  # leases of 10 s that nobody renews any more end within 5 s of each other
HOLD_SECONDS: Final = 60.0
FEWEST: Final = 3  # of two, one is half already

NOBODY_KEPT: Final[Mapping[bytes, Instance]] = MappingProxyType({})


class Brake:
    """Who vanished, and whether they are kept.

    Args:
        share: it engages when more than this share of the instances vanished.
        window: seconds within which they vanished.
        hold: seconds after which they are given up.
        fewest: how many must have vanished at least.
    """

    def __init__(
        self, share: float, *, window: float = WINDOW_SECONDS, hold: float = HOLD_SECONDS, fewest: int = FEWEST
    ) -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise UsageError(f"brake is a share of the instances, more than 0 and up to 1 (never), not {share!r}")
        self._share = share
        self._window = window
        self._hold = hold
        self._fewest = fewest
        self._vanished: dict[bytes, tuple[float, Instance]] = {}  # lately, oldest first
        self._kept: Mapping[bytes, Instance] = NOBODY_KEPT
        self._whole = 0  # how many there were when it engaged
        self.until = float("inf")

    def kept(self, now: float) -> Mapping[bytes, Instance]:
        """Those who are kept, by key; the same object while they are the same."""
        if self._kept and now >= self.until:
            self._release("they have been gone for too long")
        return self._kept

    def on_change(self, vanished: Collection[Instance], seen: Collection[bytes], present: int, now: float) -> None:
        """Some are gone without a goodbye, and those whose keys are `seen` are here or said goodbye."""
        self.kept(now)
        self._vanished = {
            key: entry
            for key, entry in self._vanished.items()
            if key not in seen and (self._kept or now - entry[0] < self._window)
        }
        self._vanished |= {instance.key: (now, instance) for instance in vanished}
        gone = len(self._vanished)
        if self._kept:
            if present > (1 - self._share) * self._whole:
                self._release("enough are there again")
            elif not gone:
                self._release("none of them is missing")
            else:
                self._keep()
        elif gone >= self._fewest and gone > self._share * (present + gone):
            self._whole, self.until = present + gone, now + self._hold
            self._keep()
            logger.warning(
                "%d of %d instances vanished within %g s and none was closed; they stay in use for %g s",
                gone,
                self._whole,
                self._window,
                self._hold,
            )

    def _keep(self) -> None:
        self._kept = MappingProxyType({key: instance for key, (_, instance) in self._vanished.items()})

    def _release(self, why: str) -> None:
        logger.warning("instances that vanished are not used any more: %s", why)
        self._kept, self._vanished, self.until = NOBODY_KEPT, {}, float("inf")
