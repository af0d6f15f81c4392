"""The Watch service: one stream with any number of watchers.

Responses wait in the hub's bounded queue of the stream and are sent one at a time as the peer takes them, so a slow
reader delays itself alone. Requests wait while the queue is full, since their answers are always queued.

Source: etcd server/etcdserver/api/v3rpc/watch.go.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from coord.server.member.replica import Replica
from coord.server.mvcc.streams import WatchStream
from coord.server.mvcc.watchers import WatchHub
from coord.server.transport.context import Context, Stream
from coord.server.transport.table import Row, Rule
from coord.wire import methods, rpc_pb2

# Streams opened together would tell their progress together for ever.
_JITTER = 0.1
_INTERVAL_MIN_S = 0.1


class WatchApi:
    """The watch streams of one member."""

    def __init__(self, replica: Replica, *, progress_interval_s: float) -> None:
        self._hub: WatchHub = replica.state.watch_hub
        self._interval_s = max(progress_interval_s, _INTERVAL_MIN_S)

    def rows(self) -> list[Row]:
        """The service's part of the handler table."""
        return [Row(methods.WATCH, self.watch, Rule.KEYS)]

    async def watch(self, ctx: Context, stream: Stream) -> None:
        """Serve one stream until the client leaves; that it has no more requests does not end it.

        Raises:
            Refused: a request cannot be read.
        """
        session = _Session(self._hub, stream, self._interval_s)
        try:
            await session.run()
        finally:
            session.close()


class _Session:
    """One stream: a reader of requests and a sender of what is queued."""

    def __init__(self, hub: WatchHub, stream: Stream, interval_s: float) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._watching: WatchStream = hub.open(self._wake.set)
        self._ticker: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Send what is queued as the peer takes it.

        Raises:
            Refused: a request cannot be read.
        """
        reader = self._reader = asyncio.create_task(self._read())
        # The sender sleeps until something is queued; it must also hear of a reader that failed.
        reader.add_done_callback(lambda _: self._wake.set())
        watching, send = self._watching, self._stream.send
        while True:
            while (response := watching.pop()) is not None:
                await send(response)
                if not watching.full:
                    self._room.set()
            self._wake.clear()
            if reader.done():
                reader.result()
            if not len(watching):
                await self._wake.wait()

    async def _read(self) -> None:
        watching = self._watching
        while (request := await self._stream.receive()) is not None:
            while watching.full:
                self._room.clear()
                await self._room.wait()
            self._take(request)

    def _take(self, request: Any) -> None:
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(request.create_request)
            case "cancel_request":
                self._watching.cancel(request.cancel_request.watch_id)
            case "progress_request":
                self._watching.progress()
            case _:
                # etcd ignores requests of kinds it does not know.
                return

    def _create(self, request: rpc_pb2.WatchCreateRequest) -> None:
        self._watching.create(request)
        if request.progress_notify and self._ticker is None:
            self._plan_tick()

    def _plan_tick(self) -> None:
        delay = self._interval_s * (1 + random.random() * _JITTER)
        self._ticker = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._watching.tick_progress()
        self._plan_tick()

    def close(self) -> None:
        """The stream is over."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._reader is not None:
            self._reader.cancel()
        self._watching.close()
