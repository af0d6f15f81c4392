"""Requests that are made again until they are answered, for programs that wait.

A program that waits for hours must not fail because the server was restarted meanwhile. What is repeated here changes
nothing by being done twice: reads, and writes that say what must be there for them to happen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from coord.errors import CallTimeout, CoordError, LeaseLost, OutcomeUnknown, Unavailable
from coord.model import RangeResult, TxnResult
from coord.ops import Get, Txn
from coord.port import Port, Session, Ticket

ATTEMPT_SECONDS: Final = 5.0  # for one request, so that one whose answer is lost cannot arrive hours later
PAUSE_SECONDS: Final = 0.1  # between attempts while the server cannot be reached


class Patience:
    """Repeats requests until the deadline.

    Args:
        port: what the requests are made through.
        deadline: instant of the port's clock at which it gives up, None for never.
        session: a lease without which it is pointless to go on; None if there is none.
    """

    def __init__(self, port: Port, deadline: float | None, session: Session | None = None) -> None:
        self._port = port
        self.deadline = deadline
        self.session = session

    async def read(self, request: Get) -> RangeResult:
        """Read until there is an answer.

        Raises:
            CallTimeout: the deadline passed.
            LeaseLost: the session was lost.
            RequestRefused, HistoryLost, ClosedError.
        """
        result: RangeResult = await self._answered(partial(self._port.range, request))
        return result

    async def txn(self, request: Txn) -> TxnResult:
        """Commit until there is an answer. The transaction must be one that may happen twice.

        After an unknown outcome it is sent once more; so its compares must fail when it has happened already, and the
        caller must tell that case from a refusal by what it reads in the other branch.

        Raises:
            CallTimeout: the deadline passed; the last one may have happened.
            LeaseLost: the session was lost.
            RequestRefused, HistoryLost, ClosedError.
        """
        result: TxnResult = await self._answered(partial(self._port.txn, request))
        return result

    async def claim(self, ticket: Ticket, request: Txn) -> TxnResult:
        """Create the ticket's key until there is an answer; as `txn`.

        Raises:
            CallTimeout: the deadline passed; the last one may have happened.
            LeaseLost: the ticket's session was lost.
            RequestRefused, HistoryLost, ClosedError.
        """
        result: TxnResult = await self._answered(partial(self._port.claim, ticket, request))
        return result

    async def _answered(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        while True:
            try:
                return await ask(deadline=self.attempt())
            except (OutcomeUnknown, Unavailable, CallTimeout) as trouble:
                await self.pause(trouble)

    async def resolve(self, request: Txn) -> tuple[TxnResult, bool]:
        """As `txn`, and whether an earlier attempt may have happened.

        Raises:
            OutcomeUnknown: the deadline passed, or the session was lost, after an attempt that may have happened.
            CallTimeout: the deadline passed; it did not happen.
            LeaseLost: the session was lost; it did not happen.
            RequestRefused, HistoryLost, ClosedError.
        """
        unknown = False
        while True:
            try:
                return await self._port.txn(request, deadline=self.attempt()), unknown
            except (OutcomeUnknown, Unavailable, CallTimeout) as trouble:
                unknown = unknown or not trouble.outcome_known
                try:
                    await self.pause(trouble)
                except (CallTimeout, LeaseLost) as end:
                    if unknown:
                        raise OutcomeUnknown("no answer came in time") from end
                    raise

    def attempt(self) -> float:
        """Until when the next request may take."""
        limit = self._port.now() + ATTEMPT_SECONDS
        return limit if self.deadline is None else min(limit, self.deadline)

    async def pause(self, trouble: CoordError) -> None:
        """Wait a moment after a failed attempt.

        Raises:
            CallTimeout: there is no time for another one; its cause is `trouble`.
            LeaseLost: the session was lost.
            ClosedError: the client was closed.
        """
        until = self._port.now() + PAUSE_SECONDS
        if self.deadline is not None and until >= self.deadline:
            raise CallTimeout("it was not done in time") from trouble
        await self._port.sleep(until=until, session=self.session)
