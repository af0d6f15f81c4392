"""Where one waiting call is woken: by the watch reader, the keeper, or the client's close.

A mailbox carries no news, it only says "look again"; so a post too many is harmless and none is missed. `post` may be
called from any thread, from the middle of a garbage collection and from a signal handler: a queue.SimpleQueue can be
filled there, a threading.Condition would deadlock.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial

# The timers below stand still while the machine is suspended and the ownership clock does not, so a wait looks at the
# clock at least so often.
_LONGEST_NAP = 10.0

Post = Callable[[], None]
Listen = Callable[[Post], Callable[[], None]]
"""Registers a post function with a source of news; returns what takes it back."""


class Mailbox:
    """For a call that waits in its own thread. Ctrl-C interrupts the wait."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()

    def post(self) -> None:
        """Wake the call that waits here."""
        self._queue.put(None)

    def wait(self, seconds: float | None) -> None:
        """Return after a post, or after `seconds`, or sooner."""
        nap = _LONGEST_NAP if seconds is None else min(_LONGEST_NAP, max(0.0, seconds))
        try:
            self._queue.get(timeout=nap)
        except queue.Empty:
            return


class LoopMailbox:
    """For a task that waits on the running loop; posts come from any thread."""

    __slots__ = ("_event", "_loop", "_thread")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._event = asyncio.Event()

    def post(self) -> None:
        """Wake the task that waits here."""
        self.call(self._event.set)

    def call(self, work: Callable[[], object]) -> None:
        """Have `work` done on the loop: at once if this is its thread."""
        if threading.get_ident() == self._thread:
            work()
            return
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            return  # The loop was closed, and with it ended whoever waited.

    async def wait(self, seconds: float | None) -> None:
        """Return after a post, or after `seconds`, or sooner."""
        nap = _LONGEST_NAP if seconds is None else min(_LONGEST_NAP, max(0.0, seconds))
        timer = self._loop.call_later(nap, self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
        self._event.clear()


class Bell:
    """Something that happens once, and whom to tell of it. For the close of a client.

    Without a lock, which a forked child would inherit locked: every step is one atomic operation on the dict, and who
    listens enters himself before he looks whether it has rung.
    """

    __slots__ = ("_listeners", "_rung")

    def __init__(self) -> None:
        self._listeners: dict[object, Post] = {}
        self._rung = False

    @property
    def rung(self) -> bool:
        """True once `ring` was called."""
        return self._rung

    def listen(self, post: Post) -> Callable[[], None]:
        """Call `post` when it rings; at once if it has. Returns what takes it back."""
        token = object()
        self._listeners[token] = post
        if self._rung:
            post()
        return partial(self._forget, token)

    def _forget(self, token: object) -> None:
        self._listeners.pop(token, None)

    def ring(self) -> None:
        """Tell everybody; again is harmless."""
        self._rung = True
        for post in self._listeners.copy().values():
            post()
