"""The two kinds of guards: for blocking code and for asyncio."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from coord.model import DEFAULT, LeaseState, TxnResult
from coord.port import Port
from coord.program import run_blocking
from coord.recipes.common.durations import Timeout
from coord.recipes.ownership.fenced import AsyncFenced, Fenced
from coord.recipes.ownership.guard import GuardBase
from coord.recipes.ownership.loss import AsyncLost, Lost
from coord.recipes.ownership.turn import Place

logger = logging.getLogger("coord.lock")


class Held(GuardBase):
    """A guard of blocking code. Leaving its block gives the lock back and raises if it was lost meanwhile.

    May be used from any thread; dropping it gives the lock back too, a little later.
    """

    __slots__ = ("_lost",)

    def __init__(self, port: Port, name: str, place: Place, on_lost: Callable[[Any], object] | None = None) -> None:
        session = place.ticket.session
        self._lost = Lost(lambda: session.state)
        super().__init__(port, name, place, on_lost)

    @property
    def lost(self) -> Lost:
        """Set when ownership is lost."""
        return self._lost

    def txn(self) -> Fenced:
        """A transaction that happens only while ownership lasts: ``held.txn().put("k", "v").commit()``."""
        return Fenced(self)

    def put(self, key: str | bytes, value: str | bytes = b"", *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Write one key if ownership lasts.

        Raises:
            LockLost: ownership was lost; nothing was written.
            NotOwner, OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return self.txn().put(key, value).commit(timeout=timeout)

    def release(self) -> bool:
        """Give it back; never waits long and raises nothing for an unreachable server: the keeper goes on trying.

        Returns True if it was still owned. Again is harmless and returns False.
        """
        return run_blocking(self._give_back())

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._released:
            return
        loss = self.loss() if self.state is LeaseState.LOST else None
        run_blocking(self._leave(error))
        if loss is not None and error is None:
            raise loss

    def _was_lost(self) -> None:
        self._lost.set()
        if self._on_lost is not None:
            # On a thread of its own: the keeper's must go on renewing whatever this callback does.
            threading.Thread(target=self._call_back, name="coord-on-lost", daemon=True).start()

    def _call_back(self) -> None:
        if self._on_lost is not None:
            self._on_lost(self)


class AsyncHeld(GuardBase):
    """A guard of asyncio code, bound to the running loop. A loss cancels its block, which then raises LockLost."""

    __slots__ = ("_answering", "_baseline", "_body", "_cancelled", "_loop", "_lost")

    def __init__(self, port: Port, name: str, place: Place, on_lost: Callable[[Any], object] | None = None) -> None:
        session = place.ticket.session
        self._loop = asyncio.get_running_loop()
        self._lost = AsyncLost(lambda: session.state)
        self._body: asyncio.Task[Any] | None = None  # the task inside of the block
        self._baseline = 0  # cancellations of it that were pending when it entered
        self._cancelled = False  # we cancelled it
        self._answering: asyncio.Future[Any] | None = None  # an on_lost that is a coroutine, while it runs
        super().__init__(port, name, place, on_lost)

    @property
    def lost(self) -> AsyncLost:
        """Set when ownership is lost."""
        return self._lost

    def txn(self) -> AsyncFenced:
        """A transaction that happens only while ownership lasts: ``await held.txn().put("k", "v").commit()``."""
        return AsyncFenced(self)

    async def put(self, key: str | bytes, value: str | bytes = b"", *, timeout: Timeout = DEFAULT) -> TxnResult:
        """Write one key if ownership lasts; see `Held.put`."""
        return await self.txn().put(key, value).commit(timeout=timeout)

    async def release(self) -> bool:
        """Give it back; see `Held.release`."""
        return await self._give_back()

    async def __aenter__(self) -> Self:
        self.check()
        self._body = asyncio.current_task()
        self._baseline = self._body.cancelling() if self._body is not None else 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._body = self._body, None
        ours_alone = self._cancelled and task is not None and task.uncancel() <= self._baseline
        self._cancelled = False
        cancelled = ours_alone and isinstance(error, asyncio.CancelledError)
        if self._released:
            if cancelled:
                raise self.loss() from error
            return
        loss = self.loss() if self.state is LeaseState.LOST else None
        await self._leave(error)
        if loss is None:
            return
        if error is None:
            raise loss
        if cancelled:
            raise loss from error

    def _was_lost(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._lost_on_loop)
        except RuntimeError:
            logger.debug("the loop of %r ended before its loss could be told", self.name)

    def _lost_on_loop(self) -> None:
        self._lost.set()
        # Before the callback, which may fail: the body must not go on for that.
        self._end_block()
        if self._on_lost is not None and not self._released:
            answer = self._on_lost(self)
            if asyncio.iscoroutine(answer):
                self._answering = asyncio.ensure_future(answer)

    def _end_block(self) -> None:
        """Cancel the block, unless it is the caller; on the loop only."""
        if self._body is not None and not self._cancelled and self._body is not asyncio.current_task():
            self._cancelled = True
            self._body.cancel(f"{self.kind.lower()} {self.name!r} was lost")
