"""What is taken and given back: by a call that returns a guard, or as a block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

from coord.errors import LockTimeout, NotOwner
from coord.model import DEFAULT
from coord.program import run_blocking
from coord.recipes.common.client import HasPort
from coord.recipes.common.durations import Seconds, Timeout
from coord.recipes.ownership.contest import Contest
from coord.recipes.ownership.held import AsyncHeld, Held
from coord.recipes.ownership.turn import Terms

H = TypeVar("H", bound=Held)
A = TypeVar("A", bound=AsyncHeld)


class Taking(Contest, Generic[H]):
    """The blocking face."""

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[H], object] | None = None,
    ) -> None:
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._entered: list[tuple[int, H]] = []

    def _take(self, terms: Terms) -> Coroutine[Any, Any, H]:
        """The program behind `acquire`."""
        raise AssertionError("brought by the subclass")

    def acquire(self, *, timeout: Timeout = DEFAULT) -> H:
        """Wait for it and return its guard; `timeout` as in the constructor, DEFAULT means what was given there.

        Raises:
            LockTimeout: it was not won in time; the place in the queue was given up.
            RequestRefused: the server refuses (permissions, say).
            ClosedError: the client was closed.
        """
        return run_blocking(self._take(self._terms(timeout)))

    def try_acquire(self) -> H | None:
        """The guard if it is free, else None; does not wait for a holder.

        Raises: as `acquire`, but `LockTimeout` only if the server did not answer in time.
        """
        try:
            return self.acquire(timeout=0)
        except LockTimeout as busy:
            if busy.__cause__ is not None:
                raise
            return None

    def __enter__(self) -> H:
        guard = self.acquire().__enter__()
        entry = (threading.get_ident(), guard)
        try:
            self._entered.append(entry)
        except BaseException:
            # Ctrl-C just behind it: nobody comes to leave the block, and the entry would hold the lock for ever.
            self._entered.remove(entry)
            raise
        return guard

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _left(self._entered, threading.get_ident()).__exit__(kind, error, trace)


class AsyncTaking(Contest, Generic[A]):
    """The asyncio face."""

    def __init__(
        self,
        client: HasPort,
        name: str | bytes,
        *,
        ttl: Seconds = 10,
        timeout: Timeout = DEFAULT,
        on_lost: Callable[[A], object] | None = None,
    ) -> None:
        super().__init__(client, name, ttl=ttl, timeout=timeout, on_lost=on_lost)
        self._entered: list[tuple[asyncio.Task[Any] | None, A]] = []

    def _take(self, terms: Terms) -> Coroutine[Any, Any, A]:
        """The program behind `acquire`."""
        raise AssertionError("brought by the subclass")

    async def acquire(self, *, timeout: Timeout = DEFAULT) -> A:
        """Wait for it and return its guard; see `Taking.acquire`. The caller is not cancelled on a loss."""
        return await self._take(self._terms(timeout))

    async def try_acquire(self) -> A | None:
        """The guard if it is free, else None; see `Taking.try_acquire`."""
        try:
            return await self.acquire(timeout=0)
        except LockTimeout as busy:
            if busy.__cause__ is not None:
                raise
            return None

    async def __aenter__(self) -> A:
        guard = await (await self.acquire()).__aenter__()
        self._entered.append((asyncio.current_task(), guard))
        return guard

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _left(self._entered, asyncio.current_task()).__aexit__(kind, error, trace)


def _left(entered: list[tuple[Any, Any]], who: object) -> Any:
    """Take out the guard of the block that `who` leaves.

    The newest of its own; failing that the newest of all, since a fixture may enter in one task and leave in another.
    """
    for position in range(len(entered) - 1, -1, -1):
        if entered[position][0] == who:
            return entered.pop(position)[1]
    if not entered:
        raise NotOwner("a block was left that was never entered")
    return entered.pop()[1]
