"""The one keeper thread of a client: drives `coord.client.keeper.keeping.Keeper` over channels of its own.

The thread exists from the first session, ticket or declaration until the client is closed or collected. It shares
nothing with the calls of the client but the history, so that neither a blocked event loop nor a thousand calls in
flight delay a renewal. It holds no reference to the client: a client that is dropped takes its leases with it.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from coord import clock
from coord.client import calls
from coord.client.calls import Call
from coord.client.connection import fork
from coord.client.connection.core import Settings
from coord.client.connection.history import History
from coord.client.keeper.duties import Commit, Duty, Grant, Renew, Revoke
from coord.client.keeper.keeping import Keeper
from coord.client.keeper.shots import Shots
from coord.errors import ClosedError, CoordError, HistoryLost

logger = logging.getLogger("coord.keeper")

CLOSE_SECONDS: Final = 1.0
"""What closing spends on revoking leases; what is not revoked by then expires."""

Revive = Callable[[float | None], object]

_REVIVE_SECONDS: Final = 10.0
_EXIT_SECONDS: Final = 1.5
_LONGEST_NAP: Final = 10.0  # the queue's timer stands still while the machine is suspended

_cores: Final[weakref.WeakSet[_Core]] = weakref.WeakSet()


class _Core:
    """All that the thread knows. Never refers to the client."""

    def __init__(self, settings: Settings, history: History, namespace: bytes, revive: Revive) -> None:
        self._revive = revive
        self._reviving = False
        self._settings = settings
        self._history = history
        self._namespace = namespace
        self._news: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.keeper = Keeper(wake=partial(self._news.put, None), lock=threading.RLock())
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._on_end: list[Callable[[], None]] = []
        self._shots: Shots | None = None
        self._forget: Callable[[], None] | None = None

    # --- any thread

    def start(self) -> None:
        """Have the thread running.

        Raises:
            ClosedError: the client was closed.
        """
        if self._thread is not None:
            return
        with self._start_lock:
            if self._closing:
                raise ClosedError("the client was closed")
            if self._thread is None:
                # Again, to be before what this keeper needs: an embedded server, say, stops at exit too.
                atexit.unregister(_at_exit)
                atexit.register(_at_exit)
                _cores.add(self)
                self._shots = Shots(self._settings, self._history, self._unreached)
                self._forget = self._history.on_lost(self._history_lost)
                thread = threading.Thread(target=self._run, args=(self._shots,), name="coord-keeper", daemon=True)
                thread.start()
                self._thread = thread

    def stop(self, seconds: float = CLOSE_SECONDS, on_end: Callable[[], None] | None = None) -> None:
        """Have everything revoked and the thread end within about `seconds`; callable from a garbage collection."""
        self._closing = True
        self._news.put(partial(self._close, seconds, on_end))

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end; True if it ended (or never was)."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(seconds)
        return not thread.is_alive()

    @property
    def running(self) -> bool:
        """The thread exists."""
        return self._thread is not None and self._thread.is_alive()

    def forked(self) -> None:
        """This is a child: thread, channels and leases are the parent's."""
        if self._shots is not None:
            self._shots.leak()
        fork.leak(self.keeper, self._thread, self._start_lock)
        inherited = self.keeper
        self._news = queue.SimpleQueue()
        self.keeper = Keeper(wake=partial(self._news.put, None), lock=threading.RLock())
        self._start_lock = threading.Lock()
        self._thread = self._shots = None
        self._history.reborn()  # the child may renew a lease before it makes a call of its own
        inherited.forked(threading.RLock())

    def _unreached(self) -> None:
        # In a thread of grpc's, which must not wait; the keeper's may: nobody else answers its renewals either.
        if not self._reviving:
            self._reviving = True
            self._news.put(self._have_revived)

    def _history_lost(self, _error: HistoryLost) -> None:
        # In whatever thread noticed it, which may hold locks: the keeper's thread does it.
        self._news.put(partial(self.keeper.lose_all, "history"))

    # --- the thread

    def _run(self, shots: Shots) -> None:
        try:
            while not self.keeper.closed:
                for duty in self.keeper.poll(clock.now()):
                    self._send(shots, duty)
                self._listen(self.keeper.next_wake())
        finally:
            self._finish(shots)

    def _finish(self, shots: Shots) -> None:
        """The last act, also after a mistake of ours: nobody may believe in a lease that nobody renews."""
        self._closing = True
        self.keeper.lose_all("closed")
        self.keeper.poll(clock.now())  # runs the callbacks of what was lost
        if self._forget is not None:
            self._forget()
        shots.close()
        _cores.discard(self)
        for callback in self._on_end:
            callback()

    def _listen(self, wake: float | None) -> None:
        """Wait for news until it is time to poll, and take all that has come."""
        left = _LONGEST_NAP if wake is None else min(_LONGEST_NAP, max(0.0, wake - clock.now()))
        try:
            news = self._news.get(timeout=left)
            while True:
                if news is not None:
                    news()
                news = self._news.get_nowait()
        except queue.Empty:
            return

    def _have_revived(self) -> None:
        try:
            self._revive(clock.now() + _REVIVE_SECONDS)
        except CoordError as error:
            logger.warning("no server answers, and none could be started: %s", error)
        finally:
            self._reviving = False

    def _close(self, seconds: float, on_end: Callable[[], None] | None) -> None:
        if on_end is not None:
            self._on_end.append(on_end)
        self.keeper.close(clock.now() + seconds)

    def _send(self, shots: Shots, duty: Duty) -> None:
        def done(result: Any, error: CoordError | None) -> None:
            if error is not None:
                logger.debug("%s failed: %s", type(duty).__name__, error)
            elif isinstance(duty, Renew):
                result = result.ttl
            self._news.put(lambda: self.keeper.on_done(duty, result, error, clock.now()))

        shots.send(self._call(duty), duty.deadline, done)

    def _call(self, duty: Duty) -> Call[Any]:
        match duty:
            case Grant():
                return calls.grant(duty.ttl, duty.lease)
            case Renew():
                return calls.keep_alive(duty.lease)
            case Revoke():
                return calls.revoke(duty.lease)
            case Commit():
                return calls.txn(duty.request, self._namespace)
        raise AssertionError(f"unknown duty {duty!r}")


class KeeperThread:
    """A client's side of its keeper.

    Args:
        owner: whose collection ends the thread and gives the leases up.
        settings: where and who.
        history: shared with the client's connection.
        namespace: put before every key.
        revive: called in the keeper's thread when nobody answers, with the instant by which it must return. It must
            not refer to `owner`.
    """

    def __init__(
        self, owner: object, settings: Settings, history: History, *, namespace: bytes, revive: Revive
    ) -> None:
        self._core = _Core(settings, history, namespace, revive)
        self._finalizer = weakref.finalize(owner, self._core.stop)
        self._finalizer.atexit = False

    @property
    def machine(self) -> Keeper:
        """The keeper, with its thread running from now on.

        Raises:
            ClosedError: the client was closed.
        """
        self._core.start()
        return self._core.keeper

    @property
    def running(self) -> bool:
        """The thread exists."""
        return self._core.running

    def begin_close(self, on_end: Callable[[], None] | None = None, *, seconds: float = CLOSE_SECONDS) -> bool:
        """Start closing without waiting; `on_end` is called in the keeper's thread as its last act.

        Returns False, and never calls `on_end`, if there is no thread.
        """
        running = self._core.running
        self._finalizer.detach()
        self._core.stop(seconds, on_end)
        return running

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end; True if there is none."""
        return self._core.join(seconds)

    def close(self, *, seconds: float = CLOSE_SECONDS) -> None:
        """Revoke the leases and end the thread, in not much more than `seconds`; again is harmless."""
        self.begin_close(seconds=seconds)
        self._core.join(seconds + 1.0)


def _at_exit() -> None:
    """Free what this process holds, so that nobody has to wait for leases to expire; bounded, the process must end."""
    cores = list(_cores)
    for core in cores:
        core.stop(_EXIT_SECONDS / 1.5)
    deadline = time.monotonic() + _EXIT_SECONDS
    for core in cores:
        core.join(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    for core in list(_cores):
        core.forked()
    _cores.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
