"""The port over the blocking client: every method does its work in the caller's thread and never suspends."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from coord import clock
from coord.client import calls
from coord.client.calls import Call
from coord.client.connection.blocking import BlockingConnection
from coord.client.keeper.thread import KeeperThread
from coord.client.ports.base import PortBase
from coord.client.ports.mailbox import Bell, Listen, Mailbox
from coord.client.watch.blocking import BlockingHub
from coord.errors import ClosedError
from coord.model import RangeResult, TxnResult
from coord.ops import Get, Txn
from coord.port import Session

T = TypeVar("T")


class BlockingPort(PortBase):
    """See `coord.port.Port`. May be used from several threads; run programs over it with `run_blocking`.

    It owns the client's watch stream and keeper. Whoever holds it (the client, a recipe, a guard) keeps the leases
    alive; when it is dropped without `close`, they are given up.
    """

    def __init__(self, connection: BlockingConnection, *, namespace: bytes = b"") -> None:
        self._connection = connection
        self._namespace = namespace
        self._closing = Bell()
        self._stop: Bell | None = None
        self._whole: BlockingPort | None = None  # keeps alive whom this is a twin of, and with it the leases
        settings = connection.core.settings
        hub = BlockingHub(connection, namespace=namespace, authenticated=settings.user is not None)
        self._hub = self._watches = hub
        self._keeper = self._keeping = KeeperThread(
            self, settings, connection.history, namespace=namespace, revive=connection.revive
        )
        self._finalizer = weakref.finalize(self, hub.abandon)
        self._finalizer.atexit = False

    def close(self) -> None:
        """Wake every waiting call with `ClosedError`, revoke the leases, end both threads; again is harmless.

        Bounded: what cannot be revoked in a second is left to expire. The connection stays open.
        """
        self._closing.ring()
        self._watches.abandon()
        self._keeper.close()
        self._watches.close()

    def scoped(self, stop: Bell) -> BlockingPort:
        """The same port for one background program: what waits on it also ends when `stop` rings."""
        twin = copy.copy(self)
        twin._stop = stop
        twin._whole = self
        return twin

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See `coord.port.Port.on_close`."""
        forget = super().on_close(callback)
        if self._stop is None:
            return forget
        forget_stop = self._stop.listen(callback)

        def both() -> None:
            forget()
            forget_stop()

        return both

    @property
    def closed(self) -> bool:
        """True once the client is being closed."""
        return self._closing.rung

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        """See `coord.port.Port.range`."""
        self._check(None)
        return self._ask(calls.fetch(request, self._namespace), deadline)

    async def _commit(self, request: Txn, *, deadline: float | None) -> TxnResult:
        self._check(None)
        return self._ask(calls.txn(request, self._namespace), deadline)

    async def _delete(self, keys: Sequence[bytes], deadline: float) -> None:
        self._answer(calls.delete_each(keys, self._namespace), deadline)

    def _ask(self, call: Call[T], deadline: float | None) -> T:
        return call.read(self._answer(call, deadline))

    def _answer(self, call: Call[Any], deadline: float | None) -> Any:
        return self._connection.unary(
            call.method, call.request, deadline=deadline, write=call.write, linearizable=call.linearizable
        )

    async def _wait(
        self,
        attempt: Callable[[], T | None],
        listen: Listen,
        *,
        until: float | None,
        session: Session | None = None,
    ) -> T | None:
        got = attempt()
        if got is not None:
            return got
        self._check(session)
        if until is not None and clock.now() >= until:
            return None
        box = Mailbox()
        forget = [listen(box.post)]
        try:
            forget.append(self._closing.listen(box.post))
            if self._stop is not None:
                forget.append(self._stop.listen(box.post))
            if session is not None:
                forget.append(session.on_lost(box.post))
            return self._loop(box, attempt, until, session)
        finally:
            for each in forget:
                each()

    def _loop(
        self, box: Mailbox, attempt: Callable[[], T | None], until: float | None, session: Session | None
    ) -> T | None:
        while True:
            got = attempt()
            if got is not None:
                return got
            self._check(session)
            left = None if until is None else until - clock.now()
            if left is not None and left <= 0:
                return None
            box.wait(left)

    def _check(self, session: Session | None) -> None:
        if self._closing.rung:
            raise ClosedError("the client was closed")
        if self._stop is not None and self._stop.rung:
            raise ClosedError("the background program was stopped")
        if session is not None:
            session.check()
