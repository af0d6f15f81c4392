"""The watch stream of a blocking client: one thread that opens and reads, and the machine behind one lock.

Three threads of execution meet here: readers of watches (add, drop, consumed), the reader thread (replies, opening,
delays), and the thread in which grpc takes requests out of `_Outgoing`; that one also keeps the machine's time, since
the reader thread sleeps inside grpc. Nobody waits for anything while holding the lock.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import grpc

from coord import clock
from coord.client import calls
from coord.client.connection import fork
from coord.client.connection.blocking import BlockingConnection, Stream
from coord.client.watch.actions import (
    Action,
    CloseStream,
    Deliver,
    Fail,
    OpenStream,
    Ready,
    SendCancel,
    SendCreate,
    Verify,
    WatchSpec,
)
from coord.client.watch.inbox import Inbox
from coord.client.watch.requests import METADATA, to_message
from coord.client.watch.watching import WatchStream
from coord.errors import ClosedError, CoordError, ForkedError, HistoryLost, Unavailable, WatchLost
from coord.ops import Get
from coord.wire import methods
from coord.wire.watch import read_reply

logger = logging.getLogger("coord.watch")

_OPEN_SECONDS: Final = 5.0
_VERIFY_SECONDS: Final = 5.0
_JOIN_SECONDS: Final = 2.0

_hubs: Final[weakref.WeakSet[BlockingHub]] = weakref.WeakSet()


class _Outgoing:
    """The requests of one stream, as grpc takes them; between them it keeps the machine's time."""

    def __init__(self, tick: Callable[[], float | None]) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tick = tick
        self._ended = False

    def send(self, message: Any) -> None:
        self._queue.put(message)

    def wake(self) -> None:
        """Have the time looked at; callable from a garbage collection."""
        self._queue.put(None)

    def end(self) -> None:
        """Let grpc's thread go; it would wait here for ever, since it learns of the stream's end only from us."""
        self._ended = True
        self._queue.put(None)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._ended:
            seconds = self._tick()
            try:
                message = self._queue.get(timeout=seconds)
            except queue.Empty:
                continue
            if message is not None:
                return message
        raise StopIteration


class BlockingHub:
    """See `coord.client.ports.base.Hub`. No thread exists until the first watcher, and none after `close`."""

    def __init__(self, connection: BlockingConnection, *, namespace: bytes, authenticated: bool) -> None:
        self._connection = connection
        self._namespace = namespace
        self._authenticated = authenticated
        self._begin()
        connection.history.on_lost(self._history_lost)
        _hubs.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._machine = WatchStream(authenticated=self._authenticated)
        self._inboxes: dict[int, Inbox] = {}
        self._last_token = 0
        self._thread: threading.Thread | None = None
        self._stream: Stream | None = None
        self._login_generation = 0
        self._outgoing = _Outgoing(lambda: None)
        self._dropped: deque[int] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._open_wanted: OpenStream | None = None
        self._verify: bytes | None = None
        self._told: HistoryLost | None = None  # the loss that was noticed here
        self._closed = False

    # --- readers, in any thread

    def add(self, spec: WatchSpec, inbox: Inbox) -> int:
        """Start a watcher; returns its token.

        Raises:
            ClosedError: the client was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the client was closed")
            self._last_token += 1
            token = self._last_token
            self._inboxes[token] = inbox
            self._do(self._machine.add(token, spec, clock.now()))
            self._ensure_thread()
        return token

    def drop(self, tokens: Sequence[int]) -> None:
        """End watchers. Only notes it: a garbage collection may call this while the lock is held by this thread."""
        self._dropped.extend(tokens)
        self._wake.put(None)
        self._outgoing.wake()

    def consumed(self, token: int, size: int) -> None:
        """The reader took a batch of this weight."""
        with self._lock:
            self._do(self._machine.consumed(token, size, clock.now()))

    def lag(self) -> float:
        """Seconds since the server last gave a sign of life."""
        return self._machine.lag(clock.now())

    def trouble(self) -> CoordError | None:
        """Why the stream is not open."""
        return self._machine.last_error

    def close(self) -> None:
        """End every watch and the thread; again is harmless. May be called in any thread but the reader."""
        self.abandon()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def abandon(self) -> None:
        """Have the thread close everything, without waiting; callable from a garbage collection."""
        self._closed = True
        self._wake.put(None)
        self._outgoing.wake()
        stream = self._stream
        if stream is not None:
            stream.call.cancel()

    # --- the machine's actions, under the lock

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Deliver(token, batch):
                    self._inboxes[token].push(token, batch)
                case SendCreate() | SendCancel():
                    self._outgoing.send(to_message(action, self._namespace))
                case Ready(token, revision):
                    self._inboxes[token].confirm(token, revision)
                case Fail(token, error):
                    self._inboxes.pop(token).fail(error)
                case OpenStream():
                    self._open_wanted = action
                    self._wake.put(None)
                case CloseStream(dead):
                    self._end_stream(dead)
                case Verify(key):
                    self._verify = key

    def _end_stream(self, dead: bool) -> None:
        stream, self._stream = self._stream, None
        self._outgoing.end()
        if stream is not None:
            if dead:
                self._connection.core.endpoint_failed(stream.endpoint)
            stream.call.cancel()
        self._wake.put(None)

    def _tick(self) -> float | None:
        """Let time pass; returns the seconds until it must be looked at again."""
        with self._lock:
            now = clock.now()
            while self._dropped:
                token = self._dropped.popleft()
                self._inboxes.pop(token, None)
                self._do(self._machine.remove(token, now))
            self._do(self._machine.tick(now))
            due = self._machine.next_wake()
        return None if due is None else max(0.0, due - clock.now())

    def _history_lost(self, error: HistoryLost) -> None:
        if error is self._told:
            return
        with self._lock:
            self._do(self._machine.on_history_lost(error))

    # --- the reader thread

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="coord-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:
            # A mistake of ours: nobody may wait for ever for a thread that is gone.
            lost = WatchLost(f"the watch stream failed: {error!r}")
            lost.__cause__ = error
            with self._lock:
                self._finish(lost)
            raise

    def _follow(self) -> None:
        while True:
            seconds = self._tick()
            with self._lock:
                if self._closed or not (self._machine.wants_stream or self._dropped):
                    self._finish(ClosedError("the client was closed"))
                    return
                wanted, self._open_wanted = self._open_wanted, None
            if wanted is not None:
                self._serve(wanted)
                continue
            try:
                self._wake.get(timeout=seconds)
            except queue.Empty:
                continue

    def _finish(self, error: CoordError) -> None:
        """The last act of the thread, under the lock."""
        self._do(self._machine.close())
        for inbox in self._inboxes.values():
            inbox.fail(error)
        self._inboxes.clear()
        self._thread = None

    def _serve(self, wanted: OpenStream) -> None:
        """Open one stream and read it to its end."""
        if wanted.reauthenticate:
            self._connection.core.login.refused(self._login_generation)
        outgoing = _Outgoing(self._tick)
        try:
            stream = self._connection.open_stream(
                methods.WATCH, outgoing, deadline=clock.now() + _OPEN_SECONDS, metadata=METADATA
            )
        except CoordError as error:
            self._lost(error, None)
            self._revive()
            return
        with self._lock:
            self._login_generation = stream.login_generation
            self._stream, self._outgoing = stream, outgoing
            self._do(self._machine.on_open(clock.now()))
        if self._closed:
            stream.call.cancel()
        try:
            self._read(stream)
        finally:
            outgoing.end()

    def _revive(self) -> None:
        """Nobody answers, and this may be the only thing that the process does: have the server started."""
        try:
            self._connection.revive(clock.now() + _OPEN_SECONDS)
        except CoordError as error:
            logger.warning("no server answers, and none could be started: %s", error)

    def _read(self, stream: Stream) -> None:
        try:
            for message in stream.call:
                self._connection.stream_worked(stream)
                self._reply(message)
        except (grpc.RpcError, CoordError) as error:
            if self._stream is stream:
                self._lost(self._connection.stream_broke(stream, error), stream)
            return
        self._lost(Unavailable("the server ended the watch stream"), stream)

    def _reply(self, message: Any) -> None:
        reply = read_reply(message, self._namespace)
        with self._lock:
            actions = self._machine.on_reply(reply, clock.now())
            self._do(actions)
            key, self._verify = self._verify, None
        self._tell_loss(actions)
        if key is not None:
            self._check_history(key)

    def _lost(self, error: CoordError, stream: Stream | None) -> None:
        with self._lock:
            if self._stream is not stream:
                return  # The machine closed this one itself.
            self._stream = None
            self._do(self._machine.on_stream_error(error, clock.now()))
        logger.debug("watch stream ended: %s", error)

    def _check_history(self, key: bytes) -> None:
        """A read through the leader tells a lagging member from a store that went back."""
        revision = 0
        try:
            call = calls.fetch(Get(key, count_only=True), self._namespace)
            response = self._connection.unary(
                call.method, call.request, deadline=clock.now() + _VERIFY_SECONDS, write=False, linearizable=True
            )
            revision = call.read(response).header.revision
        except CoordError as error:
            logger.debug("the store's revision could not be verified: %s", error)
        with self._lock:
            actions = self._machine.on_verified(revision, clock.now())
            self._do(actions)
        self._tell_loss(actions)

    def _tell_loss(self, actions: list[Action]) -> None:
        """What a watch learnt of a lost history concerns the leases too."""
        for action in actions:
            if isinstance(action, Fail) and isinstance(action.error, HistoryLost):
                self._told = action.error
                self._connection.history.reset(action.error)
                return

    # --- fork

    def forked(self) -> None:
        """This is a child: the thread and the stream are the parent's. Watches end, new ones work."""
        fork.leak(self._stream, self._outgoing, self._thread, self._lock, self._machine)
        inboxes = list(self._inboxes.values())
        self._begin()
        for inbox in inboxes:
            inbox.fail(ForkedError("the watch was opened in the parent process"))


def _forked() -> None:
    for hub in list(_hubs):
        hub.forked()


os.register_at_fork(after_in_child=_forked)
