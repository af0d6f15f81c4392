"""What consumers do for a queue before they take from it: bring back what dead consumers held, and make due jobs ready.

Each is a transaction that compares what it read, so any number of consumers may do it at once, and doing it twice
changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from coord.model import KeyValue
from coord.ops import Attribute, Compare, Delete, Get, Op, Put, Relation, Txn, missing
from coord.recipes.common.patience import Patience
from coord.recipes.queues.names import Standing, all_of, parse_facts
from coord.recipes.queues.page import Front, Page

logger = logging.getLogger("coord.queue")

BATCH: Final = 16
"""Jobs moved by one transaction."""


class Tending:
    """Keeps the front of one queue as it must be.

    Args:
        front: the queue, as it is read.
        tries: a job that was taken so often is dead when it comes back; None for never.
    """

    def __init__(self, front: Front, tries: int | None) -> None:
        self._front = front
        self._names = front.names
        self.tries = tries
        self._strange = 0  # keys in taken/ that are none, as the last sweep left them
        self._told: set[bytes] = set()

    def is_orphaned(self, page: Page) -> bool:
        """True if a job is in the hands of somebody who is gone.

        Both keys are written and deleted together, so that only the end of a lease, or a withdrawal, makes the numbers
        differ.
        """
        return page.taken - page.takers != self._strange

    # --- what the dead held

    async def bring_back(self, patience: Patience) -> Page:
        """Put back what nobody has in his hands any more.

        Raises:
            CallTimeout, LeaseLost, RequestRefused, HistoryLost, ClosedError.
        """
        names = self._names
        jobs, jobs_end = all_of(names.taken_jobs)
        takers, takers_end = all_of(names.takers + b"/")
        seen = await patience.txn(Txn(then=(Get(jobs, jobs_end), Get(takers, takers_end, keys_only=True))))
        there = {item.key for item in seen.range(1).items}
        moves = list(self._back(seen.range(0).items, there))
        page = None
        for begin in range(0, len(moves), BATCH):
            page = await self._do(moves[begin : begin + BATCH], patience, came_back=True)
        if page is None:
            self._strange = len(seen.range(0).items) - len(there)
            page = await self._front.look(patience)
        return page

    def _back(self, items: Sequence[KeyValue], there: set[bytes]) -> Iterator[Txn]:
        for item in items:
            found = parse_facts(item.value)
            if found is None or not isinstance(found[1].get("by"), str):
                self._tell(item.key)
                continue
            standing, facts = found
            taker = self._names.taker(facts["by"])
            if taker not in there:
                compares = (_still(item), missing(taker))
                yield Txn(compares, (Delete(item.key), self.back_to(standing, "its consumer was gone")))

    def back_to(self, standing: Standing, reason: str) -> Put:
        """The write that puts a job back that was taken: to its old place, or among the dead."""
        if self.tries is not None and standing.tries >= self.tries:
            return Put(self._names.dead_at(standing.job), standing.encode(reason=reason))
        return Put(self._names.ready_at(standing), standing.ready_value())

    # --- what is due

    async def make_due(self, now: int, patience: Patience) -> Page:
        """Make ready what is due at `now`, milliseconds of the wall clock.

        What was put with a delay joins the queue at this moment; what was given back for a while returns to its place.

        Raises:
            CallTimeout, LeaseLost, RequestRefused, HistoryLost, ClosedError.
        """
        names = self._names
        begin, end = names.later, names.later + b"%016x" % (now + 1)
        seen = await patience.txn(Txn(then=(Get(begin, end, limit=BATCH),)))
        moves, back = [], False
        for item in seen.range(0).items:
            found = parse_facts(item.value)
            if found is None:
                self._tell(item.key)
                moves.append(Txn((_still(item),), (Delete(item.key),)))
                continue
            standing = found[0]
            back = back or standing.order > 0
            if not standing.order:
                standing = replace(standing, seen=seen.header.revision)
            ready = Put(names.ready_at(standing), standing.ready_value())
            moves.append(Txn((_still(item),), (Delete(item.key), ready)))
        if not moves:
            return await self._front.look(patience)
        return await self._do(moves, patience, came_back=back)

    async def _do(self, moves: list[Txn], patience: Patience, *, came_back: bool) -> Page:
        told: tuple[Op, ...] = (Put(self._names.returns),) if came_back else ()
        result = await patience.txn(Txn(then=(*moves, *told, *self._front.reads())))
        return self._front.page(result)

    def _tell(self, key: bytes) -> None:
        if key not in self._told:
            self._told.add(key)
            logger.warning("key %r lies in the queue %r but is no job; coord does without it", key, self._names.queue)


def _still(item: KeyValue) -> Compare:
    return Compare(item.key, Attribute.MOD, Relation.EQUAL, item.mod_revision)
