"""The loss of ownership as something to ask and to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from coord.model import LeaseState


class Lost:
    """The loss of one guard, to be asked or waited for."""

    __slots__ = ("_set", "_state", "_waiting")

    def __init__(self, state: Callable[[], LeaseState]) -> None:
        self._state = state
        self._set = False
        # One for each call that waits: a threading.Event is dear, and of most guards nobody waits for the loss.
        self._waiting: list[threading.Event] = []

    def __repr__(self) -> str:
        return f"<Lost {self.is_set()}>"

    def __bool__(self) -> bool:
        return self.is_set()

    def is_set(self) -> bool:
        """True if ownership is lost; judged by the clock at this moment."""
        return self._set or self._state() is LeaseState.LOST

    def wait(self, timeout: float | None = None) -> bool:
        """Wait in this thread until ownership is lost; False if `timeout` seconds passed before."""
        event = threading.Event()
        self._waiting.append(event)
        try:
            # Asked after the event was entered: whoever sets it later sees the event.
            return self.is_set() or event.wait(timeout)
        finally:
            self._waiting.remove(event)

    def set(self) -> None:
        """Wake who waits."""
        self._set = True
        for event in tuple(self._waiting):
            event.set()


class AsyncLost:
    """As `Lost`, for tasks of one event loop."""

    __slots__ = ("_event", "_state")

    def __init__(self, state: Callable[[], LeaseState]) -> None:
        self._state = state
        self._event = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Lost {self.is_set()}>"

    def __bool__(self) -> bool:
        return self.is_set()

    def is_set(self) -> bool:
        """True if ownership is lost; judged by the clock at this moment."""
        return self._event.is_set() or self._state() is LeaseState.LOST

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait in this task until ownership is lost; False if `timeout` seconds passed before."""
        if self.is_set():
            return True
        try:
            async with asyncio.timeout(timeout):
                return await self._event.wait()
        except TimeoutError:
            return False

    def set(self) -> None:
        """Wake who waits; on the loop only."""
        self._event.set()
