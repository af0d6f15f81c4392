"""The program behind every live picture: a range of keys, read at one revision and followed from there."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from coord.errors import CallTimeout, Compacted, CoordError, HistoryLost, Unavailable
from coord.model import Event, KeyValue
from coord.ops import Get
from coord.port import Port, Watching, WatchTarget
from coord.recipes.common.patience import ATTEMPT_SECONDS

logger = logging.getLogger("coord.following")

PAUSE_SECONDS = 0.5  # between attempts while the server cannot be reached

C = TypeVar("C")


class Mirror(Protocol[C]):
    """A picture of a range of keys. Knows no port.

    One program changes it, any thread may look: what was seen is replaced as a whole.
    """

    def replace(self, items: Iterable[KeyValue], revision: int) -> list[C]:
        """The whole range at `revision`; returns what changed against what was known."""
        ...

    def apply(self, events: Iterable[Event], revision: int) -> list[C]:
        """One revision's events; returns what changed."""
        ...


class RangeFollower(Generic[C]):
    """Keeps a mirror true; a program's own object, used by one at a time.

    Args:
        port: what it reads and watches through.
        start: first key of the range.
        end: end of the range, which is not part of it.
        mirror: what is kept.
        what: what the range is, for messages: "the registered instances".
    """

    def __init__(self, port: Port, start: bytes, end: bytes, mirror: Mirror[C], what: str) -> None:
        self._port = port
        self._start = start
        self._end = end
        self._what = what
        self._since = 0  # first revision that is not known yet; 0: everything is to be read
        self._watch: Watching | None = None
        self._began = False  # the first state was told
        self.mirror = mirror

    def move(self, port: Port) -> None:
        """Go on with another port of the same client, before anything is waited for."""
        self._port = port

    async def read(self, deadline: float | None) -> list[C]:
        """Read everything; the next changes are those after this revision.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        self.close()
        found = await self._port.range(Get(self._start, self._end), deadline=deadline)
        revision = found.header.revision
        self._since = revision + 1
        return self.mirror.replace(found.items, revision)

    async def next(self, deadline: float | None) -> list[C]:
        """Wait for the next changes; the first call returns what is there, which may be nothing.

        What was compacted away, and a cluster that was restored from a backup, are made good by reading again: the
        difference is what is returned.

        Raises:
            CallTimeout: the deadline passed.
            RequestRefused: the range may not be read.
            ClosedError: the client was closed.
        """
        while True:
            try:
                changes = await self._step(deadline)
            except (Unavailable, CallTimeout) as trouble:
                # Without a deadline there is nobody to tell, and the state may come back at any time.
                await self._pause(deadline, trouble)
            except HistoryLost as lost:
                logger.warning("reading %s anew: %s", self._what, lost)
                self.close()
                await self._pause(deadline, lost)
            else:
                if changes or not self._began:
                    self._began = True
                    return changes

    async def _step(self, deadline: float | None) -> list[C]:
        if not self._since:
            attempt = self._port.now() + ATTEMPT_SECONDS
            return await self.read(attempt if deadline is None else min(attempt, deadline))
        watch = self._watch  # `close` may come from another thread
        if watch is None:
            # Not by `read`: a watch waits with the port it was opened with, and that of the program is told to stop.
            watch = self._port.watch([WatchTarget(self._start, self._end)], from_revision=self._since)
            self._watch = watch
        try:
            batch = await watch.next(deadline=deadline)
        except Compacted:
            self.close()
            return []
        return self.mirror.apply(batch.events, batch.revision)

    async def _pause(self, deadline: float | None, trouble: CoordError) -> None:
        until = self._port.now() + PAUSE_SECONDS
        if deadline is not None and until >= deadline:
            raise CallTimeout("no change was seen in time") from trouble
        await self._port.sleep(until=until)

    def close(self) -> None:
        """Stop following."""
        self._since = 0
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
