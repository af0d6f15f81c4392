"""A gRPC server that does nothing: the bound that grpcio's asyncio server puts on any server written over it.

Every unary call is answered with a fixed message of PutResponse's size; with a file as argument only once the request
is written there and synced, one write for all that wait. A watch stream gets a message for each that it sent, and again
one for each of them whenever a unary call is answered. Prints its port and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import grpc.aio

from benchmarks import places
from coord.server.member.worker import Worker
from coord.wire import mvcc_pb2, rpc_pb2

_HEADER = rpc_pb2.ResponseHeader(cluster_id=1 << 63, member_id=1 << 62, revision=1000, raft_term=2)
_ANSWER = rpc_pb2.PutResponse(header=_HEADER).SerializeToString()
_RECORD = mvcc_pb2.KeyValue(key=places.KEY, value=places.VALUE, create_revision=2, mod_revision=1000, version=999)
_EVENT = rpc_pb2.WatchResponse(header=_HEADER, watch_id=100, events=[mvcc_pb2.Event(kv=_RECORD)]).SerializeToString()
_FILE_SIZE = 64 << 20


class _Disk:
    """Requests become durable in groups, on a thread: all that the server's log costs, and nothing else."""

    def __init__(self, path: str) -> None:
        self._worker = Worker(asyncio.get_running_loop(), "disk")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(self._descriptor, 0, _FILE_SIZE)
        self._position = 0
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing = False

    async def keep(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        kept = loop.create_future()
        if not self._waiting and not self._writing:
            loop.call_soon(self._write)
        self._waiting.append((request, kept))
        await kept

    def _write(self) -> None:
        group, self._waiting = self._waiting, []
        data = b"".join(request for request, _ in group)
        position, self._position = self._position, (self._position + len(data)) % (_FILE_SIZE // 2)

        def work() -> None:
            os.pwrite(self._descriptor, data, position)
            os.fdatasync(self._descriptor)

        def done(_: Any, error: BaseException | None) -> None:
            if error is not None:
                raise error
            self._writing = False
            if self._waiting:
                self._write()
            for _, kept in group:
                if not kept.done():
                    kept.set_result(None)

        self._writing = True
        self._worker.submit(work, done)


class _Stream:
    """A watch stream: how many messages it is to get each time, and how many it has not got yet."""

    def __init__(self) -> None:
        self.watchers = 0
        self.due = 0
        self.wake = asyncio.Event()

    def owe(self, messages: int) -> None:
        self.due += messages
        self.wake.set()


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, disk: _Disk | None) -> None:
        self._disk = disk
        self._streams: set[_Stream] = set()
        self._unary = grpc.unary_unary_rpc_method_handler(self._answer)
        self._watch = grpc.stream_stream_rpc_method_handler(self._serve)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._watch if handler_call_details.method == places.WATCH else self._unary

    async def _answer(self, request: bytes, context: object) -> bytes:
        if self._disk is not None:
            await self._disk.keep(request)
        for stream in self._streams:
            stream.owe(stream.watchers)
        return _ANSWER

    async def _serve(self, requests: object, context: Any) -> None:
        stream = _Stream()
        self._streams.add(stream)
        reader = asyncio.create_task(self._read(stream, context))
        try:
            while True:
                await stream.wake.wait()
                stream.wake.clear()
                while stream.due:
                    stream.due -= 1
                    await context.write(_EVENT)
        finally:
            self._streams.discard(stream)
            reader.cancel()

    async def _read(self, stream: _Stream, context: Any) -> None:
        while (await context.read()) is not grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]  # made in Cython, where it cannot look
            stream.watchers += 1
            stream.owe(1)


async def serve(path: str | None) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(None if path is None else _Disk(path)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    file = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(file))
    else:
        uvloop.run(serve(file))
