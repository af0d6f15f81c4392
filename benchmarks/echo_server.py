"""A gRPC server that does nothing: the bound that grpcio's asyncio server puts on any server written over it.

Answers every unary call with a fixed PutResponse-sized message. Prints its port and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import signal

import grpc.aio


class _Echo(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(self._answer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handler

    async def _answer(self, request: bytes, context: object) -> bytes:
        return b"\x0a\x08\x08\x01\x10\x02\x18\x03\x20\x04"


async def serve() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())
