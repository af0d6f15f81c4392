"""What the replica costs over the bare disk: puts one at a time and many at once, without any transport.

python -m benchmarks.replica_bench [--directory DIR] [--puts N] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import importlib.util
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coord.server.member.boot import Member, open_member
from coord.server.member.pending import Pending
from coord.server.settings.config import ServerConfig
from coord.wire.rpc_pb2 import PutRequest

VALUE = b"v" * 256


def raw(directory: Path, writes: int, size: int) -> float:
    """Writes of `size` bytes and an fdatasync each, on a preallocated file: writes a second."""
    descriptor = os.open(directory / "raw", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, writes * size)
    buffers = [b"h" * 32, b"r" * (size - 32)]
    started = time.perf_counter()
    for n in range(writes):
        os.pwritev(descriptor, buffers, n * size)
        os.fdatasync(descriptor)
    took = time.perf_counter() - started
    os.close(descriptor)
    return writes / took


async def one_at_a_time(member: Member, puts: int) -> float:
    started = time.perf_counter()
    for n in range(puts):
        await member.replica.propose(put=PutRequest(key=b"key%08d" % n, value=VALUE))
    return puts / (time.perf_counter() - started)


async def many_at_once(member: Member, puts: int, depth: int) -> float:
    done = asyncio.get_running_loop().create_future()
    state = {"sent": 0, "answered": 0}

    def send() -> None:
        n = state["sent"]
        state["sent"] += 1
        member.replica.propose(put=PutRequest(key=b"key%08d" % n, value=VALUE)).on_done(answered)

    def answered(_: Pending[Any]) -> None:
        state["answered"] += 1
        if state["sent"] < puts:
            send()
        elif state["answered"] == puts:
            done.set_result(None)

    started = time.perf_counter()
    for _ in range(depth):
        send()
    await done
    return puts / (time.perf_counter() - started)


async def in_memory(puts: int) -> float:
    """Puts a second without a disk: what the loop alone costs."""
    member = open_member(ServerConfig(), asyncio.get_running_loop(), memory=True)
    await member.start()
    rate = await many_at_once(member, puts, 1024)
    await member.stop()
    return rate


async def measure(options: argparse.Namespace, directory: Path) -> None:
    bare = raw(directory, options.puts // 10, 400)
    member = open_member(ServerConfig(data_dir=str(directory / "data")), asyncio.get_running_loop())
    await member.start()
    gc.collect()
    gc.freeze()
    single = await one_at_a_time(member, options.puts // 10)
    lag = member.figures.loop_lag_seconds.quantile(1.0)
    bare = (bare + raw(directory, options.puts // 10, 400)) / 2
    member.clock.start()
    print(f"fdatasync of 400 bytes  {bare:9.0f}/s")
    print(f"put 1 at a time         {single:9.0f}/s   {single / bare:.2f} of the bare disk")
    for depth in (64, 1024):
        member.figures.batch_entries.count = 0
        member.figures.batch_entries.total = 0
        rate = await many_at_once(member, options.puts, depth)
        batches = member.figures.batch_entries
        print(f"put {depth:4d} in flight      {rate:9.0f}/s   {batches.total / batches.count:.0f} a write")
    print(f"without a disk          {await in_memory(options.puts):9.0f}/s")
    print(f"longest loop lag under {max(lag, member.figures.loop_lag_seconds.quantile(1.0)) * 1000:.1f} ms")
    await member.stop()


def profiled(run: Callable[[], None]) -> None:
    profile = cProfile.Profile()
    profile.runcall(run)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--puts", type=int, default=50_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    sys.setswitchinterval(0.0002)
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with tempfile.TemporaryDirectory(dir=options.directory) as name:

        def run() -> None:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(measure(options, Path(name)))

        if options.profile:
            profiled(run)
        else:
            run()


if __name__ == "__main__":
    main()
