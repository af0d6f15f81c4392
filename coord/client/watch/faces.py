"""What users hold of a watch: `Watch` for threads, `AsyncWatch` for tasks, over one reader written once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Final, Literal, Self

from coord import clock
from coord.client.connection.retry import NO_WAIT, Timeout, seconds
from coord.client.ports.base import PortBase, Watching
from coord.client.watch.actions import WatchSpec
from coord.errors import ClosedError, Compacted, UsageError
from coord.keys import EVERYTHING
from coord.model import DEFAULT, Event, EventKind, WatchBatch
from coord.ops import Get, span
from coord.program import run_blocking

OnCompacted = Literal["resync", "raise"]

REVISIONS: Final = 2**63  # they are signed 64-bit numbers

_POLICIES: Final = ("resync", "raise")


def watch_spec(
    key: str | bytes,
    *,
    prefix: bool,
    range_end: str | bytes | None,
    from_revision: int,
    previous: bool,
    puts: bool,
    deletes: bool,
    progress: bool,
) -> WatchSpec:
    """The arguments of `Client.watch`, checked.

    Raises:
        UsageError: they name no range, no event or no revision.
    """
    start, end = span(key, prefix=prefix, range_end=range_end)
    if end and end != EVERYTHING and end <= start:
        raise UsageError("the range is empty: range_end must lie behind key")
    if not 0 <= from_revision < REVISIONS:
        raise UsageError(f"from_revision is a revision, or 0 for now, not {from_revision!r}")
    if not puts and not deletes:
        raise UsageError("a watch for neither puts nor deletes would never see anything")
    return WatchSpec(start, end, from_revision, puts, deletes, previous, progress)


class WatchReader:
    """One watch over all its life, compactions included. Awaits only its port; one reader at a time."""

    def __init__(self, port: PortBase, spec: WatchSpec, on_compacted: OnCompacted) -> None:
        if on_compacted not in _POLICIES:
            raise UsageError(f"on_compacted is one of {', '.join(_POLICIES)}, not {on_compacted!r}")
        self._port = port
        self._spec = spec
        self._resyncs = on_compacted == "resync"
        self._stale = False  # what follows was compacted: the range must be read anew
        self._watching: Watching = port.watching([spec])
        self.revision = max(0, spec.from_revision - 1)
        self.closed = False

    async def start(self, deadline: float | None) -> None:
        """Wait until the server has the watch: what happens after that will be seen."""
        try:
            self.revision = max(self.revision, await self._watching.confirmed(deadline=deadline))
        except Compacted:
            if not self._resyncs:
                raise
            self._stale = True

    async def next(self, deadline: float | None) -> WatchBatch:
        """The next batch; see `Watch.next`."""
        if not self._stale:
            try:
                batch = await self._watching.next(deadline=deadline)
            except Compacted:
                if not self._resyncs:
                    raise
                self._stale = True
            else:
                self.revision = batch.revision
                return batch
        return await self._resync(deadline)

    async def _resync(self, deadline: float | None) -> WatchBatch:
        if deadline is not None and deadline <= clock.now():
            deadline = clock.now() + NO_WAIT  # as in every call; who only ever looks would not get beyond this
        found = await self._port.range(Get(self._spec.key, self._spec.range_end), deadline=deadline)
        revision = found.header.revision
        self._watching.close()
        if self.closed:
            raise ClosedError("the watch was closed")
        self._watching = self._port.watching([replace(self._spec, from_revision=revision + 1)])
        self._stale = False
        self.revision = revision
        return WatchBatch(revision, resync=True, items=found.items)

    def close(self) -> None:
        """End it, from any thread."""
        self.closed = True
        self._watching.close()

    @property
    def lag(self) -> float:
        """Seconds since the server last gave a sign of life."""
        return self._watching.lag


class _Face:
    """What both faces share. They differ in nothing but how they wait."""

    def __init__(
        self,
        port: PortBase,
        spec: WatchSpec,
        *,
        on_compacted: OnCompacted,
        timeout: float | timedelta | None,
        opening: float | None,
    ) -> None:
        self._silence = seconds(timeout, None)
        self._opening = opening if self._silence is None else self._silence
        self._spec = spec
        self._reader = WatchReader(port, spec, on_compacted)

    def __repr__(self) -> str:
        state = "closed" if self._reader.closed else "open"
        return f"<{type(self).__name__} {self._spec.key!r} {state} revision={self.revision}>"

    @property
    def revision(self) -> int:
        """Everything up to this revision was delivered, or lies before the watch."""
        return self._reader.revision

    @property
    def lag(self) -> float:
        """Seconds since the server last gave a sign of life; grows beyond some 15 s only while none can be reached."""
        return self._reader.lag

    def _until(self, timeout: Timeout) -> float | None:
        wanted = seconds(timeout, self._silence)
        return None if wanted is None else clock.now() + wanted


class Watch(_Face):
    """A watch for use in threads: iterate over it for batches, each of one whole revision.

    ``with client.watch("key") as watch`` returns once the server has the watch, so whatever happens inside the block is
    seen. It goes on over restarts and fail-overs without gap or repetition. Use it from one thread at a time; `close`
    may come from any.
    """

    def __enter__(self) -> Self:
        until = None if self._opening is None else clock.now() + self._opening
        try:
            run_blocking(self._reader.start(until))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[WatchBatch]:
        return self

    def __next__(self) -> WatchBatch:
        try:
            return self.next()
        except ClosedError:
            if self._reader.closed:
                raise StopIteration from None
            raise

    def next(self, *, timeout: Timeout = DEFAULT) -> WatchBatch:
        """The next batch.

        Args:
            timeout: seconds to wait; by default what was given to `Client.watch`.

        Raises:
            CallTimeout: nothing happened in time; the watch goes on.
            Compacted: with on_compacted="raise"; the watch has ended.
            HistoryLost: the cluster is another one or went back in time; the watch has ended.
            PermissionDenied, AuthenticationFailed, WatchLost: the server ended it.
            ClosedError: the watch or the client was closed.
        """
        return run_blocking(self._reader.next(self._until(timeout)))

    def events(self) -> Iterator[Event]:
        """Single events instead of batches.

        After a compaction each key that exists comes as one PUT; what was deleted meanwhile cannot be told. Iterate
        over batches where that matters.
        """
        for batch in self:
            yield from _events_of(batch)

    def close(self) -> None:
        """End the watch; a thread that waits for it is woken. Never waits, may be called twice."""
        self._reader.close()


class AsyncWatch(_Face):
    """A watch for use in tasks: iterate over it for batches, each of one whole revision.

    ``async with client.watch("key") as watch`` goes on once the server has the watch, so whatever happens inside the
    block is seen. It goes on over restarts and fail-overs without gap or repetition. Use it from one task at a time;
    `close` may come from any.
    """

    async def __aenter__(self) -> Self:
        until = None if self._opening is None else clock.now() + self._opening
        try:
            await self._reader.start(until)
        except BaseException:
            self._reader.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def __aiter__(self) -> AsyncIterator[WatchBatch]:
        return self

    async def __anext__(self) -> WatchBatch:
        try:
            return await self.next()
        except ClosedError:
            if self._reader.closed:
                raise StopAsyncIteration from None
            raise

    async def next(self, *, timeout: Timeout = DEFAULT) -> WatchBatch:
        """The next batch; see `Watch.next`.

        Raises:
            CallTimeout: nothing happened in time; the watch goes on.
            Compacted: with on_compacted="raise"; the watch has ended.
            HistoryLost: the cluster is another one or went back in time; the watch has ended.
            PermissionDenied, AuthenticationFailed, WatchLost: the server ended it.
            ClosedError: the watch or the client was closed.
        """
        return await self._reader.next(self._until(timeout))

    async def events(self) -> AsyncIterator[Event]:
        """Single events instead of batches; see `Watch.events`."""
        async for batch in self:
            for event in _events_of(batch):
                yield event

    async def close(self) -> None:
        """End the watch; a task that waits for it is woken. May be called twice."""
        self._reader.close()


def _events_of(batch: WatchBatch) -> Iterator[Event]:
    yield from batch.events
    for item in batch.items:
        yield Event(EventKind.PUT, item)
