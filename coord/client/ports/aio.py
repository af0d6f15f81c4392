"""The port over the asyncio client: waits on the loop, woken from the loop, the keeper's thread or a close."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from coord.client import calls
from coord.client.calls import Call
from coord.client.connection.aio import AsyncConnection
from coord.client.keeper.keeping import Keeper
from coord.client.keeper.thread import CLOSE_SECONDS, KeeperThread
from coord.client.ports.base import PortBase
from coord.client.ports.mailbox import Bell, Listen, LoopMailbox
from coord.client.watch.aio import AsyncHub
from coord.errors import ClosedError
from coord.model import RangeResult, TxnResult
from coord.ops import Get, Txn
from coord.port import Session

T = TypeVar("T")

logger = logging.getLogger("coord.keeper")


class AsyncPort(PortBase):
    """See `coord.port.Port`. For the loop on which it was first used.

    It owns the client's watch stream and keeper. Whoever holds it (the client, a recipe, a guard) keeps the leases
    alive; when it is dropped without `close`, they are given up.
    """

    def __init__(self, connection: AsyncConnection, *, namespace: bytes = b"") -> None:
        self._connection = connection
        self._namespace = namespace
        self._closing = Bell()
        settings = connection.core.settings
        hub = AsyncHub(connection, namespace=namespace, authenticated=settings.user is not None)
        self._hub = self._watches = hub
        reviver = _Reviver(connection)
        self._keeper = KeeperThread(self, settings, connection.history, namespace=namespace, revive=reviver.revive)
        self._keeping = _LoopKeeping(self._keeper, reviver)
        self._finalizer = weakref.finalize(self, hub.abandon)
        self._finalizer.atexit = False

    async def close(self) -> None:
        """Wake every waiting call with `ClosedError`, revoke the leases, end tasks and thread; again is harmless.

        Bounded: what cannot be revoked in a second is left to expire. The connection stays open. A cancellation is
        raised at the end.
        """
        self._closing.ring()
        self._watches.abandon()
        await shielded(self._close())

    async def _close(self) -> None:
        ended = LoopMailbox()
        if self._keeper.begin_close(ended.post):
            await ended.wait(CLOSE_SECONDS + 1.0)
        self._keeper.join(0.1)  # it has ended, or is at its last instruction
        await self._watches.close()

    @property
    def closed(self) -> bool:
        """True once the client is being closed."""
        return self._closing.rung

    async def range(self, request: Get, *, deadline: float | None) -> RangeResult:
        """See `coord.port.Port.range`."""
        self._check(None)
        return await self._ask(calls.fetch(request, self._namespace), deadline)

    async def _commit(self, request: Txn, *, deadline: float | None) -> TxnResult:
        self._check(None)
        return await self._ask(calls.txn(request, self._namespace), deadline)

    async def _delete(self, keys: Sequence[bytes], deadline: float) -> None:
        await shielded(self._answer(calls.delete_each(keys, self._namespace), deadline))

    async def _ask(self, call: Call[T], deadline: float | None) -> T:
        return call.read(await self._answer(call, deadline))

    async def _answer(self, call: Call[Any], deadline: float | None) -> Any:
        return await self._connection.unary(
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
        if until is not None and self.now() >= until:
            return None
        box = LoopMailbox()
        forget = [listen(box.post)]
        try:
            forget.append(self._closing.listen(box.post))
            if session is not None:
                forget.append(session.on_lost(box.post))
            while True:
                got = attempt()
                if got is not None:
                    return got
                self._check(session)
                left = None if until is None else until - self.now()
                if left is not None and left <= 0:
                    return None
                await box.wait(left)
        finally:
            for each in forget:
                each()

    def _check(self, session: Session | None) -> None:
        if self._closing.rung:
            raise ClosedError("the client was closed")
        if session is not None:
            session.check()


class _Reviver:
    """Has the connection start its endpoint, on the loop, for the keeper's thread. Never refers to the port."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.loop: asyncio.AbstractEventLoop | None = None

    def revive(self, deadline: float | None) -> None:
        """Called in the keeper's thread; does not wait for a loop that may be blocked."""
        work = self._connection.revive(deadline)
        try:
            if self.loop is not None:
                asyncio.run_coroutine_threadsafe(work, self.loop).add_done_callback(_logged)
                return
        except RuntimeError:
            pass  # The loop was closed, and the client with it.
        work.close()


class _LoopKeeping:
    """The keeper thread, which is told on which loop its client lives."""

    def __init__(self, thread: KeeperThread, reviver: _Reviver) -> None:
        self._thread = thread
        self._reviver = reviver

    @property
    def machine(self) -> Keeper:
        """See `coord.client.ports.base.Keeping`."""
        self._reviver.loop = asyncio.get_running_loop()
        return self._thread.machine


def _logged(revived: concurrent.futures.Future[bool]) -> None:
    error = None if revived.cancelled() else revived.exception()
    if error is not None:
        logger.warning("no server answers, and none could be started: %s", error)


async def shielded(cleanup: Coroutine[Any, Any, T]) -> T:
    """Run `cleanup`, which must be bounded, to its end however often the caller is cancelled meanwhile.

    The cancellation is raised afterwards; then the result is lost.
    """
    task = asyncio.ensure_future(cleanup)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen, so that the loop does not report it as lost
        raise cancelled
    return task.result()
