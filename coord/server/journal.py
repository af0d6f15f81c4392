"""Where the replica makes its log durable, seen from the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from coord.server.consensus import Ready, SnapshotMark
from coord.server.figures import Figures


class Journal(Protocol):
    """Takes the entries and hard state of one Ready at a time."""

    @property
    def low_space(self) -> bool:
        """True while only the reserved space is left: new writes must be refused."""
        ...

    def persist(self, ready: Ready, done: Callable[[], None]) -> bool:
        """Make the batch durable: True if it is already, else `done` is called on the loop when it is."""
        ...

    def mark(self, mark: SnapshotMark) -> None:
        """Note that the backend durably holds everything up to `mark`, and drop the log before it."""
        ...

    async def close(self) -> None: ...


class MemoryJournal:
    """The log of a throw-away server: nothing is kept."""

    low_space = False

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def persist(self, ready: Ready, done: Callable[[], None]) -> bool:
        self._figures.batch_entries.observe(len(ready.entries))
        return True

    def mark(self, mark: SnapshotMark) -> None:
        """Nothing to drop."""

    async def close(self) -> None:
        """Nothing to close."""


def timed(figures: Figures, write: Callable[[], None]) -> Callable[[], None]:
    """`write`, with its duration observed."""

    def run() -> None:
        started = time.perf_counter()
        write()
        figures.fsync_seconds.observe(time.perf_counter() - started)

    return run
