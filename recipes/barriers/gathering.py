"""The program behind double barriers: so many enter together, and nobody is out before all have left.

Each member has a key of its own on its client's lease, and everything is said in those keys: one transaction lets in as
many as it takes, by writing into each of their keys, compared with what was read of it. So there is no common key that
could be left behind or be deleted before everybody saw it, a member that dies in that moment keeps the others waiting
instead of being counted, and each one waits for its own key alone.

A key is made empty first, and says that its member waits only with a second request, which compares it: a claim that
comes late, from a call that was given up, makes a key that nobody counts.

Who leaves deletes its key and waits until the keys of those who entered with it are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from coord.errors import CallTimeout, Compacted, LeaseLost, UsageError
from coord.keys import prefix_end
from coord.model import EventKind, KeyValue
from coord.ops import Attribute, Compare, Get, Order, Put, Relation, Target, Txn, missing
from coord.port import Port, Ticket, WatchTarget
from coord.recipes.barriers.named import Limit, as_text
from coord.recipes.common.layout import double_of
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.turn import create_revision

MOST_PARTIES: Final = 100  # one transaction writes as many keys; etcd refuses more than 128 operations
_WAITS: Final = b"waits for "
_IN: Final = b"in with "


class Member:
    """One that entered; it owns the key.

    Attributes:
        ticket: the key and its session.
        company: what the keys of all who entered together say.
    """

    __slots__ = ("__weakref__", "company", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.company = b""


class Gathering:
    """The double barrier of one name.

    Args:
        port: what everything is awaited from.
        name: of the barrier.
        parties: how many enter together.
    """

    def __init__(self, port: Port, name: bytes, parties: int) -> None:
        self._port = port
        self._name = name
        self._parties = parties
        self._place = double_of(name)
        self._start = self._place + b"/"
        self._end = prefix_end(self._start)

    async def enter(self, ttl: float, limit: Limit) -> Member:
        """Wait until enough have come; leave no key behind on any other exit.

        Raises:
            UsageError: others wait for another number.
            CallTimeout: they were not enough in time.
            LeaseLost: the own key is gone.
            RequestRefused, HistoryLost, ClosedError.
        """
        session = await self._port.session(ttl, deadline=limit.deadline)
        patience = Patience(self._port, limit.deadline, session)
        member = Member(self._port.ticket(session, self._place))
        self._port.hold(member.ticket, member)
        try:
            await self._come(member.ticket, patience)
            while not member.company:
                member.company = await self._look(member.ticket, limit, patience)
            session.check()
            return member
        except BaseException:
            await self._port.withdraw(member.ticket)
            raise

    async def _come(self, ticket: Ticket, patience: Patience) -> None:
        """Make the key, then have it say that its member waits."""
        key = ticket.key
        claim = Txn((missing(key),), (Put(key, lease=ticket.session.lease),), (Get(key, keys_only=True),))
        created = create_revision(await patience.claim(ticket, claim))
        fresh = Compare(key, Attribute.MOD, Relation.EQUAL, created)
        await patience.txn(Txn((fresh,), (Put(key, b"%s%d" % (_WAITS, self._parties), ignore_lease=True),)))

    async def _look(self, ticket: Ticket, limit: Limit, patience: Patience) -> bytes:
        """Let those in who are there if they are enough, else wait; what the key says once it is let in, else empty."""
        seen = await patience.read(Get(self._start, self._end, order=Order.ASCEND, target=Target.CREATE))
        mine = next((item for item in seen.items if item.key == ticket.key), None)
        if mine is None:
            raise self._gone(ticket)
        if mine.value.startswith(_IN):
            return mine.value
        waiting = [item for item in seen.items if item.value.startswith(_WAITS)]
        self._agree(waiting)
        if len(waiting) >= self._parties:
            await patience.txn(self.let_in(waiting[: self._parties]))
            return b""
        if not limit.wait:
            raise CallTimeout("it was not to be waited for")
        return await self._wait(ticket, seen.header.revision + 1, patience)

    def let_in(self, group: Sequence[KeyValue]) -> Txn:
        """What lets these in together, if all of them still wait."""
        company = _IN + group[-1].key.removeprefix(self._start)
        return Txn(
            tuple(Compare(item.key, Attribute.MOD, Relation.EQUAL, item.mod_revision) for item in group),
            tuple(Put(item.key, company, ignore_lease=True) for item in group),
        )

    def _agree(self, waiting: Sequence[KeyValue]) -> None:
        mine = b"%s%d" % (_WAITS, self._parties)
        for item in waiting:
            if item.value != mine:
                name, stored = as_text(self._name), as_text(item.value.removeprefix(_WAITS))
                raise UsageError(
                    f"double barrier {name!r}: somebody waits for {stored} parties, not {self._parties}",
                    name=name,
                    stored=stored,
                    asked=self._parties,
                )

    async def _wait(self, ticket: Ticket, from_revision: int, patience: Patience) -> bytes:
        watch = self._port.watch([WatchTarget(ticket.key)], from_revision=from_revision)
        try:
            while True:
                batch = await watch.next(deadline=patience.deadline, session=ticket.session)
                for event in batch.events:
                    if event.kind is EventKind.DELETE:
                        raise self._gone(ticket)
                    if event.item.value.startswith(_IN):
                        return event.item.value
        except Compacted:
            return b""  # The caller looks again.
        finally:
            watch.close()

    def _gone(self, ticket: Ticket) -> LeaseLost:
        ticket.session.check()
        name = as_text(self._name)
        lease = ticket.session.lease
        return LeaseLost(f"double barrier {name!r}: the place in it is gone", cause="withdrawn", lease=lease)

    async def leave(self, member: Member, limit: Limit) -> None:
        """Leave, and wait until all who entered together have left or died.

        Raises:
            LeaseLost: the lease was lost before, so that others may have left without waiting.
            CallTimeout: they did not leave in time; this one has left.
            RequestRefused, HistoryLost, ClosedError.
        """
        try:
            member.ticket.session.check()
        finally:
            await self._port.withdraw(member.ticket)
        patience = Patience(self._port, limit.deadline)
        while True:
            seen = await patience.read(Get(self._start, self._end))
            others = {item.key for item in seen.items if item.value == member.company} - {member.ticket.key}
            if not others:
                return
            if not limit.wait:
                raise CallTimeout("it was not to be waited for")
            if await self._are_gone(others, seen.header.revision + 1, patience):
                return

    async def _are_gone(self, keys: set[bytes], from_revision: int, patience: Patience) -> bool:
        watch = self._port.watch([WatchTarget(self._start, self._end, puts=False)], from_revision=from_revision)
        try:
            while keys:
                batch = await watch.next(deadline=patience.deadline)
                keys.difference_update(event.item.key for event in batch.events)
        except Compacted:
            return False
        finally:
            watch.close()
        return True
