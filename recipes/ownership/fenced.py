"""Transactions that happen only while ownership lasts, refused by the store itself otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from coord.model import DEFAULT, TxnResult
from coord.ops import Attribute, Compare, Op, Relation, Txn, delete, get, put
from coord.program import run_blocking
from coord.recipes.common.durations import Timeout, call_deadline

if TYPE_CHECKING:
    from coord.recipes.ownership.guard import GuardBase


class OwnedTxn:
    """A transaction that happens only while ownership lasts; built up, then committed once."""

    __slots__ = ("_compares", "_guard", "_otherwise", "_then")

    def __init__(self, guard: GuardBase) -> None:
        self._guard = guard
        self._compares: list[Compare] = []
        self._then: list[Op] = []
        self._otherwise: list[Op] = []

    def when(self, *compares: Compare) -> Self:
        """Also compare these (``coord.value("k") == "x"``); they choose between `then` and `otherwise`."""
        self._compares.extend(compares)
        return self

    def then(self, *ops: Op) -> Self:
        """Do these if all comparisons hold."""
        self._then.extend(ops)
        return self

    def otherwise(self, *ops: Op) -> Self:
        """Do these if ownership lasts but another comparison does not hold."""
        self._otherwise.extend(ops)
        return self

    def put(self, key: str | bytes, value: str | bytes = b"", *, lease: int = 0) -> Self:
        """Write one key."""
        return self.then(put(key, value, lease=lease))

    def delete(self, key: str | bytes, *, prefix: bool = False) -> Self:
        """Delete one key, or all that begin with it."""
        return self.then(delete(key, prefix=prefix))

    def get(self, key: str | bytes, *, prefix: bool = False) -> Self:
        """Read one key, or all that begin with it; its result stands at its place among the operations."""
        return self.then(get(key, prefix=prefix))

    def request(self) -> Txn:
        """The transaction that is sent: the caller's own stands inside of the ownership comparison."""
        guard = self._guard
        owned = Compare(guard.key, Attribute.CREATE, Relation.EQUAL, guard.fence)
        if not self._compares:
            return Txn(compares=(owned,), then=tuple(self._then))
        inner = Txn(tuple(self._compares), tuple(self._then), tuple(self._otherwise))
        return Txn(compares=(owned,), then=(inner,))

    async def run(self, timeout: Timeout) -> TxnResult:
        """The program behind `commit`."""
        guard = self._guard
        guard.check()
        port = guard.port
        result = await port.txn(self.request(), deadline=call_deadline(port, timeout))
        if not result.succeeded:
            guard.key_is_gone()
            raise guard.loss()
        inner = result.results[0] if self._compares else result
        if not isinstance(inner, TxnResult):
            raise TypeError(f"the nested transaction was answered with a {type(inner).__name__}")
        return inner


class Fenced(OwnedTxn):
    """`OwnedTxn` of a blocking guard."""

    __slots__ = ()

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

    __slots__ = ()

    async def commit(self, *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Commit it; see `Fenced.commit`."""
        return await self.run(timeout)
