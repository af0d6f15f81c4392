"""Ten thousand instances, a hundred watchers: how long churn takes to reach all, and memory.

The watchers are views of one asyncio client in a process of their own. Beside them, in another process, as many bare
grpcio watchers on one stream read and parse the same events and keep nothing.

python -m benchmarks registry
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc.aio

import coord
from benchmarks import places
from benchmarks.million_keys import resident
from benchmarks.report import Line, ratios
from coord.ops import Put
from coord.recipes.registry.instance import Instance, new_instance, service_prefix
from coord.recipes.registry.roster import ChangeKind
from coord.wire import rpc_pb2
from tests import servers

NAME = "registry"
SERVICE = "bench"
INSTANCES = 10_000
CHURN = 1_000
WATCHERS = 100
AT_ONCE = 128  # puts in a transaction, etcd's limit
FLYING = 32  # churning instances at a time
SECONDS_LONGEST: Final = 300

Watch = Callable[[str, Callable[[], None]], Awaitable[None]]


def run(rounds: int) -> Iterator[Line]:
    """Lines for the bundled server.

    Raises:
        ServerMissing: it cannot be started.
    """
    seconds: dict[str, list[float]] = {"views": [], "bare": []}
    memory: dict[str, list[float]] = {"views": [], "bare": []}
    with servers.running(places.BUNDLED) as server:
        asyncio.run(register(server.endpoint, range(INSTANCES), "first", AT_ONCE))
        for number in range(rounds):
            for kind in ("views", "bare") if number % 2 == 0 else ("bare", "views"):
                took, held = churned(server, kind, f"{number} {kind}")
                seconds[kind].append(took)
                memory[kind].append(held)
    at = f"{CHURN} of {INSTANCES} instances churn, {WATCHERS} watchers"
    note = f"{sorted(seconds['views'])[rounds // 2]:.2f} s"
    yield Line(f"{at}: views : bare", ratios(seconds["views"], seconds["bare"]), note=note)
    note = f"{sorted(memory['views'])[rounds // 2]:.0f} MiB"
    yield Line("the same, RssAnon: views : bare", ratios(memory["views"], memory["bare"]), note=note)


def churned(server: servers.ServerProcess, kind: str, address: str) -> tuple[float, float]:
    """Seconds until the churn has reached every watcher, and MiB that their process then holds."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.registry", kind, server.endpoint],
        stdout=subprocess.PIPE,
        text=True,
        cwd=servers.ROOT,
    )
    try:
        _hear(child, "ready")
        started = time.perf_counter()
        asyncio.run(register(server.endpoint, range(CHURN), address, 1))
        _hear(child, "all")
        return time.perf_counter() - started, resident(child.pid) * 1024
    finally:
        child.kill()
        child.wait()


def _hear(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    if said != word:
        raise RuntimeError(f"the watchers said {said!r}, not {word!r}")


def instance(number: int, address: str) -> Instance:
    """One of the instances, at an address of its own."""
    metadata = {"version": "1.2.3", "host": f"host-{number:05}"}
    return new_instance(
        SERVICE, f"{address}:{number}", metadata=metadata, zone=f"zone-{number % 3}", id=f"i{number:05}"
    )


async def register(endpoint: str, numbers: Sequence[int], address: str, at_once: int) -> None:
    """Put instances, `at_once` in a revision."""
    async with coord.aio.connect(endpoint) as client:
        gate = asyncio.Semaphore(FLYING)

        async def put(part: Sequence[int]) -> None:
            async with gate:
                made = [instance(number, address) for number in part]
                await client.txn().then(*(Put(each.key, each.encode()) for each in made)).commit()

        async with asyncio.TaskGroup() as group:
            for at in range(0, len(numbers), at_once):
                group.create_task(put(numbers[at : at + at_once]))


async def views(endpoint: str, ready: Callable[[], None]) -> None:
    """Open as many views as there are watchers, and wait until each has told all that churned."""
    async with coord.aio.connect(endpoint) as client, AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        waiting = asyncio.Semaphore(0)

        async def tell(view: Any) -> None:
            told = 0
            async for change in view.changes():
                told += 1
                if told == INSTANCES:
                    waiting.release()
                if told == INSTANCES + CHURN:
                    assert change.kind is ChangeKind.UPDATED
                    return

        for _ in range(WATCHERS):
            view = await stack.enter_async_context(client.discover(SERVICE, timeout=60))
            group.create_task(tell(view))
        for _ in range(WATCHERS):
            await waiting.acquire()
        ready()


async def bare(endpoint: str, ready: Callable[[], None]) -> None:
    """As many watchers on one stream, whose events are counted."""
    prefix = service_prefix(SERVICE)
    created = rpc_pb2.WatchCreateRequest(key=prefix, range_end=prefix[:-1] + b"0")
    async with grpc.aio.insecure_channel(endpoint.removeprefix("http://")) as channel:
        stream: Any = channel.stream_stream(
            places.WATCH, rpc_pb2.WatchRequest.SerializeToString, rpc_pb2.WatchResponse.FromString
        )()
        for _ in range(WATCHERS):
            await stream.write(rpc_pb2.WatchRequest(create_request=created))
        for _ in range(WATCHERS):
            await stream.read()
        ready()
        left = WATCHERS * CHURN
        while left:
            left -= len((await stream.read()).events)


async def _watch(kind: str, endpoint: str) -> None:
    watch: Watch = {"views": views, "bare": bare}[kind]
    async with asyncio.timeout(SECONDS_LONGEST):
        await watch(endpoint, lambda: print("ready", flush=True))
        print("all", flush=True)
    await asyncio.sleep(SECONDS_LONGEST)  # what it holds is being read


if __name__ == "__main__":
    asyncio.run(_watch(sys.argv[1], sys.argv[2]))
