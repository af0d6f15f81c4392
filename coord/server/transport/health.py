"""The standard health service, ``grpc.health.v1.Health``: what load balancers and probes ask.

Only the server as a whole has a health, under the empty service name, as in etcd.

Source: grpc/health/v1/health.proto, grpc-go health/server.go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from coord import statuses
from coord.server.transport.context import Context, Stream
from coord.server.transport.table import Row
from coord.statuses import Refused, Status
from coord.wire import rpc_pb2
from coord.wire.methods import Kind, Method

_SERVING = b"\x08\x01"
_NOT_SERVING = b"\x08\x02"
_SERVICE_UNKNOWN = b"\x08\x03"

# A HealthCheckRequest is one string in field 1, which is the layout of this message; responses are two bytes.
_REQUEST = rpc_pb2.AuthUserGetRequest
_CHECK = Method("/grpc.health.v1.Health/Check", _REQUEST, None, Kind.UNARY)
_WATCH = Method("/grpc.health.v1.Health/Watch", _REQUEST, None, Kind.SERVER_STREAM)


class Health:
    """Whether the server wants calls. Not serving is said before anything is refused, so that balancers leave first."""

    def __init__(self) -> None:
        self._serving = False
        self._changed = asyncio.Event()

    @property
    def serving(self) -> bool:
        """True while calls are welcome."""
        return self._serving

    def change(self, serving: bool) -> None:
        """Set the state and tell everybody who watches it."""
        if serving != self._serving:
            self._serving = serving
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def rows(self) -> list[Row]:
        """The service's part of the handler table."""
        return [
            Row(_CHECK, self._check, needs_leader=False, always=True),
            Row(_WATCH, self._watch, needs_leader=False, always=True),
        ]

    def _check(self, ctx: Context, request: Any) -> bytes:
        if request.name:
            raise Refused(Status(statuses.NOT_FOUND, "unknown service"))
        return self._state()

    async def _watch(self, ctx: Context, stream: Stream) -> None:
        request = await stream.receive()
        while True:
            changed = self._changed
            await stream.send(_SERVICE_UNKNOWN if request.name else self._state())
            await changed.wait()

    def _state(self) -> bytes:
        return _SERVING if self._serving else _NOT_SERVING
