"""The client for asyncio: the same names as `BlockingClient`, to be awaited."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from coord import ops
from coord.client import base, calls
from coord.client.base import Endpoints
from coord.client.calls import Call
from coord.client.connection import channel
from coord.client.connection.aio import AsyncConnection
from coord.client.connection.retry import Timeout
from coord.client.connection.tls import Tls
from coord.client.connection.urls import Endpoint
from coord.client.leases import AsyncLeases
from coord.client.maintenance import AsyncMaintenance
from coord.client.pages import PAGE, Pages
from coord.client.streaming import AsyncStreaming
from coord.client.txn import AsyncTxn
from coord.client.users import AsyncAuth
from coord.errors import CoordError
from coord.model import DEFAULT, DeleteResult, KeyValue, Member, PutResult, RangeResult, ServerStatus
from coord.ops import Order, Target
from coord.wire.methods import Method

T = TypeVar("T")


class AsyncClient(AsyncStreaming):
    """A client of an etcd cluster, or of coord's own server. For the tasks of one event loop.

    It belongs to the loop in which it is first used; make one for each ``asyncio.run``.

    It connects when it is first used. `timeout` bounds each call, retries and connecting included: seconds or a
    timedelta; None for ever; 0 makes one attempt, which waits for no recovery but is given a second for the network.
    Keys and values are text (UTF-8) or bytes; results hold bytes.

    Args:
        endpoints: URL, comma list, or several of them.
        namespace: put before every key and taken off again.
        timeout: default for all calls.
        user: for servers with authentication on.
        password: of the user.
        tls: certificates for https endpoints.
        unreachable: awaited when no connection could be made, before the next attempt, with the seconds left.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        namespace: str | bytes = "",
        timeout: Timeout = DEFAULT,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        unreachable: Callable[[float | None], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(namespace=namespace, timeout=timeout)
        settings = base.settings(endpoints, user, password, tls)
        self._connection = AsyncConnection(settings, self._history, unreachable=unreachable)
        self._core = self._connection.core

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if hasattr(self, "_core") and self._core.forgotten:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)

    async def close(self) -> None:
        """Close: background programs are stopped, whoever waits is woken, leases are given up, calls under way end.

        They end with `ClosedError`, writes that were sent with `OutcomeUnknown`. Bounded to a few seconds whatever the
        servers do; again is harmless.
        """
        await self._close_streaming()
        await self._connection.close()

    async def run(self, call: Call[T], timeout: Timeout = DEFAULT, *, endpoint: Endpoint | None = None) -> T:
        """Make a call that was described with `coord.client.calls`.

        Raises:
            CoordError: see `AsyncConnection.unary`.
        """
        self._check_process()
        deadline, once = self._limits(timeout)
        try:
            response = await self._connection.unary(
                call.method,
                call.request,
                deadline=deadline,
                write=call.write,
                linearizable=call.linearizable,
                once=once,
                endpoint=endpoint,
            )
        except CoordError as error:
            if not call.was_done(error):
                raise
            response = None
        return call.read(response)

    async def call(self, method: Method | str, request: Any, *, write: bool = True, timeout: Timeout = DEFAULT) -> Any:
        """Call any unary method with its own protobuf message and return the response message.

        Keys are sent as they are, without the namespace. `write=False` says that repeating it is harmless.

        Raises:
            UsageError: there is no such method, or the message is of another type.
            OutcomeUnknown, CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return await self.run(base.raw_call(method, request, write), timeout)

    async def get(
        self,
        key: str | bytes,
        *,
        revision: int = 0,
        serializable: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> KeyValue | None:
        """One key, None if it does not exist.

        `serializable` reads what the asked member knows, which may be old, without asking the others.

        Raises:
            Compacted, FutureRevision: `revision` cannot be read.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        wanted = ops.get(key, revision=revision, serializable=serializable)
        return await self.run(calls.fetch_one(wanted, self._namespace), timeout)

    async def range(
        self,
        key: str | bytes,
        *,
        prefix: bool = False,
        from_key: bool = False,
        range_end: str | bytes | None = None,
        limit: int = 0,
        revision: int = 0,
        order: Order = Order.NONE,
        target: Target = Target.KEY,
        serializable: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> RangeResult:
        """Several keys at one revision.

        Raises:
            Compacted, FutureRevision: `revision` cannot be read.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        wanted = ops.get(
            key,
            prefix=prefix,
            from_key=from_key,
            range_end=range_end,
            limit=limit,
            revision=revision,
            order=order,
            target=target,
            serializable=serializable,
            keys_only=keys_only,
            count_only=count_only,
        )
        return await self.run(calls.fetch(wanted, self._namespace), timeout)

    async def read(self, request: ops.Get, *, timeout: Timeout = DEFAULT) -> RangeResult:
        """What `range` does, for a request made with `coord.ops`, with every filter that etcd has.

        Raises:
            Compacted, FutureRevision: `revision` cannot be read.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return await self.run(calls.fetch(request, self._namespace), timeout)

    async def write(self, request: ops.Put, *, timeout: Timeout = DEFAULT) -> PutResult:
        """What `put` does, for a request made with `coord.ops`.

        Raises:
            OutcomeUnknown: it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        return await self.run(calls.put(request, self._namespace), timeout)

    def scan(
        self,
        prefix: str | bytes,
        *,
        page: int = PAGE,
        revision: int = 0,
        serializable: bool = False,
        keys_only: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> AsyncIterator[KeyValue]:
        """Every key below `prefix` in order, read page by page, all at one revision; `timeout` is for each page.

        Raises:
            Compacted: the revision was compacted before the last page was read.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        pages = Pages(prefix, page=page, revision=revision, serializable=serializable, keys_only=keys_only)
        return self._scan(pages, timeout)

    async def _scan(self, pages: Pages, timeout: Timeout) -> AsyncIterator[KeyValue]:
        while (wanted := pages.request()) is not None:
            for item in pages.page(await self.run(calls.fetch(wanted, self._namespace), timeout)):
                yield item

    async def put(
        self,
        key: str | bytes,
        value: str | bytes = b"",
        *,
        lease: int = 0,
        previous: bool = False,
        keep_lease: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> PutResult:
        """Write one key.

        Raises:
            OutcomeUnknown: it was sent and no answer came.
            LeaseNotFound: there is no such lease.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        wanted = ops.put(key, value, lease=lease, previous=previous, keep_lease=keep_lease)
        return await self.run(calls.put(wanted, self._namespace), timeout)

    async def delete(
        self,
        key: str | bytes,
        *,
        prefix: bool = False,
        from_key: bool = False,
        range_end: str | bytes | None = None,
        previous: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> DeleteResult:
        """Delete one key or a range; what does not exist is no error.

        Raises:
            OutcomeUnknown: it was sent and no answer came.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        wanted = ops.delete(key, prefix=prefix, from_key=from_key, range_end=range_end, previous=previous)
        return await self.run(calls.delete(wanted, self._namespace), timeout)

    def txn(self) -> AsyncTxn:
        """Begin a transaction; nothing is sent before its `commit`."""
        return AsyncTxn(self.run, self._namespace)

    async def compact(self, revision: int, *, physical: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Give up what was overwritten before `revision`; with `physical` wait until the space is free.

        Raises:
            Compacted, FutureRevision: it cannot be compacted there.
            CallTimeout, Unavailable, RequestRefused, HistoryLost, ClosedError.
        """
        await self.run(calls.compact(revision, physical=physical), timeout)

    async def status(self, endpoint: str | None = None, *, timeout: Timeout = DEFAULT) -> ServerStatus:
        """What one endpoint says of itself; without an argument the one that calls go to.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        chosen = self.endpoint(endpoint)
        return await self.run(calls.status(chosen.address), timeout, endpoint=chosen)

    async def members(self, *, linearizable: bool = True, timeout: Timeout = DEFAULT) -> tuple[Member, ...]:
        """The members of the cluster.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        return await self.run(calls.members(linearizable=linearizable), timeout)

    async def leader(self, timeout: Timeout = DEFAULT) -> Endpoint:
        """The endpoint at which the leader can be asked.

        Raises:
            NoLeader: there is none at present, or no member tells its address.
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        left = self._one_time(timeout)
        status = await self.status(timeout=left())
        return self._leader_among(status, await self.members(timeout=left()))

    async def stream(
        self, method: Method, request: Any, endpoint: str | None = None, timeout: Timeout = None
    ) -> AsyncIterator[Any]:
        """The messages of a server stream; it is not resumed when it breaks.

        Raises:
            CallTimeout, Unavailable, RequestRefused, ClosedError.
        """
        self._check_process()
        deadline, _ = self._limits(timeout)
        opened = await self._connection.open_stream(
            method, request, deadline=deadline, until=deadline, endpoint=self.endpoint(endpoint)
        )
        try:
            async for message in opened.call:
                yield message
        except channel.STREAM_ENDS as error:
            raise self._connection.stream_broke(opened, error) from error
        finally:
            opened.call.cancel()

    @property
    def lease(self) -> AsyncLeases:
        """Leases as etcd has them."""
        return AsyncLeases(self)

    @property
    def auth(self) -> AsyncAuth:
        """Users, roles, permissions."""
        return AsyncAuth(self)

    @property
    def maintenance(self) -> AsyncMaintenance:
        """Alarms, members, defragmentation, snapshots."""
        return AsyncMaintenance(self)
