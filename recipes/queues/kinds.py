"""Queues of other kinds: by priority, with delays, behind a gate. What differs is what is put, and when it is taken."""

from __future__ import annotations

from collections.abc import Callable

from coord.errors import UsageError
from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.queues.job import AsyncJob, Job
from coord.recipes.queues.names import LAST_PRIORITY, NORMAL, Names
from coord.recipes.queues.page import CLOSED, OPEN, Front, Gate, GatedFront
from coord.recipes.queues.putting import WINDOW
from coord.recipes.queues.queue import AsyncQueueBase, QueueBase, whole_number


class PriorityQueue(QueueBase):
    """The best priority first, and first in, first out among equals; otherwise as `Queue`.

    Consumers may use `Queue` of the same name as well. A job of a bad priority waits as long as better ones come.
    """

    def put(
        self, value: str | bytes, *, key: str | None = None, priority: int = NORMAL, timeout: Timeout = DEFAULT
    ) -> str:
        """Put a job; `priority` is 0 for first to 255 for last.

        Raises:
            UsageError: there is no such priority.
            OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError: as `Queue.put`.
        """
        return run_blocking(self._put(value, timeout, key=key, priority=_checked(priority)))


class AsyncPriorityQueue(AsyncQueueBase):
    """The best priority first, on asyncio; see `PriorityQueue`."""

    async def put(
        self, value: str | bytes, *, key: str | None = None, priority: int = NORMAL, timeout: Timeout = DEFAULT
    ) -> str:
        """Put a job; see `PriorityQueue.put`."""
        return await self._put(value, timeout, key=key, priority=_checked(priority))


class DelayQueue(QueueBase):
    """Jobs that wait for their time; otherwise as `Queue`.

    A job joins the queue when it is due, behind what is ready then. When that is, is an instant of the producer's wall
    clock; a consumer waits by its own. So clocks that differ make a job early or late by their difference, and nothing
    else depends on them. Consumers may use `Queue` of the same name as well.
    """

    def put(self, value: str | bytes, *, key: str | None = None, delay: Seconds = 0, timeout: Timeout = DEFAULT) -> str:
        """Put a job that is due `delay` seconds from now.

        Raises:
            UsageError: the delay is no duration.
            OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError: as `Queue.put`.
        """
        return run_blocking(self._put(value, timeout, key=key, due=self._due(delay)))


class AsyncDelayQueue(AsyncQueueBase):
    """Jobs that wait for their time, on asyncio; see `DelayQueue`."""

    async def put(
        self, value: str | bytes, *, key: str | None = None, delay: Seconds = 0, timeout: Timeout = DEFAULT
    ) -> str:
        """Put a job that is due later; see `DelayQueue.put`."""
        return await self._put(value, timeout, key=key, due=self._due(delay))


class GatedQueue(QueueBase):
    """Jobs that are taken only once a gate is open; otherwise as `Queue`.

    It opens when one of these is so, and stays open: as many jobs are ready as `count` says; the task named `task` was
    put; somebody says `go`. Without the first two only `go` opens it. `count` and `task` are what consumers say; all of
    them are to use a gated queue.
    """

    def __init__(
        self,
        client: HasPrograms,
        name: str,
        *,
        count: int | None = None,
        task: str | None = None,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[Job], object] | None = None,
    ) -> None:
        """Describe the queue; nothing is asked of the server yet. The other arguments are those of `Queue`.

        Raises:
            UsageError: an argument is not what it must be.
        """
        super().__init__(
            client,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )
        self._gate = _gate(self._names, count, task)

    def _front(self) -> Front:
        return GatedFront(self._names, self._gate)

    def put(
        self, value: str | bytes, *, task: str | None = None, key: str | None = None, timeout: Timeout = DEFAULT
    ) -> str:
        """Put a job; `task` is the name under which the gate looks for it.

        Raises:
            QueueFull, OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError: as `Queue.put`.
        """
        return run_blocking(self._put(value, timeout, key=key, task=task))

    def go(self, *, timeout: Timeout = DEFAULT) -> None:
        """Open the gate.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._operating(timeout).set_gate(OPEN))

    def halt(self, *, timeout: Timeout = DEFAULT) -> None:
        """Close the gate: nothing more is taken until it opens again, at once if what it waits for is there.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        run_blocking(self._operating(timeout).set_gate(CLOSED))

    def is_open(self, *, timeout: Timeout = DEFAULT) -> bool:
        """True if jobs may be taken.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._operating(timeout).gate())


class AsyncGatedQueue(AsyncQueueBase):
    """Jobs that are taken only once a gate is open, on asyncio; see `GatedQueue`."""

    def __init__(
        self,
        client: HasPrograms,
        name: str,
        *,
        count: int | None = None,
        task: str | None = None,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[AsyncJob], object] | None = None,
    ) -> None:
        """Describe the queue; see `GatedQueue`."""
        super().__init__(
            client,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )
        self._gate = _gate(self._names, count, task)

    def _front(self) -> Front:
        return GatedFront(self._names, self._gate)

    async def put(
        self, value: str | bytes, *, task: str | None = None, key: str | None = None, timeout: Timeout = DEFAULT
    ) -> str:
        """Put a job; see `GatedQueue.put`."""
        return await self._put(value, timeout, key=key, task=task)

    async def go(self, *, timeout: Timeout = DEFAULT) -> None:
        """Open the gate; see `GatedQueue.go`."""
        await self._operating(timeout).set_gate(OPEN)

    async def halt(self, *, timeout: Timeout = DEFAULT) -> None:
        """Close the gate; see `GatedQueue.halt`."""
        await self._operating(timeout).set_gate(CLOSED)

    async def is_open(self, *, timeout: Timeout = DEFAULT) -> bool:
        """True if jobs may be taken; see `GatedQueue.is_open`."""
        return await self._operating(timeout).gate()


def _gate(names: Names, count: int | None, task: str | None) -> Gate:
    if task is not None:
        names.task(task)
    return Gate(whole_number("count", count), task)


def _checked(priority: int) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= LAST_PRIORITY:
        raise UsageError(f"a priority is a whole number from 0 (first) to {LAST_PRIORITY} (last), not {priority!r}")
    return priority
