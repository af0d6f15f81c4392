"""Transactions that happen only while ownership lasts, refused by the store itself otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coord.builder import TxnBuilder
from coord.model import DEFAULT, TxnResult
from coord.ops import Txn
from coord.program import run_blocking
from coord.recipes.common.durations import Timeout, call_deadline

if TYPE_CHECKING:
    from coord.recipes.ownership.guard import GuardBase


class OwnedTxn(TxnBuilder):
    """A transaction that happens only while ownership lasts; built up, then committed once.

    `when` chooses between `then` and `otherwise`; if ownership is lost, neither is done.
    """

    def __init__(self, guard: GuardBase) -> None:
        super().__init__()
        self._guard = guard

    @property
    def op(self) -> Txn:
        """What is sent: the caller's own transaction stands inside of the ownership comparison."""
        own = super().op
        return Txn(compares=self._guard.proof, then=(own,) if own.compares else own.then)

    async def run(self, timeout: Timeout) -> TxnResult:
        """The program behind `commit`."""
        guard = self._guard
        guard.check()
        port = guard.port
        result = await port.txn(self.op, deadline=call_deadline(port, timeout))
        if not result.succeeded:
            guard.key_is_gone()
            raise guard.loss()
        inner = result.results[0] if self._compares else result
        if not isinstance(inner, TxnResult):
            raise TypeError(f"the nested transaction was answered with a {type(inner).__name__}")
        return inner


class Fenced(OwnedTxn):
    """`OwnedTxn` of a blocking guard."""

    def commit(self, *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Commit it.

        Raises:
            LockLost: ownership was lost; nothing was written.
            NotOwner: the guard was released.
            OutcomeUnknown: it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return run_blocking(self.run(timeout))


class AsyncFenced(OwnedTxn):
    """`OwnedTxn` of an asyncio guard."""

    async def commit(self, *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Commit it; see `Fenced.commit`."""
        return await self.run(timeout)
