"""Single attempts that nobody waits for: how the keeper talks to the cluster.

A renewal must not wait for another one, nor for a connection or a login; so everything here is started and reports
later, in a thread of grpc's. Repeating is the keeper's own business, choosing the endpoint is the core's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import grpc

from coord import errors
from coord.client.calls import Call
from coord.client.connection import channel, fork
from coord.client.connection.core import Core, Failed, Pending, Settings
from coord.client.connection.history import History
from coord.client.connection.retry import Failure
from coord.client.connection.urls import Endpoint
from coord.clock import now
from coord.errors import ClosedError, CoordError
from coord.statuses import Status
from coord.wire import convert, methods
from coord.wire.methods import Method

T = TypeVar("T")

Done = Callable[[Any, CoordError | None], None]
"""Takes the result or the error, once, in any thread; must not block."""


class Shots:
    """Channels of the keeper's own and what is under way on them. `send` is for one thread."""

    def __init__(self, settings: Settings, history: History, unreached: Callable[[], None]) -> None:
        self._core = Core(settings, history)
        self._unreached = unreached  # called in any thread, before an attempt that reached nobody is reported
        self._channels: dict[Endpoint, grpc.Channel] = {}
        self._under_way: set[grpc.Future] = set()
        self._lock = threading.Lock()

    def send(self, call: Call[T], deadline: float, done: Done) -> None:
        """Start one attempt; it ends at `deadline` (an instant of `coord.clock.now`)."""
        try:
            pending = self._core.begin(
                call.method,
                call.request,
                deadline=deadline,
                write=call.write,
                linearizable=call.linearizable,
                once=True,
                pinned=None,
            )
            endpoint = self._core.choose(pending)
            self._with_token(endpoint, pending, partial(self._shoot, endpoint, pending, call, done), done)
        except CoordError as error:
            done(None, error)

    def _with_token(self, endpoint: Endpoint, pending: Pending, go: Callable[[], None], done: Done) -> None:
        login = self._core.login
        if not login.needed(now()):
            go()
            return
        request = convert.authenticate_request(login.user or "", login.password or "")

        def logged_in(response: Any, failed: Failure | None) -> None:
            try:
                if failed is not None:
                    self._core.login_failed(failed)
                else:
                    self._core.logged_in(response.token)
                go()
            except Failed as again:
                done(None, self._core.ended(pending, again.failure))
            except CoordError as error:
                done(None, error)

        self._start(endpoint, methods.AUTHENTICATE, request, pending.deadline, None, logged_in)

    def _shoot(self, endpoint: Endpoint, pending: Pending, call: Call[T], done: Done) -> None:
        pending.login_generation = self._core.login.generation

        def answered(response: Any, failed: Failure | None) -> None:
            if failed is not None:
                done(None, self._failed(pending, failed))
                return
            try:
                self._core.worked(endpoint)
                self._core.answered(pending, response)
                result = call.read(response)
            except CoordError as error:
                done(None, error)
            else:
                done(result, None)

        self._start(endpoint, call.method, call.request, pending.deadline, self._core.login.metadata, answered)

    def _failed(self, pending: Pending, failed: Failure) -> CoordError:
        if not failed.reached:
            self._unreached()
        try:
            self._core.failed(pending, failed)
        except CoordError as error:
            return error
        # A stale token: the next attempt fetches a new one. Nothing happened.
        return errors.Unavailable(failed.status.text, code=failed.status.code, text=failed.status.text)

    def _start(
        self,
        endpoint: Endpoint,
        method: Method,
        request: Any,
        deadline: float | None,
        metadata: Any,
        answered: Callable[[Any, Failure | None], None],
    ) -> None:
        timeout = None if deadline is None else max(deadline - now(), 0.001)
        try:
            stub = self._channel(endpoint).unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
            future = stub.future(request, timeout=timeout, metadata=metadata)
        except ValueError as error:
            raise ClosedError("the client was closed") from error
        with self._lock:
            self._under_way.add(future)
        future.add_done_callback(partial(self._over, endpoint, answered))

    def _over(self, endpoint: Endpoint, answered: Callable[[Any, Failure | None], None], future: grpc.Future) -> None:
        with self._lock:
            self._under_way.discard(future)
        try:
            response = future.result()
        except grpc.RpcError as error:
            answered(None, channel.failure(error, endpoint))
        except grpc.FutureCancelledError:
            answered(None, Failure(Status(1, "the client was closed"), endpoint))
        else:
            answered(response, None)

    def _channel(self, endpoint: Endpoint) -> grpc.Channel:
        found = self._channels.get(endpoint)
        if found is None:
            settings = self._core.settings
            made = channel.options(endpoint, settings.tls)
            if endpoint.secure:
                found = grpc.secure_channel(channel.target(endpoint), channel.credentials(settings.tls), options=made)
            else:
                found = grpc.insecure_channel(channel.target(endpoint), options=made)
            self._channels[endpoint] = found
        return found

    def close(self) -> None:
        """End everything under way and close the channels."""
        self._core.closed = True
        for made in self._channels.values():
            made.close()
        self._channels.clear()

    def leak(self) -> None:
        """This is a forked child: the channels are the parent's and must never be closed here."""
        fork.leak(self._channels, self._under_way, self._lock, self._core)
