"""Where the replica makes its log durable, seen from the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from coord.server.consensus import Ready, SnapshotMark
from coord.server.member.figures import Figures
from coord.server.member.worker import Worker
from coord.server.storage.wal import Wal


class Journal(Protocol):
    """Takes the entries and hard state of one Ready at a time."""

    @property
    def low_space(self) -> bool:
        """True while only the reserved space is left: new writes must be refused."""
        ...

    @property
    def unmarked_bytes(self) -> int:
        """Entries' bytes since the last mark: what the next start has to read."""
        ...

    def persist(self, ready: Ready, done: Callable[[], None]) -> bool:
        """Make the batch durable: True if it is already, else `done` is called on the loop when it is."""
        ...

    def mark(self, mark: SnapshotMark) -> None:
        """Note that the backend durably holds everything up to `mark`, and drop the log before it."""
        ...

    def keep_up(self) -> None:
        """Look after the space for what comes; called now and then."""
        ...

    async def close(self) -> None: ...


class MemoryJournal:
    """The log of a throw-away server: nothing is kept."""

    low_space = False
    unmarked_bytes = 0

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def persist(self, ready: Ready, done: Callable[[], None]) -> bool:
        self._figures.batch_entries.observe(len(ready.entries))
        return True

    def mark(self, mark: SnapshotMark) -> None:
        """Nothing to drop."""

    def keep_up(self) -> None:
        """Nothing to look after."""

    async def close(self) -> None:
        """Nothing to close."""


class WalJournal:
    """The log on disk: written by a worker, one batch at a time, while the loop goes on."""

    def __init__(
        self,
        wal: Wal,
        worker: Worker,
        figures: Figures,
        fatal: Callable[[BaseException], None],
        unmarked_bytes: int = 0,
    ) -> None:
        self.unmarked_bytes = unmarked_bytes
        self._wal = wal
        self._worker = worker
        self._figures = figures
        self._fatal = fatal
        self._keeping_up = False

    @property
    def low_space(self) -> bool:
        return self._wal.low_space

    def persist(self, ready: Ready, done: Callable[[], None]) -> bool:
        """Write and sync the batch on the worker; a failure ends the server and `done` is never called."""
        self._figures.batch_entries.observe(len(ready.entries))
        self.unmarked_bytes += sum(len(entry.data) for entry in ready.entries)
        batch = Wal.encode(ready.hard_state, ready.entries, ready.must_sync)

        def write() -> None:
            started = time.perf_counter()
            self._wal.write(batch)
            self._figures.fsync_seconds.observe(time.perf_counter() - started)

        def written(_: None, error: BaseException | None) -> None:
            if error is not None:
                self._fatal(error)
                return
            done()
            if self._wal.needs_upkeep and not self._wal.low_space:
                self.keep_up()

        self._worker.submit(write, written)
        return False

    def keep_up(self) -> None:
        """Try to have space for the next segment; call it now and then, because the disk may have room again."""
        if not self._keeping_up and self._wal.needs_upkeep:
            self._keeping_up = True
            self._worker.submit(self._wal.upkeep, self._kept_up)

    def _kept_up(self, result: None, error: BaseException | None) -> None:
        self._keeping_up = False
        self._checked(result, error)

    def mark(self, mark: SnapshotMark) -> None:
        """Write the mark, then remove the segments before it."""
        self.unmarked_bytes = 0

        def write() -> None:
            self._wal.mark(mark)
            self._wal.purge(mark.index)

        self._worker.submit(write, self._checked)

    def _checked(self, _: object, error: BaseException | None) -> None:
        if error is not None:
            self._fatal(error)

    async def close(self) -> None:
        """Wait for what is queued, then close the log and end the worker.

        Raises:
            WalFailed: what waited could not be written.
        """
        try:
            await self._worker.call(self._wal.close)
        finally:
            self._worker.stop()
