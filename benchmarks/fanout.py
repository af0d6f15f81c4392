"""One put seen by many watchers: how long until the median one and nearly the last one know.

The watchers of a round hang on several streams of one asyncio client, which costs all servers the same. The bare
grpcio server sends as many messages of that size and does nothing else.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio

from benchmarks import places
from benchmarks.report import Line, ratios
from coord.wire import rpc_pb2

NAME = "fanout"
STREAMS = 8
SIZES = (1, 100, 1000)
PUTS = 20
_BARE = "echo"


def run(rounds: int) -> Iterator[Line]:
    """Lines for 100 and 1000 watchers, beside etcd and beside a lone watcher.

    Raises:
        ServerMissing: etcd 3.4 is not installed.
    """
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with places.pair() as servers, places.echo() as echo:
        targets = {kind: server.target for kind, server in servers.items()} | {_BARE: f"127.0.0.1:{echo}"}
        kinds = list(targets)
        for number in range(rounds):
            for kind in kinds if number % 2 == 0 else kinds[::-1]:
                for size in SIZES:
                    found = asyncio.run(_latencies(targets[kind], size))
                    measured.setdefault((kind, size), []).append(found)
    for size in SIZES:
        for place, word in enumerate(("median", "p99")):
            ours, theirs, bare = (
                [found[place] for found in measured[kind, size]] for kind in (places.BUNDLED, places.ETCD, _BARE)
            )
            name = f"latency {word} of {size} watchers"
            if size > 1:
                alone = [found[place] for found in measured[places.BUNDLED, 1]]
                yield Line(f"{name} : of 1, coord", ratios(ours, alone))
            note = f"bare grpcio : etcd is {Line('', ratios(bare, theirs)).ratio:.2f}"
            yield Line(f"{name}, coord : etcd 3.4", ratios(ours, theirs), note=note)


async def _latencies(target: str, size: int) -> tuple[float, float]:
    """Median and 99th percentile of the seconds from the put to the arrival, over watchers and puts."""
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        arrived: list[float] = []
        complete = asyncio.Event()
        calls = [channel.stream_stream(places.WATCH) for _ in range(min(STREAMS, size))]
        streams = [await _open(call(), len(range(at, size, len(calls)))) for at, call in enumerate(calls)]
        readers = [asyncio.create_task(_read(stream, arrived, size, complete)) for stream in streams]
        put = channel.unary_unary(places.PUT)
        seconds: list[float] = []
        for number in range(PUTS):
            arrived.clear()
            complete.clear()
            started = time.perf_counter()
            await put(places.put_request().SerializeToString())
            await complete.wait()
            if number:
                seconds.extend(instant - started for instant in arrived)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*readers)
    seconds.sort()
    return statistics.median(seconds), seconds[int(len(seconds) * 0.99)]


async def _open(stream: Any, watchers: int) -> Any:
    create = rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=places.KEY)).SerializeToString()
    for _ in range(watchers):
        await stream.write(create)
    for _ in range(watchers):
        await stream.read()
    return stream


async def _read(stream: Any, arrived: list[float], size: int, complete: asyncio.Event) -> None:
    try:
        while (await stream.read()) is not grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]  # made in Cython, where it cannot look
            arrived.append(time.perf_counter())
            if len(arrived) == size:
                complete.set()
    except asyncio.CancelledError:
        return
