"""The watch stream of an asyncio client: one task opens and reads, another writes and keeps the machine's time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import grpc.aio

from coord import clock
from coord.client import calls
from coord.client.connection.aio import AsyncConnection, Stream
from coord.client.ports.mailbox import LoopMailbox
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
from coord.errors import ClosedError, CoordError, HistoryLost, Unavailable
from coord.ops import Get
from coord.wire import methods
from coord.wire.watch import read_reply

logger = logging.getLogger("coord.watch")

_OPEN_SECONDS: Final = 5.0
_VERIFY_SECONDS: Final = 5.0


class AsyncHub:
    """See `coord.client.ports.base.Hub`. Belongs to one loop; no task exists until the first watcher."""

    def __init__(self, connection: AsyncConnection, *, namespace: bytes, authenticated: bool) -> None:
        self._connection = connection
        self._namespace = namespace
        self._machine = WatchStream(authenticated=authenticated)
        self._inboxes: dict[int, Inbox] = {}
        self._last_token = 0
        self._task: asyncio.Task[None] | None = None
        self._wake: LoopMailbox | None = None
        self._stream: Stream | None = None
        self._login_generation = 0
        self._outgoing: deque[Any] = deque()
        self._writable: LoopMailbox | None = None  # of the task that writes to the open stream
        self._dropped: deque[int] = deque()
        self._open_wanted: OpenStream | None = None
        self._verify: bytes | None = None
        self._told: HistoryLost | None = None  # the loss that was noticed here
        self._closed = False
        connection.history.on_lost(self._history_lost)

    # --- readers, on the loop

    def add(self, spec: WatchSpec, inbox: Inbox) -> int:
        """Start a watcher; returns its token.

        Raises:
            ClosedError: the client was closed.
        """
        if self._closed:
            raise ClosedError("the client was closed")
        self._last_token += 1
        self._inboxes[self._last_token] = inbox
        if self._task is None:
            self._wake = LoopMailbox()
            self._task = asyncio.create_task(self._run(), name="coord-watch")
        self._do(self._machine.add(self._last_token, spec, clock.now()))
        return self._last_token

    def drop(self, tokens: Sequence[int]) -> None:
        """End watchers; from any thread and from a garbage collection."""
        self._dropped.extend(tokens)
        self._look()

    def consumed(self, token: int, size: int) -> None:
        """The reader took a batch of this weight."""
        self._do(self._machine.consumed(token, size, clock.now()))

    def lag(self) -> float:
        """Seconds since the server last gave a sign of life."""
        return self._machine.lag(clock.now())

    def trouble(self) -> CoordError | None:
        """Why the stream is not open."""
        return self._machine.last_error

    async def close(self) -> None:
        """End every watch and both tasks; again is harmless."""
        self.abandon()
        task = self._task
        if task is not None and task is not asyncio.current_task():
            await asyncio.wait([task])

    def abandon(self) -> None:
        """Have the task close everything, without waiting; callable from a garbage collection."""
        self._closed = True
        self._look()

    def _look(self) -> None:
        for box in (self._wake, self._writable):
            if box is not None:
                box.post()

    # --- the machine's actions

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Deliver(token, batch):
                    self._inboxes[token].push(token, batch)
                case SendCreate() | SendCancel():
                    self._outgoing.append(to_message(action, self._namespace))
                    self._look()
                case Ready(token, revision):
                    self._inboxes[token].confirm(token, revision)
                case Fail(token, error):
                    self._inboxes.pop(token).fail(error)
                case OpenStream():
                    self._open_wanted = action
                    self._look()
                case CloseStream(dead):
                    self._end_stream(dead)
                case Verify(key):
                    self._verify = key

    def _end_stream(self, dead: bool) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            if dead:
                self._connection.core.endpoint_failed(stream.endpoint)
            stream.call.cancel()
        self._look()

    def _tick(self) -> float | None:
        """Let time pass; returns the seconds until it must be looked at again."""
        now = clock.now()
        while self._dropped:
            token = self._dropped.popleft()
            self._inboxes.pop(token, None)
            self._do(self._machine.remove(token, now))
        self._do(self._machine.tick(now))
        due = self._machine.next_wake()
        return None if due is None else max(0.0, due - clock.now())

    def _history_lost(self, error: HistoryLost) -> None:
        # In whatever thread noticed it.
        if self._wake is None or error is self._told:
            return  # no watch has ever been opened, or it was this stream that noticed
        self._wake.call(partial(self._lose_history, error))

    def _lose_history(self, error: HistoryLost) -> None:
        self._do(self._machine.on_history_lost(error))

    # --- the tasks

    async def _run(self) -> None:
        try:
            while not self._closed:
                seconds = self._tick()
                if not self._machine.wants_stream:
                    return
                wanted, self._open_wanted = self._open_wanted, None
                if wanted is not None:
                    await self._serve(wanted)
                elif self._wake is not None:
                    await self._wake.wait(seconds)
        finally:
            self._finish()

    def _finish(self) -> None:
        self._do(self._machine.close())
        for inbox in self._inboxes.values():
            inbox.fail(ClosedError("the client was closed"))
        self._inboxes.clear()
        self._task = None

    async def _serve(self, wanted: OpenStream) -> None:
        """Open one stream and read it to its end."""
        if wanted.reauthenticate:
            self._connection.core.login.refused(self._login_generation)
        try:
            stream = await self._connection.open_stream(
                methods.WATCH, deadline=clock.now() + _OPEN_SECONDS, metadata=METADATA
            )
        except CoordError as error:
            self._lost(error, None)
            await self._revive()
            return
        self._login_generation = stream.login_generation
        self._stream = stream
        self._outgoing.clear()
        self._do(self._machine.on_open(clock.now()))
        writer = asyncio.create_task(self._write(stream), name="coord-watch-writer")
        try:
            await self._read(stream)
        finally:
            stream.call.cancel()
            writer.cancel()
            await asyncio.wait([writer])

    async def _revive(self) -> None:
        """Nobody answers, and this may be the only thing that the process does: have the server started."""
        try:
            await self._connection.revive(clock.now() + _OPEN_SECONDS)
        except CoordError as error:
            logger.warning("no server answers, and none could be started: %s", error)

    async def _write(self, stream: Stream) -> None:
        self._writable = box = LoopMailbox()
        while self._stream is stream and not self._closed:
            seconds = self._tick()
            if self._outgoing and self._stream is stream:
                await stream.call.write(self._outgoing.popleft())
            else:
                await box.wait(seconds)
        stream.call.cancel()

    async def _read(self, stream: Stream) -> None:
        try:
            while True:
                message = await stream.call.read()
                if message is grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
                    break
                self._connection.stream_worked(stream)
                await self._reply(message)
        except asyncio.CancelledError:
            # grpc raises this also when the call was cancelled by ourselves; a task that is to end must end.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._lost(Unavailable("the watch stream was closed"), stream)
        except (grpc.RpcError, CoordError) as error:
            if self._stream is stream:
                self._lost(self._connection.stream_broke(stream, error), stream)
        else:
            self._lost(Unavailable("the server ended the watch stream"), stream)

    async def _reply(self, message: Any) -> None:
        actions = self._machine.on_reply(read_reply(message, self._namespace), clock.now())
        self._do(actions)
        self._tell_loss(actions)
        key, self._verify = self._verify, None
        if key is not None:
            await self._check_history(key)

    def _lost(self, error: CoordError, stream: Stream | None) -> None:
        if self._stream is not stream:
            return  # The machine closed this one itself.
        self._stream = None
        self._do(self._machine.on_stream_error(error, clock.now()))
        logger.debug("watch stream ended: %s", error)

    async def _check_history(self, key: bytes) -> None:
        """A read through the leader tells a lagging member from a store that went back."""
        revision = 0
        try:
            call = calls.fetch(Get(key, count_only=True), self._namespace)
            response = await self._connection.unary(
                call.method, call.request, deadline=clock.now() + _VERIFY_SECONDS, write=False, linearizable=True
            )
            revision = call.read(response).header.revision
        except CoordError as error:
            logger.debug("the store's revision could not be verified: %s", error)
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
