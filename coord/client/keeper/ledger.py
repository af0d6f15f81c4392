"""The ledger: every key used once that this client may have in the store, until it is known to be gone.

Owns tickets and when each is due to be deleted. Knows no thread and no socket.

A ticket stands here before its claim is sent and leaves only when its deletion was acknowledged or its lease is gone.
So a call that ends by any road (an error, a cancellation, a lost answer, a guard that was dropped) leaves no key behind
as soon as the server can be reached. A claim whose answer was lost may still be on its way when the deletion is done;
then the deletion is repeated a few times, the last time when the claim can no longer arrive.
"""

from __future__ import annotations

import enum
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from coord.client.keeper.duties import Backoff, Commit, Duty
from coord.client.keeper.session import SERVER_REQUEST_TIMEOUT, Phase, Session, Shared
from coord.errors import CoordError
from coord.ops import Delete, Txn

WITHDRAW_DEADLINE = 2.0  # seconds for each deletion by the keeper
BATCH_LIMIT = 64  # deletions in one transaction; etcd refuses more than 128 operations

CONFIRM_FIRST = 0.1  # seconds after a deletion that may have overtaken its claim
CONFIRM_GROWTH = 3  # so it is repeated after 0.1, 0.3, 0.9, ... seconds and when the claim can no longer arrive

_FOREVER: Final = float("inf")


class Place(enum.Enum):
    """To whom a ticket belongs."""

    CALL = "call"  # a running call
    GUARD = "guard"  # a live guard
    LEAVING = "leaving"  # nobody: the keeper deletes the key
    GONE = "gone"  # the key does not exist and never will


class Ticket:
    """See `coord.port.Ticket`. Its methods are for the ledger."""

    __slots__ = (
        "_key",
        "_session",
        "confirming",
        "due",
        "late_until",
        "over",
        "owner",
        "pending_until",
        "place",
        "sent",
        "until",
    )

    def __init__(self, session: Session, key: bytes) -> None:
        self._session = session
        self._key = key
        self.place = Place.CALL
        self.sent = False  # a claim was sent at least once
        self.pending_until = -_FOREVER  # the claim being waited for may arrive until then
        self.late_until = -_FOREVER  # an earlier claim that was never answered may arrive until then
        self.confirming = CONFIRM_FIRST  # seconds until an acknowledged deletion is repeated, while a claim may be late
        self.due = _FOREVER  # only while LEAVING: when the keeper deletes it next
        self.owner: weakref.ref[object] | None = None
        self.until = _FOREVER  # only while GUARD: the guard may have it no longer than that
        self.over: Callable[[], None] | None = None  # told when the guard had it for too long

    def __repr__(self) -> str:
        return f"<Ticket {self._key!r} {self.place.name}>"

    @property
    def key(self) -> bytes:
        """``<name>/<lease hex>-<unique>``."""
        return self._key

    @property
    def session(self) -> Session:
        """The session whose lease carries the key."""
        return self._session


class Ledger:
    """All tickets of one client. Called under the keeper's lock, except `dropped`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._serial = 0
        self._tickets: dict[bytes, Ticket] = {}
        self._leaving: dict[bytes, Ticket] = {}  # the tickets whose place is LEAVING
        self._limited: dict[bytes, Ticket] = {}  # the tickets that have an `until`
        self._dropped: deque[bytes] = deque()
        self._backoff = Backoff(first=0.1, limit=2.0)

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def tickets(self) -> list[Ticket]:
        """A copy of what is entered, oldest first."""
        return list(self._tickets.values())

    def enter(self, session: Session, name: bytes) -> Ticket:
        """A fresh ticket below `name`, belonging to the running call.

        Raises:
            LeaseLost: the session is LOST.
        """
        session.check()
        self._serial += 1
        ticket = Ticket(session, b"%s/%x-%x" % (name, session.lease, self._serial))
        self._tickets[ticket.key] = ticket
        return ticket

    def claiming(self, ticket: Ticket, give_up: float) -> None:
        """A claim is about to be sent; its sender gives up at `give_up`."""
        ticket.sent = True
        # A claim may be repeated while an earlier one is still on its way; the answer to one says nothing of the other.
        ticket.late_until = max(ticket.late_until, ticket.pending_until)
        ticket.pending_until = give_up + SERVER_REQUEST_TIMEOUT

    def answered(self, ticket: Ticket) -> None:
        """The outcome of the claim sent last is known: nothing of it is still on its way."""
        ticket.pending_until = -_FOREVER

    def hold(self, ticket: Ticket, guard: object) -> None:
        """Give the ticket to `guard`; it leaves when the guard is collected."""
        ticket.place = Place.GUARD
        ticket.owner = weakref.ref(guard, partial(self._drop, ticket.key))

    def limit(self, ticket: Ticket, until: float, over: Callable[[], None]) -> bool:
        """Let the guard have the ticket until then and no longer; `over` is called on the keeper's thread if it does.

        A later limit replaces the one before. Returns False if the guard does not have it any more.
        """
        if ticket.place is not Place.GUARD or ticket.until <= self._shared.clock():
            return False
        ticket.until, ticket.over = until, over
        self._limited[ticket.key] = ticket
        return True

    def _drop(self, key: bytes, _reference: object) -> None:
        # A collection can run in the middle of any method here, so it only leaves a note: append is atomic.
        self._dropped.append(key)
        self._shared.wake()

    def leave(self, ticket: Ticket, due: float) -> bool:
        """Nobody wants the ticket any more; the keeper deletes it from `due` on, until acknowledged.

        Returns False if there is nothing to delete.
        """
        ticket.over = None
        self._limited.pop(ticket.key, None)
        if ticket.place is Place.GONE or not ticket.sent or ticket.session.phase is Phase.GONE:
            self._strike(ticket)
            return False
        # Only now without its owner: until then an interrupt leaves it to the owner's collection.
        ticket.due = due
        self._leaving[ticket.key] = ticket
        ticket.place = Place.LEAVING
        ticket.owner = None
        return True

    def deleted(self, ticket: Ticket, sent: float) -> None:
        """A deletion that was sent at `sent` was acknowledged."""
        late_until = max(ticket.late_until, ticket.pending_until)
        if sent < late_until:
            # A claim cut off by a cancellation often reaches the server just after its deletion, which runs beside it
            # there; everybody behind such a key would wait for it until the last instant at which it could come.
            ticket.due = min(late_until, sent + ticket.confirming)
            ticket.confirming *= CONFIRM_GROWTH
        else:
            self._strike(ticket)

    def forget(self, session: Session) -> None:
        """The lease is gone, and with it every key it carried."""
        for ticket in [each for each in self._tickets.values() if each.session is session]:
            self._strike(ticket)

    def _strike(self, ticket: Ticket) -> None:
        ticket.place = Place.GONE
        ticket.owner = None
        self._tickets.pop(ticket.key, None)
        self._leaving.pop(ticket.key, None)
        self._limited.pop(ticket.key, None)

    # -- machine

    @property
    def wake_at(self) -> float:
        """When `poll` has something to do; infinity for never."""
        if self._dropped:
            return -_FOREVER
        if not self._leaving and not self._limited:
            return _FOREVER
        due = min((ticket.due for ticket in self._leaving.values()), default=_FOREVER)
        return min([due, *(ticket.until for ticket in self._limited.values())])

    def poll(self, now: float, duties: list[Duty]) -> None:
        """Add the deletions that are due."""
        while self._dropped:
            ticket = self._tickets.get(self._dropped.popleft())
            if ticket is not None and ticket.place is Place.GUARD:
                self.leave(ticket, now)
        for ticket in [each for each in self._limited.values() if each.until <= now]:
            if ticket.over is not None:
                self._shared.calls.append(ticket.over)
            self.leave(ticket, now)
        due = [each for each in self._leaving.values() if each.due <= now]
        for begin in range(0, len(due), BATCH_LIMIT):
            batch = due[begin : begin + BATCH_LIMIT]
            deadline = now + WITHDRAW_DEADLINE
            for ticket in batch:
                ticket.due = deadline + 1.0
            duties.append(Commit(self, now, deadline, Txn(then=tuple(Delete(each.key) for each in batch))))

    def done(self, duty: Duty, result: object, error: CoordError | None, now: float) -> None:
        """Take the answer of a deletion."""
        assert isinstance(duty, Commit)  # for the type checker: the ledger gives out nothing else
        pause = 0.0 if error is None else self._backoff.next()
        if error is None:
            self._backoff.reset()
        for op in duty.request.then:
            ticket = self._leaving.get(op.key) if isinstance(op, Delete) else None
            if ticket is None:
                continue
            if error is None:
                self.deleted(ticket, duty.sent)
            else:
                ticket.due = now + pause
