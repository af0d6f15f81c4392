"""The program behind `put`.

A producer has a *receipt*: a key of its own, on its lease, that counts what it put. The transaction that puts a job
compares the count and raises it, so it may be sent again after a lost answer, and a late copy of it does nothing: a job
that was put is there once, even if it was taken and done before the answer was asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from coord.errors import OutcomeUnknown
from coord.model import TxnResult
from coord.ops import Attribute, Compare, Get, Put, Relation, Txn, missing
from coord.port import Port, Session, Ticket
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.turn import Rejoin, Terms, joining
from coord.recipes.queues.names import NORMAL, Content, Names, Standing, milliseconds

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
    """

    content: Content
    priority: int = NORMAL
    due: float | None = None


class Putter:
    """Puts jobs into one queue; may be used by many at once.

    Args:
        port: what everything is done through.
        names: the queue's keys.
    """

    def __init__(self, port: Port, names: Names) -> None:
        self._port = port
        self._names = names
        self._receipts: list[Receipt] = []  # those that nobody uses at the moment

    async def put(self, job: Offer, terms: Terms) -> str:
        """Put a job; returns its id when it is in the queue.

        Raises:
            OutcomeUnknown: no answer came before the deadline; it may be there.
            CallTimeout: it was not put before the deadline.
            LeaseLost: the session was ended on purpose, or with the history it was built on.
            HistoryLost, ForkedError, RequestRefused, ClosedError.
        """
        return await joining(self._port, terms, lambda session: self._put_with(session, job, terms))

    async def _put_with(self, session: Session, job: Offer, terms: Terms) -> str:
        receipt = await self._receipt(session, terms)
        patience = Patience(self._port, terms.deadline, session)
        if self._port.now() - receipt.seen_at > FRESH_SECONDS:
            sent = self._port.now()
            receipt.read((await patience.read(Get(receipt.ticket.key, keys_only=True))).header.revision, sent)
        sent, job_id = self._port.now(), receipt.id
        result, repeated = await patience.resolve(self._request(receipt, job))
        if result.succeeded or _was_done(receipt, result):
            receipt.count += 1
            receipt.read(result.header.revision, sent)
            self._receipts.append(receipt)
            return job_id
        if repeated:
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

    def _request(self, receipt: Receipt, job: Offer) -> Txn:
        standing = Standing(receipt.id, job.priority, receipt.seen, due=0 if job.due is None else milliseconds(job.due))
        if job.due is None:
            place = Put(self._names.ready_at(standing))
        else:
            place = Put(self._names.later_at(job.due, standing.job), replace(standing, seen=0).encode())
        count = Put(receipt.ticket.key, b"%d" % (receipt.count + 1), ignore_lease=True)
        content = Put(self._names.job(standing.job), job.content.encode())
        return Txn((receipt.mine,), (count, content, place), (Get(receipt.ticket.key),))


def _was_done(receipt: Receipt, result: TxnResult) -> bool:
    """True if an earlier attempt put the job: the count is raised."""
    found = result.range(0).first
    return found is not None and found.value == b"%d" % (receipt.count + 1)
