"""The clients' methods that make queues of all kinds."""

from __future__ import annotations

from collections.abc import Callable

from coord.model import DEFAULT
from coord.recipes.common.client import HasPrograms
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.queues.job import AsyncJob, Job
from coord.recipes.queues.kinds import (
    AsyncDelayQueue,
    AsyncGatedQueue,
    AsyncPriorityQueue,
    DelayQueue,
    GatedQueue,
    PriorityQueue,
)
from coord.recipes.queues.putting import WINDOW
from coord.recipes.queues.queue import AsyncQueue, Queue


class QueueMethods(HasPrograms):
    """Queues of the blocking client."""

    def queue(
        self,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[Job], object] | None = None,
    ) -> Queue:
        """First in, first out: ``with client.queue("mail").take() as job: ...``.

        See `coord.recipes.queues.queue.Queue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return Queue(
            self,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )

    def priority_queue(
        self,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[Job], object] | None = None,
    ) -> PriorityQueue:
        """The best priority first: ``client.priority_queue("mail").put("x", priority=5)``.

        See `coord.recipes.queues.kinds.PriorityQueue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return PriorityQueue(
            self,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )

    def delay_queue(
        self,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[Job], object] | None = None,
    ) -> DelayQueue:
        """Jobs that wait for their time: ``client.delay_queue("mail").put("x", delay=60)``.

        See `coord.recipes.queues.kinds.DelayQueue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return DelayQueue(
            self,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )

    def gated_queue(
        self,
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
    ) -> GatedQueue:
        """Jobs that wait behind a gate: ``client.gated_queue("mail", count=10)``, ``.go()``.

        See `coord.recipes.queues.kinds.GatedQueue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return GatedQueue(
            self,
            name,
            count=count,
            task=task,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )


class AsyncQueueMethods(HasPrograms):
    """Queues of the asyncio client."""

    def queue(
        self,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[AsyncJob], object] | None = None,
    ) -> AsyncQueue:
        """First in, first out: ``async with client.queue("mail").take() as job: ...``.

        See `coord.recipes.queues.queue.Queue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return AsyncQueue(
            self,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )

    def priority_queue(
        self,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[AsyncJob], object] | None = None,
    ) -> AsyncPriorityQueue:
        """The best priority first: ``client.priority_queue("mail").put("x", priority=5)``.

        See `coord.recipes.queues.kinds.PriorityQueue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return AsyncPriorityQueue(
            self,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )

    def delay_queue(
        self,
        name: str,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        tries: int | None = None,
        hold: Seconds | None = None,
        capacity: int | None = None,
        window: Seconds = WINDOW,
        on_lost: Callable[[AsyncJob], object] | None = None,
    ) -> AsyncDelayQueue:
        """Jobs that wait for their time: ``client.delay_queue("mail").put("x", delay=60)``.

        See `coord.recipes.queues.kinds.DelayQueue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return AsyncDelayQueue(
            self,
            name,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )

    def gated_queue(
        self,
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
    ) -> AsyncGatedQueue:
        """Jobs that wait behind a gate: ``client.gated_queue("mail", count=10)``, ``.go()``.

        See `coord.recipes.queues.kinds.AsyncGatedQueue`.

        Raises:
            UsageError: the name is empty, or an argument is not what it must be.
        """
        return AsyncGatedQueue(
            self,
            name,
            count=count,
            task=task,
            ttl=ttl,
            timeout=timeout,
            tries=tries,
            hold=hold,
            capacity=capacity,
            window=window,
            on_lost=on_lost,
        )
