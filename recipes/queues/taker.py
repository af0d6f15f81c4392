"""The program behind `take`: the first free job, or a place in the line of those who wait for one.

A consumer that finds a job takes it with one transaction. If there is none it joins the line, a queue of keys like a
lock's, of which only the first watches the queue: a new job wakes one consumer, however many wait. It takes the job,
leaves, and the next one watches. Nobody polls: the first waits for a change, or for the time at which a job is due.

Knows nothing of threads, tasks, clocks or gRPC; everything is awaited from the port. `wall` is the wall clock, which
only due times are compared with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from coord.errors import CallTimeout, Compacted, LockTimeout, QueueEmpty
from coord.model import Event, EventKind, TxnResult, WatchBatch
from coord.ops import Attribute, Compare, Delete, Get, Relation, Txn
from coord.port import Port, Session, Ticket, WatchTarget
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.turn import Line, Place, Rejoin, Terms, joining
from coord.recipes.queues.names import Content, Standing, all_of, parse_content, parse_facts, parse_ready
from coord.recipes.queues.page import Candidate, Front, Page, Taken
from coord.recipes.queues.tending import Tending

logger = logging.getLogger("coord.queue")

J = TypeVar("J")

SOON: Final = 0.001  # seconds; a due time is stored in milliseconds


@dataclass(frozen=True, slots=True)
class Grip:
    """A job in the hands of a consumer.

    Attributes:
        place: the key that says so, and its fence.
        standing: where the job stood, with this try counted.
        content: what was put.
    """

    place: Place
    standing: Standing
    content: Content


class _First:
    """What is first in the line."""

    def __init__(self, place: Place) -> None:
        self.place = place


class Taker:
    """Takes jobs from one queue; may be used by many at once.

    Args:
        port: what everything is done through.
        front: the queue, as it is read.
        tries: a job that was taken so often is dead when it comes back; None for never.
        wall: seconds of the wall clock.
    """

    def __init__(self, port: Port, front: Front, tries: int | None, wall: Callable[[], float]) -> None:
        self._port = port
        self._front = front
        self.names: Final = front.names
        self.tending: Final = Tending(front, tries)
        self._wall = wall
        self._line = Line(port, front.names.line)
        self._page: Page | None = None  # as the last transaction showed it; whoever uses it compares

    async def take(self, terms: Terms, own: Callable[[Grip], J]) -> J:
        """Take the first job, waiting for one, and return `own(grip)`; nothing stays taken on any other exit.

        What `own` returns owns the ticket: the keeper gives the job back when that object is collected.

        Raises:
            QueueEmpty: no job came before the deadline, or at once if `terms` say not to wait.
            CallTimeout: the server could not be asked before the deadline.
            LeaseLost: the session was ended on purpose, or with the history it was built on.
            HistoryLost, ForkedError, RequestRefused, ClosedError.
        """
        return await joining(self._port, terms, lambda session: self._take_with(session, terms, own))

    async def _take_with(self, session: Session, terms: Terms, own: Callable[[Grip], J]) -> J:
        ticket = self._port.ticket(session, self.names.takers)
        patience = Patience(self._port, terms.deadline, session)
        try:
            grip = await self._take_there(ticket, self._page, patience)
            if not isinstance(grip, Grip):
                if not terms.wait:
                    raise self._empty()
                grip = await self._wait_in_line(ticket, terms)
            session.check()
            job = own(grip)
            self._port.hold(ticket, job)
            return job
        except BaseException:
            await self._port.withdraw(ticket)
            raise

    def _empty(self) -> QueueEmpty:
        return QueueEmpty(f"no job came to the queue {self.names.queue!r} in time", queue=self.names.queue)

    # --- taking what is there

    async def _take_there(self, ticket: Ticket, page: Page | None, patience: Patience) -> Grip | Page:
        """Take the first job; the page that shows that there is none otherwise.

        A page that was read before is only good for what it shows: that it shows nothing proves nothing.
        """
        if page is None or not page.sure or not page.open:
            page = await self._front.look(patience)
        while True:
            if self.tending.is_orphaned(page):
                page = await self.tending.bring_back(patience)
            elif page.first_due is not None and page.first_due <= self._now():
                page = await self.tending.make_due(self._now(), patience)
            elif page.met and not page.open:
                page = self._front.page(await patience.txn(self._front.opening(page)))
            elif page.sure and page.open:
                got = await self._try(ticket, page, patience)
                if isinstance(got, Grip):
                    return got
                page = got
            elif page.more and page.open:
                page = await self._front.look(patience)
            else:
                return page

    def _now(self) -> int:
        return int(self._wall() * 1000)

    async def _try(self, ticket: Ticket, page: Page, patience: Patience) -> Grip | Page:
        request = self._front.taking(ticket.key, ticket.session.lease, page)
        result = await patience.claim(ticket, request)
        self._page = after = self._front.page(result)
        if not result.succeeded:
            return await self._taken_before(ticket, result, patience) or after
        taken = self._front.taken(page, result)
        if taken is None:
            return after
        return await self._grip(ticket, taken, patience)

    async def _taken_before(self, ticket: Ticket, result: TxnResult, patience: Patience) -> Grip | None:
        """What an earlier attempt took whose answer was lost."""
        mine = result.range(0).first
        if mine is None:
            return None
        job = mine.value.decode("utf-8", "replace")
        reads = Txn(then=(Get(self.names.taken_job(job)), Get(self.names.job(job))))
        seen = await patience.txn(reads)
        stored, content = seen.range(0).first, seen.range(1).first
        facts = None if stored is None else parse_facts(stored.value)
        found = None if content is None else parse_content(content.value)
        standing = Standing(job) if facts is None else facts[0]
        return await self._grip(ticket, Taken(standing, found, mine.create_revision), patience)

    async def _grip(self, ticket: Ticket, taken: Taken, patience: Patience) -> Grip:
        if taken.content is not None:
            return Grip(Place(ticket, taken.fence), taken.standing, taken.content)
        job = taken.standing.job
        logger.warning("the job %r of the queue %r has no content; coord does without it", job, self.names.queue)
        mine = Compare(ticket.key, Attribute.CREATE, Relation.EQUAL, taken.fence)
        await patience.txn(Txn((mine,), (Delete(self.names.taken_job(job)), Delete(ticket.key))))
        raise Rejoin

    # --- waiting

    async def _wait_in_line(self, ticket: Ticket, terms: Terms) -> Grip:
        try:
            first = await self._line.take(b"", terms, _First)
        except LockTimeout as late:
            raise self._empty() from late.__cause__
        try:
            return await self._take_first(ticket, first.place.ticket.session, terms)
        finally:
            await self._port.withdraw(first.place.ticket)

    async def _take_first(self, ticket: Ticket, session: Session, terms: Terms) -> Grip:
        patience = Patience(self._port, terms.deadline, session)
        got = await self._take_there(ticket, None, patience)
        while not isinstance(got, Grip):
            page = await self._news(got, session, terms)
            got = await self._take_there(ticket, page, patience)
        return got

    async def _news(self, page: Page, session: Session, terms: Terms) -> Page | None:
        """Wait until there may be a job; the page with it if that is known already."""
        targets = [WatchTarget(*all_of(prefix), deletes=False) for prefix in (self.names.ready, self.names.later)]
        targets.append(WatchTarget(*all_of(self.names.taken), puts=False))
        targets.extend(WatchTarget(key, deletes=False) for key in self._front.watched)
        watch = self._port.watch(targets, from_revision=page.revision + 1)
        first_due = page.first_due
        try:
            while True:
                until = self._until(first_due, terms.deadline)
                try:
                    batch = await watch.next(deadline=until, session=session)
                except Compacted:
                    return None
                except CallTimeout as late:
                    if terms.deadline is not None and self._port.now() >= terms.deadline:
                        raise self._empty() from late.__cause__
                    return None
                for event in batch.events:
                    first_due = self._sooner(first_due, event)
                if any(event.item.key in self._front.watched for event in batch.events):
                    return None
                jobs = [event for event in batch.events if self._is_ready(event)]
                if jobs:
                    return self._with_job(page, jobs, batch.revision)
                if self._lost_its_consumer(batch):
                    return None
        finally:
            watch.close()

    def _until(self, first_due: int | None, deadline: float | None) -> float | None:
        if first_due is None:
            return deadline
        until = self._port.now() + max(0.0, first_due / 1000 - self._wall()) + SOON
        return until if deadline is None else min(until, deadline)

    def _sooner(self, first_due: int | None, event: Event) -> int | None:
        due = self.names.due_of(event.item.key) if event.kind is EventKind.PUT else None
        if due is None or first_due is None:
            return first_due if due is None else due
        return min(first_due, due)

    def _is_ready(self, event: Event) -> bool:
        return event.item.key.startswith(self.names.ready)

    def _with_job(self, page: Page, jobs: list[Event], revision: int) -> Page | None:
        """The page, seen without a job, after these came; None if it takes a look to know which is first."""
        standing = parse_ready(self.names, jobs[0].item)
        if not page.open or len(jobs) > 1 or jobs[0].item.value or standing is None:
            return None
        return page.with_job(Candidate(standing, jobs[0].item.create_revision), revision)

    def _lost_its_consumer(self, batch: WatchBatch) -> bool:
        """True if a consumer is gone and its job is not: what is settled goes together."""
        gone = [event.item.key for event in batch.events if event.kind is EventKind.DELETE]
        jobs = sum(key.startswith(self.names.taken_jobs) for key in gone)
        return jobs < sum(key.startswith(self.names.takers) for key in gone)
