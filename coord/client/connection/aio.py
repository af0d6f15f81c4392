"""A connection for asyncio: grpc.aio channels of one event loop.

Thin, like its blocking twin: what to do is decided in `coord.client.connection.core`. It belongs to the loop in
which it is first used, because grpc.aio's channels do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import tenacity

from coord import statuses
from coord.client.connection import channel, fork
from coord.client.connection.core import Again, Core, Failed, Pending, Settings, Stream, asked_for
from coord.client.connection.history import History
from coord.client.connection.retry import Failure
from coord.client.connection.urls import Endpoint
from coord.clock import now
from coord.errors import ClosedError, CoordError, UsageError
from coord.statuses import Status
from coord.wire import convert, methods, status
from coord.wire.methods import Method

__all__ = ["AsyncConnection", "Stream"]


class _Line:
    """One endpoint's channel."""

    __slots__ = ("_stubs", "channel", "closed", "endpoint", "ready")

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        made = channel.options(endpoint, settings.tls)
        target = channel.target(endpoint)
        self.endpoint = endpoint
        self.ready = False  # an answer came since the last failure, so the connection stands
        self.closed = False
        if endpoint.secure:
            self.channel = grpc.aio.secure_channel(target, channel.credentials(settings.tls), options=made)
        else:
            self.channel = grpc.aio.insecure_channel(target, options=made)
        self._stubs: dict[str, Any] = {}

    def stub(self, method: Method) -> Any:
        """What calls a method. A stream of one request and one response looks like a unary call on the wire."""
        found = self._stubs.get(method.path)
        if found is None:
            found = self._stubs[method.path] = self.channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
        return found

    def stream(self, method: Method) -> Any:
        """What opens a stream."""
        kinds = {methods.Kind.BIDI: self.channel.stream_stream, methods.Kind.SERVER_STREAM: self.channel.unary_stream}
        return kinds[method.kind](method.path, method.request.SerializeToString, method.response.FromString)

    async def close(self) -> None:
        """End every call on the channel."""
        self.closed = True
        await self.channel.close()


class AsyncConnection:
    """Calls and streams to a cluster, for the tasks of one event loop.

    Args:
        settings: where and who.
        history: shared with the client's other connections; its own if None.
        unreachable: awaited when no connection could be made, by one task at a time, before the next attempt; gets the
            seconds left (None for any). For endpoints that must be started.
    """

    def __init__(
        self,
        settings: Settings,
        history: History | None = None,
        *,
        unreachable: Callable[[float | None], Awaitable[None]] | None = None,
    ) -> None:
        self.core = Core(settings, history)
        self._unreachable = unreachable
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: dict[Endpoint, _Line] = {}
        self._login_lock = asyncio.Lock()
        self._reviving = False
        self._closing = asyncio.Event()

    def __repr__(self) -> str:
        return f"<AsyncConnection {self.core.describe()}>"

    @property
    def history(self) -> History:
        """What was seen of the cluster."""
        return self.core.history

    async def unary(
        self,
        method: Method,
        request: Any,
        *,
        deadline: float | None,
        write: bool,
        linearizable: bool = False,
        once: bool = False,
        endpoint: Endpoint | None = None,
    ) -> Any:
        """Send one request and return its response. See `BlockingConnection.unary`.

        Raises:
            OutcomeUnknown: a write was sent and no answer came.
            CallTimeout: the deadline passed.
            Unavailable: no endpoint could be reached until the deadline.
            RequestRefused: the server said no.
            HistoryLost: the cluster was replaced or went back in time.
            ClosedError: the connection was closed.
            ForkedError: grpc.aio cannot work in this forked child.
            UsageError: it belongs to another event loop.
        """
        self._check_loop()
        pending = self.core.begin(
            method,
            request,
            deadline=deadline,
            write=write,
            linearizable=linearizable,
            once=once,
            pinned=endpoint,
        )
        try:
            return await self._attempt(pending)
        except Again as again:
            await self._pause(again.delay)
        repeat = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Again), wait=asked_for, sleep=self._pause, reraise=True
        )
        return await repeat(self._attempt, pending)

    async def open_stream(
        self,
        method: Method,
        requests: AsyncIterable[Any] | Any | None = None,
        *,
        deadline: float | None = None,
        until: float | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
        endpoint: Endpoint | None = None,
    ) -> Stream:
        """Open a stream; one attempt, the caller comes again after `stream_broke`.

        Args:
            method: row of the method table.
            requests: for a bidirectional method an async iterator of messages, or None to `write` to the call; else
                the one message.
            deadline: for connecting and logging in.
            until: the stream ends at this instant; None for never.
            metadata: sent besides the token.
            endpoint: open it only there.

        Raises:
            CoordError: no connection or no token could be had in time.
        """
        self._check_loop()
        pending = self.core.begin(
            method, None, deadline=deadline, write=False, linearizable=False, once=True, pinned=endpoint
        )
        line = self._line(self.core.choose(pending))
        try:
            if not line.ready:
                await self._connect(line, pending)
            token = await self._token(line, pending)
            lifetime = None if until is None else max(until - now(), 0.001)
            call = line.stream(method)(requests, timeout=lifetime, metadata=(*metadata, *(token or ())))
        except Failed as failed:
            raise self.core.ended(pending, failed.failure) from failed.failure.cause
        except grpc.aio.UsageError as error:
            raise self.core.ended(pending, _cut_off(line, error)) from error
        return Stream(call, line.endpoint, pending.login_generation)

    def stream_broke(self, stream: Stream, error: BaseException) -> CoordError:
        """Take note that a stream ended with grpc's `error`; returns it as one of ours (not raised).

        The endpoint rests if it was its fault, a token that was refused is dropped.
        """
        made = self.core.stream_broke(stream, error)
        line = self._lines.get(stream.endpoint)
        if line is not None:
            line.ready = False
        return made

    def stream_worked(self, stream: Stream) -> None:
        """Take note that something came from a stream."""
        line = self._lines.get(stream.endpoint)
        if line is not None:
            self._worked(line)

    async def close(self) -> None:
        """Close; calls under way end with `ClosedError`. May be called twice.

        Raises:
            UsageError: it was used in another event loop that still runs.
        """
        if self._lines:
            self._check_loop()
        self.core.closed = True
        self._closing.set()
        lines = list(self._lines.values())
        self._lines.clear()
        for line in lines:
            await line.close()
        fork.aio_closed(self)

    def _check_loop(self) -> None:
        fork.check_aio()
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            raise UsageError(
                "this client was first used in another event loop and belongs to it; make one client for each"
                " asyncio.run()"
            )
        self._loop = loop

    async def _attempt(self, pending: Pending) -> Any:
        """One attempt.

        Raises:
            Again: another one is due.
            CoordError: the call ends.
        """
        line = self._line(self.core.choose(pending))
        try:
            if pending.attempts.write and not line.ready:
                await self._connect(line, pending)
            token = await self._token(line, pending)
            until = self.core.answer_until(pending, line.endpoint)
            response = await self._send(line, pending.method, pending.request, until, token)
        except Failed as failed:
            failure = failed.failure
        else:
            self._worked(line)
            self.core.answered(pending, response)
            return response
        verdict = self.core.failed(pending, failure)
        # Where the line was replaced meanwhile, another task has had the endpoint started.
        revived = line.closed or (not failure.reached and await self.revive(pending.deadline))
        raise Again(0.0 if revived else verdict.delay) from failure.cause

    async def _send(self, line: _Line, method: Method, request: Any, until: float | None, token: Any) -> Any:
        try:
            return await self._ask(line, line.stub(method), request, until, token)
        except Failed:
            line.ready = False
            raise

    async def _connect(self, line: _Line, pending: Pending) -> None:
        """Ask something harmless first; see the blocking twin."""
        until = self.core.connect_until(pending, line.endpoint)
        try:
            await self._ask(line, line.channel.unary_unary(channel.PROBE), b"", until, None)
        except Failed as failed:
            if not failed.failure.answered:
                raise Failed(replace(failed.failure, sent=False)) from failed.failure.cause
        self._worked(line)

    async def _ask(self, line: _Line, stub: Any, request: Any, until: float | None, token: Any) -> Any:
        timeout = None if until is None else max(until - now(), 0.001)
        try:
            return await stub(request, timeout=timeout, metadata=token)
        except grpc.aio.AioRpcError as error:
            raise Failed(channel.failure(error, line.endpoint)) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            # Closing a channel cancels the task's wait as if the task had been cancelled; only the task knows.
            task = asyncio.current_task()
            if not line.closed or (isinstance(error, asyncio.CancelledError) and task and task.cancelling()):
                raise
            raise Failed(_cut_off(line, error)) from error

    def _worked(self, line: _Line) -> None:
        if not line.ready:
            line.ready = True
            self.core.worked(line.endpoint)

    def _line(self, endpoint: Endpoint) -> _Line:
        line = self._lines.get(endpoint)
        if line is None:
            self.core.check_open()
            line = self._lines[endpoint] = _Line(endpoint, self.core.settings)
            fork.aio_opened(self, asyncio.get_running_loop())
        return line

    async def _token(self, line: _Line, pending: Pending) -> Any:
        login = self.core.login
        if login.user is None:
            return None
        if login.needed(now()):
            await self._login(line, pending)
        pending.login_generation = login.generation
        return login.metadata

    async def _login(self, line: _Line, pending: Pending) -> None:
        """Fetch a token; one task does it for all."""
        login = self.core.login
        left = None if pending.deadline is None else max(pending.deadline - now(), 0.0)
        try:
            # Not wait_for: cancelled at the wrong moment, it forgets that the lock was taken (until Python 3.12).
            async with asyncio.timeout(left):
                await self._login_lock.acquire()
        except TimeoutError as error:
            raise Failed(Failure(status.CONNECT_TIMED_OUT, line.endpoint, sent=False)) from error
        try:
            if not login.needed(now()):
                return
            until = self.core.answer_until(pending, line.endpoint)
            request = convert.authenticate_request(login.user or "", login.password or "")
            try:
                response = await self._send(line, methods.AUTHENTICATE, request, until, None)
            except Failed as failed:
                self.core.login_failed(failed.failure)
                return
            self.core.logged_in(response.token)
        finally:
            self._login_lock.release()

    async def revive(self, deadline: float | None) -> bool:
        """Nobody answers: have the endpoint started, if this connection was told how; True if it was.

        Raises:
            CoordError: it could not be started.
        """
        if self._unreachable is None or self._reviving:
            return False
        self._reviving = True
        try:
            await self._unreachable(None if deadline is None else max(deadline - now(), 0.0))
            # As in the blocking connection: a channel that was refused waits before it tries again.
            refused = [line for line in self._lines.values() if not line.ready]
            for line in refused:
                del self._lines[line.endpoint]
            for line in refused:
                await line.close()
            return True
        finally:
            self._reviving = False

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return
        raise ClosedError("the client was closed during the call")


def _cut_off(line: _Line, error: BaseException) -> Failure:
    """The channel was closed, with the client or to be replaced: before the request was made, or during it."""
    sent = isinstance(error, asyncio.CancelledError)
    return Failure(Status(statuses.CANCELLED, "the connection was closed"), line.endpoint, sent, error)
