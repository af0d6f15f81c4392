"""The program behind locks and elections: join a queue, wait to be first, leave.

The queue for a name is the keys directly under it, ordered by create revision. A place in it is a key used once, on
the client's lease: it goes when it is withdrawn or when the lease ends, and no late request can touch somebody else's.

Knows nothing of threads, tasks, clocks or gRPC; everything is awaited from the port.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from coord.errors import (
    CallTimeout,
    ClosedError,
    Compacted,
    ForkedError,
    LeaseLost,
    LockTimeout,
    OutcomeUnknown,
    Unavailable,
)
from coord.keys import prefix_end
from coord.model import KeyValue, RangeResult, TxnResult
from coord.ops import Get, Order, Put, Target, Txn, missing
from coord.port import Port, Session, Ticket, WatchTarget
from coord.recipes.common.layout import contender_prefix, is_contender

logger = logging.getLogger("coord.lock")

ATTEMPT_SECONDS: Final = 5.0  # for one request, so that a claim whose answer is lost cannot arrive hours later
PAUSE_SECONDS: Final = 0.1  # between attempts while the server cannot be reached
_REJOIN_CAUSES: Final = frozenset(("expired", "unreachable", "revoked"))

G = TypeVar("G")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue that is first: ownership.

    Attributes:
        ticket: the key and its session.
        fence: create revision of the key; grows with every owner.
    """

    ticket: Ticket
    fence: int


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a call waits.

    Attributes:
        ttl: time to live of the lease, in seconds.
        deadline: instant at which it gives up, None for never.
        wait: False to give up as soon as somebody else is first.
    """

    ttl: float
    deadline: float | None
    wait: bool = True


class _Rejoin(Exception):
    """The place is gone though nobody gave it up: join again at the end of the queue."""


class Line:
    """The queue for one name."""

    def __init__(self, port: Port, name: bytes) -> None:
        self._port = port
        self._name = name
        self._prefix = contender_prefix(name)
        self._end = prefix_end(self._prefix)
        self._strangers: set[bytes] = set()  # keys under the name that are no contenders, reported once each

    async def take(self, value: bytes, terms: Terms, own: Callable[[Place], G]) -> G:
        """Join the queue, wait to be first and return `own(place)`; leave no key behind on any other exit.

        What `own` returns owns the ticket: the keeper withdraws it when that object is collected. A place lost while
        waiting (its lease expired, somebody deleted the key) is asked for again, at the end of the queue: nobody
        entered anything yet.

        Raises:
            LockTimeout: not first before the deadline, or at once if `terms` say not to wait.
            LeaseLost: the session was ended on purpose, or with the history it was built on.
            HistoryLost: the cluster is another one, or went back in time.
            ForkedError: the client belongs to the parent process.
            RequestRefused: the server refuses the key for good.
            ClosedError: the client was closed.
        """
        try:
            while True:
                session = await self._port.session(terms.ttl, deadline=terms.deadline)
                try:
                    return await self._take_with(session, value, terms, own)
                except _Rejoin:
                    continue
                except LeaseLost as loss:
                    _check_healable(loss)
        except CallTimeout as late:
            raise self._not_won() from late

    async def _take_with(self, session: Session, value: bytes, terms: Terms, own: Callable[[Place], G]) -> G:
        ticket = self._port.ticket(session, self._name)
        try:
            fence, first = await self._claim(ticket, value, terms)
            while not first:
                first = await self._advance(ticket, fence, terms)
            session.check()
            owner = own(Place(ticket, fence))
            self._port.hold(ticket, owner)
            return owner
        except BaseException:
            await self._port.withdraw(ticket)
            raise

    async def _claim(self, ticket: Ticket, value: bytes, terms: Terms) -> tuple[int, bool]:
        """Create the key; returns its create revision and whether it is known to be first.

        The claim is repeated after an unknown outcome: the key is nobody else's and is only created if it is missing,
        so the second one finds what the first one did.
        """
        key = ticket.key
        front = Get(self._prefix, self._end, limit=1, order=Order.ASCEND, target=Target.CREATE, keys_only=True)
        request = Txn(
            compares=(missing(key),),
            then=(Put(key, value, ticket.session.lease), front),
            otherwise=(Get(key, keys_only=True), front),
        )
        while True:
            try:
                result = await self._port.claim(ticket, request, deadline=self._attempt(terms))
                break
            except (OutcomeUnknown, Unavailable, CallTimeout) as trouble:
                await self._pause(ticket.session, terms, trouble)
        first = result.range(1).first
        return _create_revision(result), first is not None and first.key == key

    async def _advance(self, ticket: Ticket, fence: int, terms: Terms) -> bool:
        """Look who stands in front; if somebody does, wait until that changes. True if nobody does."""
        ahead = Get(
            self._prefix,
            self._end,
            limit=1,
            order=Order.DESCEND,
            target=Target.CREATE,
            keys_only=True,
            max_create_revision=fence - 1,
        )
        seen = await self._read(Txn(then=(Get(ticket.key, keys_only=True), ahead)), ticket.session, terms)
        mine = seen.range(0).first
        if mine is None or mine.create_revision != fence:
            raise _Rejoin
        before = await self._predecessor(seen.range(1), fence, ticket.session, terms)
        if before is None:
            return True
        if not terms.wait:
            raise self._not_won()
        await self._wait_gone((before, ticket.key), seen.header.revision + 1, ticket.session, terms)
        return False

    async def _predecessor(self, seen: RangeResult, fence: int, session: Session, terms: Terms) -> bytes | None:
        """The contender directly in front, given the newest key in front; None if there is none."""
        newest = seen.first
        if newest is None or is_contender(self._name, newest.key):
            return newest.key if newest is not None else None
        everything = Get(self._prefix, self._end, keys_only=True, max_create_revision=fence - 1)
        found = (await self._read(Txn(then=(everything,)), session, terms)).range(0)
        ahead = self._contenders(found.items)
        return max(ahead, key=lambda item: item.create_revision).key if ahead else None

    async def _wait_gone(self, keys: Sequence[bytes], from_revision: int, session: Session, terms: Terms) -> None:
        """Wait until one of the keys was deleted.

        The own key is watched beside the predecessor's: a lease can be revoked, or the key deleted, while the one in
        front stays for hours, and its owner must not wait for a turn that never comes.
        """
        watch = self._port.watch([WatchTarget(key, puts=False) for key in keys], from_revision=from_revision)
        try:
            while not (await watch.next(deadline=terms.deadline, session=session)).events:
                continue
        except Compacted:
            return  # The caller reads again anyway.
        finally:
            watch.close()

    async def _read(self, request: Txn, session: Session, terms: Terms) -> TxnResult:
        while True:
            try:
                return await self._port.txn(request, deadline=self._attempt(terms))
            except (OutcomeUnknown, Unavailable, CallTimeout) as trouble:
                await self._pause(session, terms, trouble)

    def _attempt(self, terms: Terms) -> float:
        limit = self._port.now() + ATTEMPT_SECONDS
        return limit if terms.deadline is None else min(limit, terms.deadline)

    async def _pause(self, session: Session, terms: Terms, trouble: Exception) -> None:
        until = self._port.now() + PAUSE_SECONDS
        if terms.deadline is not None and until >= terms.deadline:
            raise self._not_won() from trouble
        await self._port.sleep(until=until, session=session)

    def _not_won(self) -> LockTimeout:
        name = self._name.decode("utf-8", "backslashreplace")
        return LockTimeout(f"{name!r} was not won in time", name=name)

    async def contenders(self, deadline: float | None) -> list[KeyValue]:
        """All places in the queue, the owner's first.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        request = Get(self._prefix, self._end, order=Order.ASCEND, target=Target.CREATE)
        return self._contenders((await self._port.range(request, deadline=deadline)).items)

    def _contenders(self, items: Sequence[KeyValue]) -> list[KeyValue]:
        strangers = {item.key for item in items if not is_contender(self._name, item.key)}
        for key in sorted(strangers - self._strangers):
            logger.warning("key %r lies under the lock %r but is no contender; coord ignores it", key, self._name)
        self._strangers |= strangers
        return [item for item in items if item.key not in strangers]


def _check_healable(loss: LeaseLost) -> None:
    """Return if a place that went with its lease may be asked for again.

    Raises:
        ClosedError, ForkedError, LeaseLost: it may not.
    """
    cause = loss.facts.get("cause")
    if cause == "closed":
        raise ClosedError("the client was closed") from loss
    if cause == "forked":
        raise ForkedError("the client was made in the parent process") from loss
    if cause not in _REJOIN_CAUSES:
        raise loss


def _create_revision(result: TxnResult) -> int:
    """Create revision of the claimed key, whether this claim made it or an earlier one."""
    if result.succeeded:
        return result.header.revision
    found = result.range(0).first
    if found is None:
        # Only an answer that breaks atomicity can look like this; the wait then finds no key and joins again.
        return 0
    return found.create_revision
