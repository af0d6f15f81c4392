"""Bugs that locks were shipped with, put back one at a time: the simulator must find each.

Each mutant patches the product's classes while its context is open. Nothing of this is in the product.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from coord.client.keeper.ledger import Ledger, Ticket
from coord.client.keeper.session import Phase, Session
from coord.client.ports.base import PortBase
from coord.errors import CallTimeout, CoordError, LockTimeout, OutcomeUnknown
from coord.ops import Txn
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.fenced import OwnedTxn
from coord.recipes.ownership.turn import Line, Rejoin, Terms
from coord.recipes.ownership.turn import Place as Owned
from coord.testing.sim.choices import RandomChoices
from coord.testing.sim.port import SimPort
from coord.testing.sim.scenarios.lock import LockScenario, Shape
from coord.testing.sim.world import Faults
from tests.sim.proof import Mutants, Patch, swap

MUTANTS = Mutants()

ALL = Faults(revoke=2)
SLOW_NETWORK = Faults(break_off=0, delay=8, cancel=0, crash=0, close=0, pause=0, cut=3, restart=0, compact=0)
STOPPED = Faults(break_off=0, delay=4, cancel=0, crash=0, close=0, pause=8, cut=0, restart=0, compact=0)


def mutant(name: str, story: str, shows: str, *shapes: Shape, faults: Faults = ALL) -> Callable[[Patch], Patch]:
    """Enter a bug with the shape and the faults of the runs that can show it."""
    many = shapes or (Shape(),)

    def build(seed: int) -> LockScenario:
        return LockScenario(RandomChoices(seed), many[seed % len(many)], budget=seed % 6, faults=faults)

    return MUTANTS.enter(name, story, shows, build)


def strike(port: Any, ticket: Ticket) -> None:
    """Forget a ticket as if there were no ledger."""
    port.keeper._ledger._strike(ticket)


def go_keys(stack: contextlib.ExitStack) -> None:
    """Keys as Go makes them: one for each lease, so not distinct for two users of one session."""

    def enter(self: Ledger, session: Session, name: bytes) -> Ticket:
        session.check()
        ticket = Ticket(session, b"%s/%x" % (name, session.lease))
        self._tickets[ticket.key] = ticket
        return ticket

    swap(stack, Ledger, "enter", enter)


# --- the six that the design names


@mutant(
    "release by name",
    "etcd #22082: the deletion names the key and comes late, after the next owner used the same key",
    "two owners|without its key",
    Shape(programs=(1, 1), cycles=2, hold=0.0),
)
def _(stack: contextlib.ExitStack) -> None:
    go_keys(stack)


@mutant(
    "own key not watched",
    "etcd #19597: the lease of a waiter ends, and it goes on waiting for a turn that never comes",
    "waits although its own",
    Shape(programs=(1, 1), hold=40.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Line._wait_gone

    async def wait(self: Line, keys: Any, *rest: Any) -> None:
        await plain(self, keys[:1], *rest)

    swap(stack, Line, "_wait_gone", wait)


@mutant(
    "lost create not found again",
    "curator, kazoo: a create whose answer was lost is forgotten, and its key blocks the queue",
    "do not end|left behind",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PortBase.claim

    async def claim(self: Any, ticket: Ticket, request: Any, *, deadline: float | None) -> Any:
        try:
            return await plain(self, ticket, request, deadline=deadline)
        except OutcomeUnknown:
            strike(self, ticket)
            raise Rejoin from None

    swap(stack, PortBase, "claim", claim)


@mutant(
    "giving up leaves a key",
    "kazoo #732, aiozk #34: a time-out or a cancellation leaves the place in the queue",
    "do not end|left behind",
    Shape(programs=(1, 1, 1), hold=4.0, limit=2.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = PortBase.withdraw

    async def take(self: Line, session: Any, value: bytes, terms: Terms, own: Any) -> Any:
        port: Any = self._port
        patience = Patience(port, terms.deadline, session)
        ticket = port.ticket(session, self._name)
        try:
            fence, first = await self._claim(ticket, value, patience)
            while not first:
                first = await self._advance(ticket, fence, terms, patience)
            session.check()
            owner = own(place(ticket, fence))
            port.hold(ticket, owner)
            return owner
        except (LockTimeout, CallTimeout):
            strike(port, ticket)
            raise
        except BaseException:
            await plain(port, ticket)
            raise

    swap(stack, Line, "take_with", take)


def place(ticket: Ticket, fence: int) -> Any:
    return Owned(ticket, fence)


@mutant(
    "key shared by a lease",
    "two threads of one process have the same key, so both own the lock",
    "entered twice|two owners",
    Shape(programs=(2,), hold=1.0),
    Shape(programs=(2, 1), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    go_keys(stack)


@mutant(
    "withdraw without a ledger",
    "redis-py #3847: the deletion is tried once; when it fails nobody tries again",
    "do not end|left behind",
)
def _(stack: contextlib.ExitStack) -> None:
    async def withdraw(self: Any, ticket: Ticket) -> bool:
        strike(self, ticket)
        try:
            await self._delete([ticket.key], self.now() + 1.0)
        except CoordError:
            return False
        return True

    swap(stack, PortBase, "withdraw", withdraw)


# --- and others of the same kind


@mutant(
    "no second look",
    "a deletion is not confirmed after a claim without an answer, which then arrives late",
    "do not end|left behind",
)
def _(stack: contextlib.ExitStack) -> None:
    def deleted(self: Ledger, ticket: Ticket, sent: float) -> None:
        self._strike(ticket)

    swap(stack, Ledger, "deleted", deleted)


@mutant(
    "watch from now",
    "python-etcd3 #1107: the watch does not start at the revision that was read, and misses the release",
    "which is gone",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Line._wait_gone

    async def wait(self: Line, keys: Any, from_revision: int, *rest: Any) -> None:
        await plain(self, keys, 0, *rest)

    swap(stack, Line, "_wait_gone", wait)


@mutant(
    "deadline from the answer",
    "microsoft/etcd3 #155: the lease is believed from when its renewal was answered, not from when it was sent",
    "two owners",
    Shape(programs=(1, 1), hold=40.0),
    faults=SLOW_NETWORK,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Session._alive

    def alive(self: Session, sent: float, ttl: int, now: float) -> None:
        plain(self, now, ttl, now)

    swap(stack, Session, "_alive", alive)


@mutant(
    "resurrection",
    "dynamodb-lock-client #1: an answer to a renewal from before the loss makes the lease live again",
    "two owners",
    Shape(programs=(1, 1), hold=40.0),
    faults=STOPPED,
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Session.done

    def done(self: Session, duty: Any, result: Any, error: Any, now: float) -> None:
        if self._phase is Phase.LOST and isinstance(result, int) and not error:
            self._phase = Phase.LIVE
            self._deadline = now + result
        plain(self, duty, result, error, now)

    swap(stack, Session, "done", done)


@mutant(
    "no ownership in the write",
    "a holder that was stopped writes after the next one, because nothing compares",
    "wrote after owner",
    Shape(programs=(1, 1), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    swap(stack, OwnedTxn, "op", property(lambda self: Txn(then=tuple(self._then))))


@mutant(
    "no look at the clock",
    "the answer that wins comes after the lease was lost, and the body is entered all the same",
    "without a live lease",
)
def _(stack: contextlib.ExitStack) -> None:
    plain = SimPort._check

    def check(self: SimPort, session: Any) -> None:
        plain(self, None)

    swap(stack, SimPort, "_check", check)
    swap(stack, Session, "check", lambda self: None)


@mutant(
    "everybody wakes",
    "all waiters watch the holder instead of the one before them",
    "two waiters were woken",
    Shape(programs=(1, 1, 1, 1), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    async def predecessor(self: Line, seen: Any, fence: int, patience: Patience) -> bytes | None:
        found = (await patience.txn(Txn(then=(self._first,)))).range(0).first
        return None if found is None or found.create_revision >= fence else found.key

    swap(stack, Line, "_predecessor", predecessor)


@mutant(
    "first come is whoever looks",
    "the place in the queue is not compared at all: who finds the holder gone takes it",
    "two owners|entered before",
    Shape(programs=(1, 1, 1), hold=1.0),
)
def _(stack: contextlib.ExitStack) -> None:
    plain = Line._advance

    async def advance(self: Line, ticket: Ticket, fence: int, terms: Terms, patience: Patience) -> bool:
        await plain(self, ticket, fence, terms, patience)
        return True

    swap(stack, Line, "_advance", advance)
