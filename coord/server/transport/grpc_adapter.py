"""The handler table over grpcio's asyncio server.

grpcio costs about 80 µs of processor time a call; what is added here is kept to a few. Messages are parsed and
encoded here and not by grpcio, because a request that cannot be read must end with INTERNAL and not with grpcio's
UNKNOWN, and because handlers often have the encoding already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import grpc

from coord import statuses
from coord.server.logs import logger
from coord.server.settings.urls import Url
from coord.server.transport.answers import cancel
from coord.server.transport.context import Context, PeerGone
from coord.server.transport.listeners import ListenError, claim
from coord.server.transport.table import Row, Table, decode
from coord.statuses import Refused, Status
from coord.wire.methods import Kind

_log = logger(__name__)

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_INT32_MAX = 2**31 - 1
_EOF: Any = grpc.aio.EOF  # pyright: ignore[reportAttributeAccessIssue]  # made in Cython, where it cannot look
_BROKEN = Status(statuses.INTERNAL, "the server failed to handle the request; its log says why")

Unary = Callable[[bytes, Any], Coroutine[Any, Any, bytes | None]]


class GrpcStream:
    """One stream of grpcio; implements `coord.server.transport.context.Stream`."""

    __slots__ = ("_context", "_limit", "_row")

    def __init__(self, row: Row, context: Any, limit: int) -> None:
        self._row = row
        self._context = context
        self._limit = limit

    async def receive(self) -> Any:
        """The next request, None when the client has no more.

        Raises:
            Refused: it cannot be read, or is too large.
        """
        raw = await self._context.read()
        if raw is _EOF:
            return None
        if len(raw) > self._limit:
            raise Refused(_too_large(len(raw), self._limit))
        return decode(self._row, raw)

    async def send(self, message: Any) -> None:
        """Send a message or its encoding; waits for the peer's window.

        Raises:
            PeerGone: the client left.
        """
        try:
            await self._context.write(message if message.__class__ is bytes else message.SerializeToString())
        except grpc.aio.BaseError as error:
            raise PeerGone from error


class GrpcAnswers(GrpcStream):
    """A server stream: its one request came with the call."""

    __slots__ = ("_first",)

    def __init__(self, row: Row, context: Any, limit: int, first: bytes) -> None:
        super().__init__(row, context, limit)
        self._first: bytes | None = first

    async def receive(self) -> Any:
        """The request, then None.

        Raises:
            Refused: it cannot be read.
        """
        raw, self._first = self._first, None
        return None if raw is None else decode(self._row, raw)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Finds the handler of a path; one object for each method, made once."""

    def __init__(self, table: Table, limit: int, broken: Callable[[BaseException], None]) -> None:
        self._table = table
        self._limit = limit
        self._broken = broken
        self._made = {row.method.path: self._make(row) for row in table}

    def service(self, handler_call_details: Any) -> Any:
        """What grpcio asks for each call."""
        found = self._made.get(handler_call_details.method)
        if found is not None:
            return found
        status = self._table.unknown(handler_call_details.method)

        async def refuse(requests: Any, context: Any) -> None:
            await context.abort(_CODES[status.code], status.text)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _make(self, row: Row) -> Any:
        if row.method.kind is Kind.UNARY:
            return grpc.unary_unary_rpc_method_handler(self._unary(row))
        if row.method.kind is Kind.SERVER_STREAM:

            async def answers(raw: bytes, context: Any) -> None:
                await self._stream(row, context, GrpcAnswers(row, context, self._limit, raw))

            return grpc.unary_stream_rpc_method_handler(answers)

        async def both(requests: Any, context: Any) -> None:
            await self._stream(row, context, GrpcStream(row, context, self._limit))

        return grpc.stream_stream_rpc_method_handler(both)

    def _unary(self, row: Row) -> Unary:
        call, settle, limit = self._table.unary(row), self._table.settle, self._limit

        async def unary(raw: bytes, context: Any) -> bytes | None:
            started = perf_counter()
            pending: Any = None
            try:
                if len(raw) > limit:
                    raise Refused(_too_large(len(raw), limit))
                answer = call(context, raw)
                if answer.__class__ is not bytes:
                    pending = answer
                    answer = await pending
                    if answer.__class__ is not bytes:
                        answer = answer.SerializeToString()
                settle(row, 0, perf_counter() - started)
                return answer  # type: ignore[no-any-return]  # checked by its class above
            except Refused as refused:
                status = refused.status
            except asyncio.CancelledError:
                cancel(pending)
                settle(row, statuses.CANCELLED, perf_counter() - started)
                raise
            except Exception as error:  # noqa: BLE001 - reported, and answered with INTERNAL
                status = self._failed(row, error)
            settle(row, status.code, perf_counter() - started)
            await context.abort(_CODES[status.code], status.text)
            return None

        return unary

    async def _stream(self, row: Row, context: Any, stream: GrpcStream) -> None:
        task = asyncio.current_task()
        assert task is not None
        ctx = Context(context)
        ctx.on_end(task.cancel)
        try:
            await self._table.stream(row, ctx, stream)
            return
        except Refused as refused:
            status = refused.status
        except PeerGone:
            return
        except asyncio.CancelledError:
            if ctx.ended is None:
                raise
            task.uncancel()
            status = ctx.ended
        except Exception as error:  # noqa: BLE001 - reported, and answered with INTERNAL
            status = self._failed(row, error)
        await context.abort(_CODES[status.code], status.text)

    def _failed(self, row: Row, error: BaseException) -> Status:
        if not self._table.serving:
            # A long read whose store was closed under it, for one.
            return statuses.STOPPED
        _log.error("a handler failed", method=row.method.path, exc_info=error)
        self._broken(error)
        return _BROKEN


class GrpcServer:
    """The listening side: one grpcio server for a table, on any number of addresses.

    Must be made, started and stopped on the loop it serves on.
    """

    def __init__(
        self,
        table: Table,
        *,
        receive_bytes_max: int,
        keepalive_min_time_s: float = 5.0,
        keepalive_interval_s: float = 7200.0,
        keepalive_timeout_s: float = 20.0,
        streams_max: int = _INT32_MAX,
        broken: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """Prepare; `broken` is told of every exception of a handler that is not a refusal."""
        options: list[tuple[str, int]] = [
            # Room above our own limit, so that a request slightly too large gets etcd's text and not grpcio's.
            ("grpc.max_receive_message_length", min(2 * receive_bytes_max, _INT32_MAX)),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", min(streams_max, _INT32_MAX)),
            # With SO_REUSEPORT a second server on the port would start and get half of the connections.
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _milliseconds(keepalive_min_time_s)),
            ("grpc.keepalive_permit_without_calls", 0),
        ]
        if keepalive_interval_s > 0:
            options.append(("grpc.keepalive_time_ms", _milliseconds(keepalive_interval_s)))
        if keepalive_timeout_s > 0:
            options.append(("grpc.keepalive_timeout_ms", _milliseconds(keepalive_timeout_s)))
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Handlers(table, receive_bytes_max, broken),))

    def listen(self, url: Url) -> Url:
        """Take an address; returns it with the port that was chosen for port 0.

        Raises:
            ListenError: somebody else has it, or it is none of this machine.
        """
        claim(url)
        try:
            port = self._server.add_insecure_port(url.grpc_address)
        except RuntimeError as error:
            # Somebody took it since `claim` looked.
            raise ListenError(f"listen {url}: {error}") from error
        return url if url.is_unix else Url(url.scheme, url.host, port)

    async def start(self) -> None:
        """Accept connections."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Accept no connections, let calls finish for at most `grace` seconds, and cut off the rest."""
        await self._server.stop(grace)


def _milliseconds(seconds: float) -> int:
    return min(int(seconds * 1000), _INT32_MAX)


def _too_large(size: int, limit: int) -> Status:
    return Status(statuses.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size} vs. {limit})")
