"""The program behind `put`.

A producer has a *receipt*: a key of its own, on its lease, that counts what it put. The transaction that puts a job
compares the count and raises it, so it may be sent again after a lost answer, and a late copy of it does nothing: a job
that was put is there once, even if it was taken and done before the answer was asked for again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from coord.errors import CallTimeout, Compacted, CoordError, LockTimeout, OutcomeUnknown, QueueFull
from coord.model import KeyValue, TxnResult
from coord.ops import Attribute, Compare, Delete, Get, Op, Put, Relation, Txn, missing
from coord.port import Port, Session, Ticket, WatchTarget
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.turn import Line, Place, Rejoin, Terms, joining
from coord.recipes.queues.names import NORMAL, Content, Names, Standing, all_of, milliseconds

WINDOW: Final = 300.0
"""Seconds for which keys are remembered, unless a queue says otherwise."""

FORGOTTEN: Final = 4
"""Keys that a put under a key forgets, if their window is over."""

FRESH_SECONDS: Final = 1.0
"""How old the revision may be that a slot is made of. An old one is right, too, but is read in every page."""


class Receipt:
    """A key that counts what one producer put."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.count = 0
        self.seen = 0  # a revision of the store, not newer than the present
        self.seen_at = float("-inf")

    def read(self, revision: int, now: float) -> None:
        """An answer to a request that was sent at `now` told this revision."""
        self.seen, self.seen_at = revision, now

    @property
    def mine(self) -> Compare:
        """True in the store until the next put."""
        return Compare(self.ticket.key, Attribute.VALUE, Relation.EQUAL, b"%d" % self.count)

    @property
    def id(self) -> str:
        """The id of the next job: unique, since a ticket is."""
        return f"{self.ticket.key.rsplit(b'/', 1)[1].decode()}-{self.count + 1:x}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be put.

    Attributes:
        content: what was given.
        priority: 0 for first to 255 for last.
        due: seconds of the wall clock before which it is not to be taken, None for at once.
        key: what is put once within the window, None for no such thing.
        task: the name under which a gate looks for it, None for none.
    """

    content: Content
    priority: int = NORMAL
    due: float | None = None
    key: str | None = None
    task: str | None = None


class _Turn:
    """The right to put into a queue that may have no room."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def mine(self) -> Compare:
        """True in the store as long as it lasts."""
        return Compare(self.place.ticket.key, Attribute.CREATE, Relation.EQUAL, self.place.fence)


class Putter:
    """Puts jobs into one queue; may be used by many at once.

    Args:
        port: what everything is done through.
        names: the queue's keys.
        wall: seconds of the wall clock.
        capacity: how many jobs there may be, the dead not counted; None for no limit.
        window: seconds for which keys are remembered.
    """

    def __init__(
        self,
        port: Port,
        names: Names,
        wall: Callable[[], float],
        *,
        capacity: int | None = None,
        window: float = WINDOW,
    ) -> None:
        self._port = port
        self._names = names
        self._wall = wall
        self._capacity = capacity
        self._window = window
        self._line = Line(port, names.room)
        self._receipts: list[Receipt] = []  # those that nobody uses at the moment

    async def put(self, offer: Offer, terms: Terms) -> str:
        """Put a job; returns its id when it is in the queue, or the id of the one that was put under its key.

        Raises:
            QueueFull: there was no room before the deadline, or at once if `terms` say not to wait.
            OutcomeUnknown: no answer came before the deadline; it may be there.
            CallTimeout: it was not put before the deadline.
            LeaseLost: the session was ended on purpose, or with the history it was built on.
            HistoryLost, ForkedError, RequestRefused, ClosedError.
        """
        if self._capacity is None:
            return await joining(self._port, terms, lambda session: self._put(session, offer, terms, ()))
        return await joining(self._port, terms, lambda session: self._put_in_turn(session, offer, terms))

    # --- into a queue that may be full

    async def _put_in_turn(self, session: Session, offer: Offer, terms: Terms) -> str:
        """One producer at a time counts and puts; so there is never one too many, and who asked first is first."""
        try:
            turn = await self._line.take_with(session, b"", terms, _Turn)
        except (LockTimeout, CallTimeout) as late:
            raise self._full() from late.__cause__
        try:
            await self._wait_for_room(Patience(self._port, terms.deadline, session), terms)
            return await self._put(session, offer, terms, (turn.mine,))
        finally:
            await self._port.withdraw(turn.place.ticket)

    async def _wait_for_room(self, patience: Patience, terms: Terms) -> None:
        names = self._names
        count = Txn(then=tuple(Get(*all_of(each), count_only=True) for each in (names.jobs, names.dead)))
        targets = (WatchTarget(*all_of(names.jobs), puts=False), WatchTarget(*all_of(names.dead), deletes=False))
        while True:
            seen = await patience.txn(count)
            if seen.range(0).count - seen.range(1).count < (self._capacity or 0):
                return
            if not terms.wait:
                raise self._full()
            watch = self._port.watch(targets, from_revision=seen.header.revision + 1)
            try:
                await watch.next(deadline=terms.deadline, session=patience.session)
            except Compacted:
                continue
            except CallTimeout as late:
                raise self._full() from late.__cause__
            finally:
                watch.close()

    def _full(self) -> QueueFull:
        return QueueFull(f"the queue {self._names.queue!r} had no room in time", queue=self._names.queue)

    # --- putting

    async def _put(self, session: Session, offer: Offer, terms: Terms, extra: tuple[Compare, ...]) -> str:
        receipt = await self._receipt(session, terms)
        patience = Patience(self._port, terms.deadline, session)
        if self._port.now() - receipt.seen_at > FRESH_SECONDS:
            sent = self._port.now()
            receipt.read((await patience.read(Get(receipt.ticket.key, keys_only=True))).header.revision, sent)
        known: KeyValue | None = None  # what was put under the key before
        while True:
            sent, job = self._port.now(), receipt.id
            result, repeated = await patience.resolve(self._request(receipt, offer, extra, known))
            if result.succeeded or _was_done(receipt, result):
                receipt.count += 1
                receipt.read(result.header.revision, sent)
                if result.succeeded and offer.key is not None:
                    await self._forget(result.range(len(result.results) - 1).items, patience)
                self._receipts.append(receipt)
                return job
            before = None if offer.key is None else result.range(1).first
            if before is not None and _is_same(receipt, result) and before != known:
                known = before
                remembered = _parse_seen(before.value)
                if remembered is None or remembered[1] <= milliseconds(self._wall()):
                    continue  # It is over: this one takes its place.
                if not repeated:
                    # Else an attempt on its way could still raise the count, once the key is forgotten.
                    self._receipts.append(receipt)
                return remembered[0]
            if repeated and not _is_same(receipt, result):
                raise OutcomeUnknown("the lease of the producer ended before it was known whether the job was put")
            raise Rejoin

    async def _receipt(self, session: Session, terms: Terms) -> Receipt:
        """One that is in the store; nobody else has it until it is given back."""
        while self._receipts:
            receipt = self._receipts.pop()
            if receipt.ticket.session is session:
                return receipt
        ticket = self._port.ticket(session, self._names.producers)
        try:
            receipt = Receipt(ticket)
            sent = self._port.now()
            made = await Patience(self._port, terms.deadline, session).claim(
                ticket, Txn((missing(ticket.key),), (Put(ticket.key, b"0", session.lease),))
            )
            receipt.read(made.header.revision, sent)
            self._port.hold(ticket, receipt)
            return receipt
        except BaseException:
            await self._port.withdraw(ticket)
            raise

    def _request(self, receipt: Receipt, offer: Offer, extra: tuple[Compare, ...], known: KeyValue | None) -> Txn:
        names = self._names
        due = None if offer.due is None else milliseconds(offer.due)
        standing = Standing(receipt.id, offer.priority, receipt.seen, due=due or 0)
        if offer.due is None:
            place = Put(names.ready_at(standing))
        else:
            place = Put(names.later_at(offer.due, standing.job), replace(standing, seen=0).encode())
        count = Put(receipt.ticket.key, b"%d" % (receipt.count + 1), ignore_lease=True)
        compares: tuple[Compare, ...] = (receipt.mine, *extra)
        then: tuple[Op, ...] = (count, Put(names.job(standing.job), offer.content.encode()), place)
        otherwise: tuple[Op, ...] = (Get(receipt.ticket.key),)
        if offer.task is not None:
            then += (Put(names.task(offer.task), standing.job.encode()),)
        if offer.key is not None:
            until = milliseconds(self._wall() + self._window)
            seen = names.seen(offer.key)
            compares += (Compare(seen, Attribute.MOD, Relation.EQUAL, 0 if known is None else known.mod_revision),)
            remembered = json.dumps({"job": standing.job, "until": until}, separators=(",", ":")).encode()
            then += (Put(seen, remembered), Put(names.fade_at(until, offer.key)), self._faded(until))
            otherwise += (Get(seen),)
        return Txn(compares, then, otherwise)

    # --- forgetting

    def _faded(self, until: int) -> Get:
        """Some of the keys whose window is over."""
        over = max(0, until - milliseconds(self._window))
        return Get(self._names.fades, self._names.fades + b"%016x" % over, limit=FORGOTTEN)

    async def _forget(self, fades: Sequence[KeyValue], patience: Patience) -> None:
        """Delete what is over; each put under a key forgets more than it adds. The job itself is put already."""
        moves = []
        for fade in fades:
            seen = self._names.seen_of(fade.key)
            # Both were written by one transaction; unless the key was put again since.
            still = Compare(seen, Attribute.MOD, Relation.EQUAL, fade.mod_revision)
            moves.append(Txn((still,), (Delete(seen), Delete(fade.key)), (Delete(fade.key),)))
        if moves:
            with contextlib.suppress(CoordError):
                await patience.txn(Txn(then=tuple(moves)))


def _was_done(receipt: Receipt, result: TxnResult) -> bool:
    """True if an earlier attempt put the job: the count is raised."""
    found = result.range(0).first
    return found is not None and found.value == b"%d" % (receipt.count + 1)


def _is_same(receipt: Receipt, result: TxnResult) -> bool:
    """True if the receipt says that nothing was put; then no attempt that is still on its way can put it either."""
    found = result.range(0).first
    return found is not None and found.value == b"%d" % receipt.count


def _parse_seen(stored: bytes) -> tuple[str, int] | None:
    try:
        facts: Any = json.loads(stored)
        return str(facts["job"]), int(facts["until"])
    except (ValueError, KeyError, TypeError):
        return None
