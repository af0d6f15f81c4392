"""What the replica counts and measures: plain numbers that an exporter may read at any time."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

_SECONDS = tuple(0.0001 * 2**n for n in range(17))
_COUNTS = tuple(float(2**n) for n in range(15))


class Histogram:
    """Counts of values in fixed buckets; `bounds` are upper bounds, one more bucket takes the rest."""

    __slots__ = ("bounds", "count", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.total += value

    def quantile(self, share: float) -> float:
        """Upper bound of the bucket that holds the `share` quantile; infinite for the last bucket."""
        left = share * self.count
        for bound, count in zip(self.bounds, self.counts, strict=False):
            left -= count
            if left <= 0:
                return bound
        return float("inf")


def _seconds() -> Histogram:
    return Histogram(_SECONDS)


def _counts() -> Histogram:
    return Histogram(_COUNTS)


@dataclass(slots=True)
class Figures:
    """All numbers of one replica."""

    proposed: int = 0
    refused: int = 0
    failed: int = 0
    timed_out: int = 0
    applied: int = 0
    slow_applies: int = 0
    slow_reads: int = 0
    flushes: int = 0
    snapshots: int = 0
    leases_expired: int = 0
    pauses: int = 0
    fsync_seconds: Histogram = field(default_factory=_seconds)
    flush_seconds: Histogram = field(default_factory=_seconds)
    loop_lag_seconds: Histogram = field(default_factory=_seconds)
    batch_entries: Histogram = field(default_factory=_counts)
