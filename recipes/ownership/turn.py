"""The program behind locks and elections: join a queue, wait to be first, leave.

The queue for a name is the keys directly under it, ordered by create revision. A place in it is a key used once, on
the client's lease: it goes when it is withdrawn or when the lease ends, and no late request can touch somebody else's.

Knows nothing of threads, tasks, clocks or gRPC; everything is awaited from the port.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, NamedTuple, TypeVar

from coord.errors import CallTimeout, ClosedError, Compacted, ForkedError, LeaseLost, LockTimeout
from coord.keys import prefix_end
from coord.model import KeyValue, RangeResult, TxnResult
from coord.ops import Get, Order, Put, Target, Txn, missing
from coord.port import Port, Session, Ticket, WatchTarget
from coord.recipes.common.layout import is_of_another_recipe
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.lane import Lane, exclusive

logger = logging.getLogger("coord.lock")

_REJOIN_CAUSES: Final = frozenset(("expired", "unreachable", "revoked"))

G = TypeVar("G")


class Place(NamedTuple):
    """A place in the queue that is first: ownership.

    Attributes:
        ticket: the key and its session.
        fence: create revision of the key; grows with every owner.
    """

    ticket: Ticket
    fence: int


class Terms(NamedTuple):
    """How long a call waits.

    Attributes:
        ttl: time to live of the lease, in seconds.
        deadline: instant at which it gives up, None for never.
        wait: False to give up as soon as somebody else is first.
    """

    ttl: float
    deadline: float | None
    wait: bool = True


class Rejoin(Exception):
    """The place is gone though nobody gave it up: join again at the end of the queue."""


class Call:
    """Owns the ticket of a running call: a second interrupt can keep the call from withdrawing it itself."""

    __slots__ = ("__weakref__",)


class Line:
    """The queue for one name.

    Args:
        port: what everything is awaited from.
        name: what is waited for, for messages; its contenders are those of a lock unless a lane is given.
        lane: where places stand and who goes first.
    """

    def __init__(self, port: Port, name: bytes, lane: Lane | None = None) -> None:
        self._port = port
        self._name = name
        self._lane = lane or exclusive(name)
        self._start = self._lane.rivals
        self._end = prefix_end(self._start)
        self._first = Get(self._start, self._end, limit=1, order=Order.ASCEND, target=Target.CREATE, keys_only=True)
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
            return await joining(self._port, terms, lambda session: self.take_with(session, value, terms, own))
        except CallTimeout as late:
            raise self._not_won() from late

    async def take_with(self, session: Session, value: bytes, terms: Terms, own: Callable[[Place], G]) -> G:
        """The same with this session alone.

        Raises:
            Rejoin: the place was lost while waiting.
            CallTimeout: the server did not answer before the deadline.
            LockTimeout, LeaseLost, HistoryLost, RequestRefused, ClosedError: as `take`.
        """
        patience = Patience(self._port, terms.deadline, session)
        ticket = self._port.ticket(session, self._lane.own)
        call = Call()
        self._port.hold(ticket, call)
        try:
            fence, first = await self._claim(ticket, value, patience)
            while not first:
                first = await self._advance(ticket, fence, terms, patience)
            session.check()
            owner = own(Place(ticket, fence))
            self._port.hold(ticket, owner)
            return owner
        except BaseException:
            await self._port.withdraw(ticket)
            raise

    async def _claim(self, ticket: Ticket, value: bytes, patience: Patience) -> tuple[int, bool]:
        """Create the key; returns its create revision and whether nobody is known to go first.

        The claim is repeated after an unknown outcome: the key is nobody else's and is only created if it is missing,
        so the second one finds what the first one did.
        """
        key = ticket.key
        request = Txn(
            compares=(missing(key),),
            then=(Put(key, value, ticket.session.lease), self._first),
            otherwise=(Get(key, keys_only=True), self._first),
        )
        result = await patience.claim(ticket, request)
        fence = create_revision(result)
        first = result.range(1).first
        return fence, first is None or first.create_revision >= fence

    async def _advance(self, ticket: Ticket, fence: int, terms: Terms, patience: Patience) -> bool:
        """Look who stands in front; if somebody does, wait until that changes. True if nobody does."""
        seen = await patience.txn(Txn(then=(Get(ticket.key, keys_only=True), self._ahead(fence, 1))))
        check_own(seen, fence)
        before = await self._predecessor(seen.range(1), fence, patience)
        if before is None:
            return True
        if not terms.wait:
            raise self._not_won()
        await self._wait_gone((before, ticket.key), seen.header.revision + 1, patience)
        return False

    def _ahead(self, fence: int, limit: int) -> Get:
        """The newest keys in front of one that was created at `fence`."""
        return Get(
            self._start,
            self._end,
            limit=limit,
            order=Order.DESCEND,
            target=Target.CREATE,
            keys_only=True,
            max_create_revision=fence - 1,
        )

    async def _predecessor(self, seen: RangeResult, fence: int, patience: Patience) -> bytes | None:
        """The rival directly in front, given the newest key in front; None if there is none.

        One that waits for the newest of many readers is not woken by each of them: if they leave in any order, it looks
        again after about half of those who are left.
        """
        newest = seen.first
        if newest is None or self._lane.is_rival(newest.key):
            return newest.key if newest is not None else None
        ahead = await self._rivals_ahead(fence, patience)
        return ahead[0].key if ahead else None

    async def _rivals_ahead(self, fence: int, patience: Patience) -> list[KeyValue]:
        """All rivals in front, newest first, when there are other keys among them."""
        return self._contenders((await patience.txn(Txn(then=(self._ahead(fence, 0),)))).range(0).items)

    async def _wait_gone(self, keys: Sequence[bytes], from_revision: int, patience: Patience) -> None:
        """Wait until one of the keys was deleted.

        The own key is watched beside the predecessor's: a lease can be revoked, or the key deleted, while the one in
        front stays for hours, and its owner must not wait for a turn that never comes.
        """
        await self._wait_for([WatchTarget(key, puts=False) for key in keys], keys, from_revision, patience)

    async def _wait_for(
        self, targets: Sequence[WatchTarget], keys: Collection[bytes], from_revision: int, patience: Patience
    ) -> None:
        """Wait until something happens to one of the keys."""
        watch = self._port.watch(targets, from_revision=from_revision)
        try:
            while True:
                batch = await watch.next(deadline=patience.deadline, session=patience.session)
                if any(event.item.key in keys for event in batch.events):
                    return
        except Compacted:
            return  # The caller reads again anyway.
        finally:
            watch.close()

    def _not_won(self) -> LockTimeout:
        name = self._name.decode("utf-8", "backslashreplace")
        return LockTimeout(f"{name!r} was not won in time", name=name)

    async def contenders(self, deadline: float | None) -> list[KeyValue]:
        """All places in the queue, the owner's first.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        request = Get(self._start, self._end, order=Order.ASCEND, target=Target.CREATE)
        return self._contenders((await self._port.range(request, deadline=deadline)).items)

    def _contenders(self, items: Sequence[KeyValue]) -> list[KeyValue]:
        strangers = {item.key for item in items if not self._lane.is_rival(item.key)}
        told = {key for key in strangers - self._strangers if not is_of_another_recipe(self._name, key)}
        for key in sorted(told):
            logger.warning("key %r lies under the lock %r but is no contender; coord ignores it", key, self._name)
        self._strangers |= told
        return [item for item in items if item.key not in strangers]


async def joining(port: Port, terms: Terms, attempt: Callable[[Session], Awaitable[G]]) -> G:
    """Attempt with one session after the other until one is not lost in the middle.

    Raises:
        LeaseLost: the session was ended on purpose, or with the history it was built on.
        ForkedError: the client belongs to the parent process.
        CallTimeout, RequestRefused, ClosedError: no session could be had.
    """
    while True:
        session = await port.session(terms.ttl, deadline=terms.deadline)
        try:
            return await attempt(session)
        except Rejoin:
            continue
        except LeaseLost as loss:
            _check_healable(loss)


def check_own(seen: TxnResult, fence: int) -> None:
    """Do nothing if the first thing that was read is the own key as it was created.

    Raises:
        Rejoin: it is gone.
    """
    mine = seen.range(0).first
    if mine is None or mine.create_revision != fence:
        raise Rejoin


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


def create_revision(result: TxnResult) -> int:
    """Create revision of the claimed key, whether this claim made it or an earlier one.

    Raises:
        Rejoin: the answer says that it is neither there nor missing.
    """
    if result.succeeded:
        return result.header.revision
    found = result.range(0).first
    if found is None:
        # Only an answer that breaks atomicity can look like this.
        raise Rejoin
    return found.create_revision
