"""Transactions word by word: ``client.txn().when(missing("k")).put("k", "v").commit()``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from coord.builder import TxnBuilder
from coord.client import calls
from coord.client.calls import Call
from coord.client.connection.retry import Timeout
from coord.model import DEFAULT, TxnResult


class BlockingTxn(TxnBuilder):
    """A transaction of the blocking client."""

    def __init__(self, run: Callable[[Call[TxnResult], Timeout], TxnResult], namespace: bytes) -> None:
        super().__init__()
        self._run = run
        self._namespace = namespace

    def commit(self, *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Send it. The result is true if all conditions held, and has one result for each operation.

        Raises:
            OutcomeUnknown: it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return self._run(calls.txn(self.op, self._namespace), timeout)


class AsyncTxn(TxnBuilder):
    """A transaction of the asyncio client."""

    def __init__(self, run: Callable[[Call[TxnResult], Timeout], Awaitable[TxnResult]], namespace: bytes) -> None:
        super().__init__()
        self._run = run
        self._namespace = namespace

    async def commit(self, *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Send it. The result is true if all conditions held, and has one result for each operation.

        Raises:
            OutcomeUnknown: it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return await self._run(calls.txn(self.op, self._namespace), timeout)
