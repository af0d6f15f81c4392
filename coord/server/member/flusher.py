"""Decides when the backend becomes durable, and tells the log what it may forget.

A flush carries everything that was sealed when it began, in one synced transaction on the backend's worker. Every
`snapshot_count` entries (or many bytes) the position a flush reached is noted in the log as a snapshot mark: recovery
starts behind it, and segments before it go. A mark or purge at a position that only the overlay has would lose what was
acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from coord.server.consensus import SnapshotMark
from coord.server.logs import logger
from coord.server.member.figures import Figures
from coord.server.member.journal import Journal
from coord.server.member.periodic import Periodic
from coord.server.member.worker import Worker
from coord.server.storage.errors import BackendFull
from coord.server.storage.flush import FlushJob

_log = logger(__name__)

FLUSH_SECONDS = 0.15
"""How old an effect may become before its flush begins. Not shorter, because each flush costs a sync of its own."""

PRESSURE_BYTES = 16 * 1024 * 1024
"""What may wait before a flush begins at once: the overlay costs memory, and a longer flush delays the one after it."""


class FlushingBackend(Protocol):
    """What is asked of a backend here."""

    @property
    def applied(self) -> tuple[int, int]: ...

    @property
    def durable_applied(self) -> tuple[int, int]: ...

    @property
    def pending_bytes(self) -> int: ...

    def begin_flush(self) -> FlushJob | None: ...

    def finish_flush(self, job: FlushJob) -> None: ...


class Flusher:
    """Runs one flush at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: FlushingBackend,
        worker: Worker,
        journal: Journal,
        figures: Figures,
        *,
        snapshot_count: int,
        mark_bytes: int,
        marked: int,
        voters: Iterable[int],
        no_space: Callable[[], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        """`marked` is the index of the newest mark in the log; `no_space` is told when a flush finds a full disk."""
        self._loop = loop
        self._backend = backend
        self._worker = worker
        self._journal = journal
        self._figures = figures
        self._snapshot_count = snapshot_count
        self._mark_bytes = mark_bytes
        self._marked = marked
        self._voters = tuple(voters)
        self._no_space = no_space
        self._fatal = fatal
        self._running = False
        self._halted = False
        self._full = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer = Periodic(loop, FLUSH_SECONDS, self.flush, fatal)
        # A defect to be found by the durability test: forget log segments that only the overlay replaces.
        self._purge_early = _lossy_switch("purge-before-sync")

    def start(self) -> None:
        self._timer.start()

    def relieve(self) -> None:
        """Called after each slice of applied entries: flush early if much waits."""
        if self._purge_early:
            self._note(self._backend.applied)
        if not self._running and self._backend.pending_bytes > PRESSURE_BYTES and not self._full:
            self.flush()

    def flush(self) -> None:
        """Begin a flush of all that is sealed, unless one runs or nothing waits."""
        if self._running or self._halted:
            return
        job = self._backend.begin_flush()
        if job is None:
            return
        self._running = True
        self._idle.clear()
        started = time.perf_counter()
        self._worker.submit(job.run, lambda _, error: self._flushed(job, error, started))

    def _flushed(self, job: FlushJob, error: BaseException | None, started: float) -> None:
        self._running = False
        self._idle.set()
        try:
            self._take_in(job, error, started)
        except Exception as failure:  # noqa: BLE001 - the loop would log it, and nothing would ever be flushed again
            self._fatal(failure)

    def _take_in(self, job: FlushJob, error: BaseException | None, started: float) -> None:
        if isinstance(error, BackendFull):
            # Nothing is lost: the effects are in the log and in memory. The next tick tries the same flush again.
            if not self._full:
                _log.error("the disk is full: the database cannot grow", error=str(error))
            self._full = True
            self._no_space()
            return
        if error is not None:
            self._fatal(error)
            return
        self._full = False
        self._backend.finish_flush(job)
        self._figures.flushes += 1
        self._figures.flush_seconds.observe(time.perf_counter() - started)
        self._note(self._backend.durable_applied)

    def _note(self, position: tuple[int, int]) -> None:
        index, term = position
        if index == self._marked:
            return
        if index - self._marked >= self._snapshot_count or self._journal.unmarked_bytes > self._mark_bytes:
            self._marked = index
            self._figures.snapshots += 1
            self._journal.mark(SnapshotMark(index, term, self._voters))

    def halt(self) -> None:
        """Begin no flush any more: what was written since the last may be half of an entry."""
        self._halted = True
        self._timer.stop()

    async def stop(self, healthy: bool) -> None:
        """Flush a last time (only if `healthy`) and end the worker."""
        self._timer.stop()
        await self._idle.wait()
        if healthy:
            self.flush()
            await self._idle.wait()
        self._worker.stop()


def _lossy_switch(name: str) -> bool:
    """True if a test asks for a defect; honoured only where unsynced bytes are lost on purpose."""
    return os.environ.get("COORD_FILES") == "lossy" and name in os.environ.get("COORD_REPLICA_SKIP", "").split(",")
