"""The program behind semaphores: join a queue, wait until fewer stand in front than there are permits, leave.

Everybody stands in one queue by create revision, holders and waiters alike: whoever has fewer in front than there are
permits holds one. So a release costs nothing but the deletion, a holder that dies frees its permit with its lease, and
nobody can take a permit out of turn.

**Who is woken.** The first waiter has holders alone in front of it and waits for any of them to go. Everybody else
waits for the one directly in front: until that one goes, or gets its permit and says so by writing its key once more.
So a release lets one waiter in and moves one up, however many wait.

**How many permits** there are stands in a key of its own: what the first user says. Who says another number is refused;
`resize` changes it.
"""

from __future__ import annotations

from typing import Final

from coord.errors import UsageError
from coord.model import KeyValue, TxnResult
from coord.ops import Attribute, Compare, Get, Put, Relation, Txn, missing
from coord.port import Port, Ticket, WatchTarget
from coord.recipes.common.layout import permit_count_of
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.lane import permitted
from coord.recipes.ownership.turn import Line, Rejoin, Terms, check_own

MOST_PERMITS: Final = 10_000  # a look reads as many keys


class PermitLine(Line):
    """The queue for the permits of one name.

    Args:
        port: what everything is awaited from.
        name: of the semaphore.
        permits: how many there are, as the caller believes.
    """

    def __init__(self, port: Port, name: bytes, permits: int) -> None:
        super().__init__(port, name, permitted(name))
        self._permits = permits
        self._count_key = permit_count_of(name)

    async def _claim(self, ticket: Ticket, value: bytes, patience: Patience) -> tuple[int, bool]:
        """As `Line._claim`; the key is only created if the stored number of permits is the caller's.

        Raises:
            UsageError: it is another one.
        """
        key = ticket.key
        number = b"%d" % self._permits
        request = Txn(
            compares=(missing(key), Compare(self._count_key, Attribute.VALUE, Relation.EQUAL, number)),
            then=(Put(key, value, ticket.session.lease), Get(self._start, self._end, count_only=True)),
            otherwise=(Get(key, keys_only=True), Get(self._count_key)),
        )
        while True:
            result = await patience.claim(ticket, request)
            if result.succeeded:
                return result.header.revision, result.range(1).count <= self._permits
            mine = result.range(0).first
            if mine is not None:
                return mine.create_revision, False
            self._check_number(result.range(1).first)
            await patience.txn(Txn((missing(self._count_key),), (Put(self._count_key, number),)))

    def _check_number(self, stored: KeyValue | None) -> None:
        if stored is None or stored.value == b"%d" % self._permits:
            return
        name = self._name.decode("utf-8", "backslashreplace")
        said = stored.value.decode("utf-8", "backslashreplace")
        raise UsageError(
            f"semaphore {name!r} has {said} permits, not {self._permits}; resize() changes it for everybody",
            name=name,
            stored=parse_count(stored.value),
            asked=self._permits,
        )

    async def _advance(self, ticket: Ticket, fence: int, terms: Terms, patience: Patience) -> bool:
        """Look how many stand in front; if they are too many, wait until that may have changed."""
        seen, permits = await self._look(ticket, fence, patience)
        count = seen.range(1).first
        ahead = list(seen.range(3).items)
        if not all(self._lane.is_rival(item.key) for item in ahead):
            ahead = await self._rivals_ahead(fence, patience)
        if len(ahead) < permits:
            if seen.range(4).items:
                await self._say_so(ticket, fence, patience)
            return True
        if not terms.wait:
            raise self._not_won()
        oldest = seen.range(2).first
        resized = count is not None and (oldest is None or oldest.create_revision < count.mod_revision)
        if len(ahead) == permits or resized:
            await self._wait_for_any(ahead[:permits], ticket, seen.header.revision + 1, patience)
        else:
            before = ahead[0].key
            targets = [WatchTarget(before), WatchTarget(ticket.key, puts=False)]
            await self._wait_for(targets, (before, ticket.key), seen.header.revision + 1, patience)
        return False

    async def _look(self, ticket: Ticket, fence: int, patience: Patience) -> tuple[TxnResult, int]:
        """Own key, number of permits, oldest place, newest places in front, first one behind; and the number again."""
        behind = Get(self._start, self._end, limit=1, keys_only=True, min_create_revision=fence + 1)
        permits = self._permits
        while True:
            ahead = self._ahead(fence, permits + 1)
            looks = (Get(ticket.key, keys_only=True), Get(self._count_key), self._first, ahead, behind)
            seen = await patience.txn(Txn(then=looks))
            check_own(seen, fence)
            stored = seen.range(1).first
            count = self._permits if stored is None else parse_count(stored.value) or self._permits
            if count == permits:
                return seen, permits
            permits = count  # resized while this one waits

    async def _say_so(self, ticket: Ticket, fence: int, patience: Patience) -> None:
        """Tell the one behind, who waits for this key, that it is a holder's from now on."""
        created = Compare(ticket.key, Attribute.CREATE, Relation.EQUAL, fence)
        again = Put(ticket.key, ignore_value=True, ignore_lease=True)
        if not (await patience.txn(Txn((created,), (again,)))).succeeded:
            raise Rejoin

    async def _wait_for_any(
        self, ahead: list[KeyValue], ticket: Ticket, from_revision: int, patience: Patience
    ) -> None:
        """Wait until one of those in front goes, or the number of permits is changed.

        If the number was lowered, holders may be more than there are permits, and nobody can tell whether the one in
        front is a holder, who says nothing any more, or a waiter. So then those behind it wait like this too: before
        fewer than `permits` are left in front, one of the newest `permits` of them must have gone.
        """
        targets = [
            WatchTarget(self._start, self._end, puts=False),
            WatchTarget(self._count_key),
            WatchTarget(ticket.key, puts=False),
        ]
        keys = {item.key for item in ahead} | {self._count_key, ticket.key}
        await self._wait_for(targets, keys, from_revision, patience)

    async def holding(self, deadline: float | None) -> tuple[list[KeyValue], int]:
        """All places in the queue, oldest first, and how many of them hold a permit.

        Raises:
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        places = await self.contenders(deadline)
        stored = (await self._port.range(Get(self._count_key), deadline=deadline)).first
        return places, self._permits if stored is None else parse_count(stored.value)


async def resize(port: Port, name: bytes, permits: int, deadline: float | None) -> None:
    """Change how many permits there are; who holds one keeps it.

    Raises:
        CallTimeout: it was not answered in time, and may have happened.
        RequestRefused, HistoryLost, ClosedError.
    """
    patience, key, number = Patience(port, deadline), permit_count_of(name), b"%d" % permits
    while True:
        found = (await patience.read(Get(key))).first
        if found is not None and found.value == number:
            return
        # Compared with what was read, so that a late copy of this write cannot undo somebody's later one.
        seen = Compare(key, Attribute.MOD, Relation.EQUAL, 0 if found is None else found.mod_revision)
        if (await patience.txn(Txn((seen,), (Put(key, number),)))).succeeded:
            return


def parse_count(value: bytes) -> int:
    """The stored number of permits; 0 if it is none."""
    return int(value) if value.isdigit() and len(value) < 10 else 0
