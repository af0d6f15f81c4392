"""A queue of jobs across processes and machines, blocking and for asyncio.

First in is first out, by the revision that put it. A job is taken by one consumer at a time and leaves the queue when
that one acknowledges it; if it dies instead, or gives it back, the job is in its old place again.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any

from coord.errors import QueueEmpty, UsageError
from coord.keys import to_bytes
from coord.model import DEFAULT, Default
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.client import HasPrograms, client_deadline
from coord.recipes.common.durations import CALL_SECONDS, Seconds, Timeout, lifetime, seconds
from coord.recipes.ownership.owner import describe_caller
from coord.recipes.ownership.turn import Terms
from coord.recipes.queues.dead import DeadJob, Depth, Operating
from coord.recipes.queues.job import AsyncJob, Job
from coord.recipes.queues.names import NORMAL, Content, Names
from coord.recipes.queues.page import Front
from coord.recipes.queues.putting import WINDOW, Offer, Putter
from coord.recipes.queues.settling import Settling
from coord.recipes.queues.taker import Grip, Taker


class _Described:
    """What all queues of both faces are."""

    def __init__(
        self,
        client: HasPrograms,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[Any], object] | None = None,
    ) -> None:
        self._names = Names(name)
        self._client = client
        self._ttl = lifetime(ttl)
        self._timeout = timeout
        if not isinstance(timeout, Default) and timeout is not None:
            seconds(timeout, "timeout")
        self._tries = whole_number("tries", tries)
        self._capacity = whole_number("capacity", capacity)
        self._window = seconds(window, "window")
        self._hold = None if hold is None else seconds(hold, "hold")
        self._on_lost = on_lost
        self._known: tuple[Port, Taker, Putter] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._names.queue

    def _programs(self) -> tuple[Port, Taker, Putter]:
        # A client may get another port: the default asyncio client has one for each running loop.
        port = self._client.port
        if self._known is None or self._known[0] is not port:
            taker = Taker(port, self._front(), self._tries, time.time)
            putter = Putter(port, self._names, time.time, capacity=self._capacity, window=self._window)
            self._known = (port, taker, putter)
        return self._known

    def _front(self) -> Front:
        return Front(self._names)

    async def _put(
        self,
        value: str | bytes,
        timeout: Timeout,
        *,
        key: str | None = None,
        task: str | None = None,
        priority: int = NORMAL,
        due: float | None = None,
    ) -> str:
        if key is not None:
            self._names.seen(key)  # only whether it can be one
        if task is not None:
            self._names.task(task)
        facts: dict[str, Any] = json.loads(describe_caller(self._client))
        facts.update({name: given for name, given in (("key", key), ("named", task)) if given is not None})
        offer = Offer(Content(to_bytes(value), facts), priority, due, key, task)
        if self._capacity is None:
            terms = Terms(self._ttl, client_deadline(self._client, timeout))
        else:
            terms = self._waiting(None if isinstance(timeout, Default) else timeout)
        return await self._programs()[2].put(offer, terms)

    def _terms(self, timeout: Timeout) -> Terms:
        """How long a take waits."""
        return self._waiting(self._timeout if isinstance(timeout, Default) else timeout)

    def _waiting(self, chosen: Timeout) -> Terms:
        """Not to wait is about jobs, or room for them: the requests themselves may take a call's time."""
        if isinstance(chosen, Default) or chosen is None:
            return Terms(self._ttl, None)
        limit = seconds(chosen, "timeout")
        return Terms(self._ttl, self._client.port.now() + (limit or CALL_SECONDS), wait=limit > 0)

    def _settling(self, taker: Taker, grip: Grip) -> Settling:
        return Settling(self._client.port, self._names, taker.tending, grip, time.time, self._hold)

    def _due(self, delay: Seconds) -> float | None:
        """When something with this delay is due; None for at once."""
        length = seconds(delay, "delay")
        return time.time() + length if length else None

    def _operating(self, timeout: Timeout) -> Operating:
        return Operating(self._client.port, self._names, client_deadline(self._client, timeout))


class QueueBase(_Described):
    """What all queues of blocking code are."""

    def take(self, *, timeout: Timeout = DEFAULT) -> Job:
        """Wait for the first job and take it; `timeout` as in the constructor, DEFAULT means what was given there.

        Raises:
            QueueEmpty: no job came in time.
            CallTimeout: the server could not be asked in time.
            RequestRefused, HistoryLost, ClosedError.
        """
        port, taker, _ = self._programs()

        def own(grip: Grip) -> Job:
            return Job(port, self.name, self._settling(taker, grip), self._on_lost)

        job = run_blocking(taker.take(self._terms(timeout), own))
        job.extend()
        return job

    def try_take(self) -> Job | None:
        """The first job if there is one, else None; does not wait for one.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        try:
            return self.take(timeout=0)
        except QueueEmpty:
            return None

    def __iter__(self) -> Iterator[Job]:
        """One job after the other, for ever; each is to be acknowledged, or used as a context manager."""
        while True:
            yield self.take(timeout=None)

    def __len__(self) -> int:
        """How many jobs are to be done: all but the dead."""
        return self.depth().total

    def __bool__(self) -> bool:
        return True  # A queue without jobs is a queue all the same, and asking must not cost a request.

    def depth(self, *, timeout: Timeout = DEFAULT) -> Depth:
        """How many jobs are ready, taken, delayed and dead.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._operating(timeout).depth())

    def dead(self, *, timeout: Timeout = DEFAULT) -> list[DeadJob]:
        """The jobs that were tried too often, in the order in which they were put.

        Raises:
            CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._operating(timeout).dead())

    def revive(self, job: str, *, timeout: Timeout = DEFAULT) -> bool:
        """Put a dead job back to its old place, with all its tries; False if it is not dead.

        Raises:
            OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._operating(timeout).revive(job))

    def discard(self, job: str, *, timeout: Timeout = DEFAULT) -> bool:
        """Delete a dead job; False if it is not dead.

        Raises:
            OutcomeUnknown, CallTimeout, RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._operating(timeout).discard(job))


class ComingJob:
    """A job being taken: await it, or use it with ``async with``."""

    def __init__(self, take: Callable[[], Any]) -> None:
        self._take = take
        self._job: AsyncJob | None = None

    def __await__(self) -> Generator[Any, None, AsyncJob]:
        taking: Generator[Any, None, AsyncJob] = self._take().__await__()
        return taking

    async def __aenter__(self) -> AsyncJob:
        self._job = await self
        return await self._job.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        job, self._job = self._job, None
        if job is not None:
            await job.__aexit__(kind, error, trace)


class AsyncQueueBase(_Described):
    """What all queues of asyncio code are."""

    def take(self, *, timeout: Timeout = DEFAULT) -> ComingJob:
        """Wait for the first job and take it: ``async with queue.take() as job``; see `Queue.take`."""
        return ComingJob(lambda: self._take(timeout))

    async def _take(self, timeout: Timeout) -> AsyncJob:
        port, taker, _ = self._programs()

        def own(grip: Grip) -> AsyncJob:
            return AsyncJob(port, self.name, self._settling(taker, grip), self._on_lost)

        job = await taker.take(self._terms(timeout), own)
        job.extend()
        return job

    async def try_take(self) -> AsyncJob | None:
        """The first job if there is one, else None; see `Queue.try_take`."""
        try:
            return await self.take(timeout=0)
        except QueueEmpty:
            return None

    async def __aiter__(self) -> AsyncIterator[AsyncJob]:
        """One job after the other, for ever; each is to be acknowledged, or used as a context manager."""
        while True:
            yield await self.take(timeout=None)

    async def depth(self, *, timeout: Timeout = DEFAULT) -> Depth:
        """How many jobs are ready, taken, delayed and dead; see `Queue.depth`."""
        return await self._operating(timeout).depth()

    async def dead(self, *, timeout: Timeout = DEFAULT) -> list[DeadJob]:
        """The jobs that were tried too often; see `Queue.dead`."""
        return await self._operating(timeout).dead()

    async def revive(self, job: str, *, timeout: Timeout = DEFAULT) -> bool:
        """Put a dead job back; see `Queue.revive`."""
        return await self._operating(timeout).revive(job)

    async def discard(self, job: str, *, timeout: Timeout = DEFAULT) -> bool:
        """Delete a dead job; see `Queue.discard`."""
        return await self._operating(timeout).discard(job)


class Queue(QueueBase):
    """First in, first out: ``queue.put("x")`` here, ``with queue.take() as job: ...`` there.

    One object may be used by many threads. Each job that is taken is one thread's until it is settled.

    Args of the constructor:
        client: whose session holds what is taken.
        name: of the queue; every client that uses the name uses the queue.
        ttl: seconds after which the jobs of a consumer that died are given to others.
        timeout: seconds `take` waits; DEFAULT and None mean for ever, 0 does not wait.
        tries: how often a job is taken before it is dead; None for no limit.
        hold: seconds for which a job may be held without `extend`; None for as long as its consumer lives.
        capacity: how many jobs there may be, the dead not counted; `put` waits while there are. None for no limit.
        window: seconds for which the keys of puts are remembered.
        on_lost: called with the job, on a thread of its own, when it is lost.

    Example:
        >>> import coord
        >>> with coord.connect("memory://") as client:
        ...     mail = client.queue("mail")
        ...     _ = mail.put("hello")
        ...     with mail.take() as job:
        ...         job.text
        'hello'
    """

    def put(self, value: str | bytes, *, key: str | None = None, timeout: Timeout = DEFAULT) -> str:
        """Put a job at the end; returns its id when it is stored.

        With a `key` that was put within the window nothing is put, and the id is that of the job that was; whether or
        not it has been done meanwhile. On a queue with a `capacity` this waits for room, by default for ever; who asked
        first is first.

        Raises:
            QueueFull: there was no room in time.
            OutcomeUnknown: no answer came in time; it may be there.
            CallTimeout: it was not put in time.
            RequestRefused, HistoryLost, ClosedError.
        """
        return run_blocking(self._put(value, timeout, key=key))


class AsyncQueue(AsyncQueueBase):
    """First in, first out, on asyncio; see `Queue`."""

    async def put(self, value: str | bytes, *, key: str | None = None, timeout: Timeout = DEFAULT) -> str:
        """Put a job at the end; see `Queue.put`."""
        return await self._put(value, timeout, key=key)


def whole_number(what: str, value: int | None) -> int | None:
    """A number that may be left out.

    Raises:
        UsageError: it is none from 1 on.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"{what} is a whole number from 1 on, or None, not {value!r}")
    return value
