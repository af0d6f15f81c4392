"""The front of a queue as one transaction showed it, and the transaction that takes the first free job.

A page is the smallest slots. A job's slot holds a revision that is smaller than its order, so a job that the page does
not show comes after all those in it whose order is not larger than the last slot's revision: they are *sure*. So the
first job is known after reading a few keys, however many wait, and though nobody counts them.

The taking transaction tries several sure jobs in their order and takes the first that is still there, so that many
consumers with old pages do not fail one after the other. It happens only if nothing came before them since the page
was read: no job came back, and none of a better priority was put.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from coord.model import RangeResult, TxnResult
from coord.ops import Attribute, Compare, Delete, Get, Op, Put, Relation, Txn, missing
from coord.recipes.common.patience import Patience
from coord.recipes.queues.names import Content, Names, Standing, all_of, parse_content, parse_ready

PAGE: Final = 32
CHAIN: Final = 8
OPEN: Final = b"open"
CLOSED: Final = b"closed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that waits to be taken.

    Attributes:
        standing: where it stands.
        created: create revision of its key in ``ready/``.
    """

    standing: Standing
    created: int


@dataclass(frozen=True, slots=True)
class Page:
    """The front of a queue.

    Attributes:
        revision: of the store when it was read.
        sure: the first jobs, in their order.
        more: there are others.
        shown: how many slots it has.
        taken: how many jobs are in somebody's hands, or were until he died.
        takers: how many of those hands are there.
        first_due: when the first of the delayed jobs is due, in milliseconds; None if there is none.
        returns: what says that a job came back.
        gate: mod revision of the gate.
        open: jobs may be taken.
        met: what the gate waits for is there.
    """

    revision: int
    sure: tuple[Candidate, ...]
    more: bool
    shown: int
    taken: int
    takers: int
    first_due: int | None
    returns: int
    gate: int = 0
    open: bool = True
    met: bool = False

    def with_job(self, candidate: Candidate, revision: int) -> Page:
        """This page, seen whole and without a job, after one was put."""
        return replace(self, revision=revision, sure=(candidate,), shown=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that was taken.

    Attributes:
        standing: where it stood, with this try counted.
        content: what was put; None if it is gone, since somebody deleted it by hand.
        fence: create revision of the key that says so.
    """

    standing: Standing
    content: Content | None
    fence: int


class Front:
    """How the front of one queue is read, and taken from.

    Args:
        names: the queue's keys.
        page: slots in a page.
        chain: jobs that one transaction tries: each costs four of the 128 operations that a transaction may have.
    """

    def __init__(self, names: Names, *, page: int = PAGE, chain: int = CHAIN) -> None:
        self.names: Final = names
        self._page = page
        self._chain = chain

        self.watched: tuple[bytes, ...] = ()  # keys beside its jobs that decide whether they may be taken

    def conditions(self) -> tuple[Compare, ...]:
        """What must be true for any job to be taken."""
        return ()

    def opening(self, page: Page) -> Txn:
        """What makes the jobs of a page that are not to be taken yet available; here they are."""
        return Txn(then=self.reads())

    def reads(self, limit: int = 0) -> tuple[Op, ...]:
        """The operations that make a page; to be the last of a transaction."""
        names = self.names
        ready, ready_end = all_of(names.ready)
        taken, taken_end = all_of(names.taken_jobs)
        takers, takers_end = all_of(names.takers + b"/")
        later, later_end = all_of(names.later)
        return (
            Get(ready, ready_end, limit=limit or self._page),
            Get(taken, taken_end, count_only=True),
            Get(takers, takers_end, count_only=True),
            Get(later, later_end, limit=1, keys_only=True),
            Get(names.returns, keys_only=True),
        )

    def page(self, result: TxnResult) -> Page:
        """The page in the answer to a transaction that ended with `reads`."""
        ready, taken, takers, later, returns = (
            result.range(position) for position in range(len(result.results) - 5, len(result.results))
        )
        return Page(
            revision=result.header.revision,
            sure=_sure(self.names, ready),
            more=ready.more,
            shown=len(ready.items),
            taken=taken.count,
            takers=takers.count,
            first_due=None if later.first is None else self.names.due_of(later.first.key),
            returns=0 if returns.first is None else returns.first.mod_revision,
        )

    async def look(self, patience: Patience) -> Page:
        """Read the front, as far as is needed to be sure of the first job.

        Raises:
            CallTimeout, LeaseLost, RequestRefused, HistoryLost, ClosedError.
        """
        limit = 0
        while True:
            page = self.page(await patience.txn(Txn(then=self.reads(limit))))
            if page.sure or not page.more:
                return page
            limit = 4 * page.shown

    def taking(self, key: bytes, lease: int, page: Page) -> Txn:
        """The transaction that takes the first of a page's jobs that is still there; `key` then says whose it is.

        It may be repeated: it does nothing once the key is there, and shows it.
        """
        names, tried = self.names, page.sure[: self._chain]
        compares = [
            missing(key),
            Compare(names.returns, Attribute.MOD, Relation.EQUAL, page.returns),
            *self.conditions(),
        ]
        better = names.priority(tried[-1].standing.priority)
        if better > names.priority(0):
            compares.append(Compare(names.ready, Attribute.CREATE, Relation.LESS, page.revision + 1, better))
        chain: tuple[Op, ...] = ()
        for candidate in reversed(tried):
            chain = (_take_one(names, key, lease, candidate, chain),)
        return Txn(tuple(compares), (*chain, *self.reads()), (Get(key), *self.reads()))

    def taken(self, page: Page, result: TxnResult) -> Taken | None:
        """What `taking` took, which was made of `page`; None if every job it tried was gone.

        Raises:
            TypeError: the answer is none to `taking`.
        """
        results = result.results
        for candidate in page.sure[: self._chain]:
            inner = results[0]
            if not isinstance(inner, TxnResult):
                raise TypeError(f"the nested transaction was answered with a {type(inner).__name__}")
            if inner.succeeded:
                found = inner.range(3).first
                content = None if found is None else parse_content(found.value)
                return Taken(_tried(candidate.standing), content, result.header.revision)
            results = inner.results
        return None


@dataclass(frozen=True, slots=True)
class Gate:
    """What must be there for the first job to be taken; without anything it opens only when it is told to.

    Attributes:
        count: how many jobs must be ready, None if their number does not matter.
        task: the task that must have been put, None if none needs to be.
    """

    count: int | None = None
    task: str | None = None


class GatedFront(Front):
    """The front of a queue whose jobs are taken only once its gate is open.

    Args:
        names: the queue's keys.
        gate: what it waits for.
        page, chain: as of `Front`.
    """

    def __init__(self, names: Names, gate: Gate, *, page: int = PAGE, chain: int = CHAIN) -> None:
        super().__init__(names, page=page, chain=chain)
        self._gate = gate
        self._task = names.task(gate.task) if gate.task is not None else names.gate
        self.watched = tuple(dict.fromkeys((names.gate, self._task)))

    def reads(self, limit: int = 0) -> tuple[Op, ...]:
        """See `Front.reads`."""
        return (Get(self.names.gate), Get(self._task, keys_only=True), *super().reads(limit))

    def page(self, result: TxnResult) -> Page:
        """See `Front.page`."""
        plain = super().page(result)
        at = len(result.results) - 7
        gate, task = result.range(at).first, result.range(at + 1).first
        count = self._gate.count
        return replace(
            plain,
            gate=0 if gate is None else gate.mod_revision,
            open=gate is not None and gate.value == OPEN,
            met=(count is not None and result.range(at + 2).count >= count)
            or (self._gate.task is not None and task is not None),
        )

    def conditions(self) -> tuple[Compare, ...]:
        """See `Front.conditions`."""
        return (Compare(self.names.gate, Attribute.VALUE, Relation.EQUAL, OPEN),)

    def opening(self, page: Page) -> Txn:
        """The transaction that opens the gate, unless somebody moved it since the page was read."""
        still = Compare(self.names.gate, Attribute.MOD, Relation.EQUAL, page.gate)
        return Txn((still,), (Put(self.names.gate, OPEN), *self.reads()), self.reads())


def _sure(names: Names, ready: RangeResult) -> tuple[Candidate, ...]:
    known = [
        Candidate(standing, item.create_revision)
        for item in ready.items
        if (standing := parse_ready(names, item)) is not None
    ]
    if ready.more:
        if not known:
            return ()
        last = known[-1].standing
        known = [
            each
            for each in known
            if each.standing.priority < last.priority
            or (each.standing.priority == last.priority and each.standing.order <= last.seen)
        ]
    return tuple(sorted(known, key=lambda each: each.standing.place))


def _take_one(names: Names, key: bytes, lease: int, candidate: Candidate, otherwise: tuple[Op, ...]) -> Txn:
    standing = candidate.standing
    ready = names.ready_at(standing)
    then = (
        Delete(ready),
        Put(names.taken_job(standing.job), _tried(standing).encode(by=_suffix(key))),
        Put(key, standing.job.encode(), lease),
        Get(names.job(standing.job)),
    )
    return Txn((Compare(ready, Attribute.CREATE, Relation.EQUAL, candidate.created),), then, otherwise)


def _tried(standing: Standing) -> Standing:
    return replace(standing, tries=standing.tries + 1)


def _suffix(key: bytes) -> str:
    return key.rsplit(b"/", 1)[1].decode()
