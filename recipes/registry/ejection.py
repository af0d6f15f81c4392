"""Instances that failed are left out for a while: longer each time, never more than half of all. Knows no clock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 300.0

_NEVER: Final = float("inf")


@dataclass(slots=True)
class _Record:
    times: int
    until: float
    forgotten_at: float


class Ejections:
    """Who is left out until when, by key.

    Args:
        first: seconds for the first time; doubled for each further one.
        longest: seconds at most.
    """

    def __init__(self, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._first = first
        self._longest = longest
        self._records: dict[bytes, _Record] = {}

    def failed(self, key: bytes, now: float) -> None:
        """A call to it failed. What fails while it is out was under way before, and counts once."""
        self._records = {each: record for each, record in self._records.items() if now < record.forgotten_at}
        known = self._records.get(key)
        if known is not None and now < known.until:
            return
        times = 1 if known is None else known.times + 1
        length = min(self._first * 2 ** min(times - 1, 32), self._longest)
        # Whoever was fine for twice as long as it had been out begins anew.
        self._records[key] = _Record(times, now + length, now + 3 * length)

    def out(self, keys: Collection[bytes], now: float) -> set[bytes]:
        """Those of `keys` that are left out: at most half, and then those that come back last.

        So an instance that is alone is never left out, and when all of them fail half of them go on being asked.
        """
        known = ((key, self._records[key]) for key in self._records.keys() & keys)
        active = sorted(((record.until, key) for key, record in known if now < record.until), reverse=True)
        return {key for _, key in active[: len(keys) // 2]}

    def changes_at(self, now: float) -> float:
        """When the next one comes back."""
        return min((record.until for record in self._records.values() if now < record.until), default=_NEVER)
