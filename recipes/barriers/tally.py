"""The program behind latches: a number that is counted down, each time exactly once.

A count-down is compared with the revision of the number it read, and leaves a key of its call in the same transaction.
So when its answer is lost, the next look tells if it is counted: then the key is there. If not, to ask again is safe,
because of the two only one can happen. The key hangs on the client's lease and is withdrawn at the end of the call.

Who waits watches one key that is written with the step to zero, and hears nothing of the others.
"""

from __future__ import annotations

import re
from typing import Final

from coord.errors import CallTimeout, LeaseLost, LeaseNotFound, OutcomeUnknown, Unavailable, UsageError
from coord.model import KeyValue
from coord.ops import Attribute, Compare, Get, Put, Relation, Txn
from coord.port import Port, Session, Ticket
from coord.recipes.barriers.awaited import until
from coord.recipes.barriers.named import Limit, as_text
from coord.recipes.common.layout import latch_calls_of, latch_count_of, latch_done_of
from coord.recipes.common.patience import Patience
from coord.recipes.ownership.turn import Terms, joining

TTL: Final = 10.0  # of the lease that a running call's key hangs on
_STORED: Final = re.compile(rb"([0-9]{1,9}) of ([0-9]{1,9})")


class _Call:
    """Owns the ticket of a running call: a second interrupt can keep the call from withdrawing it itself."""

    __slots__ = ("__weakref__",)


class Tally:
    """The latch of one name.

    Args:
        port: what everything is awaited from.
        name: of the latch.
        count: what it begins with.
    """

    def __init__(self, port: Port, name: bytes, count: int) -> None:
        self._port = port
        self._name = name
        self._count = count
        self._number = latch_count_of(name)
        self._done = latch_done_of(name)

    async def count_down(self, steps: int, deadline: float | None) -> int:
        """Count down once; returns what is left. At zero nothing is done.

        Raises:
            UsageError: the latch was begun with another number.
            CallTimeout: it was not done in time.
            OutcomeUnknown: nor is it known whether it was done.
            RequestRefused, HistoryLost, ClosedError.
        """
        return await joining(self._port, Terms(TTL, deadline), lambda session: self._with(session, steps, deadline))

    async def _with(self, session: Session, steps: int, deadline: float | None) -> int:
        ticket = self._port.ticket(session, latch_calls_of(self._name))
        call = _Call()
        self._port.hold(ticket, call)
        try:
            return await _Step(self._port, self, ticket, Patience(self._port, deadline, session)).take(steps)
        finally:
            await self._port.withdraw(ticket)

    async def look(self, ticket: Ticket, patience: Patience) -> tuple[KeyValue | None, bool]:
        """The number, and whether the ticket's call is counted."""
        seen = await patience.txn(Txn(then=(Get(self._number), Get(ticket.key, keys_only=True))))
        return seen.range(0).first, bool(seen.range(1).items)

    def step(self, ticket: Ticket, number: KeyValue | None, left: int) -> Txn:
        """What counts down to `left` if the number is as it was read."""
        unchanged = Compare(self._number, Attribute.MOD, Relation.EQUAL, 0 if number is None else number.mod_revision)
        writes = (
            Put(self._number, b"%d of %d" % (left, self._count)),
            Put(ticket.key, lease=ticket.session.lease),
        )
        return Txn((unchanged,), writes if left else (*writes, Put(self._done)))

    def left(self, number: KeyValue | None) -> int:
        """What the stored number says is left.

        Raises:
            UsageError: the latch was begun with another number.
        """
        if number is None:
            return self._count
        found = _STORED.fullmatch(number.value)
        stored = int(found[2]) if found else 0
        if found is None or stored != self._count:
            name = as_text(self._name)
            raise UsageError(
                f"latch {name!r} was begun with {stored}, not {self._count}",
                name=name,
                stored=stored,
                asked=self._count,
            )
        return int(found[1])

    async def count(self, deadline: float | None) -> int:
        """What is left.

        Raises:
            UsageError: the latch was begun with another number.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return self.left((await self._port.range(Get(self._number), deadline=deadline)).first)

    async def reached(self, limit: Limit) -> None:
        """Wait until nothing is left.

        Raises:
            UsageError: the latch was begun with another number.
            CallTimeout: it was not in time.
            RequestRefused, HistoryLost, ClosedError.
        """
        number = await Patience(self._port, limit.deadline).read(Get(self._number))
        if self.left(number.first):
            await until(self._port, self._done, lambda item: item is not None, limit)


class _Step:
    """One count-down, tried until it is known what became of it."""

    def __init__(self, port: Port, tally: Tally, ticket: Ticket, patience: Patience) -> None:
        self._port = port
        self._tally = tally
        self._ticket = ticket
        self._patience = patience
        # An attempt may have happened. That its key is missing is no proof until a later one is done: somebody else may
        # have ended the lease, and the key with it, which a client learns of with its next claim.
        self._unsure = False

    async def take(self, steps: int) -> int:
        """Count down.

        Raises:
            OutcomeUnknown: it ended too early to be known.
            LeaseLost, CallTimeout: it ended early, and nothing was counted.
        """
        try:
            while True:
                number, counted = await self._tally.look(self._ticket, self._patience)
                left = self._tally.left(number)
                if counted or not left:
                    return left
                left = max(0, left - steps)
                if await self._attempt(self._tally.step(self._ticket, number, left)):
                    return left
        except (LeaseLost, CallTimeout) as trouble:
            if not self._unsure:
                raise
            raise OutcomeUnknown("it is not known whether the latch was counted down") from trouble

    async def _attempt(self, request: Txn) -> bool:
        before, self._unsure = self._unsure, True
        try:
            done = (await self._port.claim(self._ticket, request, deadline=self._patience.attempt())).succeeded
        except OutcomeUnknown as trouble:
            await self._patience.pause(trouble)
            return False
        except (Unavailable, CallTimeout) as trouble:
            self._unsure = before
            await self._patience.pause(trouble)
            return False
        except LeaseLost as loss:
            if isinstance(loss.__cause__, LeaseNotFound):
                self._unsure = before
            raise
        self._unsure = before and not done
        return done
