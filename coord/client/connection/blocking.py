"""A connection for threads: grpc channels, one call at a time in the caller's own thread.

Thin: what to do is decided in `coord.client.connection.core`. Usable from many threads; connects when it is first used;
in a forked child it connects anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import grpc
import tenacity

from coord.client.connection import channel, fork
from coord.client.connection.core import Again, Core, Failed, Pending, Settings, Stream, asked_for
from coord.client.connection.history import History
from coord.client.connection.retry import Failure
from coord.client.connection.urls import Endpoint
from coord.clock import now
from coord.errors import ClosedError, CoordError, Unavailable
from coord.wire import convert, methods, status
from coord.wire.methods import Method

__all__ = ["BlockingConnection", "Stream"]


class _Line:
    """One endpoint's channel."""

    __slots__ = ("_stubs", "channel", "closed", "endpoint", "ready")

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        made = channel.options(endpoint, settings.tls)
        self.endpoint = endpoint
        self.ready = False  # an answer came since the last failure, so the connection stands
        self.closed = False
        if endpoint.secure:
            self.channel = grpc.secure_channel(
                channel.target(endpoint), channel.credentials(settings.tls), options=made
            )
        else:
            self.channel = grpc.insecure_channel(channel.target(endpoint), options=made)
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

    def close(self) -> None:
        """End every call on the channel."""
        self.closed = True
        self.channel.close()


class BlockingConnection:
    """Calls and streams to a cluster, for use by any number of threads.

    Args:
        settings: where and who.
        history: shared with the client's other connections; its own if None.
        unreachable: called in the calling thread when no connection could be made, at most by one thread at a time,
            before the next attempt; gets the seconds left (None for any). For endpoints that must be started.
    """

    def __init__(
        self,
        settings: Settings,
        history: History | None = None,
        *,
        unreachable: Callable[[float | None], None] | None = None,
    ) -> None:
        self.core = Core(settings, history)
        self._unreachable = unreachable
        self._start()

    def _start(self) -> None:
        self._lines: dict[Endpoint, _Line] = {}
        self._lines_lock = threading.Lock()
        self._login_lock = threading.Lock()
        self._revive_lock = threading.Lock()
        self._closing = threading.Event()
        if self.core.closed:
            self._closing.set()

    def __repr__(self) -> str:
        return f"<BlockingConnection {self.core.describe()}>"

    @property
    def history(self) -> History:
        """What was seen of the cluster."""
        return self.core.history

    def unary(
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
        """Send one request and return its response.

        Args:
            method: row of the method table.
            request: its message.
            deadline: instant of `coord.clock.now` that bounds all attempts; None for never.
            write: the request must not be carried out twice.
            linearizable: the response's revision may not be older than any seen before the request.
            once: make one attempt only.
            endpoint: ask only there.

        Raises:
            OutcomeUnknown: a write was sent and no answer came.
            CallTimeout: the deadline passed.
            Unavailable: no endpoint could be reached until the deadline.
            RequestRefused: the server said no.
            HistoryLost: the cluster was replaced or went back in time.
            ClosedError: the connection was closed.
        """
        if self.core.generation != fork.generation:
            self._reborn()
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
            return self._attempt(pending)
        except Again as again:
            self._pause(again.delay)
        repeat = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Again), wait=asked_for, sleep=self._pause, reraise=True
        )
        return repeat(self._attempt, pending)

    def open_stream(
        self,
        method: Method,
        requests: Iterable[Any] | Any,
        *,
        deadline: float | None = None,
        until: float | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
        endpoint: Endpoint | None = None,
    ) -> Stream:
        """Open a stream; one attempt, the caller comes again after `stream_broke`.

        Args:
            method: row of the method table.
            requests: for a bidirectional method an iterator of messages, consumed in a thread of grpc's; else the
                one message.
            deadline: for connecting and logging in.
            until: the stream ends at this instant; None for never.
            metadata: sent besides the token.
            endpoint: open it only there.

        Raises:
            CoordError: no connection or no token could be had in time.
        """
        if self.core.generation != fork.generation:
            self._reborn()
        pending = self.core.begin(
            method, None, deadline=deadline, write=False, linearizable=False, once=True, pinned=endpoint
        )
        line = self._line(self.core.choose(pending))
        try:
            if not line.ready:
                self._connect(line, pending)
            token = self._token(line, pending)
            call = self._open(line, method, requests, until, (*metadata, *(token or ())))
        except Failed as failed:
            raise self.core.ended(pending, failed.failure) from failed.failure.cause
        except Again as again:
            raise Unavailable("the connection was replaced while the stream was being opened") from again
        return Stream(call, line.endpoint, pending.login_generation)

    def _open(self, line: _Line, method: Method, requests: Any, until: float | None, metadata: Any) -> Any:
        lifetime = None if until is None else max(until - now(), 0.001)
        fork.enter()
        try:
            return line.stream(method)(requests, timeout=lifetime, metadata=metadata)
        except ValueError as error:
            self._check_cut_off(line, error)
            raise
        finally:
            fork.leave()

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

    def close(self) -> None:
        """Close; calls under way end with `ClosedError`. May be called twice and from any thread."""
        if self.core.generation != fork.generation:
            self._reborn()
        self.core.closed = True
        self._closing.set()
        with self._lines_lock:
            lines = list(self._lines.values())
            self._lines.clear()
        self._close_lines(lines)

    def _close_lines(self, lines: list[_Line]) -> None:
        fork.enter()
        try:
            for line in lines:
                line.close()
        finally:
            fork.leave()

    def _reborn(self) -> None:
        """First use in a forked child: leave the parent's channels alone and start again."""
        fork.leak(self._lines, self._lines_lock, self._login_lock, self._revive_lock, self._closing)
        self.core.reborn()
        self._start()

    def _attempt(self, pending: Pending) -> Any:
        """One attempt.

        Raises:
            Again: another one is due.
            CoordError: the call ends.
        """
        line = self._line(self.core.choose(pending))
        try:
            if pending.attempts.write and not line.ready:
                self._connect(line, pending)
            token = self._token(line, pending)
            until = self.core.answer_until(pending, line.endpoint)
            response = self._send(line, pending.method, pending.request, until, token)
        except Failed as failed:
            failure = failed.failure
        else:
            self._worked(line)
            self.core.answered(pending, response)
            return response
        verdict = self.core.failed(pending, failure)
        # Where the line was replaced meanwhile, another thread has had the endpoint started.
        revived = line.closed or (not failure.reached and self.revive(pending.deadline))
        raise Again(0.0 if revived else verdict.delay) from failure.cause

    def _check_cut_off(self, line: _Line, error: ValueError) -> None:
        """Return if this is not what grpc says of a closed channel, but a mistake of ours.

        Raises:
            ClosedError: the client was closed.
            Again: the line was replaced; nothing was sent.
        """
        if self.core.closed:
            raise ClosedError("the client was closed during the call") from error
        if line.closed:
            raise Again(0.0) from error

    def _send(self, line: _Line, method: Method, request: Any, until: float | None, token: Any) -> Any:
        timeout = None if until is None else max(until - now(), 0.001)
        fork.enter()
        try:
            return line.stub(method)(request, timeout=timeout, metadata=token)
        except grpc.RpcError as error:
            line.ready = False
            raise Failed(channel.failure(error, line.endpoint)) from error
        except ValueError as error:
            self._check_cut_off(line, error)
            raise
        finally:
            fork.leave()

    def _worked(self, line: _Line) -> None:
        if not line.ready:
            line.ready = True
            self.core.worked(line.endpoint)

    def _line(self, endpoint: Endpoint) -> _Line:
        line = self._lines.get(endpoint)
        if line is not None:
            return line
        with self._lines_lock:
            self.core.check_open()
            line = self._lines.get(endpoint)
            if line is None:
                # Making a channel imports modules, under import locks that a child would inherit too.
                fork.enter()
                try:
                    line = self._lines[endpoint] = _Line(endpoint, self.core.settings)
                finally:
                    fork.leave()
            return line

    def _connect(self, line: _Line, pending: Pending) -> None:
        """Ask something harmless first, so that a request that gets no answer was not the one that met a dead server.

        Without it a write whose time ends while the connection is being made counts as sent.
        """
        until = self.core.connect_until(pending, line.endpoint)
        timeout = None if until is None else max(until - now(), 0.001)
        fork.enter()
        try:
            line.channel.unary_unary(channel.PROBE)(b"", timeout=timeout)
        except grpc.RpcError as error:
            failure = channel.failure(error, line.endpoint)
            if not failure.answered:
                raise Failed(replace(failure, sent=False)) from error
        except ValueError as error:
            self._check_cut_off(line, error)
            raise
        finally:
            fork.leave()
        self._worked(line)

    def _token(self, line: _Line, pending: Pending) -> Any:
        login = self.core.login
        if login.user is None:
            return None
        if login.needed(now()):
            self._login(line, pending)
        pending.login_generation = login.generation
        return login.metadata

    def _login(self, line: _Line, pending: Pending) -> None:
        """Fetch a token; one thread does it for all."""
        login = self.core.login
        left = -1.0 if pending.deadline is None else max(pending.deadline - now(), 0.0)
        if not self._login_lock.acquire(timeout=left):
            raise Failed(Failure(status.CONNECT_TIMED_OUT, line.endpoint, sent=False))
        try:
            if not login.needed(now()):
                return
            until = self.core.answer_until(pending, line.endpoint)
            request = convert.authenticate_request(login.user or "", login.password or "")
            try:
                response = self._send(line, methods.AUTHENTICATE, request, until, None)
            except Failed as failed:
                self.core.login_failed(failed.failure)
                return
            self.core.logged_in(response.token)
        finally:
            self._login_lock.release()

    def revive(self, deadline: float | None) -> bool:
        """Nobody answers: have the endpoint started, if this connection was told how; True if it was.

        Raises:
            CoordError: it could not be started.
        """
        if self._unreachable is None or not self._revive_lock.acquire(blocking=False):
            return False
        try:
            self._unreachable(None if deadline is None else max(deadline - now(), 0.0))
            # A channel that was refused waits up to a second before it tries again: long enough for a server that
            # stops when nobody comes to be gone once more. Closed, since it would connect all the same and keep that
            # server from ever being alone.
            with self._lines_lock:
                refused = [line for line in self._lines.values() if not line.ready]
                for line in refused:
                    del self._lines[line.endpoint]
            self._close_lines(refused)
            return True
        finally:
            self._revive_lock.release()

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise ClosedError("the client was closed during the call")
