"""The port: all that a recipe's program may await.

Three ports exist: over the blocking client (its methods never suspend), over the asyncio client, and over the
simulator's virtual clock. All pass the same contract suite (tests/port_contract.py).

**Waiting.** Every waiting verb ends on the first of: its event, the deadline (`CallTimeout`), the loss of the session
it was given (`LeaseLost`), the client's close (`ClosedError`), an interrupt or a cancellation (raised as it is). So a
program never waits for two things and holds no concurrency.

**Deadlines** are instants of `now()`; None means for ever. A deadline in the past lets no request be sent.

**Leaving.** A program that took a `Ticket` must call `withdraw` on every exit that does not hand the ticket to a guard,
from ``except BaseException``. `withdraw` is shielded and bounded by the port; it never raises for what it could not do:
the session's ledger goes on until the key is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from coord.model import LeaseState, RangeResult, TxnResult, WatchBatch
from coord.ops import Get, Txn


@dataclass(frozen=True, slots=True)
class WatchTarget:
    """What to watch: one key, or [key, range_end).

    `puts` and `deletes` say which events are wanted; what is not wanted is filtered by the server.
    """

    key: bytes
    range_end: bytes = b""
    puts: bool = True
    deletes: bool = True


class Session(Protocol):
    """A lease that the client's keeper keeps alive, and the knowledge of its loss.

    May be used from any thread. Once LOST it stays LOST; the next `Port.session` call makes a new one.
    """

    @property
    def lease(self) -> int:
        """Lease id."""
        ...

    @property
    def ttl(self) -> float:
        """Granted time to live in seconds."""
        ...

    @property
    def state(self) -> LeaseState:
        """HELD, UNSURE or LOST, judged by the local clock at this moment."""
        ...

    @property
    def cause(self) -> str:
        """Why it was lost (see `LeaseLost.cause`), empty while it is not."""
        ...

    def remaining(self) -> float:
        """Seconds for which the lease is proven alive: counted from when the last acknowledged renewal was sent."""
        ...

    def check(self) -> None:
        """Do nothing while the lease is proven alive.

        Raises:
            LeaseLost: it is LOST.
        """
        ...

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once when the state becomes LOST (at once if it is), on the keeper's thread.

        Returns a function that takes the callback back. The callback must not block.
        """
        ...


class Ticket(Protocol):
    """A key that nobody ever used before, entered in the session's ledger before it is claimed.

    It leaves the ledger only when its deletion was acknowledged or its lease is gone.
    """

    @property
    def key(self) -> bytes:
        """``<name>/<lease hex>-<unique>``: below the name, so that Go's mutex and election count it too."""
        ...

    @property
    def session(self) -> Session:
        """The session whose lease carries the key."""
        ...


class Watching(Protocol):
    """Several watched targets under one handle; events of each in order, whole revisions at a time."""

    async def next(self, *, deadline: float | None, session: Session | None = None) -> WatchBatch:
        """Wait for the next revision that touches any target.

        Raises:
            CallTimeout: the deadline passed.
            LeaseLost: `session` was lost.
            Compacted: the events that follow were compacted away; read again and watch from there.
            ClosedError: the client was closed.
        """
        ...

    def close(self) -> None:
        """Stop watching; never waits and may be called twice."""
        ...


class Declared(Protocol):
    """A key that the keeper keeps in place: put again under a new lease whenever its lease was lost."""

    @property
    def key(self) -> bytes: ...

    async def settled(self, *, deadline: float | None) -> int:
        """Wait until the latest value is in the store under a live lease; returns the lease id.

        Raises:
            CallTimeout: the deadline passed; the keeper goes on trying.
            ClosedError: the client was closed, or the declaration was withdrawn.
            CoordError: the server refused the key for good.
        """
        ...

    def update(self, value: bytes) -> None:
        """Replace the value; the keeper puts it as soon as it can."""
        ...

    async def withdraw(self, farewell: bytes | None = None) -> None:
        """Take the key out of the store and stop keeping it; shielded and bounded like `Port.withdraw`.

        A `farewell` is put in its place first, as the last value that is seen of it.
        """
        ...


class Port(Protocol):
    """What programs do everything through. A port belongs to one client."""

    def now(self) -> float:
        """Seconds on the ownership clock (`coord.clock.now`, or virtual)."""
        ...

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the client is closed, or the background program whose port it is is stopped.

        At once if it was. Returns a function that takes the callback back. The callback must not block.
        """
        ...

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        """Read; retried until the deadline.

        Raises:
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        ...

    async def txn(self, request: Txn, *, deadline: float | None) -> TxnResult:
        """Commit a transaction. Repeated only when it cannot have happened.

        Raises:
            OutcomeUnknown: it was sent and the answer never came.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        ...

    async def sleep(self, *, until: float, session: Session | None = None) -> None:
        """Wait until the instant `until`.

        Raises:
            LeaseLost: `session` was lost.
            ClosedError: the client was closed.
        """
        ...

    async def session(self, ttl: float, *, deadline: float | None) -> Session:
        """The client's live session of this time to live, made if there is none.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        ...

    def ticket(self, session: Session, name: bytes) -> Ticket:
        """A fresh ticket below `name`, in the ledger as belonging to the running call.

        Raises:
            LeaseLost: the session is LOST.
        """
        ...

    async def claim(self, ticket: Ticket, request: Txn, *, deadline: float | None) -> TxnResult:
        """Commit the transaction that creates the ticket's key; the ledger learns what became of it.

        Raises: as `txn`, and LeaseLost if the ticket's session is or becomes LOST.
        """
        ...

    async def withdraw(self, *tickets: Ticket) -> bool:
        """Delete the tickets' keys, together; True if that was acknowledged in the caller's small budget.

        Otherwise (False) the keeper goes on until it is acknowledged or the lease is gone. Raises only what interrupts
        the caller, and only after the tickets were handed to the keeper.
        """
        ...

    def hold(self, ticket: Ticket, guard: object) -> None:
        """Hand the ticket from the running call to `guard`: it is withdrawn when the guard is collected."""
        ...

    def limit(self, ticket: Ticket, until: float, over: Callable[[], None]) -> bool:
        """Let the guard that was given the ticket have it until the instant `until` and no longer.

        Then the keeper withdraws it and calls `over` on its thread, which must not block. A later limit replaces the
        one before. Returns False if the guard does not have the ticket any more.
        """
        ...

    def spent(self, ticket: Ticket, *, sent: float) -> None:
        """A transaction of the caller, sent at the instant `sent`, deleted the ticket's key: it needs no withdrawal."""
        ...

    def watch(self, targets: Sequence[WatchTarget], *, from_revision: int) -> Watching:
        """Watch `targets` for events with revision >= `from_revision` (0: from now)."""
        ...

    def declare(self, key: bytes, value: bytes, *, ttl: float) -> Declared:
        """Have the keeper keep `key` = `value` in place under a lease of `ttl` seconds."""
        ...
